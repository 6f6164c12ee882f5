"""The library of real folds: found by blueprint, then bent to it.

What the library gives is the topology; local structure and exact geometry come from the trained
operator and the refinement. Only training chains are searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from protein_lab.design.alignment import align, align_with_pairing, match_scores, pairing_score
from protein_lab.design.assembly import join_domains, part_of, partition
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.element_table import ElementTable, load_table
from protein_lab.design.loop_library import LoopLibrary
from protein_lab.design.ranking import POOL, choose, expected_tm
from protein_lab.design.warping import coil, warp_trace
from protein_lab.errors import CorpusError
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray, IntArray

HitKind = Literal["fold", "partial", "assembled"]

_SHORTLIST: Final = 500
"""Chains that are aligned again with the agreement of pairing."""

_LEAST_COVERED: Final = 0.6
"""Share of the residues in elements that a hit must cover; below, the curve is assembled."""

_ROOM: Final = 1.15
"""A blueprint longer than the longest chain by more than this is assembled."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chain of the library whose fold fits a blueprint.

    Attributes
    ----------
    chain_index : int
        Number of the chain in the corpus; -1 where several or none are used.
    score : float
        Expected TM-score of the bent fold; higher is better.
    element_map : tuple of int
        Element of the chain for each element of the blueprint; -1 for none.
    kind : {"fold", "partial", "assembled"}
        ``fold``: every element was aligned; ``partial``: some are placed beside the others;
        ``assembled``: no fold covers the blueprint, the curve is put together from parts.
    start, stop : int
        Residues of the chain that are used, half-open.
    parts : tuple of Part
        Of an assembled hit, in order of the chain; none for a chain without elements.
    """

    chain_index: int
    score: float
    element_map: tuple[int, ...]
    kind: HitKind
    start: int = 0
    stop: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a blueprint and the fold that it takes.

    Attributes
    ----------
    start, stop : int
        Residues of the blueprint, half-open.
    hit : Hit
        For this stretch alone.
    """

    start: int
    stop: int
    hit: Hit


