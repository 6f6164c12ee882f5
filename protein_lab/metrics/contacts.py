"""Contacts that must be there and contacts that must not: pairing, clashes, chain breaks."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.constants import CA_CA_TRANS
from protein_lab.errors import GeometryError
from protein_lab.geometry import axis_curve, coordinates, unit, virtual_cb
from protein_lab.geometry.motion import Array
from protein_lab.metrics.hydrogen_bonds import single_chain
from protein_lab.typing import IntArray

VAN_DER_WAALS_RADII = {"N": 1.55, "C": 1.70, "O": 1.52}
"""Angstrom, by element (Bondi, 1964), as in AlphaFold's violation loss."""

CHAIN_BREAK = 0.75

NATIVE_CLASHES_PER_1000 = 2.6
"""95th percentile of :func:`backbone_clash_per_1000` over the training chains of the corpus."""

_CLASH_OVERLAP = 0.4
_SHORTEST_HYDROGEN_BOND = 2.5

_CB_CONTACT = 8.0
_MIN_CONTACTS = 3
_HELIX_REACH = 12.0
_STRAND_REACH = 6.5
_STRAND_SPAN = 6.0
_PARALLEL = np.cos(np.deg2rad(45.0))


def pairing_met(
    backbone: ArrayLike,
    element_a: tuple[int, int],
    element_b: tuple[int, int],
    kind: Literal["parallel", "antiparallel", "crossing"],
) -> bool:
    """Tell whether two elements lie side by side in the asked orientation.

    They touch when three pairs of their CB atoms (ideal positions) lie within 8 angstrom and
    their axis curves come within 12 angstrom, or 6.5 angstrom for two strands, which leaves only
    neighbors in one sheet. Elements are strands by what they are, not by what was asked: where the
    CA atoms of residues i and i + 2 are more than 6 angstrom apart (5.5 in helices, 6.6 in
    strands). Two strands are parallel or antiparallel by the sign of the cosine between their
    axes; otherwise parallel is below 45 degrees, antiparallel above 135 and crossing between.

    Parameters
    ----------
    backbone : array_like
        ``(residue, >=3, 3)``: N, CA, C, angstrom.
    element_a, element_b : tuple of int
        Residues of the elements, start and stop, 0-based and half-open.
    kind : {"parallel", "antiparallel", "crossing"}
        Orientation that was asked.

    Returns
    -------
    bool

    Raises
    ------
    GeometryError
        If a range is empty or outside the chain, ``kind`` is unknown, or coordinates are wrong.
    """
    atoms = coordinates(backbone, "backbone", atoms=3)
    if kind not in ("parallel", "antiparallel", "crossing"):
        raise GeometryError(f"Expected parallel, antiparallel or crossing; {kind!r} came.")
    _check_range(atoms, element_a)
    _check_range(atoms, element_b)
    curve, cb = axis_curve(atoms[:, 1]), virtual_cb(atoms)
    first, second = slice(*element_a), slice(*element_b)
    strands = all(_is_extended(atoms[part, 1]) for part in (first, second))
    reach = _STRAND_REACH if strands else _HELIX_REACH
    contacts = (_distances(cb[first], cb[second]) < _CB_CONTACT).sum()
    if contacts < _MIN_CONTACTS or _distances(curve[first], curve[second]).min() >= reach:
        return False
    cosine = float(_direction(curve[first]) @ _direction(curve[second]))
    limit = 0.0 if strands else _PARALLEL
    obtained = "parallel" if cosine > limit else "antiparallel" if cosine < -limit else "crossing"
    return obtained == kind


def _check_range(atoms: Array, element: tuple[int, int]) -> None:
    start, stop = element
    if atoms.ndim != 3 or not 0 <= start < stop <= len(atoms):
        raise GeometryError(
            f"The element {start}..{stop} does not lie in a chain of shape {atoms.shape}.",
            "Give start and stop 0-based and half-open.",
        )


def _direction(curve: Array) -> Array:
    return unit(curve[-1] - curve[0])


def _is_extended(ca: Array) -> bool:
    if len(ca) < 3:
        return False
    return bool(np.median(np.linalg.norm(ca[2:] - ca[:-2], axis=-1)) > _STRAND_SPAN)


def _distances(first: Array, second: Array) -> Array:
    return np.linalg.norm(first[:, None] - second, axis=-1)


