"""Phi and psi of a chain with exact bonds and angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protein_lab.design.objective import Evaluation, Objective, Subject, with_beta
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal
from protein_lab.typing import BoolArray, FloatArray, IntArray


class Torsions:
    """Backbones with ideal bonds, angles and planar peptides; points are phi and psi of free ones.

    Plain sampling draws every free residue from the basins that its state has in real chains, and
    keeps the others where they are.

    Parameters
    ----------
    states : str
        Secondary structure, one letter a residue.
    free : ndarray of bool, shape=(residue,), optional
        Residues that may turn; by default those in loops.
    start : ndarray, shape=(residue, 2), optional
        Phi and psi to begin from, radians; by default the middle of each state's main basin.
    omega : ndarray, shape=(residue,), optional
        Torsions of the peptides, radians, which stay as they are; 180 degrees by default.
    tau : ndarray, shape=(residue,), optional
        Angles N-CA-C, radians, which stay as they are; ideal by default.
    """

    name = "torsions"

    def __init__(
        self,
        states: str,
        free: BoolArray | Sequence[bool] | None = None,
        start: FloatArray | None = None,
        omega: FloatArray | None = None,
        tau: FloatArray | None = None,
    ) -> None:
        size = len(states)
        if size < 2:
            raise GeometryError(f"A chain of {size} residues has no torsions to turn.")
        loops = [state not in "HE" for state in states]
        marks = np.asarray(loops if free is None else free, dtype=bool)
        self.wells = TorsionWells.of(states)
        main = np.argmax(self.wells.heights, axis=1)
        first = self.wells.centers[np.arange(size), main]
        self.start = np.array(first if start is None else start, dtype=np.float64)
        self.omega = np.full(size, np.pi) if omega is None else np.asarray(omega)
        self.tau = tau
        if marks.shape != (size,) or self.start.shape != (size, 2):
            raise GeometryError(
                f"Expected a mark and two torsions for each of {size} residues, but got "
                f"{marks.shape} and {self.start.shape}."
            )
        self.places = np.flatnonzero(marks)
        if not self.places.size:
            raise GeometryError("No residue may turn.", "Leave some free; loops are by default.")
        self.start[0, 0] = self.start[-1, 1] = 0.0  # they turn nothing
        if not np.isfinite(self.start).all():
            raise GeometryError("A torsion to begin from is not finite.")

    def draw(self, rng: np.random.Generator, count: int) -> list[FloatArray]:
        """Draw free residues from their basins."""
        return [self._redrawn(self.places, rng) for _ in range(count)]

    def _redrawn(self, places: IntArray, rng: np.random.Generator) -> FloatArray:
        """Draw phi and psi of some residues, shape (place, 2)."""
        wells = self.wells
        # the peak of a narrow basin is higher than its share
        share = np.exp(wells.heights[places])
        share /= np.sqrt(np.maximum(wells.stiffness[places].prod(-1), 1e-12))
        reached = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
        well = (reached < rng.random((len(places), 1)) * reached[:, -1:]).sum(axis=1)
        return rng.vonmises(wells.centers[places, well], wells.stiffness[places, well])

    def center(self, rng: np.random.Generator) -> FloatArray:
        """Give one draw."""
        return self.draw(rng, 1)[0]

    @property
    def spread(self) -> float:
        """First step of evolution, radians."""
        return 0.4

    def subject(self, point: FloatArray) -> Subject:
        """Build the backbone."""
        return Subject(backbone=self._built(point))

    def _built(self, point: FloatArray) -> FloatArray:
        held = self.start.copy()
        held[self.places] = point
        return backbone_from_internal(held[:, 0], held[:, 1], self.omega, self.tau)

    def with_gradient(
        self, point: FloatArray, objective: Objective
    ) -> tuple[Evaluation, FloatArray]:
        """Evaluate, and carry the gradient on atoms back to the torsions."""
        atoms = with_beta(self._built(point))
        found, pull = objective.with_gradient(atoms)
        return found, torsion_gradient(atoms, pull)[self.places]

    def move(self, point: FloatArray, size: float, rng: np.random.Generator) -> FloatArray:
        """Turn a residue a little, draw one anew, or turn one way here and back there.

        The last, a crankshaft of psi and the next phi, changes the chain near the peptide alone.
        """
        number, kind = int(rng.integers(len(self.places))), rng.random()
        moved = point.copy()
        width = 0.02 + 0.4 * size
        if kind < 0.15 * size:
            moved[number] = self._redrawn(self.places[number : number + 1], rng)[0]
        elif kind < 0.6:
            moved[number] += rng.normal(0.0, width, 2)
        else:
            turn = rng.normal(0.0, 2.0 * width)
            moved[number, 1] += turn
            following = self.places[number + 1 : number + 2]
            if following.size and following[0] == self.places[number] + 1:
                moved[number + 1, 0] -= turn
        return moved

    def cross(self, first: FloatArray, second: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Take the torsions before a cut from one parent, those behind it from the other."""
        cut = int(rng.integers(1, len(first)))
        return np.concatenate([first[:cut], second[cut:]])


def torsion_gradient(atoms: FloatArray, pull: FloatArray) -> FloatArray:
    """Gradient by phi and psi of a function of atoms.

    Turning a bond moves everything behind it as one rigid body, so the derivative is the torque
    about the bond of what pulls there (Abe, Braun, Noguti & Go, Comput. Chem. 8, 1984); sums from
    the end of the chain give all of them in linear time.

    Parameters
    ----------
    atoms : ndarray, shape=(residue, 4, 3)
        N, CA, C, CB, angstrom.
    pull : ndarray, shape=(residue, 4, 3)
        Gradient on them.

    Returns
    -------
    ndarray, shape=(residue, 2)
        By phi and psi; zero for the first phi and the last psi, which move no atom.
    """
    torque = np.cross(atoms, pull)
    # behind phi lie CB and C of the residue and all that follows, behind psi what follows
    after_force, after_torque = (
        np.concatenate([np.cumsum(part.sum(1)[::-1], axis=0)[::-1][1:], np.zeros((1, 3))])
        for part in (pull, torque)
    )
    own_force, own_torque = pull[:, 2:].sum(1), torque[:, 2:].sum(1)
    gradient = np.zeros((len(atoms), 2))
    for place, (begin, end, force, twist) in enumerate(
        (
            (0, 1, after_force + own_force, after_torque + own_torque),
            (1, 2, after_force, after_torque),
        )
    ):
        axis = atoms[:, end] - atoms[:, begin]
        axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
        about = twist - np.cross(atoms[:, begin], force)
        gradient[:, place] = (axis * about).sum(-1)
    gradient[0, 0] = gradient[-1, 1] = 0.0
    return gradient
