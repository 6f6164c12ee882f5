"""Which candidates are worth using, and how often.

The best candidates of the first estimate are led along the blueprint and compared with each
other. A conditional logit model (McFadden, 1974) then gives the probability that a candidate is
the closest to the wanted fold; it sees the alignment, how compact the guide is, and how far other
candidates agree, as in 3D-Jury (Ginalski et al., 2003). The choice takes the wanted fold to
look like one of the candidates, with these probabilities: designs gather on the fold that most
of the probability agrees on, and others follow where they make the best of the designs better.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.constants import RADIUS_OF_GYRATION_EXPONENT, RADIUS_OF_GYRATION_FACTOR
from protein_lab.settings import ASSETS
from protein_lab.typing import BoolArray, FloatArray, IntArray

POOL: Final = 40
"""Candidates that a choice is made from."""

RANKING_FILE: Final = ASSETS / "ranking" / "fold_ranking.toml"
"""Weights of the model, and how they were fitted."""

_SHARPNESS: Final = (5.0, 15.0)
"""Growth of the weight of a candidate as juror with its expected TM-score."""

_ALIKE: Final = 0.5
_NEIGHBORS: Final = 3
_BEST_OF: Final = 0.85
"""Weight of the best design against that of the mean of all."""

_OWN: Final = 0.3
"""Weight of a candidate's own probability against its closeness to all likely candidates."""

_AGAIN: Final = 0.9
"""Worth of another design of one fold, for each design that it has already."""

_MOST: Final = 0.6
"""Share of the designs that one fold gets where there are others."""

_CONFIDENCE: Final = 1.5
"""Power of the probabilities in the choice."""

_SAME_FOLD: Final = 0.4
"""TM-score over residues that two candidates share, above which they are averaged."""

_RELATIVE_SHARPNESS: Final = 8.0


def candidate_features(
    alignment: dict[str, FloatArray], expected: FloatArray, guides: FloatArray, close: FloatArray
) -> dict[str, FloatArray]:
    """Measure candidates of one blueprint for the ranking.

    Parameters
    ----------
    alignment : dict of str to ndarray
        Features of the alignments.
    expected : ndarray, shape=(candidate,)
        First estimates of the TM-scores.
    guides : ndarray, shape=(candidate, residue, 3)
        Where each fold leads the residues, angstrom; NaN where it says nothing.
    close : ndarray, shape=(candidate, candidate)
        TM-scores between the guides.

    Returns
    -------
    dict of str to ndarray, shape=(candidate,)
        By name.
    """
    others = close - np.diag(np.diag(close))
    known = np.isfinite(guides[..., 0])
    size = _relative_size(guides, known)
    nearest = np.sort(others, axis=1)[:, -_NEIGHBORS:]
    features = {
        "expected": expected,
        "alike": (others > _ALIKE).mean(axis=1),
        "nearest": nearest.mean(axis=1),
        "known": known.mean(axis=1),
        "size": size,
        "loose": np.maximum(size - 1.0, 0.0),
    }
    for sharpness in _SHARPNESS:
        weight = _softmax(sharpness * expected)
        jury = others @ weight / np.maximum(1 - weight, 0.1)
        features[f"jury_{sharpness:.0f}"] = jury
    for name, value in alignment.items():
        features[name] = value
        features[f"root_{name}"] = np.sqrt(np.maximum(value, 0.0))
    return features


def _relative_size(guides: FloatArray, known: BoolArray) -> FloatArray:
    """Radius of gyration of guides over that expected of the whole chain."""
    count = np.maximum(known.sum(axis=1), 1)[:, None]
    filled = np.where(known[..., None], guides, 0.0)
    center = filled.sum(axis=1) / count
    offset = np.where(known[..., None], guides - center[:, None], 0.0)
    size = np.sqrt((offset**2).sum((1, 2)) / count[:, 0])
    return size / (RADIUS_OF_GYRATION_FACTOR * guides.shape[1] ** RADIUS_OF_GYRATION_EXPONENT)


def _softmax(score: FloatArray) -> FloatArray:
    weight = np.exp(score - score.max())
    return weight / weight.sum()


@cache
def ranking_weights(path: Path = RANKING_FILE) -> dict[str, float]:
    """Read the weight of each feature.

    Parameters
    ----------
    path : Path
        Written by ``python -m protein_lab.experiments.fold_ranking``.

    Returns
    -------
    dict of str to float
        By name of the feature.
    """
    return {name: float(v) for name, v in tomllib.loads(path.read_text())["weights"].items()}


def probabilities(features: dict[str, FloatArray], weights: dict[str, float]) -> FloatArray:
    """Give the probability of each candidate to be the closest to the wanted fold.

    Parameters
    ----------
    features : dict of str to ndarray, shape=(candidate,)
        From :func:`candidate_features`.
    weights : dict of str to float
        From :func:`ranking_weights`.

    Returns
    -------
    ndarray, shape=(candidate,)
        Their sum is 1.
    """
    score = np.sum([weight * features[name] for name, weight in weights.items()], axis=0)
    return _softmax(score)


def choose(close: FloatArray, probability: FloatArray, k: int) -> IntArray:
    """Spread designs over candidates so that the best design and their mean come close.

    Parameters
    ----------
    close : ndarray, shape=(candidate, candidate)
        TM-scores between the candidates.
    probability : ndarray, shape=(candidate,)
        Of each to be the closest to the wanted fold.
    k : int
        Number of designs.

    Returns
    -------
    ndarray, shape=(k,)
        Candidate of each design; a likely one several times, for up to 60 % of the designs where
        there are others.
    """
    weight = _softmax(_CONFIDENCE * np.log(np.maximum(probability, 1e-12)))
    central = weight @ close
    worth = _OWN * weight / weight.max() + (1 - _OWN) * central / central.max()
    reached = np.zeros(len(weight))
    times = np.zeros(len(weight))
    chosen: list[int] = []
    for _ in range(k):
        best = (weight[:, None] * np.maximum(close, reached[:, None])).sum(axis=0)
        gain = _BEST_OF * best + (1 - _BEST_OF) * worth * _AGAIN**times
        # however sure, a few designs try something else, where there is anything else
        gain[times >= np.ceil(_MOST * k)] -= 1.0
        pick = int(gain.argmax())
        chosen.append(pick)
        times[pick] += 1
        reached = np.maximum(reached, close[:, pick])
    return np.array(chosen, dtype=int)


def relative_weights(close: FloatArray, expected: FloatArray, number: int) -> FloatArray:
    """Weigh the candidates that are averaged with one of them.

    Parameters
    ----------
    close : ndarray, shape=(candidate,)
        TM-scores to that candidate.
    expected : ndarray, shape=(candidate,)
        Expected TM-scores.
    number : int
        Which candidate it is.

    Returns
    -------
    ndarray, shape=(candidate,)
        0 for the candidate itself and for those of another fold.
    """
    weight = close**2 * np.exp(_RELATIVE_SHARPNESS * (expected - expected[number]))
    weight[number] = 0.0
    return np.where(close > _SAME_FOLD, weight, 0.0)
