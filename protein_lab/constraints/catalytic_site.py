"""Catalytic residues that must lie to each other as in a template (a theozyme)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constants import ATOM_NAMES, CA_CA_TRANS
from protein_lab.constraints.amino_acids import (
    LETTERS,
    ResidueNumber,
    Types,
    mask_of,
    no_bias,
    only,
    range_fault,
    type_faults,
)
from protein_lab.constraints.base import Layout, Placement, Scope, has_errors, require_length
from protein_lab.constraints.catalytic_library import LIBRARY, SiteName
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.rigid import TemplateRestraint, superposition_rmsd
from protein_lab.constraints.site_names import RESIDUE_NAME, site_index
from protein_lab.constraints.site_search import (
    LEAST_SPACING,
    SEARCH_REACH,
    draw_positions,
    find_site,
)
from protein_lab.constraints.structure_source import StructureSource
from protein_lab.errors import ProteinLabError
from protein_lab.typing import BoolArray, Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

MAX_RESIDUES: Final = 20
_SIDE_CHAIN: Final = [
    number
    for number, name in enumerate(ATOM_NAMES)
    if name not in ("N", "CA", "C", "O", "CB", "OXT")
]


class CatalyticResidue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One residue of a site.

    Attributes
    ----------
    position : int or None
        Residue of the design, counted from 1; without it a place is drawn for every design.
    source : str or None
        Residue of the template by chain, number and insertion code, such as ``A57``; left out
        where the site comes from the library.
    types : str or None
        Amino acids that may stand there; that of the template if left out.
    """

    position: ResidueNumber | None = None
    source: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    types: Types | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """What is known of the residues of a template, in the order of the site."""

    atoms: FloatArray
    letters: str
    order: tuple[tuple[int, int], ...]
    side_chains: tuple[FloatArray, ...]


