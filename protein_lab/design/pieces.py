"""Elements of a blueprint with the real traces that an aligned fold has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.design.ideal_elements import extend
from protein_lab.design.registration import residue_shifts
from protein_lab.typing import FloatArray

_NATIVE_OVERHANG: Final = 1
"""An element may take this many residues of the real loop beside it before it is continued."""


@dataclass(slots=True, eq=False)
class Piece:
    """One element of the blueprint while its chain is built.

    Attributes
    ----------
    start, stop : int
        Residues of the blueprint, half-open.
    kind : int
        0 helix, 1 strand.
    trace : ndarray, shape=(residue, 3), or None
        Its CA, angstrom; None while it has no place.
    shift : int or None
        Leads to residues of the real chain; None where no real element was aligned.
    before, after : int
        Residues that continue the real element.
    """

    start: int
    stop: int
    kind: int
    trace: FloatArray | None = None
    shift: int | None = None
    before: int = 0
    after: int = 0


def lay_pieces(
    query: ElementTable, found: ElementTable, ca: FloatArray, element_map: tuple[int, ...]
) -> list[Piece]:
    """Lay the elements of a fold on those of a blueprint.

    Parameters
    ----------
    query, found : ElementTable
        The blueprint and the real chain, a table of one chain each.
    ca : ndarray, shape=(residue, 3)
        CA of the real chain, angstrom.
    element_map : tuple of int
        Element of the real chain for each of the blueprint, ascending; -1 for none.

    Returns
    -------
    list of Piece
        One an element; those that were aligned have the real trace.
    """
    pieces = [
        Piece(int(start), int(stop), int(kind))
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


def is_copied(first: Piece, second: Piece) -> bool:
    """Whether the loop between two elements is that of the real chain."""
    same = first.shift is not None and first.shift == second.shift
    return same and first.after == 0 and second.before == 0
