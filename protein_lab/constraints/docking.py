"""Where one subunit must lie beside a symmetry axis so that its copies touch and do not overlap.

A pose is six numbers. It is no part of a design: whatever a chain looks like, the best pose is
found for it, first among orientations spread over all of space, then by following the gradient.
By the envelope theorem the derivative of the best energy by the chain's coordinates is the
partial one at the best pose, so a chain can be pulled towards one whose copies dock better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize

from protein_lab.geometry import superimpose, unit
from protein_lab.geometry.motion import Array
from protein_lab.geometry.symmetry import cross_matrix, spread_rotations, turn_by, turns_about_z

_SOFTNESS: Final = 1.0
"""Angstrom over which one contact gives way to another."""

_LINEAR_FROM: Final = 2.0
"""Angstrom beyond which a pull no longer grows."""

_POINTS_IN_SEARCH: Final = 36
_CLEARANCE: Final = 5.0
_NEAR: Final = 9.0
_BISECTIONS: Final = 9
_STARTS: Final = 6
_ALIKE: Final = 0.05
_ROUGH: Final = 25

Pose = tuple[Array, Array]
"""Rotation ``(3, 3)`` and translation ``(3,)``: ``points @ rotation.T + translation``."""


@dataclass(frozen=True, slots=True, eq=False)
class Docking:
    """What is wanted of the copies of some points of a chain.

    Points come as ``(kind, residue, 3)``; those of the last kind touch, all keep apart.

    Attributes
    ----------
    rotations : ndarray, shape=(order, 3, 3)
        The group, identity first.
    interfaces : sequence of tuple of int
        Groups of rotations; the copy by one of each must touch the subunit.
    contacts : float
        Pairs of points within ``reach`` in each interface.
    reach : float
        Angstrom.
    apart : ndarray, shape=(kind, kind)
        Angstrom that points of different copies keep from each other.
    """

    rotations: Array
    interfaces: Sequence[tuple[int, ...]]
    contacts: float
    reach: float
    apart: Array

    def energy(self, posed: Array) -> tuple[float, Array]:
        """Energy in nats of points in the frame of the axis, and its gradient."""
        total, gradient = 0.0, np.zeros_like(posed)
        for members in self.interfaces:
            value, slope = self._pull(posed[-1], self.rotations[list(members)])
            total += value
            gradient[-1] += slope
        for rotation, weight in self._overlapping(posed):
            value, slope = self._push(posed, rotation)
            total += weight * value
            gradient += weight * slope
        return total, gradient

    def _pull(self, points: Array, rotations: Array) -> tuple[float, Array]:
        """Flat-bottomed energy of a soft count of contacts.

        The smooth distance is that at which as many pairs as wanted would have to lie.
        """
        moved = (points @ np.swapaxes(rotations, -1, -2)).reshape(-1, 3)
        distance = np.sqrt(_squares(points, moved))
        exponent = -distance / _SOFTNESS
        top = float(exponent.max())
        weight = np.exp(exponent - top)
        total = float(weight.sum())
        smooth = _SOFTNESS * (np.log(self.contacts / total) - top)
        over = max(smooth - self.reach, 0.0)
        if over == 0.0:
            return 0.0, np.zeros_like(points)
        slope = 2.0 * min(over, _LINEAR_FROM)
        pull = slope / total * weight / distance
        here = points * pull.sum(1)[:, None] - pull @ moved
        there = (moved * pull.sum(0)[:, None] - pull.T @ points).reshape(len(rotations), -1, 3)
        return slope * over - slope**2 / 4.0, here + (there @ rotations).sum(0)

    def _push(self, posed: Array, rotation: Array) -> tuple[float, Array]:
        """Soft repulsion between the points and one copy of them."""
        kinds, residues, _ = posed.shape
        points = posed.reshape(-1, 3)
        moved = points @ rotation.T
        kind = np.repeat(np.arange(kinds), residues)
        first, second = np.nonzero(_squares(points, moved) < float(self.apart.max()) ** 2)
        apart = points[first] - moved[second]
        distance = np.sqrt((apart**2).sum(-1) + 1e-12)
        short = np.maximum(self.apart[kind[first], kind[second]] - distance, 0.0)
        force = (-2.0 * short / distance)[:, None] * apart
        gradient = np.zeros_like(points)
        np.add.at(gradient, first, force)
        np.add.at(gradient, second, -force @ rotation)
        return float((short**2).sum()), gradient.reshape(posed.shape)

    def _overlapping(self, posed: Array) -> list[tuple[Array, float]]:
        """Rotations to copies that are near, one of each and its inverse, with their weight."""
        points = posed.reshape(-1, 3)
        center = points.mean(0)
        extent = float(np.linalg.norm(points - center, axis=-1).max())
        reach = 2.0 * extent + float(self.apart.max())
        return [
            (self.rotations[number], weight)
            for number, weight in self.distinct()
            if np.linalg.norm(center - self.rotations[number] @ center) < reach
        ]

    def distinct(self) -> list[tuple[int, float]]:
        """One of each rotation and its inverse; a half turn, which is both, has half the weight."""
        found = []
        for number, rotation in enumerate(self.rotations[1:], start=1):
            inverse = int(np.argmin(((self.rotations - rotation.T) ** 2).sum((1, 2))))
            if inverse >= number:
                found.append((number, 0.5 if inverse == number else 1.0))
        return found


def _squares(first: Array, second: Array) -> Array:
    """Squared distances of all pairs of points ``(..., point, 3)``, never quite zero."""
    norms = (first**2).sum(-1)[..., :, None] + (second**2).sum(-1)[..., None, :]
    return np.maximum(norms - 2.0 * first @ np.swapaxes(second, -1, -2), 1e-12)


def improve(docking: Docking, points: Array, pose: Pose, most: int = 60) -> tuple[Pose, float]:
    """Follow the gradient to the next best pose.

    Parameters
    ----------
    docking : Docking
        What is wanted.
    points : ndarray, shape=(kind, residue, 3)
        Of the chain, anywhere.
    pose : Pose
        Where to start.
    most : int
        Steps of the minimization.

    Returns
    -------
    pose : Pose
        The best one.
    energy : float
        Nats.
    """
    rotation, translation = pose
    flat = points.reshape(-1, 3)
    center = flat.mean(0)
    start = (flat - center) @ rotation.T
    origin = center @ rotation.T + translation
    # a turn of one unit moves the chain about as far as a shift of one
    size = max(float(np.sqrt((start**2).sum(-1).mean())), 1.0)

    def cost(values: Array) -> tuple[float, Array]:
        vector = values[:3] / size
        arms = start @ turn_by(vector).T
        energy, gradient = docking.energy((arms + origin + values[3:]).reshape(points.shape))
        forces = gradient.reshape(-1, 3)
        torque = np.cross(arms, forces).sum(0)
        return energy, np.concatenate([_left_jacobian(vector).T @ torque / size, forces.sum(0)])

    found = minimize(
        cost, np.zeros(6), jac=True, method="L-BFGS-B",
        options={"maxiter": most, "gtol": 1e-7, "ftol": 1e-14},
    )  # fmt: skip
    turned = turn_by(found.x[:3] / size) @ rotation
    return (turned, origin + found.x[3:] - center @ turned.T), float(found.fun)


def search(docking: Docking, points: Array) -> list[tuple[Pose, float]]:
    """Find the best poses among all.

    Parameters
    ----------
    docking : Docking
        What is wanted.
    points : ndarray, shape=(kind, residue, 3)
        Of the chain, anywhere; it must have at least four residues.

    Returns
    -------
    list of (Pose, float)
        Poses and their energies in nats, best first; of those alike in energy the one with more
        contacts is better.
    """
    frame, center = _own_frame(points[-1])
    own = (points - center) @ frame
    step = max(1, -(-points.shape[1] // _POINTS_IN_SEARCH))
    turns, shifts, contacts = _slide(docking, own[-1, ::step])
    found: list[tuple[tuple[float, int], Pose, float]] = []
    for number in np.argsort(-contacts, kind="stable")[:_STARTS]:
        (turned, shift), energy = improve(
            docking, own, (turns[number], shifts[number]), most=_ROUGH
        )
        posed = own[-1] @ turned.T + shift
        touching = min(_num_near(posed, docking, members) for members in docking.interfaces)
        whole = turned @ frame.T
        rank = (round(max(energy - _ALIKE, 0.0), 1), -touching)
        found.append((rank, (whole, shift - center @ whole.T), energy))
    found.sort(key=lambda item: item[0])
    return [(pose, energy) for _, pose, energy in found]


def _num_near(posed: Array, docking: Docking, members: Sequence[int]) -> int:
    """Count pairs of points of a subunit and of that copy which touches it most."""
    counts = []
    for member in members:
        moved = posed @ docking.rotations[member].T
        counts.append(int((_squares(posed, moved) < _NEAR**2).sum()))
    return max(counts)


def follow(points: Array, before: Array) -> Pose:
    """Pose that brings points ``(residue, 3)`` back to where they were, as well as possible."""
    rotation, translation = superimpose(points, before)
    return rotation, translation


def _slide(docking: Docking, points: Array) -> tuple[Array, Array, Array]:
    """Let a chain slide towards the axis, in many orientations, until its copies touch.

    Returns rotations, translations and the number of near pairs in the weakest interface.
    """
    directions = _directions(docking)
    turns = spread_rotations(96 if len(directions) == 1 else 36)
    turns = np.repeat(turns, len(directions), axis=0)
    ways = np.tile(directions, (len(turns) // len(directions), 1))
    posed = points @ np.swapaxes(turns, -1, -2)
    extent = float(np.linalg.norm(points, axis=-1).max())
    others = docking.rotations[[number for number, _ in docking.distinct()]]
    parting = min(
        float(np.linalg.norm(way - other @ way)) for way in directions for other in others
    )
    low = np.zeros(len(turns))
    high = np.full(len(turns), (2.0 * extent + _CLEARANCE) / parting)

    def squares(radius: Array, rotation: Array) -> Array:
        here = posed + (radius[:, None] * ways)[:, None]
        return _squares(here, here @ rotation.T)

    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        closest = np.min([squares(middle, other).min((1, 2)) for other in others], axis=0)
        free = closest > _CLEARANCE**2
        high, low = np.where(free, middle, high), np.where(free, low, middle)
    near = [
        np.max([(squares(high, docking.rotations[m]) < _NEAR**2).sum((1, 2)) for m in group], 0)
        for group in docking.interfaces
    ]
    weakest = np.min(near, axis=0)
    return turns, high[:, None] * ways, weakest


def _directions(docking: Docking) -> Array:
    """Directions from the center of the assembly in which a subunit can lie."""
    if len(docking.interfaces) == 1:
        return np.array([[1.0, 0.0, 0.0]])
    count = len(docking.rotations) // 2
    azimuths = np.pi / count * np.array([0.25, 0.5, 0.75])
    around = turns_about_z(azimuths) @ np.array([1.0, 0.0, 0.0])
    tilted = [around * np.cos(tilt) + np.sin(tilt) * np.eye(3)[2] for tilt in np.radians([25, 50])]
    return np.concatenate(tilted)


def _own_frame(points: Array) -> tuple[Array, Array]:
    """Frame and center of a chain that move with it, so that a pose does not depend on its place.

    Axes: from the center of the first half to that of the second, and towards the first residue.
    """
    half = len(points) // 2
    center = points.mean(0)
    first = unit(points[half:].mean(0) - points[:half].mean(0))
    second = points[0] - center
    second = unit(second - (second @ first) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1), center


def _left_jacobian(vector: Array) -> Array:
    """Turn by which a rotation changes when its vector does, for :func:`turn_by`."""
    angle = float(np.linalg.norm(vector))
    cross = cross_matrix(vector)
    second = 0.5 * np.sinc(angle / (2.0 * np.pi)) ** 2
    third = (angle - np.sin(angle)) / angle**3 if angle > 1e-2 else 1.0 / 6.0 - angle**2 / 120.0
    return np.eye(3) + second * cross + third * cross @ cross
