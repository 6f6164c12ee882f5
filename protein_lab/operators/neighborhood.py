"""Operators on fields over the residues of a backbone, with kernels of their geometry in space.

A residue sees those around it in a ball that holds a fixed number of them. What a neighbor
contributes goes smoothly to zero at the surface of the ball, so that nothing jumps when residues
change places in the order of distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.operators.embedding import pair_distance, radial_basis
from protein_lab.operators.kernel import dense, normalize

ATOMS = 5
"""Points a residue is seen by: N, CA, C, O, and one where the side chain would begin."""

PAIRS = (
    (1, 1), (4, 4), (1, 4), (4, 1), (0, 3), (3, 0), (4, 3), (3, 4),
    (4, 0), (0, 4), (3, 3), (0, 0), (2, 2), (4, 2), (2, 4),
)  # fmt: skip
"""Pairs of points, own and neighbor's, whose distances are resolved."""

CENTERS = tuple(np.linspace(2.5, 14.5, 10).tolist())
WIDTH = 1.4
STEPS = tuple(float(step) for step in range(-6, 7))
"""Chain separations resolved one by one, residues."""

SCALES = (2.0, 5.0, 12.0, 30.0, 64.0)
"""Scales of larger chain separations, residues."""

BURIAL = (8.0, 11.0, 14.0)
"""Reaches of the densities that measure burial, angstrom."""

LARGEST_BALL = 24.0
PAIR_FEATURES = len(PAIRS) * len(CENTERS) + 2 * ATOMS * 3 + 9 + len(STEPS) + len(SCALES)
_MASKED = -1e9


class Neighbors(NamedTuple):
    """Who is near whom.

    Attributes
    ----------
    partner : ndarray of int, shape=(point, neighbor)
        Neighbors from near to far; the point itself where there are too few.
    radius : ndarray, shape=(point,)
        Radius of the ball, angstrom.
    present : ndarray of bool, shape=(point, neighbor)
    """

    partner: NDArray[np.int32]
    radius: NDArray[np.float32]
    present: NDArray[np.bool_]


def find_neighbors(ca: NDArray[np.floating], count: int) -> Neighbors:
    """Find the nearest residues of every residue of one chain.

    Parameters
    ----------
    ca : ndarray, shape=(point, 3)
        Angstrom.
    count : int
        Neighbors of a residue; the ball ends where the next one lies.

    Returns
    -------
    Neighbors
    """
    size = len(ca)
    place = np.asarray(ca, dtype=np.float64)
    square = (place * place).sum(-1)
    squared = square[:, None] + square[None, :] - 2.0 * (place @ place.T)
    np.fill_diagonal(squared, np.inf)
    kept = min(count + 1, size)
    order = np.argsort(squared, axis=1, kind="stable")[:, :kept]
    distance = np.sqrt(np.maximum(np.take_along_axis(squared, order, axis=1), 0.0))
    index = np.repeat(np.arange(size)[:, None], count, axis=1)
    present = np.zeros((size, count), dtype=bool)
    shown = min(count, size - 1)
    index[:, :shown] = order[:, :shown]
    radius = distance[:, count] if size > count + 1 else np.full(size, LARGEST_BALL)
    radius = np.minimum(radius, LARGEST_BALL)
    present[:, :shown] = distance[:, :shown] < radius[:, None]
    return Neighbors(index.astype(np.int32), radius.astype(np.float32), present)


def ball_weight(
    backend: Backend, squared: Array, radius: Array, weight: Array, present: Array
) -> Array:
    """Logarithm of quadrature weight times a cut-off that vanishes on the ball's surface.

    Parameters
    ----------
    squared : Array, shape=(batch, point, neighbor)
        Squared distances of CA atoms, square angstrom.
    radius : Array, shape=(batch, point)
    weight : Array, shape=(batch, point, neighbor)
        Quadrature weights of the neighbors, residues.
    present : Array, shape=(batch, point, neighbor)
        One or zero.

    Returns
    -------
    Array, shape=(batch, point, neighbor)
        Very negative where there is no neighbor.
    """
    xp = backend
    ratio = squared / (radius * radius)[:, :, None]
    inside = xp.maximum(1.0 - ratio * ratio, 1e-4)
    both = weight * present
    return xp.where(both > 0, xp.log(inside) + xp.log(xp.maximum(both, 1e-6)), both * 0.0 + _MASKED)


