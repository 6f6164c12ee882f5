"""Catalytic triads that are known well enough to be asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from protein_lab.typing import FloatArray

SiteName = Literal["chymotrypsin", "alpha_beta_hydrolase"]


@dataclass(frozen=True, slots=True, eq=False)
class SiteGeometry:
    """Backbone geometry of catalytic residues.

    Attributes
    ----------
    letters : str
        One-letter codes of the residues, in their order.
    backbone : ndarray, shape=(site, 3, 3)
        N, CA, C, angstrom.
    source : str
        Where the geometry comes from.
    """

    letters: str
    backbone: FloatArray
    source: str


def _geometry(letters: str, rows: list[list[list[float]]], source: str) -> SiteGeometry:
    return SiteGeometry(letters, np.array(rows), source)


LIBRARY: Final[dict[str, SiteGeometry]] = {
    "chymotrypsin": _geometry(
        "SHD",
        [
            [[-2.35, -1.77, -4.72], [-2.00, -2.85, -3.81], [-0.57, -2.68, -3.33]],
            [[0.74, -10.37, -1.93], [0.20, -10.82, -3.21], [0.89, -10.12, -4.37]],
            [[-1.44, -10.47, 4.29], [-1.05, -9.94, 2.99], [0.00, -8.83, 3.20]],
        ],
        "Ser195, His57, Asp102 (chymotrypsin's numbers) in PDB 5AVD, chain A: of 53 chains of "
        "this fold the nearest to all, 0.21 angstrom RMSD on average, 0.44 at most",
    ),
    "alpha_beta_hydrolase": _geometry(
        "SHD",
        [
            [[-0.01, 3.27, 6.13], [0.93, 4.26, 6.63], [2.15, 4.41, 5.67]],
            [[-4.77, 6.68, 13.83], [-3.80, 6.00, 12.92], [-3.99, 4.50, 13.01]],
            [[-6.40, 11.26, 12.94], [-5.01, 10.76, 12.85], [-4.01, 11.83, 13.15]],
        ],
        "Ser of the nucleophile elbow G-x-S-x-G, His and Asp in PDB 5DWD, chain A: of 31 chains "
        "of this fold the nearest to all, 0.34 angstrom RMSD on average, 0.80 at most",
    ),
}
"""Sites by name; RMSD over N, CA, C and ideal CB, measured on the chains of the corpus."""
