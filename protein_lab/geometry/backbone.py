"""Ideal backbones: atoms from torsions, and the atoms that a backbone implies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.constants import (
    ANGLE_C_N_CA,
    ANGLE_CA_C_N,
    ANGLE_CA_C_O,
    ANGLE_N_CA_C,
    BOND_C_N,
    BOND_C_O,
    BOND_CA_C,
    BOND_CA_CB,
    BOND_N_CA,
)
from protein_lab.errors import GeometryError
from protein_lab.geometry.motion import (
    Array,
    compose_prefixes,
    coordinates,
    dihedral,
    frame_axes,
    unit,
)

ANGLE_N_CA_CB = 110.5
ANGLE_C_CA_CB = 110.1
"""Angles at CA towards CB in degrees (Engh & Huber, 1991, all residues but Gly, Pro, Ile, Val)."""

BOND_N_H = 1.0
"""The N-H bond of the virtual hydrogen, angstrom; mkdssp takes 1.0, and so must we."""

_DEFAULT_LAST_PSI = np.deg2rad(135.0)


def place_atom(
    a: Array, b: Array, c: Array, bond: float, angle: float | Array, torsion: float | Array
) -> Array:
    """Place a fourth atom d by bond c-d, angle b-c-d and torsion a-b-c-d (NeRF; Parsons, 2005).

    Parameters
    ----------
    a, b, c : ndarray
        ``(..., 3)``, angstrom.
    bond : float
        Angstrom.
    angle, torsion : float or ndarray
        ``(...)`` radians.

    Returns
    -------
    ndarray
        ``(..., 3)``, angstrom.
    """
    along = unit(c - b)
    normal = unit(np.cross(b - a, along))
    inward = np.cross(normal, along)
    sine = bond * np.sin(angle)
    parts = (-bond * np.cos(angle), sine * np.cos(torsion), sine * np.sin(torsion))
    lengths = [np.asarray(part)[..., None] for part in parts]
    return c + lengths[0] * along + lengths[1] * inward + lengths[2] * normal


def backbone_from_internal(
    phi: ArrayLike, psi: ArrayLike, omega: ArrayLike, tau: ArrayLike | None = None
) -> Array:
    """Build a backbone with exact ideal bond lengths and angles from its torsions.

    Parameters
    ----------
    phi, psi, omega : array_like
        ``(..., residue)`` radians, as :func:`backbone_dihedrals` gives them. The first phi and the
        last omega have no effect; they and the last psi may be NaN.
    tau : array_like, optional
        Angle N-CA-C, ``(..., residue)`` radians; ideal if omitted.

    Returns
    -------
    ndarray
        ``(..., residue, 4, 3)``: N, CA, C, O, angstrom. The first residue lies in the frame
        that :func:`frames` would give as the identity at the origin.

    Raises
    ------
    GeometryError
        If shapes do not broadcast, or an angle that matters is not finite.
    """
    ideal = np.deg2rad(ANGLE_N_CA_C)
    try:
        phi_, psi_, omega_, tau_ = np.broadcast_arrays(
            *(np.asarray(x, dtype=np.float64) for x in (phi, psi, omega)),
            np.asarray(ideal if tau is None else tau, dtype=np.float64),
        )
    except ValueError as error:
        raise GeometryError("phi, psi, omega, tau must share the shape (..., residue).") from error
    if phi_.ndim == 0 or phi_.shape[-1] == 0:
        raise GeometryError("phi, psi and omega need at least one residue.")
    used = (phi_[..., 1:], psi_[..., :-1], omega_[..., :-1], tau_)
    if not all(np.isfinite(x).all() for x in used):
        raise GeometryError("An internal angle is not finite.", "Only the ends may be NaN.")
    local = np.zeros((*phi_.shape, 3, 3))
    local[..., 0, 0] = BOND_N_CA * np.cos(tau_)
    local[..., 0, 1] = BOND_N_CA * np.sin(tau_)
    local[..., 2, 0] = BOND_CA_C
    rotations, origins = _residue_poses(local, phi_, psi_, omega_)
    atoms = np.einsum("...rij,...raj->...rai", rotations, local) + origins[..., None, :]
    return _with_oxygen(atoms, psi_[..., -1])


def _residue_poses(local: Array, phi: Array, psi: Array, omega: Array) -> tuple[Array, Array]:
    """Rotation and origin of every residue of a chain, by composing neighbor-to-neighbor motions.

    ``local`` holds N, CA, C of every residue in its own frame.
    """
    here, following = local[..., :-1, :, :], local[..., 1:, :, :]
    next_n = place_atom(
        here[..., 0, :], here[..., 1, :], here[..., 2, :],
        BOND_C_N, np.deg2rad(ANGLE_CA_C_N), psi[..., :-1],
    )  # fmt: skip
    next_ca = place_atom(
        here[..., 1, :], here[..., 2, :], next_n,
        BOND_N_CA, np.deg2rad(ANGLE_C_N_CA), omega[..., :-1],
    )  # fmt: skip
    # The angle N-CA-C of the next residue is its tau, read back from its local atoms.
    next_tau = np.arctan2(following[..., 0, 1], following[..., 0, 0])
    next_c = place_atom(here[..., 2, :], next_n, next_ca, BOND_CA_C, next_tau, phi[..., 1:])
    steps, offsets = frame_axes(next_n, next_ca, next_c), next_ca
    shape = local.shape[:-3]
    identity = np.broadcast_to(np.eye(3), (*shape, 1, 3, 3))
    origin = np.zeros((*shape, 1, 3))
    return compose_prefixes(
        np.concatenate([identity, steps], axis=-3), np.concatenate([origin, offsets], axis=-2)
    )


def _with_oxygen(n_ca_c: Array, last_psi: Array | float) -> Array:
    """Add O in the plane of every peptide; at the last residue opposite to where N would be."""
    n, ca, c = n_ca_c[..., 0, :], n_ca_c[..., 1, :], n_ca_c[..., 2, :]
    oxygen = np.empty_like(n)
    # A plane through CA, C and the next N: O lies on the far side of the bond CA-C.
    bond, angle = BOND_C_O, np.deg2rad(ANGLE_CA_C_O)
    next_n = n[..., 1:, :]
    inner = ca[..., :-1, :], c[..., :-1, :]
    oxygen[..., :-1, :] = place_atom(next_n, *inner, bond, angle, np.pi)
    psi = np.where(np.isfinite(last_psi), last_psi, _DEFAULT_LAST_PSI)
    last = n[..., -1, :], ca[..., -1, :], c[..., -1, :]
    oxygen[..., -1, :] = place_atom(*last, bond, angle, psi + np.pi)
    return np.concatenate([n_ca_c, oxygen[..., None, :]], axis=-2)


def place_oxygen(n_ca_c: ArrayLike) -> Array:
    """Complete backbones with O atoms in the planes of their peptides.

    Parameters
    ----------
    n_ca_c : array_like
        ``(..., residue, >=3, 3)``: N, CA, C of one chain, angstrom; further atoms are ignored.

    Returns
    -------
    ndarray
        ``(..., residue, 4, 3)``. The bond C-O and the angle CA-C-O are ideal. The last residue,
        which has no peptide, is given the psi of the residue before it.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(n_ca_c, "n_ca_c", atoms=3)[..., :3, :]
    if atoms.shape[-3] == 1:
        return _with_oxygen(atoms, np.nan)
    before, last = atoms[..., -2, :, :], atoms[..., -1, :, :]
    psi = dihedral(before[..., 0, :], before[..., 1, :], before[..., 2, :], last[..., 0, :])
    return _with_oxygen(atoms, psi)


