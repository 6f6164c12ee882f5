"""Gaussian prior on fields along the chain.

An Ornstein-Uhlenbeck process is a function-space prior: refining the sampling does not change
its law, which white noise does not offer. On the chain it is the law of an ideal polymer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ATOM_OFFSETS = (-1.0 / 3.0, 0.0, 1.0 / 3.0)
"""Chain coordinates of N, CA and C relative to their residue, in residues."""


def ornstein_uhlenbeck(
    rng: np.random.Generator,
    coordinate: NDArray[np.floating],
    num_samples: int,
    scale: float,
    correlation: float,
) -> NDArray[np.float64]:
    """Draw stationary paths with covariance ``scale^2 exp(-|s - r| / correlation)`` per axis.

    Parameters
    ----------
    rng : Generator
    coordinate : ndarray, shape=(point,)
        Increasing positions along the chain, residues.
    num_samples : int
    scale : float
        Standard deviation, angstrom.
    correlation : float
        Correlation length, residues.

    Returns
    -------
    ndarray, shape=(sample, point, 3)
    """
    innovation = rng.standard_normal((num_samples, len(coordinate), 3)) * scale
    decay = np.exp(-np.diff(coordinate, prepend=coordinate[:1]) / correlation)
    spread = np.sqrt(1.0 - decay * decay)
    path = np.empty_like(innovation)
    path[:, 0] = innovation[:, 0]
    for i in range(1, len(coordinate)):
        path[:, i] = decay[i] * path[:, i - 1] + spread[i] * innovation[:, i]
    return path


def backbone_noise(
    rng: np.random.Generator,
    length: int,
    num_samples: int,
    scale: float,
    correlation: float,
) -> NDArray[np.float32]:
    """Draw noise for N, CA and C of every residue as one path along the chain of atoms.

    Parameters
    ----------
    rng : Generator
    length : int
        Residues.
    num_samples : int
    scale : float
        Standard deviation, angstrom.
    correlation : float
        Correlation length, residues.

    Returns
    -------
    ndarray, shape=(sample, residue, 3, 3), dtype=float32
        Axes: sample, residue, atom (N, CA, C), xyz.
    """
    coordinate = (np.arange(length, dtype=np.float64)[:, None] + np.array(ATOM_OFFSETS)).ravel()
    path = ornstein_uhlenbeck(rng, coordinate, num_samples, scale, correlation)
    return path.reshape(num_samples, length, 3, 3).astype(np.float32)
