"""Parts of known structures that a design must hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import AMINO_ACIDS, MAX_LENGTH, MIN_LENGTH
from protein_lab.constraints.base import Layout, Placement, Scope, require_length
from protein_lab.constraints.contig import Gap, Segment, Spacing, read_contig, spacing_of
from protein_lab.constraints.motif_checks import (
    least_gap,
    masked_residues,
    position_faults,
    reach_faults,
    state_faults,
)
from protein_lab.constraints.motif_fragments import (
    MotifResidues,
    gather,
    motif_rmsd,
    segment_residues,
)
from protein_lab.constraints.motif_restraint import MotifRestraint
from protein_lab.constraints.structure_source import StructureSource
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

NUM_AMINO_ACIDS: Final = 20

_EXAMPLE: Final = 'Write for example "contig": "10-40/A163-181/10-40".'
_Text = Annotated[str, msgspec.Meta(max_length=4000)]
_Residue = Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)]
_Group = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Motif(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="motif",
):
    """Hold segments of known structures, as they are in space, at places along the chain.

    Attributes
    ----------
    source : StructureSource or tuple of StructureSource
        Where the segments come from.
    contig : str
        Designed stretches (``10-40``) and segments (``A163-181``, ``A23A``, ``2:A10-20`` for the
        second source) in order of the chain.
    groups : tuple of int or None
        One number for each segment; segments of one group keep their places to each other, groups
        may lie anywhere. Without it the segments of one source are a group.
    positions : tuple of int or None
        Residue of the design at which each segment begins; then the contig has segments only.
    sequence : {"keep", "mask"}
        Whether designs get the motif's amino acids.
    mask : str
        Motif residues whose amino acids are left open all the same, as in ``A165/A170-172``.
    max_rmsd : float
        Largest RMSD of N, CA, C and O of a group, angstrom.
    """

    kind: ClassVar[str] = "motif"

    source: StructureSource | tuple[StructureSource, ...]
    contig: _Text
    groups: Annotated[tuple[_Group, ...], msgspec.Meta(max_length=200)] | None = None
    positions: Annotated[tuple[_Residue, ...], msgspec.Meta(max_length=200)] | None = None
    sequence: Literal["keep", "mask"] = "keep"
    mask: _Text = ""
    max_rmsd: Annotated[float, msgspec.Meta(ge=0.1, le=10.0)] = 1.0

    @property
    def sources(self) -> tuple[StructureSource, ...]:
        """All sources, in order."""
        return self.source if isinstance(self.source, tuple) else (self.source,)

    def segments(self) -> tuple[Segment, ...]:
        """Give the segments of the contig in order of the chain."""
        return tuple(piece for piece in read_contig(self.contig) if isinstance(piece, Segment))

    def residues(self) -> MotifResidues:
        """Read the motif from its sources.

        Raises
        ------
        ProteinLabError
            When a source cannot be read or lacks something.
        """
        return _gathered(self)

    def spacing(self) -> Spacing:
        """Give the lengths of all stretches, short ones made long enough to span their ends."""
        return _spacing(self)

    def needed_residues(self, source: StructureSource, protein: Protein) -> Sequence[int]:
        """Residues to keep when a source is embedded."""
        wanted = [
            segment_residues(protein, part)
            for part in self.segments()
            if part.source < len(self.sources) and self.sources[part.source] == source
        ]
        return [int(i) for i in np.unique(np.concatenate(wanted))] if wanted else []

    def faults(self, path: str) -> list[Fault]:
        """Find what cannot be read, is missing, or does not fit together."""
        read = (self.contig, self.source, self.mask, *self.sources)
        if None in read or None in (self.groups or ()) or None in (self.positions or ()):
            return []
        try:
            segments = self.segments()
        except ProteinLabError as error:
            return [Fault(path=f"{path}.contig", message=error.problem, remedy=error.remedy)]
        found = list(self._source_faults(path, segments))
        found += self._shape_faults(path, segments)
        if any(fault.severity == "error" for fault in found) or self.is_remote:
            return found
        try:
            motif = self.residues()
        except ProteinLabError as error:
            found.append(Fault(path=f"{path}.contig", message=error.problem, remedy=error.remedy))
            return found
        found += self._mask_faults(path, motif)
        if self.positions is None:
            gaps = spacing_of(read_contig(self.contig), motif.sizes).gaps[1:-1]
            found += reach_faults(path, segments, gaps, motif.reaches)
            if not self.spacing().lengths(0, 0):
                found.append(self._length_fault(path, f"{MIN_LENGTH} to {MAX_LENGTH}"))
        else:
            found += position_faults(path, self.positions, motif)
        return found

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find whether the contig can have the length of the chain, and contradicted states."""
        if self.is_remote or (not scope.longest and self.positions is None):
            return []
        if self.positions is not None:
            motif = self.residues()
            last = self.positions[-1] + motif.sizes[-1] - 1
            if last <= scope.shortest:
                return list(state_faults(path, self.fixed_residues(), motif, scope.states))
            return [
                Fault(
                    path=f"{path}.positions",
                    message=f"The motif ends at residue {last}, but the chain may have "
                    f"{scope.shortest} residues.",
                    remedy="Make the chain longer or move the motif."
                    if scope.longest
                    else 'Add for example "length": 80 to the request.',
                )
            ]
        spacing = self.spacing()
        if len(spacing.lengths(scope.shortest, scope.longest)):
            return []
        wanted = f"{scope.shortest} to {scope.longest}"
        return [
            self._length_fault(
                path, f"{scope.shortest}" if scope.shortest == scope.longest else wanted
            )
        ]

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Draw a length and the stretches between the segments.

        Every possible length is equally likely, and so is every combination of stretches of it.
        """
        motif = self.residues()
        if self.positions is not None:
            residues = self.fixed_residues()
            low = max(shortest, residues[-1] + 1)
            length = int(rng.integers(low, max(longest, low) + 1))
        else:
            spacing = self.spacing()
            lengths = spacing.lengths(shortest, longest)
            if not lengths:
                raise ProteinLabError(
                    f"The contig makes chains of {spacing.shortest} to {spacing.longest} residues, "
                    f"but {shortest} to {longest} are asked.",
                    "Check the request first.",
                )
            length = lengths[int(rng.integers(len(lengths)))]
            residues = tuple(int(i) for i in spacing.residues(spacing.draw(length, rng)))
        states = ["-"] * length
        for residue, state in zip(residues, motif.states, strict=True):
            states[residue] = state
        return Placement(length, residues, "".join(states))

    def restraint(self, layout: Layout) -> MotifRestraint:
        """Pull every group to its geometry."""
        return MotifRestraint(self.residues(), self._places(layout))

    def torsions(self, layout: Layout) -> FloatArray:
        """Give the motif's own phi and psi."""
        given = np.full((layout.length, 2), np.nan)
        given[list(self._places(layout))] = self.residues().torsions
        return given

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Forbid all but the motif's own amino acids where they are kept."""
        bias = np.zeros((layout.length, NUM_AMINO_ACIDS))
        motif = self.residues()
        if self.sequence == "mask":
            return bias
        free = set(masked_residues(self.mask, self.segments(), motif))
        for number, residue in enumerate(self._places(layout)):
            kind = AMINO_ACIDS.index(motif.sequence[number])
            if number not in free and kind < NUM_AMINO_ACIDS:
                bias[residue] = -np.inf
                bias[residue, kind] = 0.0
        return bias

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Superimpose every group; the value is the largest RMSD of N, CA, C and O."""
        require_length(protein, layout)
        motif = self.residues()
        try:
            residues = self._places(layout)
        except ProteinLabError as error:
            return self._measured(None, f"{error.problem}")
        backbone = protein.backbone[list(residues)]
        if not np.isfinite(backbone).all():
            return self._measured(None, "Backbone atoms of the motif are missing.")
        found = motif_rmsd(protein.backbone, residues, motif)
        said = ", ".join(f"{value:.2f}" for value in found)
        sequence = protein.sequence
        kept = sum(
            sequence[i] == letter for i, letter in zip(residues, motif.sequence, strict=True)
        )
        return self._measured(
            round(max(found), 3),
            f"RMSD of {len(residues)} residues in {len(found)} "
            f"group{'s' if len(found) > 1 else ''}: {said}; {kept} amino acids are the motif's.",
        )

    def _measured(self, value: float | None, details: str) -> Measurement:
        margin = None if value is None else self.max_rmsd - value
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom",
            target=self.max_rmsd,
            margin=margin,
            verdict="not_run" if margin is None else "pass" if margin >= 0.0 else "fail",
            details=details,
        )

    @property
    def is_remote(self) -> bool:
        """Whether a source must be fetched before anything is known of the motif."""
        return any(source.pdb is not None for source in self.sources)

    @property
    def is_placed(self) -> bool:
        """Whether it is known, before anything is drawn, which residues of a design it holds."""
        return self.positions is not None and not self.is_remote

    def fixed_residues(self) -> tuple[int, ...]:
        """Give the residues that :attr:`positions` name, from 0, in order of the contig."""
        starts = [number - 1 for number in self.positions or ()]
        sizes = self.residues().sizes
        return tuple(
            start + i for start, size in zip(starts, sizes, strict=True) for i in range(size)
        )

    def _places(self, layout: Layout) -> tuple[int, ...]:
        """Say where the motif lies: as drawn, as fixed, or the only way there is."""
        known = layout.places.get(self)
        if known is not None:
            return tuple(known)
        if self.positions is not None:
            residues = self.fixed_residues()
        else:
            spacing = self.spacing()
            free = layout.length - spacing.shortest
            open_gaps = [gap for gap in spacing.gaps if gap.longest > gap.shortest]
            if layout.length not in spacing.lengths(0, 0) or (free and len(open_gaps) > 1):
                raise ProteinLabError(
                    f"It is not known where in the {layout.length} residues the motif lies.",
                    "Give the places that were drawn, or a contig without ranges.",
                )
            drawn = spacing.draw(layout.length, np.random.default_rng(0))
            residues = tuple(int(i) for i in spacing.residues(drawn))
        if residues[-1] >= layout.length:
            raise ProteinLabError(
                f"The motif ends at residue {residues[-1] + 1}, but the chain has {layout.length}.",
                "Check the request first.",
            )
        return residues

    def _group_numbers(self, segments: Sequence[Segment]) -> tuple[int, ...]:
        if self.groups is not None:
            return self.groups
        return tuple(part.source for part in segments)

    def _length_fault(self, path: str, wanted: str) -> Fault:
        spacing = self.spacing()
        return Fault(
            path=f"{path}.contig",
            message=f"The contig makes chains of {spacing.shortest} to {spacing.longest} "
            f"residues, but {wanted} are asked.",
            remedy="Change the length of the request or the stretches of the contig.",
        )

    def _source_faults(self, path: str, segments: Sequence[Segment]) -> Iterator[Fault]:
        several = isinstance(self.source, tuple)
        for number, source in enumerate(self.sources):
            yield from source.faults(f"{path}.source[{number}]" if several else f"{path}.source")
        for part in segments:
            if part.source >= len(self.sources):
                yield Fault(
                    path=f"{path}.contig",
                    message=f"{part} is taken from source {part.source + 1}, but there are "
                    f"{len(self.sources)}.",
                    remedy="Number the sources from 1.",
                )

    def _shape_faults(self, path: str, segments: Sequence[Segment]) -> Iterator[Fault]:
        if not segments:
            yield Fault(
                path=f"{path}.contig",
                message="Expected at least one segment of a structure in the contig.",
                remedy=_EXAMPLE,
            )
        for name in ("groups", "positions"):
            given = getattr(self, name)
            if given is not None and len(given) != len(segments):
                yield Fault(
                    path=f"{path}.{name}",
                    message=f"Expected {len(segments)} numbers, one a segment, but got "
                    f"{len(given)}.",
                    remedy="Give them in the order of the contig.",
                )
        if self.positions is not None and len(segments) != len(read_contig(self.contig)):
            yield Fault(
                path=f"{path}.positions",
                message="The places of segments are given twice: as positions and by the contig.",
                remedy="Leave the designed stretches out of the contig, or leave out 'positions'.",
            )

    def _mask_faults(self, path: str, motif: MotifResidues) -> Iterator[Fault]:
        try:
            masked_residues(self.mask, self.segments(), motif)
        except ProteinLabError as error:
            yield Fault(path=f"{path}.mask", message=error.problem, remedy=error.remedy)


@lru_cache(maxsize=256)
def _gathered(motif: Motif) -> MotifResidues:
    segments = motif.segments()
    proteins = [source.read() for source in motif.sources]
    return gather(proteins, segments, motif._group_numbers(segments))


@lru_cache(maxsize=256)
def _spacing(motif: Motif) -> Spacing:
    found = motif.residues()
    asked = spacing_of(read_contig(motif.contig), found.sizes)
    inner = tuple(
        Gap(max(gap.shortest, min(least_gap(reach), gap.longest)), gap.longest)
        for gap, reach in zip(asked.gaps[1:-1], found.reaches, strict=True)
    )
    return Spacing((asked.gaps[0], *inner, asked.gaps[-1]), asked.sizes)
