"""Fit a calibration: errors on held-out chains, a model of their size, conformal bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from protein_lab.design.calibration import (
    BAND_LEVELS,
    RATIO_LEVELS,
    SCHEMA,
    Calibration,
    SigmaModel,
)
from protein_lab.design.residue_features import FEATURES, NEEDS_SAMPLES, residue_features
from protein_lab.design.sampling import uncertainty
from protein_lab.design.selection import field_metrics, field_score
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.held_out_fields import HeldOutCase
from protein_lab.flow import FlowSample
from protein_lab.geometry import superimpose
from protein_lab.metrics.uncertainty import conformal_quantile, sup_score
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import calibration_file, write_atomically
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

LEAST_CHAINS: Final = 30
"""Chains that a calibration needs: with fewer the band of 95 % would be infinite."""

_FITTED: Final = 1 / 3
_SMALLEST_ERROR: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """How far one drawn chain is off, and what was known without the truth.

    Attributes
    ----------
    features : dict of str to ndarray
        From :func:`residue_features`.
    spread : ndarray, shape=(residue,)
        Uncertainty without calibration, angstrom.
    offset : ndarray, shape=(residue, 3)
        From the true to the drawn CA after superposition, angstrom.
    """

    features: dict[str, FloatArray]
    spread: FloatArray
    offset: FloatArray

    @property
    def error(self) -> FloatArray:
        """Length of the offsets, angstrom, shape (residue,)."""
        return np.linalg.norm(self.offset, axis=-1)


def best_sample(case: HeldOutCase) -> int:
    """Choose the sample that a design would be made from first."""
    scores = [field_score(field_metrics(one, case.blueprint)) for one in case.drawn.field]
    return int(np.argmax(scores))


def errors_of(case: HeldOutCase, several: bool, shown: FloatArray | None = None) -> Errors:
    """Compare what was drawn with the real chain.

    Parameters
    ----------
    case : HeldOutCase
    several : bool
        Whether all samples are known, and the best is shown; otherwise only the first one is.
    shown : ndarray, shape=(residue, 3), optional
        CA atoms to compare in place of those of a sample, for instance refined ones.

    Returns
    -------
    Errors
    """
    drawn = case.drawn
    if not several:
        drawn = first_sample(drawn)
    number = best_sample(case) if several else 0
    ca = drawn.field[number, :, 1] if shown is None else shown
    states = case.blueprint.secondary_structure
    return Errors(
        residue_features(drawn, ca, states, case.curve),
        np.asarray(uncertainty(drawn), dtype=np.float64),
        offsets(ca, case.truth[:, 1]),
    )


def first_sample(drawn: FlowSample) -> FlowSample:
    """Leave out all samples but the first."""
    if drawn.guess is None or drawn.guess_sigma is None:
        return FlowSample(drawn.field[:1], drawn.sigma[:1])
    return FlowSample(drawn.field[:1], drawn.sigma[:1], drawn.guess[:1], drawn.guess_sigma[:1])


def offsets(ca: FloatArray, truth: FloatArray) -> FloatArray:
    """Differences of CA atoms from the true ones after superposition, shape (residue, 3)."""
    moved = np.asarray(ca, dtype=np.float64)
    true = np.asarray(truth, dtype=np.float64)
    rotation, shift = superimpose(moved, true)
    return moved @ rotation.T + shift - true


def fit_sigma(chains: Sequence[Errors]) -> dict[str, float]:
    """Fit the logarithm of sigma as a weighted sum of features.

    A generalized linear model of squared errors with logarithmic link and gamma variance: what
    it predicts is the mean squared error. Every chain weighs the same.

    Parameters
    ----------
    chains : sequence of Errors
        With the same features.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ProteinLabError
        If there is no chain.
    """
    import statsmodels.api as sm

    if not chains:
        raise ProteinLabError("Expected at least one chain to fit to, but none came.")
    names = [name for name in FEATURES if name in chains[0].features]
    table = np.concatenate([np.stack([c.features[n] for n in names], axis=1) for c in chains])
    squared = np.concatenate([c.error for c in chains]) ** 2 + _SMALLEST_ERROR**2
    sizes = np.array([len(chain.spread) for chain in chains])
    weight = np.repeat(sizes.mean() / sizes, sizes)
    family = sm.families.Gamma(link=sm.families.links.Log())
    fitted = sm.GLM(squared, table, family=family, var_weights=weight).fit()
    half = 0.5 * np.asarray(fitted.params)
    return {name: float(value) for name, value in zip(names, half, strict=True)}


def conformal_model(
    coefficients: dict[str, float], fitted: int, chains: Sequence[Errors]
) -> SigmaModel:
    """Measure on chains that nothing was fitted to how errors scatter about sigma.

    Parameters
    ----------
    coefficients : dict of str to float
        From :func:`fit_sigma`.
    fitted : int
        Chains that they were fitted to.
    chains : sequence of Errors
        Other chains, exchangeable with those that will be asked about.

    Returns
    -------
    SigmaModel
        ``band`` holds, for each level, the conformal quantile over chains of the largest ratio
        of error to sigma in a chain.

    Raises
    ------
    ProteinLabError
        If there are too few chains for the highest level.
    """
    bare = SigmaModel(
        coefficients=coefficients, ratio_quantiles=(), band={}, fitted_chains=fitted,
        conformal_chains=len(chains),
    )  # fmt: skip
    sigmas = [bare.sigma(chain.features) for chain in chains]
    scores = [sup_score(c.error, s) for c, s in zip(chains, sigmas, strict=True)]
    band = {f"{level:g}": conformal_quantile(scores, 1.0 - level) for level in BAND_LEVELS}
    if not np.isfinite(list(band.values())).all():
        raise ProteinLabError(
            f"{len(chains)} chains are too few for a band that holds {BAND_LEVELS[-1]:.0%} of them."
        )
    ratio = np.concatenate([c.error / s for c, s in zip(chains, sigmas, strict=True)])
    sizes = np.array([len(chain.spread) for chain in chains])
    weight = np.repeat(1.0 / sizes, sizes)
    return SigmaModel(
        coefficients=coefficients,
        ratio_quantiles=tuple(weighted_quantiles(ratio, weight, RATIO_LEVELS).tolist()),
        band=band,
        fitted_chains=fitted,
        conformal_chains=len(chains),
    )


def weighted_quantiles(
    values: FloatArray, weight: FloatArray, levels: Sequence[float]
) -> FloatArray:
    """Smallest value whose share of the weight, with all below, reaches each level."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    place = np.searchsorted(share, np.asarray(levels) - 1e-12)
    return np.asarray(values[order][np.minimum(place, len(values) - 1)])


