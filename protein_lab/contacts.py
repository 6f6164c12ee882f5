"""Which helices and strands of a structure touch, and how they lie to each other.

One implementation serves a single chain and a whole corpus: residues and elements of all chains
lie on flat axes, and elements carry the number of their chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.typing import BoolArray, FloatArray, IntArray

ORIENTATIONS: Final = ("parallel", "antiparallel", "crossing")
"""Orientation of code 1, 2 and 3; code 0 means that two elements are not paired."""

CONTACT_DISTANCE: Final = 8.0
"""Two residues touch when their CB atoms are closer, angstrom (the CASP definition)."""

MIN_CONTACTS: Final = 3
HELIX_AXIS_DISTANCE: Final = 12.0
"""Packed helices have axes closer than this somewhere, angstrom; 8 to 10 is usual."""

STRAND_AXIS_DISTANCE: Final = 6.5
"""Neighbors in a sheet run 4.8 angstrom apart; sheets that face each other about 10."""

PARALLEL_ANGLE: Final = np.deg2rad(45.0)
HELIX, STRAND = 0, 1
_CELLS_PER_BATCH: Final = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ElementSpans:
    """Helices and strands of one or many chains on a flat residue axis.

    Attributes
    ----------
    kind : ndarray, shape=(element,), dtype=int8
        0 for a helix, 1 for a strand.
    start, stop : ndarray, shape=(element,)
        Half-open residue range on the flat axis.
    chain : ndarray, shape=(element,)
        Chain that the element belongs to; ascending.
    """

    kind: IntArray
    start: IntArray
    stop: IntArray
    chain: IntArray


def find_spans(
    secondary_structure: str, offsets: IntArray, min_helix: int, min_strand: int
) -> ElementSpans:
    """Find the helices and strands of chains that are written one after the other.

    Parameters
    ----------
    secondary_structure : str
        States of all chains, one letter a residue.
    offsets : ndarray, shape=(chain + 1,)
        Where each chain starts, and the end of the last.
    min_helix, min_strand : int
        Least number of residues; shorter runs count as loop.

    Returns
    -------
    ElementSpans
        In order of the flat axis.
    """
    states = np.frombuffer(secondary_structure.encode("ascii"), dtype=np.uint8)
    chain = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    breaks = np.nonzero((np.diff(states) != 0) | (np.diff(chain) != 0))[0] + 1
    start = np.concatenate([np.zeros(1, dtype=int), breaks])
    stop = np.concatenate([breaks, [states.size]])
    run = states[start]
    size = stop - start
    helix = (run == ord("H")) & (size >= min_helix)
    strand = (run == ord("E")) & (size >= min_strand)
    keep = helix | strand
    kind = np.where(strand, STRAND, HELIX).astype(np.int8)[keep]
    return ElementSpans(kind, start[keep], stop[keep], chain[start[keep]])


def measure_pairs(
    spans: ElementSpans, curve: FloatArray, cb: FloatArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Find the pairs of strands next to each other in a sheet and of packed helices.

    Two elements of one kind are paired when at least three pairs of their residues have CB atoms
    within 8 angstrom and their axis curves come within 6.5 (strands) or 12 (helices) angstrom.

    Parameters
    ----------
    spans : ElementSpans
        The elements.
    curve, cb : ndarray, shape=(residue, 3)
        Axis curve and CB atoms (virtual for glycine) on the flat residue axis, angstrom.

    Returns
    -------
    first, second : ndarray, shape=(pair,)
        Elements, ``first < second``.
    orientation : ndarray, shape=(pair,), dtype=int8
        Index into :data:`ORIENTATIONS` plus 1. Helices: parallel below 45 degrees between their
        axes, antiparallel above 135, else crossing. Strands in a ladder are always parallel or
        antiparallel, whatever the twist of the sheet.
    """
    first, second = _candidates(spans, curve)
    keep = np.zeros(first.size, dtype=bool)
    cells = (spans.stop - spans.start)[first] * (spans.stop - spans.start)[second]
    batch = np.cumsum(cells) // _CELLS_PER_BATCH
    for part in np.split(np.arange(first.size), np.nonzero(np.diff(batch))[0] + 1):
        keep[part] = _touching(spans, curve, cb, first[part], second[part])
    first, second = first[keep], second[keep]
    return first, second, _orientation(spans, curve, first, second)


def _candidates(spans: ElementSpans, curve: FloatArray) -> tuple[IntArray, IntArray]:
    """Pairs of one kind in one chain whose bounding spheres come close enough."""
    middle = curve[(spans.start + spans.stop - 1) // 2]
    ends = np.stack([curve[spans.start], curve[spans.stop - 1]])
    # Elements bend: their points lie within the farther end of the middle, and a little more.
    radius = np.linalg.norm(ends - middle, axis=-1).max(axis=0) + 2.0
    reach = np.where(spans.kind == STRAND, STRAND_AXIS_DISTANCE, HELIX_AXIS_DISTANCE)
    found = []
    for lag in range(1, spans.kind.size):
        same = spans.chain[lag:] == spans.chain[:-lag]
        if not same.any():
            break
        near = same & (spans.kind[lag:] == spans.kind[:-lag])
        first = np.nonzero(near)[0]
        gap = np.linalg.norm(middle[first] - middle[first + lag], axis=-1)
        first = first[gap < radius[first] + radius[first + lag] + reach[first]]
        found.append(np.stack([first, first + lag]))
    if not found:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    first, second = np.concatenate(found, axis=1)
    return first, second


def _touching(
    spans: ElementSpans, curve: FloatArray, cb: FloatArray, first: IntArray, second: IntArray
) -> BoolArray:
    """Whether each candidate pair is in contact."""
    if first.size == 0:
        return np.zeros(0, dtype=bool)
    columns = (spans.stop - spans.start)[second]
    cells = (spans.stop - spans.start)[first] * columns
    begin = np.cumsum(cells) - cells
    pair = np.repeat(np.arange(first.size), cells)
    local = np.arange(pair.size) - begin[pair]
    row = spans.start[first][pair] + local // columns[pair]
    column = spans.start[second][pair] + local % columns[pair]
    contact = ((cb[row] - cb[column]) ** 2).sum(-1) < CONTACT_DISTANCE**2
    axis = ((curve[row] - curve[column]) ** 2).sum(-1)
    closest = np.sqrt(np.minimum.reduceat(axis, begin))
    limit = np.where(spans.kind[first] == STRAND, STRAND_AXIS_DISTANCE, HELIX_AXIS_DISTANCE)
    return (np.add.reduceat(contact.astype(int), begin) >= MIN_CONTACTS) & (closest < limit)


def _orientation(
    spans: ElementSpans, curve: FloatArray, first: IntArray, second: IntArray
) -> IntArray:
    """Codes of :data:`ORIENTATIONS` plus 1 from the angle between the axes."""
    axis = curve[spans.stop - 1] - curve[spans.start]
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    cosine = (axis[first] * axis[second]).sum(-1)
    limit = np.where(spans.kind[first] == STRAND, 0.0, np.cos(PARALLEL_ANGLE))
    return np.where(cosine > limit, 1, np.where(cosine < -limit, 2, 3)).astype(np.int8)
