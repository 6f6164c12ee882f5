"""A real fold bent to a blueprint.

The work is done on CA traces, and only the result is smoothed: elements keep the real coordinates
and are cut or continued as ideal helices and strands, loops of unchanged length are copied, others
are real loops that bridge the ends. So the axis curve has the speed and bending of real chains,
and a blueprint that equals that of the fold gives the fold's own curve back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.design.ideal_elements import extend, ideal_trace
from protein_lab.design.loop_library import ANCHORS, LoopLibrary
from protein_lab.design.placement import Anchor, Neighbor, Surroundings, place
from protein_lab.design.registration import residue_shifts
from protein_lab.design.relaxation import Bridge, relax
from protein_lab.typing import FloatArray

_NATIVE_OVERHANG: Final = 1
"""An element may take this many residues of the real loop beside it before it is continued."""

_COPY_TOLERANCE: Final = 1.5
"""A copied loop is bent when its ends moved by less than this, and replaced otherwise."""


@dataclass(slots=True, eq=False)
class _Piece:
    """One element of the blueprint while its chain is built.

    ``shift`` leads to residues of the real chain, None where no real element was aligned;
    ``before`` and ``after`` are residues that continue the real element.
    """

    start: int
    stop: int
    kind: int
    trace: FloatArray | None = None
    shift: int | None = None
    before: int = 0
    after: int = 0


def warp_trace(
    query: ElementTable,
    found: ElementTable,
    ca: FloatArray,
    element_map: tuple[int, ...],
    loops: LoopLibrary,
    rng: np.random.Generator,
    spread: float = 0.3,
) -> FloatArray:
    """Bend a real fold to a blueprint.

    Parameters
    ----------
    query, found : ElementTable
        The blueprint and the real chain, a table of one chain each.
    ca : ndarray, shape=(residue, 3)
        CA of the real chain, angstrom.
    element_map : tuple of int
        Element of the real chain for each of the blueprint, ascending; -1 for none.
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
    pieces = _pieces(query, found, ca, element_map)
    if not pieces:
        return coil(length, rng)
    _place_missing(pieces, query, loops, rng)
    bridges = [
        Bridge(k, k + 1, *_range(pieces[k], pieces[k + 1], loops)) for k in range(len(pieces) - 1)
    ]
    traces = [piece.trace for piece in pieces if piece.trace is not None]
    chain = np.full((length, 3), np.nan)
    for piece, trace in zip(pieces, relax(traces, bridges), strict=True):
        chain[piece.start : piece.stop] = trace
    for first, second in pairwise(pieces):
        _fill_loop(chain, first, second, ca, loops, rng, spread)
    _fill_tail(chain, pieces[0], ca, loops, rng, at_start=True)
    _fill_tail(chain, pieces[-1], ca, loops, rng, at_start=False)
    return chain


def _pieces(
    query: ElementTable, found: ElementTable, ca: FloatArray, element_map: tuple[int, ...]
) -> list[_Piece]:
    """Elements of the blueprint with the real traces of those that were aligned."""
    pieces = [
        _Piece(int(start), int(stop), int(kind))
        for kind, start, stop in zip(query.kind[0], query.start[0], query.stop[0], strict=True)
        if kind >= 0
    ]
    aligned = [(piece, j) for piece, j in zip(pieces, element_map, strict=True) if j >= 0]
    if not aligned:
        return pieces
    spans = [(int(found.start[0, j]), int(found.stop[0, j])) for _, j in aligned]
    shifts = residue_shifts([(piece.start, piece.stop) for piece, _ in aligned], spans)
    for (piece, _), (start, stop), shift in zip(aligned, spans, shifts, strict=True):
        first, last = piece.start + int(shift), piece.stop + int(shift)
        low = max(first, start - _NATIVE_OVERHANG, 0)
        high = min(last, stop + _NATIVE_OVERHANG, len(ca))
        if first < low or low > start:
            low = max(first, start)
        if last > high or high < stop:
            high = min(last, stop)
        piece.shift, piece.before, piece.after = int(shift), low - first, last - high
        piece.trace = extend(ca[low:high].astype(np.float64), piece.kind, piece.before, piece.after)
    return pieces


def _range(first: _Piece, second: _Piece, loops: LoopLibrary) -> tuple[float, float]:
    """Distances that the loop between two elements can bridge; those of a copied loop always."""
    low, high = loops.reach(second.start - first.stop)
    if _copied(first, second) and first.trace is not None and second.trace is not None:
        native = float(np.linalg.norm(first.trace[-1] - second.trace[0]))
        return min(low, native), max(high, native)
    return low, high


