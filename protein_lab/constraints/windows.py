"""Distances that must lie in a window: the energy that pulls them there, and how far off they are.

Outside its window a distance costs the square of what it is off, in nats and angstrom, and from
about one angstrom on grows linearly, so that a chain that starts far away is pulled, not torn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.wells import well
from protein_lab.typing import FloatArray, IntArray

ATOMS: Final = 4

SOFTNESS: Final = 1.0
"""Angstrom beyond which an energy grows linearly."""

_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of distances between pairs of points.

    Attributes
    ----------
    first, second : ndarray of int, shape=(pair,)
        Points; atom ``a`` of residue ``i`` is point ``4 i + a``.
    low, high : ndarray, shape=(pair,)
        Angstrom.
    """

    first: IntArray
    second: IntArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int, float, float]]) -> Windows:
        """Make windows of rows (first, second, low, high)."""
        table = np.array(pairs, dtype=np.float64).reshape(-1, 4)
        points = table[:, :2].astype(np.int64)
        return cls(points[:, 0], points[:, 1], table[:, 2], table[:, 3])

    def distances(self, points: FloatArray) -> FloatArray:
        """Distances of the pairs, angstrom."""
        flat = points.reshape(-1, 3)
        return np.linalg.norm(flat[self.first] - flat[self.second], axis=-1)

    def margins(self, points: FloatArray) -> FloatArray:
        """How far inside its window each distance is, angstrom; negative outside."""
        distance = self.distances(points)
        return np.minimum(distance - self.low, self.high - distance)

    def energy(self, points: FloatArray) -> tuple[float, FloatArray]:
        """Energy of points and its gradient.

        Parameters
        ----------
        points : ndarray, shape=(..., 3)
            Angstrom.

        Returns
        -------
        energy : float
            Nats.
        gradient : ndarray
            Nats per angstrom, of the shape of ``points``.
        """
        flat = points.reshape(-1, 3)
        apart = flat[self.first] - flat[self.second]
        distance = np.linalg.norm(apart, axis=-1)
        value, slope = well(distance, self.low, self.high, SOFTNESS)
        # points that lie on each other have no direction to be pushed in
        pull = apart * (slope / np.maximum(distance, _TINY))[:, None]
        gradient = np.zeros(flat.shape)
        np.add.at(gradient, self.first, pull)
        np.subtract.at(gradient, self.second, pull)
        return float(value.sum()), gradient.reshape(points.shape)


@dataclass(frozen=True, slots=True)
class WindowRestraint:
    """Restraint made of windows, on atoms and on the axis curve.

    Attributes
    ----------
    atoms : Windows
        Between atoms N, CA, C, CB of residues.
    curve : Windows
        Between points of the axis curve.
    strength : float
        Factor on both energies.
    """

    atoms: Windows
    curve: Windows
    strength: float = 1.0

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone, shape (residue, 4, 3), and its gradient."""
        energy, gradient = self.atoms.energy(atoms)
        return self.strength * energy, self.strength * gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, shape (residue, 3), and its gradient."""
        energy, gradient = self.curve.energy(curve)
        return self.strength * energy, self.strength * gradient


def atom(residue: int, name: int) -> int:
    """Point of an atom in a flattened backbone."""
    return ATOMS * residue + name
