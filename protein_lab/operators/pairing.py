"""Integrals of functions on the chain against the pairing function b(sigma, tau)."""

from __future__ import annotations

import numpy as np

from protein_lab.backends import Array, Backend

RANGES = (2.5, 6.0)
"""Standard deviations of the Gaussians that pick partners near in space, angstrom."""

_FLOOR = -30.0
_AMOUNT = 1e-3


def pairing_kernels(
    backend: Backend,
    pairing: Array,
    curve: Array,
    weight: Array,
    partner: Array | None = None,
) -> tuple[Array, Array]:
    """Turn the pairing function into kernels of weighted means over partners.

    The pairing function is constant over two whole elements. Multiplied by Gaussians of the
    distance of the curve at sigma and tau and normalized it becomes a mean over the partners that
    lie across. Where nothing pairs, the kernel is zero.

    Parameters
    ----------
    backend : Backend
    pairing : Array, shape=(batch, point, partner, channel)
        Partners are all points of the chain, or those in ``partner``.
    curve : Array, shape=(batch, point, 3)
        Angstrom.
    weight : Array, shape=(batch, point)
        Quadrature weights in residues; zero where padded.
    partner : Array, shape=(batch, point, partner), optional
        Which points the partners are.

    Returns
    -------
    kernel : Array, shape=(batch, point, range * channel, partner)
    amount : Array, shape=(batch, point, range * channel)
        How much there is to average, 0 to 1.
    """
    xp = backend
    if partner is None:
        there, measure = curve[:, None, :, :], weight[:, None, None, :]
    else:
        there = take_partners(xp, curve, partner)
        measure = take_partners(xp, weight[..., None], partner)[..., 0][:, :, None, :]
    delta = curve[:, :, None, :] - there
    squared = xp.sum(delta * delta, axis=-1)
    weighted = xp.transpose(pairing, (0, 1, 3, 2)) * measure
    kernels, amounts = [], []
    for reach in RANGES:
        # a floor on the exponent keeps denormal numbers out
        near = xp.exp(xp.maximum(squared * (-0.5 / reach**2), _FLOOR))
        kernel = weighted * near[:, :, None, :]
        total = xp.sum(kernel, axis=-1, keepdims=True)
        kernels.append(kernel / (total + _AMOUNT))
        amounts.append((total / (total + 1.0))[..., 0])
    return xp.concat(kernels, axis=2), xp.concat(amounts)


def take_partners(backend: Backend, value: Array, partner: Array) -> Array:
    """Values of a function at the partners of every point.

    Parameters
    ----------
    value : Array, shape=(batch, point, feature)
    partner : Array, shape=(batch, point, partner)

    Returns
    -------
    Array, shape=(batch, point, partner, feature)
    """
    batch, size, features = value.shape
    first = backend.asarray(np.arange(batch)[:, None, None] * size, "int32")
    return backend.take(backend.reshape(value, (batch * size, features)), partner + first)


def pairing_means(
    backend: Backend, kernel: Array, value: Array, partner: Array | None = None
) -> Array:
    """Average a function over partners.

    Parameters
    ----------
    kernel : Array, shape=(batch, point, channel, partner)
        From :func:`pairing_kernels`; quadrature weights are in it.
    value : Array, shape=(batch, point, feature)
    partner : Array, shape=(batch, point, partner), optional
        As it was given to :func:`pairing_kernels`.

    Returns
    -------
    Array, shape=(batch, point, channel, feature)
    """
    if partner is not None:
        return kernel @ take_partners(backend, value, partner)
    batch, size, channels = kernel.shape[:3]
    flat = backend.reshape(kernel, (batch, size * channels, kernel.shape[3]))
    return backend.reshape(flat @ value, (batch, size, channels, value.shape[-1]))
