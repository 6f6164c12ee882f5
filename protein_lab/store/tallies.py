"""What the tiered store remembers about each of its tiers."""

from __future__ import annotations

import threading

from protein_lab.store.base import TierStatistics
from protein_lab.store.entries import Clock, Entry

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


class Floors:
    """Versions below which entries of a tier are void, as it could not be told of a change.

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
        self._floors: dict[str, tuple[int, float]] = {}
        self._prune_at = _PRUNE

    def raise_to(self, key: str, version: int) -> None:
        """Make all entries of a key void that are older than a version."""
        with self._lock:
            found = self._floors.get(key, (0, 0.0))
            # Twice: a server that hangs may still have to do what it was told just before.
            until = self._clock() + 2 * self._ttl
            self._floors[key] = (max(version, found[0]), until)
            if len(self._floors) >= self._prune_at:
                now = self._clock()
                kept = {name: floor for name, floor in self._floors.items() if floor[1] > now}
                self._floors = kept
                self._prune_at = max(_PRUNE, 2 * len(kept))

    def is_below(self, entry: Entry) -> bool:
        """Whether an entry is void."""
        found = self._floors.get(entry.key)
        return found is not None and entry.version < found[0] and self._clock() <= found[1]

    def forget(self, key: str) -> None:
        """Trust the entries of a key again, as the tier was told."""
        if key in self._floors:
            with self._lock:
                self._floors.pop(key, None)
