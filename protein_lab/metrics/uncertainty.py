"""How honest and how sharp predicted uncertainties are.

Errors and standard deviations share one unit, as a rule angstrom. A *chain* is the unit that is
exchangeable: residues of one chain are not independent, so intervals and conformal guarantees
draw whole chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from protein_lab.errors import ProteinLabError
from protein_lab.metrics.scoring_rules import finite, positive
from protein_lab.typing import FloatArray

LEVELS: Final = np.linspace(0.05, 0.95, 19)
"""Probabilities at which a predicted distribution is compared with what was observed."""


class Interval(NamedTuple):
    """A figure and its bootstrap interval."""

    value: float
    low: float
    high: float


def displacement_probability(distance: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Predicted probability of a displacement no longer than the one observed.

    The three coordinates are normal and independent with equal variance, so lengths follow the
    chi distribution with three degrees of freedom.

    Parameters
    ----------
    distance : array_like
        Length of the displacement, angstrom.
    sigma : array_like
        Predicted root mean square length, the square root of three times that of a coordinate.

    Returns
    -------
    ndarray
        Uniform on 0 to 1 where the prediction is right.

    Raises
    ------
    ProteinLabError
        If a number is not finite or a standard deviation is not positive.
    """
    ratio = finite(distance, "distance") / positive(sigma)
    return np.asarray(special.gammainc(1.5, 1.5 * ratio * ratio))


def calibration_error(probability: ArrayLike, levels: ArrayLike = LEVELS) -> float:
    """Regression calibration error (Kuleshov, Fenner & Ermon, 2018).

    Parameters
    ----------
    probability : array_like
        Predicted probability of a value no larger than the one observed, for every observation.
    levels : array_like
        Probabilities that are compared.

    Returns
    -------
    float
        Mean over the levels of the distance between the level and the share of observations at
        or below it: 0 when calibrated, at most 0.5 for levels spread evenly.

    Raises
    ------
    ProteinLabError
        If there is no observation, or a probability is not in 0 to 1.
    """
    found = np.sort(finite(probability, "probability"), axis=None)
    if not found.size or found[0] < 0.0 or found[-1] > 1.0:
        raise ProteinLabError("Expected probabilities in 0 to 1, at least one.")
    asked = np.asarray(levels, dtype=np.float64)
    share = np.searchsorted(found, asked, side="right") / found.size
    return float(np.abs(share - asked).mean())


def coverage(error: ArrayLike, half_width: ArrayLike) -> float:
    """Share of residues whose error lies within the band, whatever its sign.

    Raises
    ------
    ProteinLabError
        If there is no residue or a number is not finite.
    """
    inside = np.abs(finite(error, "error")) <= finite(half_width, "half_width")
    if not inside.size:
        raise ProteinLabError("Expected at least one error, but none came.")
    return float(inside.mean())


def simultaneous_coverage(errors: Sequence[ArrayLike], half_widths: Sequence[ArrayLike]) -> float:
    """Share of chains that lie within their band at every residue.

    Parameters
    ----------
    errors, half_widths : sequence of array_like
        One array ``(residue,)`` a chain; the widths may be single numbers.

    Raises
    ------
    ProteinLabError
        If there is no chain, or a chain has no residue.
    """
    if not errors:
        raise ProteinLabError("Expected the errors of at least one chain, but none came.")
    pairs = zip(errors, half_widths, strict=True)
    return float(np.mean([coverage(error, width) == 1.0 for error, width in pairs]))


def sup_score(error: ArrayLike, sigma: ArrayLike) -> float:
    """Largest error of a chain over its predicted standard deviation.

    A band of ``sigma`` times the score just holds the whole chain.

    Raises
    ------
    ProteinLabError
        If there is no residue, or a standard deviation is not positive.
    """
    ratio = np.abs(finite(error, "error")) / positive(sigma)
    if not ratio.size:
        raise ProteinLabError("Expected at least one error, but none came.")
    return float(ratio.max())


def conformal_quantile(scores: ArrayLike, miscoverage: float) -> float:
    """Bound that a new score exceeds with probability ``miscoverage`` at most.

    Split conformal prediction (Vovk et al., 2005): the ceil((n + 1) (1 - miscoverage))-th
    smallest of n scores of exchangeable chains that nothing was fitted to.

    Parameters
    ----------
    scores : array_like
        One score a chain.
    miscoverage : float
        Between 0 and 1.

    Returns
    -------
    float
        Infinite when there are too few scores for the level.

    Raises
    ------
    ProteinLabError
        If there is no score, one is not finite, or the level is not between 0 and 1.
    """
    found = np.sort(finite(scores, "scores"), axis=None)
    if not found.size or not 0.0 < miscoverage < 1.0:
        raise ProteinLabError(
            f"Expected scores and a level between 0 and 1; {found.size} scores and "
            f"{miscoverage} came."
        )
    # the margin keeps products such as 100 * 0.9 from being rounded up past a whole number
    rank = int(np.ceil((found.size + 1) * (1.0 - miscoverage) - 1e-9))
    return float(found[rank - 1]) if rank <= found.size else float("inf")


