"""How well a chain fills a cloud of points, wherever the cloud is laid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import Final

import numpy as np

from protein_lab.constraints.wells import CA, well
from protein_lab.typing import FloatArray

SOFTNESS: Final = 1.5
"""Angstrom over which neighbors share the role of the nearest."""

REACH: Final = 5.0
"""Angstrom beyond which a point that is far off pulls no harder."""

PULL: Final = 0.5

_TAKEN: Final = 2.9
"""Square angstrom by which the smooth least is below the least over chains that fill a shape."""

_SEARCH_ROUNDS: Final = 8
_FOLLOWING: Final = 2
"""Rounds that follow a chain which moved a little since it was looked at last."""

_ROUNDS: Final = 60
_STILL: Final = 1e-7
_WORSE: Final = 4.0
"""Square angstrom by which a remembered pose may be worse before all poses are tried again."""


def _turns() -> FloatArray:
    """Give the 24 rotations that take axes to axes."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[np.arange(3), order] = signs
            if np.linalg.det(turn) > 0.0:
                found.append(turn)
    return np.stack(found)


_TURNS: Final = _turns()


@dataclass(frozen=True, slots=True)
class _Fit:
    """A pose of the cloud: its soft squared two-sided distance, and how it pulls the chain."""

    value: float
    gradient: FloatArray
    rotation: FloatArray
    shift: FloatArray


def _soft(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Smooth least of each row, and the shares that its entries have in it."""
    scaled = squares / (2.0 * SOFTNESS**2)
    least = scaled.min(axis=1, keepdims=True)
    weights = np.exp(least - scaled)
    total = weights.sum(axis=1, keepdims=True)
    value = 2.0 * SOFTNESS**2 * (least - np.log(total))[:, 0]
    return value, weights / total


def _posed(points: FloatArray, cloud: FloatArray, rotation: FloatArray, shift: FloatArray) -> _Fit:
    from scipy.spatial.distance import cdist

    laid = cloud @ rotation.T + shift
    root = np.sqrt(1.0 + cdist(points, laid, "sqeuclidean") / REACH**2)
    robust = 2.0 * REACH**2 * (root - 1.0)
    to_cloud, near = _soft(robust)
    to_chain, back = _soft(robust.T)
    shares = (near / len(points) + back.T / len(cloud)) / root
    pull = shares.sum(axis=1)[:, None] * points - shares @ laid
    value = 0.5 * float(to_cloud.mean() + to_chain.mean()) + _TAKEN
    return _Fit(value, pull, *_next_pose(points, cloud, shares))


def _next_pose(
    points: FloatArray, cloud: FloatArray, shares: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lay the cloud where its points are nearest to those of the chain that they share."""
    total = shares.sum()
    middle = shares.sum(axis=1) @ points / total
    center = shares.sum(axis=0) @ cloud / total
    left, _, right = np.linalg.svd((points - middle).T @ shares @ (cloud - center))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    return rotation, middle - rotation @ center


def _settle(
    points: FloatArray, cloud: FloatArray, rotation: FloatArray, shift: FloatArray, rounds: int
) -> _Fit:
    """Improve a pose; every round lowers the value (it minimizes a bound that touches it)."""
    fit = _posed(points, cloud, rotation, shift)
    for _ in range(rounds):
        following = _posed(points, cloud, fit.rotation, fit.shift)
        if fit.value - following.value < _STILL:
            return following
        fit = following
    return fit


def best_pose(points: FloatArray, cloud: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lay a cloud over a chain: the best of all ways to match their principal axes.

    Parameters
    ----------
    points, cloud : ndarray, shape=(point, 3)
        Chain and cloud, angstrom.

    Returns
    -------
    rotation : ndarray, shape=(3, 3)
    shift : ndarray, shape=(3,)
        ``cloud @ rotation.T + shift`` lies over the chain; never a mirror image.
    """
    axes = [np.linalg.eigh(np.cov(item.T))[1] for item in (points, cloud)]
    axes = [item * np.sign(np.linalg.det(item)) for item in axes]
    middle, center = points.mean(axis=0), cloud.mean(axis=0)
    fits = []
    for turn in _TURNS:
        rotation = axes[0] @ turn @ axes[1].T
        fits.append(_settle(points, cloud, rotation, middle - rotation @ center, _SEARCH_ROUNDS))
    best = min(fits, key=lambda fit: fit.value)
    best = _settle(points, cloud, best.rotation, best.shift, _ROUNDS)
    return best.rotation, best.shift


def two_sided_distance(points: FloatArray, cloud: FloatArray) -> tuple[float, float]:
    """Measure how far a chain sticks out of a cloud in its best pose, and leaves it empty.

    Returns
    -------
    out, empty : float
        Root mean square distance of the chain to the nearest points of the cloud, and of the
        cloud to the nearest points of the chain, angstrom.
    """
    from scipy.spatial.distance import cdist

    rotation, shift = best_pose(points, cloud)
    squares = cdist(points, cloud @ rotation.T + shift, "sqeuclidean")
    return (
        float(np.sqrt(squares.min(axis=1).mean())),
        float(np.sqrt(squares.min(axis=0).mean())),
    )


class _Filling:
    """Energy of points that shall fill a cloud; remembers where the cloud lay.

    Parameters
    ----------
    cloud : ndarray, shape=(point, 3)
        Angstrom.
    most : float
        Two-sided distance that is good enough, angstrom.
    """

    def __init__(self, cloud: FloatArray, most: float) -> None:
        self.cloud, self.most = cloud, most
        self.pose: tuple[FloatArray, FloatArray] | None = None
        self.value = np.inf

    def __call__(self, points: FloatArray) -> tuple[float, FloatArray]:
        """Energy and gradient; at the best pose that of the pose itself adds nothing."""
        if self.pose is None:
            self.pose = best_pose(points, self.cloud)
        fit = _settle(points, self.cloud, *self.pose, _FOLLOWING)
        if fit.value > self.value + _WORSE:
            again = _settle(points, self.cloud, *best_pose(points, self.cloud), _ROUNDS)
            fit = min(fit, again, key=lambda item: item.value)
        self.pose, self.value = (fit.rotation, fit.shift), fit.value
        scale = 2.0 * self.most
        wall = 2.0 * REACH**2 * (np.sqrt(1.0 + (self.most / REACH) ** 2) - 1.0)
        energy, slope = well(np.array(fit.value / scale), -np.inf, wall / scale, PULL)
        weight = len(points) * float(slope) / scale
        return len(points) * float(energy), weight * fit.gradient


class ShapeRestraint:
    """Energy of a chain that shall fill a cloud.

    Parameters
    ----------
    cloud : ndarray, shape=(point, 3)
        Angstrom.
    most : float
        Two-sided distance that is good enough, angstrom.
    """

    def __init__(self, cloud: FloatArray, most: float) -> None:
        self._on_atoms, self._on_curve = _Filling(cloud, most), _Filling(cloud, most)

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone (residue, 4, 3), in nats, with its gradient."""
        gradient = np.zeros_like(atoms)
        energy, gradient[:, CA] = self._on_atoms(atoms[:, CA])
        return energy, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve (residue, 3), in nats, with its gradient."""
        return self._on_curve(curve)
