"""The tiered store: one computation, right answers after changes, and counts that add up."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from protein_lab.errors import StoreError
from protein_lab.store.memory import MemoryTier
from protein_lab.store.tiered import TieredStore
from tests.tier_faults import (
    BytesCodec,
    DictRecord,
    FaultyTier,
    ManualClock,
    store_of_copies,
    wait_until,
)


class TestChanges:
    """What is read after a change is the change."""

    def test_a_copy_that_missed_a_change_is_not_believed(self) -> None:
        """A copy that was dead while a value was replaced or deleted comes back with the old."""
        store, memory, copies, record, _ = store_of_copies()
        store.put("a", b"old")
        store.put("b", b"old")
        for copy in copies:
            copy.fault = "dead"
        store.put("a", b"new")
        store.delete("b")
        for copy in copies:
            copy.fault = ""
        assert copies[0].held["a"][0].endswith(b"old")
        for key in "ab":
            memory.delete(key)
        assert store.get("b") is None
        assert store.get("a") == b"new"
        assert record.reads == 2

    def test_a_copy_without_room_keeps_no_old_value(self) -> None:
        """A full copy that cannot take the new value gives up the old one."""
        store, memory, copies, _, _ = store_of_copies()
        store.put("a", b"old")
        copies[0].fault = copies[1].fault = "full"
        store.put("a", b"new")
        memory.delete("a")
        assert store.get("a") == b"new"

    def test_a_clock_that_went_back_hides_no_new_value(self) -> None:
        """After a restart with an earlier clock, the new value counts, not the later stamp."""
        store, _, copies, record, clock = store_of_copies()
        store.put("a", b"old")
        begun: TieredStore[bytes] = TieredStore(
            MemoryTier(1000, 300.0, clock), copies, record, BytesCodec(), stamp=lambda: 5
        )
        begun.put("a", b"new")
        again: TieredStore[bytes] = TieredStore(
            MemoryTier(1000, 300.0, clock), copies, record, BytesCodec()
        )
        assert again.get("a") == b"new"

    def test_what_comes_up_lives_no_longer_than_where_it_came_from(self) -> None:
        """A copy that still lives for a little gives that little, less the time of reading."""
        store, memory, copies, _, clock = store_of_copies()
        store.put("a", b"1")
        copies[0].held.clear()
        memory.delete("a")
        clock.now += 86_400.0 - 100.0

        def read_slowly() -> None:
            clock.now += 40.0

        copies[1].after_get = read_slowly
        assert store.get("a") == b"1"
        end = copies[1].held["a"][2]
        held = memory.get("a")
        assert held is not None
        assert end - 40.0 <= held.until <= end
        assert end - 40.0 <= copies[0].held["a"][2] <= end

    def test_an_entry_of_another_key_is_damage(self) -> None:
        """A copy that answers for another key is not believed, and that key is left alone."""
        store, memory, copies, _, _ = store_of_copies()
        store.put("a", b"1")
        memory.delete("a")
        copies[0].fault = "stranger"
        assert store.get("a") == b"1"
        assert store.statistics()[1].damaged == 1
        assert list(memory.keys()) == ["a"]

    def test_changes_at_one_moment_keep_their_copies(self) -> None:
        """Two values within one tick of the clock, or when it goes back, have an order."""
        stamps = iter([100, 100, 50])
        clock = ManualClock()
        copy = FaultyTier("redis", 10.0, clock)
        memory: MemoryTier[bytes] = MemoryTier(1000, 1.0, clock)
        store: TieredStore[bytes] = TieredStore(
            memory, [copy], DictRecord(), BytesCodec(), clock=clock, stamp=lambda: next(stamps)
        )
        for value in (b"1", b"2", b"3"):
            store.put("a", value)
            assert copy.held["a"][0].endswith(value)

    def test_what_is_written_once_stays(self) -> None:
        """A record that keeps the first value gives the first value, from every tier."""
        store, memory, copies, _, _ = store_of_copies(is_written_once=True)
        assert store.put("a", b"first") == b"first"
        assert store.put("a", b"second") == b"first"
        assert store.get("a") == b"first"
        memory.delete("a")
        assert store.get("a") == b"first"
        assert all(copy.held["a"][0].endswith(b"first") for copy in copies)

    def test_a_failed_write_leaves_no_old_copy(self) -> None:
        """When nobody knows whether the record took a value, only the record is asked."""
        store, _, copies, record, _ = store_of_copies()
        store.put("a", b"old")
        record.failure = StoreError("the disk is full")
        with pytest.raises(StoreError, match="disk"):
            store.put("a", b"new")
        assert all("a" not in copy.held for copy in copies)
        with pytest.raises(StoreError, match="disk"):
            store.get("a")
        record.failure = None
        assert store.get("a") == b"old"

    def test_a_value_that_must_stay_is_still_there(self) -> None:
        """A deletion that the record refuses deletes nothing."""
        store, _, _, record, _ = store_of_copies()
        store.put("a", b"1")
        record.failure = StoreError("under a legal hold")
        with pytest.raises(StoreError, match="hold"):
            store.delete("a")
        record.failure = None
        assert store.get("a") == b"1"

    def test_a_reader_that_ends_in_the_midst_of_a_deletion_keeps_nothing(self) -> None:
        """It began before, so it may have the value; memory and copies may not."""
        store, memory, copies, _, _ = store_of_copies()
        store.put("a", b"1")
        memory.delete("a")
        copies[0].held.clear()
        has_read, may_go_on = threading.Event(), threading.Event()

        def hold() -> None:
            has_read.set()
            may_go_on.wait(20)

        copies[1].after_get = hold
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(store.get, "a")
            assert has_read.wait(20)

            def let_it_end() -> None:
                may_go_on.set()
                assert reader.result(20) == b"1"

            copies[0].after_delete = let_it_end
            store.delete("a")
        assert list(memory.keys()) == []
        assert store.get("a") is None
        assert all(copy.held == {} for copy in copies)

    def test_nobody_waits_for_a_reader_from_the_midst_of_a_deletion(self) -> None:
        """Who asks after a deletion does not get what a slower reader found before its end."""
        store, memory, copies, _, _ = store_of_copies()
        store.put("a", b"1")
        memory.delete("a")
        has_read, may_go_on = threading.Event(), threading.Event()

        def hold() -> None:
            has_read.set()
            may_go_on.wait(5)

        with ThreadPoolExecutor(1) as pool:

            def read() -> None:
                copies[0].after_get = hold
                pool.submit(store.get, "a")
                assert has_read.wait(20)

            copies[1].after_delete = read
            store.delete("a")
            assert not may_go_on.is_set()
            assert store.get("a") is None
            may_go_on.set()
        assert store.get("a") is None
        assert list(memory.keys()) == []

    def test_threads_never_read_what_was_before_their_last_look(self) -> None:
        """Under writers, deleters, failing copies and readers, no reader sees time go back."""
        store, _, copies, _, _ = store_of_copies()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        done: dict[str, int] = dict.fromkeys("abc", -1)
        locks = {key: threading.Lock() for key in "abc"}
        end = time.monotonic() + 3.0
        wrong: list[tuple[str, int, int | None]] = []

        def write(seed: int) -> None:
            draw = random.Random(seed)
            while time.monotonic() < end:
                key = draw.choice("abc")
                with locks[key]:  # so that the order of changes is known
                    number = done[key] + 1
                    if draw.random() < 0.3:
                        store.delete(key)
                    else:
                        store.put(key, str(number).encode())
                    done[key] = number

        def read(seed: int) -> None:
            draw = random.Random(seed)
            while time.monotonic() < end:
                key = draw.choice("abc")
                least = done[key]
                found = store.get(key)
                if found is not None and int(found) < least:
                    wrong.append((key, least, int(found)))

        def disturb() -> None:
            draw = random.Random(0)
            while time.monotonic() < end:
                draw.choice(copies).fault = draw.choice(["", "", "dead", "full", "crash"])
                time.sleep(0.002)

        try:
            work = [lambda s=s: write(s) for s in range(2)] + [
                lambda s=s: read(s) for s in range(4)
            ]
            with ThreadPoolExecutor(8) as pool:
                for each in [pool.submit(task) for task in [*work, disturb]]:
                    each.result(60)
        finally:
            sys.setswitchinterval(interval)
        assert not wrong, wrong[:5]
        assert min(done.values()) > 5


class TestOneComputation:
    """Of all who miss a value one makes it."""

    def test_two_hundred_threads_compute_once(self) -> None:
        """A cold key that 200 threads want at once is computed once and read once."""
        store, _, copies, record, _ = store_of_copies()
        calls: list[int] = []
        gate = threading.Barrier(200, timeout=60)

        def compute() -> bytes:
            calls.append(1)
            time.sleep(0.2)
            return b"made"

        def want(_: int) -> bytes:
            gate.wait()
            return store.get_or_compute("a", compute)

        with ThreadPoolExecutor(200) as pool:
            found = set(pool.map(want, range(200)))
        assert found == {b"made"}
        assert len(calls) == 1
        assert record.held["a"][0] == b"made"
        assert copies[0].calls <= 2

    def test_readers_of_a_cold_key_ask_once(self) -> None:
        """Readers that miss together wait for one look through the tiers."""
        store, _, copies, record, _ = store_of_copies()
        record.held["a"] = (b"1", 1)
        record.after_read = lambda: time.sleep(0.3)
        gate = threading.Barrier(50, timeout=60)

        def want(_: int) -> bytes | None:
            gate.wait()
            return store.get("a")

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(want, range(50))) == {b"1"}
        assert record.reads == 1
        assert copies[0].calls <= 2

    def test_an_error_reaches_all_and_is_not_kept(self) -> None:
        """Everybody who waits gets the error; the next one computes again."""
        store, *_ = store_of_copies()
        gate = threading.Barrier(5, timeout=60)

        def fail() -> bytes:
            assert wait_until(lambda: gate.n_waiting == 0)
            time.sleep(0.2)
            raise ArithmeticError("no fold")

        def want(_: int) -> BaseException | None:
            gate.wait()
            return _error(lambda: store.get_or_compute("a", fail))

        with ThreadPoolExecutor(5) as pool:
            errors = list(pool.map(want, range(5)))
        assert all(isinstance(error, ArithmeticError) for error in errors)
        assert store.get_or_compute("a", lambda: b"made") == b"made"

    def test_a_thread_that_ends_leaves_nobody_waiting(self) -> None:
        """When the thread that computes is interrupted, one that waits computes instead."""
        store, *_ = store_of_copies()
        begun = threading.Event()
        waiting = threading.Event()

        def interrupted() -> bytes:
            begun.set()
            waiting.wait(20)
            time.sleep(0.2)
            raise SystemExit

        first = threading.Thread(
            target=lambda: _error(lambda: store.get_or_compute("a", interrupted))
        )
        first.start()
        assert begun.wait(20)

        def second() -> bytes:
            waiting.set()
            return store.get_or_compute("a", lambda: b"made")

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(second).result(30) == b"made"
        first.join(20)

    def test_a_computation_that_needs_itself_is_refused(self) -> None:
        """It would wait for itself for ever."""
        store, *_ = store_of_copies()

        def compute() -> bytes:
            return store.get_or_compute("a", compute)

        with pytest.raises(StoreError, match="itself"):
            store.get_or_compute("a", compute)
        assert store.get("a") is None


def _error(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 it is what the test looks at
        return error
    return None
