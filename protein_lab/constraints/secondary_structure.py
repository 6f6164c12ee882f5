"""Secondary structure that is asked residue by residue, as a string or as ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import MAX_LENGTH, UNSPECIFIED
from protein_lab.constraints.base import Layout, require_length
from protein_lab.constraints.fields import SECONDARY_STRUCTURE_CHANNELS
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, IntArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

MIN_HELIX: Final = 4
"""One turn; a shorter stretch has no hydrogen bond i to i+4 and DSSP never calls it a helix."""

MIN_STRAND: Final = 3
"""DSSP writes an isolated bridge as loop, so a strand needs a ladder of at least this many."""

REQUIRED_FRACTION: Final = {"H": 0.9, "E": 0.6, "L": 0.6}
"""Part of the asked residues that must come out in their state; strand ends fray most."""

_MANY: Final = 1000
"""Conflicts after which looking for more helps nobody."""

Residue = Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)]


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Residues ``start`` to ``stop``, counted from 1, both included, and their state."""

    start: Residue
    stop: Residue
    state: Literal["H", "E", "L"]

    @property
    def ordered(self) -> bool:
        """Whether the range is known and not reversed."""
        # While a request is read, a number that could not be read is None.
        return None not in (self.start, self.stop) and self.start <= self.stop


