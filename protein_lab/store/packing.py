"""Whole results as bytes, for tiers that hold copies.

Values are msgpack, the arrays in it as shape and float32 bytes: nothing that is read can run.
"""

from __future__ import annotations

import msgspec
import numpy as np

from protein_lab.errors import IntegrityError
from protein_lab.store.schema import DesignResult, decode_array, encode_array

_MAGIC = b"PLR1"

_GROWTH = 3
"""Bytes in memory for each packed one: measured for results of 100 residues and 8 designs."""


class ResultCodec:
    """Turns results into bytes and back; see :class:`~protein_lab.store.record.Codec`."""

    def __init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(DesignResult, dec_hook=_decode_frozen)

    def encode(self, value: DesignResult) -> bytes:
        """Write a result."""
        return _MAGIC + msgspec.msgpack.encode(value, enc_hook=encode_array)

    def decode(self, key: str, data: bytes) -> DesignResult:
        """Read a result; its arrays are read-only, as many may hold it.

        Raises
        ------
        IntegrityError
            When the bytes are no result of this id, or of another version of protein_lab.
        """
        try:
            if data[: len(_MAGIC)] == _MAGIC:
                result = self._decoder.decode(memoryview(data)[len(_MAGIC) :])
                if result.request_id == key:
                    return result
        except (msgspec.DecodeError, ValueError):
            pass
        raise IntegrityError(
            f"Expected the result {key[:12]}; its copy is of something else, or of another version "
            "of protein_lab.",
            "It is read from another tier.",
        )

    def size(self, data: bytes) -> int:
        """Estimate the bytes that the decoded result takes in memory."""
        return _GROWTH * len(data)


def _decode_frozen(kind: type, value: object) -> object:
    decoded = decode_array(kind, value)
    if isinstance(decoded, np.ndarray):
        decoded.flags.writeable = False
    return decoded
