"""A real fold bent to a blueprint.

The work is done on CA traces, and only the result is smoothed: elements keep their real shapes,
are cut or continued as ideal helices and strands and lie where the guide has them; loops of
unchanged length are copied, others follow the guide with the steps of a real chain, or are real
loops that bridge the ends where it knows nothing. So the axis curve has the speed and bending of
real chains, and a blueprint that equals that of the fold gives the fold's own curve back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.design.ideal_elements import ideal_trace
from protein_lab.design.loop_library import ANCHORS, LoopLibrary
from protein_lab.design.paths import coil, even_steps, hermite
from protein_lab.design.pieces import Piece, is_copied
from protein_lab.design.placement import Anchor, Neighbor, Surroundings, place
from protein_lab.design.relaxation import Bridge, relax
from protein_lab.geometry import superimpose
from protein_lab.typing import FloatArray

_COPY_TOLERANCE: Final = 1.5
"""A copied loop is bent when its ends moved by less than this, and replaced otherwise."""

_LEAST_SPAN: Final = 0.6
"""An element follows a path that no real element lies on when this share of its length fits."""

_LEAST_KNOWN: Final = 3
"""Residues of the guide that fix the place of an element."""


def warp_trace(
    query: ElementTable,
    pieces: list[Piece],
    ca: FloatArray,
    guide: FloatArray,
    loops: LoopLibrary,
    rng: np.random.Generator,
    spread: float = 0.3,
) -> FloatArray:
    """Bend a real fold to a blueprint.

    Parameters
    ----------
    query : ElementTable
        The blueprint, as a table of one chain.
    pieces : list of Piece
        Elements of the blueprint, laid on those of the fold; their traces are moved.
    ca : ndarray, shape=(residue, 3)
        CA of the real chain, angstrom.
    guide : ndarray, shape=(length, 3)
        Where the residues should lie about, angstrom; NaN where nothing is known.
    loops : LoopLibrary
        Real loops.
    rng : Generator
        Varies the loops, and the places of elements that were not aligned.
    spread : float
        How much loops may fit worse than the best, angstrom.

    Returns
    -------
    ndarray, shape=(length, 3)
        CA trace, angstrom.
    """
    length = int(query.length[0])
    if not pieces:
        return coil(length, rng)
    _follow(pieces, guide)
    _place_missing(pieces, query, loops, rng)
    bridges = [
        Bridge(k, k + 1, *_range(pieces[k], pieces[k + 1], loops)) for k in range(len(pieces) - 1)
    ]
    traces = [piece.trace for piece in pieces if piece.trace is not None]
    chain = np.full((length, 3), np.nan)
    for piece, trace in zip(pieces, relax(traces, bridges), strict=True):
        chain[piece.start : piece.stop] = trace
    for first, second in pairwise(pieces):
        _fill_loop(chain, first, second, ca, guide, loops, rng, spread)
    _fill_tail(chain, pieces[0], guide, loops, rng, at_start=True)
    _fill_tail(chain, pieces[-1], guide, loops, rng, at_start=False)
    return chain


def _follow(pieces: list[Piece], guide: FloatArray) -> None:
    """Move the elements to where the guide has them; lay those that have no trace along it."""
    for piece in pieces:
        goal = guide[piece.start : piece.stop]
        known = np.isfinite(goal[:, 0])
        trace = piece.trace
        if trace is None:
            trace = ideal_trace(piece.kind, piece.stop - piece.start)
            if not known.all() or _span(goal) < _LEAST_SPAN * _span(trace):
                continue
        if known.sum() >= _LEAST_KNOWN:
            rotation, shift = superimpose(trace[known], goal[known])
            piece.trace = trace @ rotation.T + shift


def _span(trace: FloatArray) -> float:
    """Distance of the ends, angstrom."""
    return float(np.linalg.norm(trace[-1] - trace[0]))


def _range(first: Piece, second: Piece, loops: LoopLibrary) -> tuple[float, float]:
    """Distances that the loop between two elements can bridge; those of a copied loop always."""
    low, high = loops.reach(second.start - first.stop)
    if is_copied(first, second) and first.trace is not None and second.trace is not None:
        native = float(np.linalg.norm(first.trace[-1] - second.trace[0]))
        return min(low, native), max(high, native)
    return low, high


def _place_missing(
    pieces: list[Piece], query: ElementTable, loops: LoopLibrary, rng: np.random.Generator
) -> None:
    """Give a place to elements that have none, those beside placed ones first."""
    while missing := [k for k, piece in enumerate(pieces) if piece.trace is None]:
        placed = [k for k, piece in enumerate(pieces) if piece.trace is not None]
        # Named partners first, then neighbors along the chain.
        k = max(
            missing,
            key=lambda m: (
                sum(query.pairs[0, m, p] > 0 for p in placed),
                -min((abs(m - p) for p in placed), default=0),
            ),
        )
        around = Surroundings(
            np.concatenate([_trace(pieces[p]) for p in placed]) if placed else np.zeros((0, 3)),
            tuple(
                Neighbor(_trace(pieces[p]), pieces[p].kind, int(query.pairs[0, k, p]))
                for p in placed
                if query.pairs[0, k, p] > 0
            ),
            _anchors(pieces, k, placed, loops),
        )
        piece = pieces[k]
        piece.trace = place(ideal_trace(piece.kind, piece.stop - piece.start), around, rng)


def _trace(piece: Piece) -> FloatArray:
    return np.zeros((0, 3)) if piece.trace is None else piece.trace


def _anchors(
    pieces: list[Piece], k: int, placed: list[int], loops: LoopLibrary
) -> tuple[Anchor, ...]:
    """List the placed ends before and after, with the reach of what lies between."""
    anchors = []
    before = [p for p in placed if p < k]
    after = [p for p in placed if p > k]
    if before:
        gap = pieces[k].start - pieces[before[-1]].stop
        anchors.append(Anchor(_trace(pieces[before[-1]])[-1], loops.reach(gap)[1], True))
    if after:
        gap = pieces[after[0]].start - pieces[k].stop
        anchors.append(Anchor(_trace(pieces[after[0]])[0], loops.reach(gap)[1], False))
    return tuple(anchors)


def _fill_loop(
    chain: FloatArray,
    first: Piece,
    second: Piece,
    ca: FloatArray,
    guide: FloatArray,
    loops: LoopLibrary,
    rng: np.random.Generator,
    spread: float,
) -> None:
    """Write the loop between two elements into the chain."""
    start, stop = first.stop, second.start
    size = stop - start
    if size == 0:
        return
    if is_copied(first, second) and first.shift is not None:
        real = ca[start - 1 + first.shift : stop + 1 + first.shift]
        moved = (chain[start - 1] - real[0], chain[stop] - real[-1])
        if max(np.linalg.norm(moved[0]), np.linalg.norm(moved[1])) < _COPY_TOLERANCE:
            along = (np.arange(1, size + 1) / (size + 1))[:, None]
            chain[start:stop] = real[1:-1] + (1 - along) * moved[0] + along * moved[1]
            return
    if np.isfinite(guide[start:stop]).all():
        chain[start:stop] = even_steps(guide[start:stop], chain[start - 1], chain[stop], rng)
        return
    others = np.concatenate([chain[: start - ANCHORS], chain[stop + ANCHORS :]])
    others = others[np.isfinite(others[:, 0])]
    before, after = chain[start - ANCHORS : start], chain[stop : stop + ANCHORS]
    loop = loops.close(before, after, size, others, rng, spread)
    chain[start:stop] = hermite(before, after, size) if loop is None else loop


def _fill_tail(
    chain: FloatArray,
    piece: Piece,
    guide: FloatArray,
    loops: LoopLibrary,
    rng: np.random.Generator,
    at_start: bool,
) -> None:
    """Write what comes before the first or after the last element: the real tail, then more."""
    if at_start:
        # The chain reversed has its start where it has its end.
        size = piece.start
        edge = chain[piece.start :: 1][:ANCHORS][::-1]
        led = guide[: piece.start][::-1] - guide[piece.start] + chain[piece.start]
    else:
        size = len(chain) - piece.stop
        edge = chain[piece.stop - ANCHORS : piece.stop]
        led = guide[piece.stop :] - guide[piece.stop - 1] + chain[piece.stop - 1]
    real = led[: int(np.cumprod(np.isfinite(led[:, 0])).sum())]
    if size == 0:
        return
    edge = np.concatenate([edge, real])[-ANCHORS:]
    others = chain[np.isfinite(chain[:, 0])]
    rest = loops.tail(edge, size - len(real), others, rng, reverse=at_start)
    tail = np.concatenate([real, rest])
    if at_start:
        chain[:size] = tail[::-1]
    else:
        chain[-size:] = tail
