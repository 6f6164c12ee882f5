"""Paths of CA atoms that no real chain gives: splines, random coils, evened steps."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.constants import CA_CA_TRANS
from protein_lab.typing import FloatArray

_NEXT_BUT_ONE: Final = 5.2
"""CA atoms two residues apart are not closer than this, angstrom."""

_EVENING: Final = 60
_JITTER: Final = 0.3
_TINY: Final = 1e-9


def even_steps(
    path: FloatArray,
    start: FloatArray,
    stop: FloatArray | None,
    rng: np.random.Generator,
) -> FloatArray:
    """Give a stretched or compressed path the steps of a real chain.

    Parameters
    ----------
    path : ndarray, shape=(residue, 3)
        Where the residues should lie about, angstrom.
    start, stop : ndarray, shape=(3,)
        CA before and after, which stay; no ``stop`` where the chain ends.
    rng : Generator
        Lets compressed paths buckle to any side.

    Returns
    -------
    ndarray, shape=(residue, 3)
        Steps of about 3.8 angstrom, unless the ends lie too far apart.
    """
    points = np.concatenate([start[None], path + _JITTER * rng.standard_normal(path.shape)])
    if stop is not None:
        points = np.concatenate([points, stop[None]])
    free = np.ones(len(points))
    free[0] = 0.0
    free[-1] = stop is None
    for _ in range(_EVENING):
        move = np.zeros_like(points)
        for lag, least, most in ((1, CA_CA_TRANS, CA_CA_TRANS), (2, _NEXT_BUT_ONE, np.inf)):
            gap = points[lag:] - points[:-lag]
            size = np.maximum(np.linalg.norm(gap, axis=-1), _TINY)
            miss = size - np.clip(size, least, most)
            step = 0.4 * (miss / size)[:, None] * gap
            move[:-lag] += step
            move[lag:] -= step
        points += free[:, None] * move
    return points[1:] if stop is None else points[1:-1]


def hermite(before: FloatArray, after: FloatArray, size: int) -> FloatArray:
    """Smooth path between two ends, for loops longer than any real one.

    Parameters
    ----------
    before, after : ndarray, shape=(3, 3)
        The last three CA before and the first three after, angstrom.
    size : int
        Residues in between.

    Returns
    -------
    ndarray, shape=(size, 3)
        Points of a cubic Hermite spline that bulges more the longer it has to be.
    """
    start, stop = before[-1], after[0]
    pull = 0.75 * 3.0 * (size + 1)
    first, last = before[-1] - before[0], after[-1] - after[0]
    first = pull * first / max(float(np.linalg.norm(first)), 1e-6)
    last = pull * last / max(float(np.linalg.norm(last)), 1e-6)
    t = (np.arange(1, size + 1) / (size + 1))[:, None]
    return (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * first
        + (3 * t**2 - 2 * t**3) * stop
        + (t**3 - t**2) * last
    )


def coil(length: int, rng: np.random.Generator) -> FloatArray:
    """Compact random path for a chain without any helix or strand.

    Parameters
    ----------
    length : int
        Residues.
    rng : Generator
        Draws the path.

    Returns
    -------
    ndarray, shape=(length, 3)
        CA trace with 3.8 angstrom steps that avoid each other, angstrom.
    """
    points = np.zeros((length, 3))
    heading = np.array([1.0, 0.0, 0.0])
    for i in range(1, length):
        steps = rng.standard_normal((24, 3)) + heading
        steps *= 3.8 / np.linalg.norm(steps, axis=-1, keepdims=True)
        ends = points[i - 1] + steps
        gap = np.linalg.norm(ends[:, None] - points[None, max(0, i - 400) : i - 1], axis=-1)
        nearest = gap.min(axis=1, initial=9.0)
        spread = np.linalg.norm(ends - points[:i].mean(axis=0), axis=-1)
        best = int((np.maximum(0.0, 5.0 - nearest) * 10 + 0.3 * spread).argmin())
        points[i] = ends[best]
        heading = steps[best] / 3.8
    return points
