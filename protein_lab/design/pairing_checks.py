"""What can be wrong in the pairings of a request, taken together.

Pairings that could not be read carry ``None`` and are passed over, as in ``design.checking``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import AskedElement
from protein_lab.typing import Fault

EDGES: Final = 2
"""Strands that lie beside a strand in one sheet. Of the strands in the corpus 3 % have more."""

STRAND_LIMIT: Final = 90.0
HELIX_LIMIT: Final = 45.0
"""Degrees by which parallel or antiparallel axes may differ from being exactly so."""

_MANY: Final = 20
"""Circles after which looking for more helps nobody."""

Asked = Sequence[tuple[str, Pairing]]
"""Pairings with their JSON paths."""


def naming_faults(pairings: Asked, count: int | None) -> Iterator[Fault]:
    """Find pairings of elements that are not there, and of the same two elements.

    Parameters
    ----------
    pairings : sequence of (path, Pairing)
    count : int or None
        Number of asked elements; None when it is not known.

    Yields
    ------
    Fault
    """
    seen: dict[tuple[int, int], tuple[str, str]] = {}
    for path, pairing in pairings:
        for name in ("first", "second"):
            element = getattr(pairing, name)
            if count is not None and element is not None and element > count:
                yield Fault(
                    path=f"{path}.{name}",
                    message=f"Expected an element from 1 to {count}, but got {element}."
                    if count
                    else f"Element {element} is named, but the request asks for no element.",
                    remedy="Elements are the asked helices and strands, counted along the chain.",
                )
        if None in (pairing.first, pairing.second, pairing.orientation):
            continue
        key = (min(pairing.first, pairing.second), max(pairing.first, pairing.second))
        if key in seen:
            other, orientation = seen[key]
            same = orientation == pairing.orientation
            yield Fault(
                path=path,
                message=f"Elements {key[0]} and {key[1]} are paired twice: {other} says "
                f"{orientation} too."
                if same
                else f"Elements {key[0]} and {key[1]} are asked to be {pairing.orientation} here, "
                f"but {orientation} in {other}.",
                remedy="Keep one of the two.",
            )
        seen.setdefault(key, (path, pairing.orientation))


def contradictions(elements: Sequence[AskedElement], pairings: Asked) -> Iterator[Fault]:
    """Find pairings that exclude one another, or that real chains hardly ever have together.

    Parameters
    ----------
    elements : sequence of AskedElement
        All elements that the request asks for.
    pairings : sequence of (path, Pairing)
        Those that name no such element, or one twice, are passed over.

    Yields
    ------
    Fault
        Errors where the definition of the orientations excludes the combination, warnings where
        it is only unusual.
    """
    known = [
        (path, item)
        for path, item in pairings
        if None not in (item.first, item.second, item.orientation)
        and item.first != item.second
        and max(item.first, item.second) <= len(elements)
    ]
    yield from _crossing_strands(elements, known)
    yield from _crowded_strands(elements, known)
    yield from _circles(elements, known)


def _joins_strands(elements: Sequence[AskedElement], pairing: Pairing) -> bool:
    return all(elements[number - 1].kind == "E" for number in (pairing.first, pairing.second))


def _crossing_strands(elements: Sequence[AskedElement], pairings: Asked) -> Iterator[Fault]:
    for path, pairing in pairings:
        if pairing.orientation == "crossing" and _joins_strands(elements, pairing):
            yield Fault(
                path=f"{path}.orientation",
                message=f"Elements {pairing.first} and {pairing.second} are strands; strands "
                "beside each other are parallel or antiparallel, never crossing.",
                remedy="Write parallel or antiparallel; sheets twist by themselves.",
            )


def _crowded_strands(elements: Sequence[AskedElement], pairings: Asked) -> Iterator[Fault]:
    neighbors: dict[int, set[int]] = {}
    for path, pairing in pairings:
        if not _joins_strands(elements, pairing):
            continue
        for own, other in ((pairing.first, pairing.second), (pairing.second, pairing.first)):
            beside = neighbors.setdefault(own, set())
            if other in beside:
                continue
            beside.add(other)
            if len(beside) == EDGES + 1:
                listed = ", ".join(str(number) for number in sorted(beside))
                yield Fault(
                    path=path,
                    message=f"Element {own}, {elements[own - 1]}, is paired with the strands "
                    f"{listed}; a strand has two edges, and 3 % of real strands have more "
                    "neighbors.",
                    remedy="Leave out one of these pairings.",
                    severity="warning",
                )


def _circles(elements: Sequence[AskedElement], pairings: Asked) -> Iterator[Fault]:
    """Find circles of pairings that turn a direction into its opposite."""
    graph: dict[int, dict[int, Pairing]] = {}
    found = 0
    # With the direction of one element of a group those of all others are given.
    group: dict[int, int] = {}
    sign: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for path, pairing in pairings:
        first, second = pairing.first, pairing.second
        if pairing.orientation == "crossing" or second in graph.get(first, {}):
            continue
        for number in (first, second):
            if number not in group:
                group[number], sign[number], members[number] = number, 1, [number]
        wanted = 1 if pairing.orientation == "parallel" else -1
        if group[first] == group[second]:
            if sign[first] * sign[second] != wanted:
                circle = [*_way(graph, first, second), pairing]
                yield _circle_fault(path, elements, circle)
                found += 1
                if found == _MANY:
                    return
                continue
        else:
            kept, joined = group[first], group[second]
            turn = wanted * sign[first] * sign[second]
            for number in members[joined]:
                group[number], sign[number] = kept, sign[number] * turn
            members[kept] += members.pop(joined)
        graph.setdefault(first, {})[second] = pairing
        graph.setdefault(second, {})[first] = pairing


def _way(graph: dict[int, dict[int, Pairing]], start: int, stop: int) -> list[Pairing]:
    """Give the shortest way from one element to another that is joined to it."""
    came: dict[int, int] = {start: start}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for following in graph[here]:
            if following not in came:
                came[following] = here
                waiting.append(following)
    numbers = [stop]
    while numbers[-1] != start:
        numbers.append(came[numbers[-1]])
    return [graph[one][other] for one, other in pairwise(reversed(numbers))]


def _circle_fault(path: str, elements: Sequence[AskedElement], circle: Sequence[Pairing]) -> Fault:
    limits = [STRAND_LIMIT if _joins_strands(elements, item) else HELIX_LIMIT for item in circle]
    asked = ", ".join(f"{item.first}-{item.second} {item.orientation}" for item in circle)
    # Around the circle the axes must turn by 180 degrees in all, each pair by less than its limit.
    is_excluded = sum(limits) <= 180.0
    return Fault(
        path=path,
        message=f"The orientations {asked} "
        + (
            "cannot hold together: around the circle a direction becomes its opposite."
            if is_excluded
            else "turn a direction into its opposite around the circle, which few chains do."
        ),
        remedy="Change the orientation of one of these pairings, or leave one out.",
        severity="error" if is_excluded else "warning",
    )
