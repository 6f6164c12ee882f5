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

    _CARRY: Final = 6
    """Residues on either side of a segment that follow its moves."""

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
            energy, pull = self._energy(np.asarray(atoms)[own].reshape(-1, 3), goal, weight)
            value += energy
            gradient[own] += pull.reshape(-1, 4, 3)
        return value, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve; see :class:`protein_lab.constraints.base.Restraint`."""
        value, gradient = 0.0, np.zeros(np.shape(curve))
        for part in self.parts:
            own = self.index[part.places]
            energy, pull = self._energy(np.asarray(curve)[own], part.axis, part.axis_weight)
            value += energy
            gradient[own] += pull
        return value, gradient

    def project(self, field: FloatArray) -> FloatArray:
        """Put each group, superimposed, in the place of its residues; what follows moves along.

        Parameters
        ----------
        field : ndarray, shape=(residue, atom, 3)
            N, CA, C and perhaps O, angstrom.

        Returns
        -------
        ndarray
            Of the same shape.
        """
        out = np.array(field, dtype=np.float64)
        kept = out[:, 1].copy()
        for part in self.parts:
            own = self.index[part.places]
            goal = part.atoms[:, : out.shape[1]]
            rotation, shift = superimpose(goal.reshape(-1, 3), out[own].reshape(-1, 3))
            out[own] = goal @ rotation.T + shift
        moved = self._carried(out[:, 1] - kept)
        moved[self.index] = 0.0
        return out + moved[:, None]

    def project_curve(self, curve: FloatArray) -> FloatArray:
        """Bring an axis curve to that of each group, superimposed; uncertain ends less so.

        Parameters
        ----------
        curve : ndarray, shape=(residue, 3)
            Axis curve, angstrom.
        """
        moved = np.zeros(np.shape(curve))
        for part in self.parts:
            own = self.index[part.places]
            rotation, shift = superimpose(part.axis, curve[own], part.axis_weight)
            share = np.sqrt(part.axis_weight)[:, None]
            moved[own] = share * (part.axis @ rotation.T + shift - curve[own])
        return curve + self._carried(moved)

    def _carried(self, moved: FloatArray) -> FloatArray:
        """Let residues beside the motif follow its moves, less the farther they are."""
        length = len(moved)
        out = moved.copy()
        held = np.zeros(length, dtype=bool)
        held[self.index] = True
        for residue in np.flatnonzero(held):
            for step in (-1, 1):
                for far in range(1, self._CARRY + 1):
                    other = residue + step * far
                    if not 0 <= other < length or held[other]:
                        break
                    out[other] += (1.0 - far / (self._CARRY + 1)) * moved[residue]
        return out

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
