"""Training batches: chains of like length with perturbed conditions, noise and flow times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import UNSPECIFIED
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.contacts import ORIENTATIONS, find_spans, measure_pairs
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.operators.prior import backbone_noise
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import perturb_curve

MIN_HELIX, MIN_STRAND = 4, 3


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How batches are made.

    Attributes
    ----------
    residues : int
        Residues in a batch, padding included.
    max_length : int
        Longer chains are cropped to this many residues.
    drop_pairing, drop_secondary_structure, mask_residues : float
        Shares of chains that get no pairing, no secondary structure, or one with gaps.
    exact_curve : float
        Share of chains whose curve is not perturbed.
    max_curve_error : float
        Largest amplitude of the perturbation, angstrom.
    """

    residues: int = 1024
    max_length: int = 128
    drop_pairing: float = 0.25
    drop_secondary_structure: float = 0.05
    mask_residues: float = 0.1
    exact_curve: float = 0.15
    max_curve_error: float = 2.0


class TrainingChain(NamedTuple):
    """One chain as the operator sees it, with its target and noise."""

    conditions: Conditions
    curve_error: float
    angle: float
    target: NDArray[np.float32]
    noise: NDArray[np.float32]
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class _Topology:
    elements: list[tuple[int, int]]
    pairs: list[tuple[int, int, str]]


class BatchSource:
    """Draws training chains from a corpus; every batch is a function of (seed, step) alone.

    Parameters
    ----------
    corpus : Corpus
    split : str
        ``train``, ``calibration`` or ``test``.
    options : BatchOptions
    seed : int
    prior_scale, prior_correlation : float
        Prior of the operator, angstrom and residues.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        options: BatchOptions,
        seed: int,
        prior_scale: float,
        prior_correlation: float,
    ) -> None:
        self.corpus = corpus
        self.options = options
        self.seed = seed
        self._prior = (prior_scale, prior_correlation)
        self.chains = corpus.indices(split=split)
        self._topology: dict[int, _Topology] = {}
        lengths = np.minimum(corpus.lengths[self.chains], options.max_length)
        self._buckets = self._make_buckets(lengths)

    def _make_buckets(self, lengths: NDArray[np.integer]) -> list[tuple[int, NDArray[np.intp]]]:
        """Group chains by length; each group holds its longest length and its chains."""
        order = np.argsort(lengths, kind="stable")
        groups = np.array_split(order, max(1, min(16, len(order) // 8)))
        return [(int(lengths[group].max()), group) for group in groups if len(group)]

    def batch(self, step: int) -> list[TrainingChain]:
        """Return the chains of batch number ``step``."""
        rng = np.random.default_rng([self.seed, step])
        sizes = np.array([len(group) * top for top, group in self._buckets], dtype=np.float64)
        top, group = self._buckets[rng.choice(len(self._buckets), p=sizes / sizes.sum())]
        count = max(1, self.options.residues // top)
        picked = rng.choice(group, size=count, replace=len(group) < count)
        return [self._chain(int(self.chains[k]), rng) for k in picked]

    def batches(self, start: int = 0) -> Iterator[tuple[int, list[TrainingChain]]]:
        """Yield step numbers and batches without end, from ``start``."""
        step = start
        while True:
            yield step, self.batch(step)
            step += 1

    def _chain(self, index: int, rng: np.random.Generator) -> TrainingChain:
        options = self.options
        backbone = np.asarray(self.corpus.backbone(index), dtype=np.float64)
        states = self.corpus.secondary_structure(index)
        topology = self._topology_of(index, backbone, states)
        true_curve = axis_curve(backbone[:, 1])
        amplitude = 0.0
        if rng.random() >= options.exact_curve:
            amplitude = float(rng.uniform(0.0, options.max_curve_error))
        curve = perturb_curve(true_curve, topology.elements, rng, amplitude)
        pairs = topology.pairs
        if rng.random() < options.drop_pairing:
            pairs = []
        elif pairs:
            pairs = [pair for pair in pairs if rng.random() < 0.9]
        asked = self._ask(states, rng)
        start, stop = self._crop(len(states), rng)
        center = curve[start:stop].mean(axis=0)
        whole = compile_conditions(asked, topology.elements, pairs, curve - center)
        conditions = Conditions(
            whole.axis_curve[start:stop],
            whole.secondary_structure[start:stop],
            whole.pairing[start:stop, start:stop],
            whole.mask[start:stop],
        )
        return TrainingChain(
            conditions=conditions,
            curve_error=amplitude,
            angle=float(rng.uniform(0.0, 2.0 * np.pi)),
            target=(backbone[start:stop, :3] - center).astype(np.float32),
            noise=backbone_noise(rng, stop - start, 1, *self._prior)[0],
            time=_draw_time(rng),
        )

    def _crop(self, length: int, rng: np.random.Generator) -> tuple[int, int]:
        if length <= self.options.max_length:
            return 0, length
        start = int(rng.integers(0, length - self.options.max_length + 1))
        return start, start + self.options.max_length

    def _ask(self, states: str, rng: np.random.Generator) -> str:
        """Hide secondary structure: all of it, some stretches, or none."""
        draw = rng.random()
        if draw < self.options.drop_secondary_structure:
            return UNSPECIFIED * len(states)
        if draw < self.options.drop_secondary_structure + self.options.mask_residues:
            letters = np.array(list(states))
            start = int(rng.integers(0, len(states)))
            letters[start : start + int(rng.integers(3, 30))] = UNSPECIFIED
            return "".join(letters)
        return states

    def _topology_of(self, index: int, backbone: NDArray[np.float64], states: str) -> _Topology:
        known = self._topology.get(index)
        if known is None:
            spans = find_spans(states, np.array([0, len(states)]), MIN_HELIX, MIN_STRAND)
            first, second, code = measure_pairs(
                spans, axis_curve(backbone[:, 1]), virtual_cb(backbone)
            )
            known = _Topology(
                [(int(a), int(b)) for a, b in zip(spans.start, spans.stop, strict=True)],
                [
                    (int(a), int(b), ORIENTATIONS[int(k) - 1])
                    for a, b, k in zip(first, second, code, strict=True)
                ],
            )
            self._topology[index] = known
        return known


def _draw_time(rng: np.random.Generator) -> float:
    """Flow time, more often near the data, where local geometry is decided."""
    if rng.random() < 0.4:
        return float(rng.uniform(0.0, 1.0))
    return float(rng.beta(1.9, 1.0))
