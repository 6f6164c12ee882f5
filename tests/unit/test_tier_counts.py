"""What is counted at each tier, and what is brought up ahead."""

from __future__ import annotations

import threading

import pytest

from protein_lab.errors import IntegrityError
from tests.tier_faults import (
    store_of_copies,
    wait_until,
)


class TestCounts:
    """What the statistics say, and what is brought up before it is asked for."""

    def test_counts_add_up(self) -> None:
        """Hits, misses, promotions, writes, errors and damage are those that happened."""
        store, memory, copies, _, _ = store_of_copies()
        store.put("a", b"1")
        assert store.get("a") == b"1"
        memory.delete("a")
        assert store.get("a") == b"1"
        memory.delete("a")
        copies[0].held["a"] = (b"junk", 10**30, copies[0].held["a"][2])
        assert store.get("a") == b"1"
        memory.delete("a")
        copies[0].fault = "dead"
        assert store.get("a") == b"1"
        rows = {row.name: row for row in store.statistics()}
        assert list(rows) == ["memory", "redis", "database", "objects"]
        fields = ("hits", "misses", "promotions", "writes", "errors", "damaged")
        told = {name: tuple(getattr(row, f) for f in fields) for name, row in rows.items()}
        assert told == {
            "memory": (1, 3, 3, 1, 0, 0),
            "redis": (1, 0, 1, 1, 1, 1),
            "database": (2, 0, 0, 1, 0, 0),
            "objects": (0, 0, 0, 1, 0, 0),
        }
        assert rows["redis"].usage is None
        assert store.statistics()[1].is_open
        assert rows["objects"].usage == 1

    def test_damage_everywhere_is_an_error_and_never_a_value(self) -> None:
        """When all copies and the record are damaged, the reader is told so."""
        store, memory, copies, record, _ = store_of_copies()
        store.put("a", b"1")
        memory.delete("a")
        for copy in copies:
            copy.held["a"] = (b"", 1, copy.held["a"][2])
        record.failure = IntegrityError("a chunk differs from its digest")
        with pytest.raises(IntegrityError, match="chunk"):
            store.get("a")
        assert [row.damaged for row in store.statistics()] == [0, 1, 1, 1]

    def test_warm_and_preload_bring_values_up(self) -> None:
        """Values are in memory before anybody asks; what is missing or fails is left out."""
        store, memory, _, record, _ = store_of_copies()
        threads = set(threading.enumerate())
        for key in "abcd":
            record.held[key] = (key.encode(), 1)
        assert store.warm(["a", "b", "none"]) == 2
        assert sorted(memory.keys()) == ["a", "b"]
        store.preload(["c", "c", "none", "d"])
        assert wait_until(lambda: sorted(memory.keys()) == ["a", "b", "c", "d"])
        store.close()
        store.preload(["none"])
        begun = set(threading.enumerate()) - threads
        assert not [thread for thread in begun if thread.name == "protein-lab-preload"]

    def test_preloading_is_dropped_when_there_is_too_much(self) -> None:
        """A thousand keys do not pile up behind a slow record, and closing does not wait."""
        store, _, _, record, _ = store_of_copies()
        gate = threading.Event()
        record.after_read = lambda: gate.wait(20)
        store.preload(str(number) for number in range(1000))
        gate.set()
        store.close()
        assert record.reads < 1000