def virtual_cb(backbone: ArrayLike) -> Array:
    """Ideal CB of L-amino acids from N, CA and C (glycine included).

    Parameters
    ----------
    backbone : array_like
        ``(..., residue, >=3, 3)``, angstrom.

    Returns
    -------
    ndarray
        ``(..., residue, 3)``: bond CA-CB and the angles N-CA-CB and C-CA-CB are ideal whatever
        the angle N-CA-C is (as long as such a point exists).

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(backbone, "backbone", atoms=3)
    ca = atoms[..., 1, :]
    to_n, to_c = unit(atoms[..., 0, :] - ca), unit(atoms[..., 2, :] - ca)
    cosine = np.clip((to_n * to_c).sum(-1, keepdims=True), -0.99, 0.99)
    at_n, at_c = np.cos(np.deg2rad(ANGLE_N_CA_CB)), np.cos(np.deg2rad(ANGLE_C_CA_CB))
    # CB = a to_n + b to_c + h normal: two angles give a and b, the length gives h.
    a = (at_n - at_c * cosine) / (1 - cosine**2)
    b = (at_c - at_n * cosine) / (1 - cosine**2)
    in_plane = a * to_n + b * to_c
    height = np.sqrt(np.maximum(1 - (in_plane**2).sum(-1, keepdims=True), 0.0))
    return ca + BOND_CA_CB * unit(in_plane + height * unit(np.cross(to_n, to_c)))


def virtual_hydrogen(backbone: ArrayLike) -> Array:
    """Amide hydrogens, placed opposite to the previous C=O (Kabsch & Sander, 1983).

    Parameters
    ----------
    backbone : array_like
        ``(..., residue, >=4, 3)``: N, CA, C, O of one chain, angstrom.

    Returns
    -------
    ndarray
        ``(..., residue, 3)``, 1.0 angstrom from N; NaN for the first residue.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(backbone, "backbone", atoms=4)
    hydrogen = np.full(atoms[..., 0, :].shape, np.nan)
    carbonyl = unit(atoms[..., :-1, 2, :] - atoms[..., :-1, 3, :])
    hydrogen[..., 1:, :] = atoms[..., 1:, 0, :] + BOND_N_H * carbonyl
    return hydrogen
