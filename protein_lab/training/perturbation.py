"""Perturbed axis curves for training.

A curve warped from a library fold has the wrong speed here, a bent helix there. An operator that
only ever saw the true axis of real chains breaks on such curves; it is therefore trained on curves
perturbed in the same ways, and told how far they may be off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protein_lab.geometry import axis_curve

Curve = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, length: int, correlation: float, columns: int) -> Curve:
    """Gaussian noise of unit variance, smooth over ``correlation`` residues.

    Returns
    -------
    ndarray, shape=(residue, columns)
    """
    reach = int(3 * correlation) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / correlation) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    white = rng.standard_normal((length + 2 * reach, columns))
    smooth = [np.convolve(white[:, k], kernel, mode="valid") for k in range(columns)]
    return np.stack(smooth, axis=1).astype(np.float64)


def bend(curve: Curve, rng: np.random.Generator, amplitude: float) -> Curve:
    """Displace a curve smoothly by about ``amplitude`` angstrom over 3 to 15 residues."""
    correlation = float(np.exp(rng.uniform(np.log(3.0), np.log(15.0))))
    noise = smooth_noise(rng, len(curve), correlation, 3) / np.sqrt(3.0)
    return curve + amplitude * noise


def change_speed(curve: Curve, rng: np.random.Generator, residues: float) -> Curve:
    """Slide points along a curve by about ``residues`` residues, so its speed is wrong."""
    correlation = float(np.exp(rng.uniform(np.log(4.0), np.log(12.0))))
    index = np.arange(len(curve), dtype=np.float64)
    slid = index + residues * smooth_noise(rng, len(curve), correlation, 1)[:, 0]
    slid = np.clip(np.maximum.accumulate(slid), 0, len(curve) - 1)
    return np.stack([np.interp(slid, index, curve[:, k]) for k in range(3)], axis=1)


def displace_elements(
    curve: Curve,
    elements: list[tuple[int, int]],
    rng: np.random.Generator,
    amplitude: float,
) -> Curve:
    """Move helices and strands as rigid bodies; the loops between them follow linearly."""
    if not elements:
        return curve
    knots, moves = [], []
    for start, stop in elements:
        shift = rng.standard_normal(3) * (amplitude / np.sqrt(3.0))
        knots += [start, stop - 1]
        moves += [shift, shift]
    index = np.arange(len(curve))
    table = np.array(moves)
    return curve + np.stack([np.interp(index, knots, table[:, k]) for k in range(3)], axis=1)


def perturb_curve(
    curve: Curve,
    elements: list[tuple[int, int]],
    rng: np.random.Generator,
    amplitude: float,
) -> Curve:
    """Make the kind of error that warping makes, of about ``amplitude`` angstrom.

    Parameters
    ----------
    curve : ndarray, shape=(residue, 3)
        True axis curve, angstrom.
    elements : list of (start, stop)
        Helices and strands, 0-based and half-open.
    rng : Generator
    amplitude : float
        Angstrom; 0 leaves the curve as it is.

    Returns
    -------
    ndarray, shape=(residue, 3)
    """
    if amplitude <= 0:
        return curve
    share = rng.dirichlet([1.0, 1.0, 1.0])
    changed = displace_elements(curve, elements, rng, amplitude * share[0] * 1.5)
    changed = change_speed(changed, rng, 0.6 * amplitude * share[1] * 1.5)
    changed = bend(changed, rng, amplitude * share[2] * 1.5)
    # the kinks that the moves leave are smoothed as warped curves are
    return axis_curve(changed, 1.0) if rng.random() < 0.5 else changed