class SecondaryStructure(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="secondary_structure",
):
    """Ask for helix ``H``, strand ``E`` or loop ``L``; ``-`` leaves a residue open.

    Attributes
    ----------
    string : str or None
        One letter a residue.
    ranges : tuple of Range or None
        Stretches; residues in none of them are open.
    """

    kind: ClassVar[str] = "secondary_structure"

    string: Annotated[str, msgspec.Meta(max_length=MAX_LENGTH)] | None = None
    ranges: Annotated[tuple[Range, ...], msgspec.Meta(max_length=MAX_LENGTH)] | None = None

    def faults(self, path: str) -> list[Fault]:
        """Find unknown letters, reversed ranges and a constraint that asks for nothing."""
        found: list[Fault] = []
        if self.string is None and self.ranges is None:
            found.append(
                Fault(
                    path=path,
                    message="Expected secondary structure as 'string' or 'ranges'; got neither.",
                    remedy='Write for example "string": "LHHHHHHHHL".',
                )
            )
        for letter in dict.fromkeys(self.string or ""):
            if letter not in SECONDARY_STRUCTURE_CHANNELS:
                place = (self.string or "").index(letter)
                found.append(
                    Fault(
                        path=f"{path}.string[{place}]",
                        message=f"Expected one of the letters H E L -, but got {letter!r}.",
                        remedy=_letter_remedy(letter),
                    )
                )
        for number, part in enumerate(self.ranges or ()):
            if part is not None and None not in (part.start, part.stop) and not part.ordered:
                found.append(
                    Fault(
                        path=f"{path}.ranges[{number}].stop",
                        message=f"Expected a stop of at least {part.start}, but got {part.stop}.",
                        remedy="Give the first residue as start and the last one as stop.",
                    )
                )
        return found

    @property
    def extent(self) -> int:
        """Number of residues that the constraint reaches to."""
        stops = [part.stop for part in self.ranges or () if part is not None and part.ordered]
        return max([len(self.string or ""), *stops])

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Compare asked and obtained (DSSP) states.

        The value is the fraction of asked helix and strand residues that came out so (of loop
        residues when nothing else is asked); the margin is the smallest distance of a state's
        fraction from what :data:`REQUIRED_FRACTION` demands of it.
        """
        from protein_lab.metrics import dssp, secondary_structure_adherence

        require_length(protein, layout)
        asked = asked_states([("$", self)], layout.length).states
        obtained = dssp(protein.backbone)
        adherence = secondary_structure_adherence(asked, obtained)
        states = [state for state in "HE" if state in asked] or [s for s in "L" if s in asked]
        if not states:
            return Measurement(
                constraint=self.kind,
                value=None,
                unit="fraction",
                target=None,
                margin=None,
                verdict="not_applicable",
                details="Every residue was left open.",
            )
        counts = np.array([asked.count(state) for state in states], dtype=np.float64)
        fractions = np.array([adherence[state] for state in states], dtype=np.float64)
        required = np.array([REQUIRED_FRACTION[state] for state in states])
        margin = float((fractions - required).min())
        return Measurement(
            constraint=self.kind,
            value=float(np.average(fractions, weights=counts)),
            unit="fraction",
            target=float(np.average(required, weights=counts)),
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details="; ".join(
                f"{state}: {adherence[state]:.0%} of {asked.count(state)} residues"
                for state in "HEL"
                if state in asked
            ),
        )


def _letter_remedy(letter: str) -> str:
    if letter.upper() in SECONDARY_STRUCTURE_CHANNELS:
        return f"Did you mean {letter.upper()!r}?"
    if letter in "CcTtSs .~":
        return "Write L for coil, turn and bend, and - for a residue that is left open."
    if letter in "GgIiPp":
        return "Write H for every kind of helix."
    if letter in "Bb":
        return "Write E for a strand, or L for an isolated bridge."
    return "Write H for helix, E for strand, L for loop, - for a residue that is left open."


@dataclass(frozen=True, slots=True)
class AskedStates:
    """What several constraints ask for together.

    Attributes
    ----------
    states : str
        One letter a residue, ``-`` where nothing is asked.
    owners : tuple of str
        For each residue the JSON path of what asked first; empty where nothing is asked.
    faults : tuple of Fault
        Overlaps and contradictions.
    """

    states: str
    owners: tuple[str, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    path: str
    constraint: str
    start: int
    letters: str

    @property
    def is_range(self) -> bool:
        return self.path != f"{self.constraint}.string"


def _parts(constraints: Sequence[tuple[str, SecondaryStructure]]) -> Iterator[_Part]:
    for path, constraint in constraints:
        if constraint.string is not None:
            yield _Part(f"{path}.string", path, 0, constraint.string)
        for number, part in enumerate(constraint.ranges or ()):
            if part is not None and part.ordered and part.state is not None:
                letters = part.state * (part.stop - part.start + 1)
                yield _Part(f"{path}.ranges[{number}]", path, part.start - 1, letters)


def asked_states(constraints: Sequence[tuple[str, SecondaryStructure]], length: int) -> AskedStates:
    """Merge what secondary-structure constraints ask for and find where they disagree.

    Parameters
    ----------
    constraints : sequence of (path, SecondaryStructure)
        Constraints with their JSON paths.
    length : int
        Number of residues; whatever lies beyond is left out.
    """
    nothing = ord(UNSPECIFIED)
    states = np.full(length, nothing, dtype=np.int32)
    owners = np.full(length, -1, dtype=np.int32)
    parts = list(_parts(constraints))
    faults: list[Fault] = []
    for number, part in enumerate(parts):
        if len(faults) > _MANY:
            break
        codes = np.array([ord(letter) for letter in part.letters], dtype=np.int32)
        span = slice(part.start, min(part.start + codes.size, length))
        codes = codes[: max(span.stop - span.start, 0)]
        before, owner = states[span], owners[span]
        both = (before != nothing) & (codes != nothing)
        faults += _conflicts(part, parts, codes, before, owner, both)
        new = (before == nothing) & (codes != nothing)
        before[new], owner[new] = codes[new], number
    return AskedStates(
        states="".join(map(chr, states)),
        owners=tuple(parts[owner].path if owner >= 0 else "" for owner in owners),
        faults=tuple(faults),
    )


def _conflicts(
    part: _Part,
    parts: Sequence[_Part],
    codes: IntArray,
    before: IntArray,
    owner: IntArray,
    both: np.ndarray,
) -> Iterator[Fault]:
    """Yield one fault for each earlier part that contradicts or overlaps ``part``."""
    differs = both & (codes != before)
    for number in np.unique(owner[both]):
        other = parts[number]
        mine = both & (owner == number)
        if (mine & differs).any():
            place = int(np.flatnonzero(mine & differs)[0])
            yield Fault(
                path=part.path,
                message=(
                    f"Residue {part.start + place + 1} is asked to be {chr(codes[place])} here, "
                    f"but {chr(before[place])} in {other.path}."
                ),
                remedy="Ask one state for each residue.",
            )
        elif part.is_range and other.is_range:
            place = int(np.flatnonzero(mine)[0])
            yield Fault(
                path=part.path,
                message=f"Overlaps {other.path} at residue {part.start + place + 1}.",
                remedy="Let ranges follow one another, or join them to one.",
                severity="error" if part.constraint == other.constraint else "warning",
            )


@dataclass(frozen=True, slots=True)
class AskedElement:
    """A helix or strand that a request asks for; residues 0-based, half-open."""

    kind: str
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of residues."""
        return self.stop - self.start

    def __str__(self) -> str:
        name = "helix" if self.kind == "H" else "strand"
        return f"{name} {self.start + 1}-{self.stop}"


def asked_elements(states: str) -> tuple[AskedElement, ...]:
    """List the stretches of ``H`` and of ``E`` in order of the chain.

    Raises
    ------
    ProteinLabError
        For a letter other than ``H E L -``.
    """
    unknown = set(states) - set(SECONDARY_STRUCTURE_CHANNELS)
    if unknown:
        raise ProteinLabError(
            f"Expected the letters H E L -, but got {sorted(unknown)}.",
            "Write H for helix, E for strand, L for loop, - for a residue that is left open.",
        )
    elements: list[AskedElement] = []
    start = 0
    for state, run in groupby(states):
        stop = start + len(list(run))
        if state in "HE":
            elements.append(AskedElement(state, start, stop))
        start = stop
    return tuple(elements)
