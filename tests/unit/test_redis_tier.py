"""A Redis that works, below a store or alone: versions, lives, foreign bytes, clocks."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.entries import Entry, pack_entry
from protein_lab.store.redis import POOL, RedisTier
from tests.redis_tiers import connect, patient
from tests.servers import RedisServer
from tests.tier_faults import wait_until


class TestTier:
    """A Redis that works."""

    def test_versions_and_lives(self, shared_redis: RedisServer) -> None:
        """A newer version replaces an older one; the same replaces a shorter life only."""
        tier = patient(shared_redis.port, ttl=100.0, prefix="versions")
        assert tier.get("a") is None
        assert tier.put(Entry(key="a", value=b"2", version=2**63 - 1, remaining=50.0))
        assert not tier.put(Entry(key="a", value=b"1", version=2**63 - 2))
        assert not tier.put(Entry(key="a", value=b"2", version=2**63 - 1, remaining=40.0))
        found = tier.get("a")
        assert found is not None
        assert (found.key, found.value, found.version) == ("a", b"2", 2**63 - 1)
        assert found.remaining is not None
        assert 40.0 < found.remaining <= 50.0
        assert tier.put(Entry(key="a", value=b"2", version=2**63 - 1))
        found = tier.get("a")
        assert found is not None
        assert found.remaining is not None
        assert 90.0 < found.remaining <= 100.0
        assert not tier.put(Entry(key="b", value=b"", version=1, remaining=0.0))
        assert list(tier.keys()) == ["a"]
        assert tier.usage() > 0
        tier.delete("a")
        tier.delete("a")
        assert tier.get("a") is None
        assert tier.put(Entry(key="a", value=b"1", version=1))

    def test_a_life_ends_in_the_server(self, shared_redis: RedisServer) -> None:
        """An entry is gone when its time is over, whoever asks."""
        tier = patient(shared_redis.port, prefix="lives")
        assert tier.put(Entry(key="a", value=b"1", version=1, remaining=0.3))
        assert wait_until(lambda: tier.get("a") is None)
        assert list(tier.keys()) == []

    def test_what_was_deleted_is_not_brought_back(self, shared_redis: RedisServer) -> None:
        """A reader of another process that found an entry before cannot put it there again."""
        tier = patient(shared_redis.port, prefix="graves", stamp=lambda: 100)
        entry = Entry(key="a", value=b"1", version=50)
        assert tier.put(entry)
        tier.bury("a")
        assert not patient(shared_redis.port, prefix="graves").put(entry)
        assert tier.get("a") is None
        assert list(tier.keys()) == []
        assert tier.put(Entry(key="a", value=b"2", version=101))
        ahead = Entry(key="b", value=b"1", version=500)  # of a host whose clock is ahead
        assert tier.put(ahead)
        tier.bury("b")
        assert not tier.put(ahead)

    def test_of_many_writers_the_newest_stays(self, shared_redis: RedisServer) -> None:
        """Threads that put versions in any order leave the highest."""
        tier = patient(shared_redis.port, prefix="writers")
        versions = list(range(300))
        random.Random(1).shuffle(versions)

        def write(version: int) -> bool:
            return tier.put(Entry(key="a", value=str(version).encode(), version=version))

        with ThreadPoolExecutor(30) as pool:
            list(pool.map(write, versions))
        found = tier.get("a")
        assert found is not None
        assert (found.version, found.value) == (299, b"299")
        assert len(connect(shared_redis).client_list()) <= POOL + 10

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"junk",
            b"\x80\x04\x95junk of another program",
            b"%020d" % 1 + pack_entry(Entry(key="b", value=b"1", version=1)),
            b"%020d" % 9 + pack_entry(Entry(key="a", value=b"1", version=1)),
            (b"%020d" % 1 + pack_entry(Entry(key="a", value=b"1", version=1)))[:-1],
            b"9" * 200,
        ],
    )
    def test_foreign_bytes_are_damage_and_are_removed(
        self, shared_redis: RedisServer, value: bytes
    ) -> None:
        """Junk, entries of other keys, wrong versions and torn ones are told, and make room."""
        tier = patient(shared_redis.port, prefix="foreign")
        client = connect(shared_redis)
        client.set("foreign:1:{a}", value, px=60_000)
        with pytest.raises(IntegrityError):
            tier.get("a")
        assert tier.get("a") is None
        assert tier.put(Entry(key="a", value=b"2", version=2))
        tier.delete("a")

    def test_foreign_types_are_damage(self, shared_redis: RedisServer) -> None:
        """A list where an entry belongs is removed; a value without an end is not believed."""
        tier = patient(shared_redis.port, prefix="types")
        client = connect(shared_redis)
        client.rpush("types:1:{a}", b"1")
        with pytest.raises(IntegrityError):
            tier.get("a")
        client.rpush("types:1:{a}", b"1")
        assert tier.put(Entry(key="a", value=b"1", version=1))
        client.persist("types:1:{a}")
        assert tier.get("a") is None
        assert tier.put(Entry(key="a", value=b"1", version=1))
        assert tier.get("a") is not None

    def test_a_server_that_makes_no_room_is_told(
        self, own_redis: RedisServer, shared_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, with what to set; a server that is set up well is not spoken of."""
        with caplog.at_level(logging.WARNING):
            patient(shared_redis.port, prefix="told").put(Entry(key="a", value=b"", version=1))
            assert caplog.messages == []
            tier = patient(own_redis.port)
            tier.put(Entry(key="a", value=b"", version=1))
            tier.put(Entry(key="a", value=b"", version=2))
        assert len(caplog.messages) == 1
        assert "allkeys-lru" in caplog.text
        assert "noeviction" in caplog.text

    def test_no_message_shows_the_password(self) -> None:
        """Neither an unreachable server nor a wrong URL gives its password away."""
        tier = RedisTier("redis://:secret@127.0.0.1:1/0", capacity=10, ttl=1.0)
        with pytest.raises(TierError) as told:
            tier.get("a")
        assert "secret" not in str(told.value)
        assert "127.0.0.1:1" in str(told.value)
        with pytest.raises(StoreError, match="redis://") as told_url:
            RedisTier("http://:secret@host/0", capacity=10, ttl=1.0)
        assert "secret" not in str(told_url.value)


