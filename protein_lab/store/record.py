"""The ports of the tiered store: where values are for good, and how they become bytes."""

from __future__ import annotations

from typing import Protocol, TypeVar

V = TypeVar("V")


class Codec(Protocol[V]):
    """Turns values into bytes and back; the way through both gives an equal value."""

    def encode(self, value: V) -> bytes:
        """Write a value."""
        ...

    def decode(self, key: str, data: bytes) -> V:
        """Read a value that nobody can change.

        Raises
        ------
        IntegrityError
            When the bytes are no value of this key.
        """
        ...

    def size(self, data: bytes) -> int:
        """Estimate the bytes that the decoded value takes in memory."""
        ...


class Record(Protocol[V]):
    """Where values are for good; it alone decides what there is."""

    name: str

    def read(self, key: str) -> tuple[V, int] | None:
        """Read a value and its version; None when there is none.

        Raises
        ------
        IntegrityError
            When it is damaged.
        StoreError
            When it cannot be reached.
        """
        ...

    def write(self, key: str, value: V, version: int) -> bool:
        """Keep a value for good; False when one is there already, which stays as it is.

        Raises
        ------
        StoreError
            When it cannot be written; nothing half is left.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a value; one that is not there is no error.

        Raises
        ------
        StoreError
            When it must stay, or cannot be removed.
        """
        ...

    def usage(self) -> int:
        """Count the bytes that are used."""
        ...
