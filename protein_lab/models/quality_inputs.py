"""Backbones and evidence as the quality operator takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend
from protein_lab.models.quality import EVIDENCE, QualityInputs
from protein_lab.models.sequence import NUM_TYPES, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types

OMEGA = (2, 5, 8)
"""Torsion features of omega: whether a peptide is perfectly flat tells who built a chain, not
how good it is, so the operator does not see it."""

_SURELY = 1e-4


def profiles(
    operator: SequenceOperator, backbones: Sequence[NDArray[np.floating]]
) -> list[NDArray[np.float32]]:
    """Give the amino acids that the sequence operator expects from backbones alone.

    Parameters
    ----------
    operator : SequenceOperator
    backbones : sequence of ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.

    Returns
    -------
    list of ndarray, shape=(residue, 20)
        Probabilities.
    """
    inputs = collate_backbones(operator.backend, backbones, operator.config.neighbors)
    logits = operator.first_logits(operator.embed(inputs))
    wide = operator.backend.to_numpy(operator.backend.softmax(logits))
    return [wide[row, : len(item)].astype(np.float32) for row, item in enumerate(backbones)]


def evidence_of(profile: NDArray[np.floating], sequence: str | None) -> NDArray[np.float64]:
    """Describe what is expected at each residue and, where it is known, what is there.

    Parameters
    ----------
    profile : ndarray, shape=(residue, 20)
        From :func:`profiles`.
    sequence : str, optional
        One-letter codes; unknown residues count as not known.

    Returns
    -------
    ndarray, shape=(residue, EVIDENCE)
    """
    size = len(profile)
    probability = np.maximum(np.asarray(profile, dtype=np.float64), _SURELY)
    entropy = -(probability * np.log(probability)).sum(-1)
    types = residue_types("X" * size if sequence is None else sequence)
    known = types < NUM_TYPES
    own = np.eye(NUM_TYPES + 1)[types][:, :NUM_TYPES]
    odds = np.log((probability * own).sum(-1), where=known, out=np.zeros(size)) + 3.0 * known
    rest = np.stack([entropy - 2.0, odds, known.astype(np.float64)], axis=1)
    found = np.concatenate([probability, own, rest], axis=1)
    assert found.shape[1] == EVIDENCE
    return found


def collate_quality(
    backend: Backend,
    backbones: Sequence[NDArray[np.floating]],
    evidence: Sequence[NDArray[np.floating]],
    neighbors: int,
) -> QualityInputs:
    """Pad backbones and their evidence to one length and bring them to a backend.

    Parameters
    ----------
    backend : Backend
    backbones : sequence of ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    evidence : sequence of ndarray, shape=(residue, EVIDENCE)
        From :func:`evidence_of`.
    neighbors : int
        Residues in the ball around each.

    Returns
    -------
    QualityInputs
    """
    inputs = collate_backbones(backend, backbones, neighbors)
    seen = np.ones(9)
    seen[list(OMEGA)] = 0.0
    inputs = inputs._replace(torsion=inputs.torsion * backend.like(seen, inputs.torsion))
    padded = np.zeros((*inputs.weight.shape, EVIDENCE))
    for row, item in enumerate(evidence):
        padded[row, : len(item)] = item
    return QualityInputs(inputs, backend.asarray(padded))