def test_a_wall_clock_that_steps_changes_no_life(shared_redis: RedisServer, tmp_path: Path) -> None:
    """A process whose clock is set forward and back while it runs sees lives as they are."""
    tier = patient(shared_redis.port, prefix="clocks")
    assert tier.put(Entry(key="a", value=b"1", version=time.time_ns(), remaining=1000.0))
    offset = tmp_path / "offset"
    offset.write_text("+0", encoding="utf-8")
    code = f"""
import pathlib, time
from protein_lab.store.entries import Entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.redis import RedisTier

url = "redis://127.0.0.1:{shared_redis.port}/0"
tier = RedisTier(url, capacity=10**6, ttl=3600.0, timeout=5.0, prefix="clocks")
memory = MemoryTier(10000, 300.0)
memory.put("a", b"1", 1, 1)
for number, offset in enumerate(["+3600", "-3600", "-3900"]):
    before = time.time()
    pathlib.Path({str(offset)!r}).write_text(offset)
    assert abs(time.time() - before) > 250, "the clock was not set"
    assert memory.get("a") is not None
    found = tier.get("a")
    assert 900 < found.remaining <= 1000, found
    key = f"b{{number}}"
    assert tier.put(Entry(key=key, value=b"2", version=time.time_ns(), remaining=500.0))
"""
    _run_with_clock(offset, code)
    for number in range(3):
        found = tier.get(f"b{number}")
        assert found is not None
        assert found.remaining is not None
        assert 400 < found.remaining <= 500


def _run_with_clock(offset: Path, code: str) -> None:
    """Run Python with a clock on the wall that a file moves."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed here")
    show = [faketime, "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    library = subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
