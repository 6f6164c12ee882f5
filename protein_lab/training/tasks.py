"""What operators learn: batches of a corpus on a backend, and the loss on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any

import numpy as np

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.collation import collate
from protein_lab.curve_flow import NO_GUESS, guess_inputs
from protein_lab.errors import ProteinLabError
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.sequence import SequenceOperator
from protein_lab.models.weights import OPERATORS
from protein_lab.training.batches import BatchSource, TrainingChain
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.curve_batches import CurveBatchSource, CurveChain
from protein_lab.training.learning import NO_EXTRAS, Extras, Task
from protein_lab.training.losses import CONTACT_DISTANCE, flow_losses, loss_totals
from protein_lab.training.physics_losses import physics_losses
from protein_lab.training.pieces import row_ranges, rows_of
from protein_lab.training.prefetch import Prefetcher
from protein_lab.training.sequence_task import SequenceTask

CURVE_CONTACT_DISTANCE = 14.0
"""Distance of two points of a curve up to which their elements can touch, angstrom."""

GUESSED = 0.5
"""Share of steps in which the operator sees its own guess, where it is trained to."""


class _FieldBatches:
    """How batches of ``inputs, target, noise or noisy field, time`` and extras are handled."""

    kind: type[BaseNeuralOperator[Any]]
    config: Any
    backend: Backend
    contact_distance = CONTACT_DISTANCE
    pads = False
    ahead: Prefetcher | None = None
    """Makes batches in other processes, where there are some."""

    def fresh(self, step: int, /) -> tuple[Any, ...]:
        """Make what seed and step alone decide of a batch."""
        raise NotImplementedError

    def _next(self, step: int) -> tuple[Any, ...]:
        """Take what was made ahead, or make it."""
        return self.fresh(step) if self.ahead is None else self.ahead.get(step, self.backend)

    def operator(self, params: Parameters, density: int = 1) -> BaseNeuralOperator[Any]:
        """Make the operator for a sampling of its chains."""
        return self.kind(self.config, params, self.backend, points_per_residue=density)

    def loss(self, params: Parameters, *batch: Any) -> tuple[Array, dict[str, Array]]:
        """Loss of a batch of the usual sampling, and its parts."""
        return self.loss_at(1)(params, *batch)

    def loss_at(self, density: int) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Loss of batches of a sampling."""
        raise NotImplementedError

    def num_chains(self, batch: tuple[Any, ...]) -> int:
        """Chains in a batch."""
        return int(batch[1].shape[0])

    def split(self, batch: tuple[Any, ...], pieces: int) -> list[tuple[Any, ...]]:
        """Split a batch; see :class:`Task`."""
        inputs, target = batch[:2]
        extras = batch[4] if len(batch) > 4 else NO_EXTRAS
        weight = inputs.weight
        mask = self.backend.where(weight > 0, weight * 0.0 + 1.0, weight * 0.0)
        totals = loss_totals(self.backend, target, mask, self.contact_distance)
        return [
            (*rows_of(batch[:4], rows),
             Extras(rows_of(extras.guess, rows), extras.physics, totals))
            for rows in row_ranges(self.num_chains(batch), pieces)
        ]  # fmt: skip

    def with_physics(self, batch: tuple[Any, ...], weight: float) -> tuple[Any, ...]:
        """Add physical losses; see :class:`Task`."""
        extras = batch[4] if len(batch) > 4 else NO_EXTRAS
        return (*batch[:4], extras._replace(physics=self.backend.asarray(weight)))


class FieldTask(_FieldBatches):
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

    has_physics = True

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
        self.pads = backend.fixed_shapes
        prior = (config.prior_scale, config.prior_correlation)
        self.source = BatchSource(corpus, split, options, seed, *prior)

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step: inputs, target, noise, flow time, and what else it needs."""
        batch = self._next(step)
        operator = self.operator(params, self.source.density(step))
        if not operator.looks_back:
            return batch
        if np.random.default_rng([self.source.seed, step, 1]).random() >= GUESSED:
            return batch
        inputs, target, noise, time = batch
        encoded = operator.encode_constraints(inputs)
        guess = operator.forward(_noisy(inputs, target, noise, time), time, encoded)
        return (*batch, Extras(guess=self.backend.stop_gradient(guess)))

    def fresh(self, step: int, /) -> tuple[Any, ...]:
        """Make what seed and step alone decide of a batch."""
        return self.to_backend(self.source.batch(step))

    def to_backend(self, chains: Sequence[TrainingChain]) -> tuple[Any, ...]:
        """Pad chains to one length and bring them to the backend."""
        size = max(len(chain.target) for chain in chains)
        if self.pads:
            size = self.source.padded(size)
        inputs = collate(
            self.backend,
            [chain.conditions for chain in chains],
            [chain.curve_error for chain in chains],
            [chain.angle for chain in chains],
            self.config.separation_scales,
            size,
            all_pairs=self.kind.sees_all_pairs,
        )
        target = np.zeros((len(chains), size, 3, 3), dtype=np.float32)
        noise = np.zeros_like(target)
        for row, chain in enumerate(chains):
            target[row, : len(chain.target)] = chain.target
            noise[row, : len(chain.noise)] = chain.noise
        times = np.array([chain.time for chain in chains])
        return (inputs, *(self.backend.asarray(value) for value in (target, noise, times)))

    def density(self, step: int) -> int:
        """Say how chains are sampled at a step; see :class:`BatchOptions`."""
        return self.source.density(step)

    def loss_at(self, density: int) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Loss of batches of a sampling."""

        def loss(params: Parameters, *batch: Any) -> tuple[Array, dict[str, Array]]:
            return self._loss(density, params, *batch)

        return loss

    def _loss(
        self,
        density: int,
        params: Parameters,
        inputs: ChainInputs,
        target: Array,
        noise: Array,
        time: Array,
        extras: Extras = NO_EXTRAS,
    ) -> tuple[Array, dict[str, Array]]:
        xp = self.backend
        operator = self.operator(params, density)
        encoded = operator.encode_constraints(inputs)._replace(guess=extras.guess)
        noisy = _noisy(inputs, target, noise, time)
        predicted = operator.forward_with_uncertainty(noisy, time, encoded)
        _, _, scale_out = operator.preconditioning(time, inputs.curve_error)
        totals = extras.totals
        loss, parts = flow_losses(xp, predicted, target, encoded.mask, scale_out, totals=totals)
        if extras.physics is not None:
            count = None if totals is None else totals.residues
            physics = physics_losses(xp, predicted.mean, target, encoded.mask, time, count)
            parts |= physics
            loss = loss + extras.physics * sum(physics.values())
        return loss, parts


