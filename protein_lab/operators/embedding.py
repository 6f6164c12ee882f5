"""Embeddings of coordinates: time, chain separation, distances, neighbors in a local frame.

Everything here is a function of physical coordinates (residues, angstrom, time), never of the
index of a sample point; that is what lets one set of weights act on any sampling of a chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend


def time_features(backend: Backend, time: Array, num_features: int) -> Array:
    """Embed a time in [0, 1] in sines and cosines of geometric frequencies.

    Parameters
    ----------
    time : Array, shape=(batch,)
    num_features : int
        Even number of features.

    Returns
    -------
    Array, shape=(batch, num_features)
    """
    half = num_features // 2
    frequencies = backend.asarray(np.geomspace(0.5, 64.0, half) * math.pi)
    phase = time[:, None] * frequencies[None, :]
    return backend.concat([backend.sin(phase), backend.cos(phase)])


def separation_features(coordinate: NDArray[np.floating], num_scales: int) -> NDArray[np.float32]:
    """Embed the signed chain separation of all pairs of points.

    ``tanh`` of the separation over geometric scales from 1 to 64 residues resolves neighbors
    finely and distant residues coarsely.

    Parameters
    ----------
    coordinate : ndarray, shape=(point,)
        Position along the chain, residues.
    num_scales : int
        Number of scales.

    Returns
    -------
    ndarray, shape=(point, point, num_scales), dtype=float32
        Entry (i, j) embeds the separation from i to j.
    """
    separation = coordinate[None, :] - coordinate[:, None]
    scales = np.geomspace(1.0, 64.0, num_scales)
    return np.tanh(separation[:, :, None] / scales).astype(np.float32)


def radial_basis(
    backend: Backend, distance: Array, centers: Sequence[float], width: float
) -> Array:
    """Smooth bumps of a distance, ``(1 - (d - center)^2 / reach^2)^2`` within their reach.

    Their support is compact, so they cost no exponential and make no denormal numbers.

    Parameters
    ----------
    distance : Array, shape=(...)
        Angstrom.
    centers : sequence of float
        Centers of the bumps, angstrom.
    width : float
        Half of the reach, angstrom.

    Returns
    -------
    Array, shape=(..., center)
    """
    offset = (distance[..., None] - backend.asarray(centers)) * (0.5 / width)
    bump = backend.maximum(1.0 - offset * offset, 0.0)
    return bump * bump


def pair_distance(backend: Backend, first: Array, second: Array) -> Array:
    """Distances between two sets of points, by the inner-product form.

    Parameters
    ----------
    first : Array, shape=(batch, point, 3)
    second : Array, shape=(batch, other, 3)

    Returns
    -------
    Array, shape=(batch, point, other)
        Smoothed by 0.1 angstrom at zero so that the gradient exists.
    """
    delta = first[:, :, None, :] - second[:, None, :, :]
    return backend.sqrt(backend.sum(delta * delta, axis=-1) + 0.01)


def shift(backend: Backend, value: Array, points: int) -> Array:
    """Take the value a number of sample points further along axis 1, zero past the ends.

    Parameters
    ----------
    value : Array, shape=(batch, point, ...)
    points : int
        Offset; the caller converts from residues with the number of points a residue.
    """
    size = value.shape[1]
    if points == 0:
        return value
    if abs(points) >= size:
        return value * 0.0
    if points > 0:
        return backend.pad_axis(value[:, points:], 1, 0, points)
    return backend.pad_axis(value[:, :points], 1, -points, 0)


def neighbors_in_frame(
    backend: Backend,
    field: Array,
    origin: Array,
    frame: Array,
    mask: Array,
    offsets: Sequence[int],
) -> Array:
    """Coordinates of neighboring residues' atoms, seen from each residue's own frame.

    They reach the network linearly: local geometry must be visible to a tenth of an angstrom,
    which distances binned in radial basis functions cannot offer.

    Parameters
    ----------
    field : Array, shape=(batch, point, atom, 3)
    origin : Array, shape=(batch, point, 3)
    frame : Array, shape=(batch, point, 3, 3)
        Rows are the axes of the frame.
    mask : Array, shape=(batch, point)
        One where there is a residue.
    offsets : sequence of int
        Neighbors, in sample points.

    Returns
    -------
    Array, shape=(batch, point, offset * atom * 3)
        Zero where a neighbor lies past the end of the chain.
    """
    batch, size, atoms = field.shape[:3]
    seen = []
    for offset in offsets:
        present = shift(backend, mask, offset)[:, :, None, None]
        seen.append((shift(backend, field, offset) - origin[:, :, None, :]) * present)
    stacked = backend.concat(seen, axis=2)
    local = backend.einsum("bnij,bnaj->bnai", frame, stacked)
    return backend.reshape(local, (batch, size, len(offsets) * atoms * 3))
