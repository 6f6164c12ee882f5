"""Whether an analytic gradient is that of its energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from protein_lab.typing import FloatArray


def worst_gradient_error(
    energy: Callable[[FloatArray], tuple[float, FloatArray]],
    points: FloatArray,
    step: float = 1e-5,
    seed: int = 0,
    directions: int = 24,
) -> float:
    """Compare a gradient with central differences along random directions.

    Parameters
    ----------
    energy : callable
        Gives an energy and its gradient.
    points : ndarray
        Where to compare, angstrom.
    step : float
        Of the differences, angstrom.
    seed : int
        Of the directions; half of them move one coordinate alone.
    directions : int
        How many.

    Returns
    -------
    float
        Largest difference of the slopes, relative to the larger of 1 and the slope.
    """
    rng = np.random.default_rng(seed)
    _, gradient = energy(points)
    worst = 0.0
    for number in range(directions):
        direction = rng.normal(size=points.shape)
        if number % 2:
            place = rng.integers(points.size)
            direction = (np.arange(points.size) == place).reshape(points.shape).astype(float)
        direction /= np.linalg.norm(direction)
        ahead, behind = energy(points + step * direction)[0], energy(points - step * direction)[0]
        expected = (ahead - behind) / (2.0 * step)
        found = float((gradient * direction).sum())
        worst = max(worst, abs(found - expected) / max(1.0, abs(expected)))
    return worst
