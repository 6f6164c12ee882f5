"""What the quality operator is told of residues beside the backbone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protein_lab.models.quality import EVIDENCE
from protein_lab.protein import Protein
from protein_lab.validation.chains import read_chain
from protein_lab.validation.potentials import (
    NUM_TYPES,
    Potentials,
    codes_of,
    residue_energies,
)

_NEIGHBORS = 12.0


def evidence_of(
    backbone: NDArray[np.floating], sequence: str | None, tables: Potentials
) -> NDArray[np.float64]:
    """Describe the residues of one chain by their types and energies.

    Parameters
    ----------
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    sequence : str, optional
        One-letter codes; nothing is known of ``X``.
    tables : Potentials

    Returns
    -------
    ndarray, shape=(residue, EVIDENCE)
        Scaled to be of order one.
    """
    chain = read_chain(Protein.from_backbone(backbone, sequence))
    given = residue_energies(chain, tables)
    rest = (
        given.known,
        0.3 * given.torsion,
        0.3 * given.torsion_any,
        *given.contact,
        given.burial,
        given.neighbors / _NEIGHBORS - 1.0,
    )
    own = np.eye(NUM_TYPES + 1)[codes_of(chain.sequence)][:, :NUM_TYPES]
    found = np.concatenate([own, np.stack(rest, axis=1)], axis=1)
    assert found.shape[1] == EVIDENCE
    return found
