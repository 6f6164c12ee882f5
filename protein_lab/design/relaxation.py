"""Rigid helices and strands moved a little until loops can close and nothing overlaps.

Position-based: ends of loops that cannot be bridged pull, points that overlap push, everything is
drawn home weakly, and after each step the elements get back their shapes by superposition (shape
matching; Müller et al., 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.geometry import superimpose
from protein_lab.typing import FloatArray, IntArray

MIN_DISTANCE: Final = 4.5
"""CA atoms of different elements come closer than this only where the real fold does, angstrom."""

_ITERATIONS: Final = 60
_HOME: Final = 0.03
_PUSH: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Bridge:
    """A loop between two consecutive bodies and the distances that it can span, angstrom."""

    first: int
    second: int
    low: float
    high: float


def relax(bodies: Sequence[FloatArray], bridges: Sequence[Bridge]) -> list[FloatArray]:
    """Move rigid bodies so that loops close and no two bodies overlap.

    Parameters
    ----------
    bodies : sequence of ndarray, shape=(residue, 3)
        CA traces, angstrom.
    bridges : sequence of Bridge
        From the last residue of ``first`` to the first residue of ``second``.

    Returns
    -------
    list of ndarray
        The same shapes, moved as little as needed; unchanged when nothing is violated.
    """
    if len(bodies) < 2:
        return [np.array(body, dtype=np.float64) for body in bodies]
    size = np.array([len(body) for body in bodies])
    start = np.cumsum(size) - size
    owner = np.repeat(np.arange(len(bodies)), size)
    home = np.concatenate(bodies).astype(np.float64)
    # How far along its body each residue lies: 0 at the first, 1 at the last.
    along = (np.arange(owner.size) - start[owner]) / np.maximum(size[owner] - 1, 1)
    contacts = _close_pairs(home, owner)
    native = np.linalg.norm(home[contacts[:, 0]] - home[contacts[:, 1]], axis=-1)
    excused = {(int(a), int(b)): d for (a, b), d in zip(contacts, native, strict=True)}
    points = home.copy()
    for _ in range(_ITERATIONS):
        move = np.zeros_like(points)
        pulled = _pull(points, move, bridges, start, size, owner, along)
        pushed = _push_apart(points, move, owner, excused)
        if not pulled and not pushed:
            break
        points = _rigid(home, points + move + _HOME * (home - points), start, size)
    return np.split(points, start[1:])


def _pull(
    points: FloatArray,
    move: FloatArray,
    bridges: Sequence[Bridge],
    start: IntArray,
    size: IntArray,
    owner: IntArray,
    along: FloatArray,
) -> bool:
    """Add to ``move`` what brings the ends of loops into their range; tell whether any was out."""
    out = False
    for bridge in bridges:
        end = start[bridge.first] + size[bridge.first] - 1
        head = start[bridge.second]
        gap = points[head] - points[end]
        distance = max(float(np.linalg.norm(gap)), 1e-6)
        miss = min(0.0, distance - bridge.low) + max(0.0, distance - bridge.high)
        if abs(miss) < 0.05:
            continue
        out = True
        step = _PUSH * miss * gap / distance / 2
        before, after = owner == bridge.first, owner == bridge.second
        move[before] += (0.5 + 0.5 * along[before])[:, None] * step
        move[after] -= (1.0 - 0.5 * along[after])[:, None] * step
    return out


def _close_pairs(points: FloatArray, owner: IntArray) -> IntArray:
    """Pairs of residues of different bodies that are too close."""
    from scipy.spatial import KDTree

    pairs = KDTree(points).query_pairs(MIN_DISTANCE, output_type="ndarray")
    return pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]


def _push_apart(
    points: FloatArray, move: FloatArray, owner: IntArray, excused: dict[tuple[int, int], float]
) -> bool:
    """Add to ``move`` what separates overlapping residues; tell whether any overlapped."""
    pairs = _close_pairs(points, owner)
    if pairs.shape[0] == 0:
        return False
    limit = np.array([excused.get((int(a), int(b)), MIN_DISTANCE) for a, b in pairs])
    gap = points[pairs[:, 1]] - points[pairs[:, 0]]
    distance = np.maximum(np.linalg.norm(gap, axis=-1), 1e-6)
    lack = np.maximum(0.0, limit - distance)
    if lack.max() < 0.05:
        return False
    step = (_PUSH * lack / distance)[:, None] * gap
    for body in np.unique(owner[pairs]):
        # A body moves as a whole: the mean push of its residues that overlap.
        first, second = owner[pairs[:, 0]] == body, owner[pairs[:, 1]] == body
        hit = np.concatenate([-step[first], step[second]])
        strong = np.abs(hit).sum(axis=-1) > 0
        if strong.any():
            move[owner == body] += hit[strong].mean(axis=0)
    return True


def _rigid(home: FloatArray, points: FloatArray, start: IntArray, size: IntArray) -> FloatArray:
    """Superimpose every body's own shape on where its residues went."""
    slot = np.minimum(np.arange(size.max())[None, :], size[:, None] - 1) + start[:, None]
    weight = (np.arange(size.max())[None, :] < size[:, None]).astype(float)
    rotation, shift = superimpose(home[slot], points[slot], weight)
    moved = home[slot] @ np.swapaxes(rotation, -1, -2) + shift[:, None]
    return moved[weight > 0]
