"""Length-consistent spectral convolution on the chain.

A Fourier layer with integer modes on [0, 1] learns another operator for every chain length: the
turn of a helix is mode L / 3.6. Here the multiplier is a function R(xi) of the physical frequency
xi in cycles per residue, piecewise linear between fixed knots. It belongs to one kernel
kappa(sigma - tau) in residues, which is the same for every length and sampling.

The kernel is made finite by a smooth window of ``REACH`` residues, and the transform is long
enough that no end of the chain meets the other. The layer is therefore the plain convolution

    (K v)(sigma) = int kappa(sigma - tau) v(tau) dtau

by quadrature, with v zero outside the chain: what is computed does not depend on the padding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters

REACH = 128
"""Residues at which the window of the kernel reaches zero."""

KNOTS = (
    0.0, 0.008, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.24, 0.27, 0.3, 0.34, 0.38, 0.42, 0.46, 0.5,
)  # fmt: skip
"""Frequencies in cycles per residue where R(xi) is given: dense near 0, where folds live, about
0.28 for helices, and up to 0.5 for strands."""

_NODES = 96


class SpectralBasis(NamedTuple):
    """Transforms of the windowed even and odd kernels that belong to the hat functions.

    Attributes
    ----------
    size : int
        Points of the padded transform.
    even, odd : ndarray, shape=(frequency, knot)
        Real and imaginary parts, in points per residue.
    """

    size: int
    even: NDArray[np.float64]
    odd: NDArray[np.float64]


def hat_functions(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Piecewise linear functions that are 1 at their own knot and 0 at the others.

    Parameters
    ----------
    frequency : ndarray, shape=(...)
        Cycles per residue; beyond the last knot all functions are zero.

    Returns
    -------
    ndarray, shape=(..., knot)
    """
    columns = [
        np.interp(frequency, KNOTS, np.eye(len(KNOTS))[index], right=0.0)
        for index in range(len(KNOTS))
    ]
    return np.stack(columns, axis=-1)


@lru_cache(maxsize=512)
def spectral_basis(points: int, points_per_residue: int) -> SpectralBasis:
    """Tabulate the basis of multipliers for chains of ``points`` sample points, padding included.

    Parameters
    ----------
    points, points_per_residue : int

    Returns
    -------
    SpectralBasis
    """
    reach = min(REACH * points_per_residue, points)
    size = cast("int", next_fast_len(points + reach, real=True))  # SciPy has no types
    offset = np.arange(reach, dtype=np.float64) / points_per_residue
    even, odd = _kernels(offset)
    window = np.cos(0.5 * math.pi * offset / REACH) ** 2
    phase = 2.0 * math.pi / size * np.outer(np.arange(size // 2 + 1), np.arange(reach))
    # every offset but zero appears with both signs
    twice = np.where(offset > 0, 2.0, 1.0) * window
    return SpectralBasis(
        size, np.cos(phase) @ (even * twice[:, None]), np.sin(phase) @ (odd * twice[:, None])
    )


def _kernels(offset: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernels of the hat functions at offsets in residues: cosine and sine transforms."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    start, stop = np.array(KNOTS[:-1])[:, None], np.array(KNOTS[1:])[:, None]
    frequency = (0.5 * (start + stop) + 0.5 * (stop - start) * node).ravel()
    weight = (0.5 * (stop - start) * weight).ravel()
    weighted = 2.0 * weight[:, None] * hat_functions(frequency)
    phase = 2.0 * math.pi * np.outer(offset, frequency)
    return np.cos(phase) @ weighted, np.sin(phase) @ weighted


def spectral_convolution(
    backend: Backend,
    params: Parameters,
    name: str,
    value: Array,
    weight: Array,
    points_per_residue: int = 1,
) -> Array:
    """Convolve channels with learned kernels of the chain coordinate.

    Parameters
    ----------
    value : Array, shape=(batch, point, channel)
    weight : Array, shape=(batch, point)
        Quadrature weights in residues; zero where padded.
    points_per_residue : int

    Returns
    -------
    Array, shape=(batch, point, output)
        ``NAME.multiplier`` has the shape (knot, channel, output, 2), real and imaginary parts.
    """
    xp, points = backend, value.shape[1]
    basis = spectral_basis(points, points_per_residue)
    multiplier = params[f"{name}.multiplier"]
    even = xp.einsum("kq,qcd->kcd", xp.like(basis.even, multiplier), multiplier[..., 0])
    odd = xp.einsum("kq,qcd->kcd", xp.like(basis.odd, multiplier), multiplier[..., 1])
    real, imaginary = xp.rfft(value * weight[:, :, None], basis.size)
    # one product of real matrices for the complex product
    matrix = xp.concat([xp.concat([even, odd]), xp.concat([-odd, even])], axis=1)
    mixed = xp.einsum("bkc,kcd->bkd", xp.concat([real, imaginary]), matrix)
    outputs = multiplier.shape[2]
    return xp.irfft(mixed[..., :outputs], mixed[..., outputs:], basis.size)[:, :points]


def spectral_vectors(
    backend: Backend,
    params: Parameters,
    name: str,
    value: Array,
    weight: Array,
    points_per_residue: int = 1,
) -> Array:
    """Convolve vectors in global coordinates: channels mix, x, y and z never do.

    The same complex scalars act on all three components, so that the output turns with the input
    (for filters over time: Xu et al., ICML 2024).

    Parameters
    ----------
    value : Array, shape=(batch, point, channel, 3)
    weight : Array, shape=(batch, point)

    Returns
    -------
    Array, shape=(batch, point, output, 3)
    """
    xp = backend
    batch, points, channels = value.shape[:3]
    flat = xp.reshape(xp.transpose(value, (3, 0, 1, 2)), (3 * batch, points, channels))
    weights = xp.concat([weight, weight, weight], axis=0)
    mixed = spectral_convolution(xp, params, name, flat, weights, points_per_residue)
    return xp.transpose(xp.reshape(mixed, (3, batch, points, mixed.shape[2])), (1, 2, 3, 0))
