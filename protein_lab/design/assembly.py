"""Curves for blueprints that no single fold covers: domains side by side.

A long blueprint is cut in its loops into domains of usual size, where the fewest pairs are cut;
each is searched and bent by itself, and they are joined end to end in the most compact way that
lets none of them overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from protein_lab.design.blueprint import Blueprint, Element, Pair
from protein_lab.design.placement import Surroundings, attach
from protein_lab.typing import FloatArray

_DOMAIN: Final = 130
"""Residues of a domain that is neither too small to be found nor too large to be matched."""

_CUT_PAIR: Final = 1.0
_CUT_LOOP: Final = 0.05
_SIZE: Final = 2.0


def partition(blueprint: Blueprint) -> list[tuple[int, int]]:
    """Cut a blueprint in loops into domains.

    Parameters
    ----------
    blueprint : Blueprint
        With at least one element.

    Returns
    -------
    list of (start, stop)
        Residue ranges that cover the chain, each with at least one element.
    """
    elements = blueprint.elements
    count = len(elements)
    crossing = np.zeros(count + 1)
    for pair in blueprint.pairs:
        crossing[pair.first + 1 : pair.second + 1] += 1
    middle = [0, *(_between(a, b) for a, b in pairwise(elements))]
    middle.append(blueprint.length)
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    came = np.zeros(count + 1, dtype=int)
    for stop in range(1, count + 1):
        for start in range(stop):
            size = middle[stop] - middle[start]
            cost = best[start] + _SIZE * (np.log(size / _DOMAIN)) ** 2
            if start > 0:
                loop = elements[start].start - elements[start - 1].stop
                cost += _CUT_PAIR * crossing[start] - _CUT_LOOP * loop
            if cost < best[stop]:
                best[stop], came[stop] = cost, start
    cuts = [count]
    while cuts[-1] > 0:
        cuts.append(int(came[cuts[-1]]))
    edges = [middle[cut] for cut in reversed(cuts)]
    return list(pairwise(edges))


def _between(first: Element, second: Element) -> int:
    return (first.stop + second.start) // 2


def part_of(blueprint: Blueprint, start: int, stop: int) -> Blueprint:
    """Cut a stretch out of a blueprint, with the pairs that lie inside.

    Parameters
    ----------
    blueprint : Blueprint
        The whole.
    start, stop : int
        Residues, half-open; not inside an element.

    Returns
    -------
    Blueprint
        With its own numbers of elements.
    """
    inside = [k for k, e in enumerate(blueprint.elements) if start <= e.start and e.stop <= stop]
    number = {element: k for k, element in enumerate(inside)}
    pairs = tuple(
        Pair(number[pair.first], number[pair.second], pair.orientation)
        for pair in blueprint.pairs
        if pair.first in number and pair.second in number
    )
    return Blueprint(blueprint.secondary_structure[start:stop], pairs)


def join_domains(traces: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    """Join domains end to end.

    Parameters
    ----------
    traces : sequence of ndarray, shape=(residue, 3)
        CA of the domains in order of the chain, angstrom.
    rng : Generator
        Draws how each lies to those before.

    Returns
    -------
    ndarray, shape=(length, 3)
        CA of the whole chain.
    """
    chain = np.asarray(traces[0], dtype=np.float64)
    for trace in traces[1:]:
        chain = np.concatenate([chain, attach(trace, Surroundings(chain), rng)])
    return chain
