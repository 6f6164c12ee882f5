"""Residues of a template by the names that papers give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from protein_lab.constraints.structure_source import find_residue
from protein_lab.errors import ProteinLabError

if TYPE_CHECKING:
    from protein_lab.protein import Protein

RESIDUE_NAME: Final = re.compile(r"([A-Za-z]+)(-?\d+)([A-Za-z]?)")
"""Chain, number and insertion code: ``A57``, ``H23A``."""


def site_index(protein: Protein, name: str) -> int:
    """Return the index of a residue such as ``A57``.

    Raises
    ------
    ProteinLabError
        When the name is none, or the structure has no such residue.
    """
    match = RESIDUE_NAME.fullmatch(name)
    if match is None:
        raise ProteinLabError(f"Expected a residue such as A57, but got {name!r}.")
    return find_residue(protein, match[1], int(match[2]), match[3])
