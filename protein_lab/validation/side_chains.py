"""Checks of side chains, where a structure has them: clashes, rotamers, and one score of all.

They stand for the numbers of MolProbity (Williams et al., *Protein Sci.* 27, 2018) without its
reference tables and without hydrogens, so they are named otherwise and are not comparable with
them.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, BACKBONE_INDICES, CB_INDEX
from protein_lab.geometry import dihedral
from protein_lab.protein import Protein
from protein_lab.typing import BoolArray, FloatArray, IntArray
from protein_lab.validation.base import Finding, Measure
from protein_lab.validation.geometry import ramachandran_favored

OVERLAP: Final = 0.4
"""Overlap of van der Waals spheres that counts as a clash, angstrom (MolProbity)."""

STAGGERED: Final = 40.0
"""Farthest a torsion about a bond of two tetrahedral carbons may be from -60, 60 or 180 degrees."""

_RADII: Final = {"C": 1.70, "N": 1.55, "O": 1.52, "S": 1.80}
_CLOSEST_POLAR: Final = 2.5
_DISULFIDE: Final = 2.5
_FEWEST: Final = 0.5

_CHI: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "R": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "NE")),
    "N": (("N", "CA", "CB", "CG"),),
    "D": (("N", "CA", "CB", "CG"),),
    "C": (("N", "CA", "CB", "SG"),),
    "Q": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD")),
    "E": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD")),
    "H": (("N", "CA", "CB", "CG"),),
    "I": (("N", "CA", "CB", "CG1"), ("CA", "CB", "CG1", "CD1")),
    "L": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")),
    "K": (
        ("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"),
        ("CB", "CG", "CD", "CE"), ("CG", "CD", "CE", "NZ"),
    ),
    "M": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "SD")),
    "F": (("N", "CA", "CB", "CG"),),
    "S": (("N", "CA", "CB", "OG"),),
    "T": (("N", "CA", "CB", "OG1"),),
    "W": (("N", "CA", "CB", "CG"),),
    "Y": (("N", "CA", "CB", "CG"),),
    "V": (("N", "CA", "CB", "CG1"),),
}  # fmt: skip
"""Side-chain torsions about bonds of two tetrahedral atoms; proline's ring is left out."""

_CODES: Final = {
    "R": "N CA C CB O CG CD NE NH1 NH2 CZ", "N": "N CA C CB O CG ND2 OD1",
    "D": "N CA C CB O CG OD1 OD2", "C": "N CA C CB O SG", "Q": "N CA C CB O CG CD NE2 OE1",
    "E": "N CA C CB O CG CD OE1 OE2", "G": "N CA C O", "H": "N CA C CB O CG CD2 ND1 CE1 NE2",
    "I": "N CA C CB O CG1 CG2 CD1", "L": "N CA C CB O CG CD1 CD2", "K": "N CA C CB O CG CD CE NZ",
    "M": "N CA C CB O CG SD CE", "F": "N CA C CB O CG CD1 CD2 CE1 CE2 CZ", "P": "N CA C CB O CG CD",
    "S": "N CA C CB O OG", "T": "N CA C CB O CG2 OG1",
    "W": "N CA C CB O CG CD1 CD2 CE2 CE3 NE1 CH2 CZ2 CZ3",
    "Y": "N CA C CB O CG CD1 CD2 CE1 CE2 OH CZ", "V": "N CA C CB O CG1 CG2", "A": "N CA C CB O",
}  # fmt: skip


def _table() -> BoolArray:
    table = np.zeros((len(AMINO_ACIDS), len(ATOM_NAMES)), dtype=bool)
    for letter, names in _CODES.items():
        table[AMINO_ACIDS.index(letter), [ATOM_NAMES.index(name) for name in names.split()]] = True
    return table


HEAVY_ATOMS: Final = _table()
"""Whether a type of residue has an atom, shape (21, 37); nothing is known of type 20."""

_BACKBONE_ONLY: Final = Finding(None, "Side chains are not there, or of less than half.")


def side_chain_mask(protein: Protein) -> BoolArray:
    """Tell which residues have all heavy atoms of their type, shape=(residue,)."""
    wanted = HEAVY_ATOMS[protein.aatype]
    lacking = np.any(wanted & ~protein.atom_mask, axis=1)
    return np.any(wanted, axis=1) & ~lacking


def has_side_chains(protein: Protein) -> bool:
    """Tell whether at least half of the residues beyond alanine have a whole side chain."""
    beyond = np.isin(protein.aatype, [AMINO_ACIDS.index(c) for c in "GAX"], invert=True)
    return bool(beyond.any()) and bool(side_chain_mask(protein)[beyond].mean() >= _FEWEST)


