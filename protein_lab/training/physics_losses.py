"""Losses of physics, for the last part of training: bonds, angles, clashes, hydrogen bonds.

They are in absolute units, unlike those of the flow, and count near the data only: far from it
the best prediction is a mean over many backbones, whose bonds are rightly short.
"""

from __future__ import annotations

import math

import numpy as np

from protein_lab.backends import Array, Backend
from protein_lab.constants import (
    ANGLE_C_N_CA,
    ANGLE_CA_C_N,
    ANGLE_N_CA_C,
    BOND_C_N,
    BOND_C_O,
    BOND_CA_C,
    BOND_N_CA,
)
from protein_lab.operators.embedding import pair_distance

FIRST_TIME = 0.7
"""Flow time from which they count, growing to their full weight at the data."""

TOLERANCE = 0.1
"""Error of a distance that costs one, angstrom."""

CLOSEST = 3.7
"""Distance of alpha carbons four residues or more apart under which they clash, angstrom."""

HYDROGEN_BOND = 3.5
"""Largest distance from oxygen to nitrogen in a hydrogen bond of the target, angstrom."""

_INTACT = 0.5
"""A distance of the target that is further off its ideal belongs to a break, angstrom."""


def _across(first: float, second: float, angle: float) -> float:
    """Distance between the ends of two bonds that meet at an angle in degrees."""
    return math.sqrt(first**2 + second**2 - 2 * first * second * math.cos(math.radians(angle)))


_IDEAL = {
    1: (BOND_N_CA, BOND_CA_C, BOND_C_N),
    2: (
        _across(BOND_N_CA, BOND_CA_C, ANGLE_N_CA_C),
        _across(BOND_CA_C, BOND_C_N, ANGLE_CA_C_N),
        _across(BOND_C_N, BOND_N_CA, ANGLE_C_N_CA),
    ),
}
"""Distances of atoms one bond and two bonds apart, from N, CA and C on; two fix the angle."""


def physics_losses(
    backend: Backend,
    mean: Array,
    target: Array,
    mask: Array,
    time: Array,
    count: Array | None = None,
) -> dict[str, Array]:
    """Mean over residues of each physical loss; one is an error of :data:`TOLERANCE` everywhere.

    ``bond_lengths`` and ``bond_angles`` compare with ideal geometry, ``clashes`` punishes alpha
    carbons that come too close, ``hydrogen_bonds`` compares the oxygen-nitrogen distances of the
    hydrogen bonds of the target, whose oxygen follows from the three atoms it is bound to.

    Parameters
    ----------
    backend : Backend
    mean : Array, shape=(batch, residue, 3, 3)
        Predicted N, CA, C, one point a residue, angstrom.
    target : Array, shape=(batch, residue, 3, 3)
    mask : Array, shape=(batch, residue)
    time : Array, shape=(batch,)
        Flow time.
    count : Array, shape=(), optional
        Residues of the whole batch where this is a piece of it.

    Returns
    -------
    dict of str to Array
    """
    xp = backend
    late = xp.maximum(time - FIRST_TIME, 0.0) * (1.0 / (1.0 - FIRST_TIME))
    counted = mask * late[:, None]
    count = xp.sum(mask, axis=(0, 1)) if count is None else count
    pairs = counted[:, :, None] * mask[:, None, :]
    places = np.arange(mask.shape[1])
    apart = xp.asarray(np.abs(places[:, None] - places[None, :]) > 3)
    between = pair_distance(xp, mean[:, :, 1], mean[:, :, 1])
    overlap = xp.maximum(CLOSEST - between, 0.0)
    true, drawn = (_oxygen_to_nitrogen(xp, field) for field in (target, mean))
    # the last residue of a chain has no oxygen that the three atoms would fix
    bonded = xp.where(true < HYDROGEN_BOND, (pairs * apart)[:, :-1], pairs[:, :-1] * 0.0)
    bonded = bonded * mask[:, 1:, None]
    return {
        "bond_lengths": _distance_loss(xp, mean, target, counted, 1) / count,
        "bond_angles": _distance_loss(xp, mean, target, counted, 2) / count,
        "clashes": xp.sum(_bounded(overlap) * pairs * apart, axis=(0, 1, 2)) / count,
        "hydrogen_bonds": xp.sum(_bounded(drawn - true) * bonded, axis=(0, 1, 2)) / count,
    }


def _bounded(error: Array) -> Array:
    """Squared error in units of the tolerance, growing linearly where it is large."""
    squared = error * error * (1.0 / TOLERANCE**2)
    return squared / (1.0 + 0.1 * squared) ** 0.5


def _distance_loss(xp: Backend, mean: Array, target: Array, counted: Array, bonds: int) -> Array:
    """Errors of the distances of atoms so many bonds apart, summed; breaks do not count."""
    batch, size = counted.shape
    ideal = np.resize(_IDEAL[bonds], 3 * size)[:-bonds]
    chains = [xp.reshape(field, (batch, 3 * size, 3)) for field in (mean, target)]
    drawn, true = (_length(xp, chain[:, bonds:] - chain[:, :-bonds]) for chain in chains)
    weight = xp.reshape(xp.stack([counted] * 3), (batch, 3 * size))
    weight = weight[:, bonds:]  # of the later atom: padding after the end does not count
    wanted = xp.asarray(ideal)
    intact = xp.where(xp.abs(true - wanted) < _INTACT, weight, weight * 0.0)
    return xp.sum(_bounded(drawn - wanted) * intact, axis=(0, 1)) * (1.0 / 3.0)


def _length(xp: Backend, vector: Array) -> Array:
    return xp.sqrt(xp.sum(vector * vector, axis=-1) + 1e-4)


def _oxygen_to_nitrogen(xp: Backend, field: Array) -> Array:
    """Distances from the oxygen of every residue but the last to every nitrogen."""
    carbon = field[:, :-1, 2]
    outward = _unit(xp, carbon - field[:, :-1, 1]) + _unit(xp, carbon - field[:, 1:, 0])
    oxygen = carbon + _unit(xp, outward) * BOND_C_O
    return pair_distance(xp, oxygen, field[:, :, 0])


def _unit(xp: Backend, vector: Array) -> Array:
    return vector / _length(xp, vector)[..., None]
