"""Names and ideal geometry of proteins.

Bond lengths and angles are those of Engh & Huber, *International Tables for Crystallography*
vol. F (2001), trans peptide; units are angstrom and degrees.
"""

from __future__ import annotations

from typing import Final

AMINO_ACIDS: Final = "ARNDCQEGHILKMFPSTWYVX"
"""One-letter codes; a residue type is an index into this string, ``X`` is unknown."""

THREE_LETTER: Final = (
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU",
    "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL", "UNK",
)  # fmt: skip

ATOM_NAMES: Final = (
    "N", "CA", "C", "CB", "O", "CG", "CG1", "CG2", "OG", "OG1", "SG", "CD", "CD1", "CD2",
    "ND1", "ND2", "OD1", "OD2", "SD", "CE", "CE1", "CE2", "CE3", "NE", "NE1", "NE2", "OE1",
    "OE2", "CH2", "NH1", "NH2", "OH", "CZ", "CZ2", "CZ3", "NZ", "OXT",
)  # fmt: skip
"""The 37 heavy-atom names of the twenty amino acids, in the order of ``Protein.atom_positions``."""

BACKBONE_ATOMS: Final = ("N", "CA", "C", "O")
BACKBONE_INDICES: Final = (0, 1, 2, 4)
CB_INDEX: Final = 3

SECONDARY_STRUCTURE_STATES: Final = "HEL"
UNSPECIFIED: Final = "-"

BOND_N_CA: Final = 1.458
BOND_CA_C: Final = 1.525
BOND_C_N: Final = 1.329
BOND_C_O: Final = 1.231
BOND_CA_CB: Final = 1.530
ANGLE_N_CA_C: Final = 111.0
ANGLE_CA_C_N: Final = 117.2
ANGLE_C_N_CA: Final = 121.7
ANGLE_CA_C_O: Final = 120.1
CA_CA_TRANS: Final = 3.80

RADIUS_OF_GYRATION_FACTOR: Final = 2.2
RADIUS_OF_GYRATION_EXPONENT: Final = 0.38
"""Globular proteins have Rg close to 2.2 L^0.38 angstrom (Skolnick et al., 1997)."""

MAX_LENGTH: Final = 2000
MIN_LENGTH: Final = 10

SAMPLING_STEPS = 8
"""Evaluations that bring a field within 0.1 angstrom of the exact solution of the flow."""
