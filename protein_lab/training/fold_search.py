"""Search the corpus for the chain that a structure resembles most.

TM-align (Zhang & Skolnick, 2005) against every chain takes minutes, so three cheap steps choose
the few chains that it is run against:

1. Histograms of pairs of points (states, separation, distance, direction) rank all chains.
2. Stretches of 24 residues with like inner distances are superimposed; each superposition is
   scored by how near the chain passes to every point of the structure, in any order.
3. The best superpositions are improved by alignments that keep the order along the chain.

Points lie on axis curves, every four residues of the structure and every two of the chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from protein_lab.errors import CorpusError, GeometryError
from protein_lab.geometry import superimpose
from protein_lab.metrics import tm_align
from protein_lab.metrics.comparison import tm_scale
from protein_lab.training.corpus import Corpus
from protein_lab.training.fold_points import (
    CELL,
    WINDOW,
    FoldIndex,
    FoldPoints,
    fold_points,
    histograms,
    stretches,
)
from protein_lab.typing import FloatArray, IntArray

MIN_LENGTH: Final = CELL * WINDOW
"""Shortest structure and chain that can be searched, residues."""

NUM_ALIGNED: Final = 20
"""Chains that TM-align is run against."""

_LIKELY: Final = 1500
_PROMISING: Final = 400
_SEEDS: Final = 4
_KEPT_SEEDS: Final = 2
_ROUNDS: Final = 2
_ALIGNMENTS: Final = 3
_NEAR: Final = 5.0
_WIDER: Final = 1.0
"""Added to the scale of the TM-score, angstrom, because points do not lie on CA atoms."""

_FAR: Final = 1e3
_LARGE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A chain that a structure resembles.

    Attributes
    ----------
    index : int
        Its number in the corpus.
    id : str
        Its id.
    tm : float
        TM-score of TM-align, normalized by the length of the structure.
    """

    index: int
    id: str
    tm: float


class FoldSearch:
    """Finds the nearest chains of a corpus; open one and use it for many structures.

    Parameters
    ----------
    corpus : Corpus
        Real chains.
    chains : sequence of int, optional
        Numbers of the chains to search; all unless given. Chains of fewer than
        :data:`MIN_LENGTH` residues are never searched.

    Raises
    ------
    CorpusError
        If no chain is left to search.
    """

    def __init__(self, corpus: Corpus, chains: Sequence[int] | IntArray | None = None) -> None:
        everything = np.arange(corpus.num_chains) if chains is None else chains
        everything = np.asarray(everything, dtype=int)
        self.corpus = corpus
        self.chains = everything[corpus.lengths[everything] >= MIN_LENGTH]
        if self.chains.size == 0:
            raise CorpusError(
                f"Expected chains of at least {MIN_LENGTH} residues to search, but got none.",
                "Search more chains, or build a larger corpus.",
            )

    @cached_property
    def _index(self) -> FoldIndex:
        parts = [
            fold_points(self.corpus.backbone(row)[:, 1], self.corpus.secondary_structure(row))
            for row in map(int, self.chains)
        ]
        points = FoldPoints(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in FoldPoints.__slots__
            )
        )
        size = np.array([len(part.coarse) for part in parts])
        offset = np.concatenate([[0], np.cumsum(size)])
        chain = np.repeat(np.arange(size.size), size)
        count = histograms(points, chain, size.size)
        root = np.sqrt(count)
        root /= np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-9)
        place = np.arange(chain.size) - offset[chain]
        start = np.flatnonzero(place + WINDOW <= size[chain])
        stretch_offset = np.concatenate([[0], np.cumsum(size - WINDOW + 1)])
        return FoldIndex(
            points, offset, count, root, stretches(points.coarse, start), stretch_offset
        )

    def candidates(self, ca: FloatArray, secondary_structure: str) -> IntArray:
        """Order the likely chains, the likeliest first.

        Parameters
        ----------
        ca : ndarray, shape=(residue, 3)
            CA atoms, angstrom.
        secondary_structure : str
            H, E or L for each residue.

        Returns
        -------
        ndarray
            Numbers of chains in the corpus, at most 400.

        Raises
        ------
        GeometryError
            If the structure is shorter than :data:`MIN_LENGTH`, a coordinate is not finite, or
            the letters do not fit the residues.
        """
        if len(ca) < MIN_LENGTH or len(ca) != len(secondary_structure):
            raise GeometryError(
                f"Expected at least {MIN_LENGTH} residues with a letter each, but got {len(ca)} "
                f"residues and {len(secondary_structure)} letters.",
                "Search with a longer chain.",
            )
        own = fold_points(np.asarray(ca, dtype=np.float64), secondary_structure)
        rows = self._likely(own)
        rows, rotation, shift = _place(own.coarse, rows, self._index)
        scale = tm_scale(len(ca)) + _WIDER
        owner = np.repeat(rows, rotation.shape[1])
        score = _sequential_score(
            own.coarse, owner, rotation.reshape(-1, 3, 3), shift.reshape(-1, 3), scale, self._index
        ).reshape(len(rows), -1)
        return self.chains[rows[np.argsort(-score.max(axis=1), kind="stable")]]

    def _likely(self, own: FoldPoints) -> IntArray:
        """Rows of the chains whose histograms agree best with that of the structure."""
        here = self._index
        count = histograms(own, np.zeros(len(own.coarse), dtype=int), 1)[0]
        whole = here.root @ np.sqrt(count)
        # Shared pairs also find a structure that is part of a larger chain; the logarithm keeps
        # large chains, which share something with everything, from coming first.
        shared = np.minimum(here.count, count).sum(axis=1) / count.sum()
        size = np.maximum(here.count.sum(axis=1) / count.sum(), 1e-9)
        partial = shared - _LARGE * np.log(size)
        ranks = (np.argsort(np.argsort(-value, kind="stable")) for value in (whole, partial))
        return np.argsort(np.minimum(*ranks), kind="stable")[:_LIKELY]

    def nearest(
        self,
        ca: FloatArray,
        secondary_structure: str,
        num_aligned: int = NUM_ALIGNED,
        exclude: Sequence[int] = (),
    ) -> list[Neighbor]:
        """Align the likeliest chains with a structure.

        Parameters
        ----------
        ca, secondary_structure
            As for :meth:`candidates`.
        num_aligned : int
            Alignments to run.
        exclude : sequence of int
            Numbers of chains that do not count.

        Returns
        -------
        list of Neighbor
            Nearest first. Chains that were not aligned may be nearer; docs/novelty.md has how
            often, and by how much.
        """
        likely = self.candidates(ca, secondary_structure)
        found = list(self.align(ca, likely[~np.isin(likely, list(exclude))][:num_aligned]))
        return sorted(found, key=lambda item: (-item.tm, item.index))

    def align(self, ca: FloatArray, chains: Sequence[int] | IntArray) -> Iterator[Neighbor]:
        """Run TM-align against chains of the corpus, one after the other.

        Parameters
        ----------
        ca : ndarray, shape=(residue, 3)
            CA atoms, angstrom.
        chains : sequence of int
            Numbers of chains.

        Yields
        ------
        Neighbor
        """
        for index in map(int, chains):
            other = self.corpus.backbone(index)[:, 1]
            found = tm_align(ca, "A" * len(ca), other, "A" * len(other))
            yield Neighbor(index, self.corpus.ids[index], found.tm_a)


