"""Draw sequences for a backbone with the sequence operator.

Residues are drawn in a random order, each seeing those drawn before it. Residues that do not see
each other are drawn at once: the order is a random coloring of the graph of neighbors, color by
color, so that a chain takes about fifteen steps whatever its length, and each draw is still
conditioned on all neighbors that came earlier.

Everything random comes from a NumPy generator; backends agree to rounding of the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import AMINO_ACIDS
from protein_lab.design.sequence_options import (
    LETTERS,
    DesignedSequence,
    SequenceDraw,
    SequenceOptions,
)
from protein_lab.errors import GeometryError, ProteinLabError, WeightsError
from protein_lab.models.sequence import NUM_TYPES, EncodedBackbone, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.operators.neighborhood import find_neighbors
from protein_lab.typing import FloatArray, IntArray

_BANNED = -1e9

_EXPECTED_FAILURES: Final = (
    ProteinLabError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
    np.linalg.LinAlgError,
)
"""What weights, backends and odd backbones can raise; torch and JAX raise RuntimeError."""


def sequence_stream(seed: int, index: int) -> np.random.Generator:
    """Random stream for the sequences of one design, apart from that of its coordinates."""
    return np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(1,)))


def draw_sequences(
    load: Callable[[], SequenceOperator],
    backbone: FloatArray,
    options: SequenceOptions,
    rng: np.random.Generator,
    bias: FloatArray | None = None,
    equal: IntArray | None = None,
) -> SequenceDraw:
    """Draw the sequences of a design, whose backbone stays whatever goes wrong here.

    Parameters
    ----------
    load : callable
        Gives the operator; called only when sequences are asked for.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    options : SequenceOptions
        As for :func:`design_sequences`.
    rng : Generator
        From :func:`sequence_stream`, so that a backbone never depends on its sequences.
    bias : ndarray, shape=(residue, 20), optional
        As for :func:`design_sequences`.
    equal : ndarray, shape=(residue,), dtype=int, optional
        As for :func:`design_sequences`.

    Returns
    -------
    SequenceDraw
        Best score first; ``failed`` says why there are none although they were asked for.
    """
    if options.num_sequences == 0:
        return SequenceDraw()
    try:
        return SequenceDraw(
            drawn=tuple(design_sequences(load(), backbone, options, rng, bias, equal))
        )
    except _EXPECTED_FAILURES as error:
        return SequenceDraw(failed=str(error) or type(error).__name__)


def design_sequences(
    operator: SequenceOperator,
    backbone: FloatArray,
    options: SequenceOptions,
    rng: np.random.Generator,
    bias: FloatArray | None = None,
    equal: IntArray | None = None,
) -> list[DesignedSequence]:
    """Draw sequences for one backbone.

    Parameters
    ----------
    operator : SequenceOperator
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    options : SequenceOptions
        Free of faults; residues fixed beyond the end of the chain are passed over.
    rng : Generator
        The only source of randomness.
    bias : ndarray, shape=(residue, 20), optional
        Nats added to the log-probability of each amino acid before it is tempered; minus
        infinity forbids one. Fixed residues stay as they are. Probabilities and scores that are
        told are those of the operator, without the bias.
    equal : ndarray, shape=(residue,), dtype=int, optional
        Residues of equal number get equal amino acids, drawn from the mean of their logits as
        ProteinMPNN does for homomers (Dauparas et al., Science 378, 2022).

    Returns
    -------
    list of DesignedSequence
        Best score first.

    Raises
    ------
    GeometryError
        When the backbone is not finite.
    ProteinLabError
        When the bias has another shape, or leaves no amino acid for a residue.
    WeightsError
        When the operator gives no finite numbers.
    """
    if not np.isfinite(backbone).all():
        raise GeometryError("Expected a finite backbone, but it has coordinates that are not.")
    size, count = len(backbone), options.num_sequences
    xp = operator.backend
    fixed = np.zeros(size, dtype=bool)
    residues = np.full((count, size), NUM_TYPES, dtype=np.int32)
    for item in options.fixed:
        if item.position <= size:
            fixed[item.position - 1] = True
            residues[:, item.position - 1] = LETTERS.index(item.residue)
    near = find_neighbors(backbone[:, 1], operator.config.neighbors)
    order = np.stack([random_order(near.partner, fixed, rng) for _ in range(count)])
    uniform = rng.random((count, size))
    inputs = collate_backbones(xp, [backbone], operator.config.neighbors)
    encoded = _repeat(operator, operator.embed(inputs), count)
    visible = xp.asarray(visibility(order, xp.to_numpy(encoded.partner)), "int32")
    added = _added(bias, options, fixed)
    logits = np.zeros((count, size, NUM_TYPES))
    for color in range(int(order.max()) + 1):
        free = (order == color) & ~fixed
        if free.any():
            shown = operator.predict(encoded, xp.asarray(residues, "int32"), visible)
            logits[free] = xp.to_numpy(shown).astype(np.float64)[free]
            wanted = np.broadcast_to(added, logits.shape)[free]
            tempered = np.where(
                np.isfinite(wanted), (logits[free] + wanted) / options.temperature, _BANNED
            )
            if equal is None:
                residues[free] = _draw(_softmax(tempered), uniform[free])
                continue
            every = (xp.to_numpy(shown).astype(np.float64) + added) / options.temperature
            _draw_equal(residues, every, uniform, free, equal)
    if fixed.any():
        shown = operator.predict(encoded, xp.asarray(residues, "int32"), visible)
        logits[:, fixed] = xp.to_numpy(shown).astype(np.float64)[:, fixed]
    if not np.isfinite(logits).all():
        raise WeightsError(
            "The sequence operator gave numbers that are not finite.",
            "Its weights are broken, or this backbone is unlike any protein; no sequence was made.",
        )
    return _ranked(residues, _softmax(logits), fixed)


def _draw_equal(
    residues: NDArray[np.int32],
    tempered: NDArray[np.float64],
    uniform: NDArray[np.float64],
    free: NDArray[np.bool_],
    equal: IntArray,
) -> None:
    """Draw residues in place; each takes the residues of its number along.

    What was given or drawn before for one of them holds for all.
    """
    for sample, place in zip(*np.nonzero(free), strict=True):
        if residues[sample, place] != NUM_TYPES:
            continue
        alike = np.flatnonzero(equal == equal[place])
        known = residues[sample, alike]
        given = known[known != NUM_TYPES]
        if given.size:
            drawn = given[0]
        else:
            mean = tempered[sample, alike].mean(axis=0)
            finite = np.where(np.isfinite(mean), mean, _BANNED)
            drawn = _draw(_softmax(finite[None]), uniform[sample, place][None])[0]
        residues[sample, alike[known == NUM_TYPES]] = drawn


def _added(
    bias: FloatArray | None, options: SequenceOptions, fixed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Nats added to logits, shape (residue, 20), minus infinity where nothing may be drawn."""
    shape = (len(fixed), NUM_TYPES)
    added = np.zeros(shape) if bias is None else np.array(bias, dtype=np.float64)
    if added.shape != shape or np.isnan(added).any() or (added == np.inf).any():
        raise ProteinLabError(
            f"Expected a bias of shape {shape}, finite or minus infinity, but got shape "
            f"{added.shape} or numbers that are neither.",
            "Give nats for each residue and each of the twenty amino acids.",
        )
    added[:, np.isin(np.arange(NUM_TYPES), residue_types(options.excluded))] = -np.inf
    empty = np.flatnonzero(~np.isfinite(added).any(axis=1) & ~fixed)
    if empty.size:
        raise ProteinLabError(
            f"No amino acid is left for residue {empty[0] + 1}: all twenty are forbidden.",
            "Forbid fewer, or leave one to each residue.",
        )
    return added