def _copied(first: _Piece, second: _Piece) -> bool:
    """Whether the loop between two elements is that of the real chain."""
    same = first.shift is not None and first.shift == second.shift
    return same and first.after == 0 and second.before == 0


def _place_missing(
    pieces: list[_Piece], query: ElementTable, loops: LoopLibrary, rng: np.random.Generator
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


def _trace(piece: _Piece) -> FloatArray:
    return np.zeros((0, 3)) if piece.trace is None else piece.trace


def _anchors(
    pieces: list[_Piece], k: int, placed: list[int], loops: LoopLibrary
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
    first: _Piece,
    second: _Piece,
    ca: FloatArray,
    loops: LoopLibrary,
    rng: np.random.Generator,
    spread: float,
) -> None:
    """Write the loop between two elements into the chain."""
    start, stop = first.stop, second.start
    size = stop - start
    if size == 0:
        return
    if _copied(first, second) and first.shift is not None:
        real = ca[start - 1 + first.shift : stop + 1 + first.shift]
        moved = (chain[start - 1] - real[0], chain[stop] - real[-1])
        if max(np.linalg.norm(moved[0]), np.linalg.norm(moved[1])) < _COPY_TOLERANCE:
            along = (np.arange(1, size + 1) / (size + 1))[:, None]
            chain[start:stop] = real[1:-1] + (1 - along) * moved[0] + along * moved[1]
            return
    others = np.concatenate([chain[: start - ANCHORS], chain[stop + ANCHORS :]])
    others = others[np.isfinite(others[:, 0])]
    before, after = chain[start - ANCHORS : start], chain[stop : stop + ANCHORS]
    loop = loops.close(before, after, size, others, rng, spread)
    chain[start:stop] = hermite(before, after, size) if loop is None else loop


def hermite(before: FloatArray, after: FloatArray, size: int) -> FloatArray:
    """Smooth path between two ends, for loops longer than any real one.

    Parameters
    ----------
    before, after : ndarray, shape=(3, 3)
        The last three CA before and the first three after, angstrom.
    size : int
        Residues in between.

    Returns
    -------
    ndarray, shape=(size, 3)
        Points of a cubic Hermite spline that bulges more the longer it has to be.
    """
    start, stop = before[-1], after[0]
    pull = 0.75 * 3.0 * (size + 1)
    first, last = before[-1] - before[0], after[-1] - after[0]
    first = pull * first / max(float(np.linalg.norm(first)), 1e-6)
    last = pull * last / max(float(np.linalg.norm(last)), 1e-6)
    t = (np.arange(1, size + 1) / (size + 1))[:, None]
    return (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * first
        + (3 * t**2 - 2 * t**3) * stop
        + (t**3 - t**2) * last
    )


def _fill_tail(
    chain: FloatArray,
    piece: _Piece,
    ca: FloatArray,
    loops: LoopLibrary,
    rng: np.random.Generator,
    at_start: bool,
) -> None:
    """Write what comes before the first or after the last element: the real tail, then more."""
    if at_start:
        # The chain reversed has its start where it has its end.
        size = piece.start
        edge = chain[piece.start :: 1][:ANCHORS][::-1]
        real = np.zeros((0, 3))
        if piece.shift is not None:
            first = piece.start + piece.shift + piece.before
            real = ca[max(0, first - size) : first][::-1] - ca[first] + chain[piece.start]
    else:
        size = len(chain) - piece.stop
        edge = chain[piece.stop - ANCHORS : piece.stop]
        real = np.zeros((0, 3))
        if piece.shift is not None:
            last = piece.stop + piece.shift - piece.after
            real = ca[last : last + size] - ca[last - 1] + chain[piece.stop - 1]
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


def coil(length: int, rng: np.random.Generator) -> FloatArray:
    """Compact random path for a chain without any helix or strand.

    Parameters
    ----------
    length : int
        Residues.
    rng : Generator
        Draws the path.

    Returns
    -------
    ndarray, shape=(length, 3)
        CA trace with 3.8 angstrom steps that avoid each other, angstrom.
    """
    points = np.zeros((length, 3))
    heading = np.array([1.0, 0.0, 0.0])
    for i in range(1, length):
        steps = rng.standard_normal((24, 3)) + heading
        steps *= 3.8 / np.linalg.norm(steps, axis=-1, keepdims=True)
        ends = points[i - 1] + steps
        gap = np.linalg.norm(ends[:, None] - points[None, max(0, i - 400) : i - 1], axis=-1)
        nearest = gap.min(axis=1, initial=9.0)
        spread = np.linalg.norm(ends - points[:i].mean(axis=0), axis=-1)
        best = int((np.maximum(0.0, 5.0 - nearest) * 10 + 0.3 * spread).argmin())
        points[i] = ends[best]
        heading = steps[best] / 3.8
    return points
