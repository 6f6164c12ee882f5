"""Kernel integrals on the chain: a local one and quadrature attention.

Both are discretizations of integrals over the chain coordinate, so refining the sampling
changes the result by the quadrature error only (Kovachki et al., *JMLR* 24, 2023; for attention:
Calvello et al., arXiv:2406.06486).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.operators.embedding import shift

WHOLE_PAIRS = 1 << 18
"""Pairs of points up to which their features are made at once."""

_PAIRS_AT_ONCE = 1 << 16


def by_rows(
    backend: Backend, batch: int, size: int, make: Callable[[slice], Array], axis: int = 1
) -> Array:
    """Make something of all pairs of points; where they are many, for some rows at a time.

    What is made in between then stays in the cache of the processor, and memory holds the result
    alone. A GPU makes all at once: it would wait for the many small calls.

    Parameters
    ----------
    backend : Backend
    batch, size : int
        Chains, and points of each.
    make : callable
        From a range of first points to what belongs to them.
    axis : int
        Axis of the result along which first points lie.
    """
    if batch * size * size <= WHOLE_PAIRS or backend.device != "cpu":
        return make(slice(0, size))
    step = max(1, _PAIRS_AT_ONCE // (batch * size))
    parts = [make(slice(row, min(row + step, size))) for row in range(0, size, step)]
    return backend.concat(parts, axis=axis)


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

    key, query = backend.transpose(heads("key"), (0, 1, 3, 2)), heads("query")
    averaged = heads("value")

    def attend(rows: slice) -> Array:
        logits = (query[:, :, rows] @ key) * (1.0 / math.sqrt(width)) + bias[:, :, rows]
        weights = backend.softmax(logits + log_weight[:, None, None, :])
        mixed = backend.transpose(weights @ averaged, (0, 2, 1, 3))
        count = points.shape[-1] // 3
        mean = backend.transpose(weights @ points[:, None], (0, 2, 1, 3))
        some = mixed.shape[1]
        mean = backend.reshape(mean, (batch, some, num_heads * count, 3))
        mean = mean - origin[:, rows, None, :]
        local = backend.reshape(
            backend.einsum("bnij,bnaj->bnai", frame[:, rows], mean),
            (batch, some, num_heads * count * 3),
        )
        gathered = [backend.reshape(mixed, (batch, some, channels)), local * 0.1]
        if pair is not None:
            seen = backend.einsum("bhij,bijc->bihc", weights, pair[:, rows])
            gathered.append(backend.reshape(seen, (batch, some, num_heads * pair.shape[-1])))
        return backend.concat(gathered)

    return dense(backend, params, f"{name}.out", by_rows(backend, batch, size, attend))
