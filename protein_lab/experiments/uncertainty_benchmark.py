"""The uncertainty benchmark: are predicted errors those of held-out chains, and how sharp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import special, stats

from protein_lab.design.calibration import BAND, BAND_LEVELS, RATIO_LEVELS, Calibrator, SigmaModel
from protein_lab.design.request import DesignRequest
from protein_lab.design.selection import refine_best
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.held_out_fields import (
    HeldOutCase,
    Progress,
    held_out_fields,
    one_per_cluster,
)
from protein_lab.experiments.quality import Row
from protein_lab.experiments.uncertainty_fit import Errors, errors_of
from protein_lab.metrics.scoring_rules import gaussian_crps
from protein_lab.metrics.uncertainty import (
    LEVELS,
    calibration_error,
    displacement_probability,
    rank_correlation,
)
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray, IntArray
from protein_lab.validation import validate

QUICK: Final = 24
FULL: Final = 200
REFINED: Final = (6, 30)
"""Chains that are also refined, quick and full."""

LONG: Final = 128
"""Longer chains than this were seen in training as crops only."""

COVERAGE: Final = (87.0, 93.0)
LEAST_CORRELATION: Final = 0.5
BEFORE: Final = "uncalibrated: "
_RESAMPLES: Final = 1000
_SEED: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One chain with its errors and a prediction of them.

    Attributes
    ----------
    errors : Errors
    sigma : ndarray, shape=(residue,)
        Root mean square error that was predicted, angstrom.
    probability : ndarray, shape=(residue,)
        Predicted probability of an error no larger than the one found.
    factors : dict of float to float
        By level, half-width of the band for the whole chain over sigma.
    pointwise : float
        The same for a band that holds 90 % of residues.
    """

    errors: Errors
    sigma: FloatArray
    probability: FloatArray
    factors: dict[float, float]
    pointwise: float

    def is_inside(self, level: float = BAND) -> bool:
        """Whether the whole chain lies in its band."""
        return bool((self.errors.error <= self.factors[level] * self.sigma).all())


@dataclass(frozen=True, slots=True, eq=False)
class UncertaintyFigures:
    """What the benchmark found.

    Attributes
    ----------
    rows : list of Row
    before, after : list of Judged
        The same test chains with the spread of samples, and with the calibrated sigma.
    """

    rows: list[Row]
    before: list[Judged]
    after: list[Judged]


def judge_calibrated(errors: Errors, model: SigmaModel) -> Judged:
    """Predict the errors of a chain with a calibration."""
    sigma = model.sigma(errors.features)
    quantiles, levels = [0.0, *model.ratio_quantiles], [0.0, *RATIO_LEVELS]
    probability = np.interp(errors.error / sigma, quantiles, levels)
    factors = {level: model.band[f"{level:g}"] for level in BAND_LEVELS}
    pointwise = model.ratio_quantiles[RATIO_LEVELS.index(BAND)]
    return Judged(errors, sigma, probability, factors, pointwise)


def judge_spread(errors: Errors) -> Judged:
    """Take the spread of samples for the predicted error.

    Displacements are taken as normal; for the band of a chain also as independent between
    residues, since the spread says nothing about that.
    """
    sigma = np.maximum(errors.spread, 1e-6)
    factors = {level: _normal_factor(level ** (1.0 / len(sigma))) for level in BAND_LEVELS}
    probability = displacement_probability(errors.error, sigma)
    return Judged(errors, sigma, probability, factors, _normal_factor(BAND))


def _normal_factor(level: float) -> float:
    """Length that a share of normal displacements of unit mean square does not exceed."""
    return float(np.sqrt(special.gammaincinv(1.5, level) / 1.5))


