"""Adaptive basis of the enhanced DeepONet: branch coefficients times input-dependent functions.

A DeepONet writes its output as ``sum_k beta_k(a) tau_k(s)`` (Lu et al., *Nat. Mach. Intell.* 3,
2021). With a fixed basis it cannot place a helix at will (Lanthaler et al., ICLR 2023); here the
trunk functions depend on the input, which escapes that bound.
"""

from __future__ import annotations

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.operators.kernel import dense, normalize


def branch_coefficients(
    backend: Backend,
    params: Parameters,
    name: str,
    features: Array,
    weight: Array,
    condition: Array,
    shape: tuple[int, int],
) -> Array:
    """Coefficients from quadrature moments of the input functions.

    Parameters
    ----------
    features : Array, shape=(batch, point, channel)
    weight : Array, shape=(batch, point)
        Quadrature weights; masked points have zero.
    condition : Array, shape=(batch, feature)
        Embedded time and globals.
    shape : tuple of int
        Number of basis functions and of output components.

    Returns
    -------
    Array, shape=(batch, basis, component)
    """
    total = backend.sum(weight, axis=1, keepdims=True)
    moment = backend.sum(features * weight[:, :, None], axis=1) / total
    hidden = backend.silu(dense(backend, params, f"{name}.in", backend.concat([moment, condition])))
    coefficients = dense(backend, params, f"{name}.out", hidden)
    return backend.reshape(coefficients, (features.shape[0], *shape)) + params[f"{name}.mean"]


def adaptive_basis(backend: Backend, params: Parameters, name: str, features: Array) -> Array:
    """Trunk functions at every point, conditioned on the input through ``features``.

    Parameters
    ----------
    features : Array, shape=(batch, point, channel)

    Returns
    -------
    Array, shape=(batch, point, basis)
    """
    hidden = normalize(backend, params, f"{name}.norm", features)
    hidden = backend.silu(dense(backend, params, f"{name}.in", hidden))
    return dense(backend, params, f"{name}.out", hidden)
