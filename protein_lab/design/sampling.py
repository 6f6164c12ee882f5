"""From a request to fields: draw the blueprint, bend a fold to it, sample the operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from protein_lab.constants import (
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
    UNSPECIFIED,
)
from protein_lab.constraints.base import Layout
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import (
    SecondaryStructure,
    asked_elements,
    asked_states,
)
from protein_lab.design.blueprint import Blueprint, Pair, blueprint_of, sample_blueprint
from protein_lab.design.blueprint_moves import recombine
from protein_lab.design.fold_library import FoldLibrary, Hit
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ProteinLabError
from protein_lab.flow import FlowSample, draw_noise, sample
from protein_lab.geometry import radius_of_gyration, superimpose
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

MIN_FILL: Final = 12
"""Open stretches below are filled with loop; no element with its turns fits in them."""

FLANK: Final = 2
"""Loop residues between an asked element and what is drawn beside it."""

COMPACT: Final = 1.2
"""Radius of gyration of a curve over 2.2 L^0.38 angstrom, up to which it counts as compact."""

MAX_FOLDS_TRIED: Final = 4


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one design, with everything that was open drawn.

    Attributes
    ----------
    blueprint : Blueprint
        Secondary structure of every residue, and the pairs asked or drawn.
    layout : Layout
        Where the asked elements lie.
    is_fixed : bool
        Whether the request left nothing open, so that every design has this blueprint.
    """

    blueprint: Blueprint
    layout: Layout
    is_fixed: bool


def draw_question(request: DesignRequest, rng: np.random.Generator, corpus: Corpus) -> Question:
    """Draw what a request leaves open: length, states, and the elements of open stretches.

    Open stretches of fewer than :data:`MIN_FILL` residues become loop; longer ones take the
    blueprint of a stretch of a real chain, with as many moves of its elements as the novelty of
    the request says. Elements that are drawn keep :data:`FLANK` loop
    residues from asked ones, so asked elements keep their ends.

    Parameters
    ----------
    request : DesignRequest
        Checked request.
    rng : Generator
        The stream of the design.
    corpus : Corpus
        Real chains that give the statistics.

    Raises
    ------
    ProteinLabError
        When the request was not checked and contradicts itself.
    """
    length = _draw_length(request, rng)
    parts = [item for item in request.constraints if isinstance(item, SecondaryStructure)]
    states = asked_states([("$", item) for item in parts], length).states
    asked = asked_elements(states)
    layout = Layout(length, asked)
    drawn: list[tuple[int, Blueprint]] = []
    if set(states) <= {UNSPECIFIED}:
        drawn.append((0, _new_blueprint(length, rng, corpus, request.novelty)))
        states = drawn[0][1].secondary_structure
    else:
        states, drawn = _fill(states, rng, corpus, request.novelty)
    full = Blueprint(states)
    numbers = {(item.start, item.stop): number for number, item in enumerate(full.elements)}
    pairs = _drawn_pairs(drawn, numbers)
    pairs += _asked_pairs(request, layout, numbers)
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    is_fixed = not drawn and not (
        isinstance(request.length, tuple) and request.length[0] != request.length[1]
    )
    return Question(Blueprint(states, tuple(pairs)), layout, is_fixed)


def _draw_length(request: DesignRequest, rng: np.random.Generator) -> int:
    for item in request.constraints:
        if isinstance(item, SecondaryStructure) and item.string is not None:
            return len(item.string)
    if request.length is None:
        raise ProteinLabError("The request has no length.", "Check the request first.")
    if isinstance(request.length, int):
        return request.length
    low, high = request.length
    return int(rng.integers(low, high + 1))


def _new_blueprint(
    length: int, rng: np.random.Generator, corpus: Corpus, novelty: float
) -> Blueprint:
    """Draw the blueprint of a real chain and move its elements as far as novelty says."""
    return recombine(sample_blueprint(length, rng, corpus), novelty, rng)


def _fill(
    states: str, rng: np.random.Generator, corpus: Corpus, novelty: float
) -> tuple[str, list[tuple[int, Blueprint]]]:
    """Replace open residues; also return the drawn blueprints and where they start."""
    filled: list[str] = []
    drawn: list[tuple[int, Blueprint]] = []
    start = 0
    for state, run in groupby(states):
        size = len(list(run))
        stop = start + size
        if state != UNSPECIFIED:
            filled.append(state * size)
        else:
            before = FLANK if start > 0 and states[start - 1] in "HE" else 0
            after = FLANK if stop < len(states) and states[stop] in "HE" else 0
            inner = size - before - after
            if inner < MIN_FILL:
                filled.append("L" * size)
            else:
                blueprint = _new_blueprint(inner, rng, corpus, novelty)
                drawn.append((start + before, blueprint))
                filled.append("L" * before + blueprint.secondary_structure + "L" * after)
        start = stop
    return "".join(filled), drawn


def _drawn_pairs(
    drawn: Sequence[tuple[int, Blueprint]], numbers: dict[tuple[int, int], int]
) -> list[Pair]:
    """Translate pairs of drawn stretches to the numbers that elements have in the blueprint."""
    pairs: list[Pair] = []
    for start, blueprint in drawn:
        spans = [(start + item.start, start + item.stop) for item in blueprint.elements]
        pairs += [
            Pair(numbers[spans[pair.first]], numbers[spans[pair.second]], pair.orientation)
            for pair in blueprint.pairs
        ]
    return pairs


