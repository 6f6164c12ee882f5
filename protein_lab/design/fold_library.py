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
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.element_table import ElementTable
from protein_lab.design.loop_library import LoopLibrary
from protein_lab.design.warping import warp_trace
from protein_lab.geometry import axis_curve
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

HitKind = Literal["fold", "partial", "assembled"]

_SHORTLIST: Final = 500
"""Chains that are aligned again with the agreement of pairing."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chain of the library whose fold fits a blueprint.

    Attributes
    ----------
    chain_index : int
        Number of the chain in the corpus; -1 where no chain was used.
    score : float
        In residues; higher is better.
    element_map : tuple of int
        Element of the chain for each element of the blueprint; -1 for none.
    kind : {"fold", "partial", "assembled"}
        ``fold``: every element was aligned; ``partial``: some are placed beside the others;
        ``assembled``: nothing fits as a whole, the curve is put together from parts.
    start, stop : int
        Residues of the chain that are used, half-open.
    """

    chain_index: int
    score: float
    element_map: tuple[int, ...]
    kind: HitKind
    start: int
    stop: int


class FoldLibrary:
    """Training chains, ready to be searched by blueprint.

    Parameters
    ----------
    corpus : Corpus
        Real chains.
    exclude : iterable of int
        Chains of the corpus that must not be used.
    """

    def __init__(self, corpus: Corpus, exclude: Iterable[int] = ()) -> None:
        self._corpus = corpus
        banned = np.fromiter(exclude, dtype=int)
        self.chains = np.setdiff1d(corpus.indices("train"), banned)
        self.table = ElementTable.of_corpus(corpus, self.chains)

    @cached_property
    def loops(self) -> LoopLibrary:
        """Loops of all chains of the library."""
        ca = np.concatenate([self._corpus.backbone(int(chain))[:, 1] for chain in self.chains])
        return LoopLibrary(self.table, ca, np.concatenate([[0], np.cumsum(self.table.length)]))

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
            Best first.
        """
        query = ElementTable.of_blueprint(blueprint)
        score, element_map = align(query, self.table, match_scores(query, self.table))
        score = score + pairing_score(query, self.table, element_map)
        short = np.argsort(-score, kind="stable")[:_SHORTLIST]
        score, element_map = align_with_pairing(query, self.table.take(short))
        best = np.argsort(-score, kind="stable")[:k]
        return [self._hit(blueprint, int(short[b]), float(score[b]), element_map[b]) for b in best]

    def _hit(self, blueprint: Blueprint, row: int, score: float, element_map: np.ndarray) -> Hit:
        used = element_map[element_map >= 0]
        return Hit(
            int(self.chains[row]),
            score,
            tuple(int(j) for j in element_map),
            "fold" if used.size == element_map.size else "partial",
            int(self.table.start[row, used[0]]),
            int(self.table.stop[row, used[-1]]),
        )

    def warp_trace(self, hit: Hit, blueprint: Blueprint, rng: np.random.Generator) -> FloatArray:
        """Bend the fold of a hit to a blueprint and return its CA trace before smoothing.

        Returns
        -------
        ndarray, shape=(residue, 3)
            CA, angstrom.
        """
        row = int(np.searchsorted(self.chains, hit.chain_index))
        return warp_trace(
            ElementTable.of_blueprint(blueprint),
            self.table.take(np.array([row])),
            self._corpus.backbone(hit.chain_index)[:, 1],
            hit.element_map,
            self.loops,
            rng,
        )

    def warp(self, hit: Hit, blueprint: Blueprint, rng: np.random.Generator) -> FloatArray:
        """Bend the fold of a hit to a blueprint.

        Returns
        -------
        ndarray, shape=(residue, 3)
            Axis curve, angstrom.
        """
        return axis_curve(self.warp_trace(hit, blueprint, rng))
