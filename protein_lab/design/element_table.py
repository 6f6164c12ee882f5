"""Element tables of blueprints and of a whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.contacts import (
    ORIENTATIONS,
    ElementSpans,
    find_spans,
    measure_pairs,
)
from protein_lab.design.blueprint import MIN_HELIX, MIN_STRAND, Blueprint
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.training.corpus import Corpus
from protein_lab.typing import IntArray

_ARRAYS: Final = ("kind", "start", "stop", "pairs", "length")


@dataclass(frozen=True, slots=True, eq=False)
class ElementTable:
    """Elements and pairs of many chains, padded to the same number of elements.

    Attributes
    ----------
    kind : ndarray, shape=(chain, element), dtype=int8
        0 helix, 1 strand, -1 padding.
    start, stop : ndarray, shape=(chain, element)
        Half-open residue ranges in the chain; padding starts and stops at the chain's end.
    pairs : ndarray, shape=(chain, element, element), dtype=int8
        Symmetric codes of orientation, 0 where elements are not paired.
    length : ndarray, shape=(chain,)
        Residues of each chain.
    """

    kind: IntArray
    start: IntArray
    stop: IntArray
    pairs: IntArray
    length: IntArray

    def take(self, chains: IntArray) -> ElementTable:
        """Select chains, dropping columns that are padding in all of them."""
        width = max(1, int((self.kind[chains] >= 0).sum(axis=1).max(initial=0)))
        return ElementTable(
            self.kind[chains, :width],
            self.start[chains, :width],
            self.stop[chains, :width],
            self.pairs[chains, :width, :width],
            self.length[chains],
        )

    @classmethod
    def of_blueprint(cls, blueprint: Blueprint) -> ElementTable:
        """Write a blueprint as the table of one chain."""
        elements = blueprint.elements
        pairs = np.zeros((1, len(elements), len(elements)), dtype=np.int8)
        for pair in blueprint.pairs:
            code = ORIENTATIONS.index(pair.orientation) + 1
            pairs[0, [pair.first, pair.second], [pair.second, pair.first]] = code
        return cls(
            np.array([["HE".index(element.kind) for element in elements]], dtype=np.int8),
            np.array([[element.start for element in elements]], dtype=np.int32),
            np.array([[element.stop for element in elements]], dtype=np.int32),
            pairs,
            np.array([blueprint.length]),
        )

    @classmethod
    def of_corpus(cls, corpus: Corpus, chains: Sequence[int] | IntArray) -> ElementTable:
        """Find the elements and pairs of real chains, a row each."""
        states = [corpus.secondary_structure(int(chain)) for chain in chains]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in states])])
        spans = find_spans("".join(states), offsets, MIN_HELIX, MIN_STRAND)
        curve = np.empty((offsets[-1], 3), dtype=np.float32)
        cb = np.empty((offsets[-1], 3), dtype=np.float32)
        for row, chain in enumerate(chains):
            backbone = corpus.backbone(int(chain))
            here = slice(offsets[row], offsets[row + 1])
            curve[here] = axis_curve(backbone[:, 1])
            cb[here] = virtual_cb(backbone)
        return cls._padded(spans, offsets, measure_pairs(spans, curve, cb))

    @classmethod
    def _padded(
        cls, spans: ElementSpans, offsets: IntArray, pairs: tuple[IntArray, IntArray, IntArray]
    ) -> ElementTable:
        """Put flat elements into rows."""
        count = np.bincount(spans.chain, minlength=len(offsets) - 1)
        first_of_chain = np.cumsum(count) - count
        column = np.arange(spans.kind.size) - first_of_chain[spans.chain]
        shape = (len(offsets) - 1, max(1, int(count.max(initial=0))))
        length = np.diff(offsets).astype(np.int32)
        kind = np.full(shape, -1, dtype=np.int8)
        start, stop = (np.repeat(length[:, None], shape[1], axis=1) for _ in range(2))
        kind[spans.chain, column] = spans.kind
        start[spans.chain, column] = spans.start - offsets[spans.chain]
        stop[spans.chain, column] = spans.stop - offsets[spans.chain]
        codes = np.zeros((*shape, shape[1]), dtype=np.int8)
        first, second, orientation = pairs
        codes[spans.chain[first], column[first], column[second]] = orientation
        codes[spans.chain[first], column[second], column[first]] = orientation
        return cls(kind, start, stop, codes, length)


def table_file(corpus: Corpus) -> Path:
    """Where the table of a corpus is kept: beside it."""
    return corpus.path.with_suffix(".elements.npz")


def load_table(corpus: Corpus) -> ElementTable:
    """Return the table of all chains of a corpus.

    Parameters
    ----------
    corpus : Corpus
        Real chains.

    Returns
    -------
    ElementTable
        A row for each chain: read from the file beside the corpus where that was made from the
        same corpus, measured (some seconds) otherwise.
    """
    path = table_file(corpus)
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["digest"]) == corpus.digest:
                return ElementTable(*(stored[name] for name in _ARRAYS))
    return ElementTable.of_corpus(corpus, np.arange(corpus.num_chains))


def save_table(corpus: Corpus) -> Path:
    """Measure the table of a corpus and keep it beside the corpus.

    Parameters
    ----------
    corpus : Corpus
        Real chains.

    Returns
    -------
    Path
        The file, which :func:`load_table` reads from now on.
    """
    table = ElementTable.of_corpus(corpus, np.arange(corpus.num_chains))
    path = table_file(corpus)
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    with path.open("wb") as handle:
        np.savez_compressed(handle, digest=np.array(corpus.digest), **arrays)
    return path
