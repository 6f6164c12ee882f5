"""Which chains of a corpus make a training batch, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import UNSPECIFIED
from protein_lab.contacts import ORIENTATIONS, find_spans, measure_pairs
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.training.corpus import Corpus

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
    densities : tuple of int
        Points at which chains are sampled, in units of the usual ones (one a residue, or one
        every ``spacing`` residues for the coarse flow); drawn anew for every step. The same
        number of points makes a batch, so denser ones hold fewer chains.
    """

    residues: int = 1024
    max_length: int = 128
    drop_pairing: float = 0.25
    drop_secondary_structure: float = 0.05
    mask_residues: float = 0.1
    exact_curve: float = 0.15
    max_curve_error: float = 2.0
    densities: tuple[Annotated[int, msgspec.Meta(ge=1, le=4)], ...] = (1,)


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Elements of a chain, half-open residue ranges, and how they pair.

    Attributes
    ----------
    elements : list of (start, stop)
    pairs : list of (first, second, orientation)
        Numbers of elements.
    """

    elements: list[tuple[int, int]]
    pairs: list[tuple[int, int, str]]


class ChainSource:
    """Picks training chains of like length; every pick is a function of (seed, step) alone.

    Parameters
    ----------
    corpus : Corpus
    split : str
        ``train``, ``calibration`` or ``test``.
    options : BatchOptions
    seed : int
    whole : bool
        Whether chains that are too long are left out, not cropped.
    """

    def __init__(
        self, corpus: Corpus, split: str, options: BatchOptions, seed: int, whole: bool = False
    ) -> None:
        self.corpus = corpus
        self.options = options
        self.seed = seed
        chains = corpus.indices(split=split)
        self.chains = chains[corpus.lengths[chains] <= options.max_length] if whole else chains
        self._topology: dict[int, Topology] = {}
        lengths = np.minimum(corpus.lengths[self.chains], options.max_length)
        self._buckets = self._make_buckets(lengths)

    def _make_buckets(self, lengths: NDArray[np.integer]) -> list[tuple[int, NDArray[np.intp]]]:
        """Group chains by length; each group holds its longest length and its chains."""
        order = np.argsort(lengths, kind="stable")
        groups = np.array_split(order, max(1, min(16, len(order) // 8)))
        return [(int(lengths[group].max()), group) for group in groups if len(group)]

    def density(self, step: int) -> int:
        """Say how the chains of batch ``step`` are sampled; see :class:`BatchOptions`."""
        choices = self.options.densities or (1,)
        if len(choices) == 1:
            return choices[0]
        return int(np.random.default_rng([self.seed, step, 2]).choice(choices))

    def padded(self, length: int) -> int:
        """Longest chain among those of like length: batches padded to it have few shapes."""
        return min((top for top, _ in self._buckets if top >= length), default=length)

    def pick(self, step: int) -> tuple[list[int], np.random.Generator]:
        """Return the chains of batch number ``step``, and its random stream."""
        rng = np.random.default_rng([self.seed, step])
        sizes = np.array([len(group) * top for top, group in self._buckets], dtype=np.float64)
        top, group = self._buckets[rng.choice(len(self._buckets), p=sizes / sizes.sum())]
        count = max(1, self.options.residues // (top * self.density(step)))
        picked = rng.choice(group, size=count, replace=len(group) < count)
        return [int(self.chains[k]) for k in picked], rng

    def ask(self, states: str, rng: np.random.Generator) -> str:
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

    def ask_pairs(self, topology: Topology, rng: np.random.Generator) -> list[tuple[int, int, str]]:
        """Hide pairs: all of them, or now and then one."""
        if rng.random() < self.options.drop_pairing:
            return []
        return [pair for pair in topology.pairs if rng.random() < 0.9]

    def topology_of(self, index: int, backbone: NDArray[np.float64], states: str) -> Topology:
        """Elements and pairs of a chain, measured once."""
        known = self._topology.get(index)
        if known is None:
            spans = find_spans(states, np.array([0, len(states)]), MIN_HELIX, MIN_STRAND)
            first, second, code = measure_pairs(
                spans, axis_curve(backbone[:, 1]), virtual_cb(backbone)
            )
            known = Topology(
                [(int(a), int(b)) for a, b in zip(spans.start, spans.stop, strict=True)],
                [
                    (int(a), int(b), ORIENTATIONS[int(k) - 1])
                    for a, b, k in zip(first, second, code, strict=True)
                ],
            )
            self._topology[index] = known
        return known
