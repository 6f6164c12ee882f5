"""What the sequence operator learns: the amino acids of real chains from their backbones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.models.sequence import NUM_TYPES, BackboneInputs, SequenceConfig, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.training.chains import BatchOptions, ChainSource
from protein_lab.training.corpus import Corpus
from protein_lab.training.pieces import row_ranges, rows_of
from protein_lab.training.prefetch import Prefetcher

CLEAN_SHARE = 0.5
"""Share of chains whose coordinates are left as they were measured."""

LARGEST_NOISE = 0.15
"""Largest standard deviation of the noise on coordinates, angstrom: designs are no crystals."""


class SequenceChain(NamedTuple):
    """A stretch of a real chain: backbone, types of residues, and a random order of them."""

    backbone: NDArray[np.float64]
    residues: NDArray[np.int32]
    order: NDArray[np.int64]


class SequenceTask:
    """Cross-entropy of amino acids, from the backbone alone and in random order.

    Parameters
    ----------
    kind : type of SequenceOperator
    config : SequenceConfig
    backend : Backend
    corpus : Corpus
    split : str
    options : BatchOptions
    seed : int
    """

    has_physics = pads = False
    ahead: Prefetcher | None = None

    def __init__(
        self,
        kind: type[SequenceOperator],
        config: SequenceConfig,
        backend: Backend,
        corpus: Corpus,
        split: str,
        options: BatchOptions,
        seed: int,
    ) -> None:
        self.kind, self.config, self.backend = kind, config, backend
        self.corpus = corpus
        self.source = ChainSource(corpus, split, options, seed)

    def batch(self, step: int, params: Parameters) -> tuple[Any, ...]:
        """Make the batch of a step: backbones, types, who sees whom."""
        del params
        return self.fresh(step) if self.ahead is None else self.ahead.get(step, self.backend)

    def fresh(self, step: int, /) -> tuple[Any, ...]:
        """Make what seed and step alone decide of a batch: all of it."""
        picked, rng = self.source.pick(step)
        return self.to_backend([self._chain(index, rng) for index in picked])

    def _chain(self, index: int, rng: np.random.Generator) -> SequenceChain:
        backbone = np.asarray(self.corpus.backbone(index), dtype=np.float64)
        residues = residue_types(self.corpus.sequence(index))
        longest = self.source.options.max_length
        start = int(rng.integers(0, max(1, len(residues) - longest + 1)))
        backbone, residues = backbone[start : start + longest], residues[start : start + longest]
        if rng.random() >= CLEAN_SHARE:
            scale = rng.uniform(0.0, LARGEST_NOISE)
            backbone = backbone + scale * rng.standard_normal(backbone.shape)
        return SequenceChain(backbone, residues, rng.permutation(len(residues)))

    def to_backend(self, chains: list[SequenceChain]) -> tuple[Any, ...]:
        """Pad chains to one length and bring them to the backend."""
        inputs = collate_backbones(
            self.backend, [chain.backbone for chain in chains], self.config.neighbors
        )
        shape = tuple(inputs.weight.shape)
        residues = np.full(shape, NUM_TYPES, dtype=np.int32)
        order = np.zeros(shape, dtype=np.int64)
        for row, chain in enumerate(chains):
            residues[row, : len(chain.residues)] = chain.residues
            order[row, : len(chain.order)] = chain.order
        visible = visibility(order, self.backend.to_numpy(inputs.partner))
        target = np.eye(NUM_TYPES + 1, dtype=np.float32)[residues][..., :NUM_TYPES]
        return (
            inputs,
            self.backend.asarray(residues, "int32"),
            self.backend.asarray(visible, "int32"),
            self.backend.asarray(target),
        )

    def num_chains(self, batch: tuple[Any, ...]) -> int:
        """Chains in a batch."""
        return int(batch[1].shape[0])

    def density(self, step: int) -> int:
        """Say how chains are sampled: at residues, where amino acids are."""
        del step
        return 1

    def loss_at(self, density: int) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Loss of batches, which all have one sampling."""
        del density
        return self.loss

    def split(self, batch: tuple[Any, ...], pieces: int) -> list[tuple[Any, ...]]:
        """Split a batch so that losses and gradients of the pieces add up to those of it."""
        inputs, residues, visible, target = batch[:4]
        count, size = residues.shape
        known = self.backend.sum(target, axis=(0, 1, 2))
        found = []
        for rows in row_ranges(count, pieces):
            piece = BackboneInputs(*rows_of(tuple(inputs), rows))
            # partners are numbered over the points of a batch
            piece = piece._replace(partner=piece.partner - rows.start * size)
            found.append((piece, *rows_of((residues, visible, target), rows), known))
        return found

    def with_physics(self, batch: tuple[Any, ...], weight: float) -> tuple[Any, ...]:
        """Refuse: amino acids have no such losses."""
        raise NotImplementedError(f"There are no physical losses, but their weight is {weight}.")

    def loss(
        self,
        params: Parameters,
        inputs: BackboneInputs,
        residues: Array,
        visible: Array,
        target: Array,
        known: Array | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Loss of a batch and its parts, in nats; residues of unknown type do not count.

        ``known`` counts the residues of the whole batch where this is a piece of it.
        """
        xp = self.backend
        operator = self.kind(self.config, params, xp)
        described = operator.describe(inputs)
        with xp.mixed_precision():
            encoded = operator.encode(described)
            first = operator.first_logits(encoded)
            final = operator.decode(encoded, residues, visible)
        parts = {
            "first": cross_entropy(xp, first, target, known),
            "final": cross_entropy(xp, final, target, known),
        }
        return parts["first"] + parts["final"], parts


def cross_entropy(
    backend: Backend, logits: Array, target: Array, known: Array | None = None
) -> Array:
    """Mean of ``-log p`` of the true types, nats.

    Parameters
    ----------
    logits : Array, shape=(batch, point, type)
    target : Array, shape=(batch, point, type)
        One at the true type; all zero where a residue does not count.
    known : Array, shape=(), optional
        Residues to divide by, where they are not those of ``target``.
    """
    xp = backend
    wide = logits * xp.like(np.ones(1), target)
    probability = xp.maximum(xp.softmax(wide), 1e-9)
    count = xp.sum(target, axis=(0, 1, 2)) if known is None else known
    return -xp.sum(target * xp.log(probability), axis=(0, 1, 2)) / count
