"""Redis that hangs, dies, fills up, trickles, babbles or lies costs time and never an answer."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from protein_lab.errors import TierError
from protein_lab.store.entries import Entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.redis import RedisTier
from protein_lab.store.tiered import TieredStore
from tests.redis_tiers import GENEROUS, TIMEOUT, connect, patient, tier_of
from tests.servers import RedisServer, redis_server
from tests.tier_faults import BytesCodec, DictRecord, FaultProxy, fault_proxy, wait_until


def store_above(
    tier: RedisTier, record: DictRecord, seconds: float = 5.0
) -> tuple[TieredStore[bytes], MemoryTier[bytes]]:
    """Make a store whose memory holds nothing for long, so that Redis is asked."""
    memory: MemoryTier[bytes] = MemoryTier(10**7, 1e-6)
    return TieredStore(memory, [tier], record, BytesCodec(), seconds=seconds), memory


class TestFaults:
    """A Redis that does not work, below a store."""

    def test_killed_and_back(self, own_redis: RedisServer) -> None:
        """Killed while values are read and written, then back and empty: nothing is wrong."""
        record = DictRecord()
        store, _ = store_above(tier_of(own_redis.port), record, seconds=0.5)
        for number in range(50):
            store.put(str(number), b"%d" % number)
        assert store.get("7") == b"7"
        own_redis.kill()
        for number in range(50):
            assert store.get(str(number)) == b"%d" % number
        store.put("0", b"new")
        assert store.statistics()[1].is_open
        own_redis.start()
        assert wait_until(lambda: store.get("1") == b"1" and not store.statistics()[1].is_open)
        assert store.get("0") == b"new"
        assert wait_until(lambda: _is_in_redis(store, record, "0"))

    def test_hanging(self, own_redis: RedisServer) -> None:
        """A server that hangs costs one timeout a call until the breaker opens, then nothing."""
        record = DictRecord()
        store, _ = store_above(tier_of(own_redis.port), record, seconds=1.0)
        store.put("a", b"1")
        store.put("b", b"1")
        own_redis.pause()
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
        own_redis.resume()
        assert wait_until(lambda: store.get("c") is None and not store.statistics()[1].is_open)
        for _ in range(3):
            assert store.get("a") == b"2"
            assert store.get("b") is None

    def test_many_callers_of_a_server_that_hangs(self, own_redis: RedisServer) -> None:
        """A hundred threads at once wait one timeout together, not one after another."""
        tier = tier_of(own_redis.port)
        assert tier.put(Entry(key="a", value=b"1", version=1))
        own_redis.pause()
        begun = time.monotonic()
        with ThreadPoolExecutor(100) as pool:
            assert not any(pool.map(lambda _: _answers(tier), range(100)))
        assert time.monotonic() - begun < GENEROUS
        own_redis.resume()
        assert wait_until(lambda: _answers(tier))

    def test_late_and_trickling(self, own_redis: RedisServer) -> None:
        """Answers that are 500 ms late, or trickle in for minutes, end at the deadline."""
        with fault_proxy(own_redis.port) as proxy:
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

    def test_babble(self, own_redis: RedisServer) -> None:
        """Bytes that are no answers of Redis, or wrong ones, give no value."""
        with fault_proxy(own_redis.port) as proxy:
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

    def test_full(self, redis_binary: Path) -> None:
        """A full server that evicts nothing takes no values; old ones do not stand for new."""
        with redis_server(redis_binary, "--maxmemory", "3mb") as server:
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

    def test_a_new_value_without_room_ends_the_old_one(self, redis_binary: Path) -> None:
        """What a full server cannot take must not leave its predecessor to other processes."""
        with redis_server(redis_binary, "--maxmemory", "3mb") as server:
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

    def test_evicting(self, redis_binary: Path) -> None:
        """A server at its limit that evicts goes on taking values."""
        options = ("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")
        with redis_server(redis_binary, *options) as server:
            store, _ = store_above(patient(server.port), DictRecord(), seconds=0.0)
            for number in range(60):
                store.put(str(number), b"%060d" % number * 2_000)
            for number in range(60):
                assert store.get(str(number)) == b"%060d" % number * 2_000
            assert connect(server).info()["evicted_keys"] > 0

    def test_emptied_and_shuffled(self, own_redis: RedisServer) -> None:
        """FLUSHALL, scripts forgotten, values swapped, cut, replaced: every answer is right."""
        record = DictRecord()
        store, _ = store_above(patient(own_redis.port), record)
        client = connect(own_redis)
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

    def test_faults_in_any_order_give_no_wrong_answer(self, own_redis: RedisServer) -> None:
        """A seeded storm of faults, with changes and readers: the record's answer every time."""
        draw = random.Random(11)
        with fault_proxy(own_redis.port) as proxy:
            record = DictRecord()
            store, _ = store_above(tier_of(proxy.port), record, seconds=0.05)
            model: dict[str, bytes] = {}
            client = connect(own_redis)
            for turn in range(200):
                if turn % 10 == 0:
                    _disturb(draw, own_redis, proxy, client)
                key = str(draw.randrange(5))
                action = draw.random()
                if action < 0.3:
                    model[key] = f"{key} in turn {turn}".encode()
                    store.put(key, model[key])
                elif action < 0.4:
                    model.pop(key, None)
                    store.delete(key)
                assert store.get(key) == model.get(key)
            own_redis.resume()
            proxy.latency, proxy.babble = 0.0, None
            assert wait_until(lambda: store.get("none") is None and not _is_open(store))
            for key in "01234":
                assert store.get(key) == model.get(key)


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
