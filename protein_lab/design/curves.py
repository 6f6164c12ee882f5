"""Coarse curves that the operator folds by itself, and which of them is worth a backbone.

A curve costs a hundredth of a backbone, so many are drawn and the one that agrees best with its
blueprint is kept; what agreement means is geometry alone, no second opinion of a network.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from protein_lab.constants import RADIUS_OF_GYRATION_EXPONENT, RADIUS_OF_GYRATION_FACTOR
from protein_lab.curve_flow import coarsen, draw_polymer, refine_curve, sample_curves
from protein_lab.design.blueprint import Blueprint, Element
from protein_lab.design.sampling import conditions_of
from protein_lab.geometry import arc_speed, radius_of_gyration
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.typing import FloatArray

NUM_CURVES: Final = 16
"""Curves drawn for a design; the one that fits its blueprint best is kept."""

CURVE_STEPS: Final = 20

TEMPERATURE: Final = 0.2
"""Scale of the polymers that curves start from; narrower than in training, they fold better."""

_STRANDS_APART: Final = 6.5
_OTHERS_APART: Final = 13.0
_TOO_CLOSE: Final = 3.5
_NEAR_ALONG_CHAIN: Final = 4
_SPEED: Final = {"H": 1.45, "E": 3.0}
_COMPACT: Final = 1.1


def fold_curve(
    operator: BaseNeuralOperator[Any],
    blueprint: Blueprint,
    rng: np.random.Generator,
    *,
    known: FloatArray | None = None,
    novelty: float = 1.0,
    num_curves: int = NUM_CURVES,
) -> FloatArray:
    """Draw curves for a blueprint and keep the one that fits it best.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Of the coarse scale.
    blueprint : Blueprint
        States and pairs that are asked.
    rng : Generator
        The stream of the design.
    known : ndarray, shape=(residue, 3), optional
        Curve to start from, angstrom; without it the start is a random polymer.
    novelty : float
        How much of the known curve is dissolved in noise, 0 to 1.
    num_curves : int
        Curves to choose from.

    Returns
    -------
    ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    """
    length = blueprint.length
    start = 0.0 if known is None else 1.0 - novelty
    given = np.zeros((length, 3)) if known is None else np.asarray(known, dtype=np.float64)
    coarse = coarsen(conditions_of(blueprint, given), operator.config.spacing)
    noise = TEMPERATURE * draw_polymer(rng, length, coarse.length, num_curves)
    drawn = sample_curves(operator, coarse, noise, CURVE_STEPS, start=start)
    curves = [refine_curve(curve, length) for curve in drawn.curve]
    scores = np.array([curve_score(curve, blueprint) for curve in curves])
    return curves[int(np.argmax(_standard(scores) - _standard(drawn.log_sigma)))]


def _standard(values: FloatArray) -> FloatArray:
    """Shift and scale to mean 0 and deviation 1; equal values become 0."""
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def curve_score(curve: FloatArray, blueprint: Blueprint) -> float:
    """Order curves of one blueprint, higher is better.

    Parameters
    ----------
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    blueprint : Blueprint
        What it should fold to.

    Returns
    -------
    float
        Share of the pairs that lie beside each other as asked, less what is wrong: residues that
        overlap, elements that are too short or too long, a chain that is not compact.
    """
    elements = blueprint.elements
    met = [
        _lies_beside(curve, elements[pair.first], elements[pair.second], pair.orientation)
        for pair in blueprint.pairs
    ]
    speed = np.asarray(arc_speed(curve))
    wrong_speed = [
        abs(float(np.log(speed[item.start : item.stop].mean() / _SPEED[item.kind])))
        for item in elements
    ]
    expected = RADIUS_OF_GYRATION_FACTOR * len(curve) ** RADIUS_OF_GYRATION_EXPONENT
    loose = max(float(radius_of_gyration(curve)) / expected - _COMPACT, 0.0)
    return (
        (float(np.mean(met)) if met else 0.0)
        - 2.0 * _overlap(curve)
        - (float(np.mean(wrong_speed)) if wrong_speed else 0.0)
        - 2.0 * loose
    )


def _lies_beside(curve: FloatArray, first: Element, second: Element, orientation: str) -> float:
    """How well two elements touch, 0 to 1, and 0 where they run the wrong way."""
    one, other = curve[first.start : first.stop], curve[second.start : second.stop]
    apart = np.linalg.norm(one[:, None] - other[None], axis=-1)
    along = apart.min(axis=0 if len(one) > len(other) else 1)
    limit = _STRANDS_APART if first.kind == second.kind == "E" else _OTHERS_APART
    close = float(np.median(along)) if limit == _STRANDS_APART else float(along.min())
    cosine = float((one[-1] - one[0]) @ (other[-1] - other[0]))
    if (orientation == "parallel" and cosine < 0) or (orientation == "antiparallel" and cosine > 0):
        return 0.0
    return float(np.clip(2.0 - close / limit, 0.0, 1.0))


def _overlap(curve: FloatArray) -> float:
    """Share of the residues whose axis runs through that of another stretch of the chain."""
    apart = np.linalg.norm(curve[:, None] - curve[None], axis=-1)
    index = np.arange(len(curve))
    far = np.abs(index[:, None] - index[None]) > _NEAR_ALONG_CHAIN
    return float(((apart < _TOO_CLOSE) & far).any(axis=1).mean())
