"""Rigid docking of a design against a fixed target, by geometry alone."""

from __future__ import annotations

from collections.abc import Sequence
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
_CAREFUL_STEPS: Final = 60
_GAP: Final = 6.0
_TINY: Final = 1e-9
_NOTHING: Final = 1e-6
"""Energy of a pose that has all it wants, nats."""
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
        value, gradient, _ = self._energy(placed.reshape(-1, 4, 3), self.target, coarse)
        return value, gradient.reshape(-1, 3)

    def beside(
        self, design: FloatArray, placed: FloatArray
    ) -> tuple[float, FloatArray, FloatArray]:
        """Energy of CB atoms where the target is placed beside a design that stands still.

        Parameters
        ----------
        design : ndarray, shape=(residue, 4, 3)
        placed : ndarray, shape=(4 * residue, 3)
            Of the target, angstrom.

        Returns
        -------
        energy : float
            Nats.
        on_design, on_target : ndarray
            Its gradients, shaped as what is given.
        """
        target = placed.reshape(-1, 4, 3)
        value, on_design, on_target = self._energy(design, target, coarse=True)
        return value, on_design, on_target.reshape(-1, 3)

    def _energy(
        self, design: FloatArray, target: FloatArray, coarse: bool
    ) -> tuple[float, FloatArray, FloatArray]:
        on_design, on_target = np.zeros(design.shape), np.zeros(target.shape)
        energy = 0.0
        for residues, low, high in (
            (self.hotspots, 0.0, self.distance - _KEPT),
            (self.avoided, self.distance + _KEPT, _INFINITE),
        ):
            away = design[None, :, CB] - target[residues, CB][:, None]
            apart = np.linalg.norm(away, axis=-1)
            touching = apart.argmin(axis=1)
            rows = np.arange(len(residues))
            value, slope = well(apart[rows, touching], low, high, _SCALE)
            pull = (
                away[rows, touching] * (slope / np.maximum(apart[rows, touching], _TINY))[:, None]
            )
            np.add.at(on_design[:, CB], touching, pull)
            np.subtract.at(on_target[:, CB], residues, pull)
            energy += float(value.sum())
        atoms = slice(CB, None) if coarse else slice(None)
        low = _COARSE if coarse else CLASH + _KEPT
        energy += _repulsion((design, on_design), (target, on_target), atoms, low)
        return energy, on_design, on_target

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
        return place_points(points, self._best_pose(points, starts)).reshape(atoms.shape)

    def _best_pose(self, points: FloatArray, starts: Sequence[FloatArray]) -> FloatArray:
        """Follow starts downhill, coarsely, and the best carefully; stop where nothing is amiss."""

        def careful(chosen: Sequence[FloatArray]) -> tuple[float, FloatArray]:
            return fit_pose(lambda p: self.energy(p, coarse=False), points, chosen, _CAREFUL_STEPS)

        rough = []
        for start in starts:
            found = fit_pose(lambda p: self.energy(p, coarse=True), points, [start], _COARSE_STEPS)
            if found[0] < _NOTHING:
                value, pose = careful([found[1]])
                if value < _NOTHING:
                    return pose
            rough.append(found)
        order = sorted(range(len(rough)), key=lambda number: rough[number][0])[:_CAREFUL]
        return careful([rough[number][1] for number in order])[1]

    def target_poses(self, atoms: FloatArray) -> list[FloatArray]:
        """Give the pose of the centered target beside a design, as it is docked best.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            Of the design, which stands still, angstrom.
        """
        from scipy.spatial.transform import Rotation

        from protein_lab.geometry import superimpose

        rotation, shift = superimpose(self.dock(atoms).reshape(-1, 3), atoms.reshape(-1, 3))
        turn = Rotation.from_matrix(rotation).as_quat(canonical=True, scalar_first=True)
        return [np.concatenate([turn, rotation @ self.center + shift])]

    @property
    def center(self) -> FloatArray:
        """Mean of all atoms of the target, shape (3,), angstrom."""
        return np.asarray(self.target.mean(axis=(0, 1)), dtype=np.float64)


def _repulsion(
    moved: tuple[FloatArray, FloatArray],
    fixed: tuple[FloatArray, FloatArray],
    atoms: slice,
    low: float,
) -> float:
    """Energy of atoms nearer than ``low``; adds to the gradient beside each of two sets."""
    from scipy.spatial.distance import cdist

    one, other = moved[0][:, atoms].reshape(-1, 3), fixed[0][:, atoms].reshape(-1, 3)
    between = cdist(one, other)  # of so few atoms faster than trees
    row, column = np.nonzero(between < low)
    away, apart = one[row] - other[column], between[row, column]
    value, slope = well(apart, low, _INFINITE, _SCALE)
    force = away * (slope / np.maximum(apart, _TINY))[:, None]
    for (_, gradient), rows, pull in ((moved, row, force), (fixed, column, -force)):
        flat = np.zeros((gradient[:, atoms].size // 3, 3))
        np.add.at(flat, rows, pull)
        gradient[:, atoms] += flat.reshape(gradient[:, atoms].shape)
    return float(value.sum())
