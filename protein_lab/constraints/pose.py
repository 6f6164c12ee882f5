"""Rigid sets of points (a ligand, a metal, a target) and the pose in which they suit a chain.

An energy of a chain and of the pose of such a set becomes an energy of the chain alone when the
pose is always the best one: at the minimum it does not change with the pose, so that its gradient
on the chain is that at a pose which stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from protein_lab.constraints.windows import Windows
from protein_lab.typing import FloatArray, IntArray

PlacedEnergy = Callable[[FloatArray], tuple[float, FloatArray]]
"""Energy of placed points, shape (point, 3), with its gradient."""

PRECISE: Final = 1e-7
ROUGH: Final = 1e-3
"""Nats per angstrom left on a pose: where it is judged, and while a chain is on its way."""

_ITERATIONS: Final = 120
_ANOTHER: Final = 1.5
"""Angstrom from which on a chain is another one, for which a pose is searched for anew."""
_SEED: Final = 0


def place_points(points: FloatArray, pose: FloatArray) -> FloatArray:
    """Turn and move points.

    Parameters
    ----------
    points : ndarray, shape=(point, 3)
        Angstrom.
    pose : ndarray, shape=(7,)
        Quaternion (of any length but 0; real part first) and shift in angstrom.
    """
    return points @ _rotation(pose[:4]).T + pose[4:]


def pose_of(rotation: FloatArray, shift: FloatArray) -> FloatArray:
    """Give the pose, shape (7,), that turns by a matrix and then moves by a shift in angstrom."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
    return np.concatenate([turn, shift])


def _rotation(quaternion: FloatArray) -> FloatArray:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _turning(quaternion: FloatArray, moment: FloatArray) -> FloatArray:
    """Gradient on a quaternion of ``sum(moment * rotation)``."""
    length = float(np.linalg.norm(quaternion))
    w, x, y, z = quaternion / length
    slopes = 2.0 * np.array(
        [
            [[0, -z, y], [z, 0, -x], [-y, x, 0]],
            [[0, y, z], [y, -2 * x, -w], [z, w, -2 * x]],
            [[-2 * y, x, w], [x, 0, z], [-w, z, -2 * y]],
            [[-2 * z, -w, x], [w, -2 * z, y], [x, y, 0]],
        ]
    )
    along = (slopes * moment).sum(axis=(1, 2))
    unit = quaternion / length
    # a change of the quaternion's length turns nothing
    return (along - unit * (unit @ along)) / length


