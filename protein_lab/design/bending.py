"""Bend a coarse curve to what constraints ask of it, and spoil as little of its fold as possible.

The curve is taken as an elastic network (Tirion, Phys. Rev. Lett. 77, 1996): helices and strands
are nearly rigid, loops stretch, elements that lie side by side stay there if nothing pulls them
apart, and no two parts of the chain come closer than chains do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.steering import Steering
from protein_lab.typing import FloatArray, IntArray

_ROUNDS: Final = 3
_STEPS: Final = 40
"""Rounds, and steps of each; a round looks contacts up anew."""

_ELEMENT: Final = 2.0
_LOOP: Final = 0.5
_PACKING: Final = 0.02
_REPULSION: Final = 1.0
"""Stiffness of springs in elements, along loops, between neighbors in space, and of contacts;
nats for the square of an angstrom."""

_REACH: Final = 8
"""Residues along the chain that springs of one element span."""

_NEAR: Final = 12.0
"""Distance of points of different parts up to which they hold together, angstrom."""

_CLOSEST: Final = 4.5
"""Axes of two strands in a sheet lie 4.8 angstrom apart; nothing comes closer."""

_LOOKED_AT: Final = 9.0
_LOOP_STEP: Final = (1.2, 3.4)
"""Axis length of one loop residue, angstrom."""


@dataclass(frozen=True, slots=True, eq=False)
class _Springs:
    first: IntArray
    second: IntArray
    low: FloatArray
    high: FloatArray
    stiffness: FloatArray

    def __call__(self, curve: FloatArray) -> tuple[float, FloatArray]:
        step = curve[self.first] - curve[self.second]
        distance = np.sqrt((step**2).sum(axis=-1) + 1e-12)
        error = distance - np.clip(distance, self.low, self.high)
        force = (2.0 * self.stiffness * error / distance)[:, None] * step
        gradient = np.zeros_like(curve)
        np.add.at(gradient, self.first, force)
        np.subtract.at(gradient, self.second, force)
        return float(self.stiffness @ error**2), gradient


def bend_curve(
    curve: FloatArray, blueprint: Blueprint, steering: Steering
) -> tuple[FloatArray, float]:
    """Bend a curve until the constraints hold or its own stiffness resists.

    Parameters
    ----------
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    blueprint : Blueprint
        Says which parts are stiff.
    steering : Steering
        What is asked.

    Returns
    -------
    curve : ndarray, shape=(residue, 3)
        Bent.
    strain : float
        Energy that is left, in nats: of the constraints and of the springs.
    """
    from scipy.optimize import minimize

    if not steering.restraints:
        return curve, 0.0
    start = np.asarray(curve, dtype=np.float64)
    springs = _springs(start, blueprint)
    bent, strain = start, 0.0
    for _ in range(_ROUNDS):
        contacts = _contacts(bent, start)

        def energy(
            flat: FloatArray, parts: tuple[_Springs, ...] = (springs, contacts)
        ) -> tuple[float, FloatArray]:
            points = flat.reshape(-1, 3)
            value, gradient = steering.on_curve(points)
            for part in parts:
                more, pull = part(points)
                value, gradient = value + more, gradient + pull
            return value, gradient.reshape(-1)

        found = minimize(
            energy, bent.reshape(-1), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}
        )
        bent, strain = found.x.reshape(-1, 3), float(found.fun)
    return bent, strain


def _springs(curve: FloatArray, blueprint: Blueprint) -> _Springs:
    """Springs of elements, loops and packing, at rest in the curve as it is."""
    length = len(curve)
    part = np.full(length, -1)
    for number, element in enumerate(blueprint.elements):
        part[element.start : element.stop] = number
    first, second = np.triu_indices(length, 1)
    distance = np.linalg.norm(curve[first] - curve[second], axis=-1)
    gap = second - first
    inside = (part[first] == part[second]) & (part[first] >= 0) & (gap <= _REACH)
    along = (gap == 1) & ~inside
    packed = (gap > 3) & ~inside & (distance < _NEAR)
    low, high = distance.copy(), distance.copy()
    low[along] = np.minimum(distance[along], _LOOP_STEP[0])
    high[along] = np.maximum(distance[along], _LOOP_STEP[1])
    stiffness = inside * _ELEMENT + along * _LOOP + packed * _PACKING
    kept = stiffness > 0
    return _Springs(first[kept], second[kept], low[kept], high[kept], stiffness[kept])


def _contacts(curve: FloatArray, start: FloatArray) -> _Springs:
    """Repulsion of points that are or come near; where the start was nearer, that is allowed."""
    from scipy.spatial import KDTree

    near = KDTree(curve).query_pairs(_LOOKED_AT, output_type="ndarray")
    near = near[near[:, 1] - near[:, 0] > 4]
    first, second = near[:, 0], near[:, 1]
    before = np.linalg.norm(start[first] - start[second], axis=-1)
    low = np.minimum(before, _CLOSEST)
    return _Springs(first, second, low, np.full(len(low), np.inf), np.full(len(low), _REPULSION))
