"""Proper scoring rules: how good a predicted distribution is, in one number.

Each is lowest on average for the distribution that the observations come from, so neither too
wide nor too narrow a prediction pays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from protein_lab.errors import ProteinLabError
from protein_lab.typing import FloatArray


def gaussian_crps(mean: ArrayLike, sigma: ArrayLike, observed: ArrayLike) -> FloatArray:
    """Continuous ranked probability score of normal predictions (Gneiting & Raftery, 2007).

    Parameters
    ----------
    mean, sigma, observed : array_like
        Broadcast together; ``sigma`` is positive.

    Returns
    -------
    ndarray
        In the unit of the arguments, lower is better; 0.234 ``sigma`` at the mean.

    Raises
    ------
    ProteinLabError
        If a number is not finite or a standard deviation is not positive.
    """
    scale = positive(sigma)
    z = (finite(observed, "observed") - finite(mean, "mean")) / scale
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    spread = z * (2.0 * special.ndtr(z) - 1.0) + 2.0 * density
    return np.asarray(scale * (spread - 1.0 / np.sqrt(np.pi)))


def ensemble_crps(members: ArrayLike, observed: ArrayLike) -> FloatArray:
    """Fair continuous ranked probability score of an ensemble (Ferro, 2014).

    Its mean over ensembles drawn from one distribution does not depend on their size, and is the
    score of that distribution.

    Parameters
    ----------
    members : array_like
        ``(member, ...)``, at least two members.
    observed : array_like
        ``(...)``.

    Returns
    -------
    ndarray
        ``(...)``; may be negative for a single ensemble.

    Raises
    ------
    ProteinLabError
        If there is one member only, shapes differ or a number is not finite.
    """
    drawn, seen = _ensemble(members, observed)
    count = len(drawn)
    # the sum over all pairs from the sorted members: O(m log m) instead of O(m^2)
    rank = 2.0 * np.arange(1, count + 1) - count - 1.0
    between = np.tensordot(rank, np.sort(drawn, axis=0), axes=1)
    return np.asarray(np.abs(drawn - seen).mean(axis=0) - between / (count * (count - 1)))


def energy_score(members: ArrayLike, observed: ArrayLike) -> FloatArray:
    """Fair energy score: the CRPS of vectors (Gneiting & Raftery, 2007).

    Parameters
    ----------
    members : array_like
        ``(member, ..., component)``, at least two members.
    observed : array_like
        ``(..., component)``.

    Returns
    -------
    ndarray
        ``(...)``, with Euclidean distances for absolute values.

    Raises
    ------
    ProteinLabError
        If there is one member only, shapes differ or a number is not finite.
    """
    drawn, seen = _ensemble(members, observed)
    count = len(drawn)
    error = np.linalg.norm(drawn - seen, axis=-1).mean(axis=0)
    between = np.zeros_like(error)
    for number in range(1, count):
        between += np.linalg.norm(drawn[number:] - drawn[:-number], axis=-1).sum(axis=0)
    return np.asarray(error - between / (count * (count - 1)))


def gaussian_nll(mean: ArrayLike, sigma: ArrayLike, observed: ArrayLike) -> FloatArray:
    """Negative log-likelihood of normal predictions, nats.

    Parameters
    ----------
    mean, sigma, observed : array_like
        Broadcast together; ``sigma`` is positive.

    Raises
    ------
    ProteinLabError
        If a number is not finite or a standard deviation is not positive.
    """
    scale = positive(sigma)
    z = (finite(observed, "observed") - finite(mean, "mean")) / scale
    return np.asarray(0.5 * z * z + np.log(scale) + 0.5 * np.log(2.0 * np.pi))


def finite(values: ArrayLike, name: str) -> FloatArray:
    """Take numbers as float64, or raise ProteinLabError where one is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ProteinLabError(f"Expected finite numbers as {name}, but some are not.")
    return array


def positive(sigma: ArrayLike) -> FloatArray:
    """Take standard deviations as float64, or raise ProteinLabError where one is not positive."""
    array = finite(sigma, "sigma")
    if (array <= 0.0).any():
        raise ProteinLabError("Expected positive standard deviations, but some are not.")
    return array


def _ensemble(members: ArrayLike, observed: ArrayLike) -> tuple[FloatArray, FloatArray]:
    drawn, seen = finite(members, "members"), finite(observed, "observed")
    if drawn.ndim < 1 or len(drawn) < 2 or drawn.shape[1:] != seen.shape:
        raise ProteinLabError(
            f"Expected at least two members, each of the shape {seen.shape} of what was observed, "
            f"but got {drawn.shape}."
        )
    return drawn, seen
