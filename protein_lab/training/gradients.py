"""Gradients of batches, in as many pieces as the memory of the device asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.errors import ProteinLabError
from protein_lab.training.learning import Task

Differentiated = Callable[..., tuple[Array, dict[str, Array], dict[str, Array]]]


class DivergedError(ProteinLabError):
    """The loss or its gradient is no finite number any more."""


def clipped(backend: Backend, gradients: Mapping[str, Array], largest: float) -> dict[str, Array]:
    """Shorten gradients to a norm; empty where they are not finite."""
    norm = backend.norm(gradients)
    if not math.isfinite(norm):
        return {}
    factor = largest / norm if norm > largest else 1.0
    return {n: g * factor for n, g in gradients.items()} if factor < 1.0 else dict(gradients)


class GradientSum:
    """Loss, its parts and gradients of a batch.

    When memory does not suffice, the batch is cut into twice as many pieces, whose gradients are
    added up: the step stays the same up to rounding, only slower.

    Parameters
    ----------
    backend : Backend
    task : Task
    compiled : {"auto", "yes", "no"}
    say : callable
        Told when batches are cut.
    pieces : int
        Pieces to begin with.
    """

    def __init__(
        self,
        backend: Backend,
        task: Task,
        compiled: Literal["auto", "yes", "no"],
        say: Callable[[str], None],
        pieces: int = 1,
    ) -> None:
        self.pieces = pieces
        self._backend, self._task, self._say = backend, task, say
        choice = {"auto": True if backend.name == "jax" else None, "yes": True, "no": False}
        self._compiled = choice[compiled]
        self.differentiated: dict[int, Differentiated] = {}

    def __call__(
        self, params: Parameters, batch: tuple[Any, ...], density: int = 1
    ) -> tuple[float, dict[str, float], dict[str, Array]]:
        """Differentiate the loss of a batch whose chains are sampled at a density.

        Raises
        ------
        ProteinLabError
            If not even a single chain fits into memory.
        """
        while True:
            try:
                return self._sum(params, batch, density)
            except Exception as error:
                if not self._backend.is_out_of_memory(error):
                    raise
                self._cut(self._task.num_chains(batch), error)

    def _sum(
        self, params: Parameters, batch: tuple[Any, ...], density: int
    ) -> tuple[float, dict[str, float], dict[str, Array]]:
        differentiate = self._for_sampling(density)
        pieces = self._task.split(batch, self.pieces) if self.pieces > 1 else [batch]
        loss, parts, gradients = differentiate(params, *pieces[0])
        value, values = float(loss), {name: float(part) for name, part in parts.items()}
        for piece in pieces[1:]:
            loss, parts, more = differentiate(params, *piece)
            gradients = {name: gradients[name] + gradient for name, gradient in more.items()}
            value += float(loss)
            values = {name: total + float(parts[name]) for name, total in values.items()}
        return value, values, gradients

    def _for_sampling(self, density: int) -> Differentiated:
        """Differentiated loss of a sampling, made and compiled once."""
        if density not in self.differentiated:
            loss = self._task.loss_at(density)
            self.differentiated[density] = self._backend.value_and_grad(loss, self._compiled)
        return self.differentiated[density]

    def _cut(self, num_chains: int, error: Exception) -> None:
        if self.pieces >= num_chains:
            raise ProteinLabError(
                f"The memory of {self._backend.device} does not hold a single chain of a batch.",
                "Set a smaller max_length under [options.batches] in a recipe.",
            ) from error
        self.pieces *= 2
        self._say(
            f"The memory of {self._backend.device} does not hold a batch: it is computed in "
            f"{self.pieces} pieces now, with the same result."
        )