def num_clashes(backbone: ArrayLike, tolerance: float = 1.5) -> int:
    """Count pairs of heavy backbone and CB atoms that overlap (AlphaFold 2's violation style).

    Two atoms of different residues clash when their distance is below the sum of their van der
    Waals radii minus ``tolerance``. The peptide bond C-N is the only pair of neighbors that comes
    so near in a sound backbone, and is left out where it is a bond, between consecutive
    residues. Every residue gets an ideal CB, glycine too, as the sequence is not known here.

    Parameters
    ----------
    backbone : array_like
        ``(residue, 4, 3)``: N, CA, C, O, angstrom.
    tolerance : float
        Overlap that is forgiven, angstrom.

    Returns
    -------
    int
        Number of clashing atom pairs.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    four = single_chain(backbone)
    atoms = np.concatenate([four, virtual_cb(four)[:, None]], axis=1)
    radii = np.array([VAN_DER_WAALS_RADII[element] for element in "NCCOC"])
    limits = radii[:, None] + radii - tolerance
    extent = np.linalg.norm(atoms - atoms[:, 1:2], axis=-1).max()
    first, second = _close_residues(atoms[:, 1], 2 * extent + limits.max())
    squared = ((atoms[first][:, :, None] - atoms[second][:, None]) ** 2).sum(-1)
    clash = squared < np.maximum(limits, 0.0) ** 2
    carbonyl, nitrogen = 2, 0
    clash[second == first + 1, carbonyl, nitrogen] = False
    return int(clash.sum())


def backbone_clash_per_1000(backbone: ArrayLike) -> float:
    """Clashes of 1,000 backbone atoms, after MolProbity's clashscore but without hydrogens.

    Two of N, CA, C and O in residues that are no neighbors clash when their van der Waals spheres
    overlap by 0.4 angstrom or more; N and O, which may share a hydrogen bond, when they are closer
    than 2.5 angstrom. As side chains and hydrogens are left out it is a lower bound of a
    clashscore.

    Parameters
    ----------
    backbone : array_like
        ``(residue, 4, 3)``: N, CA, C, O, angstrom.

    Returns
    -------
    float
        Clashing pairs per 1,000 atoms. Real chains: 0.4 on average,
        :data:`NATIVE_CLASHES_PER_1000` at the 95th percentile.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = single_chain(backbone)
    radii = np.array([VAN_DER_WAALS_RADII[element] for element in "NCCO"])
    limits = radii[:, None] + radii - _CLASH_OVERLAP
    nitrogen, oxygen = 0, 3
    limits[[nitrogen, oxygen], [oxygen, nitrogen]] = _SHORTEST_HYDROGEN_BOND
    extent = np.linalg.norm(atoms - atoms[:, 1:2], axis=-1).max()
    first, second = _close_residues(atoms[:, 1], 2 * extent + limits.max())
    apart = second > first + 1
    first, second = first[apart], second[apart]
    squared = ((atoms[first][:, :, None] - atoms[second][:, None]) ** 2).sum(-1)
    return 1000.0 * float((squared <= limits**2).sum()) / (4 * len(atoms))


def _close_residues(ca: Array, cutoff: float) -> tuple[IntArray, IntArray]:
    """Pairs of residues i < j whose CA atoms are within the cut-off."""
    centered = ca - ca.mean(axis=0)
    squared = (centered**2).sum(-1)
    # The margin covers rounding in the expanded square.
    near = squared[:, None] + squared - 2 * centered @ centered.T < (cutoff + 0.01) ** 2
    first, second = np.nonzero(np.triu(near, 1))
    return first, second


def chain_breaks(ca: ArrayLike, chain_index: ArrayLike | None = None) -> IntArray:
    """Find where consecutive CA atoms are not 3.80 +- 0.75 angstrom apart (RFdiffusion3's check).

    A cis peptide (2.95 angstrom) counts as a break; designs are built trans.

    Parameters
    ----------
    ca : array_like
        ``(residue, 3)``, angstrom.
    chain_index : array_like, optional
        ``(residue,)``; steps between chains are no breaks.

    Returns
    -------
    ndarray
        Indices of the residues after which the chain is broken.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    points = coordinates(ca, "ca")
    if points.ndim != 2:
        raise GeometryError(f"ca must be one structure (residue, 3); got {points.shape}.")
    step = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    broken = np.abs(step - CA_CA_TRANS) > CHAIN_BREAK
    if chain_index is not None:
        broken &= np.diff(np.asarray(chain_index)) == 0
    return np.nonzero(broken)[0]
