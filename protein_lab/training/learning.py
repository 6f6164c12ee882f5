"""What a training run needs of what it trains on: batches, their loss, and how they are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from protein_lab.backends import Array
from protein_lab.backends.base import Parameters
from protein_lab.training.losses import Totals
from protein_lab.training.prefetch import Prefetcher


class Extras(NamedTuple):
    """What some steps need beside the batch.

    Attributes
    ----------
    guess : Array, shape=(batch, point, atom, 3), optional
        Clean field that the operator predicted before, where it is to look at it.
    physics : Array, shape=(), optional
        Weight of the physical losses.
    totals : Totals, optional
        Counts of the whole batch where this is a piece of it.
    """

    guess: Array | None = None
    physics: Array | None = None
    totals: Totals | None = None


NO_EXTRAS = Extras()


class Task(Protocol):
    """Something to learn."""

    has_physics: bool
    pads: bool
    ahead: Prefetcher | None

    def fresh(self, step: int, /) -> tuple[Any, ...]:
        """Make what seed and step alone decide of a batch."""
        ...

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step, which may use the operator as it is; nothing else decides."""
        ...

    @property
    def loss(self) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Function of parameters and a batch: the loss and its parts."""
        ...

    def num_chains(self, batch: tuple[Any, ...], /) -> int:
        """Chains in a batch: so many pieces can it be split into."""
        ...

    def density(self, step: int, /) -> int:
        """Say how chains are sampled at a step; see :class:`BatchOptions`."""
        ...

    def loss_at(self, density: int, /) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Loss of batches of a sampling."""
        ...

    def split(self, batch: tuple[Any, ...], pieces: int, /) -> list[tuple[Any, ...]]:
        """Split a batch so that losses and gradients of the pieces add up to those of it."""
        ...

    def with_physics(self, batch: tuple[Any, ...], weight: float, /) -> tuple[Any, ...]:
        """Add physical losses to a batch of one point a residue, where ``has_physics``."""
        ...
