"""Smooth curves through chains and the frames that follow them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.errors import GeometryError
from protein_lab.geometry.motion import TINY, Array, compose_prefixes, coordinates, unit

_KERNEL_REACH = 4.0


def axis_curve(ca: ArrayLike, width: float = 2.0) -> Array:
    """Smooth a CA trace along the chain: the axis that helices and strands wind about.

    Parameters
    ----------
    ca : array_like
        ``(..., residue, 3)``, angstrom.
    width : float
        Standard deviation of the Gaussian kernel in residues; cut at four of them.

    Returns
    -------
    ndarray
        ``(..., residue, 3)``, angstrom. At the ends the kernel is normalized over what is there.

    Raises
    ------
    GeometryError
        If the shape is wrong, a coordinate is not finite, or the width is not positive.
    """
    trace = coordinates(ca, "ca")
    if not width > 0:
        raise GeometryError(f"width must be more than 0 residues; {width} came.")
    length = trace.shape[-2]
    reach = min(int(np.ceil(_KERNEL_REACH * width)), length - 1)
    total, weight = trace.copy(), np.ones((length, 1))
    for offset in range(1, reach + 1):
        share = np.exp(-0.5 * (offset / width) ** 2)
        total[..., offset:, :] += share * trace[..., :-offset, :]
        total[..., :-offset, :] += share * trace[..., offset:, :]
        weight[offset:] += share
        weight[:-offset] += share
    return total / weight


def arc_speed(curve: ArrayLike) -> Array:
    """Length of curve per residue, by central differences.

    Parameters
    ----------
    curve : array_like
        ``(..., residue, 3)``, angstrom, at least two residues.

    Returns
    -------
    ndarray
        ``(..., residue)``, angstrom per residue: about 1.5 in helices, 3.3 in strands.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    points = coordinates(curve, "curve", minimum=2)
    return np.linalg.norm(np.gradient(points, axis=-2), axis=-1)


def parallel_transport_frames(curve: ArrayLike, angle: float | ArrayLike = 0.0) -> Array:
    """Frames that follow a curve without twisting about it (Bishop, 1975).

    The first normal points from the start of the curve towards its centroid, so the frames turn
    with the curve; only for a straight curve, where no such choice exists, is it arbitrary.

    Parameters
    ----------
    curve : array_like
        ``(..., residue, 3)``, angstrom, at least two residues.
    angle : float or array_like
        Radians ``(...)`` by which normal and binormal are turned about the tangent, everywhere.

    Returns
    -------
    ndarray
        ``(..., residue, 3, 3)``: the rows are tangent, normal, binormal; right-handed.

    Raises
    ------
    GeometryError
        If the shape is wrong or a coordinate is not finite.
    """
    points = coordinates(curve, "curve", minimum=2)
    tangents = _tangents(points)
    first = _first_frame(points, tangents[..., 0, :], np.asarray(angle, dtype=np.float64))
    before, after = tangents[..., :-1, :], tangents[..., 1:, :]
    cosine = (before * after).sum(-1)[..., None, None]
    # The least rotation from tangent to tangent: I + [v] + [v]^2 / (1 + cos), v = t x t'.
    cross = np.cross(before, after)
    skew = np.cross(np.eye(3), cross[..., None, :])
    turns = np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-9)
    identity = np.broadcast_to(np.eye(3), (*points.shape[:-2], 1, 3, 3))
    # Turns act from the left, so the prefix products run over their transposes.
    steps = np.concatenate([identity, np.swapaxes(turns, -1, -2)], axis=-3)
    product, _ = compose_prefixes(steps, np.zeros(points.shape))
    return first[..., None, :, :] @ product


def _tangents(points: Array) -> Array:
    """Return unit tangents; where the curve stands still, those of the residue before."""
    tangents = np.gradient(points, axis=-2)
    length = np.linalg.norm(tangents, axis=-1)
    still = length < TINY
    if still.any():
        index = np.where(still, 0, np.arange(points.shape[-2]))
        index = np.maximum.accumulate(index, axis=-1)
        tangents = np.take_along_axis(tangents, index[..., None], axis=-2)
        tangents[np.linalg.norm(tangents, axis=-1) < TINY] = (1.0, 0.0, 0.0)
    return unit(tangents)


def _first_frame(points: Array, tangent: Array, angle: Array) -> Array:
    """Frame at the start: rows tangent, normal towards the centroid turned by angle, binormal."""
    towards = points.mean(axis=-2) - points[..., 0, :]
    across = towards - (towards * tangent).sum(-1, keepdims=True) * tangent
    span = np.linalg.norm(towards, axis=-1, keepdims=True)
    axis = np.eye(3)[np.abs(tangent).argmin(axis=-1)]
    spare = axis - (axis * tangent).sum(-1, keepdims=True) * tangent
    straight = np.linalg.norm(across, axis=-1, keepdims=True) <= 1e-6 * span + TINY
    normal = unit(np.where(straight, spare, across))
    binormal = np.cross(tangent, normal)
    cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
    turned = cosine * normal + sine * binormal
    return np.stack([tangent, turned, np.cross(tangent, turned)], axis=-2)
