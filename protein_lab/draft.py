"""A backbone that waits to be measured, so that another worker can go on with it; and none.

What a draft does not hold follows from the request and its index alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.store.schema import Design
from protein_lab.typing import FloatArray

_UNDRAWN: Final = Blueprint("")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draft:
    """The backbone of one design, before sequences and checks.

    Attributes
    ----------
    index : int
        Number of the design in its request.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    uncertainty : ndarray, shape=(residue,)
        Angstrom.
    source : str
        Where the coarse curve came from.
    chain_index : int
        Chain of the corpus that gave it; negative where none did.
    metrics, field_metrics : dict of str to float
        Figures of the backbone, and of the field before its projection.
    timings : dict of str to float
        Seconds spent so far, with their ``total``.
    """

    index: int
    backbone: FloatArray
    uncertainty: FloatArray
    source: str
    chain_index: int
    metrics: dict[str, float]
    field_metrics: dict[str, float]
    timings: dict[str, float]


def failed_design(
    index: int,
    reason: str,
    timings: Mapping[str, float] = MappingProxyType({}),
    blueprint: Blueprint = _UNDRAWN,
    source: str = "",
) -> Design:
    """Keep why no backbone came out.

    Parameters
    ----------
    index : int
        Number of the design.
    reason : str
        What a user reads.
    timings : mapping of str to float
        Seconds spent on it.
    blueprint : Blueprint
        What was asked of it, as far as it was drawn.
    source : str
        Where its curve came from, as far as that is known.
    """
    return Design(
        index=index,
        backbone=np.zeros((0, 4, 3), dtype=np.float32),
        uncertainty=np.zeros(0, dtype=np.float32),
        blueprint=blueprint,
        source=source,
        failed=reason,
        timings=dict(timings),
    )


def encode_draft(draft: Draft) -> bytes:
    """Turn a draft into bytes without changing a bit of its numbers."""
    return msgspec.msgpack.encode(draft, enc_hook=_encode_array)


def decode_draft(data: bytes) -> Draft:
    """Read bytes of :func:`encode_draft`."""
    return msgspec.msgpack.decode(data, type=Draft, dec_hook=_decode_array)


def _encode_array(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": value.shape, "data": value.tobytes()}
    if isinstance(value, np.floating):
        return float(value)
    raise NotImplementedError(f"cannot send a {type(value).__name__}")


def _decode_array(kind: type, value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"dtype", "shape", "data"}:
        flat = np.frombuffer(value["data"], dtype=value["dtype"])
        return flat.reshape(value["shape"]).copy()
    raise ValueError(f"cannot read a {kind} from a {type(value).__name__}")