def random_order(
    partner: NDArray[np.integer], first: NDArray[np.bool_], rng: np.random.Generator
) -> IntArray:
    """Color residues in random order so that neighbors differ, and count colors as the order.

    Parameters
    ----------
    partner : ndarray, shape=(residue, neighbor)
        Neighbors; a residue beside itself is passed over.
    first : ndarray of bool, shape=(residue,)
        Residues that come before all others.
    rng : Generator

    Returns
    -------
    ndarray of int, shape=(residue,)
        Color from 0; residues that see each other in any direction have different ones.
    """
    size = len(partner)
    touching = np.zeros((size, size), dtype=bool)
    touching[np.arange(size)[:, None], partner] = True
    touching |= touching.T
    np.fill_diagonal(touching, False)
    color = np.full(size, -1)
    shuffled = rng.permutation(size)
    lowest = 0
    for group in (shuffled[first[shuffled]], shuffled[~first[shuffled]]):
        for residue in group:
            taken = np.zeros(size + 1, dtype=bool)
            taken[color[touching[residue]]] = True  # -1, no color yet, marks the last entry
            taken[-1] = False
            color[residue] = lowest + int(np.argmin(taken[lowest:]))
        lowest = int(color.max()) + 1 if len(group) else 0
    return color


def _repeat(operator: SequenceOperator, encoded: EncodedBackbone, count: int) -> EncodedBackbone:
    """Lay copies of one encoded backbone side by side."""
    xp = operator.backend
    size = encoded.node.shape[1]
    own = xp.to_numpy(encoded.partner)[0]
    partner = np.stack([own + number * size for number in range(count)])
    return EncodedBackbone(
        node=xp.concat([encoded.node] * count, axis=0),
        pair=xp.concat([encoded.pair] * count, axis=0),
        log_weight=xp.concat([encoded.log_weight] * count, axis=0),
        partner=xp.asarray(partner, "int32"),
    )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _draw(probability: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int32]:
    """Invert the cumulative distribution of each row."""
    reached = np.cumsum(probability, axis=-1) > uniform[:, None]
    # rounding may leave the last sum below one: then the last possible type is drawn
    possible = NUM_TYPES - 1 - np.argmax(probability[:, ::-1] > 0, axis=-1)
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1), possible).astype(np.int32)


def _ranked(
    residues: NDArray[np.int32], probability: NDArray[np.float64], fixed: NDArray[np.bool_]
) -> list[DesignedSequence]:
    chosen = np.take_along_axis(probability, residues[..., None], axis=-1)[..., 0]
    logarithm = np.log(np.maximum(probability, 1e-12))
    entropy = -(probability * logarithm).sum(axis=-1)
    counted = ~fixed if not fixed.all() else fixed
    made = [
        DesignedSequence(
            sequence="".join(AMINO_ACIDS[code] for code in row),
            score=round(float(np.log(np.maximum(p[counted], 1e-12)).mean()), 4),
            probability=tuple(p.round(4).tolist()),
            entropy=tuple(h.round(4).tolist()),
        )
        for row, p, h in zip(residues, chosen, entropy, strict=True)
    ]
    return sorted(made, key=lambda item: -item.score)
