"""What operators learn: batches of a corpus on a backend, and the loss on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.curve_flow import NO_GUESS, guess_inputs
from protein_lab.flow import collate
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.sequence import SequenceOperator
from protein_lab.training.batches import BatchSource, TrainingChain
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.curve_batches import CurveBatchSource, CurveChain
from protein_lab.training.losses import flow_losses
from protein_lab.training.sequence_task import SequenceTask

CURVE_CONTACT_DISTANCE = 14.0
"""Distance of two points of a curve up to which their elements can touch, angstrom."""


class Task(Protocol):
    """Something to learn."""

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step, which may use the operator as it is; nothing else decides."""
        ...

    @property
    def loss(self) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Function of parameters and a batch: the loss and its parts."""
        ...


class FieldTask:
    """The fine flow: backbone fields around a given curve.

    Parameters
    ----------
    kind : type of BaseNeuralOperator
    config : OperatorConfig
    backend : Backend
    corpus : Corpus
    split : str
    options : BatchOptions
    seed : int
    """

    def __init__(
        self,
        kind: type[BaseNeuralOperator[Any]],
        config: Any,
        backend: Backend,
        corpus: Corpus,
        split: str,
        options: BatchOptions,
        seed: int,
    ) -> None:
        self.kind, self.config, self.backend = kind, config, backend
        prior = (config.prior_scale, config.prior_correlation)
        self.source = BatchSource(corpus, split, options, seed, *prior)

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step: inputs, target, noise, flow time."""
        del params
        return self.to_backend(self.source.batch(step))

    def to_backend(self, chains: Sequence[TrainingChain]) -> tuple[Any, ...]:
        """Pad chains to one length and bring them to the backend."""
        size = max(len(chain.target) for chain in chains)
        inputs = collate(
            self.backend,
            [chain.conditions for chain in chains],
            [chain.curve_error for chain in chains],
            [chain.angle for chain in chains],
            self.config.separation_scales,
            all_pairs=self.kind.sees_all_pairs,
        )
        target = np.zeros((len(chains), size, 3, 3), dtype=np.float32)
        noise = np.zeros_like(target)
        for row, chain in enumerate(chains):
            target[row, : len(chain.target)] = chain.target
            noise[row, : len(chain.noise)] = chain.noise
        times = np.array([chain.time for chain in chains])
        return (inputs, *(self.backend.asarray(value) for value in (target, noise, times)))

    def loss(
        self,
        params: Parameters,
        inputs: ChainInputs,
        target: Array,
        noise: Array,
        time: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """Loss of a batch and its parts."""
        operator = self.kind(self.config, params, self.backend)
        start = inputs.curve[:, :, None, :] + noise
        blend = time[:, None, None, None]
        noisy = start * (1.0 - blend) + target * blend
        encoded = operator.encode_constraints(inputs)
        predicted = operator.forward_with_uncertainty(noisy, time, encoded)
        _, _, scale_out = operator.preconditioning(time, inputs.curve_error)
        return flow_losses(self.backend, predicted, target, encoded.mask, scale_out)


class CurveTask:
    """The coarse flow: axis curves from blueprints alone; parameters as for the fine one."""

    def __init__(
        self,
        kind: type[BaseNeuralOperator[Any]],
        config: Any,
        backend: Backend,
        corpus: Corpus,
        split: str,
        options: BatchOptions,
        seed: int,
    ) -> None:
        self.kind, self.config, self.backend = kind, config, backend
        self.source = CurveBatchSource(corpus, split, options, seed, config.spacing)

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step: inputs, target, noisy curve, flow time.

        In half of the steps the frames run along the operator's own guess from the noisy curve.
        """
        chains, guessed = self.source.batch(step)
        inputs, target, noisy, time = self.to_backend(chains)
        if guessed:
            operator = self.kind(self.config, params, self.backend)
            encoded = operator.encode_constraints(inputs)
            guess = self.backend.to_numpy(operator.forward(noisy, time, encoded))[:, :, 0]
            inputs = guess_inputs(self.backend, inputs, guess, own=True)
        return inputs, target, noisy, time

    def to_backend(self, chains: Sequence[CurveChain]) -> tuple[Any, ...]:
        """Pad chains to one length and bring them to the backend."""
        size = max(len(chain.target) for chain in chains)
        target = np.zeros((len(chains), size, 1, 3), dtype=np.float32)
        noisy = np.zeros_like(target)
        for row, chain in enumerate(chains):
            target[row, : len(chain.target), 0] = chain.target
            noisy[row, : len(chain.target), 0] = chain.conditions.axis_curve
        inputs = collate(
            self.backend,
            [chain.conditions for chain in chains],
            [NO_GUESS] * len(chains),
            [0.0] * len(chains),
            self.config.separation_scales,
        )
        times = np.array([chain.time for chain in chains])
        return (inputs, *(self.backend.asarray(value) for value in (target, noisy, times)))

    def loss(
        self,
        params: Parameters,
        inputs: ChainInputs,
        target: Array,
        noisy: Array,
        time: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """Loss of a batch and its parts."""
        operator = self.kind(self.config, params, self.backend)
        encoded = operator.encode_constraints(inputs)
        predicted = operator.forward_with_uncertainty(noisy, time, encoded)
        _, _, scale_out = operator.preconditioning(time, inputs.curve_error)
        return flow_losses(
            self.backend, predicted, target, encoded.mask, scale_out, CURVE_CONTACT_DISTANCE
        )


TASKS: dict[str, Callable[..., Task]] = {
    CurveDeepONet.name: CurveTask,
    SequenceOperator.name: SequenceTask,
}
"""By name of the operator; all others draw backbone fields."""

BATCHES: dict[str, BatchOptions] = {
    CurveDeepONet.name: BatchOptions(
        residues=4096, max_length=256, drop_pairing=0.15, drop_secondary_structure=0.02
    ),
    SequenceOperator.name: BatchOptions(residues=1024, max_length=256),
}
"""Batches of operators that do not take the common ones."""
