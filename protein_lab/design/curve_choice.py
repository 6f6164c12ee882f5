"""Which of many coarse curves are worth a backbone.

A linear score predicts how near a curve lies to the fold that the blueprint was read from. It was
fitted on calibration chains, whose folds are known (docs/novelty.md). The choice then hedges:
the first curves are those whose best one is expected to come closest, so that designs of one
request differ.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.design.blueprint import Blueprint, Element
from protein_lab.geometry import arc_speed, superimpose
from protein_lab.metrics.comparison import tm_scale
from protein_lab.typing import BoolArray, FloatArray, IntArray

COEFFICIENTS: Final = {
    "helix_pairs": 0.038,
    "strand_pairs": 0.099,
    "speed": -0.145,
    "twist": 0.059,
    "log_sigma": -0.077,
    "consensus": 0.513,
}
"""TM-score gained for each unit, by least squares on differences between curves of one chain."""

_SHARPNESS: Final = 10.0
"""Growth of the probability of a curve with its expected TM-score."""

_AGREEMENT: Final = 0.5
"""Weight of closeness to other likely curves against that of a curve's own expected TM-score."""

_MIRRORED: Final = -0.1
"""Twist below which a curve with sheets is a mirror image; of real chains none is."""

_STRANDS_APART: Final = 6.5
_OTHERS_APART: Final = 13.0
_SPEED: Final = {"H": 1.45, "E": 3.0}
_SUPERPOSITIONS: Final = 4


def is_mirrored(curves: FloatArray, blueprint: Blueprint) -> BoolArray:
    """Tell which curves have sheets that twist the wrong way.

    At four residues a point hardly anything but the twist of sheets has a hand, and the operator
    sometimes folds the mirror image.

    Parameters
    ----------
    curves : ndarray, shape=(curve, residue, 3)
        Axis curves, angstrom.
    blueprint : Blueprint
        What they should fold to.

    Returns
    -------
    ndarray, shape=(curve,)
        Never true where no strands are paired.
    """
    return np.array([curve_features(curve, blueprint)["twist"] < _MIRRORED for curve in curves])


def expected_tm(
    curves: FloatArray, log_sigma: FloatArray, close: FloatArray, blueprint: Blueprint
) -> FloatArray:
    """Estimate how near curves of one blueprint lie to its fold, up to a constant.

    Parameters
    ----------
    curves : ndarray, shape=(curve, residue, 3)
        Axis curves, angstrom.
    log_sigma : ndarray, shape=(curve,)
        How unsure the operator was of each, from :class:`protein_lab.curve_flow.CurveSample`.
    close : ndarray, shape=(curve, curve)
        From :func:`likeness`. A curve that the operator draws again and again is more often right.
    blueprint : Blueprint
        What they should fold to.

    Returns
    -------
    ndarray, shape=(curve,)
        Higher is better; differences are differences of TM-score.
    """
    terms = score_terms(curves, log_sigma, close, blueprint)
    return terms @ np.array(list(COEFFICIENTS.values()))


def score_terms(
    curves: FloatArray, log_sigma: FloatArray, close: FloatArray, blueprint: Blueprint
) -> FloatArray:
    """Measure everything that the score is made of.

    Parameters
    ----------
    curves, log_sigma, close, blueprint
        As for :func:`expected_tm`.

    Returns
    -------
    ndarray, shape=(curve, term)
        In the order of :data:`COEFFICIENTS`.
    """
    others = max(len(curves) - 1, 1)
    known = {"log_sigma": log_sigma, "consensus": (close.sum(axis=1) - 1.0) / others}
    found = [curve_features(curve, blueprint) for curve in curves]
    return np.stack(
        [known[name] if name in known else [item[name] for item in found] for name in COEFFICIENTS],
        axis=1,
    )


