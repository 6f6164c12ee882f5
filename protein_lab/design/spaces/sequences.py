"""Sequences for a given backbone."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import AMINO_ACIDS
from protein_lab.design.objective import Subject, Term
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.design.sequences import design_sequences, random_order
from protein_lab.models.sequence import NUM_TYPES, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.typing import FloatArray

FORBIDDEN: Final = 50.0
"""Nats that an amino acid costs where a constraint forbids it."""

_AT_ONCE: Final = 32


class Sequences:
    """Amino acids of a backbone; points are their indices into ``AMINO_ACIDS``.

    Plain sampling is that of the sequence operator. A move draws one residue, or a few, from what
    the operator holds likely there from the backbone alone.

    Parameters
    ----------
    operator : SequenceOperator
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    options : SequenceOptions
        Temperature, fixed residues and excluded amino acids.
    rng : Generator
        Draws the order in which residues see each other where a sequence is scored.
    bias : ndarray, shape=(residue, 20), optional
        Nats granted to amino acids; what minus infinity forbids is never drawn.
    """

    name = "sequences"

    def __init__(
        self,
        operator: SequenceOperator,
        backbone: FloatArray,
        options: SequenceOptions,
        rng: np.random.Generator,
        bias: FloatArray | None = None,
    ) -> None:
        self.operator, self.backbone, self.options = operator, backbone, options
        self.bias = bias
        size, xp = len(backbone), operator.backend
        self.free = np.ones(size, dtype=bool)
        for item in options.fixed:
            if item.position <= size:
                self.free[item.position - 1] = False
        inputs = collate_backbones(xp, [backbone], operator.config.neighbors)
        self._encoded = operator.embed(inputs)
        partner = xp.to_numpy(self._encoded.partner)
        order = random_order(partner[0], np.zeros(size, dtype=bool), rng)
        self._visible = xp.asarray(visibility(order[None], partner), "int32")
        self._likely = self._proposals(options)

    def _proposals(self, options: SequenceOptions) -> FloatArray:
        """Distribution that moves draw from, shape (residue, 20)."""
        operator = self.operator
        found = operator.backend.to_numpy(operator.first_logits(self._encoded))[0]
        logits = found.astype(np.float64)
        if self.bias is not None:
            logits = logits + self.bias
        logits = logits / max(options.temperature, 0.3)
        logits[:, residue_types(options.excluded)] = -np.inf
        chance = np.exp(logits - logits.max(axis=1, keepdims=True))
        # what the operator thinks hopeless may still serve another term
        chance = np.where(chance > 0.0, chance + 1e-3, 0.0)
        return np.cumsum(chance / chance.sum(axis=1, keepdims=True), axis=1)

    def draw(self, rng: np.random.Generator, count: int) -> list[NDArray[np.int32]]:
        """Draw sequences as designs get them."""
        found: list[NDArray[np.int32]] = []
        while len(found) < count:
            size = min(_AT_ONCE, count - len(found))
            options = msgspec.structs.replace(self.options, num_sequences=size)
            made = design_sequences(self.operator, self.backbone, options, rng, self.bias)
            found += [residue_types(item.sequence) for item in made]
        return found

    def subject(self, point: NDArray[np.int32]) -> Subject:
        """Write the sequence."""
        letters = "".join(AMINO_ACIDS[code] for code in point)
        return Subject(backbone=self.backbone, sequence=letters)

    def move(
        self, point: NDArray[np.int32], size: float, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """Draw one to four free residues anew."""
        return self._redrawn(point, 1 + int(rng.binomial(3, min(size, 1.0))), rng)

    def _redrawn(
        self, point: NDArray[np.int32], count: int, rng: np.random.Generator
    ) -> NDArray[np.int32]:
        places = np.flatnonzero(self.free)
        if not places.size:
            return point
        moved = point.copy()
        for place in rng.choice(places, min(count, places.size), replace=False):
            moved[place] = int(np.searchsorted(self._likely[place], rng.random()))
        return np.minimum(moved, NUM_TYPES - 1).astype(np.int32)

    def cross(
        self, first: NDArray[np.int32], second: NDArray[np.int32], rng: np.random.Generator
    ) -> NDArray[np.int32]:
        """Take a stretch of the chain from the second parent, the rest from the first."""
        start, stop = np.sort(rng.integers(0, len(first) + 1, 2))
        child = first.copy()
        child[start:stop] = second[start:stop]
        return child

    def likelihood_term(self, weight: float = 1.0) -> Term:
        """Make a term of minus the log-probability of a sequence, averaged over free residues.

        Parameters
        ----------
        weight : float
            What one nat a residue counts.
        """
        counted = self.free if self.free.any() else ~self.free

        def measure(subject: Subject) -> float:
            xp = self.operator.backend
            codes = residue_types(subject.require_sequence())
            residues = xp.asarray(codes[None], "int32")
            shown = self.operator.predict(self._encoded, residues, self._visible)
            logits = xp.to_numpy(shown)[0].astype(np.float64)
            top = logits.max(axis=1)
            total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
            chosen = logits[np.arange(len(codes)), codes]
            return float((total - chosen)[counted].mean())

        return Term("sequence likelihood", "nats", measure, weight)


def bias_term(bias: FloatArray, name: str, weight: float = 1.0) -> Term:
    """Make a term of minus what a constraint grants the amino acids, averaged over residues.

    Parameters
    ----------
    bias : ndarray, shape=(residue, 20)
        Nats; minus infinity for what is forbidden, which costs :data:`FORBIDDEN` nats.
    name : str
        Of the term.
    weight : float
        What one nat a residue counts.
    """
    granted = np.maximum(np.asarray(bias, dtype=np.float64), -FORBIDDEN)

    def measure(subject: Subject) -> float:
        codes = residue_types(subject.require_sequence())
        return -float(granted[np.arange(len(codes)), codes].mean())

    return Term(name, "nats", measure, weight)


def identity_term(sequence: str, weight: float = 1.0) -> Term:
    """Make a term of the share of residues that are those of a known sequence.

    Parameters
    ----------
    sequence : str
        Of the same length.
    weight : float
        What full identity counts.
    """

    def measure(subject: Subject) -> float:
        ours = subject.require_sequence()
        return sum(a == b for a, b in zip(ours, sequence, strict=True)) / len(sequence)

    return Term("identity", "share", measure, weight)


def charge_term(target: float, weight: float = 1.0) -> Term:
    """Make a term of how far the net charge (K and R less D and E) is from a target.

    Parameters
    ----------
    target : float
        Elementary charges.
    weight : float
        What one charge off counts.
    """

    def measure(subject: Subject) -> float:
        sequence = subject.require_sequence()
        charge = sum(sequence.count(letter) for letter in "KR")
        charge -= sum(sequence.count(letter) for letter in "DE")
        return abs(charge - target)

    return Term("charge", "charges", measure, weight)
