"""How well quality is predicted on decoys of chains that nothing was trained or tuned on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.experiments.decoys import NATIVE, DecoyMaker, decoy_chains, make_decoys
from protein_lab.experiments.predictor_data import Model, models_of
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.models.weights import load_operator
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray
from protein_lab.validation.quality import COVERAGE, Quality, QualityPredictor

FLOORS: Final = {"residue": 0.6, "model": 0.7, "native": 90.0}
LONGEST: Final = 160
CHANGES: Final = 9
TEST_CHAINS: Final = 60
QUICK_CHAINS: Final = 12
NEARLY: Final = 0.95
"""Models with a higher lDDT are the native for all that matters, and no decoys of it."""

_RESAMPLES: Final = 1000
_SEED: Final = 5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A model and what was predicted of it.

    Attributes
    ----------
    model : Model
    known, unknown : Quality
        With and without its sequence.
    """

    model: Model
    known: Quality
    unknown: Quality


def held_out_models(
    corpus: Corpus, split: str, count: int, folder: Path, progress: Progress | None = None
) -> list[Model]:
    """Make decoys of held-out chains.

    Parameters
    ----------
    corpus : Corpus
    split : str
        ``calibration`` or ``test``.
    count : int
        Chains.
    folder : Path
        Where decoys are kept.
    progress : callable, optional
        Called with the numbers of finished and of all chains.
    """
    chains = decoy_chains(corpus, split, count, LONGEST)

    def maker() -> DecoyMaker:
        folder_of_weights = Settings.from_environment().weights
        return DecoyMaker(load_operator("enhanced_deeponet", folder=folder_of_weights), corpus)

    return models_of(make_decoys(maker, chains, CHANGES, folder / split, progress), corpus)


def judge(predictor: QualityPredictor, models: Sequence[Model]) -> list[Judged]:
    """Predict the quality of models, with and without their sequences."""
    backbones = [item.backbone for item in models]
    known = predictor.predict_many(backbones, [item.sequence for item in models])
    unknown = predictor.predict_many(backbones, [None] * len(models))
    return [Judged(*item) for item in zip(models, known, unknown, strict=True)]