def fit_model(chains: Sequence[Errors]) -> SigmaModel:
    """Fit to the first third of the chains and calibrate with the others.

    Raises
    ------
    ProteinLabError
        If there are fewer than :data:`LEAST_CHAINS` chains.
    """
    if len(chains) < LEAST_CHAINS:
        raise ProteinLabError(
            f"A calibration needs at least {LEAST_CHAINS} chains, but {len(chains)} came."
        )
    cut = max(round(_FITTED * len(chains)), 1)
    return conformal_model(fit_sigma(chains[:cut]), cut, chains[cut:])


def fit_calibration(
    cases: Sequence[HeldOutCase],
    operator: BaseNeuralOperator[Any],
    corpus: Corpus,
    steps: int,
    longest: int,
) -> Calibration:
    """Fit the calibration of an operator.

    Parameters
    ----------
    cases : sequence of HeldOutCase
        From the calibration split, in random order.
    operator : BaseNeuralOperator
        That drew them.
    corpus : Corpus
    steps : int
        Euler steps they were drawn with.
    longest : int
        Length up to which chains were taken, residues.

    Returns
    -------
    Calibration

    Raises
    ------
    ProteinLabError
        If there are too few cases, or cases of one sample only.
    """
    several = [errors_of(case, True) for case in cases]
    if several and not set(NEEDS_SAMPLES) <= set(several[0].features):
        raise ProteinLabError("A calibration needs at least two samples of every chain.")
    return Calibration(
        schema=SCHEMA,
        operator=operator.name,
        weights_sha256=operator.digest,
        corpus_digest=corpus.digest,
        split="calibration",
        samples=len(cases[0].drawn.field) if cases else 0,
        steps=steps,
        lengths=(int(corpus.lengths.min()), min(longest, int(corpus.lengths.max()))),
        several=fit_model(several),
        single=fit_model([errors_of(case, False) for case in cases]),
    )


def save_calibration(calibration: Calibration, folder: Path) -> Path:
    """Write a calibration where designing looks for it; returns its path."""
    content = msgspec.json.format(msgspec.json.encode(_rounded(calibration)), indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    path = calibration_file(calibration.operator, folder)
    write_atomically(path, content + b"\n")
    return path


def _rounded(calibration: Calibration) -> Calibration:
    """Keep as many digits as mean anything; bands are rounded up, which keeps their promise."""

    def shorten(model: SigmaModel) -> SigmaModel:
        return msgspec.structs.replace(
            model,
            coefficients={name: round(value, 6) for name, value in model.coefficients.items()},
            ratio_quantiles=tuple(round(value, 5) for value in model.ratio_quantiles),
            band={level: ceil(1e5 * value) / 1e5 for level, value in model.band.items()},
        )

    return msgspec.structs.replace(
        calibration, several=shorten(calibration.several), single=shorten(calibration.single)
    )
