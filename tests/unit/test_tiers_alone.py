"""Memory and guards of tiers by themselves."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from protein_lab.errors import IntegrityError, TierError
from protein_lab.store.entries import Entry
from protein_lab.store.guard import Guard, RefusedError
from protein_lab.store.memory import MemoryTier
from tests.tier_faults import FaultyTier, ManualClock, wait_until


class TestMemory:
    """Values in this process."""

    def test_the_least_recently_used_makes_room(self) -> None:
        """Bytes are the limit; what was read lately stays."""
        memory: MemoryTier[bytes] = MemoryTier(5000, 10.0, ManualClock())
        for key in "abc":
            assert memory.put(key, key.encode(), 1, 1000)
        assert memory.get("a") is not None
        assert memory.put("d", b"d", 1, 1000)
        assert sorted(memory.keys()) == ["a", "c", "d"]
        assert memory.usage() <= 5000

    def test_too_large_a_value_leaves_no_old_one(self) -> None:
        """A newer value that does not fit still ends the older one."""
        memory: MemoryTier[bytes] = MemoryTier(5000, 10.0, ManualClock())
        assert memory.put("a", b"old", 1, 10)
        assert not memory.put("a", b"new", 2, 10_000)
        assert memory.get("a") is None

    def test_versions_and_lives_only_grow(self) -> None:
        """An older version, or the same with a shorter life, changes nothing."""
        clock = ManualClock()
        memory: MemoryTier[bytes] = MemoryTier(5000, 10.0, clock)
        assert memory.put("a", b"2", 2, 10, remaining=5.0)
        assert not memory.put("a", b"1", 1, 10)
        assert not memory.put("a", b"2", 2, 10, remaining=4.0)
        assert memory.put("a", b"2", 2, 10)
        clock.now += 9.9
        held = memory.get("a")
        assert held is not None
        assert held.value == b"2"
        clock.now += 0.2
        assert memory.get("a") is None
        assert memory.usage() == 0

    def test_many_threads(self) -> None:
        """Threads that read, write and remove at once leave whole entries within the limit."""
        memory: MemoryTier[bytes] = MemoryTier(20_000, 0.01)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)

        def work(seed: int) -> None:
            draw = random.Random(seed)
            for number in range(400):
                key = str(draw.randrange(40))
                memory.put(key, key.encode(), number, draw.randrange(1500))
                held = memory.get(key)
                assert held is None or held.value == key.encode()
                if number % 7 == 0:
                    memory.delete(str(draw.randrange(40)))

        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))
        finally:
            sys.setswitchinterval(interval)
        assert 0 <= memory.usage() <= 20_000


class TestGuard:
    """The circuit breaker of a copy."""

    def test_opens_after_failures_in_a_row_and_heals(self) -> None:
        """Failures in a row open it, a success in between does not count, time lets one try."""
        clock = ManualClock()
        tier = FaultyTier("redis", 10.0, clock)
        guard = Guard(tier, failures=3, seconds=5.0, clock=clock)
        for faults in ("dead", "dead", "", "dead", "crash", "dead"):
            tier.fault = faults  # type: ignore[assignment] a literal
            if faults:
                with pytest.raises(TierError):
                    guard.get("a")
            else:
                assert guard.get("a") is None
        assert guard.is_open
        calls = tier.calls
        with pytest.raises(RefusedError):
            guard.put(Entry(key="a", value=b"", version=1))
        assert tier.calls == calls
        clock.now += 5.1
        with pytest.raises(TierError):
            guard.get("a")
        assert tier.calls == calls + 1
        with pytest.raises(RefusedError):
            guard.get("a")
        clock.now += 5.1
        tier.fault = ""
        assert guard.get("a") is None
        assert not guard.is_open
        assert list(guard.keys()) == []

    def test_damage_is_an_answer(self) -> None:
        """A tier that finds damage answers; it is not kept away from."""
        clock = ManualClock()
        tier = FaultyTier("redis", 10.0, clock)
        guard = Guard(tier, failures=1, clock=clock)
        guard.put(Entry(key="a", value=b"1", version=1))
        tier.held["a"] = (b"junk", 1, tier.held["a"][2])
        for _ in range(3):
            with pytest.raises(IntegrityError):
                guard.get("a")
        assert not guard.is_open

    def test_a_tier_that_is_damaged_as_a_whole_fails(self) -> None:
        """Damage that keeps it from taking a value is a failure like others."""
        clock = ManualClock()
        tier = FaultyTier("database", 10.0, clock)
        tier.fault = "rotten"
        guard = Guard(tier, failures=1, clock=clock)
        with pytest.raises(TierError):
            guard.put(Entry(key="a", value=b"1", version=1))
        assert guard.is_open

    def test_a_hanging_call_holds_up_no_other(self) -> None:
        """Calls wait side by side, and of all callers one tries a tier that was left alone."""
        clock = ManualClock()
        tier = FaultyTier("redis", 10.0, clock)
        guard = Guard(tier, failures=8, seconds=5.0, clock=clock)
        gate = threading.Barrier(8, timeout=20)

        def hang(_: str) -> None:
            gate.wait()
            raise TierError("too late")

        tier.get = hang  # type: ignore[method-assign, assignment]
        with ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(lambda _: _error(lambda: guard.get("a")), range(8)))
        assert [type(error) for error in errors] == [TierError] * 8
        assert guard.is_open
        clock.now += 5.1
        gate = threading.Barrier(2, timeout=20)
        trial = threading.Thread(target=lambda: _error(lambda: guard.get("a")))
        trial.start()
        assert wait_until(lambda: gate.n_waiting == 1)
        assert isinstance(_error(lambda: guard.get("a")), RefusedError)
        gate.wait()
        trial.join(20)

    def test_a_wall_clock_that_steps_back_keeps_no_tier_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The breaker's time is not that of the wall."""
        import datetime

        import pybreaker

        class Back(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Back:
                return cls.fromtimestamp(0, tz)

        clock = ManualClock()
        tier = FaultyTier("redis", 10.0, clock)
        guard = Guard(tier, failures=1, seconds=5.0, clock=clock)
        tier.fault = "dead"
        assert isinstance(_error(lambda: guard.get("a")), TierError)
        monkeypatch.setattr(pybreaker, "datetime", Back)
        tier.fault = ""
        clock.now += 5.1
        assert guard.get("a") is None


def _error(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 it is what the test looks at
        return error
    return None
