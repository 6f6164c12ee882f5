"""The order of strands in a sheet, their directions, and the hand of their crossovers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.base import ElementSpan, Layout, Scope, require_length
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import (
    MIN_STRAND,
    AskedElement,
    asked_elements,
)
from protein_lab.constraints.sheet_restraint import SheetRestraint, StrandPair, crossover_hand
from protein_lab.typing import Fault, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

Direction = Literal["parallel", "antiparallel"]

SHORTEST_TURN: Final = 2
_WRONG_WAY: Final = 0.5
"""Cost of a pair of a blueprint that is there, but runs the other way."""


class Topology(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="topology",
):
    """Ask for the order of the strands in a sheet.

    The notation of Richardson (Adv. Protein Chem. 34, 1981) and of the fold names of SCOP: strands
    are numbered along the chain and listed from one edge of the sheet to the other.

    Attributes
    ----------
    order : tuple of int
        Strands side by side, counted from 1 along the chain over the strands that the request
        asks for, or over all of a design when it asks for none.
    orientations : tuple of {"parallel", "antiparallel"} or None
        Direction of each strand to the one before it in ``order``; open when it is not given.
    crossovers : {"right", "left", "any"}
        Hand of the connections between strands that follow one another in the chain and are
        parallel; of real ones 19 in 20 are right-handed.
    """

    kind: ClassVar[str] = "topology"

    order: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(max_length=100)]
    orientations: Annotated[tuple[Direction, ...], msgspec.Meta(max_length=100)] | None = None
    crossovers: Literal["right", "left", "any"] = "any"

    def faults(self, path: str) -> list[Fault]:
        """Find strands listed twice, and directions that do not fit the order."""
        if self.order is None or None in self.order:
            return []
        found: list[Fault] = []
        if len(self.order) < 2:
            found.append(
                Fault(
                    path=f"{path}.order",
                    message=f"Expected at least 2 strands, but got {len(self.order)}.",
                    remedy='Write for example "order": [2, 1, 3, 4].',
                )
            )
        for place, strand in enumerate(self.order):
            if strand in self.order[:place]:
                found.append(
                    Fault(
                        path=f"{path}.order[{place}]",
                        message=f"Strand {strand} is listed twice.",
                        remedy="List every strand once, from one edge of the sheet to the other.",
                    )
                )
        wanted = len(self.order) - 1
        if not found and self.orientations is not None and len(self.orientations) != wanted:
            found.append(
                Fault(
                    path=f"{path}.orientations",
                    message=f"Expected {wanted} orientations, one for each two neighbors, but got "
                    f"{len(self.orientations)}.",
                    remedy="The first is that of the first two strands in the order.",
                )
            )
        return found or [*self._hand_faults(path)]

    def _hand_faults(self, path: str) -> Iterator[Fault]:
        if self.crossovers in ("any", None) or not self.orientations or None in self.orientations:
            return
        if not self._crossing_pairs(self._directions()):
            yield Fault(
                path=f"{path}.crossovers",
                message="No two strands that follow one another in the chain are parallel here, "
                "so there is no crossover to have a hand.",
                remedy="Leave crossovers out, or change the orientations.",
            )
        elif self.crossovers == "left":
            yield Fault(
                path=f"{path}.crossovers",
                message="Of real crossovers 5 % are left-handed.",
                remedy="Ask for right, unless left is the point.",
                severity="warning",
            )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find more strands than fit the chain."""
        if not scope.longest or not self.order or None in self.order:
            return []
        needed = max(self.order) * MIN_STRAND + SHORTEST_TURN * (max(self.order) - 1)
        if needed <= scope.longest:
            return []
        return [
            Fault(
                path=f"{path}.order",
                message=f"Expected strands that fit {scope.longest} residues, but "
                f"{max(self.order)} of the shortest need {needed}.",
                remedy="Ask for fewer strands, or for a longer chain.",
            )
        ]

    def element_faults(self, path: str, elements: Sequence[ElementSpan]) -> list[Fault]:
        """Find strands that the request does not ask for, where it asks for some.

        Parameters
        ----------
        path : str
            JSON path of the constraint.
        elements : sequence of ElementSpan
            What the request asks for.
        """
        count = sum(1 for element in elements if element.kind == "E")
        return [
            Fault(
                path=f"{path}.order[{place}]",
                message=f"Expected a strand from 1 to {count}, the number that is asked for, but "
                f"got {strand}.",
                remedy="Ask for more strands, or leave strand residues open.",
            )
            for place, strand in enumerate(self.order)
            if count and strand > count
        ]

    def pairings(self, elements: Sequence[ElementSpan]) -> tuple[Pairing, ...]:
        """Say which elements lie side by side.

        Parameters
        ----------
        elements : sequence of ElementSpan
            Those that pairings count.

        Returns
        -------
        tuple of Pairing
            None when the strands are not all among the elements.
        """
        numbers = [number for number, item in enumerate(elements, start=1) if item.kind == "E"]
        if max(self.order) > len(numbers):
            return ()
        ways = self.orientations or _usual_orientations(self.order, numbers)
        return tuple(
            Pairing(first=numbers[one - 1], second=numbers[other - 1], orientation=way)
            for (one, other), way in zip(pairwise(self.order), ways, strict=True)
        )

    def blueprint_cost(self, states: str, pairs: Sequence[tuple[int, int, str]]) -> float:
        """Count the neighbors that a blueprint lacks, and strands that it lacks."""
        strands = _strand_numbers(states)
        missing = max(self.order) - len(strands)
        if missing > 0:
            return float(missing + len(self.order) - 1)
        obtained = {frozenset(pair[:2]): pair[2] for pair in pairs}
        cost = 0.0
        for place, (one, other) in enumerate(pairwise(self.order)):
            way = obtained.get(frozenset((strands[one - 1], strands[other - 1])))
            if way is None:
                cost += 1.0
            elif self.orientations is not None and way != self.orientations[place]:
                cost += _WRONG_WAY
        return cost

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Count neighbors that lie side by side as asked, and crossovers of the asked hand."""
        from protein_lab.metrics import dssp, pairing_met

        require_length(protein, layout)
        strands = self._strands(layout)
        if not strands and not layout.states:
            strands = self._strands(Layout(layout.length, (), dssp(protein.backbone)))
        if max(self.order) > len(strands):
            return self._measured(
                0, len(self.order) - 1, [f"there are {len(strands)} strands of {max(self.order)}"]
            )
        missed: list[str] = []
        for place, (one, other) in enumerate(pairwise(self.order)):
            ways: tuple[Direction, ...] = ("parallel", "antiparallel")
            ways = ways if self.orientations is None else (self.orientations[place],)
            spans = [
                (strands[number - 1].start, strands[number - 1].stop) for number in (one, other)
            ]
            if not any(pairing_met(protein.backbone, spans[0], spans[1], way) for way in ways):
                missed.append(f"strands {one} and {other} are no {' or '.join(ways)} neighbors")
        total = len(self.order) - 1
        if self.crossovers != "any":
            ca = np.asarray(protein.backbone[:, 1], dtype=np.float64)
            for one, other in self._crossovers(strands, ca):
                total += 1
                hand = crossover_hand(ca, strands[one - 1], strands[other - 1])
                if (hand > 0.0) != (self.crossovers == "right"):
                    missed.append(f"the crossover from strand {one} to {other} has the other hand")
        return self._measured(total - len(missed), total, missed)

    def _measured(self, met: int, total: int, missed: Sequence[str]) -> Measurement:
        return Measurement(
            constraint=self.kind,
            value=float(met),
            unit="relations",
            target=float(total),
            margin=float(met - total),
            verdict="pass" if met == total else "fail",
            details=f"{met} of {total} neighbors and crossovers as asked"
            + (": " + ", ".join(missed) if missed else ""),
        )

    def restraint(self, layout: Layout) -> SheetRestraint:
        """Give an energy that lays the strands side by side and turns crossovers to their hand."""
        strands = self._strands(layout)
        if max(self.order) > len(strands):
            return SheetRestraint((), (), 0)
        elements = _elements(layout)
        pairs = [
            StrandPair(elements[item.first - 1], elements[item.second - 1], item.orientation)
            for item in self.pairings(elements)
        ]
        directions = self._directions()
        if self.orientations is None:
            numbers = [number for number, item in enumerate(elements, 1) if item.kind == "E"]
            directions = _usual_directions(max(self.order), numbers)
        crossings = [
            (strands[one - 1], strands[other - 1])
            for one, other in self._crossing_pairs(directions)
            if self.crossovers != "any" and strands[other - 1].start > strands[one - 1].stop
        ]
        sign = {"right": 1, "left": -1, "any": 0}[self.crossovers]
        return SheetRestraint(tuple(pairs), tuple(crossings), sign)

    def _strands(self, layout: Layout) -> list[ElementSpan]:
        return [item for item in _elements(layout) if item.kind == "E"]

    def _directions(self) -> dict[int, int]:
        """Direction, 1 or -1, of each strand in the order; empty when it is open."""
        if self.orientations is None:
            return {}
        directions = {self.order[0]: 1}
        for (one, other), way in zip(pairwise(self.order), self.orientations, strict=True):
            directions[other] = directions[one] * (1 if way == "parallel" else -1)
        return directions

    def _crossing_pairs(self, directions: dict[int, int]) -> list[tuple[int, int]]:
        """Strands that follow one another in the chain and point the same way."""
        return [
            (one, one + 1)
            for one in sorted(self.order)
            if one + 1 in self.order and directions.get(one) == directions.get(one + 1, 0)
        ]

    def _crossovers(self, strands: Sequence[ElementSpan], ca: np.ndarray) -> list[tuple[int, int]]:
        """Strands that follow one another and are parallel, as asked or as they came out."""
        directions = self._directions()
        if not directions:
            first = strands[self.order[0] - 1]
            along = ca[first.stop - 1] - ca[first.start]
            for number in self.order:
                span = strands[number - 1]
                cosine = float(along @ (ca[span.stop - 1] - ca[span.start]))
                directions[number] = 1 if cosine > 0.0 else -1
        return [
            (one, other)
            for one, other in self._crossing_pairs(directions)
            if strands[other - 1].start > strands[one - 1].stop
        ]


def implied_pairings(
    constraints: Sequence[object], elements: Sequence[ElementSpan]
) -> tuple[Pairing, ...]:
    """Give the pairings of topologies that no pairing of the request speaks of.

    Parameters
    ----------
    constraints : sequence of Constraint
        Of a request.
    elements : sequence of ElementSpan
        Those that pairings count.
    """
    said = {frozenset((c.first, c.second)) for c in constraints if isinstance(c, Pairing)}
    implied: dict[frozenset[int], Pairing] = {}
    for item in constraints:
        if isinstance(item, Topology):
            for pairing in item.pairings(elements):
                key = frozenset((pairing.first, pairing.second))
                if key not in said:
                    implied.setdefault(key, pairing)
    return tuple(implied.values())


def _blueprint_elements(states: str) -> tuple[AskedElement, ...]:
    return tuple(
        item for item in asked_elements(states) if item.length >= (3 if item.kind == "E" else 4)
    )


def _elements(layout: Layout) -> Sequence[ElementSpan]:
    """Give the elements that are counted: those asked for, else those of the blueprint."""
    if any(item.kind == "E" for item in layout.elements):
        return layout.elements
    return _blueprint_elements(layout.states)


def _strand_numbers(states: str) -> list[int]:
    """Numbers of the strands among all elements, from 0."""
    elements = _blueprint_elements(states)
    return [number for number, item in enumerate(elements) if item.kind == "E"]


def _usual_directions(count: int, numbers: Sequence[int]) -> dict[int, int]:
    """Direction of each strand when a helix leads on to a parallel and a turn back."""
    directions = {1: 1}
    for strand in range(1, count):
        has_helix = numbers[strand] - numbers[strand - 1] > 1
        directions[strand + 1] = directions[strand] * (1 if has_helix else -1)
    return directions


def _usual_orientations(order: Sequence[int], numbers: Sequence[int]) -> tuple[Direction, ...]:
    directions = _usual_directions(max(order), numbers)
    return tuple(
        "parallel" if directions[one] == directions[other] else "antiparallel"
        for one, other in pairwise(order)
    )
