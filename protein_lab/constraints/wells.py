"""Energies that restraints are built from: flat where all is well, linear far away, smooth.

Every function gives a value in nats together with its derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.typing import FloatArray

N, CA, C, CB = range(4)
"""Atoms of a residue, in the order in which a restraint gets them."""

ATOM_PLACES: Final = {"N": N, "CA": CA, "C": C, "CB": CB}

_TINY: Final = 1e-9

PointEnergy = Callable[[FloatArray], tuple[float, FloatArray]]
"""Energy of points (residue, 3) with its gradient."""


def well(
    values: FloatArray, low: FloatArray | float, high: FloatArray | float, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Flat-bottomed well: 0 inside, the square of the excess outside, linear far outside.

    With the excess e beyond the nearer wall the value is ``2 s^2 (sqrt(1 + (e / s)^2) - 1)``,
    which is e squared where e is small and pulls with at most 2 s where it is large.

    Parameters
    ----------
    values : ndarray
        What shall lie between ``low`` and ``high``.
    low, high : ndarray or float
        Walls; minus and plus infinity where there is none.
    scale : float
        The excess s beyond which the pull grows no more, in the unit of ``values``.

    Returns
    -------
    value, slope : ndarray
        Of the shape of ``values``.
    """
    excess = np.maximum(values - high, 0.0) + np.minimum(values - low, 0.0)
    root = np.sqrt(1.0 + (excess / scale) ** 2)
    return 2.0 * scale**2 * (root - 1.0), 2.0 * excess / root


def distance(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distances and the unit vectors that they grow along when ``first`` moves.

    Parameters
    ----------
    first, second : ndarray, shape=(..., 3)
        Points, angstrom.

    Returns
    -------
    distances : ndarray, shape=(...)
    directions : ndarray, shape=(..., 3)
        Zero where the points coincide.
    """
    apart = first - second
    length = np.sqrt((apart**2).sum(axis=-1))
    return length, apart / np.maximum(length, _TINY)[..., None]


def sigmoid(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logistic function ``1 / (1 + exp(-x))`` and its derivative."""
    positive = 0.5 * (1.0 + np.tanh(0.5 * values))
    return positive, positive * (1.0 - positive)


@dataclass(frozen=True, slots=True)
class PointRestraint:
    """Energy of one kind of atom, and of the axis curve.

    Attributes
    ----------
    atom : int
        Which of N, CA, C and CB, counted from 0.
    energy : callable
        Energy of the positions (residue, 3) of that atom, with its gradient.
    curve_energy : callable or None
        The same for the points of the axis curve; None when it says nothing of the curve.
    """

    atom: int
    energy: PointEnergy
    curve_energy: PointEnergy | None = None

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone (residue, 4, 3), in nats, with its gradient."""
        gradient = np.zeros_like(atoms)
        energy, gradient[:, self.atom] = self.energy(atoms[:, self.atom])
        return energy, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve (residue, 3), in nats, with its gradient."""
        if self.curve_energy is None:
            return 0.0, np.zeros_like(curve)
        return self.curve_energy(curve)
