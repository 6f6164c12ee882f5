"""Energy of a backbone trace that is pulled to a field, with its analytic gradient.

Terms, all in arbitrary units of the order of kT:

- springs on bonds, 1-3 distances (angles) and omega, so that the chain stays near the ideal one;
- torsion wells for phi and psi (:mod:`protein_lab.design.ramachandran`);
- position restraints to the field, pseudo-Huber, so that a gap or a bad segment of the field
  pulls with bounded force;
- hydrogen bonds as distance restraints N..O, H..O and N..C, which are what the energy of
  Kabsch & Sander (Biopolymers 22, 1983) is made of;
- soft repulsion between atoms of residues that are not neighbors, with the contact limits of
  Ramachandran & Sasisekharan (Adv. Protein Chem. 23, 1968).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protein_lab.constants import BOND_C_O
from protein_lab.design.ideal_chain import (
    BONDS,
    NITROGEN_HYDROGEN,
    OXYGEN_FROM_CA,
    OXYGEN_FROM_N,
    SIDES_HIGH,
    SIDES_LOW,
    cross,
    torsions,
)
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.typing import FloatArray, IntArray

NITROGEN, ALPHA, CARBON, OXYGEN, BETA, HYDROGEN = range(6)
ATOMS = 6
"""Atoms of a residue in the expanded model: N, CA, C, O, virtual CB, virtual H."""

_CB_CROSS, _CB_FIRST, _CB_SECOND = -0.58273431, 0.56802827, -0.54067466
_HYDROGEN_SCALE = NITROGEN_HYDROGEN / BOND_C_O

# Contact limits, angstrom, in the order N, CA, C, O, CB; hydrogens do not repel.
_CONTACTS = np.array(
    [
        [2.7, 2.9, 2.9, 2.7, 2.9],
        [2.9, 3.2, 3.2, 2.8, 3.2],
        [2.9, 3.2, 3.2, 2.8, 3.2],
        [2.7, 2.8, 2.8, 2.7, 2.8],
        [2.9, 3.2, 3.2, 2.8, 3.4],
    ]
)
_NEIGHBOR_REACH = 4.2

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
    """Weights of the terms of :class:`RestraintEnergy`."""

    position: float
    torsion: float
    hydrogen_bond: float
    repulsion: float
    bond: float = 150.0
    angle: float = 60.0
    omega: float = 12.0
    position_scale: float = 0.7


def expand(trace: FloatArray) -> FloatArray:
    """Add O, CB and H to N, CA and C.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.

    Returns
    -------
    (residue, 6, 3) array
        In the order N, CA, C, O, CB, H. The last O and the first H lie on C and N, for they need
        a neighbor that is not there.
    """
    atoms = trace.reshape(-1, 3, 3)
    nitrogen, alpha, carbon = atoms[:, 0], atoms[:, 1], atoms[:, 2]
    out = np.empty((len(atoms), ATOMS, 3))
    out[:, :3] = atoms
    to_oxygen = OXYGEN_FROM_CA * (alpha - carbon)[:-1]
    to_oxygen += OXYGEN_FROM_N * (nitrogen[1:] - carbon[:-1])
    out[:, OXYGEN] = carbon
    out[:-1, OXYGEN] += to_oxygen
    first, second = alpha - nitrogen, carbon - alpha
    out[:, BETA] = alpha + _CB_FIRST * first + _CB_SECOND * second
    out[:, BETA] += _CB_CROSS * cross(first, second)
    out[:, HYDROGEN] = nitrogen
    out[1:, HYDROGEN] -= _HYDROGEN_SCALE * to_oxygen
    return out


def _contract(gradient: FloatArray, trace: FloatArray) -> FloatArray:
    """Carry a gradient on the expanded atoms back to N, CA and C: the adjoint of expand."""
    atoms = trace.reshape(-1, 3, 3)
    first, second = atoms[:, 1] - atoms[:, 0], atoms[:, 2] - atoms[:, 1]
    out = gradient[:, :3].copy()
    out[:, 2] += gradient[:, OXYGEN]
    out[:, 0] += gradient[:, HYDROGEN]
    along = gradient[:-1, OXYGEN] - _HYDROGEN_SCALE * gradient[1:, HYDROGEN]
    out[:-1, 1] += OXYGEN_FROM_CA * along
    out[:-1, 2] -= (OXYGEN_FROM_CA + OXYGEN_FROM_N) * along
    out[1:, 0] += OXYGEN_FROM_N * along
    beta = gradient[:, BETA]
    by_first = _CB_FIRST * beta + _CB_CROSS * cross(second, beta)
    by_second = _CB_SECOND * beta + _CB_CROSS * cross(beta, first)
    out[:, 0] -= by_first
    out[:, 1] += beta + by_first - by_second
    out[:, 2] += by_second
    return out.reshape(-1, 3)


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
    """

    def __init__(
        self,
        reference: FloatArray,
        trust: FloatArray,
        wells: TorsionWells,
        bonds: IntArray,
        strengths: Strengths,
    ) -> None:
        self.reference = reference
        self.trust = trust
        self.wells = wells
        self.bonds = bonds
        self.strengths = strengths
        self._kind = np.arange(len(reference)) % 3
        self._pairs: tuple[IntArray, ...] = ()

    def __call__(self, trace: FloatArray) -> tuple[float, FloatArray]:
        """Total energy and its gradient."""
        terms = self.terms(trace)
        gradient = np.zeros_like(trace)
        for _, part in terms.values():
            gradient += part
        return sum(value for value, _ in terms.values()), gradient

    def terms(self, trace: FloatArray) -> dict[str, tuple[float, FloatArray]]:
        """Value and gradient of each term."""
        return {
            "chain": self._chain(trace),
            "torsion": self._torsion(trace),
            "position": self._position(trace),
            "hydrogen_bond_and_repulsion": self._pair(trace),
        }

    def find_pairs(self, trace: FloatArray) -> None:
        """Set up hydrogen bonds and the list of atoms that are near enough to repel."""
        from scipy.sparse import csr_array
        from scipy.spatial import KDTree

        atoms = expand(trace)
        solid = atoms[:, :HYDROGEN].reshape(-1, 3)
        near = KDTree(solid).query_pairs(_NEIGHBOR_REACH, output_type="ndarray")
        residue, kind = np.divmod(near, HYDROGEN)
        apart = np.abs(residue[:, 0] - residue[:, 1]) > 1
        # The last O has no place in this model.
        apart &= ~((kind == OXYGEN) & (residue == len(atoms) - 1)).any(axis=1)
        near, residue, kind = near[apart], residue[apart], kind[apart]
        order = np.lexsort((near[:, 1], near[:, 0]))
        residue, kind = residue[order], kind[order]
        repel = residue * ATOMS + kind
        contact = _CONTACTS[kind[:, 0], kind[:, 1]]
        bonded = [
            np.stack([self.bonds[:, 0] * ATOMS + donor, self.bonds[:, 1] * ATOMS + acceptor], 1)
            for donor, acceptor, _, _ in _BOND_DISTANCES
        ]
        count = len(self.bonds)
        ends = np.concatenate([repel, *bonded])
        spans = [np.tile([low, high], (count, 1)) for _, _, low, high in _BOND_DISTANCES]
        self._limits = np.concatenate(
            [np.stack([contact, np.full(len(contact), np.inf)], 1), *spans]
        )
        self._weights = np.full(len(ends), self.strengths.hydrogen_bond)
        self._weights[: len(repel)] = self.strengths.repulsion
        self._ends = ends
        columns = np.arange(len(ends))
        signs = np.repeat([1.0, -1.0], len(ends))
        self._incidence = csr_array(
            (signs, (ends.T.reshape(-1), np.tile(columns, 2))),
            shape=(len(atoms) * ATOMS, len(ends)),
        )

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
        load = np.bincount(
            self._ends.reshape(-1) // ATOMS,
            np.repeat(np.where(np.isinf(self._limits[:, 1]), 0.0, self._weights), 2),
            minlength=count // 3,
        )
        bands[0] += np.repeat(2.0 * load, 9)
        return bands

    def _chain(self, trace: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = 0.0, np.zeros_like(trace)
        springs = ((1, BONDS, BONDS, self.strengths.bond),)
        springs += ((2, SIDES_LOW, SIDES_HIGH, self.strengths.angle),)
        for reach, low, high, stiffness in springs:
            step = trace[reach:] - trace[:-reach]
            distance = np.sqrt(np.einsum("ti,ti->t", step, step) + 1e-12)
            which = self._kind[:-reach]
            error = distance - np.clip(distance, low[which], high[which])
            value += stiffness * float(np.vdot(error, error))
            force = (2.0 * stiffness * error / distance)[:, None] * step
            gradient[reach:] += force
            gradient[:-reach] -= force
        return value, gradient

    def _torsion(self, trace: FloatArray) -> tuple[float, FloatArray]:
        angles, by_atom = torsions(trace)
        slope = np.zeros_like(angles)
        omega = angles[1::3]
        value = self.strengths.omega * float((1.0 + np.cos(omega)).sum())
        slope[1::3] = -self.strengths.omega * np.sin(omega)
        phi_psi = np.zeros((len(trace) // 3, 2))
        phi_psi[1:, 0] = angles[2::3]
        phi_psi[:-1, 1] = angles[0::3]
        energy, by_angle = self.wells.energy(phi_psi)
        # The ends have one angle only; nothing can be said about them.
        value += self.strengths.torsion * float(energy[1:-1].sum())
        slope[2::3][:-1] += self.strengths.torsion * by_angle[1:-1, 0]
        slope[0::3][1:] += self.strengths.torsion * by_angle[1:-1, 1]
        gradient = np.zeros_like(trace)
        count = len(angles)
        for offset in range(4):
            gradient[offset : offset + count] += slope[:, None] * by_atom[:, offset]
        return value, gradient

    def _position(self, trace: FloatArray) -> tuple[float, FloatArray]:
        shift = trace - self.reference
        scale = self.strengths.position_scale
        root = np.sqrt(1.0 + np.einsum("ti,ti->t", shift, shift) / scale**2)
        weight = self.strengths.position * self.trust
        value = float((weight * 2.0 * scale**2 * (root - 1.0)).sum())
        return value, (2.0 * weight / root)[:, None] * shift

    def _pair(self, trace: FloatArray) -> tuple[float, FloatArray]:
        atoms = expand(trace).reshape(-1, 3)
        step = atoms[self._ends[:, 0]] - atoms[self._ends[:, 1]]
        distance = np.sqrt(np.einsum("pi,pi->p", step, step) + 1e-12)
        error = distance - np.clip(distance, self._limits[:, 0], self._limits[:, 1])
        root = np.sqrt(1.0 + (error / _BOND_SCALE) ** 2)
        value = float((self._weights * 2.0 * _BOND_SCALE**2 * (root - 1.0)).sum())
        force = (2.0 * self._weights * error / (root * distance))[:, None] * step
        return value, _contract((self._incidence @ force).reshape(-1, ATOMS, 3), trace)


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
