"""Coarse curves that the operator folds by itself, and which of them is worth a backbone.

A curve costs a hundredth of a backbone, so many are drawn and the likeliest are kept; what makes
one likely is in :mod:`protein_lab.design.curve_choice`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from protein_lab.curve_flow import coarsen, draw_polymer, refine_curve, sample_curves
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.curve_choice import (
    choose_curves,
    expected_tm,
    is_mirrored,
    likeness,
)
from protein_lab.design.sampling import conditions_of
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.typing import FloatArray, IntArray

NUM_CURVES: Final = 16
"""Curves drawn for a design that has a blueprint or a fold of its own."""

POOL: Final = 64
"""Curves drawn for :data:`SHARED_BY` designs of one blueprint together."""

SHARED_BY: Final = 8
"""Designs that share a pool; each takes another of its curves."""

CURVE_STEPS: Final = 20

TEMPERATURE: Final = 0.2
"""Scale of the polymers that curves start from; narrower than in training, they fold better."""


@dataclass(frozen=True, slots=True, eq=False)
class CurveDraw:
    """Curves drawn for one blueprint.

    Attributes
    ----------
    curves : ndarray, shape=(curve, residue, 3)
        Axis curves, angstrom.
    log_sigma : ndarray, shape=(curve,)
        How unsure the operator was of each.
    close : ndarray, shape=(curve, curve)
        TM-scores between them.
    expected : ndarray, shape=(curve,)
        Score of each; differences are expected differences of TM-score to the fold.
    chosen : ndarray
        Curves in the order in which designs should use them.
    """

    curves: FloatArray
    log_sigma: FloatArray
    close: FloatArray
    expected: FloatArray
    chosen: IntArray


def draw_curves(
    operator: BaseNeuralOperator[Any],
    blueprint: Blueprint,
    rng: np.random.Generator,
    count: int = 1,
    *,
    known: FloatArray | None = None,
    novelty: float = 1.0,
    num_curves: int = NUM_CURVES,
) -> CurveDraw:
    """Draw curves for a blueprint and say which are likeliest.

    Curves that start from a polymer and have sheets of the wrong twist are mirrored.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Of the coarse scale.
    blueprint : Blueprint
        States and pairs that are asked.
    rng : Generator
        The stream of the design, or of those that share the curves.
    count : int
        Curves to keep, at most ``num_curves``.
    known : ndarray, shape=(residue, 3), optional
        Curve to start from, angstrom; without it the start is a random polymer.
    novelty : float
        How much of the known curve is dissolved in noise, 0 to 1.
    num_curves : int
        Curves to choose from.

    Returns
    -------
    CurveDraw
    """
    length = blueprint.length
    start = 0.0 if known is None else 1.0 - novelty
    given = np.zeros((length, 3)) if known is None else np.asarray(known, dtype=np.float64)
    coarse = coarsen(conditions_of(blueprint, given), operator.config.spacing)
    noise = TEMPERATURE * draw_polymer(rng, length, coarse.length, num_curves)
    drawn = sample_curves(operator, coarse, noise, CURVE_STEPS, start=start)
    points = drawn.curve
    curves = np.stack([refine_curve(curve, length) for curve in points])
    if known is None:
        hand = np.where(is_mirrored(curves, blueprint), -1.0, 1.0)[:, None, None]
        points, curves = hand * points, hand * curves
    close = likeness(points, length)
    expected = expected_tm(curves, drawn.log_sigma, close, blueprint)
    return CurveDraw(
        curves, drawn.log_sigma, close, expected, choose_curves(close, expected, count)
    )


def fold_curves(
    operator: BaseNeuralOperator[Any],
    blueprint: Blueprint,
    rng: np.random.Generator,
    count: int = 1,
    *,
    known: FloatArray | None = None,
    novelty: float = 1.0,
    num_curves: int = NUM_CURVES,
) -> list[FloatArray]:
    """Draw curves for a blueprint and keep the likeliest.

    Parameters
    ----------
    operator, blueprint, rng, count, known, novelty, num_curves
        As for :func:`draw_curves`.

    Returns
    -------
    list of ndarray, shape=(residue, 3)
        Axis curves, angstrom, in the order in which designs should use them.
    """
    drawn = draw_curves(
        operator, blueprint, rng, count, known=known, novelty=novelty, num_curves=num_curves
    )
    return [drawn.curves[pick] for pick in drawn.chosen]