def pair_geometry(
    backend: Backend, atoms: Array, frame: Array, coordinate: Array, index: Array
) -> tuple[Array, Array]:
    """Describe how each neighbor lies as seen from a residue, and the residue from the neighbor.

    Parameters
    ----------
    atoms : Array, shape=(batch, point, ATOMS, 3)
        Angstrom.
    frame : Array, shape=(batch, point, 3, 3)
        Rows are axes.
    coordinate : Array, shape=(batch, point)
        Place on the chain, residues.
    index : Array of int, shape=(batch, point, neighbor)
        Rows of the batch's points laid end to end.

    Returns
    -------
    features : Array, shape=(batch, point, neighbor, PAIR_FEATURES)
        They do not change when the chain moves as a rigid body, and do when it is mirrored.
    squared : Array, shape=(batch, point, neighbor)
        Squared distances of CA atoms.
    """
    xp = backend
    batch, size, count = index.shape
    place = xp.reshape(atoms, (batch * size, ATOMS * 3))
    other = xp.reshape(xp.take(place, index), (batch, size, count, ATOMS, 3))
    axes = xp.reshape(
        xp.take(xp.reshape(frame, (batch * size, 9)), index), (batch, size, count, 3, 3)
    )
    along = xp.take(xp.reshape(coordinate, (batch * size, 1)), index)[..., 0]
    own = atoms[:, :, None]
    first = xp.stack([own[..., a, :] for a, _ in PAIRS], axis=3)
    second = xp.stack([other[..., b, :] for _, b in PAIRS], axis=3)
    delta = second - first
    distance = xp.sqrt(xp.sum(delta * delta, axis=-1) + 0.01)
    bumps = xp.reshape(
        radial_basis(xp, distance, CENTERS, WIDTH),
        (batch, size, count, len(PAIRS) * len(CENTERS)),
    )
    seen = _turned(xp, frame[:, :, None], other - own[..., 1:2, :])
    back = _turned(xp, axes, own - other[..., 1:2, :])
    # rows of the neighbor's frame in the own one
    turn = _turned(xp, frame[:, :, None], axes)
    separation = along - coordinate[:, :, None]
    steps = radial_basis(xp, separation, STEPS, 0.5)
    scaled = separation[..., None] / xp.asarray(SCALES)
    far = scaled / xp.sqrt(1.0 + scaled * scaled)
    features = xp.concat([bumps, seen * 0.1, back * 0.1, turn, steps, far])
    return features, xp.sum((other[..., 1, :] - own[..., 1, :]) ** 2, axis=-1)


def _turned(backend: Backend, axes: Array, vectors: Array) -> Array:
    """Components of vectors (..., vector, 3) along axes (..., 3, 3), flat."""
    parts = backend.sum(vectors[..., :, None, :] * axes[..., None, :, :], axis=-1)
    return backend.reshape(parts, (*parts.shape[:-2], parts.shape[-2] * 3))


def burial_densities(backend: Backend, atoms: Array, frame: Array, weight: Array) -> Array:
    """Integrate residues around each side chain: how many, and on which side of it.

    Half-sphere exposure (Hamelryck, *Proteins* 59, 2005) with smooth bounds.

    Parameters
    ----------
    atoms : Array, shape=(batch, point, ATOMS, 3)
    frame : Array, shape=(batch, point, 3, 3)
    weight : Array, shape=(batch, point)
        Quadrature weights, residues.

    Returns
    -------
    Array, shape=(batch, point, 4 * len(BURIAL))
    """
    xp = backend
    tip = atoms[:, :, 4]
    distance = pair_distance(xp, tip, tip)
    found = []
    for reach in BURIAL:
        density = radial_basis(xp, distance, (0.0,), 0.5 * reach)[..., 0] * weight[:, None, :]
        total = xp.sum(density, axis=-1, keepdims=True)
        moment = density @ tip - tip * total
        local = xp.sum(frame * moment[:, :, None, :], axis=-1)
        found += [total * 0.1, local * (0.2 / reach)]
    return xp.concat(found)


def geometry_attention(
    backend: Backend,
    params: Parameters,
    name: str,
    receiver: Array,
    sender: Array,
    pair: Array,
    log_weight: Array,
) -> tuple[Array, Array]:
    """Average messages over the ball around each residue, weighted by a learned kernel.

    ``(A h)(i) = int e^{k(u_ij)} u_ij dj / int e^{k(u_ij)} dj`` with messages
    ``u_ij = silu(P h_i + Q h_j + R e_ij)`` that mix both residues and their geometry e, hence with
    a logit that depends on all of them (Brody, Alon & Yahav, ICLR 2022, on graphs). Quadrature
    weights and the cut-off of the ball are in ``log_weight``.

    Parameters
    ----------
    receiver : Array, shape=(batch, point, channel)
        ``P h``.
    sender : Array, shape=(batch, point, neighbor, channel)
        ``Q h`` at the neighbors.
    pair : Array, shape=(batch, point, neighbor, feature)
    log_weight : Array, shape=(batch, point, neighbor)

    Returns
    -------
    value : Array, shape=(batch, point, channel)
    message : Array, shape=(batch, point, neighbor, channel)
    """
    xp = backend
    mixed = sender + dense(xp, params, f"{name}.pair", pair)
    message = xp.silu(mixed + receiver[:, :, None, :])
    logits = dense(xp, params, f"{name}.logit", message) + log_weight[..., None]
    weights = xp.softmax(xp.transpose(logits, (0, 1, 3, 2)))
    averaged = weights @ message
    batch, size, heads, channels = averaged.shape
    flat = xp.reshape(averaged, (batch, size, heads * channels))
    return dense(xp, params, f"{name}.out", flat), message


def transition(backend: Backend, params: Parameters, name: str, value: Array) -> Array:
    """Two dense layers on the normalized value, the same at every point."""
    inner = dense(backend, params, f"{name}.in", normalize(backend, params, f"{name}.norm", value))
    return dense(backend, params, f"{name}.out", backend.silu(inner))
