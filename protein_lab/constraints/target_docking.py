"""Rigid docking of a design against a fixed target, by geometry alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.pose import fit_pose, place_points, turned_starts
from protein_lab.constraints.wells import CB, well
from protein_lab.typing import FloatArray, IntArray

CLASH: Final = 3.0
"""Angstrom between N, CA, C, CB of design and target below which they clash."""

_KEPT: Final = 0.5
_SCALE: Final = 3.0
_COARSE: Final = 4.5
"""Angstrom that two CB atoms keep while only they are seen."""

_STARTS: Final = 16
_CAREFUL: Final = 3
_COARSE_STEPS: Final = 40
_GAP: Final = 6.0
_TINY: Final = 1e-9
_INFINITE: Final = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Dock:
    """Energy of a design in some pose beside a target that stands still.

    Attributes
    ----------
    target : ndarray, shape=(residue, 4, 3)
        N, CA, C and ideal CB of the residues near the hotspots, angstrom.
    hotspots, avoided : ndarray of int
        Which of them must be touched, and which must not.
    distance : float
        Of CB atoms that touch, angstrom.
    """

    target: FloatArray
    hotspots: IntArray
    avoided: IntArray
    distance: float

    def reach(self, design: FloatArray, residues: IntArray) -> FloatArray:
        """Distance from the CB of each of some residues of the target to the nearest of a design.

        Parameters
        ----------
        design : ndarray, shape=(residue, 4, 3)
            Angstrom.
        residues : ndarray of int
        """
        away = self.target[residues, CB][:, None] - design[None, :, CB]
        return np.linalg.norm(away, axis=-1).min(axis=1)

    def nearest(self, design: FloatArray) -> float:
        """Smallest distance between atoms of design and target, angstrom."""
        from scipy.spatial import KDTree

        return float(KDTree(self.target.reshape(-1, 3)).query(design.reshape(-1, 3))[0].min())

    def energy(self, placed: FloatArray, coarse: bool) -> tuple[float, FloatArray]:
        """Energy of placed atoms, shape (4 * residue, 3), and its gradient."""
        design = placed.reshape(-1, 4, 3)
        gradient = np.zeros(design.shape)
        energy = 0.0
        for residues, low, high in (
            (self.hotspots, 0.0, self.distance - _KEPT),
            (self.avoided, self.distance + _KEPT, _INFINITE),
        ):
            away = design[None, :, CB] - self.target[residues, CB][:, None]
            apart = np.linalg.norm(away, axis=-1)
            touching = apart.argmin(axis=1)
            rows = np.arange(len(residues))
            value, slope = well(apart[rows, touching], low, high, _SCALE)
            pull = (
                away[rows, touching] * (slope / np.maximum(apart[rows, touching], _TINY))[:, None]
            )
            np.add.at(gradient[:, CB], touching, pull)
            energy += float(value.sum())
        atoms = slice(CB, None) if coarse else slice(None)
        return energy + self._repulsion(design, gradient, atoms, coarse), gradient.reshape(-1, 3)

    def _repulsion(
        self, design: FloatArray, gradient: FloatArray, atoms: slice, coarse: bool
    ) -> float:
        from scipy.spatial import KDTree

        low = _COARSE if coarse else CLASH + _KEPT
        fixed, moved = self.target[:, atoms].reshape(-1, 3), design[:, atoms].reshape(-1, 3)
        near = KDTree(moved).sparse_distance_matrix(KDTree(fixed), low, output_type="coo_matrix")
        one, other = near.row, near.col
        away = moved[one] - fixed[other]
        apart = np.linalg.norm(away, axis=-1)
        value, slope = well(apart, low, _INFINITE, _SCALE)
        pull = np.zeros(moved.shape)
        np.add.at(pull, one, away * (slope / np.maximum(apart, _TINY))[:, None])
        gradient[:, atoms] += pull.reshape(gradient[:, atoms].shape)
        return float(value.sum())

    def dock(self, atoms: FloatArray) -> FloatArray:
        """Find the best pose of a design, from many starts.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            N, CA, C and ideal CB, angstrom, wherever it lies.

        Returns
        -------
        ndarray, shape=(residue, 4, 3)
            The design beside the target.
        """
        from protein_lab.geometry import frames

        # seen from its first residue, so that where the design lies means nothing
        rotation, _ = frames(atoms[:1, :3])
        points = (atoms - atoms.mean(axis=(0, 1))) @ rotation[0]
        points = points.reshape(-1, 3)
        patch = self.target[self.hotspots, CB].mean(axis=0)
        outward = patch - self.target[:, 1].mean(axis=0)
        outward /= max(float(np.linalg.norm(outward)), _TINY)
        size = float(np.sqrt((points**2).sum(axis=-1).mean()))
        starts = turned_starts((patch + (size + _GAP) * outward)[None], _STARTS, np.eye(3))
        rough = [
            fit_pose(lambda p: self.energy(p, coarse=True), points, [start], _COARSE_STEPS)
            for start in starts
        ]
        order = sorted(range(len(rough)), key=lambda number: rough[number][0])[:_CAREFUL]
        chosen = [rough[number][1] for number in order]
        best = fit_pose(lambda p: self.energy(p, coarse=False), points, chosen)[1]
        return place_points(points, best).reshape(atoms.shape)
