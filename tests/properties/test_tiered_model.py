"""The tiered store against a dictionary: whatever tiers do, the answer is that of the dictionary.

A single exception is written down here: what a copy could not be told before a restart. Then its
old value, once true for this key, may come back until its life there ends.
"""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protein_lab.errors import IntegrityError
from protein_lab.store.entries import unpack_entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.tiered import TieredStore
from tests.tier_faults import BytesCodec, DictRecord, Fault, FaultyTier, ManualClock

KEYS = st.sampled_from(["a", "a", "a", "b"])
FAULTS = st.sampled_from(["dead", "full", "crash", "rotten", "stranger"])
PLACES = st.integers(0, 1)
MEMORY_SECONDS, FAST_SECONDS, SLOW_SECONDS = 300.0, 3600.0, 86_400.0


class TieredModel(RuleBasedStateMachine):
    """Everything that may happen to tiers, in any order."""

    @initialize()
    def build(self) -> None:
        """Begin with empty tiers."""
        self.clock = ManualClock()
        self.wall = 10**18
        self.copies = [
            FaultyTier("redis", FAST_SECONDS, self.clock),
            FaultyTier("database", SLOW_SECONDS, self.clock),
        ]
        self.record = DictRecord()
        self.model: dict[str, bytes] = {}
        self.written: dict[str, set[bytes]] = {key: set() for key in "ab"}
        self.doubtful: dict[str, set[bytes]] = {key: set() for key in "ab"}
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Start a process: an empty memory above whatever the copies hold."""
        self.memory: MemoryTier[bytes] = MemoryTier(10_000, MEMORY_SECONDS, self.clock)
        self.store = TieredStore(
            self.memory,
            self.copies,
            self.record,
            BytesCodec(),
            failures=2,
            seconds=5.0,
            clock=self.clock,
            stamp=lambda: self.wall,
        )

    @rule(key=KEYS)
    def set(self, key: str) -> None:
        """Write a value that was never written before."""
        self.count += 1
        value = f"{key}{self.count}".encode()
        self.written[key].add(value)
        assert self.store.put(key, value) == value
        self.model[key] = value
        self.doubtful[key].clear()

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Remove a value."""
        self.store.delete(key)
        self.model.pop(key, None)
        self.doubtful[key].clear()

    @rule(key=KEYS, is_evicted=st.booleans())
    def get(self, key: str, is_evicted: bool) -> None:
        """Read a value; what comes up lives no longer than where it came from."""
        if is_evicted:
            self.memory.delete(key)
        before = [tier.held.get(key) for tier in self.copies]
        had = self.memory.get(key)
        hits = [row.hits for row in self.store.statistics()]
        self.check(key, self.store.get(key))
        if had is not None:
            return
        hit = [row.hits > old for row, old in zip(self.store.statistics(), hits, strict=True)]
        held = self.memory.get(key)
        for place, source in enumerate(before):
            if hit[place + 1] and source is not None:
                assert held is None or held.until <= source[2] + 1e-6
                for tier, old in zip(self.copies[:place], before, strict=False):
                    new = tier.held.get(key)
                    assert new is None or new == old or new[2] <= source[2] + 1e-6

    @rule(key=KEYS, place=st.integers(0, 2), is_deleted=st.booleans())
    def change_during_get(self, key: str, place: int, is_deleted: bool) -> None:
        """Change a key when a reader has found its value and did not yet copy it up."""
        old = self.model.get(key)
        change: Callable[[str], None] = self.delete if is_deleted else self.set
        doubtful = set(self.doubtful[key])
        if place < 2:
            self.copies[place].after_get = lambda: change(key)
        else:
            self.record.after_read = lambda: change(key)
        found = self.store.get(key)
        assert found in {old, self.model.get(key), *doubtful}
        for tier in self.copies:
            tier.after_get = None
        self.record.after_read = None
        self.memory.delete(key)
        self.check(key, self.store.get(key))

    @rule(key=KEYS, place=PLACES, is_deleted=st.booleans())
    def change_during_promotion(self, key: str, place: int, is_deleted: bool) -> None:
        """Change a key when a reader is about to copy its old value up."""
        change: Callable[[str], None] = self.delete if is_deleted else self.set
        self.memory.delete(key)
        self.copies[place].before_put = lambda: change(key)
        self.store.get(key)
        self.copies[place].before_put = None
        self.memory.delete(key)
        self.check(key, self.store.get(key))

    @rule(key=KEYS, place=PLACES)
    def get_during_deletion(self, key: str, place: int) -> None:
        """Read a key when one of its copies is gone and the others are not."""
        old = {self.model.get(key), None, *self.doubtful[key]}
        found: list[bytes | None] = []
        self.copies[place].after_delete = lambda: found.append(self.store.get(key))
        self.delete(key)
        self.copies[place].after_delete = None
        assert set(found) <= old
        self.check(key, self.store.get(key))

    @rule(seconds=st.sampled_from([0.5, 5.0, 299.0, 301.0, 3599.0, 3601.0, 86_401.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.wall += int(seconds * 1e9)

    @rule(seconds=st.sampled_from([-300, -3600, 3600]))
    def step_wall_clock(self, seconds: int) -> None:
        """Set the clock on the wall; no life depends on it."""
        self.wall += seconds * 10**9

    @rule(place=PLACES, fault=FAULTS)
    def fail(self, place: int, fault: Fault) -> None:
        """Make a copy fail."""
        self.copies[place].fault = fault

    @rule(place=PLACES)
    def heal(self, place: int) -> None:
        """Let a copy work again, with what it held."""
        self.copies[place].fault = ""

    @rule(key=KEYS, places=st.sets(PLACES, min_size=1), fault=FAULTS, is_deleted=st.booleans())
    def change_during_outage(
        self, key: str, places: set[int], fault: Fault, is_deleted: bool
    ) -> None:
        """Change a key that copies hold while they fail; then they work again."""
        self.get(key, True)
        for place in places:
            self.copies[place].fault = fault
        self.delete(key) if is_deleted else self.set(key)
        for place in places:
            self.copies[place].fault = ""
        self.clock.now += 5.1  # so that breakers let calls pass
        self.get(key, True)

    @rule(key=KEYS, place=PLACES)
    def get_just_before_the_end(self, key: str, place: int) -> None:
        """Read a copy whose life is almost over, when nothing faster has it."""
        source = self.copies[place].held.get(key)
        if source is not None and source[2] > self.clock.now:
            for tier in self.copies[:place]:
                tier.held.pop(key, None)
            self.clock.now = source[2] - 0.5
            self.get(key, True)

    @rule(place=PLACES)
    def lose(self, place: int) -> None:
        """Empty a copy."""
        self.copies[place].held.clear()

    @rule(place=PLACES, key=KEYS, other=KEYS, kind=st.sampled_from(["flip", "cut", "swap", "junk"]))
    def corrupt(self, place: int, key: str, other: str, kind: str) -> None:
        """Change what a copy holds."""
        held = self.copies[place].held
        if key not in held or not held[key][0]:
            return
        data, version, until = held[key]
        changed = {
            "flip": data[:-1] + bytes([data[-1] ^ 1]),
            "cut": data[:-1],
            "swap": held[other][0] if other in held else b"",
            "junk": b"\x80\x04junk",
        }[kind]
        held[key] = (changed, version, until)

    @rule()
    def restart(self) -> None:
        """End the process and begin again without memory."""
        self.begin()
        for key in "ab":
            for tier in self.copies:
                if key in tier.held and self.is_old(key, tier.held[key][0]):
                    self.doubtful[key] |= self.written[key]

    def is_old(self, key: str, data: bytes) -> bool:
        """Whether a copy is intact and not what the record holds."""
        try:
            entry = unpack_entry(key, data, None)
        except IntegrityError:
            return False
        return entry.value != BytesCodec().encode(self.record.held.get(key, (b"", 0))[0])

    @rule(key=KEYS)
    def compute(self, key: str) -> None:
        """Read or make a value."""
        self.count += 1
        value = f"{key}{self.count}".encode()
        self.written[key].add(value)
        found = self.store.get_or_compute(key, lambda: value)
        if key not in self.model and found == value:
            self.model[key] = value
            self.doubtful[key].clear()
        self.check(key, found)

    def check(self, key: str, found: bytes | None) -> None:
        """Compare an answer with the dictionary's."""
        assert found in {self.model.get(key), *self.doubtful[key]}, (found, self.model.get(key))

    @invariant()
    def nothing_outlives_its_tier(self) -> None:
        """No entry lives longer than its tier allows, and none is of another key."""
        now = self.clock()
        for key in list(self.memory.keys()):
            held = self.memory.get(key)
            assert held is not None
            assert now < held.until <= now + MEMORY_SECONDS
            assert held.value in self.written[key]
        for tier in self.copies:
            assert all(until <= now + tier.ttl for _, _, until in tier.held.values())

    @invariant()
    def record_is_the_dictionary(self) -> None:
        """No fault of a copy reaches the bytes of record."""
        assert {key: value for key, (value, _) in self.record.held.items()} == self.model

    def teardown(self) -> None:
        """At the end everything is there, with all copies lost."""
        if not hasattr(self, "store"):
            return
        for tier in self.copies:
            tier.held.clear()
        self.begin()
        for key in "ab":
            assert self.store.get(key) == self.model.get(key)


TieredModel.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, derandomize=True
)
test_tiers_against_a_dictionary = TieredModel.TestCase
