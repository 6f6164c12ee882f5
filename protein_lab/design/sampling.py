"""From a blueprint to fields: bend a fold to it, sample the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from protein_lab.constants import (
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
)
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.design.blueprint import Blueprint, Pair, blueprint_of
from protein_lab.design.fold_library import FoldLibrary, Hit
from protein_lab.design.request import DesignRequest
from protein_lab.design.steering import Steering
from protein_lab.errors import ProteinLabError
from protein_lab.flow import FlowSample, draw_noise, sample
from protein_lab.geometry import radius_of_gyration, superimpose
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

COMPACT: Final = 1.2
"""Radius of gyration of a curve over 2.2 L^0.38 angstrom, up to which it counts as compact."""

MAX_FOLDS_TRIED: Final = 4


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
    steering: Steering | None = None,
    noise: FloatArray | None = None,
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
    steering : Steering, optional
        What the constraints pull at.
    noise : ndarray, shape=(sample, residue, 3, 3), optional
        What to start from; drawn when it is not given.
    """
    if noise is None:
        noise = draw_noise(rng, request.samples_per_design, blueprint.length)
    steer = steering.move_fields if steering is not None and steering.restraints else None
    return sample(operator, conditions_of(blueprint, curve), noise, request.steps, steer=steer)


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
