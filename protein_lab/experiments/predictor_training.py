"""Training of the quality operator on decoys."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.predictor_data import Model, ModelBatches
from protein_lab.models.quality import QualityConfig, QualityInputs, QualityOperator
from protein_lab.training.gradients import clipped
from protein_lab.training.options import TrainingOptions

WHOLE_WEIGHT: Final = 1.0
"""Weight of the squared error of a model's mean, beside that of its residues."""

OPTIONS: Final = TrainingOptions(
    learning_rate=1e-3, warmup=100, cooldown=0.5, average=0.99, total_steps=700
)
RESIDUES: Final = 768
_REPORT_EVERY: Final = 100


class TrainedQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Weights, and how they came about.

    Attributes
    ----------
    params : dict of str to ndarray
        Averaged over the last steps.
    steps : int
    seconds : float
    loss : float
        Mean over the last tenth of the steps.
    """

    params: dict[str, Any]
    steps: int
    seconds: float
    loss: float


def quality_loss(
    config: QualityConfig, backend: Backend
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """Make the loss: squared errors of residues, and of the means of models."""

    def loss(
        params: Parameters, inputs: QualityInputs, target: Array
    ) -> tuple[Array, dict[str, Array]]:
        predicted = QualityOperator(config, params, backend).forward(inputs)
        weight = inputs.backbone.weight
        off = (predicted - target) * weight
        size = backend.sum(weight, axis=1)
        residue = backend.sum(off * off, axis=(0, 1)) / backend.sum(size, axis=0)
        mean = backend.sum(off, axis=1) / size
        whole = backend.sum(mean * mean, axis=0) / float(len(mean))
        return residue + WHOLE_WEIGHT * whole, {"residue": residue, "whole": whole}

    return loss


def train_quality(
    models: Sequence[Model],
    backend: Backend,
    config: QualityConfig | None = None,
    options: TrainingOptions = OPTIONS,
    report: Callable[[str], None] | None = None,
) -> TrainedQuality:
    """Train on models.

    Parameters
    ----------
    models : sequence of Model
        Of chains of the train split.
    backend : Backend
        One that differentiates: torch or JAX.
    config : QualityConfig, optional
    options : TrainingOptions
        Learning rate, steps, seed.
    report : callable, optional
        Told of the loss every hundred steps.

    Returns
    -------
    TrainedQuality

    Raises
    ------
    ProteinLabError
        If there are no models, or the loss is no finite number.
    """
    config = config or QualityConfig()
    if not models:
        raise ProteinLabError("Expected models to train on, but there are none.")
    batches = ModelBatches(models, RESIDUES, options.seed)
    fresh = QualityOperator.initialize(config, np.random.default_rng(options.seed))
    params = {name: backend.asarray(value) for name, value in fresh.items()}
    average = {name: backend.asarray(np.array(value)) for name, value in fresh.items()}
    optimizer = backend.optimizer(params, options.weight_decay)
    differentiate = backend.value_and_grad(quality_loss(config, backend), backend.name == "jax")
    began, losses = time.monotonic(), list[float]()
    for step in range(options.total_steps):
        batch = batches.batch(step, backend, config.neighbors)
        loss, _, gradients = differentiate(params, *batch)
        gradients = clipped(backend, gradients, options.clip)
        if not gradients:
            raise ProteinLabError(
                f"The training diverged: step {step} has no finite gradient.",
                "Train with a lower learning rate.",
            )
        optimizer.step(gradients, options.rate_at(step))
        decay = min(options.average, (1 + step) / (10 + step))
        average = backend.averaged(average, params, decay)
        losses.append(float(loss))
        if report is not None and (step + 1) % _REPORT_EVERY == 0:
            left = (time.monotonic() - began) / (step + 1) * (options.total_steps - step - 1) / 60
            recent = float(np.mean(losses[-_REPORT_EVERY:]))
            report(f"{step + 1}/{options.total_steps}  loss {recent:.4f}  {left:.0f} min left")
    weights: dict[str, NDArray[Any]] = {n: backend.to_numpy(v) for n, v in average.items()}
    return TrainedQuality(
        params=weights,
        steps=options.total_steps,
        seconds=time.monotonic() - began,
        loss=float(np.mean(losses[-max(1, len(losses) // 10) :])),
    )
