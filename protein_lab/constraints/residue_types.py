"""Amino acids that are given, allowed, excluded or preferred along the chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constants import AMINO_ACIDS, MAX_LENGTH, UNSPECIFIED
from protein_lab.constraints.amino_acids import (
    FORBIDDEN,
    LETTERS,
    ResidueNumber,
    Types,
    letters_of,
    mask_of,
    no_bias,
    only,
    range_fault,
    type_faults,
)
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

HELIX_TURN: Final = 4
"""Residues at the beginning of a helix that donate no hydrogen bond, so that proline fits."""


class TypeRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of the amino acids of one stretch.

    Attributes
    ----------
    start, stop : int
        First and last residue, counted from 1, both included; without ``stop`` the stretch is as
        long as ``sequence``, or one residue.
    sequence : str or None
        One-letter codes, one a residue; ``-`` leaves a residue open.
    only, excluded : str or None
        The amino acids that may, or may not, stand here: one-letter codes or the name of a class.
    preferred : str or None
        Amino acids that are made likelier by ``strength``; others still occur.
    strength : float
        Nats by which the preferred ones gain against all others.
    share : float
        Part of the stretch that must come out with preferred amino acids.
    """

    start: ResidueNumber
    stop: ResidueNumber | None = None
    sequence: Annotated[str, msgspec.Meta(max_length=MAX_LENGTH)] | None = None
    only: Types | None = None
    excluded: Types | None = None
    preferred: Types | None = None
    strength: Annotated[float, msgspec.Meta(ge=0.0, le=20.0)] = 2.0
    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.5

    @property
    def last(self) -> int:
        """Last residue, counted from 1."""
        if self.stop is not None:
            return self.stop
        return self.start + max(len(self.sequence or ""), 1) - 1

    def allowed(self) -> FloatArray:
        """Bias of what is given, allowed and excluded, shape (residue of the stretch, 20)."""
        bias = no_bias(self.last - self.start + 1)
        if self.only is not None:
            bias += only(self.only)
        if self.excluded is not None:
            bias[:, mask_of(self.excluded)] = FORBIDDEN
        for place, letter in enumerate(self.sequence or ""):
            if letter != UNSPECIFIED:
                bias[place] += only(letter)
        return bias

    def faults(self, path: str) -> Iterator[Fault]:
        """Yield what is wrong with the stretch by itself."""
        asked = {
            name: getattr(self, name) for name in ("sequence", "only", "excluded", "preferred")
        }
        if all(value is None for value in asked.values()):
            yield Fault(
                path=path,
                message="Expected 'sequence', 'only', 'excluded' or 'preferred'; got none.",
                remedy='Write for example "excluded": "C".',
            )
        found = [
            fault
            for name in ("only", "excluded", "preferred")
            if asked[name] is not None
            for fault in type_faults(asked[name], f"{path}.{name}")
        ]
        found += self._sequence_faults(path)
        yield from found
        if self.start is None or found:
            return
        if self.last < self.start:
            yield Fault(
                path=f"{path}.stop",
                message=f"Expected a stop of at least {self.start}, but got {self.stop}.",
                remedy="Give the first residue as start and the last one as stop.",
            )
        elif not np.isfinite(self.allowed()).any(axis=1).all():
            place = int(np.argmin(np.isfinite(self.allowed()).any(axis=1)))
            yield Fault(
                path=path,
                message=f"No amino acid is left for residue {self.start + place}.",
                remedy="Exclude fewer, or allow more.",
            )

    def _sequence_faults(self, path: str) -> Iterator[Fault]:
        letters = self.sequence
        if letters is None:
            return
        for place, letter in enumerate(letters):
            if letter not in LETTERS + UNSPECIFIED:
                upper = letter.upper()
                yield Fault(
                    path=f"{path}.sequence[{place}]",
                    message=f"Expected a one-letter code or -, but got {letter!r}.",
                    remedy=f"Write {upper!r}."
                    if upper in LETTERS
                    else f"Use {LETTERS}, and - for a residue that is left open.",
                )
                return
        if not letters:
            yield Fault(path=f"{path}.sequence", message="Expected at least one letter.")
        if None in (self.start, self.stop) or self.last < self.start:
            return
        size = self.last - self.start + 1
        if len(letters) != size:
            yield Fault(
                path=f"{path}.sequence",
                message=f"Expected {size} letters for residues {self.start} to {self.last}, but "
                f"got {len(letters)}.",
                remedy="Change the sequence or 'stop', or leave 'stop' out.",
            )


