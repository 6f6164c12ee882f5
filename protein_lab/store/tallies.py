"""What the tiered store remembers about each of its tiers."""

from __future__ import annotations

import threading

from protein_lab.store.base import TierStatistics
from protein_lab.store.entries import Clock

_PRUNE = 1024


class Tally:
    """Counts what happens at a tier, from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        names = ["hits", "misses", "promotions", "writes", "errors", "damaged"]
        self._counts: dict[str, int] = dict.fromkeys(names, 0)

    def add(self, **counts: int) -> None:
        """Count up."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def tell(self, name: str, is_open: bool, usage: int | None) -> TierStatistics:
        """Give the counts as they are now."""
        with self._lock:
            return TierStatistics(name=name, is_open=is_open, usage=usage, **self._counts)


class Voids:
    """Keys whose entries in a tier are void, as it could not be told of a change.

    Parameters
    ----------
    ttl : float
        Seconds that an entry lives in the tier at most.
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, ttl: float, clock: Clock) -> None:
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._prune_at = _PRUNE

    def __contains__(self, key: str) -> bool:
        until = self._until.get(key)
        return until is not None and self._clock() <= until

    def add(self, key: str) -> None:
        """Believe no entry of a key until the tier was told, or all that it holds has ended."""
        with self._lock:
            # Twice its life: a server that hangs may still do what it was told before.
            self._until[key] = self._clock() + 2 * self._ttl
            if len(self._until) >= self._prune_at:
                now = self._clock()
                self._until = {name: end for name, end in self._until.items() if end >= now}
                self._prune_at = max(_PRUNE, 2 * len(self._until))

    def discard(self, key: str) -> None:
        """Believe the entries of a key again, as the tier was told."""
        if key in self._until:
            with self._lock:
                self._until.pop(key, None)
