"""What pulls a chain, or its axis curve, to the geometry of a motif."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from protein_lab.constraints.motif_fragments import MotifResidues
from protein_lab.geometry import superimpose
from protein_lab.typing import FloatArray


class MotifRestraint:
    """Pull a chain to the geometry of a motif; each group finds its own place.

    The energy of a group grows with the least mean square distance of its atoms over all
    superpositions, quadratically up to about an angstrom and linearly beyond. At the best
    superposition the energy does not change with it, so the gradient is that of a target that
    stands still.

    Parameters
    ----------
    motif : MotifResidues
    residues : sequence of int
        Where its residues lie in the chain.
    """

    _SCALE: Final = 1.0
    _ATOMS: Final = np.array([1.0, 1.0, 1.0, 0.5])
    """Weights of N, CA, C and CB."""

    _LEAST: Final = 40.0
    """Weight of a whole group: a few residues are pulled harder, for they alone carry the motif."""

    def __init__(self, motif: MotifResidues, residues: Sequence[int]) -> None:
        self.parts = motif.fragments
        self.index = np.asarray(residues, dtype=np.int64)

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of N, CA, C, CB; see :class:`protein_lab.constraints.base.Restraint`."""
        value, gradient = 0.0, np.zeros(np.shape(atoms))
        for part in self.parts:
            own = self.index[part.places]
            goal = part.atoms[:, [0, 1, 2, 4]].reshape(-1, 3)
            weight = np.tile(self._ATOMS, len(own))
            weight *= max(1.0, self._LEAST / weight.sum())
            energy, pull = self._energy(np.asarray(atoms)[own].reshape(-1, 3), goal, weight)
            value += energy
            gradient[own] += pull.reshape(-1, 4, 3)
        return value, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve; see :class:`protein_lab.constraints.base.Restraint`."""
        value, gradient = 0.0, np.zeros(np.shape(curve))
        for part in self.parts:
            own = self.index[part.places]
            energy, pull = self._energy(
                np.asarray(curve)[own], part.axis, np.sqrt(part.axis_weight)
            )
            value += energy
            gradient[own] += pull
        return value, gradient

    def _energy(
        self, points: FloatArray, goal: FloatArray, weight: FloatArray
    ) -> tuple[float, FloatArray]:
        points = np.asarray(points, dtype=np.float64)
        rotation, shift = superimpose(goal, points, weight)
        off = points - (goal @ rotation.T + shift)
        total = float(weight.sum())
        root = np.sqrt(1.0 + float(weight @ (off**2).sum(-1)) / total / self._SCALE**2)
        energy = 2.0 * total * self._SCALE**2 * (root - 1.0)
        return energy, (2.0 / root) * weight[:, None] * off
