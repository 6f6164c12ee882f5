"""Redis that hangs, dies, fills up, trickles, babbles or lies costs time and never an answer."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.entries import Entry, pack_entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.redis import POOL, RedisTier
from protein_lab.store.tiered import TieredStore
from tests.servers import RedisServer, redis_binaries, redis_server
from tests.tier_faults import BytesCodec, DictRecord, FaultProxy, fault_proxy, wait_until

TIMEOUT = 0.2
GENEROUS = 20 * TIMEOUT
"""A deadline against hanging, on a machine that may be busy with something else."""


@pytest.fixture(scope="module", params=redis_binaries() or [None], ids=str)
def binary(request: pytest.FixtureRequest) -> Path:
    """Give each Redis server that is installed."""
    if request.param is None:
        pytest.skip("no Redis server is installed here")
    return request.param


@pytest.fixture(scope="module")
def shared(binary: Path) -> Iterator[RedisServer]:
    """Run a server for tests that leave it as it was."""
    with redis_server(binary, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        yield server


@pytest.fixture
def own(binary: Path) -> Iterator[RedisServer]:
    """Run a server for one test to disturb."""
    with redis_server(binary) as server:
        yield server


def connect(server: RedisServer) -> Any:
    """Give a client that sees what is really there."""
    from redis import Redis

    return Redis.from_url(server.url)


def tier_of(port: int, ttl: float = 3600.0, capacity: int = 10**8, **options: Any) -> RedisTier:
    """Make a tier with the timeout that users have."""
    url = f"redis://127.0.0.1:{port}/0"
    return RedisTier(url, **{"capacity": capacity, "ttl": ttl, "timeout": TIMEOUT, **options})


def patient(port: int, **options: Any) -> RedisTier:
    """Make a tier that a busy machine does not make give up."""
    return tier_of(port, timeout=GENEROUS, **options)


def store_above(
    tier: RedisTier, record: DictRecord, seconds: float = 5.0
) -> tuple[TieredStore[bytes], MemoryTier[bytes]]:
    """Make a store whose memory holds nothing for long, so that Redis is asked."""
    memory: MemoryTier[bytes] = MemoryTier(10**7, 1e-6)
    return TieredStore(memory, [tier], record, BytesCodec(), seconds=seconds), memory


class TestTier:
    """A Redis that works."""

    def test_versions_and_lives(self, shared: RedisServer) -> None:
        """A newer version replaces an older one; the same replaces a shorter life only."""
        tier = patient(shared.port, ttl=100.0, prefix="versions")
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

    def test_a_life_ends_in_the_server(self, shared: RedisServer) -> None:
        """An entry is gone when its time is over, whoever asks."""
        tier = patient(shared.port, prefix="lives")
        assert tier.put(Entry(key="a", value=b"1", version=1, remaining=0.3))
        assert wait_until(lambda: tier.get("a") is None)
        assert list(tier.keys()) == []

    def test_what_was_deleted_is_not_brought_back(self, shared: RedisServer) -> None:
        """A reader of another process that found an entry before cannot put it there again."""
        tier = patient(shared.port, prefix="graves", stamp=lambda: 100)
        entry = Entry(key="a", value=b"1", version=50)
        assert tier.put(entry)
        tier.bury("a")
        assert not patient(shared.port, prefix="graves").put(entry)
        assert tier.get("a") is None
        assert list(tier.keys()) == []
        assert tier.put(Entry(key="a", value=b"2", version=101))
        ahead = Entry(key="b", value=b"1", version=500)  # of a host whose clock is ahead
        assert tier.put(ahead)
        tier.bury("b")
        assert not tier.put(ahead)

    def test_of_many_writers_the_newest_stays(self, shared: RedisServer) -> None:
        """Threads that put versions in any order leave the highest."""
        tier = patient(shared.port, prefix="writers")
        versions = list(range(300))
        random.Random(1).shuffle(versions)

        def write(version: int) -> bool:
            return tier.put(Entry(key="a", value=str(version).encode(), version=version))

        with ThreadPoolExecutor(30) as pool:
            list(pool.map(write, versions))
        found = tier.get("a")
        assert found is not None
        assert (found.version, found.value) == (299, b"299")
        assert len(connect(shared).client_list()) <= POOL + 10

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
        self, shared: RedisServer, value: bytes
    ) -> None:
        """Junk, entries of other keys, wrong versions and torn ones are told, and make room."""
        tier = patient(shared.port, prefix="foreign")
        client = connect(shared)
        client.set("foreign:1:{a}", value, px=60_000)
        with pytest.raises(IntegrityError):
            tier.get("a")
        assert tier.get("a") is None
        assert tier.put(Entry(key="a", value=b"2", version=2))
        tier.delete("a")

    def test_foreign_types_are_damage(self, shared: RedisServer) -> None:
        """A list where an entry belongs is removed; a value without an end is not believed."""
        tier = patient(shared.port, prefix="types")
        client = connect(shared)
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
        self, own: RedisServer, shared: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, with what to set; a server that is set up well is not spoken of."""
        with caplog.at_level(logging.WARNING):
            patient(shared.port, prefix="told").put(Entry(key="a", value=b"", version=1))
            assert caplog.messages == []
            tier = patient(own.port)
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


