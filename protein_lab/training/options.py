"""What a training run does."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from protein_lab.training.chains import BatchOptions

Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run does; stored in every checkpoint.

    Attributes
    ----------
    learning_rate : float
        Peak; reached after ``warmup`` steps, held, and lowered to a hundredth over the last
        ``cooldown`` of the steps.
    total_steps : int
        Steps of the run; 0 means that they are set from the time allowed, once the speed is known.
    average : float
        Decay of the exponential moving average of the weights, which is what is used.
    clip : float
        Largest norm of the gradient.
    precision : {"float32", "bfloat16"}
        Of affine maps; bfloat16 pays on GPUs only.
    compile : {"auto", "yes", "no"}
        Whether the step is compiled, by ``torch.compile`` or ``jax.jit``; ``auto`` does so on
        GPUs, and always for JAX.
    physics : float
        Weight of the losses of bond lengths and angles, clashes and hydrogen bonds in the last
        part of the run; see :func:`~protein_lab.training.losses.physics_losses`.
    physics_share : float
        Share of the steps that is this last part.
    batches : BatchOptions, optional
        How batches are made; by default as fits the operator.
    """

    learning_rate: Positive = 1e-3
    warmup: Annotated[int, msgspec.Meta(ge=1)] = 200
    cooldown: Share = 0.3
    total_steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0)] = 0.01
    average: Share = 0.999
    clip: Positive = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: Literal["auto", "yes", "no"] = "auto"
    physics: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    physics_share: Share = 0.25
    batches: BatchOptions | None = None

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a function of the step alone, so that resuming is exact."""
        total = self.total_steps or 1_000_000_000
        warm = min(1.0, (step + 1) / self.warmup)
        left = max(0.0, (total - step) / max(1.0, self.cooldown * total))
        return self.learning_rate * warm * max(0.01, min(1.0, left))

    def physics_at(self, step: int) -> float:
        """Weight of the physical losses at a step: zero until the last part of the run."""
        is_late = self.total_steps and step >= (1.0 - self.physics_share) * self.total_steps
        return self.physics if is_late else 0.0