def choose_curves(close: FloatArray, expected: FloatArray, count: int) -> IntArray:
    """Choose curves so that the best of the chosen is expected to come closest to the fold.

    Parameters
    ----------
    close : ndarray, shape=(curve, curve)
        From :func:`likeness`.
    expected : ndarray, shape=(curve,)
        From :func:`expected_tm`.
    count : int
        How many to choose.

    Returns
    -------
    ndarray
        Curves in the order of choice, at most ``count``. The fold is taken to look like one of
        the curves, with a probability that grows with what is expected of it; each choice adds
        most to how near the chosen ones are to it.
    """
    probability = np.exp(_SHARPNESS * (expected - expected.max()))
    probability /= probability.sum()
    covered = np.zeros(len(expected))
    chosen: list[int] = []
    for _ in range(min(count, len(expected))):
        reached = (probability[:, None] * np.maximum(close, covered[:, None])).sum(axis=0)
        gain = _AGREEMENT * reached + (1.0 - _AGREEMENT) * expected
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, close[:, chosen[-1]])
    return np.array(chosen, dtype=int)


def likeness(curves: FloatArray, length: int) -> FloatArray:
    """TM-score between all curves of one chain, from a few superpositions.

    Parameters
    ----------
    curves : ndarray, shape=(curve, point, 3)
        Angstrom; points correspond.
    length : int
        Residues of the chain, which set the scale.

    Returns
    -------
    ndarray, shape=(curve, curve)
        Symmetric, with a diagonal of 1; at most the true maximum over superpositions.
    """
    count = len(curves)
    first, second = np.triu_indices(count, 1)
    close = np.eye(count)
    if not first.size:
        return close
    scale = tm_scale(length)
    weight = np.ones((first.size, curves.shape[1]))
    best = np.zeros(first.size)
    for _ in range(_SUPERPOSITIONS):
        rotation, shift = superimpose(curves[first], curves[second], weight)
        moved = curves[first] @ np.swapaxes(rotation, -1, -2) + shift[:, None]
        near = 1.0 / (1.0 + ((moved - curves[second]) ** 2).sum(-1) / scale**2)
        best = np.maximum(best, near.mean(axis=1))
        weight = near**2 + 1e-9
    close[first, second] = close[second, first] = best
    return close


def curve_features(curve: FloatArray, blueprint: Blueprint) -> dict[str, float]:
    """Describe how well a curve keeps to its blueprint and to what real chains are like.

    Parameters
    ----------
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    blueprint : Blueprint
        What it should fold to.

    Returns
    -------
    dict of str to float
        ``helix_pairs`` and ``strand_pairs``: share of the asked pairs that lie beside each other.
        ``speed``: how wrong the lengths of elements are, mean of logarithms. ``twist``: sine of
        the angle between paired strands, positive for the left-handed twist that nearly all real
        sheets have, so mirror images are told apart.
    """
    elements = blueprint.elements
    met: dict[str, list[float]] = {"H": [], "E": []}
    twist: list[float] = []
    for pair in blueprint.pairs:
        first, second = elements[pair.first], elements[pair.second]
        met[first.kind].append(_lies_beside(curve, first, second, pair.orientation))
        if first.kind == second.kind == "E":
            twist.append(_twist(curve, first, second))
    speed = np.asarray(arc_speed(curve))
    wrong = [
        abs(float(np.log(speed[item.start : item.stop].mean() / _SPEED[item.kind])))
        for item in elements
    ]
    return {
        "helix_pairs": _mean(met["H"]),
        "strand_pairs": _mean(met["E"]),
        "speed": _mean(wrong),
        "twist": _mean(twist),
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


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


def _unit(vector: FloatArray) -> FloatArray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _ends(curve: FloatArray, element: Element) -> tuple[FloatArray, FloatArray]:
    """Middle and direction of an element."""
    part = curve[element.start : element.stop]
    return part.mean(axis=0), _unit(part[-1] - part[0])


def _twist(curve: FloatArray, first: Element, second: Element) -> float:
    """Sine of the dihedral angle between two elements about the line that joins them."""
    (here, one), (there, other) = _ends(curve, first), _ends(curve, second)
    line = _unit(there - here)
    turned = other if float(one @ other) > 0 else -other
    return float(np.cross(turned, one) @ line)
