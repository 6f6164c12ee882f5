"""Limited-memory quasi-Newton minimization with a banded preconditioner.

A chain of stiff bonds between soft restraints is badly conditioned: plain L-BFGS needs thousands
of steps. Here the initial inverse Hessian is the inverse of a banded approximation (bonds, angles,
torsions), which Cholesky solves in linear time, so tens of steps suffice (Nocedal & Wright,
*Numerical Optimization*, 2006, algorithms 7.4 and 7.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from protein_lab.typing import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]
_Memory = deque[tuple[FloatArray, FloatArray, float]]
_MEMORY = 12
_LONGEST_STEP = 0.6
_SUFFICIENT_DECREASE = 1e-4
_HALVINGS = 8


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
    from scipy.linalg import cholesky_banded

    factor = cholesky_banded(bands, lower=True, check_finite=False)
    memory: _Memory = deque(maxlen=_MEMORY)
    point = start.reshape(-1)
    value, gradient = _flat(objective, point, start.shape)
    for _ in range(steps):
        direction = -_inverse_times(gradient, memory, factor)
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
            continue
        new_point, value, new_gradient = found
        _remember(memory, new_point - point, new_gradient - gradient)
        point, gradient = new_point, new_gradient
    return point.reshape(start.shape)


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
    """Halve the step until the value falls enough; None when it never does."""
    length = 1.0
    for _ in range(_HALVINGS):
        candidate = point + length * direction
        new_value, gradient = _flat(objective, candidate, shape)
        if new_value <= value + _SUFFICIENT_DECREASE * length * slope:
            return candidate, new_value, gradient
        length *= 0.5
    return None


def _remember(memory: _Memory, moved: FloatArray, change: FloatArray) -> None:
    """Keep a step that tells about curvature; negative curvature would break the recursion."""
    curvature = float(np.vdot(moved, change))
    if curvature > 1e-10:
        memory.append((moved, change, 1.0 / curvature))


def _inverse_times(
    gradient: FloatArray,
    memory: _Memory,
    factor: FloatArray,
) -> FloatArray:
    """Two-loop recursion: the inverse Hessian approximation times the gradient."""
    from scipy.linalg import cho_solve_banded

    vector = gradient.copy()
    parts = []
    for moved, change, inverse in reversed(memory):
        part = inverse * float(np.vdot(moved, vector))
        vector -= part * change
        parts.append(part)
    vector = cho_solve_banded((factor, True), vector, check_finite=False)
    for (moved, change, inverse), part in zip(memory, reversed(parts), strict=True):
        vector += (part - inverse * float(np.vdot(change, vector))) * moved
    return vector
