"""How much helix, strand and loop a chain has, and how many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import msgspec

from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.secondary_structure import MIN_HELIX, MIN_STRAND, asked_elements
from protein_lab.typing import Fault, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

STATES: Final = {"helix": "H", "strand": "E", "loop": "L"}
"""Fields in percent, and the state that each speaks of."""

ELEMENTS: Final = {"helices": "H", "strands": "E"}
"""Fields that count elements, and their state."""

LEAST: Final = {"H": MIN_HELIX, "E": MIN_STRAND}
SHORTEST_LOOP: Final = 2
"""Residues of the tightest turn between two elements."""

PERCENT_STEP: Final = 10.0
"""Percentage points that weigh as much as one element too many or too few."""

INWARD: Final = 3.0
"""Percentage points that a blueprint stays inside the bounds, for ends of elements fray."""

Count = int | tuple[int, int]
"""A number of elements, or the fewest and the most."""


class _Part(NamedTuple):
    """One asked quantity: its field, value, bounds, unit and scale."""

    field: str
    value: float
    low: float
    high: float
    unit: str
    scale: float

    @property
    def margin(self) -> float:
        return min(self.value - self.low, self.high - self.value)


class Content(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="content",
):
    """Ask how much of the chain is helix, strand and loop, and for how many elements.

    Where the chain has them is left open. Judged by DSSP (Kabsch & Sander, Biopolymers 22, 1983);
    the shares are those by which CATH tells its classes (Michie et al., J. Mol. Biol. 262, 1996).

    Attributes
    ----------
    helix, strand, loop : (int, int) or None
        Least and most percent of the residues.
    helices, strands : int, (int, int) or None
        Number of helices of at least 4 and strands of at least 3 residues, or the fewest and most.
    """

    kind: ClassVar[str] = "content"

    helix: tuple[int, int] | None = None
    strand: tuple[int, int] | None = None
    loop: tuple[int, int] | None = None
    helices: Count | None = None
    strands: Count | None = None

    def bounds(self, field: str) -> tuple[int, int] | None:
        """Least and most that a field allows; None where it says nothing."""
        asked = getattr(self, field)
        return (asked, asked) if isinstance(asked, int) else asked

    def faults(self, path: str) -> list[Fault]:
        """Find reversed bounds, shares that cannot add up, and single strands."""
        if all(getattr(self, field) is None for field in (*STATES, *ELEMENTS)):
            return [
                Fault(
                    path=path,
                    message="Expected a share of helix, strand or loop, or a number of helices "
                    "or strands; got none.",
                    remedy='Write for example "helix": [30, 50].',
                )
            ]
        found = [
            fault
            for field in (*STATES, *ELEMENTS)
            for fault in _bound_faults(f"{path}.{field}", self.bounds(field), field in STATES)
        ]
        return found or [*self._sum_faults(path), *self._pair_faults(path)]

    def _sum_faults(self, path: str) -> Iterator[Fault]:
        shares = {field: self.bounds(field) for field in STATES}
        known = {field: bounds for field, bounds in shares.items() if bounds is not None}
        least = sum(low for low, _ in known.values())
        if least > 100:
            yield Fault(
                path=path,
                message=f"Expected shares that add up to 100 %, but the least of "
                f"{_and(known)} are {least} % together.",
                remedy="Lower one of the first numbers.",
            )
        most = sum(high for _, high in known.values())
        if len(known) == len(STATES) and most < 100:
            yield Fault(
                path=path,
                message=f"Expected shares that add up to 100 %, but the most of {_and(known)} "
                f"are {most} % together.",
                remedy="Raise one of the second numbers.",
            )

    def _pair_faults(self, path: str) -> Iterator[Fault]:
        for share, count in (("helix", "helices"), ("strand", "strands")):
            percent, number = self.bounds(share), self.bounds(count)
            if percent is None or number is None:
                continue
            if (percent[1] == 0 and number[0] > 0) or (percent[0] > 0 and number[1] == 0):
                yield Fault(
                    path=f"{path}.{count}",
                    message=f"Expected {share} and {count} to agree, but {percent[0]} to "
                    f"{percent[1]} % {share} and {number[0]} to {number[1]} {count} are asked.",
                    remedy="Change one of the two.",
                    # shares also count what is too short to be an element
                    severity="error" if number[0] > 0 else "warning",
                )
        strands = self.bounds("strands")
        if strands is not None and strands[1] == 1:
            yield Fault(
                path=f"{path}.strands",
                message="Expected no strand or at least 2, but at most 1 is asked; a strand is "
                "one only beside another.",
                remedy="Ask for at least 2 strands, or for none.",
                # a partner of two residues is no strand by itself
                severity="warning",
            )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find more than fits the chain, and what the asked states exclude."""
        longest = scope.longest
        if not longest:
            return []
        found = [*self._room_faults(path, longest)]
        if not found and scope.states and scope.shortest == longest:
            found += self._state_faults(path, scope.states.ljust(longest, "-"))
        return found

    def _room_faults(self, path: str, longest: int) -> Iterator[Fault]:
        counts = {field: self.bounds(field) or (0, 0) for field in ELEMENTS}
        number = sum(low for low, _ in counts.values())
        needed = sum(counts[field][0] * LEAST[ELEMENTS[field]] for field in ELEMENTS)
        needed += SHORTEST_LOOP * max(number - 1, 0)
        if needed > longest:
            yield Fault(
                path=f"{path}.{max(counts, key=lambda field: counts[field][0])}",
                message=f"Expected elements that fit {longest} residues, but {number} of the "
                f"shortest need {needed}.",
                remedy="Ask for fewer elements or a longer chain.",
            )
        for share, count in (("helix", "helices"), ("strand", "strands")):
            percent, asked = self.bounds(share), self.bounds(count)
            if percent is None or asked is None:
                continue
            shortest = asked[0] * LEAST[ELEMENTS[count]]
            if shortest > 0.01 * percent[1] * longest:
                yield Fault(
                    path=f"{path}.{count}",
                    message=f"Expected {count} that fit into {percent[1]} % of {longest} "
                    f"residues, but {asked[0]} need at least {shortest}.",
                    remedy=f"Ask for fewer {count} or more {share}.",
                )

    def _state_faults(self, path: str, states: str) -> Iterator[Fault]:
        """Find shares and numbers that asked states exclude."""
        open_residues = states.count("-")
        for field, state in STATES.items():
            percent = self.bounds(field)
            if percent is None:
                continue
            least = 100.0 * states.count(state) / len(states)
            most = least + 100.0 * open_residues / len(states)
            if least > percent[1] or most < percent[0]:
                yield Fault(
                    path=f"{path}.{field}",
                    message=f"Expected {percent[0]} to {percent[1]} % {field}, but the asked "
                    f"secondary structure gives {least:.0f} to {most:.0f} %.",
                    remedy="Change the share, or leave more residues open.",
                )
        for field, state in ELEMENTS.items():
            number = self.bounds(field)
            asked = _count(states, state)
            if number is not None and (
                asked > number[1] or (not open_residues and asked < number[0])
            ):
                yield Fault(
                    path=f"{path}.{field}",
                    message=f"Expected {number[0]} to {number[1]} {field}, but the asked "
                    f"secondary structure has {asked}.",
                    remedy="Change the number, or the secondary structure.",
                )

    def _parts(self, states: str) -> Iterator[_Part]:
        """Measure everything that is asked."""
        for field, state in STATES.items():
            asked = self.bounds(field)
            if asked is not None:
                percent = 100.0 * states.count(state) / len(states)
                yield _Part(field, percent, *asked, f"percent {field}", PERCENT_STEP)
        for field, state in ELEMENTS.items():
            asked = self.bounds(field)
            if asked is not None:
                yield _Part(field, _count(states, state), *asked, field, 1.0)

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure by DSSP; value, unit and margin are those of the part that is met worst."""
        from protein_lab.metrics import dssp

        require_length(protein, layout)
        parts = list(self._parts(dssp(protein.backbone)))
        worst = min(parts, key=lambda part: part.margin / part.scale)
        bound = worst.low if worst.value - worst.low < worst.high - worst.value else worst.high
        return Measurement(
            constraint=self.kind,
            value=worst.value,
            unit=worst.unit,
            target=float(bound),
            margin=worst.margin,
            verdict="pass" if worst.margin >= 0.0 else "fail",
            details="; ".join(
                f"{part.unit}: {part.value:.0f} of {part.low} to {part.high}" for part in parts
            ),
        )

    def blueprint_cost(self, states: str, pairs: Sequence[tuple[int, int, str]]) -> float:
        """Count elements, and tens of percentage points, by which a blueprint is off."""
        del pairs
        cost = 0.0
        for part in self._parts(states):
            room = 0.0
            if part.field in STATES:
                room = min(INWARD, 0.25 * (part.high - part.low))
            low = part.low + (room if part.low > 0 else 0.0)
            high = part.high - (room if part.high < 100 else 0.0)
            cost += max(low - part.value, part.value - high, 0.0) / part.scale
        return cost


def _count(states: str, state: str) -> int:
    """Count the elements of a state that are long enough to be one."""
    return sum(
        1
        for element in asked_elements(states)
        if element.kind == state and element.length >= LEAST[state]
    )


def _bound_faults(path: str, bounds: tuple[int, int] | None, is_share: bool) -> Iterator[Fault]:
    if bounds is None:
        return
    low, high = bounds
    if low > high:
        yield Fault(
            path=path,
            message=f"Expected the smaller number first, but got [{low}, {high}].",
            remedy=f"Write [{high}, {low}].",
        )
    elif low < 0 or (is_share and high > 100):
        yield Fault(
            path=path,
            message=f"Expected percent from 0 to 100, but got [{low}, {high}]."
            if is_share
            else f"Expected a number of at least 0, but got {low}.",
            remedy="Give the least and the most.",
        )


def _and(names: dict[str, tuple[int, int]]) -> str:
    return " and ".join(names)
