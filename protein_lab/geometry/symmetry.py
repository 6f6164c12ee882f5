"""Rotations of the cyclic and dihedral groups, and evenly spread rotations to search among."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.errors import GeometryError
from protein_lab.geometry.motion import Array

_PHI: Final = np.sqrt(2.0)
_PSI: Final = 1.533751168755204288118041
"""The positive solution of x**4 = x + 4."""


def point_group(name: str) -> Array:
    """Rotations of a cyclic or dihedral group.

    Parameters
    ----------
    name : str
        ``C`` or ``D`` and the number of subunits around the main axis, as ``C3`` or ``D2``.

    Returns
    -------
    ndarray
        ``(order, 3, 3)``. The identity comes first, then the other turns about z by growing
        angle; of a dihedral group then the half turns, about x first.

    Raises
    ------
    GeometryError
        If there is no such group.
    """
    family, count = name[:1], name[1:]
    if family not in ("C", "D") or not count.isdecimal() or not 2 <= int(count) <= 999:
        raise GeometryError(f"Expected a group such as C3 or D2, but got {name!r}.")
    turns = turns_about_z(2.0 * np.pi * np.arange(int(count)) / int(count))
    if family == "C":
        return turns
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0, -1.0])])


def turns_about_z(angles: Array) -> Array:
    """Rotations ``(..., 3, 3)`` about the z axis by ``angles`` in radians."""
    turns = np.zeros((*np.shape(angles), 3, 3))
    turns[..., 0, 0] = turns[..., 1, 1] = np.cos(angles)
    turns[..., 1, 0] = np.sin(angles)
    turns[..., 0, 1] = -turns[..., 1, 0]
    turns[..., 2, 2] = 1.0
    return turns


def spread_rotations(count: int) -> Array:
    """Rotations that cover all orientations evenly (super-Fibonacci spiral, Alexa, CVPR 2022).

    Parameters
    ----------
    count : int
        How many.

    Returns
    -------
    ndarray
        ``(count, 3, 3)``; the same ones every time.
    """
    place = np.arange(count) + 0.5
    inner, outer = np.sqrt(place / count), np.sqrt(1.0 - place / count)
    alpha, beta = 2.0 * np.pi * place / _PHI, 2.0 * np.pi * place / _PSI
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)],
        axis=-1,
    )
    return _from_quaternions(quaternions)


def turn_by(vector: Array) -> Array:
    """Rotation ``(3, 3)`` about a vector by its length in radians (Rodrigues)."""
    cross = cross_matrix(vector)
    angle = float(np.linalg.norm(vector))
    # sin(x)/x and (1 - cos(x))/x^2, by their series where x is too small to divide by
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2.0 * np.pi)) ** 2
    return np.eye(3) + first * cross + second * cross @ cross


def cross_matrix(vector: Array) -> Array:
    """Matrix ``(3, 3)`` that makes the cross product with a vector."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _from_quaternions(quaternions: Array) -> Array:
    x, y, z, w = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
