"""The whole store: tiers, bytes of record and index together, embedded and on real servers."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

import protein_lab
from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ExecutionError, StoreError, TierError
from protein_lab.execution.run import run_request
from protein_lab.settings import StoreSettings
from protein_lab.store.base import RunQuery, RunRow
from protein_lab.store.open import adopt_place, open_store
from protein_lab.store.result_store import TieredResults
from protein_lab.store.schema import Design, DesignResult, encode_design, encode_result
from protein_lab.testing.results import example_result
from tests.servers import MissingServerError, PostgresServer, RedisServer, S3Server, postgres_server


@pytest.fixture(params=["embedded", "servers"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreSettings:
    """Name an empty store, in a folder and on servers in turn."""
    if request.param == "embedded":
        return StoreSettings(objects=str(tmp_path / "store"))
    s3: S3Server = request.getfixturevalue("s3")
    postgres: PostgresServer = request.getfixturevalue("postgres")
    redis: RedisServer = request.getfixturevalue("redis")
    for name, value in s3.credentials().items():
        monkeypatch.setenv(name, value)
    return StoreSettings(
        objects=f"s3://{s3.make_bucket()}/results", s3_endpoint=s3.endpoint, s3_region="us-east-1",
        database=postgres.make_database(), redis=redis.url, timeout_seconds=1.0,
    )  # fmt: skip


@pytest.fixture
def store(settings: StoreSettings) -> Iterator[TieredResults]:
    """Open it."""
    with open_store(settings) as opened:
        yield opened


def same(one: DesignResult | None, other: DesignResult) -> bool:
    """Whether two results are equal, every number of them."""
    return one is not None and encode_result(one) == encode_result(other)


def hits(store: TieredResults) -> dict[str, int]:
    """Count hits by tier."""
    return {tier.name: tier.hits for tier in store.statistics()}


def test_a_result_is_kept_listed_and_found_again(
    store: TieredResults, settings: StoreSettings
) -> None:
    """In this process from memory, in another from the fastest tier that outlives this one."""
    result = example_result()
    assert store.get(result.request_id) is None
    store.put(result)
    store.put(result)
    assert same(store.get(result.request_id), result)
    assert hits(store)["memory"] == 1
    row = store.find()[0]
    assert (row.request_id, row.name, row.num_designs) == (result.request_id, "example", 2)
    assert (row.num_accepted, row.length, row.outcome) == (1, 24, result.outcome)
    assert row.size > 1000
    assert store.count(RunQuery(min_accepted=2)) == 0
    with open_store(settings, must_exist=True) as other:
        assert same(other.get(result.request_id), result)
        found = hits(other)
        assert (found["memory"], found["objects"]) == (0, 0)
        assert found["redis" if settings.redis else "database"] == 1
        assert same(other.get(result.request_id), result)
        assert hits(other)["memory"] == 1
        with other.open_arrays(result.request_id) as arrays:
            assert arrays["backbone"].dims == ("design", "residue", "atom", "xyz")
    store.delete(result.request_id)
    assert store.get(result.request_id) is None
    assert store.find() == []
    with open_store(settings) as other:
        assert other.get(result.request_id) is None


def test_nobody_changes_what_others_get(store: TieredResults) -> None:
    """A caller owns what is not an array; arrays cannot be written."""
    result = example_result()
    store.put(result)
    mine = store.get(result.request_id)
    assert mine is not None
    mine.provenance["versions"]["protein_lab"] = "changed"
    mine.designs[0].metrics["changed"] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        mine.designs[0].backbone[0] = 0.0
    assert same(store.get(result.request_id), result)


def test_a_hold_keeps_a_result(store: TieredResults, settings: StoreSettings) -> None:
    """A held result is not deleted, also where the index was lost."""
    result = example_result()
    store.put(result)
    store.hold(result.request_id, "case 7", "counsel")
    assert store.find()[0].held == "case 7"
    with pytest.raises(StoreError, match="legal hold"):
        store.delete(result.request_id)
    assert same(store.get(result.request_id), result)
    store.index.remove(result.request_id)
    assert store.reindex().added == 1
    assert store.find()[0].held == "case 7"
    store.release(result.request_id)
    assert store.find()[0].held == ""
    store.delete(result.request_id)
    assert store.count() == 0


def test_a_lost_index_is_built_again(store: TieredResults) -> None:
    """Every row comes back as it was; rows without a result go."""
    results = [example_result(seed=seed) for seed in range(5)]
    for result in results:
        store.put(result)
    rows = store.find()
    for row in rows[:3]:
        store.index.remove(row.request_id)
    store.index.add(row_of_nothing(store, "0" * 64))
    made = store.reindex()
    assert (made.num_results, made.added, made.removed, made.damaged) == (5, 3, 1, ())
    assert store.find() == rows
    assert store.reindex().added == 0


def row_of_nothing(store: TieredResults, request_id: str) -> RunRow:
    """Take a row as if it were another result's."""
    return msgspec.structs.replace(store.find()[0], request_id=request_id)


