"""Energies that restraints are built from: flat where all is well, linear far away, smooth.

Every function gives a value in nats together with its derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma
from typing import Final

import numpy as np

from protein_lab.typing import FloatArray

N, CA, C, CB = range(4)
"""Atoms of a residue, in the order in which a restraint gets them."""

ATOM_PLACES: Final = {"N": N, "CA": CA, "C": C, "CB": CB}

TEMPERATURE: Final = 0.25
"""Nats; energies of alternatives count as equal when they differ by less."""

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


def best_of(energies: FloatArray, count: int) -> tuple[float, FloatArray]:
    """Energy of the ``count`` smallest of several energies, smoothly.

    The free energy over all ways of choosing ``count`` of them, at :data:`TEMPERATURE`: the
    elementary symmetric polynomial of the Boltzmann factors. It is 0 where all energies are 0.

    Parameters
    ----------
    energies : ndarray, shape=(term,)
        At least 0 each.
    count : int
        How many must be low, 1 to all.

    Returns
    -------
    energy : float
    shares : ndarray, shape=(term,)
        Derivative to each energy: the probability that the term is among those chosen.
    """
    terms = len(energies)
    if count >= terms:
        return float(energies.sum()), np.ones(terms)
    logs = -energies / TEMPERATURE
    before = _polynomials(logs, count)
    after = _polynomials(logs[::-1], count)[::-1]
    total = before[terms, count]
    shares = np.empty(terms)
    for term in range(terms):
        ways = before[term, :count] + after[term + 1, count - 1 :: -1]
        shares[term] = np.exp(np.logaddexp.reduce(ways) + logs[term] - total)
    return TEMPERATURE * float(log_binomial(terms, count) - total), shares


def _polynomials(logs: FloatArray, degree: int) -> FloatArray:
    """Logarithms of the elementary symmetric polynomials of the first 0, 1, ... all factors."""
    table = np.full((len(logs) + 1, degree + 1), -np.inf)
    table[0, 0] = 0.0
    for number, log in enumerate(logs):
        table[number + 1] = table[number]
        table[number + 1, 1:] = np.logaddexp(table[number, 1:], table[number, :-1] + log)
    return table


def log_binomial(total: int, chosen: int) -> float:
    """Logarithm of the number of ways to choose some of a total."""
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)
