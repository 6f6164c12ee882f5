"""Two residues that must be able to form a disulfide bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import ResidueNumber, no_bias, only, range_fault
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.wells import CA, CB
from protein_lab.constraints.windows import WindowRestraint, Windows, atom
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

CB_CB: Final = (3.4, 4.5)
CA_CA: Final = (3.9, 6.9)
CA_CB: Final = (3.55, 5.85)
"""Distances, angstrom, that hold about 98 of 100 pairs of cysteines of real chains whose ideal CB
atoms lie within the peak of bonded ones (1710 pairs of 5000 training chains)."""

TYPICAL_CB_CB: Final = 3.85
"""Median over the same pairs; a bridge with chi3 of 90 degrees has it."""

AXIS: Final = (3.8, 10.8)
"""Distances of the axis curve at the same pairs, angstrom."""

MAX_STRAIN: Final = 0.35
"""Misfit, angstrom, of the best bridge that can be built; 97 of 100 of the same pairs have less."""

NEAREST: Final = 3
"""Bridges between residues nearer along the chain are strained and rare."""

_BOND_CB_SG, _BOND_SG_SG = 1.81, 2.04
_ANGLE_CA_CB_SG, _ANGLE_CB_SG_SG = 114.0, 104.0
_BOND_TOLERANCE, _ANGLE_TOLERANCE = 0.1, 5.0
_CHI_STEP = 5.0


def best_bridge(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Find the rotamers of two cysteines whose sulfur atoms make the best bridge.

    Parameters
    ----------
    first, second : ndarray, shape=(4, 3)
        N, CA, C and ideal CB of the residues, angstrom.

    Returns
    -------
    strain : float
        Root of the summed squares of what bond S-S and angles CB-S-S are off, with 5 degrees
        counted as 0.1 angstrom.
    chi3 : float
        Torsion CB-S-S-CB, degrees; about 90 or -90 in real bridges.
    """
    from protein_lab.geometry import dihedral, unit

    sulfur = [_sulfurs(residue) for residue in (first, second)]
    bond = sulfur[1][None, :] - sulfur[0][:, None]
    length = np.linalg.norm(bond, axis=-1)
    along = unit(bond)
    ideal = np.radians(_ANGLE_CB_SG_SG)
    off = ((length - _BOND_SG_SG) / _BOND_TOLERANCE) ** 2
    for back, sign in ((unit(first[CB] - sulfur[0])[:, None], 1.0),
                       (unit(second[CB] - sulfur[1])[None, :], -1.0)):  # fmt: skip
        angle = np.arccos(np.clip(sign * (back * along).sum(-1), -1.0, 1.0))
        off += ((angle - ideal) / np.radians(_ANGLE_TOLERANCE)) ** 2
    one, other = np.unravel_index(int(off.argmin()), off.shape)
    chi3 = dihedral(first[CB], sulfur[0][one], sulfur[1][other], second[CB])
    return _BOND_TOLERANCE * float(np.sqrt(off.min())), float(np.degrees(chi3))


def _sulfurs(residue: FloatArray) -> FloatArray:
    """Places of SG over all chi1, shape (rotamer, 3)."""
    from protein_lab.geometry.backbone import place_atom

    chi = np.radians(np.arange(0.0, 360.0, _CHI_STEP))
    angle = np.full(chi.shape, np.radians(_ANGLE_CA_CB_SG))
    return place_atom(residue[0], residue[CA], residue[CB], _BOND_CB_SG, angle, chi)


def atoms_of(protein: Protein) -> FloatArray:
    """N, CA, C and ideal CB of each residue, shape (residue, 4, 3), angstrom."""
    from protein_lab.geometry import virtual_cb

    backbone = np.asarray(protein.backbone, dtype=np.float64)
    return np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)