def run_predictor(judged: Sequence[Judged]) -> list[Row]:
    """Compare predictions with the truth.

    Parameters
    ----------
    judged : sequence of Judged
        From :func:`judge`.

    Returns
    -------
    list of Row
        Intervals come from drawing the real chains anew.
    """
    rows: list[Row] = []
    for name in ("known", "unknown"):
        prefix = "" if name == "known" else "sequence unknown: "
        floors = FLOORS if name == "known" else {}
        tables = _tables(judged, name)
        for key, (measure, unit, note) in _FIGURES.items():
            rows.append(
                _row(prefix + key, tables, measure, unit, floors.get(_FLOOR.get(key, "")), note)
            )
    truth = [float(np.nanmean(item.model.lddt)) for item in judged]
    note = f"Of {len(judged)} models of {len({i.model.native for i in judged})} test chains."
    mean = float(np.mean(truth))
    rows.append(Row("true lDDT, mean", mean, None, None, "lDDT", None, True, note))
    return [*rows, machine_row()]


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Models of one real chain: truth, prediction, and which is the native."""

    truth: FloatArray
    score: FloatArray
    inside: FloatArray
    residue_truth: FloatArray
    residue_score: FloatArray
    residue_inside: FloatArray
    native: int


def _tables(judged: Sequence[Judged], name: str) -> list[_Table]:
    groups: dict[int, list[Judged]] = defaultdict(list)
    for item in judged:
        groups[item.model.native].append(item)
    tables = []
    for group in groups.values():
        made = [getattr(item, name) for item in group]
        truth = np.array([float(np.nanmean(item.model.lddt)) for item in group])
        residue_truth = np.concatenate([item.model.lddt for item in group]).astype(np.float64)
        residue_score = np.concatenate([item.lddt for item in made])
        half = np.concatenate([np.full(len(item.lddt), item.residue_interval) for item in made])
        tables.append(
            _Table(
                truth=truth,
                score=np.array([item.score for item in made]),
                inside=np.array(
                    [q.low <= t <= q.high for q, t in zip(made, truth, strict=True)], dtype=float
                ),
                residue_truth=residue_truth,
                residue_score=residue_score,
                residue_inside=(np.abs(residue_truth - residue_score) <= half).astype(float),
                native=next(k for k, item in enumerate(group) if item.model.kind == NATIVE),
            )
        )
    return tables


def _joined(tables: Sequence[_Table], name: str) -> FloatArray:
    return np.concatenate([getattr(table, name) for table in tables])


def _rank_correlation(tables: Sequence[_Table], one: str, two: str) -> float:
    from scipy.stats import rankdata

    ranks = [rankdata(_joined(tables, name)) for name in (one, two)]
    return float(np.corrcoef(*ranks)[0, 1])


def _linear_correlation(tables: Sequence[_Table], one: str, two: str) -> float:
    return float(np.corrcoef(_joined(tables, one), _joined(tables, two))[0, 1])


def _native_above(tables: Sequence[_Table]) -> float:
    wins = total = 0
    for table in tables:
        decoys = np.flatnonzero(table.truth < NEARLY)
        wins += int((table.score[table.native] > table.score[decoys]).sum())
        total += len(decoys)
    return 100.0 * wins / max(total, 1)


def _native_first(tables: Sequence[_Table]) -> float:
    first = [
        table.score[table.native] > table.score[table.truth < NEARLY].max(initial=-1.0)
        for table in tables
    ]
    return 100.0 * float(np.mean(first))


_FIGURES: Final[dict[str, tuple[Callable[[Sequence[_Table]], float], str, str]]] = {
    "rank correlation, residues": (
        lambda t: _rank_correlation(t, "residue_truth", "residue_score"), "Spearman",
        "Predicted and true lDDT of residues; a floor is a least value.",
    ),
    "rank correlation, models": (
        lambda t: _rank_correlation(t, "truth", "score"), "Spearman",
        "Predicted and true lDDT of whole models; a floor is a least value.",
    ),
    "native above its decoys": (
        _native_above, "%",
        f"Decoys with lDDT under {NEARLY:g} that score below their native.",
    ),
    "native first": (_native_first, "%", "Natives that score above all of their decoys."),
    "correlation, residues": (
        lambda t: _linear_correlation(t, "residue_truth", "residue_score"), "Pearson", "",
    ),
    "correlation, models": (lambda t: _linear_correlation(t, "truth", "score"), "Pearson", ""),
    "mean error, models": (
        lambda t: float(np.abs(_joined(t, "truth") - _joined(t, "score")).mean()), "lDDT",
        "Mean absolute difference.",
    ),
    "inside the interval, models": (
        lambda t: 100.0 * float(_joined(t, "inside").mean()), "%",
        f"Models whose truth lies in their interval of {COVERAGE:.0%}.",
    ),
    "inside the interval, residues": (
        lambda t: 100.0 * float(_joined(t, "residue_inside").mean()), "%",
        f"Residues whose truth lies in their interval of {COVERAGE:.0%}.",
    ),
}  # fmt: skip
_FLOOR: Final = {
    "rank correlation, residues": "residue",
    "rank correlation, models": "model",
    "native above its decoys": "native",
}


def _row(
    name: str,
    tables: Sequence[_Table],
    measure: Callable[[Sequence[_Table]], float],
    unit: str,
    floor: float | None,
    note: str,
) -> Row:
    """Measure, and again on chains drawn with replacement."""
    rng = np.random.default_rng(_SEED)
    value = measure(tables)
    again = [
        measure([tables[k] for k in rng.integers(len(tables), size=len(tables))])
        for _ in range(_RESAMPLES if "residue" not in name else _RESAMPLES // 5)
    ]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    ok = floor is None or value >= floor
    return Row(name, value, float(low), float(high), unit, floor, ok, note)
