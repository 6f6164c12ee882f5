"""Secondary structure by hydrogen bonds, and the handedness of helices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.errors import GeometryError
from protein_lab.geometry import coordinates, dihedral
from protein_lab.metrics.hydrogen_bonds import (
    hydrogen_bonds,
    ladders_from_bonds,
    linked_residues,
    single_chain,
)

HELIX_TURN = 4
"""An alpha helix has bonds from the N-H of residue i + 4 to the C=O of residue i."""


def dssp(backbone: ArrayLike, chain_index: ArrayLike | None = None) -> str:
    """Assign helix, strand and loop after Kabsch & Sander (1983).

    ``H`` are the four residues inside two consecutive 4-turns, ``E`` the residues of ladders of at
    least two bridges with the bulges between them, ``L`` the rest: 3-10 and pi turns and isolated
    bridges included. A helix takes precedence over a strand, as in mkdssp; unlike mkdssp 4, pi
    helices do not interrupt alpha helices. Hydrogen bonds do not tell left from right: a mirror
    image gets the same letters (see :func:`helix_handedness`).

    Parameters
    ----------
    backbone : array_like
        ``(residue, 4, 3)``: N, CA, C, O, angstrom.
    chain_index : array_like, optional
        ``(residue,)``; chains are also taken as broken where C-N exceeds 2.5 angstrom.

    Returns
    -------
    str
        One of ``H``, ``E``, ``L`` per residue.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = single_chain(backbone)
    length = len(atoms)
    linked = linked_residues(atoms, chain_index)
    donor, acceptor, _ = hydrogen_bonds(atoms, chain_index)
    states = np.full(length, "L")
    for ladder in ladders_from_bonds(donor, acceptor, linked):
        if len(ladder.first) > 1:
            for strand in (ladder.first, ladder.second):
                states[min(strand) : max(strand) + 1] = "E"
    chain = np.concatenate([[0], np.cumsum(~linked)])
    turn = np.zeros(length, dtype=bool)
    turn[acceptor[(donor - acceptor == HELIX_TURN) & (chain[donor] == chain[acceptor])]] = True
    for start in np.nonzero(turn[1:] & turn[:-1])[0] + 1:
        states[start : start + HELIX_TURN] = "H"
    return "".join(states)


def helix_handedness(backbone: ArrayLike, secondary_structure: str) -> tuple[int, int]:
    """Count right-handed and left-handed turns in helices, from their CA atoms.

    Parameters
    ----------
    backbone : array_like
        ``(residue, >=3, 3)``: N, CA, C, angstrom.
    secondary_structure : str
        One letter per residue; four consecutive ``H`` are one turn.

    Returns
    -------
    right, left : int
        Turns with a positive and with a negative CA dihedral (about +50 and -50 degrees). Real
        chains have left-handed ones only at kinks, fewer than one in a hundred; a helix that is
        mostly left-handed is a mirror image and an error.

    Raises
    ------
    GeometryError
        If lengths differ, the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(backbone, "backbone", atoms=3)
    if atoms.ndim != 3 or len(atoms) != len(secondary_structure):
        raise GeometryError(
            f"{len(secondary_structure)} letters of secondary structure came for a backbone of "
            f"shape {atoms.shape}.",
            "Give one letter for every residue.",
        )
    ca = atoms[:, 1]
    helix = np.array(list(secondary_structure)) == "H"
    if len(ca) < HELIX_TURN:
        return 0, 0
    inside = helix[:-3] & helix[1:-2] & helix[2:-1] & helix[3:]
    angles = dihedral(ca[:-3], ca[1:-2], ca[2:-1], ca[3:])[inside]
    return int((angles > 0).sum()), int((angles < 0).sum())
