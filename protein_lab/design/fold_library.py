"""The library of real folds: found by blueprint, then bent to it.

What the library gives is the topology; local structure and exact geometry come from the trained
operator and the refinement. Only training chains are searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np

from protein_lab.design.alignment import align, align_with_pairing, match_scores, pairing_score
from protein_lab.design.assembly import join_domains, part_of, partition
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.element_table import ElementTable, load_table
from protein_lab.design.fold_features import alignment_features, expected_tm
from protein_lab.design.guides import guide_trace, likeness, mean_guide
from protein_lab.design.hits import Candidates, Hit, Part, Relative
from protein_lab.design.loop_library import LoopLibrary
from protein_lab.design.paths import coil
from protein_lab.design.pieces import Piece, lay_pieces
from protein_lab.design.ranking import (
    POOL,
    candidate_features,
    choose,
    probabilities,
    ranking_weights,
    relative_weights,
)
from protein_lab.design.warping import warp_trace
from protein_lab.errors import CorpusError
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray, IntArray

_SHORTLIST: Final = 500
"""Chains that are aligned again with the agreement of pairing."""

_MOST_RELATIVES: Final = 20
"""Folds that one hit is averaged with."""

_LEAST_COVERED: Final = 0.6
"""Share of the residues in elements that a hit must cover; below, the curve is assembled."""

_ROOM: Final = 1.15
"""A blueprint longer than the longest chain by more than this is assembled."""


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
            One a design. The likeliest fold comes first and comes again, the more often the
            surer it is; others follow that make the best of the designs better. Where no fold
            covers the blueprint, hits assembled from parts.
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
        found = self.candidates(query)
        probability = probabilities(found.features, ranking_weights())
        picked = choose(found.close, probability, k)
        return [self._with_relatives(query, found, int(number)) for number in picked]

    def candidates(self, query: ElementTable, leave_out: IntArray | None = None) -> Candidates:
        """Find the folds that a choice is made from.

        Parameters
        ----------
        query : ElementTable
            The blueprint, as a table of one chain with at least one element.
        leave_out : ndarray, optional
            Chains of the corpus that must not be candidates, such as relatives of a query chain.

        Returns
        -------
        Candidates
            In the order of the first estimate.
        """
        rows, element_map = self._shortlist(query)
        if leave_out is not None:
            kept = ~np.isin(self.chains[rows], leave_out)
            rows, element_map = rows[kept], element_map[kept]
        expected = expected_tm(query, self.table.take(rows), element_map)
        best = np.argsort(-expected, kind="stable")[:POOL]
        hits = [self._hit(int(rows[b]), float(expected[b]), element_map[b]) for b in best]
        guides = np.stack([self._guide(query, hit) for hit in hits])
        close = likeness(guides)
        alignment = alignment_features(query, self.table.take(rows[best]), element_map[best])
        features = candidate_features(alignment, expected[best], guides, close)
        return Candidates(hits, guides, close, features)

    def _guide(self, query: ElementTable, hit: Hit | Relative) -> FloatArray:
        """Lead the blueprint along one chain."""
        ca, pieces = self._laid(query, hit)
        return guide_trace(pieces, ca, int(query.length[0]))

    def _with_relatives(self, query: ElementTable, found: Candidates, number: int) -> Hit:
        """Add to a hit those that agree with it; what needs no bending is left as it is."""
        hits = found.hits
        hit = hits[number]
        row = int(np.searchsorted(self.chains, hit.chain_index))
        if _is_unbent(query, self.table.take(np.array([row])), hit.element_map):
            return hit
        weight = relative_weights(
            found.close[number], np.array([item.score for item in hits]), number
        )
        order = np.argsort(-weight, kind="stable")[:_MOST_RELATIVES]
        return replace(
            hit,
            relatives=tuple(
                Relative(hits[j].chain_index, hits[j].element_map, float(weight[j]))
                for j in order
                if weight[j] > 0
            ),
        )

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
            Varies loops, what relatives count, and the places of elements that no fold gives a
            place to.

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
        query = ElementTable.of_blueprint(blueprint)
        ca, pieces = self._laid(query, hit)
        guide = guide_trace(pieces, ca, blueprint.length)
        if hit.relatives:
            others = np.stack([self._guide(query, relative) for relative in hit.relatives])
            weight = np.array([relative.weight for relative in hit.relatives])
            # a Bayesian bootstrap: designs of one fold differ as far as its relatives do
            weight = weight * rng.exponential(size=weight.size)
            guide = mean_guide(guide, others, weight)
        return warp_trace(query, pieces, ca, guide, self.loops, rng)

    def _laid(self, query: ElementTable, hit: Hit | Relative) -> tuple[FloatArray, list[Piece]]:
        """CA of the chain of a hit, and its elements laid on those of the blueprint."""
        row = np.searchsorted(self.chains, [hit.chain_index])
        ca = self._corpus.backbone(hit.chain_index)[:, 1]
        return ca, lay_pieces(query, self.table.take(row), ca, hit.element_map)

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


def _is_unbent(query: ElementTable, found: ElementTable, element_map: tuple[int, ...]) -> bool:
    """Whether a chain has just the elements that are asked, residue for residue."""
    count = len(element_map)
    return (
        int(found.length[0]) == int(query.length[0])
        and element_map == tuple(range(count))
        and bool((found.start[0, :count] == query.start[0]).all())
        and bool((found.stop[0, :count] == query.stop[0]).all())
    )


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
