"""Backbones and what else is known of them, as the quality operator takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend
from protein_lab.models.quality import EVIDENCE, QualityInputs
from protein_lab.models.sequence_inputs import collate_backbones

OMEGA = (2, 5, 8)
"""Torsion features of omega: whether a peptide is perfectly flat tells who built a chain, not
how good it is, so the operator does not see it."""


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
        From :func:`~protein_lab.validation.evidence.evidence_of`.
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
