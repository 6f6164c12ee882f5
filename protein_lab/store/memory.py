"""The fastest tier: decoded values in this process, for some minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TLRUCache

from protein_lab.store.entries import Clock

V = TypeVar("V")

_ENTRY_BYTES = 400
"""What an entry takes besides its value: key, times and places in the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Generic[V]):
    """A decoded value in memory; everybody who asks gets the same one, so nobody may change it.

    Attributes
    ----------
    value : object
        The value.
    version : int
        As that of :class:`~protein_lab.store.entries.Entry`.
    until : float
        When its life ends, on the clock of its tier.
    size : int
        Bytes that it takes.
    """

    value: V
    version: int
    until: float
    size: int


class MemoryTier(Generic[V]):
    """Values in this process, the least recently used of which make room for new ones.

    It cannot fail, and a hit is two look-ups: no decoding, no copy. All threads may use it.

    Parameters
    ----------
    capacity : int
        Bytes.
    ttl : float
        Seconds that a value lives here at most.
    clock : callable
        Seconds that never go back.
    """

    name = "memory"

    def __init__(self, capacity: int, ttl: float, clock: Clock = time.monotonic) -> None:
        self.capacity = capacity
        self.ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._held: TLRUCache[str, Held[V]] = TLRUCache(
            capacity,
            ttu=lambda _key, held, _now: held.until,
            timer=clock,
            getsizeof=lambda held: held.size + _ENTRY_BYTES,
        )

    def get(self, key: str) -> Held[V] | None:
        """Look a value up; None when there is none, or its life is over."""
        with self._lock:
            return self._held.get(key)

    def put(
        self, key: str, value: V, version: int, size: int, remaining: float | None = None
    ) -> bool:
        """Keep a value for the shorter of its remaining life and :attr:`ttl`.

        Parameters
        ----------
        key : str
            What it is found by.
        value : object
            The value; nobody may change it any more.
        version : int
            A higher one replaces a lower one.
        size : int
            Bytes that it takes.
        remaining : float or None
            Seconds that it may still live; None where it never expires.

        Returns
        -------
        bool
            False when a newer version, or this one with a longer life, is here already, when no
            life is left, or when it is larger than the tier.
        """
        life = self.ttl if remaining is None else min(self.ttl, remaining)
        with self._lock:
            found = self._held.get(key)
            until = self._clock() + life
            if found is not None and (found.version, found.until) >= (version, until):
                return False
            self._held.pop(key, None)
            if life <= 0 or size + _ENTRY_BYTES > self.capacity:
                return False
            self._held[key] = Held(value=value, version=version, until=until, size=size)
            return True

    def delete(self, key: str) -> None:
        """Forget a value; one that is not there is no error."""
        with self._lock:
            self._held.pop(key, None)

    def keys(self) -> Iterator[str]:
        """Give the keys of all values that still live."""
        with self._lock:
            return iter(list(self._held))

    def usage(self) -> int:
        """Count the bytes that are used."""
        with self._lock:
            self._held.expire()
            return int(self._held.currsize)
