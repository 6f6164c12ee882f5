"""Figures that can be read off a sequence and go with stability or solubility, on average.

None of them is stability or solubility itself: they were found by comparing groups of proteins.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.constraints.amino_acids import CLASSES, LETTERS
from protein_lab.constraints.burial import EXPOSED, count_neighbors
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.wells import CA, CB
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray

HYDROPATHY: Final = dict(
    zip(
        LETTERS,
        (1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5,
         3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2),
        strict=True,
    )
)  # fmt: skip
"""Kyte & Doolittle, *J. Mol. Biol.* 157, 105-132 (1982)."""

CHARGE: Final = {"K": 1.0, "R": 1.0, "D": -1.0, "E": -1.0}
"""At pH 7; histidine is taken as neutral."""

_DIPEPTIDES: Final = """
A 1 1 1 -7.49 44.94 1 1 1 -7.49 1 1 1 1 1 20.26 1 1 1 1 1
R 1 58.28 13.34 1 1 20.26 1 -7.49 20.26 1 1 1 1 1 20.26 44.94 1 58.28 -6.54 1
N 1 1 1 1 -1.88 -6.54 1 -14.03 1 44.94 1 24.68 1 -14.03 -1.88 1 -7.49 -9.37 1 1
D 1 -6.54 1 1 1 1 1 1 1 1 1 -7.49 1 -6.54 1 20.26 -14.03 1 1 1
C 1 1 1 20.26 1 -6.54 1 1 33.6 1 20.26 1 33.6 1 20.26 1 33.6 24.68 1 -6.54
Q 1 1 1 20.26 -6.54 20.26 20.26 1 1 1 1 1 1 -6.54 20.26 44.94 1 1 -6.54 -6.54
E 1 1 1 20.26 44.94 20.26 33.6 1 -6.54 20.26 1 1 1 1 20.26 20.26 1 -14.03 1 1
G -7.49 1 -7.49 1 1 1 -6.54 13.34 1 -7.49 1 -7.49 1 1 1 1 -7.49 13.34 -7.49 1
H 1 1 24.68 1 1 1 1 -9.37 1 44.94 1 24.68 1 -9.37 -1.88 1 -6.54 -1.88 44.94 1
I 1 1 1 1 1 1 44.94 1 13.34 1 20.26 -7.49 1 1 -1.88 1 1 1 1 -7.49
L 1 20.26 1 1 1 33.6 1 1 1 1 1 -7.49 1 1 20.26 1 1 24.68 1 1
K 1 33.6 1 1 1 24.64 1 -7.49 1 -7.49 -7.49 1 33.6 1 -6.54 1 1 1 1 -7.49
M 13.34 -6.54 1 1 1 -6.54 1 1 58.28 1 1 1 -1.88 1 44.94 44.94 -1.88 1 24.68 1
F 1 1 1 13.34 1 1 1 1 1 1 1 -14.03 1 1 20.26 1 1 1 33.601 1
P 20.26 -6.54 1 -6.54 -6.54 20.26 18.38 1 1 1 1 1 -6.54 20.26 20.26 20.26 1 -1.88 1 20.26
S 1 20.26 1 1 33.6 20.26 20.26 1 1 1 1 1 1 1 44.94 20.26 1 1 1 1
T 1 1 -14.03 1 1 -6.54 20.26 -7.49 1 1 1 1 1 13.34 1 1 1 -14.03 1 1
W -14.03 1 13.34 1 1 1 1 -9.37 24.68 1 13.34 1 24.68 1 1 1 -14.03 1 1 -7.49
Y 24.68 -15.91 1 24.68 1 1 -6.54 -7.49 13.34 1 1 1 44.94 1 13.34 1 -7.49 -9.37 13.34 1
V 1 1 1 -14.03 1 1 1 -7.49 1 1 1 -1.88 1 1 20.26 1 -7.49 1 -6.54 1
"""
"""Weights of neighbors along the chain, first letter first, second in the order of LETTERS."""


def _dipeptide_weights() -> FloatArray:
    rows = [line.split() for line in _DIPEPTIDES.strip().splitlines()]
    assert "".join(row[0] for row in rows) == LETTERS
    return np.array([row[1:] for row in rows], dtype=np.float64)


_WEIGHTS: Final = _dipeptide_weights()


def instability_index(sequence: str) -> float:
    """Mean weight of neighbors along the chain, times ten (Guruprasad, Reddy & Pandit, 1990).

    Of the proteins it was fitted to, those with a half-life above 16 hours in vivo had less than 40
    (*Protein Engineering* 4, 155-161). Neighbors of unknown type are passed over.

    Parameters
    ----------
    sequence : str
        One-letter codes.
    """
    code = np.array([LETTERS.find(letter) for letter in sequence])
    both = (code[:-1] >= 0) & (code[1:] >= 0)
    weights = _WEIGHTS[code[:-1][both], code[1:][both]]
    return float(10.0 / len(sequence) * weights.sum())


def gravy(sequence: str) -> float:
    """Grand average of hydropathy (Kyte & Doolittle, 1982); unknown types count as 0."""
    return sum(HYDROPATHY.get(letter, 0.0) for letter in sequence) / len(sequence)


def aliphatic_index(sequence: str) -> float:
    """Volume of aliphatic side chains (Ikai, *J. Biochem.* 88, 1895-1898, 1980).

    Percent of alanine, plus 2.9 times that of valine and 3.9 times that of leucine and isoleucine.
    """
    weight = {"A": 1.0, "V": 2.9, "I": 3.9, "L": 3.9}
    return 100.0 * sum(weight.get(letter, 0.0) for letter in sequence) / len(sequence)


def net_charge_per_residue(sequence: str) -> float:
    """Charges of K and R less those of D and E, over the number of residues."""
    return sum(CHARGE.get(letter, 0.0) for letter in sequence) / len(sequence)


def hydrophobic_surface(protein: Protein) -> float:
    """Part of the exposed residues that have a hydrophobic side chain.

    Exposed are residues with at most :data:`protein_lab.constraints.burial.EXPOSED` neighbors in
    the cone that the side chain points into; side chains are not built.
    """
    atoms = atoms_of(protein)
    everybody = np.arange(len(atoms))
    exposed = count_neighbors(atoms[:, CA], atoms[:, CB], everybody)[0] <= EXPOSED
    letters = np.array(list(protein.sequence))[exposed]
    return float(np.isin(letters, list(CLASSES["hydrophobic"])).mean()) if len(letters) else 0.0
