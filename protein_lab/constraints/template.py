"""A known backbone that is drawn anew, within a distance of itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import AMINO_ACIDS, MAX_LENGTH, MIN_LENGTH
from protein_lab.constraints.base import Layout, Placement, Scope, require_length
from protein_lab.constraints.contig import Gap, Segment, read_contig
from protein_lab.constraints.motif_fragments import (
    MotifResidues,
    gather,
    motif_rmsd,
    segment_residues,
)
from protein_lab.constraints.motif_restraint import MotifRestraint
from protein_lab.constraints.structure_source import StructureSource, select_residues
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.operators.prior import ornstein_uhlenbeck
from protein_lab.typing import Fault, FloatArray, IntArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

KEPT_RMSD: Final = 1.0
"""Largest RMSD of N, CA, C and O of the kept residues, angstrom."""

_SHARE: Final = 0.7
"""Part of the noise level that the curve is moved by; drawing fields around it adds some more."""

_INSIDE: Final = 0.85
"""Part of the noise level up to which nothing pulls back."""

_CORRELATION: Final = 10.0
"""Residues over which the noise goes the same way: about an element and its loop."""

_NEAR_KEPT: Final = 3.0
_WEIGHT: Final = 0.5
_NUM_AMINO_ACIDS: Final = 20


class Template(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="template",
):
    """Design anew a given chain: its length, secondary structure and, about, its course.

    Attributes
    ----------
    source : StructureSource
        The structure.
    chain : str or None
        Id of the chain; the first if not given.
    noise : float
        How far, angstrom, the CA atoms may move (RMSD after superposition).
    kept : str
        Residues whose backbone stays, as in ``A10-20/A35``.
    sequence : {"keep", "mask"}
        Whether kept residues keep their amino acids.
    """

    kind: ClassVar[str] = "template"

    source: StructureSource
    chain: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    noise: Annotated[float, msgspec.Meta(ge=0.5, le=20.0)] = 2.0
    kept: Annotated[str, msgspec.Meta(max_length=4000)] = ""
    sequence: Literal["keep", "mask"] = "keep"

    @property
    def is_placed(self) -> bool:
        """Whether the residues it keeps are known before anything is drawn."""
        return self.source.pdb is None

    def read(self) -> Protein:
        """Read the chain that is designed anew.

        Raises
        ------
        ProteinLabError
            When it cannot be read, is not there, or lacks residues or backbone atoms.
        """
        return _chain(self)

    def needed_residues(self, source: StructureSource, protein: Protein) -> IntArray:
        """Residues to keep when the source is embedded: those of the chain."""
        del source
        return _whole_chain(protein, self.chain)

    def faults(self, path: str) -> list[Fault]:
        """Find what cannot be read or is missing."""
        if self.source is None or self.kept is None:
            return []
        found = self.source.faults(f"{path}.source")
        if self.source.pdb is not None or any(fault.severity == "error" for fault in found):
            return found
        try:
            length = self.read().num_residues
        except ProteinLabError as error:
            field = "chain" if self.chain is not None else "source"
            found.append(Fault(path=f"{path}.{field}", message=error.problem, remedy=error.remedy))
            return found
        if not MIN_LENGTH <= length <= MAX_LENGTH:
            found.append(
                Fault(
                    path=f"{path}.source",
                    message=f"Expected a chain of {MIN_LENGTH} to {MAX_LENGTH} residues, but it "
                    f"has {length}.",
                    remedy="Give another chain.",
                )
            )
        return found + list(self._kept_faults(path))

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find another length and contradicted states."""
        if self.source.pdb is not None or not scope.longest:
            return []
        length = self.read().num_residues
        if not scope.shortest <= length <= scope.longest:
            return [
                Fault(
                    path=f"{path}.source",
                    message=f"The template has {length} residues, but the request asks for "
                    + (
                        f"{scope.shortest}."
                        if scope.shortest == scope.longest
                        else f"{scope.shortest} to {scope.longest}."
                    ),
                    remedy="Leave out the length; the template says it.",
                )
            ]
        return []

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Give the chain as it is; nothing is drawn."""
        del shortest, longest, rng
        length = self.read().num_residues
        return Placement(length, tuple(range(length)), _states(self))

    def start_curve(self, layout: Layout, rng: np.random.Generator) -> FloatArray:
        """Move the template's own axis curve by polymer noise, kept residues not.

        Parameters
        ----------
        layout : Layout
            Of the design.
        rng : Generator
            Draws the noise.
        """
        curve = axis_curve(self.read().ca.astype(np.float64))
        noise = ornstein_uhlenbeck(rng, np.arange(float(layout.length)), 1, 1.0, _CORRELATION)[0]
        # the prior is rough at short range, where an axis curve is smooth
        noise = axis_curve(noise)
        kept = self._kept_index()
        if kept.size:
            apart = np.abs(np.arange(layout.length)[:, None] - kept).min(axis=1)
            noise *= (1.0 - np.exp(-0.5 * (apart / _NEAR_KEPT) ** 2))[:, None]
        rotation, shift = superimpose(curve + noise, curve)
        moved = (curve + noise) @ rotation.T + shift - curve
        size = float(np.sqrt((moved**2).sum(-1).mean()))
        return curve + noise * (_SHARE * self.noise / size if size > 0.0 else 0.0)

    def restraint(self, layout: Layout) -> TemplateRestraint:
        """Pull back what strays beyond the noise level, and hold what is kept."""
        kept = _kept(self)
        held = None if kept is None else MotifRestraint(kept, self._kept_index().tolist())
        return TemplateRestraint(self.read().ca.astype(np.float64), self.noise, held)

    def torsions(self, layout: Layout) -> FloatArray:
        """Give phi and psi of the kept residues."""
        given = np.full((layout.length, 2), np.nan)
        kept = _kept(self)
        if kept is not None:
            given[self._kept_index()] = kept.torsions
        return given

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Forbid all but the template's own amino acids where they are kept."""
        bias = np.zeros((layout.length, _NUM_AMINO_ACIDS))
        kept = _kept(self)
        if kept is None or self.sequence == "mask":
            return bias
        for residue, letter in zip(self._kept_index(), kept.sequence, strict=True):
            kind = AMINO_ACIDS.index(letter)
            if kind < _NUM_AMINO_ACIDS:
                bias[residue] = -np.inf
                bias[residue, kind] = 0.0
        return bias

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Superimpose the CA atoms; the margin also counts what kept residues have moved."""
        from protein_lab.metrics import rmsd

        require_length(protein, layout)
        own = self.read()
        if own.num_residues != protein.num_residues:
            raise ProteinLabError(
                f"The template has {own.num_residues} residues, but the design has "
                f"{protein.num_residues}.",
                "Evaluate a constraint on the chain it was asked for.",
            )
        value = round(float(rmsd(protein.ca, own.ca)), 3)
        margin, details = self.noise - value, f"CA moved by {value:.2f} angstrom"
        kept = _kept(self)
        if kept is not None:
            (found,) = motif_rmsd(protein.backbone, self._kept_index(), kept)
            found = round(found, 3)
            margin = min(margin, KEPT_RMSD - found)
            details += f", the backbone of {len(kept.names)} kept residues by {found:.2f}"
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom",
            target=self.noise,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details=f"{details}.",
        )

    def _kept_faults(self, path: str) -> Iterator[Fault]:
        try:
            _kept(self)
        except ProteinLabError as error:
            yield Fault(path=f"{path}.kept", message=error.problem, remedy=error.remedy)

    def _kept_index(self) -> IntArray:
        parts = [segment_residues(self.read(), part) for part in _kept_segments(self)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


class TemplateRestraint:
    """Pull a chain back to its template where its CA atoms are farther than allowed.

    Parameters
    ----------
    ca : ndarray, shape=(residue, 3)
        Of the template, angstrom.
    noise : float
        Largest RMSD, angstrom.
    held : MotifRestraint or None
        What holds the kept residues.
    """

    def __init__(self, ca: FloatArray, noise: float, held: MotifRestraint | None) -> None:
        self.ca = ca
        self.axis = axis_curve(ca)
        self.limit = _INSIDE * noise
        self.held = held

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of N, CA, C, CB; see :class:`protein_lab.constraints.base.Restraint`."""
        gradient = np.zeros(np.shape(atoms))
        value, gradient[:, 1] = self._energy(np.asarray(atoms)[:, 1], self.ca)
        if self.held is not None:
            more, part = self.held(atoms)
            value, gradient = value + more, gradient + part
        return value, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve; see :class:`protein_lab.constraints.base.Restraint`."""
        value, gradient = self._energy(curve, self.axis)
        if self.held is not None:
            more, part = self.held.on_curve(curve)
            value, gradient = value + more, gradient + part
        return value, gradient

    def _energy(self, points: FloatArray, goal: FloatArray) -> tuple[float, FloatArray]:
        """Grow with the square of the RMSD beyond the limit, then linearly.

        At the best superposition the RMSD does not change with it.
        """
        points = np.asarray(points, dtype=np.float64)
        rotation, shift = superimpose(goal, points)
        off = points - (goal @ rotation.T + shift)
        size = float(np.sqrt((off**2).sum(-1).mean()))
        excess = size - self.limit
        if excess <= 0.0:
            return 0.0, np.zeros(points.shape)
        scale = _WEIGHT * len(points)
        root = np.sqrt(1.0 + excess**2)
        slope = 2.0 * scale * excess / root
        return 2.0 * scale * (root - 1.0), slope / (len(points) * size) * off


def _whole_chain(protein: Protein, chain: str | None) -> IntArray:
    """Return the residues of a chain, which must be complete."""
    name = protein.chain_ids[0] if chain is None else chain
    if name not in protein.chain_ids:
        raise ProteinLabError(
            f"The structure has no chain {name}.",
            f"Its chains are {', '.join(protein.chain_ids[:8])}.",
        )
    inside = np.flatnonzero(protein.chain_index == protein.chain_ids.index(name))
    ends = [(int(protein.author_number[i]), protein.insertion_code[i]) for i in inside[[0, -1]]]
    return segment_residues(protein, Segment(0, name, ends[0], ends[1]))


@lru_cache(maxsize=64)
def _chain(template: Template) -> Protein:
    protein = template.source.read()
    return select_residues(protein, _whole_chain(protein, template.chain))


@lru_cache(maxsize=64)
def _states(template: Template) -> str:
    from protein_lab.metrics import dssp

    return dssp(template.read().backbone)


@lru_cache(maxsize=64)
def _kept(template: Template) -> MotifResidues | None:
    segments = _kept_segments(template)
    return gather([template.read()], segments, [1] * len(segments)) if segments else None


def _kept_segments(template: Template) -> list[Segment]:
    """Read what is kept, in order of the chain."""
    if not template.kept.strip():
        return []
    pieces = read_contig(template.kept)
    for piece in pieces:
        if isinstance(piece, Gap) or piece.source:
            raise ProteinLabError(
                "Expected residues of the template, but got a length or another source.",
                "Write for example A10-20/A35.",
            )
    found = [piece for piece in pieces if isinstance(piece, Segment)]
    return sorted(found, key=lambda piece: int(segment_residues(template.read(), piece)[0]))
