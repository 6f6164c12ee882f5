"""Residues that line a pocket around a small molecule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import (
    LETTERS,
    ResidueNumber,
    letters_of,
    mask_of,
    no_bias,
    range_fault,
)
from protein_lab.constraints.base import Layout, Scope, has_errors, require_length
from protein_lab.constraints.binding_energy import CLASH, BindingEnergy
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.ligand import MAX_ATOMS, Ligand, points_of
from protein_lab.constraints.pocket import burial, pocket_volume
from protein_lab.constraints.pose import PoseRestraint, fit_pose, place_points
from protein_lab.constraints.rigid import AXIS_SLACK, superposition_rmsd
from protein_lab.constraints.site_names import RESIDUE_NAME, site_index
from protein_lab.constraints.structure_source import StructureSource
from protein_lab.constraints.windows import Windows
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

Character = Literal["hydrophobic", "polar", "charged", "positive", "negative"]

OXYGEN_CLASH: Final = 2.5
"""Angstrom between a ligand and O of the chain; nearer than any hydrogen bond."""

_PREFERENCE: Final = 2.0
_SHARE: Final = 0.5
_STARTS: Final = 8
_CAREFUL_STARTS: Final = 24
_PER_TENTH: Final = 10.0
"""Angstrom of margin that burial from 0 to 1 counts for."""

Distance = Annotated[float, msgspec.Meta(ge=0.0, le=50.0)]


class PocketResidue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One residue that lines the pocket.

    Attributes
    ----------
    position : int
        Residue of the design, counted from 1.
    atom : int or None
        Heavy atom of the ligand that it must reach, counted from 1; the nearest if left out.
    min, max : float
        Distance from the ideal CB to that atom, angstrom.
    source : str or None
        Residue of the template, such as ``A57``; needed where there is a template.
    """

    position: ResidueNumber
    atom: Annotated[int, msgspec.Meta(ge=1, le=MAX_ATOMS)] | None = None
    min: Distance = 3.0
    max: Distance = 6.5
    source: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class BindingSite(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="binding_site",
):
    """Ask for a pocket around a ligand, which is a rigid set of its heavy atoms.

    With a template the pose of the ligand is that in which it lies beside the residues of the
    template; without one it is free, and the best one is looked for. Contacts by distance and a
    bound on clashes are what RFdiffusion's substrate contacts ask for; the pocket is measured by
    rays and on a grid.

    Attributes
    ----------
    ligand : Ligand
        Atoms, SDF or SMILES; in the frame of the template where there is one.
    residues : tuple of PocketResidue
        At least two.
    template : StructureSource or None
        Structure that holds the residues beside the ligand.
    max_rmsd : float
        Largest RMSD of the residues from the template, angstrom.
    burial : float or None
        Part of all directions from the ligand in which the chain must lie, 0 to 1.
    volume : float or None
        Room that the pocket must have at least, cubic angstrom.
    character : str or None
        Amino acids that at least half of the residues shall have.
    """

    kind: ClassVar[str] = "binding_site"

    ligand: Ligand
    residues: Annotated[tuple[PocketResidue, ...], msgspec.Meta(max_length=60)]
    template: StructureSource | None = None
    max_rmsd: Annotated[float, msgspec.Meta(ge=0.1, le=5.0)] = 1.0
    burial: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    volume: Annotated[float, msgspec.Meta(ge=0.0, le=5000.0)] | None = None
    character: Character | None = None

    def faults(self, path: str) -> list[Fault]:
        """Find what is wrong with the ligand, the residues and the template."""
        if None in (self.ligand, self.residues) or None in self.residues:
            return []
        found = self.ligand.faults(f"{path}.ligand")
        known = len(points_of(self.ligand)) if not found and self.ligand.is_readable else 0
        if len(self.residues) < 2:
            found.append(
                Fault(
                    path=f"{path}.residues",
                    message=f"Expected at least two residues, but got {len(self.residues)}.",
                    remedy="Name the residues that line the pocket.",
                )
            )
        found += self._residue_faults(path, known)
        if self.template is not None:
            found += self.template.faults(f"{path}.template")
        if has_errors(found) or not known:
            return found
        try:
            _points(self)
        except ProteinLabError as error:
            place = f"{path}.template"
            found.append(Fault(path=place, message=error.problem, remedy=error.remedy))
        return found

    def _residue_faults(self, path: str, size: int) -> Iterator[Fault]:
        seen: dict[int, int] = {}
        for number, item in enumerate(self.residues):
            place = f"{path}.residues[{number}]"
            if item.position is not None and item.position in seen:
                yield Fault(
                    path=f"{place}.position",
                    message=f"Residue {item.position} is named already by "
                    f"{path}.residues[{seen[item.position]}].",
                    remedy="Name each residue once.",
                )
            seen.setdefault(item.position, number)
            if None not in (item.min, item.max) and item.min >= item.max:
                yield Fault(
                    path=f"{place}.max",
                    message=f"Expected more than {item.min:g} angstrom, but got {item.max:g}.",
                    remedy="Give the smaller distance as min.",
                )
            if item.atom is not None and size and item.atom > size:
                yield Fault(
                    path=f"{place}.atom",
                    message=f"Expected a heavy atom from 1 to {size}, but got {item.atom}.",
                    remedy="Hydrogens do not count.",
                )
            named = item.source is not None and RESIDUE_NAME.fullmatch(item.source) is not None
            if self.template is not None and not named:
                yield Fault(
                    path=f"{place}.source",
                    message="Expected a residue of the template such as A57, but got "
                    f"{item.source!r}.",
                    remedy="Write chain, number and, where there is one, insertion code.",
                )
            if self.template is None and item.source is not None:
                yield Fault(
                    path=f"{place}.source",
                    message="There is no template that this residue could come from.",
                    remedy="Give a template, or leave 'source' out.",
                )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues beyond the chain."""
        return [
            range_fault(f"{path}.residues[{number}].position", item.position, scope.shortest)
            for number, item in enumerate(self.residues or ())
            if item is not None and item.position and 0 < scope.shortest < item.position
        ]

    def needed_residues(self, source: StructureSource, protein: Protein) -> Sequence[int]:
        """Give the residues of the template that line the pocket."""
        del source
        return sorted({site_index(protein, item.source or "") for item in self.residues})

    def _energy(self) -> BindingEnergy:
        return BindingEnergy(
            residues=np.array([item.position - 1 for item in self.residues]),
            wanted=np.array([(item.atom or 0) - 1 for item in self.residues]),
            low=np.array([item.min for item in self.residues]),
            high=np.array([item.max for item in self.residues]),
            size=len(points_of(self.ligand)),
            burial=self.burial or 0.0,
        )

    def restraint(self, layout: Layout) -> PoseRestraint:
        """Pull the residues about the ligand, wherever it lies best, and the chain off it."""
        del layout
        energy, points = self._energy(), _points(self)
        return PoseRestraint(
            points=points,
            anchors=energy.residues,
            starts=lambda chain: energy.starts(chain, points, _STARTS),
            energy=energy,
            curve=self._axis(points),
            strength=2.0,
        )

    def _axis(self, points: FloatArray) -> Windows:
        """Windows of the axis curve: two residues lie no farther apart than ligand and contacts."""
        size = len(points_of(self.ligand))
        span = float(np.linalg.norm(points[:size, None] - points[None, :size], axis=-1).max())
        rows = [
            (one.position - 1, other.position - 1, 0.0, one.max + other.max + span + AXIS_SLACK)
            for number, one in enumerate(self.residues)
            for other in self.residues[:number]
        ]
        return Windows.of(rows)

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Prefer the amino acids of the pocket's character at its residues."""
        bias = no_bias(layout.length)
        if self.character is not None:
            for item in self.residues:
                bias[item.position - 1, mask_of(self.character)] += _PREFERENCE
        return bias

    def pose(self, protein: Protein) -> FloatArray:
        """Give the places of the ligand's heavy atoms in a structure, shape (atom, 3), angstrom."""
        chain, points, energy = atoms_of(protein), _points(self), self._energy()
        starts = energy.starts(chain, points, _CAREFUL_STARTS)

        def of_points(placed: FloatArray) -> tuple[float, FloatArray]:
            value, _, gradient = energy(chain, placed)
            return value, gradient

        best = fit_pose(of_points, points, starts)[1]
        return place_points(points, best)[: energy.size]

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Put the ligand in its best pose and measure contacts, clashes and the pocket.

        The value is the largest distance, angstrom, by which a contact misses its window. The
        margin is the smallest of what contacts, clashes and RMSD leave, in angstrom; burial
        counts 1 angstrom for a tenth, volume 1 angstrom for a tenth of what is asked.
        """
        require_length(protein, layout)
        chain, energy, ligand = atoms_of(protein), self._energy(), self.pose(protein)
        contacts = energy.margins(chain, ligand)
        nearest = _nearest(chain.reshape(-1, 3), ligand)
        oxygen = _nearest(np.asarray(protein.backbone[:, 3], dtype=np.float64), ligand)
        heavy = np.concatenate([chain.reshape(-1, 3), protein.backbone[:, 3]])
        # rays and grid follow the chain, so that where it lies means nothing
        frame, origin = _frame(chain[energy.residues[0]])
        inside = ((ligand - origin) @ frame, (heavy - origin) @ frame)
        covered, room = burial(*inside), pocket_volume(*inside)
        margins = [float(contacts.min()), nearest - CLASH, oxygen - OXYGEN_CLASH]
        said = [
            f"{int((contacts >= 0.0).sum())} of {len(contacts)} contacts",
            f"nearest atom {nearest:.1f} angstrom",
            f"burial {covered:.2f}",
            f"pocket {room:.0f} cubic angstrom",
        ]
        if self.template is not None:
            goal = _points(self)[energy.size :].reshape(-1, 4, 3)
            rmsd = superposition_rmsd(chain[energy.residues], goal)
            margins.append(self.max_rmsd - rmsd)
            said.append(f"RMSD {rmsd:.2f} angstrom")
        if self.burial is not None:
            margins.append(_PER_TENTH * (covered - self.burial))
        if self.volume:
            margins.append(_PER_TENTH * (room / self.volume - 1.0))
        margins += self._character_margin(protein, said)
        margin = min(margins)
        return Measurement(
            constraint=self.kind,
            value=max(0.0, -float(contacts.min())),
            unit="angstrom",
            target=0.0,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details="; ".join(said),
        )

    def _character_margin(self, protein: Protein, said: list[str]) -> list[float]:
        if self.character is None or (protein.aatype == len(LETTERS)).all():
            return []
        names = letters_of(self.character)
        share = np.mean([protein.sequence[item.position - 1] in names for item in self.residues])
        said.append(f"{share:.0%} {self.character}")
        return [_PER_TENTH * (float(share) - _SHARE)]


def _frame(residue: FloatArray) -> tuple[FloatArray, FloatArray]:
    from protein_lab.geometry import frames

    rotation, origin = frames(residue[None, :3])
    return rotation[0], origin[0]


def _nearest(atoms: FloatArray, ligand: FloatArray) -> float:
    return float(np.linalg.norm(atoms[:, None] - ligand[None], axis=-1).min())


@lru_cache(maxsize=32)
def _points(site: BindingSite) -> FloatArray:
    """Heavy atoms of the ligand, then N, CA, C, CB of the template, about the ligand's middle."""
    from protein_lab.geometry import virtual_cb

    ligand = points_of(site.ligand)
    middle = ligand.mean(axis=0)
    if site.template is None:
        return ligand - middle
    protein = site.template.read()
    index = [site_index(protein, item.source or "") for item in site.residues]
    backbone = np.asarray(protein.atom_positions[index, :3], dtype=np.float64)
    if not protein.atom_mask[index, :3].all():
        raise ProteinLabError(
            "A residue of the pocket lacks N, CA or C in the template.",
            "Use a structure with a complete backbone there.",
        )
    atoms = np.concatenate([backbone, virtual_cb(backbone)[:, None]], axis=1).reshape(-1, 3)
    return np.concatenate([ligand, atoms]) - middle
