"""Values in tiers: fast copies above bytes of record.

The record alone decides what there is. A copy may be gone, hang, be full, be old or lie: that
costs time, up to the copy's own timeout until its breaker opens, and never an answer. What copies
could not be told, as that a value was deleted while they did not answer, is remembered here until
their copies have ended by themselves; a process that starts anew does not know of it. Nor does one
process look into another's memory: a deleted value may be read there until its life in it ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.background import Background
from protein_lab.store.base import TierStatistics
from protein_lab.store.entries import Clock, Entry, Tier
from protein_lab.store.flights import Flight, Flights
from protein_lab.store.guard import Guard, RefusedError
from protein_lab.store.memory import MemoryTier
from protein_lab.store.record import Codec, Record
from protein_lab.store.tallies import Tally, Voids

V = TypeVar("V")

SLOW_SECONDS = 0.05
"""A copy that takes so long to say that it has nothing is not given the value in the same call."""


class TieredStore(Generic[V]):
    """Values by key, in memory, in copies and in the record; all threads may use it.

    Parameters
    ----------
    memory : MemoryTier
        Decoded values in this process.
    copies : sequence of Tier
        Copies of the encoded values, the fastest first; each gets a circuit breaker.
    record : Record
        Where values are for good.
    codec : Codec
        How values become bytes; what comes out is always what it decoded.
    failures, seconds : int, float
        Of the breakers; see :class:`~protein_lab.store.guard.Guard`.
    clock : callable
        Seconds that never go back, for lives.
    stamp : callable
        Nanoseconds since 1970, for versions.
    """

    def __init__(
        self,
        memory: MemoryTier[V],
        copies: Sequence[Tier],
        record: Record[V],
        codec: Codec[V],
        *,
        failures: int = 3,
        seconds: float = 5.0,
        clock: Clock = time.monotonic,
        stamp: Callable[[], int] = time.time_ns,
    ) -> None:
        self._memory = memory
        self._copies = [Guard(tier, failures, seconds, clock) for tier in copies]
        self._record = record
        self._codec = codec
        self._clock = clock
        self._stamp = stamp
        self._version = 0
        self._lock = threading.Lock()
        self._voids = [Voids(tier.ttl, clock) for tier in self._copies]
        self._tallies = [Tally() for _ in range(len(self._copies) + 2)]
        self._lookups: Flights[V | None] = Flights()
        self._computations: Flights[V] = Flights()
        self._background = Background(self.get, "protein-lab-preload")

    def get(self, key: str) -> V | None:
        """Read a value from the fastest tier that has it, and copy it into all faster ones.

        Raises
        ------
        IntegrityError
            When the record is damaged and no copy is left.
        StoreError
            When the record cannot be reached and no copy is left.
        """
        held = self._memory.get(key)
        if held is not None:
            self._tallies[0].add(hits=1)
            return held.value
        self._tallies[0].add(misses=1)
        return self._lookups.run(key, lambda flight: self._find(key, flight))

    def put(self, key: str, value: V) -> V:
        """Keep a value for good, then copy it as far as copies answer.

        Returns
        -------
        object
            The value as it is kept; another one when the record kept what was there before.

        Raises
        ------
        StoreError
            When the record cannot be written.
        """
        data = self._codec.encode(value)
        version = self._next_version()
        with self._lookups.changing(key):
            self._memory.delete(key)
            try:
                is_new = self._write_record(key, value, version)
            except StoreError:
                self._drop(key, Guard.delete)  # nobody knows how far the write came
                raise
            if is_new:
                frozen = self._codec.decode(key, data)
                self._copy(Entry(key=key, value=data, version=version))
                if self._memory.put(key, frozen, version, self._codec.size(data)):
                    self._tallies[0].add(writes=1)
                return frozen
        kept = self.get(key)
        if kept is None:
            raise StoreError(
                f"The {self._record.name} tier holds a value under {key[:12]} that is gone.",
                "Another process deleted it meanwhile; store it again.",
            )
        return kept

    def get_or_compute(self, key: str, compute: Callable[[], V]) -> V:
        """Read a value, or make and keep it; of all threads that miss it one makes it.

        Parameters
        ----------
        key : str
            What it is found by.
        compute : callable
            Makes it. Its error reaches all who wait, and is not kept.

        Returns
        -------
        object
            The value as it is kept.
        """
        held = self._memory.get(key)
        if held is not None:
            self._tallies[0].add(hits=1)
            return held.value
        return self._computations.run(key, lambda _: self._compute(key, compute))

    def delete(self, key: str) -> None:
        """Remove a value from all tiers.

        Raises
        ------
        StoreError
            When it must stay, or the record cannot be reached.
        """
        with self._lookups.changing(key):
            self._memory.delete(key)
            # Copies go first, so that none outlives the record when this process dies now; and
            # once more, for what another process brought up meanwhile.
            self._drop(key, Guard.bury)
            self._record.delete(key)
            self._drop(key, Guard.bury)

    def warm(self, keys: Iterable[str]) -> int:
        """Bring values up into the fast tiers; returns how many there are."""
        found = 0
        for key in keys:
            with suppress(StoreError):
                found += self.get(key) is not None
        return found

    def preload(self, keys: Iterable[str]) -> None:
        """Bring values up in the background; what there is no room for is left out."""
        self._background.add(key for key in keys if self._memory.get(key) is None)

    def statistics(self) -> list[TierStatistics]:
        """Tell what happened at each tier, the fastest first."""
        tiers = [self._memory, *self._copies, self._record]
        told = []
        for tier, tally in zip(tiers, self._tallies, strict=True):
            usage = None
            with suppress(StoreError):
                usage = tier.usage()
            is_open = isinstance(tier, Guard) and tier.is_open
            told.append(tally.tell(tier.name, is_open, usage))
        return told

    def close(self) -> None:
        """End the background; the tiers belong to whoever made them."""
        self._background.close()

    def _compute(self, key: str, compute: Callable[[], V]) -> V:
        value = self.get(key)
        return self.put(key, compute()) if value is None else value

    def _find(self, key: str, flight: Flight[V | None]) -> V | None:
        """Look through the copies, then the record."""
        willing: list[int] = []
        for place in range(len(self._copies)):
            asked = self._clock()
            entry, answers = self._ask(place, key)
            value = self._decode(place, entry)
            if entry is not None and value is not None:
                self._tallies[place + 1].add(hits=1)
                self._promote(flight, entry, value, asked, willing)
                return value
            if answers and self._clock() - asked < SLOW_SECONDS:
                willing.append(place)
        asked = self._clock()
        found = self._read_record(key)
        if found is None:
            return None
        data = self._codec.encode(found[0])
        value = self._codec.decode(key, data)
        entry = Entry(key=key, value=data, version=found[1])
        self._promote(flight, entry, value, asked, willing)
        return value

    def _ask(self, place: int, key: str) -> tuple[Entry | None, bool]:
        """Ask a copy; the second value says whether it answered."""
        tally = self._tallies[place + 1]
        if key in self._voids[place]:
            return None, self._remove(place, key)
        try:
            entry = self._copies[place].get(key)
        except IntegrityError:
            self._discard(place, key)
            return None, True
        except RefusedError:
            return None, False
        except TierError:
            tally.add(errors=1)
            return None, False
        if entry is not None and entry.key != key:
            self._discard(place, key)
            return None, True
        if entry is None:
            tally.add(misses=1)
        return entry, True

    def _decode(self, place: int, entry: Entry | None) -> V | None:
        if entry is None:
            return None
        try:
            return self._codec.decode(entry.key, entry.value)
        except IntegrityError:
            self._discard(place, entry.key)
            return None

    def _discard(self, place: int, key: str) -> None:
        """Remove what is damaged in a copy."""
        self._tallies[place + 1].add(damaged=1)
        self._remove(place, key)

    def _remove(self, place: int, key: str) -> bool:
        """Remove an entry that is not believed; say whether the copy did so."""
        with suppress(TierError):
            self._copies[place].delete(key)
            self._voids[place].discard(key)
            return True
        return False

    def _promote(
        self,
        flight: Flight[V | None],
        entry: Entry,
        value: V,
        asked: float,
        places: Sequence[int],
    ) -> None:
        """Copy a value up, with the life that its source left it when it was asked."""
        if flight.is_overtaken:
            return

        def left() -> float | None:
            if entry.remaining is None:
                return None
            return entry.remaining - (self._clock() - asked)

        def remember() -> None:
            size = self._codec.size(entry.value)
            if self._memory.put(entry.key, value, entry.version, size, left()):
                self._tallies[0].add(promotions=1)

        self._lookups.unless_overtaken(flight, remember)
        for place in places:
            copy = Entry(key=entry.key, value=entry.value, version=entry.version, remaining=left())
            if self._give(place, copy):
                self._tallies[place + 1].add(promotions=1)
            if not self._lookups.unless_overtaken(flight, lambda: None):
                # It was changed in between; what was just given may be what was replaced.
                with self._telling(place, entry.key):
                    self._copies[place].delete(entry.key)
                return

    def _give(self, place: int, entry: Entry) -> bool:
        try:
            return self._copies[place].put(entry)
        except RefusedError:
            return False
        except TierError:
            self._tallies[place + 1].add(errors=1)
            return False

    def _copy(self, entry: Entry) -> None:
        """Give a new value to all copies; those that do not take it must not keep an old one."""
        for place, copy in enumerate(self._copies):
            with self._telling(place, entry.key):
                if copy.put(entry):
                    self._tallies[place + 1].add(writes=1)
                else:  # it is too large, or a clock went back and an older value looks newer
                    copy.delete(entry.key)

    def _drop(self, key: str, remove: Callable[[Guard, str], None]) -> None:
        """Remove copies, the slowest first: a reader finds none to bring up from below."""
        for place in reversed(range(len(self._copies))):
            with self._telling(place, key):
                remove(self._copies[place], key)

    @contextmanager
    def _telling(self, place: int, key: str) -> Iterator[None]:
        """Tell a copy of a change; until it was told, its entry is void."""
        self._voids[place].add(key)
        try:
            yield
        except TierError as error:
            self._tallies[place + 1].add(errors=not isinstance(error, RefusedError))
        else:
            self._voids[place].discard(key)

    def _read_record(self, key: str) -> tuple[V, int] | None:
        tally = self._tallies[-1]
        try:
            found = self._record.read(key)
        except IntegrityError:
            tally.add(damaged=1)
            raise
        except StoreError:
            tally.add(errors=1)
            raise
        tally.add(hits=found is not None, misses=found is None)
        return found

    def _write_record(self, key: str, value: V, version: int) -> bool:
        try:
            is_new = self._record.write(key, value, version)
        except StoreError:
            self._tallies[-1].add(errors=1)
            raise
        self._tallies[-1].add(writes=is_new)
        return is_new

    def _next_version(self) -> int:
        """Stamp a change; each is later than the one before, also when the clock went back."""
        with self._lock:
            self._version = max(self._version + 1, self._stamp())
            return self._version
