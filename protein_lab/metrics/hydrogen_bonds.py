"""Backbone hydrogen bonds and the ladders of strands that they form (Kabsch & Sander, 1983)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.errors import GeometryError
from protein_lab.geometry import coordinates, virtual_hydrogen
from protein_lab.geometry.motion import Array
from protein_lab.typing import BoolArray, IntArray

BOND_ENERGY = -0.5
"""A hydrogen bond has an energy below this, kcal/mol."""

PEPTIDE_LIMIT = 2.5
"""Residues are linked while C-N is shorter, angstrom (as in mkdssp)."""

_COUPLING = 0.084 * 332.0
_MIN_ENERGY = -9.9
_MIN_DISTANCE = 0.5
_CA_LIMIT = 9.0
_PARTNERS = 2
_SMALL_BULGE = 3
_LARGE_BULGE = 6


_Run = tuple[bool, list[tuple[int, int]]]
"""Whether a ladder is parallel, and its bridges."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Consecutive bridges of one type between two strands.

    Attributes
    ----------
    first, second : tuple of int
        Bridged residues, 0-based: ``first[k]`` lies opposite ``second[k]``. ``first`` ascends;
        ``second`` ascends if parallel and descends if antiparallel. Bulges leave gaps.
    orientation : {"parallel", "antiparallel"}
        Direction of the second strand.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    orientation: Literal["parallel", "antiparallel"]


def linked_residues(backbone: Array, chain_index: ArrayLike | None = None) -> BoolArray:
    """Tell for every residue but the last whether a peptide bond joins it to the next.

    Parameters
    ----------
    backbone : ndarray
        ``(residue, >=3, 3)``, angstrom.
    chain_index : array_like, optional
        ``(residue,)``; residues of different chains are not joined.

    Returns
    -------
    ndarray
        ``(residue - 1,)`` bool.

    Raises
    ------
    GeometryError
        If ``chain_index`` has another length.
    """
    joined = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1) < PEPTIDE_LIMIT
    if chain_index is None:
        return joined
    chains = np.asarray(chain_index)
    if chains.shape != (len(backbone),):
        raise GeometryError(
            f"chain_index must have the shape ({len(backbone)},); it has {chains.shape}."
        )
    return joined & (chains[1:] == chains[:-1])


def single_chain(backbone: ArrayLike) -> Array:
    """Return a backbone as float64 ``(residue, 4, 3)``; other shapes raise GeometryError."""
    atoms = coordinates(backbone, "backbone", atoms=4)
    if atoms.ndim != 3:
        raise GeometryError(f"backbone must be one structure (residue, 4, 3); got {atoms.shape}.")
    return atoms[:, :4]


def hydrogen_bonds(
    backbone: ArrayLike, chain_index: ArrayLike | None = None
) -> tuple[IntArray, IntArray, Array]:
    """Find backbone hydrogen bonds with the electrostatic energy of Kabsch & Sander.

    Like mkdssp, hydrogens lie opposite to the previous C=O, only residues with CA atoms within
    9 angstrom are tried, and a donor keeps its two best acceptors. Amino acids are not known
    here, so proline counts as a donor.

    Parameters
    ----------
    backbone : array_like
        ``(residue, 4, 3)``: N, CA, C, O, angstrom.
    chain_index : array_like, optional
        ``(residue,)``; the first residue of a chain has no hydrogen.

    Returns
    -------
    donor, acceptor : ndarray
        Residues of N-H and of C=O, in ascending order of the donor.
    energy : ndarray
        kcal/mol, below -0.5.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = single_chain(backbone)
    ca = atoms[:, 1] - atoms[:, 1].mean(axis=0)
    squared = (ca**2).sum(-1)
    near = squared[:, None] + squared - 2 * ca @ ca.T < _CA_LIMIT**2
    near[0] = False
    near[1:][~linked_residues(atoms, chain_index)] = False
    donor, acceptor = np.nonzero(near)
    apart = (donor != acceptor) & (donor != acceptor + 1)
    donor, acceptor = donor[apart], acceptor[apart]
    energy = _bond_energy(atoms, virtual_hydrogen(atoms), donor, acceptor)
    bonded = energy < BOND_ENERGY
    donor, acceptor, energy = donor[bonded], acceptor[bonded], energy[bonded]
    order = np.lexsort((energy, donor))
    donor, acceptor, energy = donor[order], acceptor[order], energy[order]
    rank = np.arange(len(donor)) - np.searchsorted(donor, donor)
    best = rank < _PARTNERS
    return donor[best], acceptor[best], energy[best]


def _bond_energy(atoms: Array, hydrogen: Array, donor: IntArray, acceptor: IntArray) -> Array:
    nitrogen, proton = atoms[donor, 0], hydrogen[donor]
    carbon, oxygen = atoms[acceptor, 2], atoms[acceptor, 3]
    distances = np.stack(
        [
            np.linalg.norm(first - second, axis=-1)
            for first, second in (
                (nitrogen, oxygen), (proton, carbon), (proton, oxygen), (nitrogen, carbon),
            )
        ]
    )  # fmt: skip
    inverse = 1.0 / np.maximum(distances, _MIN_DISTANCE)
    energy = _COUPLING * (inverse[0] + inverse[1] - inverse[2] - inverse[3])
    too_close = distances.min(axis=0) < _MIN_DISTANCE
    return np.maximum(np.where(too_close, _MIN_ENERGY, energy), _MIN_ENERGY)


def ladders(
    backbone: ArrayLike, chain_index: ArrayLike | None = None, min_bridges: int = 2
) -> list[Ladder]:
    """Find the ladders between strands, joined over beta bulges as mkdssp does.

    Parameters
    ----------
    backbone : array_like
        ``(residue, 4, 3)``: N, CA, C, O, angstrom.
    chain_index : array_like, optional
        ``(residue,)``.
    min_bridges : int
        Least number of bridges; 1 keeps isolated bridges too.

    Returns
    -------
    list of Ladder
        In order of their first residue.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = single_chain(backbone)
    linked = linked_residues(atoms, chain_index)
    donor, acceptor, _ = hydrogen_bonds(atoms, chain_index)
    found = ladders_from_bonds(donor, acceptor, linked)
    return [ladder for ladder in found if len(ladder.first) >= min_bridges]


