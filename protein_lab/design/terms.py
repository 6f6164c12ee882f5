"""Terms that objectives are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from protein_lab.constants import (
    CA_CA_TRANS,
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
)
from protein_lab.constraints.base import BlueprintAsking, Constraint, Layout, Restraining
from protein_lab.design.ideal_chain import torsions
from protein_lab.design.objective import Subject, Term, sloped
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.geometry import place_oxygen, superimpose
from protein_lab.protein import Protein
from protein_lab.training.fold_search import FoldSearch
from protein_lab.typing import FloatArray
from protein_lab.validation import measure_novelty, validate

REPULSION: Final = 3.4
"""Distance of atoms of residues that are not neighbors below which they repel, angstrom."""

_NEIGHBORS: Final = 3
_LOOSE: Final = 1.1


def constraint_term(constraint: Constraint, layout: Layout, weight: float = 1.0) -> Term:
    """Make a term of a constraint: its energy where it has one, else what it lacks to hold.

    Parameters
    ----------
    constraint : Constraint
    layout : Layout
        Of the design.
    weight : float
        What one nat, or one unit of the margin, counts.
    """
    if isinstance(constraint, Restraining):
        restraint = constraint.restraint(layout)
        return sloped(constraint.kind, "nats", restraint, weight)
    return margin_term(constraint, layout, weight)


def margin_term(constraint: Constraint, layout: Layout, weight: float = 1.0) -> Term:
    """Make a term of how far a constraint is from holding: minus its margin where that is negative.

    Parameters
    ----------
    constraint, layout, weight
        As for :func:`constraint_term`.
    """

    def measure(subject: Subject) -> float:
        margin = constraint.evaluate(protein_of(subject), layout).margin
        return max(-margin, 0.0) if margin is not None else 0.0

    return Term(constraint.kind, "margin", measure, weight)


def blueprint_term(constraint: BlueprintAsking, name: str, weight: float = 1.0) -> Term:
    """Make a term of how far a blueprint is from what a constraint asks of it.

    Parameters
    ----------
    constraint : BlueprintAsking
    name : str
        Of the term.
    weight : float
        What one unit of the cost counts.
    """

    def measure(subject: Subject) -> float:
        blueprint = subject.require_blueprint()
        pairs = [(pair.first, pair.second, pair.orientation) for pair in blueprint.pairs]
        return constraint.blueprint_cost(blueprint.secondary_structure, pairs)

    return Term(name, "cost", measure, weight)


def checks_term(preset: str = "geometry", weight: float = 1.0) -> Term:
    """Make a term of the number of checks of a preset that fail.

    Parameters
    ----------
    preset : str
        Validation preset.
    weight : float
        What one failed check counts.
    """

    def measure(subject: Subject) -> float:
        checks = validate(protein_of(subject), preset, quick=True)
        return float(sum(check.verdict == "fail" for check in checks))

    return Term("checks", "failed", measure, weight)


def novelty_term(search: FoldSearch, weight: float = 1.0) -> Term:
    """Make a term of the TM-score to the nearest real chain; takes about a second to measure.

    Parameters
    ----------
    search : FoldSearch
        Real chains.
    weight : float
        What a TM-score of 1 counts.
    """

    def measure(subject: Subject) -> float:
        found = measure_novelty(protein_of(subject), search).value
        return 0.0 if found is None else found

    return Term("novelty", "TM-score", measure, weight)


def compactness_term(length: int, weight: float = 1.0) -> Term:
    """Make a term of what the radius of gyration has above that of folded chains.

    Parameters
    ----------
    length : int
        Residues; 1.1 times 2.2 L^0.38 angstrom costs nothing.
    weight : float
        What one angstrom counts.
    """
    most = _LOOSE * RADIUS_OF_GYRATION_FACTOR * length**RADIUS_OF_GYRATION_EXPONENT

    def slope(atoms: FloatArray) -> tuple[float, FloatArray]:
        size, gradient = gyration(atoms)
        return (size - most, gradient) if size > most else (0.0, np.zeros_like(gradient))

    return sloped("compactness", "angstrom", slope, weight)


def gyration(atoms: FloatArray) -> tuple[float, FloatArray]:
    """Radius of gyration of CA, angstrom, and its gradient on N, CA, C, CB.

    Parameters
    ----------
    atoms : ndarray, shape=(residue, 4, 3)
        N, CA, C, CB, angstrom.
    """
    ca = atoms[:, 1] - atoms[:, 1].mean(axis=0)
    size = float(np.sqrt((ca**2).sum(-1).mean()))
    gradient = np.zeros(atoms.shape)
    gradient[:, 1] = ca / (len(ca) * max(size, 1e-9))
    return size, gradient


def clash_term(weight: float = 1.0) -> Term:
    """Make a term of squared overlaps of atoms three and more residues apart.

    Parameters
    ----------
    weight : float
        What one square angstrom counts.
    """

    def slope(atoms: FloatArray) -> tuple[float, FloatArray]:
        from scipy.spatial import KDTree

        flat = atoms.reshape(-1, 3)
        pairs = KDTree(flat).query_pairs(REPULSION, output_type="ndarray")
        apart = np.abs(pairs[:, 0] // 4 - pairs[:, 1] // 4) >= _NEIGHBORS
        first, second = pairs[apart].T
        step = flat[first] - flat[second]
        distance = np.maximum(np.linalg.norm(step, axis=-1), 1e-6)
        over = REPULSION - distance
        push = (-2.0 * over / distance)[:, None] * step
        gradient = np.zeros_like(flat)
        np.add.at(gradient, first, push)
        np.add.at(gradient, second, -push)
        return float((over**2).sum()), gradient.reshape(atoms.shape)

    return sloped("clashes", "square angstrom", slope, weight)


def chain_term(weight: float = 1.0) -> Term:
    """Make a term of how unlike 3.80 angstrom the steps between CA atoms are.

    Parameters
    ----------
    weight : float
        What one square angstrom, averaged over the steps, counts.
    """

    def slope(atoms: FloatArray) -> tuple[float, FloatArray]:
        step = np.diff(atoms[:, 1], axis=0)
        length = np.maximum(np.linalg.norm(step, axis=-1), 1e-6)
        off = length - CA_CA_TRANS
        push = (2.0 * off / (length * len(off)))[:, None] * step
        gradient = np.zeros(atoms.shape)
        gradient[1:, 1] += push
        gradient[:-1, 1] -= push
        return float((off**2).mean()), gradient

    return sloped("chain", "square angstrom", slope, weight)


def near_term(ca: FloatArray, weight: float = 1.0) -> Term:
    """Make a term of the mean square distance of CA to known places, after superposition.

    Parameters
    ----------
    ca : ndarray, shape=(residue, 3)
        Where they were, angstrom.
    weight : float
        What one square angstrom counts.
    """
    known = np.array(ca, dtype=np.float64)

    def slope(atoms: FloatArray) -> tuple[float, FloatArray]:
        rotation, shift = superimpose(known, atoms[:, 1])
        # at the best superposition its own change does not matter
        off = atoms[:, 1] - (known @ rotation.T + shift)
        gradient = np.zeros(atoms.shape)
        gradient[:, 1] = 2.0 * off / len(known)
        return float((off**2).sum(-1).mean()), gradient

    return sloped("moved", "square angstrom", slope, weight)


def torsion_term(states: str, weight: float = 1.0) -> Term:
    """Make a term of how rare phi and psi are in real chains, on average over residues.

    Parameters
    ----------
    states : str
        Secondary structure, one letter a residue.
    weight : float
        What one nat counts.
    """
    wells = TorsionWells.of(states)

    def slope(atoms: FloatArray) -> tuple[float, FloatArray]:
        size = len(atoms)
        trace = atoms[:, :3].reshape(-1, 3)
        angles, by_atom = torsions(trace)
        # torsion t spans the atoms t to t + 3: psi, omega, phi of the next residue, psi ...
        phi_psi = np.stack([angles[2::3][: size - 2], angles[3::3][: size - 2]], axis=1)
        ends = np.zeros((1, 2))
        energy, pull = wells.energy(np.concatenate([ends, phi_psi, ends]))
        inner, pull = energy[1:-1], pull[1:-1] / (size - 2)
        gradient = np.zeros_like(trace)
        for place, first in ((0, 2), (1, 3)):
            at = np.arange(first, first + 3 * (size - 2), 3)
            for atom in range(4):
                np.add.at(gradient, at + atom, pull[:, place, None] * by_atom[at, atom])
        out = np.zeros(atoms.shape)
        out[:, :3] = gradient.reshape(-1, 3, 3)
        return float(inner.mean()), out

    return sloped("torsions", "nats", slope, weight)


def function_term(
    name: str, unit: str, function: Callable[[Protein], float], weight: float = 1.0
) -> Term:
    """Make a term of a user's function of the protein; low is wanted.

    Parameters
    ----------
    name, unit : str
    function : callable
        Maps a :class:`~protein_lab.protein.Protein` to a number.
    weight : float
        What one unit counts.
    """
    return Term(name, unit, lambda subject: function(protein_of(subject)), weight)


def protein_of(subject: Subject) -> Protein:
    """Make a protein of the backbone and, if there is one, the sequence of a subject."""
    backbone = subject.require_backbone()
    if backbone.shape[1] == 3:
        backbone = place_oxygen(backbone)
    return Protein.from_backbone(backbone, subject.sequence)
