"""Places for elements and domains that no fold of the library gives a place to.

Candidates are drawn beside the partners that a blueprint names, or anywhere on the surface; the
one is kept whose loops can close, that overlaps nothing and that packs best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protein_lab.constants import CA_CA_TRANS
from protein_lab.contacts import STRAND
from protein_lab.typing import FloatArray

_CANDIDATES: Final = 240
_STRAND_DISTANCE: Final = 4.9
_HELIX_DISTANCE: Final = 9.6
_MIN_DISTANCE: Final = 4.5
_CONTACT: Final = 10.0
_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Neighbor:
    """A placed element that the new one lies beside.

    Attributes
    ----------
    trace : ndarray, shape=(residue, 3)
        Its CA, angstrom.
    kind : int
        0 helix, 1 strand.
    orientation : int
        1 parallel, 2 antiparallel, 3 crossing.
    """

    trace: FloatArray
    kind: int
    orientation: int


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """An end that a loop has to reach: the point, and the greatest distance, angstrom."""

    point: FloatArray
    reach: float
    to_start: bool


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is placed already, and what the new body is bound to."""

    placed: FloatArray
    neighbors: Sequence[Neighbor] = field(default_factory=tuple)
    anchors: Sequence[Anchor] = field(default_factory=tuple)


def place(body: FloatArray, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Find a place for a rigid body.

    Parameters
    ----------
    body : ndarray, shape=(residue, 3)
        CA trace, angstrom, anywhere.
    around : Surroundings
        What is there already.
    rng : Generator
        Draws the candidates.

    Returns
    -------
    ndarray, shape=(residue, 3)
        The body, moved and turned, never mirrored.
    """
    centered = body - body.mean(axis=0)
    if around.placed.shape[0] == 0:
        return centered
    axis = _direction(centered)
    if around.neighbors:
        directions, centers = _beside(around, rng)
    else:
        directions, centers = _anywhere(centered, around, rng)
    turns = _turns(axis, directions, rng.uniform(0, 2 * np.pi, _CANDIDATES))
    poses = centered @ np.swapaxes(turns, -1, -2) + centers[:, None]
    return poses[int(_penalty(poses, around).argmin())]


def attach(body: FloatArray, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Find a place for a rigid body that continues the chain.

    Parameters
    ----------
    body : ndarray, shape=(residue, 3)
        CA trace, angstrom; its first residue follows the last that is placed.
    around : Surroundings
        What is there already.
    rng : Generator
        Draws the candidates.

    Returns
    -------
    ndarray, shape=(residue, 3)
        The body, moved and turned, never mirrored.
    """
    turns = _frames(
        _unit(rng.standard_normal((_CANDIDATES, 3))), rng.uniform(0, 2 * np.pi, _CANDIDATES)
    )
    first = around.placed[-1] + CA_CA_TRANS * _unit(rng.standard_normal((_CANDIDATES, 3)))
    poses = (body - body[0]) @ np.swapaxes(turns, -1, -2) + first[:, None]
    return poses[int(_penalty(poses[:, 1:], around).argmin())]


def _direction(trace: FloatArray) -> FloatArray:
    """Return the unit vector from the first half of a trace to the second."""
    half = max(1, len(trace) // 2)
    axis = trace[-half:].mean(axis=0) - trace[:half].mean(axis=0)
    norm = np.linalg.norm(axis)
    return axis / norm if norm > _TINY else np.array([0.0, 0.0, 1.0])


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def _beside(around: Surroundings, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Directions and centers beside the partners, in turn."""
    which = np.arange(_CANDIDATES) % len(around.neighbors)
    directions, centers = np.empty((_CANDIDATES, 3)), np.empty((_CANDIDATES, 3))
    for number, neighbor in enumerate(around.neighbors):
        here = which == number
        count = int(here.sum())
        axis = _direction(neighbor.trace)
        side = _unit(np.cross(axis, rng.standard_normal((count, 3))))
        strand = neighbor.kind == STRAND
        distance = (_STRAND_DISTANCE if strand else _HELIX_DISTANCE) + rng.normal(0, 0.3, count)
        slide = rng.uniform(-4.0, 4.0, count)
        low, high = (10.0, 35.0) if strand or neighbor.orientation != 3 else (50.0, 130.0)
        angle = np.deg2rad(rng.uniform(low, high, count))
        # Neighbors in sheets and helix pairs twist left-handed seen across the pair: -25 degrees.
        turned = np.cos(angle)[:, None] * axis - np.sin(angle)[:, None] * np.cross(side, axis)
        directions[here] = -turned if neighbor.orientation == 2 else turned
        centers[here] = (
            neighbor.trace.mean(axis=0) + distance[:, None] * side + slide[:, None] * axis
        )
    return directions, centers


def _anywhere(
    body: FloatArray, around: Surroundings, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Directions and centers around what is placed, more near the ends that loops start from."""
    directions = _unit(rng.standard_normal((_CANDIDATES, 3)))
    outward = _unit(rng.standard_normal((_CANDIDATES, 3)))
    size = float(np.sqrt((body**2).sum(-1).mean()))
    if around.anchors:
        base = np.stack([anchor.point for anchor in around.anchors])
        base = base[np.arange(_CANDIDATES) % len(base)]
        distance = rng.uniform(0.5, 1.5, _CANDIDATES) * size + rng.uniform(4, 12, _CANDIDATES)
    else:
        base = around.placed[rng.integers(len(around.placed), size=_CANDIDATES)]
        distance = size + rng.uniform(4, 12, _CANDIDATES)
    return directions, base + distance[:, None] * outward


def _turns(axis: FloatArray, directions: FloatArray, roll: FloatArray) -> FloatArray:
    """Rotations that bring an axis to each direction, after a roll about the axis."""
    first = _frames(axis[None], np.zeros(1))
    return _frames(directions, roll) @ np.swapaxes(first, -1, -2)


def _frames(directions: FloatArray, roll: FloatArray) -> FloatArray:
    """Right-handed frames whose third column is the direction."""
    spare = np.eye(3)[np.abs(directions).argmin(axis=-1)]
    across = _unit(np.cross(directions, spare))
    other = np.cross(directions, across)
    cosine, sine = np.cos(roll)[:, None], np.sin(roll)[:, None]
    return np.stack(
        [cosine * across + sine * other, cosine * other - sine * across, directions], axis=-1
    )


def _penalty(poses: FloatArray, around: Surroundings) -> FloatArray:
    """Loops that cannot close, overlaps, and missing contacts of every candidate."""
    from scipy.spatial import KDTree

    tree = KDTree(around.placed)
    distance, _ = tree.query(poses.reshape(-1, 3), distance_upper_bound=_CONTACT)
    distance = distance.reshape(poses.shape[:2])
    overlap = np.maximum(0.0, _MIN_DISTANCE - distance)
    cost = 3.0 * overlap.sum(axis=1) - 3.0 * (distance < _CONTACT).mean(axis=1)
    for anchor in around.anchors:
        end = poses[:, 0] if anchor.to_start else poses[:, -1]
        gap = np.linalg.norm(end - anchor.point, axis=-1)
        cost += np.maximum(0.0, gap - anchor.reach) + np.maximum(0.0, 4.0 - gap)
    return cost + 0.05 * np.linalg.norm(poses.mean(axis=1) - around.placed.mean(axis=0), axis=-1)
