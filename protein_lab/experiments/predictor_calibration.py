"""Calibration of predicted quality on decoys of held-out chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from protein_lab.experiments.predictor_data import Model
from protein_lab.models.quality import QualityOperator
from protein_lab.typing import FloatArray
from protein_lab.validation.quality import (
    COVERAGE,
    QualityCalibration,
    QualityCurve,
    raw_predictions,
)

KNOTS: Final = 24


def fit_quality(operator: QualityOperator, models: Sequence[Model]) -> QualityCalibration:
    """Fit what raw predictions mean, with and without the sequence.

    Parameters
    ----------
    operator : QualityOperator
    models : sequence of Model
        Of chains that the operator was not trained on.
    """
    chains = np.array([item.native for item in models])
    curves = {}
    for suffix, known in (("", True), ("_unknown", False)):
        raw = predict_models(operator, models, known)
        whole = np.array([values.mean() for values in raw])
        truth = np.array([float(np.nanmean(item.lddt)) for item in models])
        curves["whole" + suffix] = fit_curve(whole, truth, chains)
        seen = [np.isfinite(item.lddt) for item in models]
        pooled = [
            np.concatenate([part[mask] for part, mask in zip(parts, seen, strict=True)])
            for parts in (raw, [item.lddt for item in models])
        ]
        owner = np.repeat(chains, [int(mask.sum()) for mask in seen])
        curves["residue" + suffix] = fit_curve(pooled[0], pooled[1], owner)
    return QualityCalibration(**curves, models=len(models), chains=len(set(chains.tolist())))


def predict_models(
    operator: QualityOperator, models: Sequence[Model], known: bool
) -> list[FloatArray]:
    """Predict raw lDDT of models, with or without their sequence."""
    sequences = [item.sequence if known else None for item in models]
    return raw_predictions(operator, [item.backbone for item in models], sequences)


def fit_curve(raw: FloatArray, truth: FloatArray, chains: FloatArray) -> QualityCurve:
    """Fit a monotonous curve, and the interval that holds nine of ten.

    Each half of the chains is predicted by the curve of the other half, so that the interval is
    that of chains which the curve has not seen; then a curve of all is fitted.

    Parameters
    ----------
    raw, truth : ndarray, shape=(item,)
    chains : ndarray, shape=(item,)
        The real chain of each item.
    """
    names = np.unique(chains)
    half = np.isin(chains, names[::2])
    errors = np.zeros(len(raw))
    for mine in (half, ~half):
        if mine.any() and (~mine).any():
            expected = np.interp(raw[~mine], *knots(raw[mine], truth[mine]))
            errors[~mine] = truth[~mine] - expected
    count = len(names)
    level = min(1.0, COVERAGE * (1.0 + 1.0 / count))
    places, values = knots(raw, truth)
    return QualityCurve(
        raw=tuple(map(float, places)),
        expected=tuple(map(float, values)),
        interval=float(np.quantile(np.abs(errors), level)),
    )


def knots(raw: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Isotonic regression, kept at the means of groups of equal size."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(raw, kind="stable")
    fitted = isotonic_regression(truth[order]).x
    groups = np.array_split(np.arange(len(raw)), max(2, min(KNOTS, len(raw) // 8)))
    groups = [group for group in groups if len(group)]
    places = np.array([raw[order][group].mean() for group in groups])
    values = np.array([fitted[group].mean() for group in groups])
    return places, np.clip(values, 0.0, 1.0)
