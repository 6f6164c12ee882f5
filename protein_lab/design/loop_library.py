"""Loops of real chains, found by length and by how their ends lie to each other."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.geometry import superimpose
from protein_lab.typing import FloatArray, IntArray

ANCHORS: Final = 3
"""Residues of the elements before and after a loop that must fit."""

_SHORTLIST: Final = 60
_CLASH_DISTANCE: Final = 4.2
_CLASH_WEIGHT: Final = 0.25
_ENOUGH: Final = 30
_TAIL_PIECE: Final = 10
_COMPACT: Final = 0.03
_STEP: Final = np.array([2.5, 0.0, 0.0])


class LoopLibrary:
    """All loops between two elements, with three residues on either side.

    Parameters
    ----------
    table : ElementTable
        Elements of the chains.
    ca : ndarray, shape=(residue, 3)
        CA of all chains, one after the other, angstrom.
    offsets : ndarray, shape=(chain + 1,)
        Where each chain starts.
    """

    def __init__(self, table: ElementTable, ca: FloatArray, offsets: IntArray) -> None:
        self._ca = ca
        real = table.kind[:, 1:] >= 0
        begin = (table.stop[:, :-1] - ANCHORS + offsets[:-1, None])[real]
        size = (table.start[:, 1:] - table.stop[:, :-1])[real]
        order = np.argsort(size, kind="stable")
        self._begin, self._size = begin[order], size[order]
        self.longest = int(self._size[-1]) if size.size else -1
        last = self._begin + ANCHORS - 1
        gap = np.linalg.norm(ca[last] - ca[last + self._size + 1], axis=-1)
        self._reach = np.array(
            [
                np.percentile(gap[here], [2, 98]) if here.stop - here.start >= _ENOUGH else (4.0, 0)
                for here in map(self._of_size, range(self.longest + 1))
            ]
        )

    def _of_size(self, size: int) -> slice:
        first, stop = np.searchsorted(self._size, [size, size + 1])
        return slice(int(first), int(stop))

    def reach(self, size: int) -> tuple[float, float]:
        """Usual least and greatest distance that loops of a size bridge, CA to CA, angstrom."""
        if 0 <= size <= self.longest and self._reach[size, 1] > 0:
            return float(self._reach[size, 0]), float(self._reach[size, 1])
        return 4.0, 3.4 * (size + 1)

    def close(
        self,
        before: FloatArray,
        after: FloatArray,
        size: int,
        others: FloatArray,
        rng: np.random.Generator,
        spread: float,
    ) -> FloatArray | None:
        """Find a real loop between two ends.

        Parameters
        ----------
        before, after : ndarray, shape=(3, 3)
            The last three CA before and the first three after the loop, angstrom.
        size : int
            Residues in between.
        others : ndarray, shape=(point, 3)
            CA that the loop must not touch.
        rng : Generator
            Varies the choice among loops that fit about as well.
        spread : float
            Standard deviation of that variation, angstrom.

        Returns
        -------
        ndarray, shape=(size, 3) or None
            CA of the loop; None where the library has no loop of this size.
        """
        here = self._of_size(size)
        if here.stop == here.start:
            return None
        begin = self._begin[here]
        total = size + 2 * ANCHORS
        left = self._ca[begin[:, None] + np.arange(ANCHORS)]
        right = self._ca[begin[:, None] + np.arange(total - ANCHORS, total)]
        distance = np.linalg.norm(left[:, :, None] - right[:, None], axis=-1)
        wanted = np.linalg.norm(before[:, None] - after[None], axis=-1)
        misfit = ((distance - wanted) ** 2).sum((1, 2))
        best = np.argsort(misfit, kind="stable")[:_SHORTLIST]
        pieces = self._ca[begin[best][:, None] + np.arange(total)].astype(np.float64)
        ends = np.concatenate([pieces[:, :ANCHORS], pieces[:, -ANCHORS:]], axis=1)
        goal = np.broadcast_to(np.concatenate([before, after]), ends.shape)
        rotation, shift = superimpose(ends, goal)
        pieces = pieces @ np.swapaxes(rotation, -1, -2) + shift[:, None]
        fitted = np.concatenate([pieces[:, :ANCHORS], pieces[:, -ANCHORS:]], axis=1)
        error = np.sqrt(((fitted - goal) ** 2).sum(-1).mean(-1))
        loops = _closed(pieces, before[-1], after[0])
        score = error + _CLASH_WEIGHT * _touching(loops, others)
        score = score + spread * rng.standard_normal(score.size)
        return loops[int(score.argmin())]

    def tail(
        self,
        edge: FloatArray,
        size: int,
        others: FloatArray,
        rng: np.random.Generator,
        reverse: bool,
    ) -> FloatArray:
        """Continue a chain past its last element with pieces of real loops.

        Parameters
        ----------
        edge : ndarray, shape=(3, 3)
            The last three CA that are there, in the order in which the tail goes on.
        size : int
            Residues to add.
        others : ndarray, shape=(point, 3)
            CA that the tail must not touch.
        rng : Generator
            Draws the pieces.
        reverse : bool
            True for the N-terminal tail, which runs against the chain.

        Returns
        -------
        ndarray, shape=(size, 3)
            CA from the edge outwards.
        """
        parts = [edge]
        while (left := size + ANCHORS - sum(map(len, parts))) > 0:
            step = min(left, self.longest, _TAIL_PIECE)
            if step < 1:
                parts.append(parts[-1][-1] + _STEP * np.arange(1, left + 1)[:, None])
                continue
            first = int(np.searchsorted(self._size, step))
            rows = rng.integers(first, self._size.size, size=_SHORTLIST)
            window = np.arange(step + ANCHORS)
            begin = self._begin[rows]
            if reverse:
                begin = begin + self._size[rows] + ANCHORS - step
                window = window[::-1]
            pieces = self._ca[begin[:, None] + window].astype(np.float64)
            goal = np.broadcast_to(np.concatenate(parts)[-ANCHORS:], (_SHORTLIST, ANCHORS, 3))
            rotation, shift = superimpose(pieces[:, :ANCHORS], goal)
            pieces = pieces @ np.swapaxes(rotation, -1, -2) + shift[:, None]
            score = _CLASH_WEIGHT * _touching(pieces[:, ANCHORS + 1 :], others)
            error = ((pieces[:, :ANCHORS] - goal) ** 2).sum((1, 2))
            score += np.sqrt(error) + _COMPACT * np.linalg.norm(
                pieces[:, -1] - others.mean(axis=0), axis=-1
            )
            parts.append(pieces[int(score.argmin()), ANCHORS:])
        return np.concatenate(parts)[ANCHORS:]


def _closed(pieces: FloatArray, start: FloatArray, stop: FloatArray) -> FloatArray:
    """Share out what the ends miss along the loops; drop the anchors."""
    size = pieces.shape[1] - 2 * ANCHORS
    along = (np.arange(1, size + 1) / (size + 1))[None, :, None]
    miss_start = start - pieces[:, ANCHORS - 1]
    miss_stop = stop - pieces[:, -ANCHORS]
    inner = pieces[:, ANCHORS:-ANCHORS]
    return inner + (1 - along) * miss_start[:, None] + along * miss_stop[:, None]


def _touching(loops: FloatArray, others: FloatArray) -> FloatArray:
    """Count residues of other parts that each loop comes too close to."""
    if loops.shape[1] == 0 or others.shape[0] == 0:
        return np.zeros(loops.shape[0])
    low, high = loops.min((0, 1)) - _CLASH_DISTANCE, loops.max((0, 1)) + _CLASH_DISTANCE
    near = others[((others > low) & (others < high)).all(axis=-1)]
    square = ((loops[:, :, None] - near[None, None]) ** 2).sum(-1)
    return np.maximum(0.0, _CLASH_DISTANCE - np.sqrt(square)).sum((1, 2))
