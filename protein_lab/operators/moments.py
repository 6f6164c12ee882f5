"""Fixed functions of the chain coordinate: what functions are measured with and built from.

Moments ``int phi_k(s) a(s) ds`` describe an input function by as many numbers for every chain and
every sampling; values at fixed sensors, as in the original DeepONet, do not.
"""

from __future__ import annotations

import math

import numpy as np

from protein_lab.backends import Array, Backend


def moment_functions(backend: Backend, position: Array, count: int) -> Array:
    """Cosines and Gaussian bumps on the unit interval, half of each.

    Parameters
    ----------
    position : Array, shape=(batch, point)
        Place along the chain, 0 to 1.
    count : int
        Even number of functions.

    Returns
    -------
    Array, shape=(batch, point, count)
    """
    half = count // 2
    frequency = backend.like(math.pi * np.arange(half), position)
    center = backend.like((np.arange(half) + 0.5) / half, position)
    cosine = backend.cos(position[..., None] * frequency)
    offset = (position[..., None] - center) * half
    # the floor keeps denormal numbers out
    return backend.concat([cosine, backend.exp(backend.maximum(-0.5 * offset * offset, -30.0))])


def moments(backend: Backend, functions: Array, value: Array, weight: Array) -> Array:
    """Means over the chain of a function times each of the fixed functions.

    Parameters
    ----------
    functions : Array, shape=(batch, point, function)
    value : Array, shape=(batch, point, channel)
    weight : Array, shape=(batch, point)
        Quadrature weights in residues; zero where padded.

    Returns
    -------
    Array, shape=(batch, function * channel)
    """
    total = backend.sum(weight, axis=1, keepdims=True)
    weighted = backend.transpose(functions * (weight / total)[:, :, None], (0, 2, 1))
    found = weighted @ value
    return backend.reshape(found, (found.shape[0], found.shape[1] * found.shape[2]))


def pair_moments(backend: Backend, functions: Array, value: Array, weight: Array) -> Array:
    """Means over both arguments of a function of two points times products of fixed functions.

    Parameters
    ----------
    functions : Array, shape=(batch, point, function)
    value : Array, shape=(batch, point, point, channel)
    weight : Array, shape=(batch, point)

    Returns
    -------
    Array, shape=(batch, function * function * channel)
    """
    total = backend.sum(weight, axis=1, keepdims=True)
    weighted = functions * (weight / total)[:, :, None]
    found = backend.einsum("bnk,bnmc,bml->bklc", weighted, value, weighted)
    batch, count, _, channels = found.shape
    return backend.reshape(found, (batch, count * count * channels))


def chain_fourier_features(
    backend: Backend, coordinate: Array, position: Array, count: int
) -> Array:
    """Sines and cosines of the physical and of the relative place along the chain.

    Parameters
    ----------
    coordinate : Array, shape=(batch, point)
        Residues; wavelengths are geometric from 2 to 512 residues.
    position : Array, shape=(batch, point)
        0 to 1; frequencies are 1 to ``count / 4`` half periods.
    count : int
        Number of features, a multiple of four.

    Returns
    -------
    Array, shape=(batch, point, count)
    """
    quarter = count // 4
    wavelength = np.geomspace(2.0, 512.0, quarter)
    physical = coordinate[..., None] * backend.like(2.0 * math.pi / wavelength, coordinate)
    relative = position[..., None] * backend.like(
        math.pi * np.arange(1.0, quarter + 1.0), coordinate
    )
    phase = backend.concat([physical, relative])
    return backend.concat([backend.sin(phase), backend.cos(phase)])
