"""Points that stand for folds where chains are searched: what is known of each before aligning.

Points lie on axis curves, at the centers of cells of four residues, and halfway between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.geometry import axis_curve
from protein_lab.typing import FloatArray, IntArray

CELL: Final = 4
"""Residues that a point of a histogram stands for."""

WINDOW: Final = 6
"""Points of a stretch that is superimposed."""

_STATE_PAIR: Final = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
_SEPARATIONS: Final = (3, 5, 8, 14, 24)
_DISTANCES: Final = (6.5, 9.0, 12.0, 16.0, 20.0, 26.0)
_COSINES: Final = (-0.4, 0.4)
_BINS: Final = 6 * (len(_SEPARATIONS) + 1) * (len(_DISTANCES) + 1) * (len(_COSINES) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class FoldPoints:
    """Points of one structure or of many chains, one after the other.

    Attributes
    ----------
    fine : ndarray, shape=(2 * cell - chain, 3)
        A point every two residues, angstrom; every other, from the first of a chain, is the
        center of a cell.
    coarse : ndarray, shape=(cell, 3)
        The centers alone.
    direction : ndarray, shape=(cell, 3)
        Unit vector along the axis curve.
    state : ndarray, shape=(cell,)
        0 helix, 1 strand, 2 loop.
    """

    fine: FloatArray
    coarse: FloatArray
    direction: FloatArray
    state: IntArray


def fold_points(ca: FloatArray, states: str) -> FoldPoints:
    """Cut a chain into cells of four residues; what does not divide is left out at both ends.

    Parameters
    ----------
    ca : ndarray, shape=(residue, 3)
        CA atoms, angstrom.
    states : str
        H, E or L for each residue.
    """
    curve = axis_curve(ca)
    count = len(curve) // CELL
    start = (len(curve) - count * CELL) // 2
    used = curve[start : start + count * CELL]
    fine = ((used[:-1] + used[1:]) / 2)[1::2]
    direction = used[CELL - 1 :: CELL] - used[::CELL]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    letters = np.frombuffer(states.encode("ascii"), np.uint8)[start : start + count * CELL]
    cells = letters.reshape(count, CELL)
    helix, strand = ((cells == ord(state)).sum(axis=1) >= CELL // 2 for state in "HE")
    return FoldPoints(
        fine.astype(np.float32),
        fine[::2].astype(np.float32),
        direction.astype(np.float32),
        np.where(helix, 0, np.where(strand, 1, 2)),
    )


def histograms(points: FoldPoints, chain: IntArray, num_chains: int) -> FloatArray:
    """Count pairs of points two or more apart by states, separation, distance and direction.

    Parameters
    ----------
    points : FoldPoints
        Of all chains.
    chain : ndarray, shape=(point,)
        Chain of each point, ascending from 0.
    num_chains : int
        Number of chains.

    Returns
    -------
    ndarray, shape=(chain, bin)
    """
    total = np.zeros(num_chains * _BINS, dtype=np.float32)
    longest = int(np.bincount(chain, minlength=1).max())
    for lag in range(2, longest):
        first = np.flatnonzero(chain[lag:] == chain[:-lag])
        second = first + lag
        distance = np.linalg.norm(points.coarse[first] - points.coarse[second], axis=1)
        cosine = (points.direction[first] * points.direction[second]).sum(axis=1)
        index = _STATE_PAIR[points.state[first], points.state[second]]
        index = index * (len(_SEPARATIONS) + 1) + np.digitize(lag, _SEPARATIONS)
        index = index * (len(_DISTANCES) + 1) + np.digitize(distance, _DISTANCES)
        index = index * (len(_COSINES) + 1) + np.digitize(cosine, _COSINES)
        key, count = np.unique(chain[first] * _BINS + index, return_counts=True)
        total[key] += count
    return total.reshape(num_chains, _BINS)


def stretches(points: FloatArray, start: IntArray) -> FloatArray:
    """Inner distances of stretches, and a volume that tells them from their mirror images.

    Parameters
    ----------
    points : ndarray, shape=(point, 3)
        Centers of cells, angstrom.
    start : ndarray, shape=(stretch,)
        First point of each stretch of :data:`WINDOW` points.

    Returns
    -------
    ndarray, shape=(stretch, feature)
        Angstrom.
    """
    shape = points[start[:, None] + np.arange(WINDOW)]
    first, second = np.triu_indices(WINDOW, 1)
    distance = np.linalg.norm(shape[:, first] - shape[:, second], axis=-1)
    normal = np.cross(shape[:, 2] - shape[:, 0], shape[:, 3] - shape[:, 1])
    volume = np.cbrt((normal * (shape[:, 5] - shape[:, 2])).sum(axis=1))
    return np.concatenate([distance, volume[:, None]], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class FoldIndex:
    """Everything about the chains that does not depend on the structure.

    Attributes
    ----------
    points : FoldPoints
        Of all chains.
    offset : ndarray, shape=(chain + 1,)
        Where the cells of each chain start.
    count, root : ndarray, shape=(chain, bin)
        Histograms, and their square roots at unit length.
    stretch : ndarray, shape=(stretch, feature)
        From :func:`stretches`, all that each chain has.
    stretch_offset : ndarray, shape=(chain + 1,)
        Where the stretches of each chain start.
    """

    points: FoldPoints
    offset: IntArray
    count: FloatArray
    root: FloatArray
    stretch: FloatArray
    stretch_offset: IntArray