def run_uncertainty(
    operator: BaseNeuralOperator[Any],
    weights: Path,
    quick: bool = True,
    count: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> UncertaintyFigures:
    """Compare predicted and found errors on test chains, one of each sequence cluster.

    Parameters
    ----------
    operator : BaseNeuralOperator
        With the weights that were calibrated.
    weights : Path
        Folder of weights and calibration.
    quick : bool
        24 chains instead of 200.
    count : int, optional
        Chains instead of the number that ``quick`` says.
    folder : Path, optional
        Where drawn fields are kept.
    progress : callable, optional
        Called with the numbers of finished and of all chains.

    Raises
    ------
    ProteinLabError
        If the operator has no calibration that belongs to its weights, or there are no chains.
    """
    calibrator = Calibrator.load(operator.name, operator.digest, weights)
    calibration = calibrator.calibration
    if calibration is None:
        raise ProteinLabError(f"The uncertainty cannot be measured. {calibrator.reason}.")
    wanted = (QUICK if quick else FULL) if count is None else count
    if wanted < 2:
        raise ProteinLabError(f"Expected at least 2 chains, but got {wanted}.")
    corpus = Corpus.open()
    longest = calibration.lengths[1]
    common = one_per_cluster(corpus, "test", wanted, longest)
    novel = corpus.indices("test", max_length=longest, novel_fold=True).tolist()
    every = list(dict.fromkeys([*common, *novel]))
    cases = {
        case.index: case
        for case in held_out_fields(
            operator, corpus, every, calibration.samples, calibration.steps, folder, progress
        )
    }
    several = {index: errors_of(case, True) for index, case in cases.items()}
    before = {index: judge_spread(item) for index, item in several.items()}
    after = {index: judge_calibrated(item, calibration.several) for index, item in several.items()}
    rows = _group_rows("", common, before, after)
    rows += _group_rows("novel folds: ", novel, before, after)
    if longest > LONG:
        long = [index for index in common if len(several[index].spread) > LONG]
        rows += _group_rows(f"longer than {LONG} residues: ", long, before, after)
    single = {index: errors_of(cases[index], False) for index in common}
    judged = {index: judge_calibrated(item, calibration.single) for index, item in single.items()}
    rows += _rows("one sample: ", [judged[index] for index in common])
    refined = common[: REFINED[0] if quick else REFINED[1]]
    made = [_judge_refined(cases[index], calibration.several) for index in refined]
    rows += _rows("refined: ", made)
    return UncertaintyFigures(rows, [before[n] for n in common], [after[n] for n in common])


def _judge_refined(case: HeldOutCase, model: SigmaModel) -> Judged:
    """Judge the backbone that a design would have, chosen and refined as the engine does it."""

    def is_sound(backbone: FloatArray) -> bool:
        checks = validate(Protein.from_backbone(backbone), DesignRequest(length=40).preset)
        return all(check.verdict != "fail" for check in checks)

    made = refine_best(case.drawn, case.blueprint, case.blueprint, is_sound)
    return judge_calibrated(errors_of(case, True, made.backbone[:, 1]), model)


def _group_rows(
    prefix: str,
    chosen: Sequence[int],
    before: Mapping[int, Judged],
    after: Mapping[int, Judged],
) -> list[Row]:
    # three novel folds are too few for a verdict
    rows = _rows(prefix, [after[index] for index in chosen], demanded=not prefix)
    return rows + _rows(prefix + BEFORE, [before[index] for index in chosen])


def _rows(prefix: str, chains: Sequence[Judged], demanded: bool = False) -> list[Row]:
    """Rows of one group of chains under one prediction."""
    note = f"{len(chains)} chains."
    if not chains:
        return [Row(f"{prefix}chains", 0.0, None, None, "count", None, True, "There are none.")]
    rows = [
        _covered(prefix, chains, demanded, note),
        _mean(prefix + "residues within their 90 % band", [_pointwise(c) for c in chains], "%",
              f"Band for single residues. {note}"),
        _mean(prefix + "mean half-width", [c.factors[BAND] * c.sigma.mean() for c in chains],
              "angstrom", f"Of the 90 % band for the whole chain. {note}"),
        _mean(prefix + "mean error", [np.sqrt((c.errors.error**2).mean()) for c in chains],
              "angstrom", f"Root mean square over residues of a chain. {note}"),
        _mean(prefix + "CRPS", [_crps(c) for c in chains], "angstrom",
              f"Of a coordinate, normal prediction; lower is better. {note}"),
        _miscalibration(prefix, chains, note),
        _correlation(prefix, chains, demanded, note),
    ]  # fmt: skip
    return rows


def _covered(prefix: str, chains: Sequence[Judged], demanded: bool, note: str) -> Row:
    """Share of chains in their band, with an exact binomial interval."""
    inside = sum(item.is_inside() for item in chains)
    bounds = stats.binomtest(inside, len(chains)).proportion_ci(0.95)
    low, high = 100.0 * float(bounds.low), 100.0 * float(bounds.high)
    ok = low <= COVERAGE[1] and high >= COVERAGE[0]
    said = f"Missed when the interval lies outside {COVERAGE[0]:g} to {COVERAGE[1]:g}. "
    return Row(
        f"{prefix}chains within the 90 % band", 100.0 * inside / len(chains), low, high, "%",
        COVERAGE[0] if demanded else None, ok or not demanded,
        f"All residues at once. {said if demanded else ''}{note}",
    )  # fmt: skip


def _picks(count: int) -> IntArray:
    """Bootstrap samples of whole chains."""
    return np.random.default_rng(_SEED).integers(count, size=(_RESAMPLES, count))


def _mean(name: str, values: Sequence[float], unit: str, note: str) -> Row:
    """Mean over chains with its 95 % bootstrap interval."""
    array = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(array[_picks(len(array))].mean(axis=1), (0.025, 0.975))
    return Row(name, float(array.mean()), float(low), float(high), unit, None, True, note)


def _pointwise(chain: Judged) -> float:
    return 100.0 * float((chain.errors.error <= chain.pointwise * chain.sigma).mean())


def _crps(chain: Judged) -> float:
    score = gaussian_crps(0.0, chain.sigma[:, None] / np.sqrt(3.0), chain.errors.offset)
    return float(score.mean())


def _miscalibration(prefix: str, chains: Sequence[Judged], note: str) -> Row:
    """Regression calibration error over the residues of all chains."""
    below = np.array([(c.probability[:, None] <= LEVELS).sum(axis=0) for c in chains])
    sizes = np.array([len(c.sigma) for c in chains])
    picks = _picks(len(chains))
    share = below[picks].sum(axis=1) / sizes[picks].sum(axis=1)[:, None]
    low, high = np.quantile(np.abs(share - LEVELS).mean(axis=1), (0.025, 0.975))
    value = calibration_error(np.concatenate([c.probability for c in chains]))
    return Row(
        prefix + "calibration error", value, float(low), float(high), "fraction", None, True,
        f"Mean distance of predicted and found probabilities. {note}",
    )  # fmt: skip


def _correlation(prefix: str, chains: Sequence[Judged], demanded: bool, note: str) -> Row:
    """Spearman's correlation of predicted and found errors."""
    found = rank_correlation([c.errors.error for c in chains], [c.sigma for c in chains], 200)
    value, low, high = (None if np.isnan(number) else number for number in found)
    ok = not demanded or (value is not None and value >= LEAST_CORRELATION)
    return Row(
        prefix + "rank correlation of sigma and error", value, low, high, "Spearman",
        LEAST_CORRELATION if demanded else None, ok,
        f"Over residues of all chains. {'At least. ' if demanded else ''}{note}",
    )  # fmt: skip
