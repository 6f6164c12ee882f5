"""From the noisy field of an operator to a backbone with exact geometry and the asked structure.

The field is pulled towards ideal geometry in Cartesian space in stages: position restraints
loosen while torsion wells, hydrogen bonds and repulsion grow. Every round ends with a projection
onto exact bonds and angles, so whatever the field was, the result is a chemically exact chain of
L-amino acids; whether it also has the asked helices and strands is measured and reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.hydrogen_bonds import helix_bonds, sheet_bonds
from protein_lab.design.ideal_chain import project, torsions, with_oxygen
from protein_lab.design.minimization import minimize
from protein_lab.design.peptide_flips import (
    TRAPPED,
    inner_energies,
    residue_torsions,
    turn_planes,
)
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.restraints import RestraintEnergy, Strengths
from protein_lab.design.steering import Steering
from protein_lab.design.virtual_atoms import expand
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal, superimpose
from protein_lab.metrics import backbone_clash_per_1000, dssp, num_clashes, rmsd
from protein_lab.typing import FloatArray, IntArray

_MIN_RESIDUES = 4
_SETTLED = 4.0
_UNUSUAL = 4.0
_FARTHEST = 1e5
_EXACT = 1e-3
_ATOM_TRUST = (0.6, 1.0, 0.6)
_TRUST_RANGE = (0.2, 3.0)
_BLOCKS = (1, 2, 2, 2)
_ROUND_BLOCKS = 2
_FIRST_REACH = 2.0
_LAST_REACH = 0.5
_GOOD_ENOUGH = 0.02
_PROGRESS = 0.01
# One clash in a thousand atoms weighs like half a percent of the helix residues.
_CLASH_SHARE = 0.005
_UNUSUAL_SHARE = 0.5
# Ladders of real chains have bulges and frayed ends, so a lost strand residue weighs less.
_STRAND_SHARE = 0.3
_FILL_TORSION = -60.0
_COINCIDENT = 0.2
_JITTER = 0.1

_STAGES = (
    Strengths(position=1.0, torsion=0.1, hydrogen_bond=0.0, repulsion=0.0, bond=40, angle=20),
    Strengths(position=0.9, torsion=0.25, hydrogen_bond=4.0, repulsion=5.0),
    Strengths(
        position=0.1, torsion=0.35, hydrogen_bond=8.0, repulsion=10.0, outside=0.8,
        constraint=3.0,
    ),
    Strengths(
        position=0.1, torsion=0.35, hydrogen_bond=8.0, repulsion=10.0, outside=0.8,
        bond=2000.0, angle=1000.0, omega=120.0, constraint=3.0,
    ),
)  # fmt: skip


class RefinementOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How far the refinement goes.

    Attributes
    ----------
    max_rounds : int
        Rounds of minimization, projection and check; each gives the asked structure more weight
        against the field.
    steps : int
        Minimization steps of a block, after which contacts are looked up anew.
    helix_share, strand_share : float
        Shares of asked helix and strand residues that DSSP must assign for convergence.
    trapped_share : float
        Share of residues that may lie outside the torsion basins of their state.
    max_moved : float
        Largest RMSD of CA to the field, angstrom; beyond it the field was another fold.
    """

    max_rounds: int = 4
    steps: int = 30
    helix_share: float = 0.95
    strand_share: float = 0.75
    trapped_share: float = 0.05
    max_moved: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """An exact backbone and how it came out.

    Attributes
    ----------
    backbone : (residue, 4, 3) float32 array
        N, CA, C, O in angstrom.
    energies : dict of str to float
        Value of each restraint term at the end.
    rounds : int
        Rounds that were run.
    moved_rmsd : float
        RMSD of CA to the field after superposition, angstrom.
    converged : bool
        Whether all checks hold; never true when one could not be met.
    problems : tuple of str
        What does not hold, in words.
    secondary_structure : str
        What DSSP assigns to the result.
    """

    backbone: FloatArray
    energies: dict[str, float]
    rounds: int
    moved_rmsd: float
    converged: bool
    problems: tuple[str, ...]
    secondary_structure: str


