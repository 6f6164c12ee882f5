"""Residues that must be able to hold a metal ion together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import (
    LETTERS,
    ResidueNumber,
    no_bias,
    only,
    range_fault,
)
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.metal_center import IDEAL_ANGLES, find_center
from protein_lab.constraints.metal_rotamers import rotamers
from protein_lab.constraints.pose import PoseRestraint
from protein_lab.constraints.rigid import AXIS_SLACK
from protein_lab.constraints.wells import CA, CB, well
from protein_lab.constraints.windows import SOFTNESS, Windows
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

MAX_MISS: Final = 0.45
"""Angstrom; 61 of 61 zinc fingers and ribbons of the corpus have less, at most 0.39."""

MAX_ANGLE: Final = 20.0
"""Degrees; 60 of the same 61 sites deviate less on average."""

NEAREST: Final = 2.8
"""Angstrom between the ion and N, CA, C and CB; the same sites have 2.9 or more."""

CB_WINDOW: Final = {"C": (3.2, 3.45), "H": (3.3, 5.7), "D": (2.9, 4.3), "E": (3.0, 5.4)}
CA_WINDOW: Final = {"C": (3.15, 4.8), "H": (3.4, 6.7), "D": (3.0, 5.4), "E": (3.4, 6.75)}
"""Distances of CB and CA from the ion over all rotamers of a residue, angstrom."""

_MOST: Final = {"tetrahedral": 4, "trigonal": 3, "octahedral": 6}
_OTHERS: Final = 3.1
_INFINITE: Final = 1e6
_OUTWARD: Final = 1.0
_TINY: Final = 1e-9


class MetalLigand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A residue that holds the ion.

    Attributes
    ----------
    position : int
        Its number in the design, from 1.
    residue : {"C", "H", "D", "E"}
        Its amino acid.
    """

    position: ResidueNumber
    residue: Literal["C", "H", "D", "E"]


