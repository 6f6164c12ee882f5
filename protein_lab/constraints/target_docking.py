"""Rigid docking of a design against a fixed target, by geometry alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import numpy as np

from protein_lab.constraints.pose import fit_pose, place_points, pose_of, turned_starts
from protein_lab.constraints.wells import CB, well
from protein_lab.constraints.windows import ATOMS
from protein_lab.typing import FloatArray, IntArray

CLASH: Final = 3.0
"""Angstrom between N, CA, C, CB of design and target below which they clash."""

_KEPT: Final = 0.5
_SCALE: Final = 3.0
_COARSE: Final = 4.5
"""Angstrom that two CB atoms keep while only they are seen."""

_STARTS: Final = 32
_FIRST_STEPS: Final = 12
_COARSE_KEPT: Final = 6
_MORE_STEPS: Final = 28
_CAREFUL_KEPT: Final = 3
_CAREFUL_STEPS: Final = 60
_GAP: Final = 6.0
_TINY: Final = 1e-9
_NOTHING: Final = 1e-6
"""Energy of a pose that has all it wants, nats."""
_INFINITE: Final = 1e6
_OWN: Final = np.arange(ATOMS)


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
        pairs, low = _near_atoms(design, target, coarse)
        energy += _repulsion((design, on_design), (target, on_target), pairs, low)
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

    def settle(self, atoms: FloatArray, beside: FloatArray) -> FloatArray:
        """Follow one pose carefully downhill, without looking for another.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            N, CA, C and ideal CB of a design, angstrom.
        beside : ndarray, shape=(4 * residue, 3)
            The target where it lies beside that design.

        Returns
        -------
        ndarray, shape=(residue, 4, 3)
            The design beside the target that stands still.
        """
        from protein_lab.geometry import superimpose

        middle = atoms.mean(axis=(0, 1))
        points = (atoms - middle).reshape(-1, 3)
        rotation, shift = superimpose(beside, self.target.reshape(-1, 3))
        start = pose_of(rotation, rotation @ middle + shift)
        return place_points(points, self._careful(points, [start])[1]).reshape(atoms.shape)

    def _careful(
        self, points: FloatArray, starts: Sequence[FloatArray]
    ) -> tuple[float, FloatArray]:
        return fit_pose(lambda p: self.energy(p, coarse=False), points, starts, _CAREFUL_STEPS)

    def _best_pose(self, points: FloatArray, starts: Sequence[FloatArray]) -> FloatArray:
        """Follow starts downhill, ever fewer of them ever farther; stop where nothing is amiss."""

        def coarsely(start: FloatArray, steps: int) -> tuple[float, FloatArray]:
            return fit_pose(lambda p: self.energy(p, coarse=True), points, [start], steps)

        first = sorted((coarsely(start, _FIRST_STEPS) for start in starts), key=itemgetter(0))
        rough = []
        for value, pose in first[:_COARSE_KEPT]:
            found = (value, pose) if value < _NOTHING else coarsely(pose, _MORE_STEPS)
            if found[0] < _NOTHING:
                energy, last = self._careful(points, [found[1]])
                if energy < _NOTHING:
                    return last
            rough.append(found)
        best = sorted(rough, key=itemgetter(0))[:_CAREFUL_KEPT]
        return self._careful(points, [pose for _, pose in best])[1]

    def target_poses(self, atoms: FloatArray) -> list[FloatArray]:
        """Give the pose of the centered target beside a design, as it is docked best.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            Of the design, which stands still, angstrom.
        """
        from protein_lab.geometry import superimpose

        rotation, shift = superimpose(self.dock(atoms).reshape(-1, 3), atoms.reshape(-1, 3))
        return [pose_of(rotation, rotation @ self.center + shift)]

    @property
    def center(self) -> FloatArray:
        """Mean of all atoms of the target, shape (3,), angstrom."""
        return np.asarray(self.target.mean(axis=(0, 1)), dtype=np.float64)


def _size(atoms: FloatArray) -> float:
    """Largest distance of an atom to the CB of its residue, angstrom."""
    return float(np.sqrt(((atoms - atoms[:, CB:]) ** 2).sum(axis=-1).max()))


def _near_atoms(
    design: FloatArray, target: FloatArray, coarse: bool
) -> tuple[tuple[IntArray, IntArray], float]:
    """All pairs of atoms that may be too near, and what distance they shall keep."""
    from scipy.spatial.distance import cdist

    low = _COARSE if coarse else CLASH + _KEPT
    within = low if coarse else low + _size(design) + _size(target)
    # of so few CB atoms faster than trees
    between = cdist(design[:, CB], target[:, CB], "sqeuclidean")
    first, second = (ATOMS * residues for residues in np.nonzero(between < within**2))
    if coarse:
        return (first + CB, second + CB), low
    one, other = np.broadcast_arrays(
        first[:, None, None] + _OWN[:, None], second[:, None, None] + _OWN
    )
    return (one.ravel(), other.ravel()), low


def _repulsion(
    moved: tuple[FloatArray, FloatArray],
    fixed: tuple[FloatArray, FloatArray],
    pairs: tuple[IntArray, IntArray],
    low: float,
) -> float:
    """Energy of pairs of atoms nearer than ``low``; adds to the gradients of two sets."""
    row, column = pairs
    away = moved[0].reshape(-1, 3)[row] - fixed[0].reshape(-1, 3)[column]
    apart = np.sqrt((away * away).sum(axis=-1))
    value, slope = well(apart, low, _INFINITE, _SCALE)
    force = away * (slope / np.maximum(apart, _TINY))[:, None]
    np.add.at(moved[1].reshape(-1, 3), row, force)
    np.subtract.at(fixed[1].reshape(-1, 3), column, force)
    return float(value.sum())
