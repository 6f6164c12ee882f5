"""What every tier of the store holds, and what each must do.

Times never travel between tiers: an entry says how long it may still live, so that clocks that
differ, or jump, neither lengthen nor shorten a life.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from protein_lab.errors import IntegrityError

Clock = Callable[[], float]
"""Seconds since some moment; never goes back."""

_MAGIC = b"PLE1"
_HEADER = struct.Struct("<4s32sQ")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A value under a key.

    Attributes
    ----------
    key : str
        What it is found by; for a result its request id.
    value : bytes
        The value; see :mod:`protein_lab.store.schema` for those of results.
    version : int
        Nanoseconds since 1970 at which the value was made; a higher one replaces a lower one,
        never the other way round.
    remaining : float or None
        Seconds that it may still live; None where it never expires.
    """

    key: str
    value: bytes
    version: int
    remaining: float | None = None


class Tier(Protocol):
    """A place for entries; the faster, the smaller and the more short-lived.

    Every method may raise :class:`~protein_lab.errors.TierError` when the place does not answer
    in time; none may wait for longer than its timeout.
    """

    name: str
    """``memory``, ``redis``, ``database`` or ``objects``."""
    ttl: float
    """Seconds that an entry lives here at most."""
    capacity: int
    """Bytes."""

    def get(self, key: str) -> Entry | None:
        """Read an entry; None when there is none, or its life is over.

        Raises
        ------
        IntegrityError
            When what is there was damaged or belongs to another key.
        """
        ...

    def put(self, entry: Entry) -> bool:
        """Keep an entry for the shorter of its remaining life and :attr:`ttl`.

        Returns
        -------
        bool
            False when a newer version, or this one with a longer life, is there already.
        """
        ...

    def delete(self, key: str) -> None:
        """Forget an entry; one that is not there is no error."""
        ...

    def keys(self) -> Iterator[str]:
        """Give the keys of all entries that still live."""
        ...

    def usage(self) -> int:
        """Count the bytes that are used."""
        ...


def pack_entry(entry: Entry) -> bytes:
    """Write key, version and value so that a reader notices damage and mix-ups."""
    return _HEADER.pack(_MAGIC, _digest(entry.key, entry.version, entry.value), entry.version) + (
        entry.value
    )


def unpack_entry(key: str, data: bytes, remaining: float | None) -> Entry:
    """Read what :func:`pack_entry` wrote.

    Raises
    ------
    IntegrityError
        When the bytes are torn, damaged, or were written for another key.
    """
    value = bytes(data[_HEADER.size :])
    if len(data) >= _HEADER.size:
        magic, digest, version = _HEADER.unpack_from(data)
        if magic == _MAGIC and digest == _digest(key, version, value):
            return Entry(key=key, value=value, version=version, remaining=remaining)
    raise IntegrityError(
        f"Expected an intact entry under {key[:12]}; its bytes differ from their digest.",
        "It is read from another tier, or made again.",
    )


def _digest(key: str, version: int, value: bytes) -> bytes:
    name = key.encode()
    head = struct.pack("<QQ", len(name), version)
    return hashlib.sha256(head + name + value).digest()
