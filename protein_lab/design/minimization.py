"""Limited-memory quasi-Newton minimization with a banded preconditioner.

A chain of stiff bonds between soft restraints is badly conditioned: plain L-BFGS needs thousands
of steps. Here the initial inverse Hessian is the inverse of a banded approximation (bonds, angles,
torsions), which Cholesky solves in linear time, scaled to the curvature met last, so tens of
steps suffice (Nocedal & Wright, *Numerical Optimization*, 2006, algorithms 7.4 and 7.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from protein_lab.typing import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]
_Memory = deque[tuple[FloatArray, FloatArray, float]]
_MEMORY = 8
_LONGEST_STEP = 0.6
_SUFFICIENT_DECREASE = 1e-4
_TRIALS = 8
_SMALLEST_SCALE = 0.01


def minimize(
    objective: Objective,
    start: FloatArray,
    bands: FloatArray,
    steps: int,
    tolerance: float = 1e-3,
) -> FloatArray:
    """Lower an objective by at most ``steps`` preconditioned L-BFGS steps.

    Parameters
    ----------
    objective : callable
        Maps coordinates ``(atom, 3)`` to a value and its gradient of the same shape.
    start : (atom, 3) array
        First coordinates.
    bands : (band, 3 * atom) array
        Lower bands of a positive definite approximation of the Hessian.
    steps : int
        Bound on the number of steps.
    tolerance : float
        Stop when no atom would move farther than this, in the unit of the coordinates.

    Returns
    -------
    (atom, 3) array
        The coordinates of the lowest value met.
    """
    preconditioner = _Preconditioner(bands)
    memory: _Memory = deque(maxlen=_MEMORY)
    point = start.reshape(-1)
    value, gradient = _flat(objective, point, start.shape)
    for _ in range(steps):
        direction = -_inverse_times(gradient, memory, preconditioner)
        longest = float(np.abs(direction).max())
        if longest < tolerance:
            break
        direction *= min(1.0, _LONGEST_STEP / longest)
        slope = float(np.vdot(direction, gradient))
        found = _search(objective, point, start.shape, value, direction, slope)
        if found is None:
            if not memory:
                break
            memory.clear()
            preconditioner.scale = 1.0
            continue
        new_point, value, new_gradient = found
        _remember(memory, preconditioner, new_point - point, new_gradient - gradient)
        point, gradient = new_point, new_gradient
    return point.reshape(start.shape)


class _Preconditioner:
    """Inverse of a banded matrix, scaled to the curvature met last."""

    def __init__(self, bands: FloatArray) -> None:
        from scipy.linalg import cholesky_banded

        self._factor = cholesky_banded(bands, lower=True, check_finite=False)
        self.scale = 1.0

    def solve(self, vector: FloatArray) -> FloatArray:
        """Divide by the matrix, without the scale."""
        from scipy.linalg import cho_solve_banded

        return cho_solve_banded((self._factor, True), vector, check_finite=False)


def _flat(
    objective: Objective, point: FloatArray, shape: tuple[int, ...]
) -> tuple[float, FloatArray]:
    value, gradient = objective(point.reshape(shape))
    return value, gradient.reshape(-1)


def _search(
    objective: Objective,
    point: FloatArray,
    shape: tuple[int, ...],
    value: float,
    direction: FloatArray,
    slope: float,
) -> tuple[FloatArray, float, FloatArray] | None:
    """Shorten the step until the value falls enough; None when it never does.

    The next length is where a parabola through what is known has its lowest point.
    """
    length = 1.0
    for _ in range(_TRIALS):
        candidate = point + length * direction
        new_value, gradient = _flat(objective, candidate, shape)
        excess = new_value - value - length * slope
        if new_value <= value + _SUFFICIENT_DECREASE * length * slope:
            return candidate, new_value, gradient
        lowest = -slope * length * length / (2.0 * excess) if np.isfinite(excess) else 0.0
        length = min(max(lowest, 0.1 * length), 0.5 * length)
    return None


def _remember(
    memory: _Memory, preconditioner: _Preconditioner, moved: FloatArray, change: FloatArray
) -> None:
    """Keep a step that tells about curvature; negative curvature would break the recursion."""
    curvature = float(np.vdot(moved, change))
    if curvature > 1e-10:
        memory.append((moved, change, 1.0 / curvature))
        # Repulsion is not in the bands: without this scale every second step is too long.
        expected = float(np.vdot(change, preconditioner.solve(change)))
        preconditioner.scale = max(curvature / expected, _SMALLEST_SCALE)


def _inverse_times(
    gradient: FloatArray, memory: _Memory, preconditioner: _Preconditioner
) -> FloatArray:
    """Two-loop recursion: the inverse Hessian approximation times the gradient."""
    vector = gradient.copy()
    parts = []
    for moved, change, inverse in reversed(memory):
        part = inverse * float(np.vdot(moved, vector))
        vector -= part * change
        parts.append(part)
    vector = preconditioner.scale * preconditioner.solve(vector)
    for (moved, change, inverse), part in zip(memory, reversed(parts), strict=True):
        vector += (part - inverse * float(np.vdot(change, vector))) * moved
    return vector