class Disulfide(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="disulfide",
):
    """Ask for two cysteines whose backbones lie so that their sulfur atoms can bond.

    Distances between CA and ideal CB atoms must be those of real bridges, and for some pair of
    rotamers bond and angles of the bridge must come out right; side chains are not built.
    Criteria of this kind are those of Dani et al., *Protein Engineering* 16, 187-193 (2003); the
    figures here were measured on the chains of the corpus.

    Attributes
    ----------
    first, second : int
        The residues, counted from 1; both become cysteine.
    """

    kind: ClassVar[str] = "disulfide"

    first: ResidueNumber
    second: ResidueNumber

    def faults(self, path: str) -> list[Fault]:
        """Find a residue that is bonded to itself, or to one beside it."""
        if None in (self.first, self.second):
            return []
        apart = abs(self.first - self.second)
        if apart == 0:
            return [
                Fault(
                    path=f"{path}.second",
                    message=f"Expected two different residues, but got residue {self.first} twice.",
                    remedy="Name the two residues of the bridge.",
                )
            ]
        if apart < NEAREST:
            return [
                Fault(
                    path=f"{path}.second",
                    message=f"Residues {self.first} and {self.second} are {apart} apart; bridges "
                    "of such residues are strained and rare.",
                    remedy=f"Leave at least {NEAREST - 1} residues between them.",
                    severity="warning",
                )
            ]
        return []

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues beyond the chain, and bridges within one straight element."""
        return list(self._scoped(path, scope))

    def _scoped(self, path: str, scope: Scope) -> Iterator[Fault]:
        if None in (self.first, self.second):
            return
        for name in ("first", "second"):
            if scope.shortest and getattr(self, name) > scope.shortest:
                yield range_fault(f"{path}.{name}", getattr(self, name), scope.shortest)
        low, high = sorted((self.first, self.second))
        between = scope.states[low - 1 : high]
        if len(between) == high - low + 1 > 1 and set(between) in ({"H"}, {"E"}):
            name = "helix" if between[0] == "H" else "strand"
            yield Fault(
                path=f"{path}.second",
                message=f"Residues {low} and {high} lie in one {name}, where no two residues "
                "come near enough for a bridge.",
                remedy=f"Take one of them from elsewhere, or break the {name}.",
                severity="warning",
            )

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Allow cysteine alone at both residues."""
        bias = no_bias(layout.length)
        bias[[self.first - 1, self.second - 1]] = only("C")
        return bias

    def restraint(self, layout: Layout) -> WindowRestraint:
        """Pull both residues to the distances of real bridges."""
        del layout
        return WindowRestraint(
            atoms=self._windows(inset=0.25),
            curve=Windows.of([(self.first - 1, self.second - 1, *AXIS)]),
            strength=4.0,
        )

    def _windows(self, inset: float = 0.0) -> Windows:
        one, other = self.first - 1, self.second - 1
        rows = [
            (atom(one, CB), atom(other, CB), *CB_CB),
            (atom(one, CA), atom(other, CA), *CA_CA),
            (atom(one, CA), atom(other, CB), *CA_CB),
            (atom(one, CB), atom(other, CA), *CA_CB),
        ]
        return Windows.of([(a, b, low + inset, high - inset) for a, b, low, high in rows])

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure whether a bridge can be built.

        The value is the distance of the ideal CB atoms; the margin is the smallest distance of
        any figure from its limit. The types of the residues are judged only where there is a
        sequence.
        """
        require_length(protein, layout)
        atoms = atoms_of(protein)
        one, other = self.first - 1, self.second - 1
        distances = self._windows().distances(atoms)
        strain, chi3 = best_bridge(atoms[one], atoms[other])
        margin = min(float(self._windows().margins(atoms).min()), MAX_STRAIN - strain)
        said = (
            f"CB-CB {distances[0]:.2f}, CA-CA {distances[1]:.2f} angstrom, strain of the best "
            f"bridge {strain:.2f} angstrom, its chi3 {chi3:.0f} degrees"
        )
        letters = protein.sequence[one] + protein.sequence[other]
        if letters not in ("CC", "XX"):
            margin = min(margin, -MAX_STRAIN)
            said += f"; the residues are {letters[0]} and {letters[1]}, not C"
        return Measurement(
            constraint=self.kind,
            value=float(distances[0]),
            unit="angstrom",
            target=TYPICAL_CB_CB,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details=said,
        )
