"""Chains as the checks read them: whole residues, and which of them are bonded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.protein import Protein
from protein_lab.typing import BoolArray, FloatArray, IntArray

LINKED_DISTANCE: Final = 2.0
"""Residues are joined by a peptide bond when C and N are closer, angstrom (as in omegalyze)."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Residues with all four backbone atoms.

    ``linked[i]`` tells whether residue ``i`` is bonded to ``i + 1``, ``expected[i]`` whether it
    should be; ``labels`` name the residues in messages.
    """

    atoms: FloatArray
    linked: BoolArray
    expected: BoolArray
    chain_index: IntArray
    labels: tuple[str, ...]
    sequence: str
    num_missing: int
    num_chains: int


def read_chain(protein: Protein) -> Chain:
    """Take the residues that have all of N, CA, C and O."""
    whole = np.asarray(protein.has_backbone)
    atoms = np.asarray(protein.backbone, dtype=np.float64)[whole]
    chains = protein.chain_index[whole]
    same = np.diff(chains) == 0
    distance = np.linalg.norm(atoms[1:, 0] - atoms[:-1, 2], axis=-1)
    keep = np.flatnonzero(whole)
    sequence = protein.sequence
    labels = tuple(
        f"{protein.chain_ids[protein.chain_index[i]]}:{protein.author_number[i]}"
        f"{protein.insertion_code[i]}"
        for i in keep
    )
    return Chain(
        atoms=atoms,
        linked=same & (distance < LINKED_DISTANCE),
        expected=same,
        chain_index=chains,
        labels=labels,
        sequence="".join(sequence[i] for i in keep),
        num_missing=int((~whole).sum()),
        num_chains=len(protein.chain_ids),
    )