class ResidueTypes(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="residue_types",
):
    """Give, allow, exclude or prefer amino acids in stretches of the chain.

    It acts on the sequence operator, which sees given residues before it draws the others, as
    masks and biases do in ProteinMPNN (Dauparas et al., *Science* 378, 2022).

    Attributes
    ----------
    ranges : tuple of TypeRange
        They may overlap: all of them hold together.
    """

    kind: ClassVar[str] = "residue_types"

    ranges: Annotated[tuple[TypeRange, ...], msgspec.Meta(max_length=MAX_LENGTH)]

    def faults(self, path: str) -> list[Fault]:
        """Find unknown letters, reversed stretches, and stretches where nothing is left."""
        if self.ranges is not None and not self.ranges:
            return [
                Fault(
                    path=f"{path}.ranges",
                    message="Expected at least one range.",
                    remedy='Write for example [{"start": 1, "sequence": "M"}].',
                )
            ]
        return [
            fault
            for number, part in enumerate(self.ranges or ())
            if part is not None
            for fault in part.faults(f"{path}.ranges[{number}]")
        ]

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find stretches beyond the end of the chain, and prolines that break asked helices."""
        found: list[Fault] = []
        for number, part in enumerate(self.ranges or ()):
            if part is None or None in (part.start,):
                continue
            place = f"{path}.ranges[{number}]"
            if scope.shortest and part.last > scope.shortest:
                name = "start" if part.stop is None else "stop"
                found.append(range_fault(f"{place}.{name}", part.last, scope.shortest))
            found += self._proline_faults(place, part, scope.states)
        return found

    @staticmethod
    def _proline_faults(path: str, part: TypeRange, states: str) -> Iterator[Fault]:
        given = np.isfinite(part.allowed())
        alone = given[:, LETTERS.index("P")] & (given.sum(axis=1) == 1)
        for residue in (part.start + np.flatnonzero(alone)).tolist():
            before = states[max(residue - HELIX_TURN - 1, 0) : residue]
            if before == "H" * (HELIX_TURN + 1):
                yield Fault(
                    path=path,
                    message=f"A proline at residue {residue} breaks the helix asked there.",
                    remedy=f"Only the first {HELIX_TURN} residues of a helix have room for one: "
                    "ask for another amino acid, or for loop there.",
                    severity="warning",
                )
                return

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Sum up what is asked; minus infinity where an amino acid may not stand."""
        bias = no_bias(layout.length)
        for part in self.ranges:
            span = slice(part.start - 1, min(part.last, layout.length))
            bias[span] += part.allowed()[: max(span.stop - span.start, 0)]
            if part.preferred is not None:
                bias[span, mask_of(part.preferred)] += part.strength
        return bias

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Find whether the amino acids are those that were asked for.

        The value is the part of the asked residues with an amino acid that may stand there; where
        amino acids are only preferred, the smallest part of a stretch that has them. The margin
        is the smallest distance from what is demanded: all, and ``share``.
        """
        require_length(protein, layout)
        unknown = len(LETTERS)
        if (protein.aatype == unknown).all():
            return self._measured(None, None, "the chain has no sequence")
        strict = np.isfinite(no_bias(layout.length) + self._allowed(layout.length))
        asked = ~strict.all(axis=1)
        # the last column stands for an unknown amino acid, which is never what was asked
        may = np.concatenate([strict, np.zeros((layout.length, 1), dtype=bool)], axis=1)
        right = may[np.arange(layout.length), protein.aatype]
        wrong = np.flatnonzero(asked & ~right)
        shares = [
            (part, np.isin(list(protein.sequence[part.start - 1 : part.last]), list(names)).mean())
            for part in self.ranges
            if part.preferred is not None
            for names in [letters_of(part.preferred)]
        ]
        fraction = float(right[asked].mean()) if asked.any() else None
        margins = [float(found) - part.share for part, found in shares]
        margins += [fraction - 1.0] if fraction is not None else []
        value = fraction if fraction is not None else float(min(found for _, found in shares))
        said = [f"{right[asked].sum()} of {asked.sum()} asked residues"] if asked.any() else []
        said += [
            f"residue {place + 1} is {AMINO_ACIDS[protein.aatype[place]]}" for place in wrong[:3]
        ]
        said += [
            f"{found:.0%} of {part.start}-{part.last} {part.preferred}" for part, found in shares
        ]
        return self._measured(value, min(margins), "; ".join(said))

    def _allowed(self, length: int) -> FloatArray:
        bias = no_bias(length)
        for part in self.ranges:
            span = slice(part.start - 1, min(part.last, length))
            bias[span] += part.allowed()[: max(span.stop - span.start, 0)]
        return bias

    def _measured(self, value: float | None, margin: float | None, details: str) -> Measurement:
        strict = any(
            part.sequence or part.only is not None or part.excluded is not None
            for part in self.ranges
        )
        target = 1.0 if strict else min((part.share for part in self.ranges), default=1.0)
        verdict = "not_run" if margin is None else "pass" if margin >= 0.0 else "fail"
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="fraction",
            target=target,
            margin=margin,
            verdict=verdict,
            details=details,
        )
