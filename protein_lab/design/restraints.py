"""Energy of a backbone trace that is pulled to a field, with its analytic gradient.

Terms, all in arbitrary units of the order of kT:

- springs on bonds, 1-3 distances (angles) and omega, so that the chain stays near the ideal one;
- torsion wells for phi and psi (:mod:`protein_lab.design.ramachandran`);
- position restraints to the field, pseudo-Huber, so that a gap or a bad segment of the field
  pulls with bounded force;
- hydrogen bonds as distance restraints N..O, H..O and N..C, which are what the energy of
  Kabsch & Sander (Biopolymers 22, 1983) is made of;
- soft repulsion between atoms of residues that are not neighbors, out to the distances that
  real chains hardly go below.

The minimizer spends its time here, so everything that only depends on the bonds is computed from
them in one sweep, components first (contiguous rows), and all distances between atoms are one
sparse matrix times the coordinates: oxygen and hydrogen are linear in N, CA and C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from protein_lab.design.ideal_chain import BONDS, SIDES_HIGH, SIDES_LOW, torsions
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.virtual_atoms import (
    ATOMS,
    CARBON,
    HYDROGEN,
    NITROGEN,
    OXYGEN,
    add_beta_gradient,
    beta,
    expand,
    expansion,
)
from protein_lab.typing import FloatArray, IntArray

# Distances, angstrom, that fewer than about one in a hundred of the near pairs of real chains
# fall below, in the order N, CA, C, O, CB; hydrogens do not repel.
_CONTACTS = np.array(
    [
        [3.4, 3.5, 3.5, 2.75, 3.2],
        [3.5, 3.6, 3.6, 3.1, 3.5],
        [3.5, 3.6, 3.7, 3.2, 3.5],
        [2.75, 3.1, 3.2, 3.05, 3.05],
        [3.2, 3.5, 3.5, 3.05, 3.6],
    ]
)
_SECOND_CARBON_NITROGEN = 3.0
"""Contact of C with the N two residues on, which lie four bonds apart."""

_POPULATED = 3.0
"""Well energy, nats, beyond which hardly any real residue of a state is found."""

_LIST_MARGIN = 1.0
_WIDEST_CONTACT = float(_CONTACTS.max())

# donor atom, acceptor atom, shortest and longest distance of a good hydrogen bond, angstrom
_BOND_DISTANCES = (
    (NITROGEN, OXYGEN, 2.75, 3.0),
    (HYDROGEN, OXYGEN, 1.8, 2.1),
    (NITROGEN, CARBON, 3.6, 4.05),
)
_BOND_SCALE = 0.5
_BAND_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Strengths:
    """Weights of the terms of :class:`RestraintEnergy`.

    ``outside`` weighs the square of what a torsion energy has above the populated part of its
    wells; ``position_scale`` is the shift, angstrom, beyond which the field pulls no harder;
    ``constraint`` weighs what else is asked of the chain.
    """

    position: float
    torsion: float
    hydrogen_bond: float
    repulsion: float
    bond: float = 150.0
    angle: float = 60.0
    omega: float = 12.0
    position_scale: float = 0.7
    outside: float = 0.0
    constraint: float = 1.0


class RestraintEnergy:
    """Energy of a trace for given targets; call it for value and gradient.

    Parameters
    ----------
    reference : (3 * residue, 3) array
        The field: N, CA, C of each residue, angstrom.
    trust : (3 * residue,) array
        Weight of each atom's position restraint.
    wells : TorsionWells
        Torsion wells of each residue.
    bonds : (bond, 2) array
        Donor and acceptor residue of each wanted hydrogen bond.
    strengths : Strengths
        Weights of the terms.
    constraints : callable, optional
        Value and gradient of what else is asked of the chain.
    """

    def __init__(
        self,
        reference: FloatArray,
        trust: FloatArray,
        wells: TorsionWells,
        bonds: IntArray,
        strengths: Strengths,
        constraints: Callable[[FloatArray], tuple[float, FloatArray]] | None = None,
    ) -> None:
        self.reference = reference
        self.trust = trust
        self.wells = wells
        self.bonds = bonds
        self.strengths = strengths
        self._constraints = constraints
        count = len(reference)
        kind = np.arange(count) % 3
        self._bond_length = BONDS[kind[:-1]]
        self._side_low, self._side_high = SIDES_LOW[kind[:-2]], SIDES_HIGH[kind[:-2]]

    def __call__(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Total energy and its gradient."""
        value, gradient = self._local(trace)
        for more, part in (self._position(trace), self._pair(trace), self._asked(trace)):
            value += more
            gradient += part
        return value, gradient

    def terms(self, trace: FloatArray) -> dict[str, tuple[float, FloatArray]]:
        """Value and gradient of each term."""
        return {
            "chain_and_torsion": self._local(trace),
            "position": self._position(trace),
            "hydrogen_bond_and_repulsion": self._pair(trace),
        } | ({"constraints": self._asked(trace)} if self._constraints else {})

    def _asked(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Ask the constraints of a request how hard they pull."""
        if self._constraints is None:
            return 0.0, np.zeros_like(trace)
        value, gradient = self._constraints(trace)
        return self.strengths.constraint * value, self.strengths.constraint * gradient

    def find_pairs(self, trace: FloatArray) -> None:
        """Set up hydrogen bonds and the list of atoms that are near enough to repel."""
        repel, contact = _near_atoms(expand(trace))
        bonded = [
            np.stack([self.bonds[:, 0] * ATOMS + donor, self.bonds[:, 1] * ATOMS + acceptor], 1)
            for donor, acceptor, _, _ in _BOND_DISTANCES
        ]
        ends = np.concatenate([repel, *bonded])
        low, high = np.full((2, len(ends)), np.inf)
        low[: len(repel)] = contact
        for number, (_, _, shortest, longest) in enumerate(_BOND_DISTANCES):
            start = len(repel) + number * len(self.bonds)
            low[start : start + len(self.bonds)] = shortest
            high[start : start + len(self.bonds)] = longest
        self._low, self._high = low, high
        self._weights = np.full(len(ends), self.strengths.hydrogen_bond)
        self._weights[: len(repel)] = self.strengths.repulsion
        self._num_repel = len(repel)
        atoms = expansion(len(trace) // 3)
        self._steps = atoms[ends[:, 0]] - atoms[ends[:, 1]]
        self._back = self._steps.T.tocsr()

    def curvature(self, trace: FloatArray) -> FloatArray:
        """Lower bands of a positive definite approximation of the Hessian (Gauss-Newton)."""
        count = len(trace)
        bands = np.zeros((_BAND_WIDTH, 3 * count))
        for reach, stiffness in ((1, self.strengths.bond), (2, self.strengths.angle)):
            step = trace[reach:] - trace[:-reach]
            unit = step / np.sqrt((step**2).sum(-1, keepdims=True) + 1e-12)
            rows = np.zeros((count - reach, 4, 3))
            rows[:, 0], rows[:, reach] = -unit, unit
            _add_outer(bands, rows, np.full(count - reach, 2.0 * stiffness))
        _, gradients = torsions(trace)
        weight = np.full(len(gradients), 2.0 * self.strengths.omega)
        weight[0::3] = weight[2::3] = 20.0 * self.strengths.torsion
        size = np.sqrt((gradients**2).sum((1, 2)))
        _add_outer(bands, gradients / np.maximum(size, 1.0)[:, None, None], weight)
        bands[0] += np.repeat(2.0 * self.strengths.position * self.trust, 3) + 0.5
        bonded = self.bonds.reshape(-1)
        load = np.bincount(bonded, minlength=count // 3) * 3.0 * self.strengths.hydrogen_bond
        bands[0] += np.repeat(2.0 * load, 9)
        pulled = self._asked(trace)[1].any(axis=1)
        bands[0] += np.repeat(2.0 * self.strengths.constraint * pulled, 3)
        return bands

    def _local(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Bonds, angles, omega and torsion wells, by way of the gradient on bond vectors."""
        rows = np.empty((5, len(trace)))
        rows[:3] = trace.T
        rows[3:] = rows[:2]
        # Rows x, y, z, x, y: a cross product is two products of slices.
        bonds = rows[:, 1:] - rows[:, :-1]
        bond = bonds[:3]
        square = (bond * bond).sum(axis=0) + 1e-12
        dot = (bond[:, :-1] * bond[:, 1:]).sum(axis=0)
        value, by_bond = self._springs(bond, square, dot)
        normal = bonds[1:4, :-1] * bonds[2:5, 1:] - bonds[2:5, :-1] * bonds[1:4, 1:]
        normal_square = (normal * normal).sum(axis=0) + 1e-9
        length = np.sqrt(square[1:-1])
        scale = 1.0 / np.sqrt(normal_square[:-1] * normal_square[1:])
        cosine = (normal[:, :-1] * normal[:, 1:]).sum(axis=0) * scale
        sine = (bond[:, :-2] * normal[:, 1:]).sum(axis=0) * length * scale
        more, slope = self._torsion(cosine, sine)
        # Blondel & Karplus, J. Comput. Chem. 17 (1996), written for the three bonds of a torsion.
        ahead, behind = slope / normal_square[:-1], slope / normal_square[1:]
        own, previous = np.zeros((2, len(trace) - 1))
        own[:-2] = ahead * length
        own[1:-1] -= behind * dot[1:] / length
        previous[1:-1] = -ahead * dot[:-1] / length
        previous[2:] += behind * length
        by_bond[:, :-1] += own[:-1] * normal
        by_bond[:, 1:] += previous[1:] * normal
        gradient = np.empty_like(trace)
        gradient[0] = -by_bond[:, 0]
        gradient[1:-1] = (by_bond[:, :-1] - by_bond[:, 1:]).T
        gradient[-1] = by_bond[:, -1]
        return value + more, gradient

    def _springs(
        self, bond: FloatArray, square: FloatArray, dot: FloatArray
    ) -> tuple[float, FloatArray]:
        """Springs on bonds and on 1-3 distances; the gradient is on the bond vectors."""
        length = np.sqrt(square)
        error = length - self._bond_length
        value = self.strengths.bond * float(error @ error)
        by_bond = (2.0 * self.strengths.bond * error / length) * bond
        side = np.sqrt(square[:-1] + square[1:] + 2.0 * dot)
        error = side - np.minimum(np.maximum(side, self._side_low), self._side_high)
        value += self.strengths.angle * float(error @ error)
        force = (2.0 * self.strengths.angle * error / side) * (bond[:, :-1] + bond[:, 1:])
        by_bond[:, :-1] += force
        by_bond[:, 1:] += force
        return value, by_bond

    def _torsion(self, cosine: FloatArray, sine: FloatArray) -> tuple[float, FloatArray]:
        """Omega and the wells of phi and psi; the gradient is on the angles."""
        slope = np.empty_like(cosine)
        value = self.strengths.omega * float(len(cosine[1::3]) + cosine[1::3].sum())
        slope[1::3] = -self.strengths.omega * sine[1::3]
        # The ends have one angle only; nothing can be said about them.
        inner = np.stack([cosine[2::3][:-1], sine[2::3][:-1], cosine[3::3], sine[3::3]])
        energy, by_angle = self.wells.inner_energy(inner)
        excess = np.maximum(energy - _POPULATED, 0.0)
        value += self.strengths.torsion * float(energy.sum())
        value += self.strengths.outside * float(excess @ excess)
        slope[0], slope[-1] = 0.0, 0.0
        pull = (self.strengths.torsion + 2.0 * self.strengths.outside * excess) * by_angle
        slope[2::3][:-1], slope[3::3] = pull
        return value, slope

    def _position(self, trace: FloatArray) -> tuple[float, FloatArray]:
        shift = trace - self.reference
        scale = self.strengths.position_scale
        root = np.sqrt(1.0 + np.einsum("ti,ti->t", shift, shift) / scale**2)
        weight = self.strengths.position * self.trust
        value = 2.0 * scale**2 * float(weight @ (root - 1.0))
        return value, (2.0 * weight / root)[:, None] * shift

    def _pair(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Hydrogen bonds and repulsion."""
        count = len(trace)
        step = self._steps @ np.concatenate([trace, beta(trace)])
        distance = np.sqrt(np.einsum("pi,pi->p", step, step) + 1e-12)
        error = distance - np.minimum(np.maximum(distance, self._low), self._high)
        root = np.sqrt(1.0 + error * error * (1.0 / _BOND_SCALE**2))
        value = 2.0 * _BOND_SCALE**2 * float(self._weights @ (root - 1.0))
        force = (2.0 * self._weights * error / (root * distance))[:, None] * step
        back = self._back @ force
        gradient = back[:count]
        add_beta_gradient(gradient, back[count:], trace)
        return value, gradient


def _near_atoms(atoms: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pairs of atoms that may come too near, in ascending order, and their contact distances."""
    from scipy.spatial import KDTree

    solid = atoms[:, :HYDROGEN].reshape(-1, 3)
    near = KDTree(solid).query_pairs(_WIDEST_CONTACT + _LIST_MARGIN, output_type="ndarray")
    residue, kind = np.divmod(near, HYDROGEN)
    contact = _CONTACTS[kind[:, 0], kind[:, 1]].copy()
    gap = np.abs(residue[:, 1] - residue[:, 0])
    first_is_before = residue[:, 0] < residue[:, 1]
    before = np.where(first_is_before, kind[:, 0], kind[:, 1])
    after = np.where(first_is_before, kind[:, 1], kind[:, 0])
    contact[(gap == 2) & (before == CARBON) & (after == NITROGEN)] = _SECOND_CARBON_NITROGEN
    step = solid[near[:, 0]] - solid[near[:, 1]]
    keep = (gap > 1) & (np.einsum("pi,pi->p", step, step) < (contact + _LIST_MARGIN) ** 2)
    # The last O has no place in this model.
    keep &= ~((kind == OXYGEN) & (residue == len(atoms) - 1)).any(axis=1)
    repel = (residue * ATOMS + kind)[keep]
    order = np.lexsort((repel[:, 1], repel[:, 0]))
    return repel[order], contact[keep][order]


def _add_outer(bands: FloatArray, rows: FloatArray, weight: FloatArray) -> None:
    """Add ``weight * row row^T`` over four consecutive atoms to the lower bands."""
    flat = rows.reshape(len(rows), 12)
    outer = np.einsum("t,tp,tq->tpq", weight, flat, flat)
    size = bands.shape[1]
    for row in range(12):
        for column in range(row + 1):
            # Blocks of short reach hang over the end of the chain; their tail is zero.
            fits = len(range(column, size, 3))
            part = outer[:fits, row, column]
            bands[row - column, column : column + 3 * len(part) : 3] += part