def _place(
    own: FloatArray, rows: IntArray, index: FoldIndex
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Superimpose like stretches and keep the chains and superpositions that score best.

    Returns
    -------
    rows : ndarray, shape=(chain,)
    rotation : ndarray, shape=(chain, superposition, 3, 3)
    shift : ndarray, shape=(chain, superposition, 3)
    """
    mine, theirs = _like_stretches(own, rows, index)
    chains = _padded(index.points.coarse, index.offset[rows], index.offset[rows + 1])
    everyone = np.arange(len(rows))[:, None, None]
    window = np.arange(WINDOW)
    rotation, shift = superimpose(
        own[mine[..., None] + window], chains[everyone, theirs[..., None] + window]
    )
    score = np.zeros(mine.shape)
    for number in range(_ROUNDS):
        near, squared = _nearest_points(own, rotation, shift, chains)
        close = 1.0 / (1.0 + squared / _NEAR**2)
        score = close.mean(axis=-1)
        if number < _ROUNDS - 1:
            fixed = chains[everyone, near]
            rotation, shift = superimpose(np.broadcast_to(own, fixed.shape), fixed, close**2)
    best = np.argsort(-score.max(axis=1), kind="stable")[:_PROMISING]
    seed = np.argsort(-score[best], axis=1, kind="stable")[:, :_KEPT_SEEDS]
    return rows[best], rotation[best[:, None], seed], shift[best[:, None], seed]


def _like_stretches(own: FloatArray, rows: IntArray, index: FoldIndex) -> tuple[IntArray, IntArray]:
    """For each chain, starts of stretches that are most like one of the structure.

    Returns
    -------
    mine, theirs : ndarray, shape=(chain, seed)
    """
    query = stretches(own, np.arange(len(own) - WINDOW + 1))
    low, high = index.stretch_offset[rows], index.stretch_offset[rows + 1]
    size = high - low
    row = np.repeat(np.arange(len(rows)), size)
    column = np.arange(row.size) - np.repeat(np.cumsum(size) - size, size)
    stretch = index.stretch[low[row] + column]
    apart = (query**2).sum(1)[:, None] + (stretch**2).sum(1) - 2.0 * query @ stretch.T
    least = np.full((len(rows), int(size.max())), np.inf, dtype=np.float32)
    least[row, column] = apart.min(axis=0)
    which = np.zeros(least.shape, dtype=int)
    which[row, column] = apart.argmin(axis=0)
    theirs = np.argsort(least, axis=1, kind="stable")[:, : min(_SEEDS, int(size.min()))]
    return np.take_along_axis(which, theirs, axis=1), theirs


def _padded(points: FloatArray, low: IntArray, high: IntArray) -> FloatArray:
    """Lay the points of chains into rows of one length; padding is far from everything."""
    column = np.arange(int((high - low).max()))
    place = np.minimum(low[:, None] + column, len(points) - 1)
    inside = column < (high - low)[:, None]
    return np.where(inside[..., None], points[place], np.float32(_FAR))


def _squared_distances(first: FloatArray, second: FloatArray) -> FloatArray:
    """Squared distances of points, ``(batch, point, point)``."""
    product = first @ np.swapaxes(second, -1, -2)
    apart = (first**2).sum(-1)[..., None] + (second**2).sum(-1)[..., None, :] - 2.0 * product
    return np.maximum(apart, 0.0)


def _moved(own: FloatArray, rotation: FloatArray, shift: FloatArray) -> FloatArray:
    moved = own @ np.swapaxes(rotation, -1, -2) + shift[..., None, :]
    return np.asarray(moved, dtype=np.float32)


def _nearest_points(
    own: FloatArray, rotation: FloatArray, shift: FloatArray, chains: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Nearest point of the chain for each point of the structure, and its squared distance."""
    moved = _moved(own, rotation, shift)
    apart = _squared_distances(moved.reshape(len(moved), -1, 3), chains)
    near = apart.argmin(axis=-1)
    squared = np.take_along_axis(apart, near[..., None], axis=-1)[..., 0]
    return near.reshape(moved.shape[:-1]), squared.reshape(moved.shape[:-1])


def _sequential_score(
    own: FloatArray,
    rows: IntArray,
    rotation: FloatArray,
    shift: FloatArray,
    scale: float,
    index: FoldIndex,
) -> FloatArray:
    """Improve superpositions by alignments in order of the chain, and score the best of each."""
    # a chain of n cells has 2 n - 1 fine points, so those before it are short by one a chain
    low, high = 2 * index.offset[rows] - rows, 2 * index.offset[rows + 1] - rows - 1
    chains = _padded(index.points.fine, low, high)
    best = np.zeros(len(rows), dtype=np.float32)
    for number in range(_ALIGNMENTS):
        close = 1.0 / (1.0 + _squared_distances(_moved(own, rotation, shift), chains) / scale**2)
        table = _alignment_table(close)
        best = np.maximum(best, table[-1, :, -1] / len(own))
        if number < _ALIGNMENTS - 1:
            partner, weight = _trace(table, close)
            fixed = np.take_along_axis(chains, partner[..., None], axis=1)
            fixed = np.where(weight[..., None] > 0.0, fixed, 0.0)
            mobile = np.broadcast_to(own, fixed.shape)
            rotation, shift = superimpose(mobile, fixed, weight + 1e-6)
    return best


def _alignment_table(close: FloatArray) -> FloatArray:
    """Best sums of closeness with free gaps, ``(own + 1, batch, chain + 1)``."""
    batch, own, length = close.shape
    table = np.zeros((own + 1, batch, length + 1), dtype=np.float32)
    for row in range(own):
        table[row + 1] = table[row]
        np.maximum(
            table[row + 1, :, 1:], table[row, :, :-1] + close[:, row], out=table[row + 1, :, 1:]
        )
        np.maximum.accumulate(table[row + 1], axis=1, out=table[row + 1])
    return table


def _trace(table: FloatArray, close: FloatArray) -> tuple[IntArray, FloatArray]:
    """Partner of each point in the best alignment, and its squared closeness; 0 for none."""
    batch, own, length = close.shape
    everyone = np.arange(batch)
    column = np.full(batch, length)
    partner = np.zeros((batch, own), dtype=int)
    weight = np.zeros((batch, own))
    for row in range(own - 1, -1, -1):
        reached = table[row + 1, everyone, column]
        first = (table[row + 1] >= reached[:, None]).argmax(axis=1)
        is_match = table[row, everyone, first] < reached
        here = np.maximum(first - 1, 0)
        partner[:, row] = np.where(is_match, here, 0)
        weight[:, row] = np.where(is_match, close[everyone, row, here] ** 2, 0.0)
        column = np.where(is_match, here, column)
    return partner, weight