class CatalyticSite(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="catalytic_site",
):
    """Ask for catalytic residues whose backbones lie to each other as in a template.

    A theozyme in the sense of Tantillo et al., *Current Opinion in Chemical Biology* 2, 743-750
    (1998): the residues and their geometry are given, the rest of the enzyme is designed.

    Attributes
    ----------
    residues : tuple of CatalyticResidue
        At least two.
    template : StructureSource or None
        Structure that holds the residues, side chains included.
    library : {"chymotrypsin", "alpha_beta_hydrolase"} or None
        A triad Ser, His, Asp known by name, in place of a template.
    max_rmsd : float
        Largest RMSD over N, CA, C and ideal CB of the residues, angstrom.
    """

    kind: ClassVar[str] = "catalytic_site"

    residues: Annotated[tuple[CatalyticResidue, ...], msgspec.Meta(max_length=MAX_RESIDUES)]
    template: StructureSource | None = None
    library: SiteName | None = None
    max_rmsd: Annotated[float, msgspec.Meta(ge=0.1, le=5.0)] = 1.0

    @property
    def is_placed(self) -> bool:
        """Whether every position is given."""
        return all(item.position is not None for item in self.residues)

    def faults(self, path: str) -> list[Fault]:
        """Find what is wrong with the residues and with the template."""
        if self.residues is None or None in self.residues:
            return []
        found = list(self._choice_faults(path))
        found += self._residue_faults(path)
        if self.template is not None:
            found += self.template.faults(f"{path}.template")
        if has_errors(found):
            return found
        try:
            _template(self)
        except ProteinLabError as error:
            place = f"{path}.template"
            found.append(Fault(path=place, message=error.problem, remedy=error.remedy))
        return found

    def _choice_faults(self, path: str) -> Iterator[Fault]:
        if (self.template is None) == (self.library is None):
            yield Fault(
                path=path,
                message="Expected a site from 'template' or from 'library'; got "
                f"{'neither' if self.template is None else 'both'}.",
                remedy=f"Give a structure, or one of {', '.join(LIBRARY)}.",
            )
        if len(self.residues) < 2:
            yield Fault(
                path=f"{path}.residues",
                message=f"Expected at least two residues, but got {len(self.residues)}.",
                remedy="One residue alone has no geometry; use residue_types for it.",
            )
        if self.library is not None and len(self.residues) != len(LIBRARY[self.library].letters):
            letters = ", ".join(LIBRARY[self.library].letters)
            yield Fault(
                path=f"{path}.residues",
                message=f"Expected the residues {letters} of {self.library}, but got "
                f"{len(self.residues)}.",
                remedy="Give one entry for each, in this order.",
            )

    def _residue_faults(self, path: str) -> Iterator[Fault]:
        seen: dict[int, int] = {}
        for number, item in enumerate(self.residues):
            place = f"{path}.residues[{number}]"
            if item.types is not None:
                yield from type_faults(item.types, f"{place}.types")
            if item.position is not None and item.position in seen:
                yield Fault(
                    path=f"{place}.position",
                    message=f"Residue {item.position} is taken by "
                    f"{path}.residues[{seen[item.position]}].",
                    remedy="Give each residue a place of its own.",
                )
            if item.position is not None:
                seen.setdefault(item.position, number)
            if self.template is not None and not RESIDUE_NAME.fullmatch(item.source or ""):
                yield Fault(
                    path=f"{place}.source",
                    message="Expected a residue of the template such as A57, but got "
                    f"{item.source!r}.",
                    remedy="Write chain, number and, where there is one, insertion code.",
                )
            if self.library is not None and item.source is not None:
                yield Fault(
                    path=f"{place}.source",
                    message="A site of the library has no residues to choose from.",
                    remedy="Leave 'source' out; the order says which residue is meant.",
                )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find positions beyond the chain, and residues that the chain cannot bring so far apart.

        The chain between two residues reaches at most 3.8 angstrom a bond.
        """
        if self.residues is None or None in self.residues:
            return []
        found = [
            range_fault(f"{path}.residues[{number}].position", item.position, scope.shortest)
            for number, item in enumerate(self.residues)
            if item.position is not None and 0 < scope.shortest < item.position
        ]
        return [*found, *self._reach_faults(path, scope)]

    def _reach_faults(self, path: str, scope: Scope) -> Iterator[Fault]:
        alpha = _template(self).atoms[:, 1]
        for one, first in enumerate(self.residues):
            for other, second in enumerate(self.residues[:one]):
                if first.position is None or second.position is None:
                    continue
                reach = CA_CA_TRANS * abs(first.position - second.position)
                apart = float(np.linalg.norm(alpha[one] - alpha[other]))
                if reach + (self.max_rmsd or 0.0) < apart:
                    yield Fault(
                        path=f"{path}.residues[{one}].position",
                        message=f"Residues {second.position} and {first.position} reach "
                        f"{reach:.1f} angstrom, but lie {apart:.1f} apart in the template.",
                        remedy=f"Leave at least {int(apart // CA_CA_TRANS)} residues between them.",
                    )
        if self.is_placed or not scope.shortest:
            return
        try:
            self.place(scope.shortest, scope.shortest, np.random.default_rng(0))
        except ProteinLabError as error:
            yield Fault(path=f"{path}.residues", message=error.problem, remedy=error.remedy)

    def needed_residues(self, source: StructureSource, protein: Protein) -> Sequence[int]:
        """Give the residues of the template that are part of the site."""
        del source
        return sorted({site_index(protein, item.source or "") for item in self.residues})

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Draw places for the residues whose position is open."""
        least = max((item.position or 0 for item in self.residues), default=0)
        low = max(shortest, least)
        if longest == 0:
            raise ProteinLabError(
                "The length of the design is not known where a catalytic site is placed.",
                "Give 'length', or put what fixes the length (a motif, segments) before the site.",
            )
        if low > longest:
            raise ProteinLabError(
                f"The site needs {low} residues, but a design has at most {longest}.",
                "Ask for a longer chain.",
            )
        length = int(rng.integers(low, longest + 1))
        known = [None if item.position is None else item.position - 1 for item in self.residues]
        template = _template(self)
        alpha = template.atoms[:, 1]
        distance = np.linalg.norm(alpha[:, None] - alpha[None], axis=-1)
        spacing = [
            [
                b[1] - a[1] if a[0] == b[0] and 0 < abs(b[1] - a[1]) < LEAST_SPACING else None
                for b in template.order
            ]
            for a in template.order
        ]
        residues = draw_positions(known, spacing, distance, length, rng)
        return Placement(length=length, residues=residues, states="-" * length)

    def _places(self, layout: Layout) -> tuple[int, ...] | None:
        if self in layout.places:
            return layout.places[self]
        if self.is_placed:
            return tuple(int(item.position or 0) - 1 for item in self.residues)
        return None

    def restraint(self, layout: Layout) -> TemplateRestraint:
        """Pull the residues to the geometry of the template.

        Raises
        ------
        ProteinLabError
            When positions are open and none were drawn.
        """
        places = self._places(layout)
        if places is None:
            raise ProteinLabError("The places of a catalytic site are not known before drawing.")
        return TemplateRestraint(np.array(places), _template(self).atoms)

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Allow the catalytic amino acids alone at their residues."""
        bias = no_bias(layout.length)
        for place, types in zip(self._places(layout) or (), self._types(), strict=False):
            bias[place] = only(types)
        return bias

    def _types(self) -> list[str]:
        letters = _template(self).letters
        return [item.types or letter for item, letter in zip(self.residues, letters, strict=True)]

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Superimpose the residues on the template.

        The value is the RMSD over N, CA, C and ideal CB. Where positions are open and none were
        drawn, the residues that fit best are looked for. Amino acids are judged only where there
        is a sequence. The details tell how far the side chains of the template, put on the
        backbone of the design, come from where they were.
        """
        require_length(protein, layout)
        atoms, template = atoms_of(protein), _template(self)
        allowed = self._allowed(protein)
        places = self._places(layout)
        if places is None:
            found = find_site(atoms, template.atoms, allowed)
            if found is None:
                return self._measured(None, -SEARCH_REACH, "no residues lie so to each other")
            places = found[1]
        chosen = atoms[list(places)]
        rmsd = superposition_rmsd(chosen, template.atoms)
        margin = self.max_rmsd - rmsd
        wrong = [place for site, place in enumerate(places) if not allowed[site, place]]
        said = f"residues {', '.join(str(place + 1) for place in places)}"
        if any(len(item) for item in template.side_chains):
            said += f"; side chains within {_side_chain_rmsd(chosen, template):.2f} angstrom"
        if wrong:
            margin = min(margin, -self.max_rmsd)
            said += f"; residue {wrong[0] + 1} is {protein.sequence[wrong[0]]}"
        return self._measured(rmsd, margin, said)

    def _allowed(self, protein: Protein) -> BoolArray:
        if (protein.aatype == len(LETTERS)).all():
            return np.ones((len(self.residues), protein.num_residues), dtype=bool)
        masks = [np.append(mask_of(types), False) for types in self._types()]
        return np.stack([mask[protein.aatype] for mask in masks])

    def _measured(self, value: float | None, margin: float, details: str) -> Measurement:
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom",
            target=self.max_rmsd,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details=details,
        )