def _asked_pairs(
    request: DesignRequest, layout: Layout, numbers: dict[tuple[int, int], int]
) -> list[Pair]:
    """Translate asked pairings to the numbers that elements have in the blueprint."""
    pairs: list[Pair] = []
    for item in request.constraints:
        if not isinstance(item, Pairing):
            continue
        try:
            spans = [layout.elements[number - 1] for number in (item.first, item.second)]
            first, second = sorted(numbers[span.start, span.stop] for span in spans)
        except LookupError as error:
            raise ProteinLabError(
                f"Elements {item.first} and {item.second} are paired, but are not both there.",
                "Check the request first.",
            ) from error
        pairs.append(Pair(first, second, item.orientation))
    return pairs


def complete_pairs(blueprint: Blueprint, hit: Hit, corpus: Corpus) -> Blueprint:
    """Add the pairs that the fold of a hit has between elements of which nothing was asked.

    The coarse curve brings these elements together in any case; knowing how lets the operator
    and the refinement place the hydrogen bonds between strands.
    """
    if hit.chain_index < 0:
        return blueprint
    chain = corpus.chain(hit.chain_index)
    found = blueprint_of(chain.backbone, chain.secondary_structure)
    ours = {theirs: own for own, theirs in enumerate(hit.element_map) if theirs >= 0}
    pairs = {(pair.first, pair.second): pair for pair in blueprint.pairs}
    for pair in found.pairs:
        if pair.first in ours and pair.second in ours:
            first, second = sorted((ours[pair.first], ours[pair.second]))
            pairs.setdefault((first, second), Pair(first, second, pair.orientation))
    return Blueprint(blueprint.secondary_structure, tuple(pairs[key] for key in sorted(pairs)))


def conditions_of(blueprint: Blueprint, axis_curve: FloatArray) -> Conditions:
    """Compile a blueprint and a coarse curve for an operator."""
    return compile_conditions(
        blueprint.secondary_structure,
        [(element.start, element.stop) for element in blueprint.elements],
        [(pair.first, pair.second, pair.orientation) for pair in blueprint.pairs],
        axis_curve,
    )


def bend_fold(
    library: FoldLibrary,
    hits: Sequence[Hit],
    blueprint: Blueprint,
    rng: np.random.Generator,
) -> tuple[Hit, FloatArray]:
    """Bend folds to a blueprint until one comes out compact.

    Elements that a fold has no counterpart for are placed beside the others, and now and then
    stick out; then the next fold is better.

    Parameters
    ----------
    library : FoldLibrary
        Bends the folds.
    hits : sequence of Hit
        In the order to try; at least one.
    blueprint : Blueprint
        What was searched for.
    rng : Generator
        The stream of the design.

    Returns
    -------
    hit : Hit
        The first whose curve is compact, else the one with the most compact curve.
    curve : ndarray, shape=(residue, 3)
        Its axis curve, angstrom.
    """
    expected = RADIUS_OF_GYRATION_FACTOR * blueprint.length**RADIUS_OF_GYRATION_EXPONENT
    best: tuple[float, Hit, FloatArray] | None = None
    for hit in hits[:MAX_FOLDS_TRIED]:
        curve = library.warp(hit, blueprint, rng)
        ratio = float(radius_of_gyration(curve)) / expected
        if best is None or ratio < best[0]:
            best = (ratio, hit, curve)
        if ratio <= COMPACT:
            break
    if best is None:
        raise ProteinLabError("The library gave no fold.", "Use a larger corpus.")
    return best[1], best[2]


def sample_fields(
    request: DesignRequest,
    operator: BaseNeuralOperator[Any],
    blueprint: Blueprint,
    curve: FloatArray,
    rng: np.random.Generator,
) -> FlowSample:
    """Draw fields around a coarse curve.

    Parameters
    ----------
    request : DesignRequest
        Gives the number of samples and steps.
    operator : BaseNeuralOperator
        Makes the fine field.
    blueprint : Blueprint
        States and pairs that the operator is told.
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    rng : Generator
        The stream of the design.
    """
    noise = draw_noise(rng, request.samples_per_design, blueprint.length)
    return sample(operator, conditions_of(blueprint, curve), noise, request.steps)


def uncertainty(drawn: FlowSample) -> FloatArray:
    """Spread of the samples at each residue.

    Root mean square distance of the CA atoms from their mean, after all samples are superimposed
    on it. A single sample has no spread; then the operator's own standard deviation stands in,
    times the square root of three for three coordinates.

    Returns
    -------
    ndarray, shape=(residue,), dtype=float32
        Angstrom.
    """
    ca = np.asarray(drawn.field[:, :, 1], dtype=np.float64)
    if len(ca) == 1:
        return np.asarray(np.sqrt(3.0) * drawn.sigma[0], dtype=np.float32)
    ca, center = superimpose_samples(ca)
    return np.sqrt(((ca - center) ** 2).sum(-1).mean(axis=0)).astype(np.float32)


def superimpose_samples(ca: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Superimpose samples on their mean.

    Parameters
    ----------
    ca : ndarray, shape=(sample, residue, 3)
        CA atoms, angstrom.

    Returns
    -------
    ca : ndarray, shape=(sample, residue, 3)
        Moved as rigid bodies.
    center : ndarray, shape=(residue, 3)
        Their mean, about where the first sample lay.
    """
    center = ca[0]
    for _ in range(3):
        rotation, shift = superimpose(ca, np.broadcast_to(center, ca.shape))
        ca = ca @ np.swapaxes(rotation, -1, -2) + shift[:, None]
        center = ca.mean(axis=0)
    return ca, center
