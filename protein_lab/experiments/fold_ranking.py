"""Fit the weights with which candidates of the fold library are ranked.

Blueprints of training chains are searched in a library without the chain's own sequence cluster.
The guides of the candidates are compared with the chain by TM-align, and a conditional logit
model learns which candidate is the closest. Run it again with

    python -m protein_lab.experiments.fold_ranking

after the alignment, the guides or the corpus changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.design.fold_library import FoldLibrary
from protein_lab.design.ranking import RANKING_FILE, probabilities
from protein_lab.experiments.quality_measures import Case, case_of, is_answerable
from protein_lab.metrics import tm_align
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

LENGTHS: Final = (50, 128)
SEED: Final = 11
QUERIES: Final = 150
PENALTY: Final = 0.05
"""Pull of the weights, in standard deviations of their features, towards the first estimate."""

_FIRST: Final = 15.0
_TARGET: Final = 12.0
"""Growth of the share that a candidate has in the target with its TM-score."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """Candidates of one blueprint and their TM-scores to the chain that it comes from.

    Attributes
    ----------
    features : dict of str to ndarray, shape=(candidate,)
        What the ranking sees.
    scores : ndarray, shape=(candidate,)
        TM-score of each guide, normalized by the chain.
    """

    features: dict[str, FloatArray]
    scores: FloatArray


def queries(
    corpus: Corpus, split: str, count: int, seed: int = SEED
) -> Iterator[tuple[Case, Query]]:
    """Search the library with blueprints of real chains.

    Parameters
    ----------
    corpus : Corpus
        Real chains.
    split : str
        ``train``, ``calibration`` or ``test``.
    count : int
        Number of blueprints.
    seed : int
        Draws the chains.
    """
    library = FoldLibrary(corpus)
    order = np.random.default_rng(seed).permutation(corpus.indices(split, *LENGTHS))
    found = 0
    for index in order:
        case = case_of(corpus, int(index), 1, "enhanced_deeponet", seed)
        if found == count:
            return
        if not is_answerable(case):
            continue
        found += 1
        same = np.flatnonzero(corpus.cluster == corpus.cluster[index])
        candidates = library.candidates(ElementTable.of_blueprint(case.blueprint), same)
        scores = [_tm(case.chain.backbone[:, 1], guide) for guide in candidates.guides]
        yield case, Query(candidates.features, np.array(scores))


def _tm(ca: FloatArray, guide: FloatArray) -> float:
    known = guide[np.isfinite(guide[:, 0])]
    return tm_align(ca, "A" * len(ca), known, "A" * len(known)).tm_a


def fit_ranking(found: Sequence[Query], penalty: float = PENALTY) -> dict[str, float]:
    """Fit the weight of each feature.

    Parameters
    ----------
    found : sequence of Query
        At least one.
    penalty : float
        Pull towards the first estimate alone.

    Returns
    -------
    dict of str to float
        By name of the feature, in the order of the features.
    """
    from scipy.optimize import minimize

    names = list(found[0].features)
    tables = [np.stack([query.features[name] for name in names], axis=1) for query in found]
    spread = np.concatenate(tables).std(axis=0) + 1e-9
    tables = [(table - table.mean(axis=0)) / spread for table in tables]
    targets = [np.exp(_TARGET * (query.scores - query.scores.max())) for query in found]
    targets = [target / target.sum() for target in targets]
    first = np.where(np.array(names) == "expected", _FIRST * spread, 0.0)

    def loss(weight: FloatArray) -> tuple[float, FloatArray]:
        value, slope = 0.0, np.zeros_like(weight)
        for table, target in zip(tables, targets, strict=True):
            score = table @ weight
            score -= score.max()
            likelihood = score - np.log(np.exp(score).sum())
            value -= float(target @ likelihood)
            slope += table.T @ (np.exp(likelihood) - target)
        away = weight - first
        count = len(tables)
        return value / count + penalty * float(away @ away), slope / count + 2 * penalty * away

    weight = minimize(loss, first, jac=True, method="L-BFGS-B").x / spread
    return {name: float(value) for name, value in zip(names, weight, strict=True)}


def first_picks(found: Sequence[Query], weights: dict[str, float]) -> float:
    """Mean TM-score of the likeliest candidate of each query."""
    picks = [int(probabilities(query.features, weights).argmax()) for query in found]
    return float(np.mean([query.scores[p] for query, p in zip(found, picks, strict=True)]))


def card(corpus: Corpus, found: Sequence[Query], weights: dict[str, float]) -> str:
    """Write the weights and how they were fitted as TOML."""
    before = first_picks(found, {"expected": 1.0})
    lines = [
        "[fit]",
        'command = "python -m protein_lab.experiments.fold_ranking"',
        f'corpus_digest = "{corpus.digest}"',
        'corpus_split = "train"',
        f"queries = {len(found)}",
        f"seed = {SEED}",
        f"penalty = {PENALTY}",
        f"tm_of_first_estimate = {before:.4f}",
        f"tm_of_ranking = {first_picks(found, weights):.4f}",
        "",
        "[weights]",
        *(f"{name} = {value:.6g}" for name, value in weights.items()),
    ]
    return "\n".join(lines) + "\n"


def run(corpus: Corpus, count: int, path: Path, progress: Callable[[int], None]) -> None:
    """Fit on blueprints of training chains and write the card."""
    found: list[Query] = []
    for _, query in queries(corpus, "train", count):
        found.append(query)
        progress(len(found))
    path.write_text(card(corpus, found, fit_ranking(found)), encoding="utf-8")


def _report(done: int) -> None:
    if done % 10 == 0:
        sys.stderr.write(f"{done} blueprints\n")
        sys.stderr.flush()


def main() -> None:
    """Read the command line and fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=QUERIES, help="blueprints to fit on")
    parser.add_argument("--out", type=Path, default=RANKING_FILE, help="file to write")
    options = parser.parse_args()
    run(Corpus.open(), options.queries, options.out, _report)


if __name__ == "__main__":
    main()
