"""Coordinates, frames, dihedrals and superposition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protein_lab.errors import GeometryError

Array = NDArray[np.float64]

TINY = 1e-12
"""Lengths below this, in angstrom, have no direction."""


def coordinates(values: ArrayLike, name: str, *, atoms: int = 0, minimum: int = 1) -> Array:
    """Return coordinates as finite float64 of the expected shape.

    Parameters
    ----------
    values : array_like
        ``(..., residue, 3)``, or ``(..., residue, atom, 3)`` if ``atoms`` is given.
    name : str
        What the caller calls them, for the message.
    atoms : int
        Least number of atoms a residue; 0 where there is no atom axis.
    minimum : int
        Least number of residues.

    Returns
    -------
    ndarray
        The same coordinates in float64.

    Raises
    ------
    GeometryError
        If the shape is another or a coordinate is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    axes = 3 if atoms else 2
    wanted = f"(..., residue, >={atoms} atoms, 3)" if atoms else "(..., residue, 3)"
    if array.ndim < axes or array.shape[-1] != 3 or (atoms and array.shape[-2] < atoms):
        raise GeometryError(f"{name} must have the shape {wanted}; it has {array.shape}.")
    if array.shape[-axes] < minimum:
        raise GeometryError(f"{name} needs at least {minimum} residues; it has {array.shape}.")
    if not np.isfinite(array).all():
        raise GeometryError(
            f"{name} holds coordinates that are not finite.", "Remove residues without backbone."
        )
    return array


def unit(vectors: Array) -> Array:
    """Scale vectors ``(..., 3)`` to length one; a zero vector stays zero."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norm, TINY)


def frames(backbone: ArrayLike) -> tuple[Array, Array]:
    """Orthonormal frame of every residue by Gram-Schmidt (AlphaFold 2, supplement, algorithm 21).

    Parameters
    ----------
    backbone : array_like
        ``(..., residue, >=3, 3)``: N, CA, C, angstrom.

    Returns
    -------
    rotations : ndarray
        ``(..., residue, 3, 3)``; the columns are the axes: towards C, then in the plane of N,
        then their cross product. ``rotation @ local + origin`` is global.
    origins : ndarray
        ``(..., residue, 3)``: the CA atoms.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(backbone, "backbone", atoms=3)
    n, ca, c = atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]
    return frame_axes(n, ca, c), ca


