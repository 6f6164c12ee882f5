"""The curve benchmark: coarse curves that the operator folds by itself, before any backbone.

Blueprints are read from chains of the corpus; curves drawn for them are compared with the axis
curves of these chains. The score that chooses among curves is fitted anew beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from protein_lab.design.curve_choice import COEFFICIENTS, score_terms
from protein_lab.design.curves import POOL, SHARED_BY, draw_curves
from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.quality import LENGTHS, SEED, Row
from protein_lab.experiments.quality_measures import Case, case_of, is_answerable
from protein_lab.geometry import axis_curve
from protein_lab.metrics import tm_score
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.weights import load_operator
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray, IntArray

NUM_CHAINS: Final = 40
QUICK_CHAINS: Final = 8
_RESAMPLES: Final = 2000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class CurveScores:
    """Curves of one chain.

    Attributes
    ----------
    tm : ndarray, shape=(curve,)
        TM-score of each to the axis curve of the chain, residues in correspondence.
    terms : ndarray, shape=(curve, term)
        What the score is made of, in the order of ``COEFFICIENTS``.
    expected : ndarray, shape=(curve,)
        The score.
    chosen : ndarray
        Curves that eight designs would take, in order.
    """

    tm: FloatArray
    terms: FloatArray
    expected: FloatArray
    chosen: IntArray


def run_curves(
    quick: bool = False,
    split: str = "calibration",
    backend: str = "auto",
    progress: Progress | None = None,
    num_chains: int | None = None,
    num_curves: int = POOL,
) -> list[Row]:
    """Run the benchmark.

    Parameters
    ----------
    quick : bool
        8 chains instead of 40.
    split : str
        Part of the corpus; the score was fitted on ``calibration``.
    backend : str
        Array backend.
    progress : callable, optional
        Called with the numbers of finished and of all chains.
    num_chains : int, optional
        Chains instead of the number that ``quick`` says.
    num_curves : int
        Curves for each chain.

    Returns
    -------
    list of Row

    Raises
    ------
    CorpusError
        If the split has no chain of 50 to 128 residues.
    ProteinLabError
        If there are too few chains or curves.
    """
    wanted = num_chains or (QUICK_CHAINS if quick else NUM_CHAINS)
    if wanted < 2 or num_curves < SHARED_BY:
        raise ProteinLabError(
            f"Expected two chains and {SHARED_BY} curves or more, but got {wanted}, {num_curves}.",
            "Give larger numbers.",
        )
    corpus = Corpus.open()
    operator = load_operator(CurveDeepONet.name, backend)
    cases = _cases(corpus, split, wanted)
    scores: list[CurveScores] = []
    for case in cases:
        scores.append(score_case(operator, case, num_curves))
        if progress is not None:
            progress(len(scores), len(cases))
    return rows_of(scores)


def _cases(corpus: Corpus, split: str, wanted: int) -> list[Case]:
    """Choose chains at random, always the same ones."""
    cases: list[Case] = []
    for index in np.random.default_rng(SEED).permutation(corpus.indices(split, *LENGTHS)):
        case = case_of(corpus, int(index), 1, "enhanced_deeponet", SEED)
        if is_answerable(case):
            cases.append(case)
        if len(cases) == wanted:
            break
    if not cases:
        raise CorpusError(
            f"The corpus at {corpus.path} has no {split} chain of {LENGTHS[0]} to {LENGTHS[1]} "
            "residues.",
            "Build a corpus with this split.",
        )
    return cases


def score_case(operator: BaseNeuralOperator[Any], case: Case, num_curves: int) -> CurveScores:
    """Draw curves for a blueprint and compare them with its chain.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Of the coarse scale.
    case : Case
        Chain and blueprint.
    num_curves : int
        Curves to draw.
    """
    blueprint = case.blueprint
    rng = np.random.default_rng(SEED)
    drawn = draw_curves(operator, blueprint, rng, SHARED_BY, num_curves=num_curves)
    true = axis_curve(case.chain.backbone[:, 1])
    return CurveScores(
        np.array([tm_score(curve, true) for curve in drawn.curves]),
        score_terms(drawn.curves, drawn.log_sigma, drawn.close, blueprint),
        drawn.expected,
        drawn.chosen,
    )


def rows_of(scores: Sequence[CurveScores]) -> list[Row]:
    """Turn the curves of all chains into rows, with 95 % bootstrap intervals over chains.

    Parameters
    ----------
    scores : sequence of CurveScores
        One a chain.

    Returns
    -------
    list of Row
        The last ones are the coefficients of the score, fitted to these curves.
    """
    groups = [item.tm[: len(item.tm) // SHARED_BY * SHARED_BY] for item in scores]
    figures = {
        "curves, mean": ([item.tm.mean() for item in scores], "All that were drawn."),
        "curves, best of 8 blindly": (
            [tm.reshape(-1, SHARED_BY).max(axis=1).mean() for tm in groups],
            "Without a choice.",
        ),
        "likeliest curve": ([item.tm[item.chosen[0]] for item in scores], "Of the first design."),
        "chosen curves, mean": ([item.tm[item.chosen].mean() for item in scores], "Of 8 designs."),
        "chosen curves, best of 8": ([item.tm[item.chosen].max() for item in scores], "At least."),
        "best of all curves": ([item.tm.max() for item in scores], "No choice can do better."),
        "correlation of the score": (
            [float(np.corrcoef(item.expected, item.tm)[0, 1]) for item in scores],
            "With the TM-score, inside chains.",
        ),
    }
    rows = [_row(name, np.array(values), note) for name, (values, note) in figures.items()]
    return rows + _fitted(scores)


def _row(name: str, values: FloatArray, note: str) -> Row:
    picks = np.random.default_rng(SEED).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), (0.025, 0.975))
    unit = "TM-score" if "curve" in name else "1"
    return Row(name, float(values.mean()), float(low), float(high), unit, None, True, note)


def _fitted(scores: Sequence[CurveScores]) -> list[Row]:
    """Fit the score to differences between curves of one chain; errors by chain."""
    from statsmodels.api import OLS

    terms = np.concatenate([item.terms - item.terms.mean(axis=0) for item in scores])
    tm = np.concatenate([item.tm - item.tm.mean() for item in scores])
    chain = np.repeat(np.arange(len(scores)), [len(item.tm) for item in scores])
    fit = OLS(tm, terms).fit(cov_type="cluster", cov_kwds={"groups": chain})
    interval = np.asarray(fit.conf_int())
    return [
        Row(
            f"coefficient of {name}", float(value), float(low), float(high), "TM-score", None,
            True, f"Used: {COEFFICIENTS[name]:g}.",
        )
        for name, value, (low, high) in zip(COEFFICIENTS, fit.params, interval, strict=True)
    ]  # fmt: skip
