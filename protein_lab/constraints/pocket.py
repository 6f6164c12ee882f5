"""How deep a ligand lies in a chain, and how much room the pocket around it has."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np

from protein_lab.typing import FloatArray

RAY_RADIUS: Final = 2.5
"""Angstrom about a ray within which an atom blocks it; atoms of a chain lie 3 to 5 apart."""

RAY_REACH: Final = 12.0
"""Angstrom after which a ray is taken to have left the pocket."""

_RAYS: Final = 96
_SPACING: Final = 0.8
_ROOM: Final = 5.0
_FREE: Final = 3.0
_ENCLOSED: Final = 0.65


def _sphere(count: int) -> FloatArray:
    """Directions that spread evenly over a sphere (Fibonacci lattice), shape (count, 3)."""
    step = np.arange(count) + 0.5
    height = 1.0 - 2.0 * step / count
    around = np.pi * (1.0 + np.sqrt(5.0)) * step
    radius = np.sqrt(1.0 - height**2)
    return np.stack([radius * np.cos(around), radius * np.sin(around), height], axis=1)


def _axes() -> FloatArray:
    """Seven lines through a cube, both ways: along its edges and its diagonals."""
    steps = [step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) in (1, 3)]
    table = np.array(steps, dtype=np.float64)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def blocked(origins: FloatArray, directions: FloatArray, atoms: FloatArray) -> FloatArray:
    """Tell for each origin which part of the rays meets an atom within :data:`RAY_REACH`.

    Parameters
    ----------
    origins : ndarray, shape=(origin, 3)
    directions : ndarray, shape=(ray, 3)
        Of length one.
    atoms : ndarray, shape=(atom, 3)

    Returns
    -------
    ndarray, shape=(origin,)
        From 0 to 1.
    """
    share = np.zeros(len(origins))
    for number, origin in enumerate(origins):
        to = atoms - origin
        near = to[(to**2).sum(axis=1) < RAY_REACH**2]
        along = near @ directions.T
        beside = (near**2).sum(axis=1)[:, None] - along**2
        share[number] = ((along > 0.0) & (beside < RAY_RADIUS**2)).any(axis=0).mean()
    return share


def burial(ligand: FloatArray, atoms: FloatArray) -> float:
    """Part of all directions from the atoms of a ligand in which a chain lies.

    Parameters
    ----------
    ligand, atoms : ndarray, shape=(atom, 3)
        Angstrom.

    Returns
    -------
    float
        Mean over the atoms of the ligand: 0 far away, about 0.5 on a flat face, 1 inside.
    """
    return float(blocked(ligand, _sphere(_RAYS), atoms).mean())


def pocket_volume(ligand: FloatArray, atoms: FloatArray) -> float:
    """Room about a ligand that a chain encloses but does not fill.

    Points of a grid count that lie within 5 angstrom of the ligand, 3 or more from every atom of
    the chain, and see the chain along at least 65 % of 14 directions, in the manner of LIGSITE
    (Hendlich et al., J. Mol. Graph. Model. 15, 359-363, 1997).

    Parameters
    ----------
    ligand, atoms : ndarray, shape=(atom, 3)
        Angstrom.

    Returns
    -------
    float
        Cubic angstrom; without side chains an upper bound.
    """
    from scipy.spatial import KDTree

    low, high = ligand.min(axis=0) - _ROOM, ligand.max(axis=0) + _ROOM
    counts = np.ceil((high - low) / _SPACING).astype(int)
    grid = low + _SPACING * np.stack(
        np.meshgrid(*(np.arange(count) for count in counts), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    grid = grid[KDTree(ligand).query(grid)[0] < _ROOM]
    grid = grid[KDTree(atoms).query(grid)[0] >= _FREE]
    enclosed = blocked(grid, _axes(), atoms) >= _ENCLOSED
    return float(enclosed.sum() * _SPACING**3)
