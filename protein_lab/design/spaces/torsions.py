"""Phi and psi of a chain with exact bonds and angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protein_lab.design.objective import Evaluation, Objective, Subject, with_beta
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal
from protein_lab.typing import BoolArray, FloatArray


class Torsions:
    """Backbones with ideal bonds and angles and planar peptides; points are phi and psi.

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
        self.free = np.asarray(loops if free is None else free, dtype=bool)
        self.wells = TorsionWells.of(states)
        main = np.argmax(self.wells.heights, axis=1)
        first = self.wells.centers[np.arange(size), main]
        self.start = np.array(first if start is None else start, dtype=np.float64)
        self.omega = np.full(size, np.pi) if omega is None else np.asarray(omega)
        self.tau = tau
        if self.free.shape != (size,) or self.start.shape != (size, 2):
            raise GeometryError(
                f"Expected a mark and two torsions for each of {size} residues, but got "
                f"{self.free.shape} and {self.start.shape}."
            )
        self.start[0, 0] = self.start[-1, 1] = 0.0  # they turn nothing
        if not np.isfinite(self.start).all():
            raise GeometryError("A torsion to begin from is not finite.")

    def draw(self, rng: np.random.Generator, count: int) -> list[FloatArray]:
        """Draw free residues from their basins."""
        return [self._redrawn(self.start, self.free, rng) for _ in range(count)]

    def _redrawn(self, point: FloatArray, which: BoolArray, rng: np.random.Generator) -> FloatArray:
        """Draw some residues anew."""
        wells = self.wells
        drawn = point.copy()
        # the peak of a narrow basin is higher than its share
        share = np.exp(wells.heights) / np.sqrt(np.maximum(wells.stiffness.prod(-1), 1e-12))
        share = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
        for residue in np.flatnonzero(which):
            well = int(np.searchsorted(share[residue], rng.random() * share[residue, -1]))
            drawn[residue] = rng.vonmises(
                wells.centers[residue, well], wells.stiffness[residue, well]
            )
        drawn[0, 0] = drawn[-1, 1] = 0.0
        return drawn

    def center(self, rng: np.random.Generator) -> FloatArray:
        """Give one draw; only free torsions of it matter."""
        return self.draw(rng, 1)[0]

    @property
    def spread(self) -> float:
        """First step of evolution, radians."""
        return 0.4

    def subject(self, point: FloatArray) -> Subject:
        """Build the backbone."""
        return Subject(backbone=self._built(point))

    def _built(self, point: FloatArray) -> FloatArray:
        held = np.where(self.free[:, None], point, self.start)
        return backbone_from_internal(held[:, 0], held[:, 1], self.omega, self.tau)

    def with_gradient(
        self, point: FloatArray, objective: Objective
    ) -> tuple[Evaluation, FloatArray]:
        """Evaluate, and carry the gradient on atoms back to the torsions."""
        atoms = with_beta(self._built(point))
        found, pull = objective.with_gradient(atoms)
        return found, torsion_gradient(atoms, pull) * self.free[:, None]

    def move(self, point: FloatArray, size: float, rng: np.random.Generator) -> FloatArray:
        """Turn a residue or two a little, draw one anew, or turn one way here and back there.

        The last, a crankshaft of psi and the next phi, changes the chain near the peptide alone.
        """
        places = np.flatnonzero(self.free)
        if not places.size:
            return point
        residue = int(rng.choice(places))
        kind = rng.random()
        if kind < 0.15 * size:
            which = np.zeros(len(point), dtype=bool)
            which[residue] = True
            return self._redrawn(point, which, rng)
        moved = point.copy()
        width = 0.02 + 0.4 * size
        if kind < 0.6:
            moved[residue] += rng.normal(0.0, width, 2)
        else:
            turn = rng.normal(0.0, 2.0 * width)
            moved[residue, 1] += turn
            if residue + 1 < len(point) and self.free[residue + 1]:
                moved[residue + 1, 0] -= turn
        moved[0, 0] = moved[-1, 1] = 0.0
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
