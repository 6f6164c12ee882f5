"""Draw what a request leaves open: length, secondary structure, elements and their pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from protein_lab.constants import UNSPECIFIED
from protein_lab.constraints.base import (
    BlueprintAsking,
    Constraint,
    Layout,
    Placement,
    Placing,
    Tiling,
)
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import (
    AskedElement,
    SecondaryStructure,
    asked_elements,
    asked_states,
)
from protein_lab.constraints.topology import implied_pairings
from protein_lab.design.blueprint import Blueprint, Pair, sample_blueprint
from protein_lab.design.blueprint_moves import recombine
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ProteinLabError
from protein_lab.training.corpus import Corpus

MIN_FILL: Final = 12
"""Open stretches below are filled with loop; no element with its turns fits in them."""

FLANK: Final = 2
"""Loop residues between an asked element and what is drawn beside it."""

MAX_DRAWS: Final = 100
"""Blueprints that are drawn until the constraints on blueprints are met; then the nearest stays."""


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
    residues from asked ones, so asked elements keep their ends. Where constraints ask something
    of the whole blueprint, up to :data:`MAX_DRAWS` are drawn and the nearest is kept.

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
    placed = _place(request, rng)
    length = next(iter(placed.values())).length if placed else _draw_length(request, rng)
    states = _asked(request, placed, length)
    asked = asked_elements(states)
    judges = [item for item in request.constraints if isinstance(item, BlueprintAsking)]
    best, lowest = Blueprint(""), np.inf
    open_length = isinstance(request.length, tuple) and request.length[0] != request.length[1]
    is_fixed = not placed and not open_length
    for _ in range(MAX_DRAWS):
        blueprint, drawn = _complete(request, states, asked, rng, corpus)
        blueprint = _tiled(request, blueprint)
        is_fixed = is_fixed and not drawn
        pairs = [(pair.first, pair.second, pair.orientation) for pair in blueprint.pairs]
        cost = sum(item.blueprint_cost(blueprint.secondary_structure, pairs) for item in judges)
        if cost < lowest:
            best, lowest = blueprint, cost
        if lowest <= 0.0 or not drawn:
            break
    places = {item: placement.residues for item, placement in placed.items()}
    layout = Layout(length, asked, best.secondary_structure, places)
    return Question(best, layout, is_fixed)


def _tiled(request: DesignRequest, blueprint: Blueprint) -> Blueprint:
    """Let constraints make parts of a blueprint alike."""
    for item in request.constraints:
        if isinstance(item, Tiling):
            pairs = [(pair.first, pair.second, pair.orientation) for pair in blueprint.pairs]
            states, found = item.tile(blueprint.secondary_structure, pairs)
            kept = (Pair(*pair) for pair in found)  # pyright: ignore[reportArgumentType]
            blueprint = Blueprint(states, tuple(kept))
    return blueprint


def _place(request: DesignRequest, rng: np.random.Generator) -> dict[Constraint, Placement]:
    """Let constraints choose their residues; the first one that does so fixes the length."""
    low, high = 0, 0
    if request.length is not None:
        low, high = request.length if isinstance(request.length, tuple) else (request.length,) * 2
    placed: dict[Constraint, Placement] = {}
    for item in request.constraints:
        if isinstance(item, SecondaryStructure) and item.string is not None:
            low = high = len(item.string)
    for item in request.constraints:
        if isinstance(item, Placing):
            placed[item] = item.place(low, high, rng)
            low = high = placed[item].length
    return placed


def _asked(request: DesignRequest, placed: Mapping[Constraint, Placement], length: int) -> str:
    """Merge the states that are asked; what is said of secondary structure comes first."""
    parts = [item for item in request.constraints if isinstance(item, SecondaryStructure)]
    states = asked_states([("$", item) for item in parts], length).states
    for placement in placed.values():
        states = "".join(
            more if own == UNSPECIFIED else own
            for own, more in zip(states, placement.states, strict=True)
        )
    return states


def _complete(
    request: DesignRequest,
    states: str,
    asked: Sequence[AskedElement],
    rng: np.random.Generator,
    corpus: Corpus,
) -> tuple[Blueprint, bool]:
    """Fill open residues; also tell whether anything of it was drawn."""
    drawn: list[tuple[int, Blueprint]] = []
    if set(states) <= {UNSPECIFIED}:
        drawn.append((0, _new_blueprint(len(states), rng, corpus, request.novelty)))
        states = drawn[0][1].secondary_structure
    else:
        states, drawn = _fill(states, rng, corpus, request.novelty)
    full = Blueprint(states)
    numbers = {(item.start, item.stop): number for number, item in enumerate(full.elements)}
    pairs = _drawn_pairs(drawn, numbers)
    pairs += _asked_pairs(request, asked, numbers)
    pairs.sort(key=lambda pair: (pair.first, pair.second))
    return Blueprint(states, tuple(pairs)), bool(drawn)


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
    request: DesignRequest, asked: Sequence[AskedElement], numbers: dict[tuple[int, int], int]
) -> list[Pair]:
    """Translate asked pairings to the numbers that elements have in the blueprint."""
    pairs: list[Pair] = []
    meant = [item for item in request.constraints if isinstance(item, Pairing)]
    for item in (*meant, *implied_pairings(request.constraints, asked)):
        try:
            spans = [asked[number - 1] for number in (item.first, item.second)]
            first, second = sorted(numbers[span.start, span.stop] for span in spans)
        except LookupError as error:
            raise ProteinLabError(
                f"Elements {item.first} and {item.second} are paired, but are not both there.",
                "Check the request first.",
            ) from error
        pairs.append(Pair(first, second, item.orientation))
    return pairs
