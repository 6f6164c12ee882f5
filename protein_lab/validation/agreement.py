"""Checks of sequence and structure together: does the sequence operator expect these residues.

A sequence that the same operator drew for the same backbone agrees with it by construction; then
the numbers tell how sure the operator was, not that the design is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from protein_lab.design.sequences import random_order
from protein_lab.errors import BackendError, WeightsError
from protein_lab.models.sequence import NUM_TYPES, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.models.weights import load_sequence_operator
from protein_lab.operators.neighborhood import find_neighbors
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.validation.base import Finding, Measure, Once
from protein_lab.validation.chains import read_chain
from protein_lab.validation.options import ValidationOptions
from protein_lab.validation.potentials import split_chains

_SHORTEST: Final = 10
_MOSTLY: Final = 0.9
_ORDERS: Final = 2


def measures(options: ValidationOptions) -> dict[str, Measure]:
    """Give the measures of agreement, which load the operator once when first asked.

    Parameters
    ----------
    options : ValidationOptions
        Backend, weights and seed.
    """
    loaded: list[SequenceOperator] = []

    def compute(protein: Protein) -> tuple[Finding, Finding]:
        try:
            if not loaded:
                loaded.append(load_sequence_operator(options.backend, folder=options.weights))
        except (WeightsError, BackendError) as error:
            missing = Finding.missing(str(error))
            return missing, missing
        return agreement(protein, loaded[0], options.seed)

    once = Once(compute)

    def part(number: int) -> Callable[[Protein], Finding]:
        return lambda protein: once(protein)[number]

    return {"sequence_perplexity": part(0), "sequence_recovery": part(1)}


def agreement(protein: Protein, operator: SequenceOperator, seed: int) -> tuple[Finding, Finding]:
    """Measure how likely the residues of a structure are, given its backbone.

    Parameters
    ----------
    protein : Protein
        Of several chains the one with the least likely residues counts.
    operator : SequenceOperator
    seed : int
        Draws the orders in which residues see each other.

    Returns
    -------
    perplexity, recovery : Finding
    """
    worst: tuple[float, float] | None = None
    reason = f"No chain has {_SHORTEST} residues with whole backbone."
    for part in split_chains(read_chain(protein)):
        types = residue_types(part.sequence)
        if len(types) < _SHORTEST:
            continue
        if (types < NUM_TYPES).mean() < _MOSTLY:
            reason = "The sequence is not known."
            continue
        found = _likelihood(part.atoms, types, operator, seed)
        worst = found if worst is None else max(worst, found)
    if worst is None:
        return Finding(None, reason), Finding(None, reason)
    return Finding(worst[0]), Finding(worst[1])


def _likelihood(
    backbone: FloatArray, types: np.ndarray, operator: SequenceOperator, seed: int
) -> tuple[float, float]:
    """Perplexity of known residues, and share of them that are the likeliest ones."""
    xp, count = operator.backend, operator.config.neighbors
    near = find_neighbors(backbone[:, 1], count)
    rng = np.random.default_rng(seed)
    none = np.zeros(len(types), dtype=bool)
    orders = [random_order(near.partner, none, rng)[None] for _ in range(_ORDERS)]
    encoded = operator.embed(collate_backbones(xp, [backbone], count))
    known = types < NUM_TYPES
    losses, hits = [], []
    for order in orders:
        visible = xp.asarray(visibility(order, xp.to_numpy(encoded.partner)), "int32")
        logits = operator.predict(encoded, xp.asarray(types[None], "int32"), visible)
        values = xp.to_numpy(logits).astype(np.float64)[0, known]
        values -= values.max(axis=-1, keepdims=True)
        likely = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
        losses.append(-likely[np.arange(known.sum()), types[known]].mean())
        hits.append((values.argmax(axis=-1) == types[known]).mean())
    return float(np.exp(np.mean(losses))), float(np.mean(hits))