def test_neighbors_are_brought_up(store: TieredResults, settings: StoreSettings) -> None:
    """Who looks at a result finds those beside it in memory."""
    results = [example_result(seed=seed) for seed in range(3)]
    for result in results:
        store.put(result)
    with open_store(settings) as other:
        other.preload_neighbors(results[1].request_id)
        deadline = time.monotonic() + 60
        wanted = {results[0].request_id, results[2].request_id}
        while time.monotonic() < deadline and not wanted <= set(other.tiers._memory.keys()):
            time.sleep(0.05)
        before = hits(other)["memory"]
        for request_id in wanted:
            assert other.get(request_id) is not None
        assert hits(other)["memory"] == before + 2


def test_a_run_goes_on_where_it_was_cut(store: TieredResults) -> None:
    """Designs come from the store, are made once, and are the same ones."""
    request = DesignRequest(length=(24, 28), num_designs=3, steps=2, samples_per_design=1, seed=11)
    runtime = engine.Runtime.open(request)
    whole = run_request(request, runtime)
    made: list[int] = []

    def count(design: Design, number: int) -> None:
        made.append(design.index)

    with pytest.raises(ExecutionError, match="Stopped after 1"):
        run_request(request, runtime, store=store, progress=count, should_stop=lambda: bool(made))
    kept = store.kept_designs(whole.request_id)
    assert list(kept) == [0]
    broken = dataclasses.replace(kept[0], index=1, backbone=kept[0].backbone + np.float32(1))
    assert store.kept_designs(whole.request_id, [1, 2]) == {}
    result = run_request(request, runtime, store=store, progress=count)
    assert made == [0, 0, 1, 2]
    assert [bytes_of(one) for one in result.designs] == [bytes_of(one) for one in whole.designs]
    assert bytes_of(broken) != bytes_of(result.designs[1])
    assert store.kept_designs(whole.request_id) == {}
    again = run_request(request, runtime, store=store, progress=count)
    assert made == [0, 0, 1, 2]
    assert same(again, result)


def bytes_of(design: Design) -> bytes:
    """Write all of a design that does not differ from run to run."""
    return encode_design(dataclasses.replace(design, timings={}))