def frame_axes(n: Array, ca: Array, c: Array) -> Array:
    """Rotations of :func:`frames` from the three atoms ``(..., 3)``, without checks."""
    first = unit(c - ca)
    to_n = n - ca
    second = unit(to_n - (to_n * first).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def dihedral(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike) -> Array:
    """Dihedral angle about the bond b-c, IUPAC sign.

    Parameters
    ----------
    a, b, c, d : array_like
        Points ``(..., 3)``, angstrom.

    Returns
    -------
    ndarray
        ``(...)`` radians in (-pi, pi]; NaN where a point is NaN.
    """
    start, middle, end = (
        np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
        for first, second in ((a, b), (b, c), (c, d))
    )
    normal_before, normal_after = np.cross(start, middle), np.cross(middle, end)
    sine = (np.linalg.norm(middle, axis=-1)) * (start * normal_after).sum(-1)
    return np.arctan2(sine, (normal_before * normal_after).sum(-1))


def backbone_dihedrals(backbone: ArrayLike) -> Array:
    """Torsion angles phi, psi and omega of one chain.

    Parameters
    ----------
    backbone : array_like
        ``(..., residue, >=3, 3)``, angstrom; consecutive residues are taken as bonded.

    Returns
    -------
    ndarray
        ``(..., residue, 3)`` radians. ``omega[i]`` turns about the bond C(i)-N(i+1). NaN: phi of
        the first residue, psi and omega of the last.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    atoms = coordinates(backbone, "backbone", atoms=3)
    n, ca, c = atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]
    angles = np.full((*n.shape[:-1], 3), np.nan)
    before, after = np.s_[..., :-1, :], np.s_[..., 1:, :]
    angles[..., 1:, 0] = dihedral(c[before], n[after], ca[after], c[after])
    angles[..., :-1, 1] = dihedral(n[before], ca[before], c[before], n[after])
    angles[..., :-1, 2] = dihedral(ca[before], c[before], n[after], ca[after])
    return angles


def superimpose(
    mobile: ArrayLike, fixed: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Rigid motion that brings ``mobile`` onto ``fixed`` with least squares (Kabsch, 1978).

    Parameters
    ----------
    mobile, fixed : array_like
        ``(..., point, 3)``, angstrom, in correspondence.
    weights : array_like, optional
        ``(..., point)``, not negative; equal weights if omitted.

    Returns
    -------
    rotation : ndarray
        ``(..., 3, 3)``, proper (determinant +1), so a mirror image never fits.
    translation : ndarray
        ``(..., 3)``; ``mobile @ rotation.T + translation`` is superimposed.

    Raises
    ------
    GeometryError
        If shapes differ, a coordinate is not finite, or the weights do not sum to more than 0.
    """
    start, goal = coordinates(mobile, "mobile"), coordinates(fixed, "fixed")
    if start.shape[-2:] != goal.shape[-2:]:
        raise GeometryError(
            f"mobile and fixed must have the same points; {start.shape} and {goal.shape} came.",
            "Select the atoms that correspond first.",
        )
    share = np.ones(start.shape[-2]) if weights is None else np.asarray(weights, dtype=np.float64)
    total = share.sum(-1, keepdims=True)
    if (share < 0).any() or not (total > 0).all():
        raise GeometryError("weights must not be negative and must sum to more than 0.")
    share = (share / total)[..., None]
    start_center = (share * start).sum(-2, keepdims=True)
    goal_center = (share * goal).sum(-2, keepdims=True)
    covariance = np.swapaxes(share * (start - start_center), -1, -2) @ (goal - goal_center)
    left, _, right = np.linalg.svd(covariance)
    # The last axis flips where the best orthogonal map would be a reflection.
    left[..., :, 2] *= np.sign(np.linalg.det(left @ right))[..., None]
    rotation = np.swapaxes(left @ right, -1, -2)
    translation = goal_center - start_center @ np.swapaxes(rotation, -1, -2)
    return rotation, translation[..., 0, :]


def compose_prefixes(rotations: Array, translations: Array) -> tuple[Array, Array]:
    """Compose rigid motions along the residue axis: out[i] = motion[0] after ... after motion[i].

    Doubling steps (Hillis & Steele, 1986): log2(residue) batched products instead of a loop.

    Parameters
    ----------
    rotations : ndarray
        ``(..., residue, 3, 3)``.
    translations : ndarray
        ``(..., residue, 3)``.

    Returns
    -------
    tuple of ndarray
        Rotations and translations of the same shapes.
    """
    rotations, translations = rotations.copy(), translations.copy()
    step = 1
    while step < rotations.shape[-3]:
        head = rotations[..., :-step, :, :]
        shifted = np.einsum("...ij,...j->...i", head, translations[..., step:, :])
        moved = shifted + translations[..., :-step, :]
        rotations[..., step:, :, :] = head @ rotations[..., step:, :, :]
        translations[..., step:, :] = moved
        step *= 2
    return rotations, translations


def radius_of_gyration(ca: ArrayLike) -> Array:
    """Root mean square distance of the points to their centroid, all of equal mass.

    Parameters
    ----------
    ca : array_like
        ``(..., residue, 3)``, angstrom.

    Returns
    -------
    ndarray
        ``(...)``, angstrom.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    points = coordinates(ca, "ca")
    centered = points - points.mean(axis=-2, keepdims=True)
    return np.sqrt((centered**2).sum(-1).mean(-1))
