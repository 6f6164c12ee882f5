"""A chain as a list of helices, strands and loops whose lengths may vary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import MAX_LENGTH, MIN_LENGTH, UNSPECIFIED
from protein_lab.constraints.base import Layout, Placement, Scope, require_length
from protein_lab.constraints.secondary_structure import (
    MIN_HELIX,
    MIN_STRAND,
    AskedElement,
    SecondaryStructure,
)
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, IntArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

LEAST: Final = {"H": MIN_HELIX, "E": MIN_STRAND}
_NAMES: Final = {"H": "helix", "E": "strand", "L": "loop", UNSPECIFIED: "open stretch"}


class Segment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of the chain in one state.

    Attributes
    ----------
    state : {"H", "E", "L", "-"}
        Helix, strand, loop, or open.
    length : int or (int, int)
        Residues, or the fewest and the most.
    """

    state: Literal["H", "E", "L", "-"]
    length: int | tuple[int, int]

    @property
    def bounds(self) -> tuple[int, int]:
        """Fewest and most residues."""
        return self.length if isinstance(self.length, tuple) else (self.length, self.length)


@dataclass(frozen=True, slots=True)
class SegmentElement(AskedElement):
    """A helix or strand whose length is not known before a design is drawn."""

    number: int = 0

    def __str__(self) -> str:
        return f"the {_NAMES[self.kind]} of segment {self.number}"