def heavy_clashes(protein: Protein) -> tuple[IntArray, FloatArray]:
    """Find pairs of atoms of different residues that overlap though nothing binds them.

    Returns
    -------
    residues : ndarray, shape=(clash, 2)
        Residues of the atoms, 0-based.
    overlap : ndarray, shape=(clash,)
        Angstrom.
    """
    from scipy.spatial import KDTree

    residue, atom = np.nonzero(protein.atom_mask)
    place = np.asarray(protein.atom_positions, dtype=np.float64)[residue, atom]
    element = np.array([name[0] for name in ATOM_NAMES])[atom]
    radius = np.array([_RADII[symbol] for symbol in element])
    reach = 2 * max(_RADII.values()) - OVERLAP
    pairs = KDTree(place).query_pairs(reach, output_type="ndarray").reshape(-1, 2)
    one, two = np.sort(pairs, axis=1).T
    distance = np.linalg.norm(place[one] - place[two], axis=-1)
    limit = radius[one] + radius[two] - OVERLAP
    polar = np.isin(element[one], ("N", "O", "S")) & np.isin(element[two], ("N", "O", "S"))
    limit = np.where(polar, np.minimum(limit, _CLOSEST_POLAR), limit)
    sulfur = (element[one] == "S") & (element[two] == "S") & (distance < _DISULFIDE)
    same = residue[one] == residue[two]
    following = (residue[two] - residue[one] == 1) & (
        protein.chain_index[residue[one]] == protein.chain_index[residue[two]]
    )
    # across a peptide bond all of these are within three bonds, or held by the plane
    near = (*BACKBONE_INDICES, CB_INDEX)
    proline = protein.aatype[residue[two]] == AMINO_ACIDS.index("P")
    ring = proline & (atom[two] == ATOM_NAMES.index("CD"))
    bound = following & np.isin(atom[one], near) & (np.isin(atom[two], near) | ring)
    bad = (distance < limit) & ~same & ~bound & ~sulfur
    return np.stack([residue[one[bad]], residue[two[bad]]], axis=1), (limit - distance)[bad]


def clashscore(protein: Protein) -> Finding:
    """Overlaps of 0.4 angstrom between heavy atoms, in a thousand of them."""
    if not has_side_chains(protein):
        return _BACKBONE_ONLY
    pairs, overlap = heavy_clashes(protein)
    value = 1000.0 * len(pairs) / int(protein.atom_mask.sum())
    if not len(pairs):
        return Finding(value)
    first, second = (_label(protein, int(i)) for i in pairs[overlap.argmax()])
    return Finding(value, f"Worst between {first} and {second}.")


def rotamer_outliers(protein: Protein) -> Finding:
    """Fraction of residues with an eclipsed torsion about a bond of two tetrahedral atoms.

    An approximation to rotamer libraries: staggered torsions lie at -60, 60 and 180 degrees,
    whatever the residue; the planar ends of side chains are not looked at.
    """
    if not has_side_chains(protein):
        return _BACKBONE_ONLY
    whole = side_chain_mask(protein)
    counted, bad = 0, list[int]()
    for index in np.flatnonzero(whole):
        torsions = _CHI.get(AMINO_ACIDS[protein.aatype[index]], ())
        if torsions:
            counted += 1
            if max(_eclipse(protein, int(index), names) for names in torsions) > STAGGERED:
                bad.append(int(index))
    if not counted:
        return Finding(None, "No residue has such a torsion.")
    where = ", ".join(_label(protein, index) for index in bad[:8])
    return Finding(len(bad) / counted, f"At {where}." if where else "")


def _eclipse(protein: Protein, index: int, names: tuple[str, ...]) -> float:
    """Distance of a torsion from the nearest staggered one, degrees."""
    columns = [ATOM_NAMES.index(name) for name in names]
    points = np.asarray(protein.atom_positions[index, columns], dtype=np.float64)
    angle = float(np.degrees(dihedral(*points)))
    return abs((angle % 120.0) - 60.0)


def all_atom_score(protein: Protein) -> Finding:
    """Combine clashes, rotamers and torsions as the MolProbity score does; low is good."""
    parts = [clashscore(protein), rotamer_outliers(protein), ramachandran_favored(protein)]
    if any(part.value is None for part in parts):
        return _BACKBONE_ONLY
    clash, rotamers, favored = (float(part.value or 0.0) for part in parts)
    return Finding(combined_score(clash, 100.0 * rotamers, 100.0 * favored))


def combined_score(clash: float, rotamers: float, favored: float) -> float:
    """Combine three figures by the formula of the MolProbity score.

    Parameters
    ----------
    clash : float
        Clashes in a thousand atoms.
    rotamers, favored : float
        Rotamer outliers and favored torsions, percent.

    Returns
    -------
    float
    """
    return (
        0.426 * math.log(1.0 + clash)
        + 0.33 * math.log(1.0 + max(0.0, rotamers - 1.0))
        + 0.25 * math.log(1.0 + max(0.0, (100.0 - favored) - 2.0))
        + 0.5
    )


def _label(protein: Protein, index: int) -> str:
    chain = protein.chain_ids[protein.chain_index[index]]
    return f"{chain}:{protein.author_number[index]}{protein.insertion_code[index]}"


MEASURES: Final[dict[str, Measure]] = {
    "heavy_atom_clashscore": clashscore,
    "rotamer_outliers": rotamer_outliers,
    "all_atom_score": all_atom_score,
}
"""What the checks of side chains measure, by name."""
