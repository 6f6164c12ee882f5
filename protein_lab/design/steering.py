"""Pull a chain to where the constraints of a request hold, at every stage of its making.

Constraints that give an energy bend the coarse curve before a field is drawn, move the clean field
that the operator expects at every step of the flow, and join the energy of the refinement. The
move of the clean field is guidance by its gradient without differentiating the operator (a
first-order form of what Chung et al., ICLR 2023, do for inverse problems), preconditioned along
the chain, so that a residue takes its neighbors along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.base import (
    Constraint,
    Judging,
    Layout,
    Restraining,
    Restraint,
    Shaping,
)
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.virtual_atoms import add_beta_gradient, beta
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray

_ROUNDS: Final = 3
"""Moves of a clean field at one step of the flow."""

_HALVINGS: Final = 6
_FIRST_STEP: Final = 0.5
"""Energies grow by about 1 nat for the square of an angstrom, so half the gradient undoes them."""

_ALONG: Final = 2.0
"""Residues over which a move spreads along the chain, as a standard deviation."""

_OWN: Final = 0.3
"""Share of its own pull that an atom follows beside that of its residue."""

_STILL: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Steering:
    """What the constraints of a request pull at in one design.

    Attributes
    ----------
    constraints : tuple of Constraint
        All of the request.
    layout : Layout
        Of the design.
    restraints : tuple of Restraint
        Energies of the constraints that have one.
    torsions : ndarray, shape=(residue, 2), optional
        Phi and psi that are given, radians, NaN where nothing is.
    judging : tuple of (Judging or None)
        For each constraint its restraint, if that tells whether it holds.
    """

    constraints: tuple[Constraint, ...]
    layout: Layout
    restraints: tuple[Restraint, ...]
    torsions: FloatArray | None
    judging: tuple[Judging | None, ...]

    @classmethod
    def of(cls, constraints: Iterable[Constraint], layout: Layout) -> Steering | None:
        """Collect what pulls; None when only secondary structure and pairing are asked.

        Parameters
        ----------
        constraints : iterable of Constraint
            All constraints of a request.
        layout : Layout
            Of the design.
        """
        judged = tuple(constraints)
        if all(isinstance(item, SecondaryStructure | Pairing) for item in judged):
            return None
        pulling = [
            item.restraint(layout) if isinstance(item, Restraining) else None for item in judged
        ]
        given: FloatArray | None = None
        for item in judged:
            if isinstance(item, Shaping):
                more = item.torsions(layout)
                given = more if given is None else np.where(np.isnan(given), more, given)
        restraints = tuple(item for item in pulling if item is not None)
        judging = tuple(item if isinstance(item, Judging) else None for item in pulling)
        return cls(judged, layout, restraints, given, judging)

    def on_atoms(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy and gradient ``(residue, 4, 3)`` of N, CA, C and virtual CB."""
        value, gradient = 0.0, np.zeros_like(atoms)
        for restraint in self.restraints:
            more, part = restraint(atoms)
            value += more
            gradient += part
        return value, gradient

    def on_trace(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Energy and gradient ``(3 * residue, 3)`` of N, CA and C."""
        atoms = np.concatenate([trace.reshape(-1, 3, 3), beta(trace)[:, None]], axis=1)
        value, by_atom = self.on_atoms(atoms)
        gradient = np.ascontiguousarray(by_atom[:, :3]).reshape(-1, 3)
        add_beta_gradient(gradient, by_atom[:, 3], trace)
        return value, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy and gradient ``(residue, 3)`` of an axis curve."""
        value, gradient = 0.0, np.zeros_like(curve)
        for restraint in self.restraints:
            more, part = restraint.on_curve(curve)
            value += more
            gradient += part
        return value, gradient

    def num_missed(self, backbone: FloatArray, on_way: bool = False) -> int:
        """Count the constraints that a backbone fails, whatever its sequence.

        Parameters
        ----------
        backbone : ndarray, shape=(residue, 4, 3)
            N, CA, C, O, angstrom.
        on_way : bool
            Whether it goes on changing: a constraint with a pose to search for is then judged
            at the pose that pulls.
        """
        protein = Protein.from_backbone(backbone)
        missed = 0
        for item, judging in zip(self.constraints, self.judging, strict=True):
            if on_way and judging is not None:
                missed += not judging.seems_met(atoms_of(protein))
            else:
                missed += item.evaluate(protein, self.layout).verdict == "fail"
        return missed

    def move_fields(self, fields: FloatArray) -> FloatArray:
        """Move clean fields down the energy.

        Parameters
        ----------
        fields : ndarray, shape=(sample, residue, 3, 3)
            N, CA, C that the operator expects, angstrom.

        Returns
        -------
        ndarray, shape=(sample, residue, 3, 3), dtype=float32
        """
        if not self.restraints:
            return fields
        spread = _spread(fields.shape[1])
        moved = [self._descend(field.astype(np.float64), spread) for field in fields]
        return np.stack(moved).astype(np.float32)

    def _descend(self, field: FloatArray, spread: FloatArray) -> FloatArray:
        """Move one field by a few steps, each shortened until the energy falls."""
        trace = field.reshape(-1, 3)
        value, gradient = self.on_trace(trace)
        for _ in range(_ROUNDS):
            if np.abs(gradient).max() < _STILL:
                break
            direction = _direction(gradient, spread)
            step = _FIRST_STEP
            for _ in range(_HALVINGS):
                trial = trace + step * direction
                lower, following = self.on_trace(trial)
                if lower < value:
                    trace, value, gradient = trial, lower, following
                    break
                step *= 0.5
            else:
                break
        return trace.reshape(field.shape)


def _spread(length: int) -> FloatArray:
    """How residues take their neighbors along: a Gaussian along the chain, 1 at the residue."""
    apart = np.arange(length)[:, None] - np.arange(length)
    return np.exp(-0.5 * (apart / _ALONG) ** 2)


def _direction(gradient: FloatArray, spread: FloatArray) -> FloatArray:
    """Downhill direction in which residues move as a whole and neighbors follow.

    Neighbors that are all pulled would add up, so the sum is brought back to the size of the
    largest single pull.
    """
    by_residue = gradient.reshape(-1, 3, 3)
    whole = by_residue.sum(axis=1)
    smooth = spread @ whole
    largest = np.linalg.norm(smooth, axis=-1).max()
    scale = np.linalg.norm(by_residue, axis=-1).max() / max(float(largest), 1e-12)
    return -(scale * smooth[:, None] + _OWN * by_residue).reshape(-1, 3)