class Segments(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="segments",
):
    """Ask for helices, strands and loops one after the other, with lengths that may vary.

    The lengths are drawn anew in every design. As the blueprints of Rosetta (Koga et al., Nature
    491, 2012), with ranges as in the contigs of RFdiffusion. The helices and strands are the
    elements that pairings count.

    Attributes
    ----------
    segments : tuple of Segment
        In order of the chain; together they are the whole chain.
    """

    kind: ClassVar[str] = "segments"

    segments: Annotated[tuple[Segment, ...], msgspec.Meta(max_length=400)]

    @property
    def is_readable(self) -> bool:
        """Whether no part of it is missing because it could not be read."""
        return self.segments is not None and all(
            item is not None and None not in (item.state, item.length) for item in self.segments
        )

    @property
    def lengths(self) -> tuple[int, int]:
        """Residues of the shortest and the longest chain that can be drawn."""
        bounds = [segment.bounds for segment in self.segments]
        return sum(low for low, _ in bounds), sum(high for _, high in bounds)

    def faults(self, path: str) -> list[Fault]:
        """Find lengths that are no lengths, elements that are too short or run together."""
        if not self.is_readable:
            return []
        if not self.segments:
            return [
                Fault(
                    path=f"{path}.segments",
                    message="Expected at least one segment, but the list is empty.",
                    remedy='Write for example [{"state": "H", "length": [10, 14]}].',
                )
            ]
        found = [
            fault
            for number, item in enumerate(self.segments)
            for fault in _length_faults(f"{path}.segments[{number}].length", item)
        ]
        for number, (before, after) in enumerate(pairwise(self.segments), start=1):
            if before.state == after.state and after.state in LEAST:
                name = _NAMES[after.state]
                found.append(
                    Fault(
                        path=f"{path}.segments[{number}].state",
                        message=f"Expected something between one {name} and the next, but segment "
                        f"{number + 1} is a {name} right after another.",
                        remedy="Put a loop between them, or join them to one.",
                    )
                )
        return found or [*self._total_faults(path)]

    def _total_faults(self, path: str) -> Iterator[Fault]:
        low, high = self.lengths
        if high < MIN_LENGTH or low > MAX_LENGTH:
            yield Fault(
                path=f"{path}.segments",
                message=f"Expected {MIN_LENGTH} to {MAX_LENGTH} residues in all, but the segments "
                f"have {low} to {high}.",
                remedy="Change the lengths of segments.",
            )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find lengths of the request that the segments cannot have."""
        if not scope.longest or not self.is_readable:
            return []
        low, high = self.lengths
        if low <= scope.longest and scope.shortest <= high:
            return []
        asked = (
            str(scope.shortest)
            if scope.shortest == scope.longest
            else f"{scope.shortest} to {scope.longest}"
        )
        return [
            Fault(
                path=f"{path}.segments",
                message=f"Expected segments of {asked} residues in all, as the request has, but "
                f"they have {low} to {high}.",
                remedy="Change the lengths of segments, or leave out the length of the request.",
            )
        ]

    def outline(self) -> tuple[SegmentElement, ...]:
        """Give the helices and strands at their shortest, with the loops at their longest.

        For checks before anything is drawn: what does not fit here fits in no design.
        """
        elements: list[SegmentElement] = []
        start = 0
        for number, segment in enumerate(self.segments, start=1):
            low, high = segment.bounds
            stop = start + (low if segment.state in LEAST else high)
            if segment.state in LEAST:
                elements.append(SegmentElement(segment.state, start, stop, number))
            start = stop
        return tuple(elements)

    @property
    def fixed_states(self) -> str:
        """States of the chain if no length varies; else empty."""
        if any(low != high for low, high in (segment.bounds for segment in self.segments)):
            return ""
        return "".join(segment.state * segment.bounds[0] for segment in self.segments)

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Draw all lengths; every combination that the length allows is equally likely.

        The residues of the placement are the first of each segment.
        """
        low, high = self.lengths
        if longest:
            low, high = max(low, shortest), min(high, longest)
        ways = self._ways(high)
        totals = ways[0, low : high + 1] if low <= high else np.zeros(0)
        if not totals.any():
            raise ProteinLabError(
                f"The segments have no {shortest} to {longest} residues together.",
                "Check the request first.",
            )
        length = left = low + int(rng.choice(totals.size, p=totals / totals.sum()))
        starts: list[int] = []
        states = ""
        for number, segment in enumerate(self.segments):
            least, most = segment.bounds
            sizes = np.arange(least, min(most, left) + 1)
            chance = ways[number + 1, left - sizes]
            size = int(rng.choice(sizes, p=chance / chance.sum()))
            starts.append(len(states))
            states += segment.state * size
            left -= size
        return Placement(length, tuple(starts), states)

    def _ways(self, longest: int) -> np.ndarray:
        """Count in how many ways the segments from one on fill a number of residues.

        Returns
        -------
        ndarray, shape=(segment + 1, longest + 1)
            Each row in proportion, for the numbers themselves overflow.
        """
        ways = np.zeros((len(self.segments) + 1, longest + 1))
        ways[-1, 0] = 1.0
        for number in reversed(range(len(self.segments))):
            least, most = self.segments[number].bounds
            kernel = (np.arange(longest + 1) >= least) & (np.arange(longest + 1) <= most)
            filled = np.convolve(ways[number + 1], kernel.astype(float))[: longest + 1]
            ways[number] = filled / max(float(filled.max()), np.finfo(float).tiny)
        return ways

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Compare asked and obtained (DSSP) states, as for secondary structure.

        Where it is not known which lengths were drawn, those that suit the structure best count.
        """
        from protein_lab.metrics import dssp

        require_length(protein, layout)
        starts = layout.places.get(self) or self._fit(dssp(protein.backbone))
        if not starts:
            low, high = self.lengths
            return Measurement(
                constraint=self.kind,
                value=0.0,
                unit="fraction",
                target=1.0,
                margin=-1.0,
                verdict="fail",
                details=f"The segments have {low} to {high} residues, the chain {layout.length}.",
            )
        stops = (*starts[1:], layout.length)
        states = "".join(
            segment.state * (stop - start)
            for segment, start, stop in zip(self.segments, starts, stops, strict=True)
        )
        measured = SecondaryStructure(string=states).evaluate(protein, layout)
        sizes = ", ".join(
            f"{segment.state}{stop - start}"
            for segment, start, stop in zip(self.segments, starts, stops, strict=True)
        )
        return msgspec.structs.replace(
            measured, constraint=self.kind, details=f"{measured.details}; lengths {sizes}"
        )

    def _fit(self, obtained: str) -> tuple[int, ...]:
        """Give the starts for which most residues have the asked state; empty if none fit."""
        length = len(obtained)
        letters = np.array(list(obtained))
        best = np.full((len(self.segments) + 1, length + 1), -1)
        best[0, 0] = 0
        chosen = np.zeros((len(self.segments) + 1, length + 1), dtype=int)
        for number, segment in enumerate(self.segments):
            met: IntArray = np.concatenate([[0], np.cumsum(letters == segment.state)])
            least, most = segment.bounds
            for size in range(least, min(most, length) + 1):
                before = best[number, : length + 1 - size]
                score = np.where(before < 0, -1, before + met[size:] - met[: length + 1 - size])
                is_better = score > best[number + 1, size:]
                best[number + 1, size:][is_better] = score[is_better]
                chosen[number + 1, size:][is_better] = size
        if best[-1, length] < 0:
            return ()
        starts: list[int] = []
        stop = length
        for number in range(len(self.segments), 0, -1):
            stop -= int(chosen[number, stop])
            starts.append(stop)
        return tuple(reversed(starts))


def _length_faults(path: str, segment: Segment) -> Iterator[Fault]:
    low, high = segment.bounds
    least = LEAST.get(segment.state, 1 if isinstance(segment.length, int) else 0)
    name = _NAMES[segment.state]
    if low > high:
        yield Fault(
            path=path,
            message=f"Expected the shorter length first, but got [{low}, {high}].",
            remedy=f"Write [{high}, {low}].",
        )
    elif low < least or high < 1:
        yield Fault(
            path=path,
            message=f"Expected {'an' if name[0] == 'o' else 'a'} {name} of at least {least} "
            f"residues, but got {low}.",
            remedy="Make it longer, or leave the segment out.",
        )
    elif high > MAX_LENGTH:
        yield Fault(
            path=path,
            message=f"Expected at most {MAX_LENGTH} residues, but got {high}.",
            remedy="Make it shorter.",
        )
