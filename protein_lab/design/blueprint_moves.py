"""Moves that make new topologies of known ones.

A blueprint of a real chain has the topology of that chain, however it is folded. Here its elements
keep their neighbors in space, but the chain visits them in another order, or one of them runs the
other way, is lost, or is doubled: what evolution does by permutation, swapping, inversion and
insertion (Grishin, 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from protein_lab.design.blueprint import Blueprint, Orientation, Pair, resize

MOST_MOVES: Final = 4
"""Moves at novelty 1."""

_FEWEST: Final = 3
_LOOP: Final = 4
_LEAST: Final = 2
_REVERSED: Final[dict[str, Orientation]] = {
    "parallel": "antiparallel", "antiparallel": "parallel", "crossing": "crossing",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parts:
    """A blueprint in pieces: elements by number, the order in which the chain visits them.

    Loops belong to places: ``loops[0]`` comes before the first element, ``loops[-1]`` after the
    last. Pairs name elements, whatever their place.
    """

    states: Mapping[int, str]
    order: list[int]
    loops: list[int]
    pairs: Mapping[frozenset[int], Orientation]

    @classmethod
    def of(cls, blueprint: Blueprint) -> _Parts:
        elements = blueprint.elements
        text = blueprint.secondary_structure
        # elements that touch would become one where they get another neighbor
        gaps = [max(later.start - item.stop, _LEAST) for item, later in pairwise(elements)]
        return cls(
            {n: text[item.start : item.stop] for n, item in enumerate(elements)},
            list(range(len(elements))),
            [elements[0].start, *gaps, len(text) - elements[-1].stop],
            {frozenset((pair.first, pair.second)): pair.orientation for pair in blueprint.pairs},
        )

    def blueprint(self) -> Blueprint:
        pieces = ["L" * self.loops[0]]
        for number, loop in zip(self.order, self.loops[1:], strict=True):
            pieces += [self.states[number], "L" * loop]
        place = {number: at for at, number in enumerate(self.order)}
        pairs = [
            Pair(min(place[n] for n in names), max(place[n] for n in names), orientation)
            for names, orientation in self.pairs.items()
        ]
        return Blueprint("".join(pieces), tuple(sorted(pairs, key=lambda p: (p.first, p.second))))


def _permute(parts: _Parts, rng: np.random.Generator) -> _Parts:
    """Begin the chain at another element and join the old ends."""
    cut = int(rng.integers(1, len(parts.order)))
    inner = parts.loops[1:-1]
    inner = [*inner[cut:], max(_LOOP, inner[cut - 1]), *inner[: cut - 1]]
    loops = [parts.loops[0], *inner, parts.loops[-1]]
    return _Parts(parts.states, parts.order[cut:] + parts.order[:cut], loops, parts.pairs)


def _swap(parts: _Parts, rng: np.random.Generator) -> _Parts:
    """Let two elements change places along the chain."""
    one, other = rng.choice(len(parts.order), 2, replace=False)
    order = list(parts.order)
    order[one], order[other] = order[other], order[one]
    return _Parts(parts.states, order, parts.loops, parts.pairs)


def _turn(parts: _Parts, rng: np.random.Generator) -> _Parts:
    """Let one element run the other way."""
    turned = int(rng.choice(parts.order))
    pairs: dict[frozenset[int], Orientation] = {
        names: _REVERSED[kind] if turned in names else kind for names, kind in parts.pairs.items()
    }
    return _Parts(parts.states, parts.order, parts.loops, pairs)


def _drop(parts: _Parts, rng: np.random.Generator) -> _Parts:
    """Lose the first or the last element."""
    if len(parts.order) <= _FEWEST:
        return parts
    first = bool(rng.integers(2))
    lost = parts.order[0 if first else -1]
    order = parts.order[1:] if first else parts.order[:-1]
    loops = parts.loops[1:] if first else parts.loops[:-1]
    pairs: dict[frozenset[int], Orientation] = {
        names: kind for names, kind in parts.pairs.items() if lost not in names
    }
    return _Parts({n: parts.states[n] for n in order}, order, loops, pairs)


def _double(parts: _Parts, rng: np.random.Generator) -> _Parts:
    """Put a copy of an element at an end of the chain, beside the one it was copied from."""
    source = int(rng.choice(parts.order))
    new = max(parts.states) + 1
    states = {**parts.states, new: parts.states[source]}
    kind: Orientation = "antiparallel" if rng.integers(2) else "parallel"
    # a strand has two sides, and a third neighbor would be asked to lie where another is
    beside = sum(source in names for names in parts.pairs)
    pairs: dict[frozenset[int], Orientation] = dict(parts.pairs)
    if beside < 2:
        pairs[frozenset((source, new))] = kind
    if rng.integers(2):
        order, loops = [new, *parts.order], [parts.loops[0], _LOOP, *parts.loops[1:]]
    else:
        order, loops = [*parts.order, new], [*parts.loops[:-1], _LOOP, parts.loops[-1]]
    return _Parts(states, order, loops, pairs)


_MOVES: Final[tuple[tuple[Callable[[_Parts, np.random.Generator], _Parts], float], ...]] = (
    (_permute, 0.3),
    (_swap, 0.3),
    (_turn, 0.2),
    (_drop, 0.1),
    (_double, 0.1),
)


def recombine(blueprint: Blueprint, novelty: float, rng: np.random.Generator) -> Blueprint:
    """Change the topology of a blueprint by moves of its elements.

    Parameters
    ----------
    blueprint : Blueprint
        Of a real chain.
    novelty : float
        0 changes nothing, 1 makes :data:`MOST_MOVES` moves; in between, on average as many as the
        share says.
    rng : Generator
        Draws the moves.

    Returns
    -------
    Blueprint
        Of the same length. With fewer than three elements it is returned as it is.
    """
    if len(blueprint.elements) < _FEWEST or novelty <= 0.0:
        return blueprint
    parts = _Parts.of(blueprint)
    chances = np.array([share for _, share in _MOVES])
    for _ in range(int(rng.binomial(MOST_MOVES, min(novelty, 1.0)))):
        move, _ = _MOVES[rng.choice(len(_MOVES), p=chances / chances.sum())]
        parts = move(parts, rng)
    return resize(parts.blueprint(), blueprint.length, rng)