class MetalSite(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="metal_site",
):
    """Ask for residues whose side chains can meet at one zinc ion.

    The ion is a point that is put where the rotamers of all residues come nearest to it, as
    programs that plan metal sites do (Clarke & Yuan, *Proteins* 23, 256-263, 1995). Distances from
    zinc are Harding's (*Acta Cryst.* D57, 401-411, 2001).

    Attributes
    ----------
    ligands : tuple of MetalLigand
        Two to six residues.
    metal : {"zinc"}
        The ion; distances and angles are known for this one.
    geometry : {"tetrahedral", "trigonal", "octahedral"}
        Angles between the atoms that hold the ion; water may fill places that are left.
    """

    kind: ClassVar[str] = "metal_site"

    ligands: Annotated[tuple[MetalLigand, ...], msgspec.Meta(max_length=6)]
    metal: Literal["zinc"] = "zinc"
    geometry: Literal["tetrahedral", "trigonal", "octahedral"] = "tetrahedral"

    def faults(self, path: str) -> list[Fault]:
        """Find too few or too many residues, and residues that are named twice."""
        return list(self._faults(path))

    def _faults(self, path: str) -> Iterator[Fault]:
        if self.ligands is None or self.geometry is None:
            return
        most = _MOST[self.geometry]
        if not 2 <= len(self.ligands) <= most:
            yield Fault(
                path=f"{path}.ligands",
                message=f"Expected two to {most} residues around a {self.geometry} ion, but got "
                f"{len(self.ligands)}.",
                remedy="Name the residues that hold the ion, or another geometry.",
            )
        seen: dict[int, int] = {}
        for number, item in enumerate(self.ligands):
            if item is None or item.position is None:
                continue
            if item.position in seen:
                yield Fault(
                    path=f"{path}.ligands[{number}].position",
                    message=f"Residue {item.position} is named already by "
                    f"{path}.ligands[{seen[item.position]}].",
                    remedy="Name each residue once.",
                )
            seen.setdefault(item.position, number)

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues beyond the chain, and residues of one strand or helix too far apart."""
        return list(self._scoped(path, scope))

    def _scoped(self, path: str, scope: Scope) -> Iterator[Fault]:
        ligands = [item for item in self.ligands or () if item is not None and item.position]
        for number, item in enumerate(ligands):
            place = f"{path}.ligands[{number}].position"
            if 0 < scope.shortest < item.position:
                yield range_fault(place, item.position, scope.shortest)
            for other in ligands[:number]:
                low, high = sorted((item.position, other.position))
                between = scope.states[low - 1 : high]
                if len(between) < high - low + 1 or set(between) not in ({"H"}, {"E"}):
                    continue
                if None in (item.residue, other.residue):
                    continue
                rise = 1.5 if between[0] == "H" else 3.3
                reach = CA_WINDOW[item.residue][1] + CA_WINDOW[other.residue][1]
                if rise * (high - low) > reach:
                    yield Fault(
                        path=place,
                        message=f"Residues {low} and {high} of one "
                        f"{'helix' if between[0] == 'H' else 'strand'} lie "
                        f"{rise * (high - low):.0f} angstrom apart; an ion between them reaches "
                        f"{reach:.0f}.",
                        remedy="Take residues nearer to each other, or of different elements.",
                    )

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Allow the named amino acid alone at each residue."""
        bias = no_bias(layout.length)
        for item in self.ligands:
            bias[item.position - 1] = only(item.residue)
        return bias

    def restraint(self, layout: Layout) -> PoseRestraint:
        """Pull the residues about one point, wherever it lies best, and the chain off it."""
        places = np.array([item.position - 1 for item in self.ligands])
        low, high = self._bounds(layout.length)

        def energy(chain: FloatArray, placed: FloatArray) -> tuple[float, FloatArray, FloatArray]:
            away = chain - placed[0]
            distance = np.maximum(np.linalg.norm(away, axis=-1), _TINY)
            value, slope = well(distance, low, high, SOFTNESS)
            pull = away * (slope / distance)[..., None]
            return float(value.sum()), pull, -pull.sum(axis=(0, 1))[None]

        def starts(chain: FloatArray) -> list[FloatArray]:
            outward = chain[places, CB] - chain[places, CA]
            middle = (chain[places, CB] + _OUTWARD * outward).mean(axis=0)
            return [np.concatenate([[1.0, 0.0, 0.0, 0.0], middle])]

        return PoseRestraint(
            points=np.zeros((1, 3)),
            anchors=places,
            starts=starts,
            energy=energy,
            curve=self._axis(),
            strength=4.0,
        )

    def _bounds(self, length: int) -> tuple[FloatArray, FloatArray]:
        """Least and largest distance of each atom from the ion, shape (residue, 4)."""
        low, high = np.full((length, 4), _OTHERS), np.full((length, 4), _INFINITE)
        for item in self.ligands:
            for name, table in ((CB, CB_WINDOW), (CA, CA_WINDOW)):
                place = item.position - 1, name
                low[place], high[place] = table[item.residue]
        return low, high

    def _axis(self) -> Windows:
        return Windows.of(
            [
                (
                    one.position - 1,
                    other.position - 1,
                    0.0,
                    CA_WINDOW[one.residue][1] + CA_WINDOW[other.residue][1] + AXIS_SLACK - 2.0,
                )
                for number, one in enumerate(self.ligands)
                for other in self.ligands[:number]
            ]
        )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Find the best place for the ion and tell how far side chains miss it.

        The value is the root mean square, over the residues, of the distance between that place
        and the nearest one where a rotamer of the residue would have the ion. The margin is in
        angstrom; of the angles a degree counts as a hundredth.
        """
        require_length(protein, layout)
        atoms = atoms_of(protein)
        places = [item.position - 1 for item in self.ligands]
        clouds = [rotamers(item.residue, atoms[item.position - 1]) for item in self.ligands]
        found = find_center(clouds, IDEAL_ANGLES[self.geometry])
        nearest = float(np.linalg.norm(atoms.reshape(-1, 3) - found.place, axis=1).min())
        margins = [MAX_MISS - found.rms, (MAX_ANGLE - found.angle) / 100.0, nearest - NEAREST]
        said = [
            f"side chains miss the ion by {found.rms:.2f} angstrom",
            f"angles are {found.angle:.0f} degrees off",
            f"nearest backbone atom or CB {nearest:.1f} angstrom",
        ]
        letters = [protein.sequence[place] for place in places]
        if not (protein.aatype == len(LETTERS)).all():
            wrong = [
                place
                for place, letter, item in zip(places, letters, self.ligands, strict=True)
                if letter != item.residue
            ]
            if wrong:
                margins.append(-MAX_MISS)
                said.append(f"residue {wrong[0] + 1} is {protein.sequence[wrong[0]]}")
        margin = min(margins)
        return Measurement(
            constraint=self.kind,
            value=found.rms,
            unit="angstrom",
            target=MAX_MISS,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details="; ".join(said),
        )
