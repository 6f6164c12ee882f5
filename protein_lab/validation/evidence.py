"""What the quality operator is told of residues beside the backbone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from protein_lab.models.quality import EVIDENCE
from protein_lab.protein import Protein
from protein_lab.validation.chains import read_chain
from protein_lab.validation.potentials import (
    NUM_TYPES,
    QUANTITIES,
    Potentials,
    codes_of,
    energies_of,
    residue_energies,
)

_NEIGHBORS = 12.0
_WINDOW = 9


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
    rest = np.stack(
        [
            given.known,
            0.3 * given.torsion,
            0.3 * given.torsion_any,
            *(4.0 * given.contact),
            2.0 * given.burial,
            given.neighbors / _NEIGHBORS - 1.0,
        ],
        axis=1,
    )
    # neighbors along the chain share their fate, and sums are surer than single terms
    smooth = 2.0 * uniform_filter1d(rest[:, 1:], _WINDOW, axis=0, mode="nearest")
    found = energies_of(given)
    size = len(chain.labels)
    whole = [tables.zscore(q, found[q], size) / 3.0 if q in found else 0.0 for q in QUANTITIES]
    everywhere = np.broadcast_to(np.clip(whole, -3.0, 3.0), (size, len(QUANTITIES)))
    own = np.eye(NUM_TYPES + 1)[codes_of(chain.sequence)][:, :NUM_TYPES]
    columns = np.concatenate([own, rest, smooth, everywhere], axis=1, dtype=np.float64)
    assert columns.shape[1] == EVIDENCE
    return columns