def _noisy(inputs: ChainInputs, target: Array, noise: Array, time: Array) -> Array:
    """Field at a flow time, on the straight path from noise around the curve to the target."""
    start = inputs.curve[:, :, None, :] + noise
    blend = time[:, None, None, None]
    return start * (1.0 - blend) + target * blend


class CurveTask(_FieldBatches):
    """The coarse flow: axis curves from blueprints alone; parameters as for the fine one."""

    has_physics = False
    contact_distance = CURVE_CONTACT_DISTANCE

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
        if config.self_conditioning:
            raise ProteinLabError(
                f"The operator {kind.name} has self_conditioning, but it already draws its frames "
                "along its own guess.", "Leave self_conditioning out of the sizes.",
            )  # fmt: skip
        self.kind, self.config, self.backend = kind, config, backend
        self.source = CurveBatchSource(corpus, split, options, seed, config.spacing)

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step: inputs, target, noisy curve, flow time.

        In half of the steps the frames run along the operator's own guess from the noisy curve.
        """
        inputs, target, noisy, time, guessed = self._next(step)
        if guessed:
            operator = self.operator(params, self.source.density(step))
            encoded = operator.encode_constraints(inputs)
            guess = self.backend.to_numpy(operator.forward(noisy, time, encoded))[:, :, 0]
            inputs = guess_inputs(self.backend, inputs, guess, own=True)
        return inputs, target, noisy, time

    def fresh(self, step: int, /) -> tuple[Any, ...]:
        """Make what seed and step alone decide of a batch, and whether the operator guesses."""
        chains, guessed = self.source.batch(step)
        return (*self.to_backend(chains), guessed)

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

    def density(self, step: int) -> int:
        """Say how chains are sampled at a step; see :class:`BatchOptions`."""
        return self.source.density(step)

    def loss_at(self, density: int) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Loss of batches of a sampling."""

        def loss(params: Parameters, *batch: Any) -> tuple[Array, dict[str, Array]]:
            return self._loss(density, params, *batch)

        return loss

    def _loss(
        self,
        density: int,
        params: Parameters,
        inputs: ChainInputs,
        target: Array,
        noisy: Array,
        time: Array,
        extras: Extras = NO_EXTRAS,
    ) -> tuple[Array, dict[str, Array]]:
        operator = self.operator(params, density)
        encoded = operator.encode_constraints(inputs)
        predicted = operator.forward_with_uncertainty(noisy, time, encoded)
        _, _, scale_out = operator.preconditioning(time, inputs.curve_error)
        return flow_losses(
            self.backend, predicted, target, encoded.mask, scale_out, self.contact_distance,
            extras.totals,
        )  # fmt: skip


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


def make_task(
    operator: str,
    config: Any,
    split: str,
    options: BatchOptions,
    seed: int,
    backend: Backend,
    corpus: Corpus,
    *,
    pads: bool | None = None,
) -> Task:
    """Make what an operator learns.

    Parameters
    ----------
    operator : str
        Its name.
    config : msgspec.Struct
        Its sizes.
    split, options, seed
        See :class:`FieldTask`.
    backend : Backend
    corpus : Corpus
    pads : bool, optional
        Whether batches of like length get one shape; by default where the backend wants it.
    """
    task = TASKS.get(operator, FieldTask)(
        OPERATORS[operator][0], config, backend, corpus, split, options, seed
    )
    if pads is not None:
        task.pads = pads
    return task


def made_ahead(
    operator: str,
    config: Any,
    options: BatchOptions,
    seed: int,
    backend: Backend,
    corpus: Corpus,
    loaders: int,
    stride: int = 1,
) -> AbstractContextManager[Prefetcher | None]:
    """Start processes that make training batches; none where ``loaders`` is 0.

    Parameters
    ----------
    operator, config, options, seed, backend, corpus
        See :func:`make_task`.
    loaders : int
        Processes.
    stride : int
        See :class:`Prefetcher`.
    """
    if not loaders:
        return nullcontext()
    pads = backend.fixed_shapes
    make = partial(make_task, operator, config, "train", options, seed, pads=pads)
    return closing(Prefetcher(make, corpus, loaders, stride))