def spread_skill_ratio(error: ArrayLike, sigma: ArrayLike) -> float:
    """Root mean square of predicted standard deviations over that of the errors; 1 is right.

    Raises
    ------
    ProteinLabError
        If there is no number, one is not finite, or all errors are zero.
    """
    seen, spread = _same(error, sigma)
    size = float(np.sqrt((seen**2).mean()))
    if size == 0.0:
        raise ProteinLabError("Expected errors that are not all zero.")
    return float(np.sqrt((spread**2).mean())) / size


def sparsification_error(error: ArrayLike, sigma: ArrayLike) -> float:
    """Area under the sparsification error curve, AUSE (Ilg et al., 2018).

    Residues are left out one by one, the most uncertain first. The mean absolute error of the
    rest is compared with what is reached by leaving out the largest errors first.

    Parameters
    ----------
    error, sigma : array_like
        ``(residue,)``. Residues of equal ``sigma`` are left out together, on average.

    Returns
    -------
    float
        Mean difference of the two curves over the mean error: 0 when the order is that of the
        errors.

    Raises
    ------
    ProteinLabError
        If there is no number, one is not finite, or all errors are zero.
    """
    seen, spread = _same(np.abs(np.asarray(error, dtype=np.float64)), sigma)
    if not seen.any():
        raise ProteinLabError("Expected errors that are not all zero.")
    by_sigma = _tied_means(spread, seen)[np.argsort(spread, kind="stable")]
    best = np.sort(seen)
    # running means from the most certain residue on are the curves, read from the other end
    kept = np.arange(1, seen.size + 1)
    return float(((by_sigma - best).cumsum() / kept).mean() / seen.mean())


def _tied_means(keys: FloatArray, values: FloatArray) -> FloatArray:
    """Replace values by the mean of all that share their key."""
    _, number = np.unique(keys, return_inverse=True)
    return (np.bincount(number, values) / np.bincount(number))[number]


def rank_correlation(
    errors: Sequence[ArrayLike],
    sigmas: Sequence[ArrayLike],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Spearman's correlation of predicted and found errors over the residues of all chains.

    Parameters
    ----------
    errors, sigmas : sequence of array_like
        One array ``(residue,)`` a chain; errors count by their absolute value.
    resamples : int
        Bootstrap samples of whole chains; 0 leaves the interval out (both ends NaN).
    seed : int
        Of the bootstrap.

    Returns
    -------
    Interval
        The correlation and its 95 % interval; NaN where one side is constant.

    Raises
    ------
    ProteinLabError
        If there is no chain, shapes differ or a number is not finite.
    """
    pairs = [_same(*pair) for pair in zip(errors, sigmas, strict=True)]
    if not pairs:
        raise ProteinLabError("Expected at least one chain, but none came.")
    seen, spread = (np.concatenate(part) for part in zip(*pairs, strict=True))
    seen = np.abs(seen)
    if np.ptp(spread) == 0.0 or np.ptp(seen) == 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(np.asarray(stats.spearmanr(seen, spread))[0])
    if resamples < 1:
        return Interval(value, float("nan"), float("nan"))
    owner = np.repeat(np.arange(len(pairs)), [len(pair[0]) for pair in pairs])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(pairs), np.full(len(pairs), 1.0 / len(pairs)), size=resamples)
    found = [_weighted_spearman(seen, spread, weight[owner]) for weight in drawn]
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _weighted_spearman(first: FloatArray, second: FloatArray, count: FloatArray) -> float:
    """Spearman's correlation where each pair of values stands ``count`` times."""
    x, y = _mid_ranks(first, count), _mid_ranks(second, count)
    total = count.sum()
    x, y = x - (x @ count) / total, y - (y @ count) / total
    scale = np.sqrt(((x * x) @ count) * ((y * y) @ count))
    return float((x * y) @ count / scale) if scale > 0.0 else float("nan")


def _mid_ranks(values: FloatArray, count: FloatArray) -> FloatArray:
    """Mean rank of each value among values that stand ``count`` times; ties share theirs."""
    _, number = np.unique(values, return_inverse=True)
    size = np.bincount(number, count)
    return (np.cumsum(size) - 0.5 * size)[number]


def _same(error: ArrayLike, sigma: ArrayLike) -> tuple[FloatArray, FloatArray]:
    seen, spread = finite(error, "error"), finite(sigma, "sigma")
    if spread.shape != seen.shape or not spread.size:
        raise ProteinLabError(
            f"Expected as many standard deviations as errors, at least one, but got the shapes "
            f"{spread.shape} and {seen.shape}."
        )
    return seen, spread