class TestFaults:
    """A Redis that does not work, below a store."""

    def test_killed_and_back(self, own: RedisServer) -> None:
        """Killed while values are read and written, then back and empty: nothing is wrong."""
        record = DictRecord()
        store, _ = store_above(tier_of(own.port), record, seconds=0.5)
        for number in range(50):
            store.put(str(number), b"%d" % number)
        assert store.get("7") == b"7"
        own.kill()
        for number in range(50):
            assert store.get(str(number)) == b"%d" % number
        store.put("0", b"new")
        assert store.statistics()[1].is_open
        own.start()
        assert wait_until(lambda: store.get("1") == b"1" and not store.statistics()[1].is_open)
        assert store.get("0") == b"new"
        assert wait_until(lambda: _is_in_redis(store, record, "0"))

    def test_hanging(self, own: RedisServer) -> None:
        """A server that hangs costs one timeout a call until the breaker opens, then nothing."""
        record = DictRecord()
        store, _ = store_above(tier_of(own.port), record, seconds=1.0)
        store.put("a", b"1")
        store.put("b", b"1")
        own.pause()
        times = []
        for _ in range(40):
            begun = time.monotonic()
            assert store.get("a") == b"1"
            times.append(time.monotonic() - begun)
        assert max(times) < GENEROUS
        assert sorted(times)[20] < TIMEOUT
        assert store.statistics()[1].is_open
        store.put("a", b"2")
        store.delete("b")
        own.resume()
        assert wait_until(lambda: store.get("c") is None and not store.statistics()[1].is_open)
        for _ in range(3):
            assert store.get("a") == b"2"
            assert store.get("b") is None

    def test_many_callers_of_a_server_that_hangs(self, own: RedisServer) -> None:
        """A hundred threads at once wait one timeout together, not one after another."""
        tier = tier_of(own.port)
        assert tier.put(Entry(key="a", value=b"1", version=1))
        own.pause()
        begun = time.monotonic()
        with ThreadPoolExecutor(100) as pool:
            assert not any(pool.map(lambda _: _answers(tier), range(100)))
        assert time.monotonic() - begun < GENEROUS
        own.resume()
        assert wait_until(lambda: _answers(tier))

    def test_late_and_trickling(self, own: RedisServer) -> None:
        """Answers that are 500 ms late, or trickle in for minutes, end at the deadline."""
        with fault_proxy(own.port) as proxy:
            record = DictRecord()
            store, _ = store_above(tier_of(proxy.port), record, seconds=0.5)
            store.put("a", b"x" * 200_000)
            assert wait_until(lambda: _is_in_redis(store, record, "a"))
            for late, speed in ((0.5, None), (0.0, 1000.0)):
                proxy.latency, proxy.bytes_per_second = late, speed
                for _ in range(6):
                    begun = time.monotonic()
                    assert store.get("a") == b"x" * 200_000
                    assert time.monotonic() - begun < GENEROUS
                assert store.statistics()[1].is_open
                proxy.latency, proxy.bytes_per_second = 0.0, None
                assert wait_until(lambda: bool(store.get("a")) and not _is_open(store))

    def test_babble(self, own: RedisServer) -> None:
        """Bytes that are no answers of Redis, or wrong ones, give no value."""
        with fault_proxy(own.port) as proxy:
            store, _ = store_above(tier_of(proxy.port), DictRecord(), seconds=0.0)
            store.put("a", b"1")
            for babble in (
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"$5\r\nhello\r\n:1000\r\n",
                b"$abc\r\n",
                b"*2\r\n$1\r\nx\r\n",
                b":7\r\n:1000\r\n",
                b"-LOADING Redis is loading\r\n",
                b"$-1\r\n:-2\r\n",
                b"\x00\xff\r\n",
            ):
                proxy.babble = babble
                for _ in range(2):
                    assert store.get("a") == b"1"
                    assert store.get("none") is None
                    store.put("b", babble)
                    assert store.get("b") == babble
            proxy.babble = None
            assert wait_until(lambda: store.get("a") == b"1" and not _is_open(store))

    def test_full(self, binary: Path) -> None:
        """A full server that evicts nothing takes no values; old ones do not stand for new."""
        with redis_server(binary, "--maxmemory", "3mb") as server:
            record = DictRecord()
            store, _ = store_above(tier_of(server.port), record, seconds=0.0)
            draw = random.Random(0)
            for number in range(60):
                key = str(number % 20)
                value = draw.randbytes(100_000)
                assert store.put(key, value) == value
                assert store.get(key) == value
            for number in range(20):
                assert store.get(str(number)) == record.held[str(number)][0]
            assert store.statistics()[1].errors > 0

    def test_a_new_value_without_room_ends_the_old_one(self, binary: Path) -> None:
        """What a full server cannot take must not leave its predecessor to other processes."""
        with redis_server(binary, "--maxmemory", "3mb") as server:
            tier = patient(server.port)
            assert tier.put(Entry(key="a", value=b"old", version=1))

            def fill() -> None:
                for number in range(100):
                    tier.put(Entry(key=str(number), value=bytes(100_000), version=1))

            with pytest.raises(TierError, match="Redis at"):
                fill()
            with pytest.raises(TierError):
                tier.put(Entry(key="a", value=bytes(100_000), version=2))
            assert tier.get("a") is None

    def test_evicting(self, binary: Path) -> None:
        """A server at its limit that evicts goes on taking values."""
        options = ("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")
        with redis_server(binary, *options) as server:
            store, _ = store_above(patient(server.port), DictRecord(), seconds=0.0)
            for number in range(60):
                store.put(str(number), b"%060d" % number * 2_000)
            for number in range(60):
                assert store.get(str(number)) == b"%060d" % number * 2_000
            assert connect(server).info()["evicted_keys"] > 0

    def test_emptied_and_shuffled(self, own: RedisServer) -> None:
        """FLUSHALL, scripts forgotten, values swapped, cut, replaced: every answer is right."""
        record = DictRecord()
        store, _ = store_above(patient(own.port), record)
        client = connect(own)
        draw = random.Random(3)
        for number in range(30):
            store.put(str(number), f"value {number}".encode())
        for turn in range(60):
            names = sorted(client.keys("protein_lab:result:1:*"))
            if turn % 20 == 19:
                client.flushall()
                client.script_flush()
            elif len(names) > 1:
                first, second = draw.sample(names, 2)
                data = client.get(first)
                changed = draw.choice([client.get(second), data[: len(data) // 2], b"junk", b""])
                client.set(first, changed, px=60_000)
            key = str(draw.randrange(30))
            assert store.get(key) == f"value {key}".encode()
        for number in range(30):
            assert store.get(str(number)) == f"value {number}".encode()
        assert store.statistics()[1].damaged > 5

    def test_faults_in_any_order_give_no_wrong_answer(self, own: RedisServer) -> None:
        """A seeded storm of faults, with changes and readers: the record's answer every time."""
        draw = random.Random(11)
        with fault_proxy(own.port) as proxy:
            record = DictRecord()
            store, _ = store_above(tier_of(proxy.port), record, seconds=0.05)
            model: dict[str, bytes] = {}
            client = connect(own)
            for turn in range(200):
                if turn % 10 == 0:
                    _disturb(draw, own, proxy, client)
                key = str(draw.randrange(5))
                action = draw.random()
                if action < 0.3:
                    model[key] = f"{key} in turn {turn}".encode()
                    store.put(key, model[key])
                elif action < 0.4:
                    model.pop(key, None)
                    store.delete(key)
                assert store.get(key) == model.get(key)
            own.resume()
            proxy.latency, proxy.babble = 0.0, None
            assert wait_until(lambda: store.get("none") is None and not _is_open(store))
            for key in "01234":
                assert store.get(key) == model.get(key)


def test_a_wall_clock_that_steps_changes_no_life(shared: RedisServer, tmp_path: Path) -> None:
    """A process whose clock is set forward and back while it runs sees lives as they are."""
    tier = patient(shared.port, prefix="clocks")
    assert tier.put(Entry(key="a", value=b"1", version=time.time_ns(), remaining=1000.0))
    offset = tmp_path / "offset"
    offset.write_text("+0", encoding="utf-8")
    code = f"""
import pathlib, time
from protein_lab.store.entries import Entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.redis import RedisTier

url = "redis://127.0.0.1:{shared.port}/0"
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


def _disturb(draw: random.Random, server: RedisServer, proxy: FaultProxy, client: Any) -> None:
    """Heal what was, and mostly begin something else."""
    server.resume()
    proxy.latency, proxy.babble = 0.0, None
    fault = draw.choice(["none", "hang", "late", "babble", "empty", "none", "restart"])
    if fault == "hang":
        server.pause()
    elif fault == "late":
        proxy.latency = 0.5
    elif fault == "babble":
        proxy.babble = b"$-1\r\n:-2\r\n"
    elif fault == "empty":
        client.flushall()
    elif fault == "restart":
        server.kill()
        server.start()


def _is_open(store: TieredStore[bytes]) -> bool:
    return store.statistics()[1].is_open


def _is_in_redis(store: TieredStore[bytes], record: DictRecord, key: str) -> bool:
    reads = record.reads
    store.get(key)
    return record.reads == reads


def _answers(tier: RedisTier) -> bool:
    try:
        tier.get("a")
    except TierError:
        return False
    return True