def refine(
    field: ArrayLike,
    blueprint: Blueprint,
    sigma: ArrayLike | None = None,
    options: RefinementOptions | None = None,
    steering: Steering | None = None,
) -> Refined:
    """Turn a field into a backbone with exact geometry and the asked secondary structure.

    Parameters
    ----------
    field : (residue, 3, 3) array
        N, CA, C as an operator predicts them, angstrom.
    blueprint : Blueprint
        Helices, strands and pairs of strands that are asked for.
    sigma : (residue,) array, optional
        Uncertainty of each residue, angstrom; uncertain residues may move farther.
    options : RefinementOptions, optional
        How far to go.
    steering : Steering, optional
        What the constraints of the request pull at, beside the blueprint.

    Returns
    -------
    Refined
        The backbone of the best round; ``converged`` and ``problems`` say what it lacks.

    Raises
    ------
    GeometryError
        If an array has a wrong shape, is not finite, or does not fit the blueprint.
    """
    options = options or RefinementOptions()
    reference = _checked_field(field, blueprint)
    task = _Task(reference, _trust(sigma, len(reference)), blueprint, steering)
    trace = task.relax(_spread_out(reference.reshape(-1, 3)), options.steps)
    best: tuple[tuple[float, ...], Refined] | None = None
    strengths, number = _STAGES[-1], 0
    for number in range(1, options.max_rounds + 1):
        exact, violation = task.make_exact(trace)
        refined, score = task.measure(exact, violation, number, options)
        stalled = best is not None and score[-1] > best[0][-1] - _PROGRESS
        if best is None or score < best[0]:
            best = (score, refined)
        settled = max(score[:-1]) == 0.0 and (stalled or score[-1] <= _GOOD_ENOUGH)
        if settled or number == options.max_rounds:
            break
        strengths, task.reach = _pressed(strengths), _LAST_REACH
        trace = task.minimize(task.flip(exact), strengths, options.steps, _ROUND_BLOCKS)
    if best is None:
        raise GeometryError(f"max_rounds must be at least 1; {options.max_rounds} came.")
    return replace(best[1], rounds=number)


