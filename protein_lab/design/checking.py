"""What can be wrong in a request although every value has the right type.

All functions take parts that could not be read as ``None`` and pass over them: their faults are
known already, and guessing at them would only add misleading ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING, Final

from protein_lab.constants import CA_CA_TRANS, MAX_LENGTH, MIN_LENGTH
from protein_lab.constraints.base import Constraint, Placing, Scope, Scoped, has_errors
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import (
    MIN_HELIX,
    MIN_STRAND,
    AskedElement,
    AskedStates,
    SecondaryStructure,
    asked_elements,
    asked_states,
)
from protein_lab.constraints.segments import Segments
from protein_lab.constraints.topology import Topology
from protein_lab.design.density import density_faults
from protein_lab.design.length_range import length_warning
from protein_lab.design.optimizer_options import optimizer_faults
from protein_lab.design.pairing_checks import contradictions, naming_faults
from protein_lab.design.placing_checks import is_whole, placed_lengths, placing_faults
from protein_lab.design.sequence_bias import bias_faults
from protein_lab.design.site_checks import shared_residue_faults
from protein_lab.typing import Fault

if TYPE_CHECKING:
    from protein_lab.design.request import DesignRequest
    from protein_lab.design.sequence_options import SequenceOptions

HELIX_TURN: Final = 4
"""Residues at the beginning of a helix that donate no hydrogen bond, so that proline fits."""

RISE: Final = {"H": 1.5, "E": 3.3}
"""Angstrom a residue along the axis of a helix and of a strand."""

PACKING_DISTANCE: Final = {"H": 8.0, "E": 4.8}
"""Closest distance in angstrom of the axes of two paired helices, and of two paired strands."""


def request_faults(request: DesignRequest, *, length_known: bool = True) -> list[Fault]:
    """Find everything that contradicts itself or cannot be built.

    Parameters
    ----------
    request : DesignRequest
        May hold ``None`` where a value could not be read.
    length_known : bool
        False when the length is ``None`` because it could not be read.

    Returns
    -------
    list of Fault
        Errors and warnings, in the order of the document.
    """
    constraints = list(enumerate(request.constraints or ()))
    asked = [
        (f"$.constraints[{number}]", constraint)
        for number, constraint in constraints
        if isinstance(constraint, SecondaryStructure)
    ]
    pairings = [
        (f"$.constraints[{number}]", constraint)
        for number, constraint in constraints
        if isinstance(constraint, Pairing)
    ]
    unreadable = request.constraints is None or any(item is None for _, item in constraints)
    others = [
        (f"$.constraints[{number}]", constraint)
        for number, constraint in constraints
        if constraint is not None and not isinstance(constraint, SecondaryStructure | Pairing)
    ]
    faults = [fault for path, item in asked for fault in item.faults(path)]
    faults += [fault for path, item in pairings for fault in item.faults(path)]
    letters_known = not faults
    laid = [(path, item) for path, item in others if isinstance(item, Segments)]
    is_placed = any(isinstance(item, Placing) for _, item in others)
    faults += _length_faults(request, asked, length_known and not unreadable and not is_placed)
    shortest = _shortest(request, asked, laid)
    faults += _extent_faults(request, asked, shortest)
    merged = asked_states(asked, max([shortest, *(item.extent for _, item in asked)]))
    faults += merged.faults
    faults += _laid_faults(asked, laid)
    elements, owned = _elements(merged, laid, letters_known)
    # A constraint that could not be read may hold the element that a pairing names.
    is_counted = elements is not None and not unreadable
    faults += naming_faults(pairings, len(elements or ()) if is_counted else None)
    if elements is not None:
        faults += _element_faults(elements, owned)
        faults += _pair_faults(elements, pairings, others) if is_counted else ()
        faults += _reach_faults(elements, pairings, owned)
    if laid:
        merged = AskedStates(laid[0][1].fixed_states if elements else "", (), ())
    known = merged.states if letters_known and not merged.faults else ""
    faults += _other_faults(request, others, shortest, known)
    faults += _sequence_faults(request.sequence, shortest, merged)
    faults += optimizer_faults(request)
    return faults


def _laid_faults(
    asked: Sequence[tuple[str, SecondaryStructure]], laid: Sequence[tuple[str, Segments]]
) -> Iterator[Fault]:
    """Find that the states of the chain are given twice."""
    given = [path for path, _ in (*asked, *laid)]
    for path, _ in laid:
        if len(given) > 1 and path != given[0]:
            yield Fault(
                path=path,
                message=f"Expected the states of the chain once, but {given[0]} gives them too.",
                remedy="Write all of them as segments, and leave residues open with state -.",
            )


def _pair_faults(
    elements: Sequence[AskedElement],
    pairings: Sequence[tuple[str, Pairing]],
    others: Sequence[tuple[str, Constraint]],
) -> Iterator[Fault]:
    """Find pairings that exclude one another, those that topologies mean included."""
    known = list(pairings)
    said = {frozenset((item.first, item.second)): (path, item) for path, item in pairings}
    for path, item in others:
        if not isinstance(item, Topology) or not item.order or None in item.order:
            continue
        if has_errors(item.faults(path)):
            continue
        own = item.element_faults(path, elements)
        yield from own
        if own or item.orientations is None or None in item.orientations:
            continue
        for number, meant in enumerate(item.pairings(elements)):
            where, other = said.get(frozenset((meant.first, meant.second)), ("", meant))
            if other.orientation != meant.orientation:
                yield Fault(
                    path=f"{path}.orientations[{number}]",
                    message=f"Strands {item.order[number]} and {item.order[number + 1]} are asked "
                    f"to be {meant.orientation} here, but {other.orientation} in {where}.",
                    remedy="Ask one of the two, or leave the pairing out.",
                )
            elif not where:
                known.append((f"{path}.order[{number}]", meant))
    yield from contradictions(elements, known)


def _elements(
    merged: AskedStates, laid: Sequence[tuple[str, Segments]], letters_known: bool
) -> tuple[Sequence[AskedElement] | None, AskedStates]:
    """Give the asked elements, None where they are not known, and who asks for them."""
    if not laid:
        sound = letters_known and not merged.faults
        return (asked_elements(merged.states) if sound else None), merged
    path, item = laid[0]
    if not item.is_readable or item.faults(path):
        return None, merged
    elements = item.outline()
    owners = [""] * max([0, *(element.stop for element in elements)])
    for element in elements:
        owners[element.start] = f"{path}.segments[{element.number - 1}]"
    return elements, AskedStates("", tuple(owners), ())


def _other_faults(
    request: DesignRequest,
    others: Sequence[tuple[str, Constraint]],
    shortest: int,
    states: str,
) -> Iterator[Fault]:
    """Ask all other families what is wrong with them, by themselves and in this chain."""
    bounds = _bounds(request) or _drawn_bounds(
        [(path, item) for path, item in others if isinstance(item, Segments)]
    )
    alone = [(path, item, item.faults(path)) for path, item in others]
    # what could not be read in part is None there, and the rest says nothing of the chain
    whole = {path: item for path, item, found in alone if not has_errors(found) and is_whole(item)}
    longest = min(max(*bounds, 0), MAX_LENGTH) if bounds else shortest
    shortest, longest = placed_lengths(list(whole.values()), shortest, longest)
    scope = Scope(shortest, longest, states)
    sound: list[tuple[str, Constraint]] = []
    for path, item, found in alone:
        yield from found
        if path not in whole:
            continue
        more = item.faults_in(path, scope) if isinstance(item, Scoped) else []
        yield from more
        if not has_errors(more):
            sound.append((path, item))
    yield from bias_faults(sound, request.sequence, shortest)
    yield from density_faults(sound, longest)
    yield from shared_residue_faults(sound)
    yield from placing_faults(sound)


def _bounds(request: DesignRequest) -> tuple[int, int] | None:
    length = request.length
    if isinstance(length, int):
        return (length, length)
    return length


def _drawn_bounds(laid: Sequence[tuple[str, Segments]]) -> tuple[int, int] | None:
    """Shortest and longest chain that segments make."""
    for path, item in laid:
        if item.is_readable and not item.faults(path):
            return item.lengths
    return None


def _strings(asked: Sequence[tuple[str, SecondaryStructure]]) -> list[tuple[str, str]]:
    return [(f"{path}.string", item.string) for path, item in asked if item.string is not None]


def _length_faults(
    request: DesignRequest, asked: Sequence[tuple[str, SecondaryStructure]], complete: bool
) -> Iterator[Fault]:
    bounds = _bounds(request)
    strings = _strings(asked)
    if bounds is None:
        if not strings and complete:
            yield Fault(
                path="$.length",
                message="Expected a length, or a secondary structure written as a string.",
                remedy='Add for example "length": 80, or a range such as "length": [70, 90].',
            )
        for path, string in strings:
            yield from _length_doubts(path, len(string), "letters")
        return
    if isinstance(request.length, int):
        yield from _length_doubts("$.length", request.length, "residues")
        return
    for number, bound in enumerate(bounds):
        yield from _length_doubts(f"$.length[{number}]", bound, "residues")
    if bounds[0] > bounds[1]:
        yield Fault(
            path="$.length",
            message=f"Expected the shorter length first, but got [{bounds[0]}, {bounds[1]}].",
            remedy=f"Write [{bounds[1]}, {bounds[0]}].",
        )


def _length_doubts(path: str, length: int, unit: str) -> Iterator[Fault]:
    # refused where it cannot be, warned of where nothing was trained on it
    if MIN_LENGTH <= length <= MAX_LENGTH:
        warning = length_warning(path, length)
        if warning is not None:
            yield warning
        return
    yield Fault(
        path=path,
        message=f"Expected {MIN_LENGTH} to {MAX_LENGTH} {unit}, but got {length}.",
        remedy="Longer chains are not designed; ask for one domain at a time."
        if length > MAX_LENGTH
        else "Shorter chains have no fold.",
    )


def _shortest(
    request: DesignRequest,
    asked: Sequence[tuple[str, SecondaryStructure]],
    laid: Sequence[tuple[str, Segments]],
) -> int:
    """Return the number of residues that every design has; 0 when nothing says it."""
    bounds = _bounds(request) or _drawn_bounds(laid)
    strings = _strings(asked)
    if strings:
        return len(strings[0][1])
    return min(max(min(bounds), 0), MAX_LENGTH) if bounds else 0


def _extent_faults(
    request: DesignRequest, asked: Sequence[tuple[str, SecondaryStructure]], shortest: int
) -> Iterator[Fault]:
    bounds = _bounds(request)
    strings = _strings(asked)
    for path, string in strings:
        if bounds and not min(bounds) <= len(string) <= max(bounds):
            wanted = str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]} to {bounds[1]}"
            yield Fault(
                path=path,
                message=f"Expected {wanted} letters, one a residue, but got {len(string)}.",
                remedy="Change the string or the length; leave residues open with -.",
            )
        elif len(string) != len(strings[0][1]):
            yield Fault(
                path=path,
                message=f"Expected as many letters as in {strings[0][0]} "
                f"({len(strings[0][1])}), but got {len(string)}.",
                remedy="Make the strings equally long.",
            )
    if not shortest:
        return
    for path, item in asked:
        for number, part in enumerate(item.ranges or ()):
            for name in ("start", "stop"):
                place = None if part is None else getattr(part, name)
                if place is not None and place > shortest:
                    yield Fault(
                        path=f"{path}.ranges[{number}].{name}",
                        message=f"Expected a residue from 1 to {shortest}, but got {place}.",
                        remedy="Make the chain longer or the range shorter.",
                    )


def _element_faults(elements: Sequence[AskedElement], merged: AskedStates) -> Iterator[Fault]:
    for element in elements:
        least = MIN_HELIX if element.kind == "H" else MIN_STRAND
        if element.length < least:
            name = "helix" if element.kind == "H" else "strand"
            yield Fault(
                path=merged.owners[element.start],
                message=f"Expected a {name} of at least {least} residues, but {element} has "
                f"{element.length}.",
                remedy=f"Make the {name} longer, or ask for loop there.",
            )


def _reach_faults(
    elements: Sequence[AskedElement],
    pairings: Sequence[tuple[str, Pairing]],
    merged: AskedStates,
) -> Iterator[Fault]:
    """Warn where a loop cannot span the distance between the ends it joins."""
    orientations = {
        (min(item.first, item.second), max(item.first, item.second)): item.orientation
        for _, item in pairings
        if None not in (item.first, item.second, item.orientation)
    }
    for number, (before, after) in enumerate(pairwise(elements), start=1):
        gap = after.start - before.stop
        orientation = orientations.get((number, number + 1))
        if orientation is None:
            # real chains bend between a helix and a strand that touch
            continue
        reach = CA_CA_TRANS * (gap + 1)
        needed = _needed_reach(before, after, orientation)
        if reach < needed:
            least = int(-(-needed // CA_CA_TRANS)) - 1
            yield Fault(
                path=merged.owners[after.start],
                message=f"{before} and {after}, paired {orientation}, are joined by {gap} "
                f"residues, which reach {reach:.1f} angstrom; about {needed:.1f} are needed.",
                remedy=f"Leave at least {least} residues between them.",
                severity="warning",
            )


def _needed_reach(before: AskedElement, after: AskedElement, orientation: str) -> float:
    """Distance in angstrom that the loop between two successive paired elements has to span."""
    apart = max(PACKING_DISTANCE[before.kind], PACKING_DISTANCE[after.kind])
    if orientation != "parallel":
        return apart
    return hypot(apart, min(RISE[item.kind] * item.length for item in (before, after)))


def _sequence_faults(
    options: SequenceOptions | None, shortest: int, merged: AskedStates
) -> Iterator[Fault]:
    """Find what contradicts itself in the options, and prolines that break asked helices."""
    if options is None:
        return
    yield from options.faults("$.sequence", shortest)
    for number, item in enumerate(options.fixed or ()):
        if item is None or item.residue != "P" or item.position is None:
            continue
        before = merged.states[max(item.position - HELIX_TURN - 1, 0) : item.position]
        if before == "H" * (HELIX_TURN + 1):
            yield Fault(
                path=f"$.sequence.fixed[{number}]",
                message=f"A proline at residue {item.position} breaks the helix asked there.",
                remedy=f"Only the first {HELIX_TURN} residues of a helix have room for one: fix "
                "another residue, or ask for loop there.",
                severity="warning",
            )