class FoldLibrary:
    """Training chains, ready to be searched by blueprint.

    Parameters
    ----------
    corpus : Corpus
        Real chains.
    exclude : iterable of int
        Chains of the corpus that must not be used.

    Raises
    ------
    CorpusError
        If no training chain is left.
    """

    def __init__(self, corpus: Corpus, exclude: Iterable[int] = ()) -> None:
        self._corpus = corpus
        self.chains = np.setdiff1d(corpus.indices("train"), np.fromiter(exclude, dtype=int))
        if self.chains.size == 0:
            raise CorpusError(
                f"The corpus at {corpus.path} has no training chain to take folds from.",
                "Exclude fewer chains, or build a larger corpus.",
            )
        self.table = load_table(corpus).take(self.chains)
        self._longest = int(self.table.length.max())

    @cached_property
    def loops(self) -> LoopLibrary:
        """Loops of all chains of the library."""
        ca = np.concatenate([self._corpus.backbone(int(chain))[:, 1] for chain in self.chains])
        return LoopLibrary(self.table, ca, np.concatenate([[0], np.cumsum(self.table.length)]))

    @cached_property
    def _buckets(self) -> list[tuple[IntArray, ElementTable]]:
        """Chains by number of elements, so that short ones are not aligned as long ones."""
        count = (self.table.kind >= 0).sum(axis=1)
        order = np.argsort(count, kind="stable")
        rows = [np.sort(part) for part in np.array_split(order[count[order] > 0], 4) if part.size]
        return [(part, self.table.take(part)) for part in rows]

    def search(self, blueprint: Blueprint, k: int) -> list[Hit]:
        """Find the chains whose folds fit best.

        Parameters
        ----------
        blueprint : Blueprint
            What is asked.
        k : int
            Number of hits.

        Returns
        -------
        list of Hit
            Best first, each one chosen to be likely and to differ from those before: the more
            are used, the better is the best of them. Where no fold covers the blueprint, hits
            assembled from parts.
        """
        query = ElementTable.of_blueprint(blueprint)
        if not blueprint.elements:
            return [Hit(-1, 0.0, (), "assembled") for _ in range(k)]
        if blueprint.length > _ROOM * self._longest:
            return self._assembled(blueprint, k)
        hits = self._folds(query, k)
        if hits and _covered(query, hits[0]) < _LEAST_COVERED:
            parts = self._assembled(blueprint, k)
            return parts if len(parts[0].parts) > 1 else hits
        return hits

    def _folds(self, query: ElementTable, k: int) -> list[Hit]:
        """Hits of single chains."""
        rows, element_map = self._shortlist(query)
        table = self.table.take(rows)
        expected = expected_tm(query, table, element_map)
        best = np.argsort(-expected, kind="stable")[:POOL]
        points = np.stack([self._points(int(rows[b]), element_map[b]) for b in best])
        picked = choose(query, points, element_map[best], expected[best], k)
        return [self._hit(int(rows[b]), float(expected[b]), element_map[b]) for b in best[picked]]

    def _shortlist(self, query: ElementTable) -> tuple[IntArray, IntArray]:
        """Rows of the best chains and their alignments."""
        score = np.full(self.chains.size, -np.inf)
        for rows, table in self._buckets:
            value, element_map = align(query, table, match_scores(query, table))
            score[rows] = value + pairing_score(query, table, element_map)
        short = np.argsort(-score, kind="stable")[:_SHORTLIST]
        short = short[np.isfinite(score[short])]
        _, element_map = align_with_pairing(query, self.table.take(short))
        some = (element_map >= 0).any(axis=1)
        return short[some], element_map[some]

    def _points(self, row: int, element_map: IntArray) -> FloatArray:
        """Take the ends and middles of the aligned elements on the axis curve, zeros for none."""
        curve = axis_curve(self._corpus.backbone(int(self.chains[row]))[:, 1])
        element = np.maximum(element_map, 0)
        start, stop = self.table.start[row, element], self.table.stop[row, element]
        middle = (curve[(start + stop - 1) // 2] + curve[(start + stop) // 2]) / 2
        points = np.stack([curve[start], middle, curve[stop - 1]], axis=1)
        return np.where((element_map >= 0)[:, None, None], points, 0.0)

    def _hit(self, row: int, score: float, element_map: IntArray) -> Hit:
        used = element_map[element_map >= 0]
        return Hit(
            int(self.chains[row]),
            score,
            tuple(int(j) for j in element_map),
            "fold" if used.size == element_map.size else "partial",
            int(self.table.start[row, used[0]]),
            int(self.table.stop[row, used[-1]]),
        )

    def _assembled(self, blueprint: Blueprint, k: int) -> list[Hit]:
        """Hits put together from those of domains: the n-th of each."""
        ranges = partition(blueprint)
        found = [
            self._folds(ElementTable.of_blueprint(part_of(blueprint, start, stop)), k)
            for start, stop in ranges
        ]
        hits = []
        for number in range(k):
            chosen = [options[min(number, len(options) - 1)] for options in found]
            parts = tuple(Part(*span, hit) for span, hit in zip(ranges, chosen, strict=True))
            score = float(np.mean([hit.score for hit in chosen])) / len(chosen)
            hits.append(Hit(-1, score, (), "assembled", parts=parts))
        return hits

    def warp_trace(self, hit: Hit, blueprint: Blueprint, rng: np.random.Generator) -> FloatArray:
        """Bend the fold of a hit to a blueprint and return its CA trace before smoothing.

        Parameters
        ----------
        hit : Hit
            From a search with this blueprint.
        blueprint : Blueprint
            What is asked.
        rng : Generator
            Varies loops and the places of elements that no fold gives a place to.

        Returns
        -------
        ndarray, shape=(residue, 3)
            CA, angstrom.
        """
        if hit.parts:
            traces = [
                self.warp_trace(part.hit, part_of(blueprint, part.start, part.stop), rng)
                for part in hit.parts
            ]
            return join_domains(traces, rng)
        if hit.chain_index < 0:
            return coil(blueprint.length, rng)
        row = np.searchsorted(self.chains, [hit.chain_index])
        return warp_trace(
            ElementTable.of_blueprint(blueprint),
            self.table.take(row),
            self._corpus.backbone(hit.chain_index)[:, 1],
            hit.element_map,
            self.loops,
            rng,
        )

    def warp(self, hit: Hit, blueprint: Blueprint, rng: np.random.Generator) -> FloatArray:
        """Bend the fold of a hit to a blueprint.

        Parameters
        ----------
        hit, blueprint, rng
            As for :meth:`warp_trace`.

        Returns
        -------
        ndarray, shape=(residue, 3)
            Axis curve, angstrom, always finite. For the blueprint of the hit itself it is the
            hit's own axis curve.
        """
        return axis_curve(self.warp_trace(hit, blueprint, rng))


def _covered(query: ElementTable, hit: Hit) -> float:
    """Share of the residues in elements that have a counterpart."""
    length = (query.stop - query.start)[0]
    return float(length[np.array(hit.element_map) >= 0].sum() / length.sum())


def curve_distance(first: FloatArray, second: FloatArray) -> float:
    """Root mean square distance of two curves after superposition.

    Parameters
    ----------
    first, second : ndarray, shape=(residue, 3)
        Curves of one length, angstrom.

    Returns
    -------
    float
        Angstrom; a mirror image is not at distance 0.
    """
    rotation, shift = superimpose(first, second)
    return float(np.sqrt(((first @ rotation.T + shift - second) ** 2).sum(axis=-1).mean()))