@lru_cache(maxsize=32)
def _template(site: CatalyticSite) -> _Template:
    """Read the template of a site.

    Raises
    ------
    ProteinLabError
        When it cannot be read, or lacks a residue or an atom of its backbone.
    """
    from protein_lab.geometry import virtual_cb

    if site.template is None:
        known = LIBRARY[str(site.library)]
        atoms = np.concatenate([known.backbone, virtual_cb(known.backbone)[:, None]], axis=1)
        order = tuple((number, 0) for number in range(len(atoms)))
        return _Template(atoms, known.letters, order, (np.zeros((0, 3)),) * len(atoms))
    protein = site.template.read()
    index = [site_index(protein, item.source or "") for item in site.residues]
    for item, place in zip(site.residues, index, strict=True):
        if not protein.atom_mask[place, :3].all():
            raise ProteinLabError(
                f"Residue {item.source} of the template lacks N, CA or C.",
                "Use a structure with a complete backbone there.",
            )
    positions = np.asarray(protein.atom_positions, dtype=np.float64)
    backbone = positions[index, :3]
    return _Template(
        atoms=np.concatenate([backbone, virtual_cb(backbone)[:, None]], axis=1),
        letters="".join(protein.sequence[place] for place in index),
        order=tuple(
            (int(protein.chain_index[place]), int(protein.residue_index[place])) for place in index
        ),
        side_chains=tuple(
            positions[place, _SIDE_CHAIN][protein.atom_mask[place, _SIDE_CHAIN]] for place in index
        ),
    )


def _side_chain_rmsd(chosen: FloatArray, template: _Template) -> float:
    """Distance of side chains set on each residue from those of the superimposed template."""
    from protein_lab.geometry import superimpose

    rotation, shift = superimpose(template.atoms.reshape(-1, 3), chosen.reshape(-1, 3))
    off: list[FloatArray] = []
    for own, goal, side in zip(chosen, template.atoms, template.side_chains, strict=True):
        turn, move = superimpose(goal, own)
        off.append((side @ turn.T + move) - (side @ rotation.T + shift))
    return float(np.sqrt((np.concatenate(off) ** 2).sum(-1).mean()))