def fit_pose(
    energy: PlacedEnergy,
    points: FloatArray,
    starts: Sequence[FloatArray],
    iterations: int = _ITERATIONS,
    precision: float = PRECISE,
) -> tuple[float, FloatArray]:
    """Find the pose with the lowest energy.

    Parameters
    ----------
    energy : callable
        Of placed points.
    points : ndarray, shape=(point, 3)
        The rigid set, best centered on the origin, angstrom.
    starts : sequence of ndarray, shape=(7,)
        Poses to start from; each is followed downhill.
    iterations : int
        Most steps from each.
    precision : float
        Gradient at which to stop, nats per angstrom.

    Returns
    -------
    energy : float
        The lowest one found.
    pose : ndarray, shape=(7,)
    """
    from scipy.optimize import minimize

    def of_pose(pose: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = energy(place_points(points, pose))
        turn = _turning(pose[:4], gradient.T @ points)
        return value, np.concatenate([turn, gradient.sum(axis=0)])

    best: tuple[float, FloatArray] | None = None
    for start in starts:
        options = {"maxiter": iterations, "ftol": precision**2, "gtol": precision}
        found = minimize(of_pose, start, jac=True, method="L-BFGS-B", options=options)
        if best is None or found.fun < best[0] - PRECISE:
            pose = np.asarray(found.x, dtype=np.float64)
            pose[:4] /= np.linalg.norm(pose[:4])
            best = float(found.fun), pose
    assert best is not None
    return best


def turned_starts(shifts: FloatArray, count: int, frame: FloatArray) -> list[FloatArray]:
    """Poses that spread over all rotations, at given places.

    Parameters
    ----------
    shifts : ndarray, shape=(place, 3)
        Where to put the origin of the set, angstrom.
    count : int
        Rotations at each place; they are always the same, seen from ``frame``.
    frame : ndarray, shape=(3, 3)
        Rotation of something that the chain takes along, so that where it lies means nothing.
    """
    from scipy.spatial.transform import Rotation

    drawn = np.random.default_rng(_SEED).normal(size=(count, 4))
    turned = Rotation.from_matrix(frame) * Rotation.from_quat(drawn, scalar_first=True)
    turns = turned.as_quat(canonical=True, scalar_first=True)
    return [np.concatenate([turn, shift]) for shift in shifts for turn in turns]


class PoseRestraint:
    """Energy of a chain with a rigid set in its best pose.

    The first call searches from all starts. Later ones start from the pose of the call before,
    carried along by the anchors: a chain takes its set with it, wherever it lies. A pose may stand
    still while its anchors move little; the energy is then that at this pose, gradient and all.

    Parameters
    ----------
    points : ndarray, shape=(point, 3)
        The rigid set, centered on the origin, angstrom.
    anchors : ndarray of int
        Residues that the set lies at.
    starts : callable
        Gives poses to start from for a chain, shape (residue, 4, 3).
    energy : callable
        Takes chain and placed points; gives the energy and its gradients on both.
    curve : Windows
        Between points of the axis curve.
    strength : float
        Factor on both energies.
    precision : float
        Gradient left on the pose, nats per angstrom; as small is the error of the energy's own.
    iterations : int
        Most steps of the pose in a call.
    slack : float
        Root mean square that the atoms of the anchors move, angstrom, before the pose follows.
    """

    def __init__(
        self,
        points: FloatArray,
        anchors: IntArray,
        starts: Callable[[FloatArray], Sequence[FloatArray]],
        energy: Callable[[FloatArray, FloatArray], tuple[float, FloatArray, FloatArray]],
        curve: Windows,
        strength: float = 1.0,
        precision: float = ROUGH,
        iterations: int = _ITERATIONS,
        slack: float = 0.0,
    ) -> None:
        self.precision, self.iterations, self.slack = precision, iterations, slack
        self.points = points
        self.anchors = anchors
        self.curve = curve
        self.strength = strength
        self._starts = starts
        self._energy = energy
        self._last: tuple[FloatArray, FloatArray] | None = None

    def pose(self, chain: FloatArray) -> FloatArray:
        """Find the best pose for a chain, shape (7,)."""

        def of_points(placed: FloatArray) -> tuple[float, FloatArray]:
            value, _, on_points = self._energy(chain, placed)
            return value, on_points

        held = chain[self.anchors].reshape(-1, 3)
        if self._last is not None and _moved(self._last[0], held) < self.slack:
            return self._last[1]
        starts = self._starts(chain) if self._last is None else [_carried(*self._last, held)]
        found = fit_pose(of_points, self.points, starts, self.iterations, self.precision)[1]
        self._last = (held, found)
        return found

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone, shape (residue, 4, 3), and its gradient."""
        chain = np.asarray(atoms, dtype=np.float64)
        placed = place_points(self.points, self.pose(chain))
        value, on_chain, _ = self._energy(chain, placed)
        return self.strength * value, self.strength * on_chain

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, shape (residue, 3), and its gradient."""
        energy, gradient = self.curve.energy(curve)
        return self.strength * energy, self.strength * gradient


class JudgedPose(PoseRestraint):
    """Energy of a chain with a rigid set, which tells at its own pose whether a constraint holds.

    Parameters
    ----------
    judge : callable
        Tells it of a chain and placed points.
    **options
        As for :class:`PoseRestraint`.
    """

    def __init__(self, judge: Callable[[FloatArray, FloatArray], bool], **options: Any) -> None:
        super().__init__(**options)
        self._judge = judge
        self._searched: FloatArray | None = None

    def seems_met(self, atoms: FloatArray) -> bool:
        """Tell whether the constraint holds at the pose that the chain has now.

        Where it does not and the chain is another one than at the last search, a pose is searched
        for anew, and pulls from then on.
        """
        chain = np.asarray(atoms, dtype=np.float64)
        if self._judge(chain, place_points(self.points, self.pose(chain))):
            return True
        held = chain[self.anchors].reshape(-1, 3)
        if self._searched is not None and _changed(self._searched, held) < _ANOTHER:
            return False
        self._last, self._searched = None, held
        return self._judge(chain, place_points(self.points, self.pose(chain)))


def _changed(before: FloatArray, now: FloatArray) -> float:
    """Root mean square deviation after superposition, angstrom."""
    from protein_lab.geometry import superimpose

    rotation, shift = superimpose(before, now)
    return _moved(before @ rotation.T + shift, now)


def _moved(before: FloatArray, now: FloatArray) -> float:
    return float(np.sqrt(((now - before) ** 2).sum(axis=-1).mean()))


def _carried(before: FloatArray, pose: FloatArray, now: FloatArray) -> FloatArray:
    """Move a pose as its anchors moved."""
    from protein_lab.geometry import superimpose

    rotation, shift = superimpose(before, now)
    return pose_of(rotation @ _rotation(pose[:4]), rotation @ pose[4:] + shift)