class TestFaults:
    """What is down costs time, never a result."""

    def test_a_database_that_is_busy_keeps_no_result_away(self, tmp_path: Path) -> None:
        """The bytes are kept, the error says so, and the index is mended afterwards."""
        settings = StoreSettings(objects=str(tmp_path), database_timeout_seconds=0.3)
        first, second = example_result(seed=1), example_result(seed=2)
        with open_store(settings) as store:
            store.put(first)
            blocker = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"is kept, but not listed.*reindex"):
                store.put(second)
            assert same(store.get(second.request_id), second)
            blocker.execute("ROLLBACK")
            blocker.close()
            assert store.count() == 1
            assert store.reindex().added == 1
            assert store.count() == 2
            store.put(second)
            assert store.count() == 2

    def test_a_database_that_hangs_or_dies_keeps_no_result_away(self, tmp_path: Path) -> None:
        """Results come from memory and from the bytes of record."""
        try:
            with postgres_server() as server:
                settings = StoreSettings(
                    objects=str(tmp_path), database=server.url(), database_timeout_seconds=2.0
                )
                self._disturb(server, settings)
        except MissingServerError as error:
            pytest.skip(str(error))

    def _disturb(self, server: PostgresServer, settings: StoreSettings) -> None:
        result = example_result()
        with open_store(settings) as store:
            store.put(result)
            server.pause()
            began = time.monotonic()
            assert same(store.get(result.request_id), result)
            store.tiers._memory.delete(result.request_id)
            assert same(store.get(result.request_id), result)
            assert hits(store)["objects"] == 1
            with pytest.raises(TierError):
                store.find()
            assert time.monotonic() - began < 60
            server.resume()
            server.kill()
            with open_store(settings) as other:  # one that starts while it is down
                assert same(other.get(result.request_id), result)
                with pytest.raises(StoreError):
                    other.find()
                server.start()
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    try:
                        assert len(other.find()) == 1
                        break
                    except TierError:
                        time.sleep(0.2)
                else:
                    raise AssertionError("the database is not found again")

    def test_redis_that_is_not_there_is_left_out(self, tmp_path: Path) -> None:
        """With a server that does not answer, and without the client."""
        settings = StoreSettings(objects=str(tmp_path), redis="redis://:secret@127.0.0.1:9/0")
        result = example_result()
        with open_store(settings) as store:
            store.put(result)
            assert same(store.get(result.request_id), result)

    def test_without_the_client_of_redis_it_works_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A warning names what to install."""
        monkeypatch.setitem(__import__("sys").modules, "redis", None)
        settings = StoreSettings(objects=str(tmp_path), redis="redis://:secret@127.0.0.1:9/0")
        with caplog.at_level(logging.WARNING), open_store(settings) as store:
            store.put(example_result())
            assert store.count() == 1
        assert "works without Redis" in caplog.text
        assert "secret" not in caplog.text

    def test_a_lost_database_is_filled_from_the_results(self, tmp_path: Path) -> None:
        """A folder without its index opens with all rows; so does one that was moved."""
        settings = StoreSettings(objects=str(tmp_path / "store"))
        with open_store(settings) as store:
            for seed in range(3):
                store.put(example_result(seed=seed))
            rows = store.find(RunQuery(order="name"))
        for path in (tmp_path / "store").glob("index.sqlite*"):
            path.unlink()
        with open_store(settings) as store:
            assert store.find(RunQuery(order="name")) == rows
        shutil.move(tmp_path / "store", tmp_path / "moved")
        with open_store(settings, str(tmp_path / "moved"), must_exist=True) as store:
            assert store.find(RunQuery(order="name")) == rows

    def test_an_index_of_other_results_is_refused(self, tmp_path: Path) -> None:
        """Until somebody says that the results were moved."""
        database = f"sqlite:///{tmp_path}/shared.sqlite"
        one = StoreSettings(objects=str(tmp_path / "one"), database=database)
        two = StoreSettings(objects=str(tmp_path / "two"), database=database)
        with open_store(one) as store:
            store.put(example_result(seed=1))
        with pytest.raises(StoreError, match=r"is that of results in .*one.*--adopt"):
            open_store(two)
        adopt_place(two)
        with open_store(two) as store:
            assert store.reindex().removed == 1
            assert store.find() == []

    @pytest.mark.parametrize(
        "uri", ["", "http://user:secret@host/x", "ftp://x", "s3://", "memory://x", "file://host/x"]
    )
    def test_what_is_no_place_is_refused(
        self, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The message says what was expected, and leaves nothing behind."""
        monkeypatch.chdir(tmp_path)
        with pytest.raises(StoreError, match="Expected") as caught:
            open_store(StoreSettings(), uri)
        assert "secret" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_foreign_folder_stays_as_it_is(self, tmp_path: Path) -> None:
        """Nothing is written between other people's files, nor where a store must be."""
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(StoreError, match=r"holds thesis\.tex"):
            open_store(StoreSettings(), str(tmp_path))
        with pytest.raises(StoreError, match="there is none"):
            open_store(StoreSettings(), str(tmp_path), must_exist=True)
        with pytest.raises(StoreError, match="there is none"):
            open_store(StoreSettings(), str(tmp_path / "nowhere"), must_exist=True)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_places_of_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a file address, memory, and what the environment names."""
    result = example_result()
    with open_store(StoreSettings(), (tmp_path / "a b").as_uri()) as store:
        store.put(result)
    with open_store(StoreSettings(), str(tmp_path / "a b"), must_exist=True) as store:
        assert same(store.get(result.request_id), result)
    with open_store(StoreSettings(), "memory://") as store:
        assert store.get(result.request_id) is None
        store.put(result)
        place = Path(store.uri)
        assert place.exists()
    assert not place.exists()
    monkeypatch.setenv("PROTEIN_LAB_STORE_OBJECTS", str(tmp_path / "a b"))
    monkeypatch.setenv("PROTEIN_LAB_STORE_DATABASE", f"sqlite:///{tmp_path}/elsewhere.sqlite")
    monkeypatch.setenv("PROTEIN_LAB_STORE_MEMORY_SECONDS", "60")
    with protein_lab.open_store() as store:
        assert store.count() == 1
    assert (tmp_path / "elsewhere.sqlite").exists()


def test_a_notebook_lists_and_opens_results(tmp_path: Path) -> None:
    """As a table with readable figures, as a result, and as arrays."""
    place = str(tmp_path / "store")
    with pytest.raises(StoreError, match="there is none"):
        protein_lab.runs(store=place)
    with open_store(StoreSettings(), place) as store:
        for seed in range(3):
            store.put(example_result(seed=seed))
        request_id = store.find()[0].request_id
    table = protein_lab.runs(store=place)
    assert list(table.index) == [row.request_id for row in store_rows(place)]
    assert table["created_at"].is_monotonic_decreasing
    assert (table["num_accepted"] == 1).all()
    page = table._repr_html_()
    assert page is not None
    assert request_id[:12] in page
    assert request_id not in page
    assert "kB" in page
    assert "3 results" in page
    assert "kB" in (table.head(1)._repr_html_() or "")
    assert table[["size"]].iloc[0, 0] == table["size"].iloc[0]
    assert len(protein_lab.runs(store=place, min_accepted=2)) == 0
    assert "0 results" in (protein_lab.runs(store=place, text="none")._repr_html_() or "")
    assert len(protein_lab.runs(store=place, limit=2, order="size")) == 2
    for bad in ({"limit": "x"}, {"colour": 1}, {"order": "seal"}):
        with pytest.raises(StoreError, match="Expected filters"):
            protein_lab.runs(store=place, **bad)
    result = protein_lab.open_run(request_id[:20], store=place)
    assert result.request_id == request_id
    arrays = protein_lab.open_run_arrays(request_id, store=place)
    assert arrays["backbone"].attrs["units"] == "angstrom"
    with pytest.raises(StoreError, match="there is none"):
        protein_lab.open_run("zz", store=place)
    with pytest.raises(StoreError, match="there is none"):
        protein_lab.open_run("", store=place)


def store_rows(place: str) -> list[RunRow]:
    """List rows past the table."""
    with open_store(StoreSettings(), place) as store:
        return store.find()
