"""Energy of a chain and of a ligand in some pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.pose import turned_starts
from protein_lab.constraints.wells import CA, CB, well
from protein_lab.typing import FloatArray, IntArray

CLASH: Final = 3.0
"""Angstrom between a heavy atom of a ligand and N, CA, C or ideal CB below which they clash."""

_KEPT: Final = 0.3
_SCALE: Final = 2.0
_COUNTED: Final = 9.0
_EDGE: Final = 1.0
_BURIED_COUNT: Final = 24.0
"""CB atoms within 9 angstrom of the middle of a ligand that is wholly buried."""

_OUTWARD: Final = 3.0
_TINY: Final = 1e-9
_INFINITE: Final = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class BindingEnergy:
    """Contacts, clashes, burial and, where it is known, the pose that the residues give.

    Attributes
    ----------
    residues : ndarray of int, shape=(site,)
        Residues of the chain that line the pocket, 0-based.
    wanted : ndarray of int, shape=(site,)
        Atom of the ligand that each must reach; -1 for the nearest.
    low, high : ndarray, shape=(site,)
        Window of the distance from the ideal CB, angstrom.
    size : int
        Heavy atoms of the ligand; the points after them are N, CA, C, CB of the template.
    burial : float
        Asked burial from 0 to 1, 0 for none.
    """

    residues: IntArray
    wanted: IntArray
    low: FloatArray
    high: FloatArray
    size: int
    burial: float = 0.0

    def contacts(self, chain: FloatArray, ligand: FloatArray) -> tuple[FloatArray, IntArray]:
        """Distances of the residues from their atom of the ligand, and which atom it is."""
        apart = np.linalg.norm(chain[self.residues, CB][:, None] - ligand[None], axis=-1)
        atom = np.where(self.wanted >= 0, self.wanted, apart.argmin(axis=1))
        return apart[np.arange(len(atom)), atom], atom

    def margins(self, chain: FloatArray, ligand: FloatArray) -> FloatArray:
        """How far inside its window each contact is, angstrom."""
        distance, _ = self.contacts(chain, ligand)
        return np.minimum(distance - self.low, self.high - distance)

    def starts(self, chain: FloatArray, points: FloatArray, count: int) -> list[FloatArray]:
        """Poses to start from: that of the template, or before the residues in many turns."""
        from scipy.spatial.transform import Rotation

        from protein_lab.geometry import frames, superimpose

        if len(points) > self.size:
            rotation, shift = superimpose(points[self.size :], chain[self.residues].reshape(-1, 3))
            turn = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
            return [np.concatenate([turn, shift])]
        outward = chain[self.residues, CB] - chain[self.residues, CA]
        before = chain[self.residues, CB] + _OUTWARD * outward / 1.53
        frame = frames(chain[self.residues[:1], :3])[0][0]
        return turned_starts(before.mean(axis=0)[None], count, frame)

    def __call__(
        self, chain: FloatArray, placed: FloatArray
    ) -> tuple[float, FloatArray, FloatArray]:
        """Energy, and its gradients on chain (residue, 4, 3) and placed points (point, 3)."""
        on_chain, on_points = np.zeros(chain.shape), np.zeros(placed.shape)
        ligand = placed[: self.size]
        energy = self._contact_energy(chain, ligand, on_chain, on_points)
        energy += self._clash_energy(chain, ligand, on_chain, on_points)
        if self.burial:
            energy += self._burial_energy(chain, ligand, on_chain, on_points)
        if len(placed) > self.size:
            energy += self._template_energy(chain, placed[self.size :], on_chain, on_points)
        return energy, on_chain, on_points

    def _contact_energy(
        self, chain: FloatArray, ligand: FloatArray, on_chain: FloatArray, on_points: FloatArray
    ) -> float:
        distance, atom = self.contacts(chain, ligand)
        value, slope = well(distance, self.low + _KEPT, self.high - _KEPT, _SCALE)
        away = chain[self.residues, CB] - ligand[atom]
        pull = away * (slope / np.maximum(distance, _TINY))[:, None]
        np.add.at(on_chain[:, CB], self.residues, pull)
        np.subtract.at(on_points, atom, pull)
        return float(value.sum())

    def _clash_energy(
        self, chain: FloatArray, ligand: FloatArray, on_chain: FloatArray, on_points: FloatArray
    ) -> float:
        flat = chain.reshape(-1, 3)
        reach = np.linalg.norm(ligand - ligand.mean(axis=0), axis=1).max() + CLASH + 1.0
        near = np.flatnonzero(np.linalg.norm(flat - ligand.mean(axis=0), axis=1) < reach)
        away = flat[near][:, None] - ligand[None]
        distance = np.linalg.norm(away, axis=-1)
        value, slope = well(distance, CLASH + _KEPT, _INFINITE, _SCALE)
        pull = away * (slope / np.maximum(distance, _TINY))[..., None]
        on_chain.reshape(-1, 3)[near] += pull.sum(axis=1)
        on_points[: self.size] -= pull.sum(axis=0)
        return float(value.sum())

    def _burial_energy(
        self, chain: FloatArray, ligand: FloatArray, on_chain: FloatArray, on_points: FloatArray
    ) -> float:
        away = chain[:, CB] - ligand.mean(axis=0)
        distance = np.linalg.norm(away, axis=-1)
        inside = 1.0 / (1.0 + np.exp(np.clip((distance - _COUNTED) / _EDGE, -50.0, 50.0)))
        value, slope = well(inside.sum(), self.burial * _BURIED_COUNT, _INFINITE, _SCALE)
        by_distance = -float(slope) * inside * (1.0 - inside) / _EDGE
        pull = away * (by_distance / np.maximum(distance, _TINY))[:, None]
        on_chain[:, CB] += pull
        on_points[: self.size] -= pull.sum(axis=0) / self.size
        return float(value)

    def _template_energy(
        self, chain: FloatArray, template: FloatArray, on_chain: FloatArray, on_points: FloatArray
    ) -> float:
        off = chain[self.residues].reshape(-1, 3) - template
        mean, count = float((off**2).sum(axis=-1).mean()), len(self.residues)
        root = np.sqrt(1.0 + mean / _SCALE**2)
        pull = 2.0 * count / (root * len(off)) * off
        on_chain[self.residues] += pull.reshape(-1, 4, 3)
        on_points[self.size :] -= pull
        return 2.0 * count * _SCALE**2 * (root - 1.0)