@dataclass(eq=False)
class _Task:
    """A field on its way to a backbone."""

    field: FloatArray
    trust: FloatArray
    blueprint: Blueprint
    steering: Steering | None = None

    def __post_init__(self) -> None:
        given = None if self.steering is None else self.steering.torsions
        self.wells = TorsionWells.of(self.blueprint.secondary_structure, given)
        self.helical = helix_bonds(self.blueprint.secondary_structure)
        self.local_trust = self.trust
        self.reach = _FIRST_REACH
        self.energy: RestraintEnergy | None = None

    def relax(self, trace: FloatArray, steps: int) -> FloatArray:
        """Run the stages that lead from the field to a nearly exact chain."""
        for strengths, blocks in zip(_STAGES, _BLOCKS, strict=True):
            trace = self.minimize(self.flip(trace), strengths, steps, blocks)
        return trace

    def flip(self, trace: FloatArray) -> FloatArray:
        """Turn peptide planes into allowed basins and stop trusting the field there."""
        energies = inner_energies(residue_torsions(trace), self.wells)
        if energies.max() < _SETTLED:
            return trace
        held = np.zeros(len(trace) // 3 - 1, dtype=bool)
        bonds = self.bonds(trace)
        held[bonds[:, 0] - 1] = True
        held[bonds[:, 1]] = True
        trace, self.local_trust = turn_planes(trace, self.wells, self.trust, held)
        return trace

    def minimize(
        self, trace: FloatArray, strengths: Strengths, steps: int, blocks: int
    ) -> FloatArray:
        """Minimize in blocks; each block renews contacts and preconditioner."""
        pull = self.steering.on_trace if self.steering else None
        energy = RestraintEnergy(
            self.field.reshape(-1, 3),
            self.local_trust,
            self.wells,
            self.bonds(trace),
            strengths,
            pull,
        )
        for _ in range(blocks):
            energy.find_pairs(trace)
            trace = minimize(energy, trace, energy.curvature(trace), steps)
        self.energy = energy
        return trace

    def bonds(self, trace: FloatArray) -> IntArray:
        """Hydrogen bonds that the blueprint asks for, as donor and acceptor residues."""
        sheet = sheet_bonds(expand(trace), self.blueprint, self.helical, self.reach)
        return np.array(self.helical + sheet, dtype=np.int64).reshape(-1, 2)

    def make_exact(self, trace: FloatArray) -> tuple[FloatArray, float]:
        """Project a trace; where that fails, rebuild the chain from its torsions."""
        exact, violation = project(trace)
        if violation <= _EXACT:
            return exact, violation
        angles, _ = torsions(trace)
        phi, psi = np.full((2, len(self.field)), np.radians(_FILL_TORSION))
        phi[1:], psi[:-1] = angles[2::3], angles[0::3]
        rebuilt = backbone_from_internal(phi, psi, np.full(len(phi), np.pi))[:, :3]
        rotation, translation = superimpose(rebuilt[:, 1], self.field[:, 1])
        return project((rebuilt @ rotation.T + translation).reshape(-1, 3))

    def measure(
        self, trace: FloatArray, violation: float, number: int, options: RefinementOptions
    ) -> tuple[Refined, tuple[float, ...]]:
        """Check an exact chain; the score orders rounds, smaller is better."""
        backbone = with_oxygen(trace).astype(np.float32)
        obtained = dssp(backbone)
        asked = self.blueprint.secondary_structure
        lost_helix = _lost(asked, obtained, "H")
        lost_strand = _lost(asked, obtained, "E")
        clashes = int(num_clashes(backbone))
        energies = inner_energies(residue_torsions(trace), self.wells)
        trapped = float((energies > TRAPPED).mean())
        moved = float(rmsd(backbone[:, 1], self.field[:, 1]))
        problems = []
        if violation > _EXACT:
            problems.append(f"Bonds and angles are off by up to {violation:.3f} angstrom.")
        if clashes:
            problems.append(f"{clashes} pairs of atoms clash.")
        if lost_helix > 1.0 - options.helix_share:
            problems.append(f"{lost_helix:.0%} of the asked helix residues are not helical.")
        if lost_strand > 1.0 - options.strand_share:
            problems.append(f"{lost_strand:.0%} of the asked strand residues are in no ladder.")
        if trapped > options.trapped_share:
            problems.append(f"{trapped:.0%} of the residues have forbidden phi and psi.")
        if moved > options.max_moved:
            problems.append(f"The fold had to move by {moved:.1f} angstrom from the field.")
        refined = Refined(
            backbone=backbone,
            energies=self._energies(trace),
            rounds=number,
            moved_rmsd=moved,
            converged=not problems,
            problems=tuple(problems),
            secondary_structure=obtained,
        )
        unusual = float((energies > _UNUSUAL).mean())
        lost = lost_helix + _STRAND_SHARE * lost_strand + trapped + _UNUSUAL_SHARE * unusual
        lost += _CLASH_SHARE * backbone_clash_per_1000(backbone)
        missed = 0 if self.steering is None else self.steering.num_missed(backbone, on_way=True)
        score = (
            float(violation > _EXACT),
            float(clashes),
            float(moved > options.max_moved),
            float(missed),
            lost,
        )
        return refined, score

    def _energies(self, trace: FloatArray) -> dict[str, float]:
        if self.energy is None:
            return {}
        return {name: value for name, (value, _) in self.energy.terms(trace).items()}


def _pressed(strengths: Strengths) -> Strengths:
    """Give the asked structure more weight against the field."""
    return replace(
        strengths,
        position=strengths.position * 0.5,
        torsion=strengths.torsion * 1.2,
        hydrogen_bond=strengths.hydrogen_bond * 1.2,
        repulsion=strengths.repulsion * 1.2,
        constraint=strengths.constraint * 1.5,
    )


def _lost(asked: str, obtained: str, state: str) -> float:
    """Share of the residues asked to have a state that do not have it; 0 if none is asked."""
    wanted = [other for one, other in zip(asked, obtained, strict=True) if one == state]
    return sum(other != state for other in wanted) / len(wanted) if wanted else 0.0


def _checked_field(field: ArrayLike, blueprint: Blueprint) -> FloatArray:
    array = np.asarray(field, dtype=np.float64)
    if array.ndim != 3 or array.shape[1:] != (3, 3):
        raise GeometryError(
            f"Expected a field (residue, 3, 3) with N, CA, C, but got the shape {array.shape}."
        )
    if len(array) < _MIN_RESIDUES:
        raise GeometryError(f"Expected at least {_MIN_RESIDUES} residues, but got {len(array)}.")
    if not np.isfinite(array).all() or np.abs(array).max() > _FARTHEST:
        raise GeometryError(
            "Expected finite coordinates, but the field has values that are not finite or absurd.",
            "Draw the sample again; if it happens again, the weights are broken.",
        )
    if len(array) != blueprint.length:
        raise GeometryError(
            f"Expected a field of {blueprint.length} residues, as the blueprint has, "
            f"but got {len(array)}."
        )
    return array


def _spread_out(trace: FloatArray) -> FloatArray:
    """Shake a trace in which neighbors coincide, for they have no direction to move apart."""
    steps = np.linalg.norm(np.diff(trace, axis=0), axis=-1)
    if steps.min() > _COINCIDENT:
        return trace
    return trace + np.random.default_rng(0).normal(scale=_JITTER, size=trace.shape)


def _trust(sigma: ArrayLike | None, residues: int) -> FloatArray:
    """Weights of the position restraints: inverse variance, limited, about 1 on average."""
    atom = np.tile(_ATOM_TRUST, residues)
    if sigma is None:
        return atom
    spread = np.asarray(sigma, dtype=np.float64)
    if spread.shape != (residues,) or not np.isfinite(spread).all() or spread.min() < 0.0:
        raise GeometryError(
            f"Expected sigma as {residues} finite, not negative numbers, one a residue, "
            f"but got the shape {spread.shape}."
        )
    usual = max(float(np.median(spread)), 1e-3)
    weight = np.clip((usual / np.maximum(spread, 1e-3)) ** 2, *_TRUST_RANGE)
    return atom * np.repeat(weight, 3)
