"""The index of results on SQLite and PostgreSQL: rows, queries, pages, damage, losses."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.base import RunQuery, RunRow
from protein_lab.store.database import Database
from protein_lab.store.database_tables import RUNS
from protein_lab.store.index import Index
from tests.servers import PostgresServer

MOMENT = datetime(2026, 2, 28, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Connect to an empty database, of each kind in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/index.sqlite"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.make_database()
    made = Database(url)
    yield made
    made.close()


def make_row(number: int, **change: object) -> RunRow:
    """Make a row; each has its own figures."""
    rng = random.Random(number)
    row = RunRow(
        request_id=f"{rng.randrange(16**16):016x}",
        name=f"bundle {number}",
        created_at=MOMENT + timedelta(minutes=number),
        accessed_at=MOMENT + timedelta(minutes=number),
        num_designs=8,
        num_accepted=number % 9,
        length=100 + number,
        operator=("fno", "deeponet")[number % 2],
        constraints=(("motif",), ("shape", "motif"), ())[number % 3],
        size=rng.randrange(10**12),
        outcome=f"{number % 9} of 8 designs pass.",
    )
    return msgspec.structs.replace(row, **change)


def test_a_row_comes_back_as_it_was(database: Database) -> None:
    """Text of any kind, times to the microsecond, and large numbers."""
    index = Index(database)
    row = make_row(
        1, name='Ä "100%_\\ \'; DROP TABLE x', created_at=MOMENT + timedelta(microseconds=1),
        constraints=("b", "a"), size=2**53 + 1, held="case 7",
    )  # fmt: skip
    index.add(row)
    assert index.get(row.request_id) == row
    assert index.find() == [row]
    assert index.get("other") is None
    index.add(msgspec.structs.replace(row, name="second"))
    assert index.find() == [row]
    index.upsert(msgspec.structs.replace(row, name="third", constraints=("c",)))
    assert index.find(RunQuery(constraint="a")) == []
    assert [found.name for found in index.find(RunQuery(constraint="c"))] == ["third"]
    index.remove(row.request_id)
    index.remove(row.request_id)
    assert index.count() == 0


def test_signs_that_no_database_holds_are_replaced(database: Database) -> None:
    """A name with NUL or half a surrogate pair is kept without it."""
    index = Index(database)
    index.add(make_row(1, name="a\0b", outcome="c\ud800"))
    assert [(row.name, row.outcome) for row in index.find()] == [("a\ufffdb", "c?")]


QUERIES = {
    "text": (RunQuery(text="BUNDLE 7"), lambda row: "bundle 7" in row.name),
    "signs": (RunQuery(text="%_"), lambda row: False),
    "operator": (RunQuery(operator="fno"), lambda row: row.operator == "fno"),
    "constraint": (RunQuery(constraint="shape"), lambda row: "shape" in row.constraints),
    "lifecycle": (RunQuery(lifecycle="cold"), lambda row: False),
    "accepted": (RunQuery(min_accepted=5), lambda row: row.num_accepted >= 5),
    "times": (
        RunQuery(since=MOMENT + timedelta(minutes=10), until=MOMENT + timedelta(minutes=20)),
        lambda row: 10 <= (row.created_at - MOMENT).total_seconds() / 60 <= 20,
    ),
    "all": (
        RunQuery(operator="fno", constraint="motif", min_accepted=2, text="1"),
        lambda row: (
            row.operator == "fno"
            and "motif" in row.constraints
            and row.num_accepted >= 2
            and ("1" in row.name or row.request_id.startswith("1"))
        ),
    ),
}


def test_queries_give_what_python_would(database: Database) -> None:
    """Every filter and every order, page by page, against the same on a list."""
    index = Index(database)
    rows = [make_row(number) for number in range(90)]
    index.upsert(*rows)
    for query, wanted in QUERIES.values():
        expected = {row.request_id for row in rows if wanted(row)}
        assert {row.request_id for row in index.find(query)} == expected
        assert index.count(query) == len(expected)
    for order in ("created_at", "accessed_at", "num_accepted", "size", "name"):
        expected = sorted(
            rows,
            key=lambda row: (getattr(row, order), row.request_id),
            reverse=order != "name",
        )
        pages = [index.find(RunQuery(order=order, limit=25, offset=at)) for at in (0, 25, 50, 75)]
        assert [row for page in pages for row in page] == expected
    assert index.find(RunQuery(text=rows[5].request_id[:9])) == [rows[5]]
    assert index.find(RunQuery(limit=0)) == []
    assert index.find(RunQuery(offset=10**30)) == []
    assert list(index.ids()) == sorted(row.request_id for row in rows)


def test_pages_of_many_results_come_from_indexes(tmp_path: Path) -> None:
    """No page reads all of ten thousand rows, or sorts them."""
    database = Database(f"sqlite:///{tmp_path}/index.sqlite")
    index = Index(database)
    for start in range(0, 10_000, 1000):
        index.upsert(*(make_row(number) for number in range(start, start + 1000)))
    asked: list[tuple[str, tuple[object, ...]]] = []
    sa.event.listen(
        database._engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    orders = [RunQuery(order=name) for name in ("created_at", "accessed_at", "size", "name")]
    filters = [query for query, _ in QUERIES.values()]
    for query in [*orders, *filters, RunQuery(min_accepted=8, order="num_accepted")]:
        asked.clear()
        index.find(query)
        statement, values = next(one for one in asked if "ORDER BY" in one[0])
        with database.reading() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        told = " ".join(str(step[-1]) for step in plan)
        assert "USING INDEX protein_lab_runs_" in told, (query, told)
        assert "USE TEMP B-TREE" not in told, (query, told)
    assert index.count() == 10_000
    assert index.find(RunQuery(limit=10, offset=9_995))[-1].name == "bundle 0"


@pytest.mark.parametrize(
    "bad",
    [
        RunQuery(limit=-1),
        RunQuery(offset=-5),
        RunQuery(text="a\0"),
        RunQuery(operator="\ud800"),
        msgspec.structs.replace(RunQuery(), order="seal"),
        msgspec.structs.replace(RunQuery(), limit="ten"),
    ],
)
def test_a_query_that_makes_no_sense_is_told(bad: RunQuery, tmp_path: Path) -> None:
    """The message says what was expected and what came."""
    index = Index(Database(f"sqlite:///{tmp_path}/index.sqlite"))
    for ask in (index.find, index.count):
        with pytest.raises(StoreError, match=r"Expected .* got"):
            ask(bad)


def test_reads_are_noted_in_one_go(database: Database) -> None:
    """Many reads of one result are one write, and a listing shows them."""
    index = Index(database)
    rows = [make_row(number) for number in range(30)]
    index.upsert(*rows)
    due = [index.touch(row.request_id) for _ in range(100) for row in rows]
    assert sum(due) == 1
    index.touch("unknown")
    found = index.find(RunQuery(order="accessed_at"))
    now = datetime.now(UTC)
    assert all(timedelta() <= now - row.accessed_at < timedelta(minutes=5) for row in found)


def test_neighbors_are_those_in_time(database: Database) -> None:
    """Of results of one moment, too."""
    index = Index(database)
    rows = [make_row(number, created_at=MOMENT) for number in range(5)]
    index.upsert(*rows)
    ids = sorted(row.request_id for row in rows)
    assert index.neighbors(ids[2], 1) == [ids[3], ids[1]]
    assert index.neighbors(ids[0]) == [ids[1], ids[2]]
    assert index.neighbors("unknown") == []
    assert index.usage() == sum(row.size for row in rows)


def test_threads_and_processes_change_one_row(database: Database) -> None:
    """No change of another writer is lost, and the row stays whole."""
    index, other = Index(database), Index(database)
    row = make_row(1)
    index.add(row)
    changes = [
        lambda: index.hold(row.request_id, "case 7"),
        lambda: other.set_lifecycle(row.request_id, "cold", 17),
        lambda: (index.touch(row.request_id), index.flush()),
        lambda: other.add(row),
    ]
    with ThreadPoolExecutor(4) as pool:
        for change in [pool.submit(one) for _ in range(5) for one in changes]:
            change.result()
    found = other.get(row.request_id)
    assert found is not None
    assert (found.held, found.lifecycle, found.size) == ("case 7", "cold", 17)
    assert found.accessed_at > row.accessed_at
    assert index.verify() == []
    with pytest.raises(StoreError, match="the index has none"):
        index.hold("unknown", "case 7")


def test_a_changed_row_is_noticed(database: Database) -> None:
    """What somebody wrote past the package is never taken for a row of it."""
    index = Index(database)
    rows = [make_row(number) for number in range(3)]
    index.upsert(*rows)
    for column in RUNS.columns:
        if column.name in ("request_id", "folded_name"):
            continue
        value = 7 if isinstance(column.type, sa.BigInteger) else "x"
        with database.writing() as connection:
            connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.request_id == rows[1].request_id)
                .values({column.name: value})
            )
        with pytest.raises(IntegrityError, match="reindex"):
            index.get(rows[1].request_id)
        with pytest.raises(IntegrityError, match="reindex"):
            index.find()
        assert len(index.verify()) == 1
        index.upsert(rows[1])  # what is known of it elsewhere mends it
        assert index.get(rows[1].request_id) == rows[1]


def test_tables_that_somebody_dropped_are_told(database: Database) -> None:
    """With what to do, and not as a database that does not answer."""
    index = Index(database)
    index.add(make_row(1))
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE protein_lab_run_constraints")
        connection.exec_driver_sql("DROP TABLE protein_lab_runs")
    with pytest.raises(StoreError, match="another database and run") as caught:
        index.find()
    assert not isinstance(caught.value, TierError)


def test_damaged_pages_are_noticed(tmp_path: Path) -> None:
    """Flipped bits in an SQLite file give an error or the same rows, never others."""
    path = tmp_path / "index.sqlite"
    rows = [make_row(number) for number in range(200)]
    database = Database(f"sqlite:///{path}")
    Index(database).upsert(*rows)
    expected = Index(database).find(RunQuery(limit=1000))
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    intact = path.read_bytes()
    rng = random.Random(11)
    noticed = 0
    for _ in range(60):
        damaged = bytearray(intact)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        for left in tmp_path.iterdir():
            left.unlink()
        path.write_bytes(damaged)
        again = Database(f"sqlite:///{path}")
        try:
            found = Index(again).find(RunQuery(limit=1000))
            faults = Index(again).verify()
        except StoreError:
            noticed += 1
        else:
            assert found == expected or faults
            noticed += bool(faults)
        finally:
            again.close()
    assert noticed > 10


def test_a_read_only_file_can_still_be_listed(tmp_path: Path) -> None:
    """Who may not write is told so; what can be read is."""
    path = tmp_path / "index.sqlite"
    database = Database(f"sqlite:///{path}")
    row = make_row(1)
    Index(database).add(row)
    database.close()
    place = f"file:{path}?mode=ro&uri=true"
    reader = Index(Database(f"sqlite:///{place}"))
    assert reader.find() == [row]
    with pytest.raises(StoreError, match="in which you may write") as caught:
        reader.add(make_row(2))
    assert not isinstance(caught.value, TierError)
