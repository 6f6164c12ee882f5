"""The benchmark of the store measures real tiers, and notices a store that does not check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from protein_lab import engine
from protein_lab.design.request import decode_request
from protein_lab.experiments import own_redis, store_benchmark
from protein_lab.experiments.store_benchmark import FLOORS, run_store
from protein_lab.store.schema import DesignResult

SMALL = store_benchmark._Counts(reads=5, puts=2, faults=5, flips=6, listed=200)


@pytest.fixture(scope="module")
def result() -> DesignResult:
    """Make a small result."""
    request = decode_request(
        {"length": 40, "num_designs": 2, "samples_per_design": 1, "steps": 4, "backend": "numpy"}
    )
    return engine.design(request, engine.Runtime.open(request))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, result: DesignResult) -> None:
    monkeypatch.setattr(store_benchmark, "_QUICK", SMALL)
    monkeypatch.setattr(store_benchmark, "example_result", lambda: result)


def test_rows() -> None:
    """Every tier answers by itself, Redis that fails costs no answer, damage is found."""
    if own_redis.redis_program() is None:
        pytest.skip("no Redis server is installed")
    rows = {row.name: row for row in run_store(quick=True)}
    for tier in FLOORS:
        hit = rows[f"hit: {tier}"]
        assert hit.value is not None
        assert hit.value > 0
        assert "100% of the answers" in hit.note
    assert rows["wrong answers: Redis fails"].value == 0
    assert rows["bit flips found"].value == 100
    assert "memory 3, redis 3, database 3" in rows["promotion"].note
    assert (rows["bytes of a design"].value or 0) > 1000
    assert rows["list: all"].note.startswith("200 of 200")
    assert rows["index: rows"].floor is None


def test_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows say why they have no figure, and all others have one."""

    @contextmanager
    def none() -> Iterator[None]:
        yield None

    monkeypatch.setattr(store_benchmark, "own_redis", none)
    for row in run_store(quick=True):
        is_left_out = row.name in {
            "hit: redis", "throughput: redis", "added: Redis hung", "added: Redis killed",
        }  # fmt: skip
        assert (row.value is None) == is_left_out
        assert row.note.startswith("not_run: No Redis server") == is_left_out


def test_a_store_that_does_not_check_is_found_out(
    monkeypatch: pytest.MonkeyPatch, result: DesignResult
) -> None:
    """Without the comparison of digests flipped bits are missed, and the row says so."""
    monkeypatch.setattr("protein_lab.store.generations.compare", lambda item, data: None)
    row = store_benchmark._flip_row(result, 12)
    assert row.value is not None
    assert row.value < 100
    assert not row.ok
