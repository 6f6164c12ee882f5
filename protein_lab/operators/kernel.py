"""Kernel integrals on the chain: a local one and quadrature attention.

Both are discretizations of integrals over the chain coordinate, so refining the sampling
changes the result by the quadrature error only (Kovachki et al., *JMLR* 24, 2023; for attention:
Calvello et al., arXiv:2406.06486).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.operators.embedding import shift


def dense(backend: Backend, params: Parameters, name: str, value: Array) -> Array:
    """Affine map of the last axis."""
    return backend.affine(value, params[f"{name}.weight"], params[f"{name}.bias"])


def normalize(backend: Backend, params: Parameters, name: str, value: Array) -> Array:
    """Layer normalization over channels; safe for operators because it never sees the chain."""
    return backend.layer_norm(value, params[f"{name}.scale"], params[f"{name}.shift"])


def local_kernel(
    backend: Backend,
    params: Parameters,
    name: str,
    value: Array,
    offsets: Sequence[int],
) -> Array:
    """Sum of matrices at fixed offsets along the chain, an integral with a comb kernel.

    Parameters
    ----------
    value : Array, shape=(batch, point, channel)
        Zero at masked points.
    offsets : sequence of int
        Offsets in sample points; fixed in residues, hence the same operator at any sampling.

    Returns
    -------
    Array, shape=(batch, point, channel)
    """
    taps = backend.concat([shift(backend, value, offset) for offset in offsets])
    return dense(backend, params, name, taps)


def quadrature_attention(
    backend: Backend,
    params: Parameters,
    name: str,
    value: Array,
    *,
    bias: Array,
    log_weight: Array,
    points: Array,
    origin: Array,
    frame: Array,
    num_heads: int,
    pair: Array | None = None,
) -> Array:
    """Softmax attention as a ratio of two integrals, with values that carry coordinates.

    ``(A v)(s) = int e^{k(s, r)} V v(r) dr / int e^{k(s, r)} dr`` with quadrature weights in the
    logits. Beside channels every head averages the coordinates ``points``; the average, seen from
    the frame at ``s``, lets a residue measure its partner's place exactly.

    Parameters
    ----------
    value : Array, shape=(batch, point, channel)
    bias : Array, shape=(batch, head, point, point)
        Part of the kernel that depends on geometry, chain separation and pairing.
    log_weight : Array, shape=(batch, point)
        Logarithm of the quadrature weights, very negative at masked points.
    points : Array, shape=(batch, point, coordinate * 3)
        Coordinates to average, angstrom.
    origin : Array, shape=(batch, point, 3)
    frame : Array, shape=(batch, point, 3, 3)
        Rows are the axes of the frame.
    num_heads : int
    pair : Array, shape=(batch, point, point, feature), optional
        Features of pairs that every head averages too.

    Returns
    -------
    Array, shape=(batch, point, channel)
    """
    batch, size, channels = value.shape
    width = channels // num_heads

    def heads(part: str) -> Array:
        split = (batch, size, num_heads, width)
        return backend.transpose(
            backend.reshape(dense(backend, params, f"{name}.{part}", value), split), (0, 2, 1, 3)
        )

    key = backend.transpose(heads("key"), (0, 1, 3, 2))
    logits = (heads("query") @ key) * (1.0 / math.sqrt(width)) + bias
    weights = backend.softmax(logits + log_weight[:, None, None, :])
    mixed = backend.transpose(weights @ heads("value"), (0, 2, 1, 3))
    mixed = backend.reshape(mixed, (batch, size, channels))
    count = points.shape[-1] // 3
    mean = backend.transpose(weights @ points[:, None], (0, 2, 1, 3))
    mean = backend.reshape(mean, (batch, size, num_heads * count, 3)) - origin[:, :, None, :]
    local = backend.reshape(
        backend.einsum("bnij,bnaj->bnai", frame, mean), (batch, size, num_heads * count * 3)
    )
    gathered = [mixed, local * 0.1]
    if pair is not None:
        seen = backend.einsum("bhij,bijc->bihc", weights, pair)
        gathered.append(backend.reshape(seen, (batch, size, num_heads * pair.shape[-1])))
    return dense(backend, params, f"{name}.out", backend.concat(gathered))
