"""Residues that must have the geometry of a template, wherever they lie in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.windows import Windows
from protein_lab.typing import FloatArray, IntArray

AXIS_SLACK: Final = 4.0
"""Angstrom by which two points of the axis curve may lie nearer or farther than their CA atoms:
the axis runs up to 2.3 angstrom beside a CA."""


def superposition_rmsd(points: FloatArray, goal: FloatArray) -> float:
    """Root mean square distance of corresponding points after the best superposition, angstrom."""
    return float(np.sqrt((_misfit(points, goal) ** 2).sum(-1).mean()))


def _misfit(points: FloatArray, goal: FloatArray) -> FloatArray:
    from protein_lab.geometry import superimpose

    flat, fixed = points.reshape(-1, 3), goal.reshape(-1, 3)
    rotation, shift = superimpose(fixed, flat)
    return flat - (fixed @ rotation.T + shift)


@dataclass(frozen=True, slots=True, eq=False)
class TemplateRestraint:
    """Energy of residues that should superimpose on a template.

    The mean square distance after the best superposition, times the number of residues; it grows
    linearly with the distance beyond ``softness``. At the best superposition the energy does not
    change with it, so that the gradient is that of a template that stands still.

    Attributes
    ----------
    residues : ndarray of int, shape=(site,)
        Residues of the chain, 0-based.
    goal : ndarray, shape=(site, 4, 3)
        N, CA, C and ideal CB of the template, angstrom.
    strength : float
        Factor on the energies.
    softness : float
        Angstrom.
    """

    residues: IntArray
    goal: FloatArray
    strength: float = 4.0
    softness: float = 1.5

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone, shape (residue, 4, 3), and its gradient."""
        chosen = np.asarray(atoms, dtype=np.float64)[self.residues]
        off = _misfit(chosen, self.goal).reshape(chosen.shape)
        mean = float((off**2).sum(-1).mean())
        root = np.sqrt(1.0 + mean / self.softness**2)
        size = len(self.residues)
        gradient = np.zeros(np.shape(atoms))
        points = chosen.shape[0] * chosen.shape[1]
        gradient[self.residues] = self.strength * size * 2.0 / (root * points) * off
        return self.strength * size * 2.0 * self.softness**2 * (root - 1.0), gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, shape (residue, 3), and its gradient."""
        energy, gradient = self._axis().energy(curve)
        return energy, gradient

    def _axis(self) -> Windows:
        alpha = self.goal[:, 1]
        rows = [
            (int(self.residues[one]), int(self.residues[other]), distance)
            for one in range(len(alpha))
            for other in range(one + 1, len(alpha))
            for distance in [float(np.linalg.norm(alpha[one] - alpha[other]))]
        ]
        return Windows.of([(a, b, max(d - AXIS_SLACK, 0.0), d + AXIS_SLACK) for a, b, d in rows])