def ladders_from_bonds(donor: IntArray, acceptor: IntArray, linked: BoolArray) -> list[Ladder]:
    """Find ladders, isolated bridges included, from hydrogen bonds.

    Parameters
    ----------
    donor, acceptor : ndarray
        ``(bond,)``, from :func:`hydrogen_bonds`.
    linked : ndarray
        ``(residue - 1,)`` bool, from :func:`linked_residues`.

    Returns
    -------
    list of Ladder
        In order of their first residue.
    """
    open_ladders: dict[tuple[bool, int, int], list[tuple[int, int]]] = {}
    runs: list[_Run] = []
    for i, j, parallel in _bridges(donor, acceptor, linked):
        run = open_ladders.pop((parallel, i, j), None)
        if run is None:
            run = []
            runs.append((parallel, run))
        run.append((i, j))
        open_ladders[parallel, i + 1, j + 1 if parallel else j - 1] = run
    breaks = np.concatenate([[0], np.cumsum(~linked)])
    merged = _merge_bulges(runs, breaks)
    return [
        Ladder(
            tuple(i for i, _ in run),
            tuple(j for _, j in run),
            "parallel" if parallel else "antiparallel",
        )
        for parallel, run in merged
    ]


def _bridges(donor: IntArray, acceptor: IntArray, linked: BoolArray) -> list[tuple[int, int, bool]]:
    """Return bridged residues i < j, in ascending order, and whether they are parallel.

    A bridge takes two bonds, so each bond is looked up with the partner that it would need.
    """
    length = len(linked) + 1
    bonds = np.zeros((length + 4, length + 4), dtype=bool)
    bonds[donor + 2, acceptor + 2] = True  # a rim of two spares the bounds checks

    def bonded(first: IntArray, second: IntArray) -> BoolArray:
        return bonds[first + 2, second + 2]

    rules = (
        (bonded(acceptor, donor - 2), donor - 1, acceptor, True),
        (bonded(acceptor, donor), donor, acceptor, False),
        (bonded(acceptor + 2, donor - 2), donor - 1, acceptor + 1, False),
    )
    whole = np.zeros(length, dtype=bool)
    whole[1:-1] = linked[1:] & linked[:-1]
    found: dict[tuple[int, int], bool] = {}
    for holds, first, second, parallel in rules:
        i, j = np.minimum(first, second)[holds], np.maximum(first, second)[holds]
        inside = (i >= 1) & (j < length - 1) & (j >= i + 3)
        inside[inside] &= whole[i[inside]] & whole[j[inside]]
        for pair in zip(i[inside].tolist(), j[inside].tolist(), strict=True):
            found.setdefault(pair, parallel)
    return [(i, j, found[i, j]) for i, j in sorted(found)]


def _merge_bulges(runs: list[_Run], breaks: IntArray) -> list[_Run]:
    """Join ladders of one type that only a beta bulge separates."""
    merged: list[_Run] = []
    pending = list(runs)
    while pending:
        parallel, pairs = pending.pop(0)
        index = 0
        while index < len(pending):
            other_parallel, other = pending[index]
            if other_parallel == parallel and _is_bulge(parallel, pairs, other, breaks):
                pairs = pairs + other
                pending.pop(index)
            else:
                index += 1
        merged.append((parallel, pairs))
    return merged


def _is_bulge(
    parallel: bool, pairs: list[tuple[int, int]], other: list[tuple[int, int]], breaks: IntArray
) -> bool:
    """Tell whether ``other`` continues a ladder within the gaps of a beta bulge, unbroken.

    One strand may skip fewer than six residues if the other one skips fewer than three.
    """
    (end_i, end_j), (start_i, start_j) = pairs[-1], other[0]
    gap_i = start_i - end_i
    gap_j = start_j - end_j if parallel else end_j - start_j
    in_reach = 0 < gap_i < _LARGE_BULGE and 0 <= gap_j < _LARGE_BULGE
    if not in_reach or (gap_i >= _SMALL_BULGE and gap_j >= _SMALL_BULGE):
        return False
    ends = [*pairs, *other]
    return all(
        breaks[min(pair[side] for pair in ends)] == breaks[max(pair[side] for pair in ends)]
        for side in (0, 1)
    )
