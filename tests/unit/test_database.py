"""The database of the store: tiers and index on SQLite and PostgreSQL alike, and their faults."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.database import Database, Schema
from protein_lab.store.database_tables import ENTRIES, STORE_SCHEMA
from protein_lab.store.database_tier import DatabaseTier
from protein_lab.store.entries import Entry, pack_entry
from tests.servers import MissingServerError, PostgresServer, postgres_server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/index.sqlite"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.make_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Connect to it."""
    made = Database(url)
    yield made
    made.close()


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.at


def make_tier(database: Database, **options: object) -> DatabaseTier:
    """Make a small tier."""
    given: dict[str, object] = {"ttl": 60.0, "capacity": 1_000_000, **options}
    return DatabaseTier(database, **given)  # type: ignore[arg-type]


def entry(key: str = "a", version: int = 1, value: bytes = b"v", **more: float) -> Entry:
    """Make an entry."""
    return Entry(key=key, value=value, version=version, **more)  # type: ignore[arg-type]


class TestTier:
    """Entries keep to the rules of every tier."""

    def test_gives_back_what_was_put(self, database: Database) -> None:
        """Gives back what was put."""
        tier = make_tier(database)
        assert tier.get("a") is None
        value = bytes(range(256)) * 40
        assert tier.put(entry(value=value, version=2**62))
        found = tier.get("a")
        assert found is not None
        assert (found.key, found.value, found.version) == ("a", value, 2**62)
        assert 0 < (found.remaining or 0) <= 60
        assert list(tier.keys()) == ["a"]
        assert tier.usage() == len(pack_entry(found))
        tier.delete("a")
        tier.delete("a")
        assert tier.get("a") is None
        assert tier.usage() == 0

    def test_a_newer_value_stays(self, database: Database) -> None:
        """A newer value stays."""
        tier = make_tier(database)
        assert tier.put(entry(version=2, value=b"new"))
        assert not tier.put(entry(version=1, value=b"old"))
        assert not tier.put(entry(version=2, value=b"new", remaining=5.0))
        assert tier.put(entry(version=3, value=b"newer", remaining=5.0))
        assert tier.put(entry(version=3, value=b"newer", remaining=50.0))
        found = tier.get("a")
        assert found is not None
        assert found.value == b"newer"
        assert (found.remaining or 0) > 40

    def test_lives_end_to_the_second(self, database: Database) -> None:
        """Lives end to the second."""
        clock = Hand()
        tier = make_tier(database, clock=clock)
        tier.put(entry("whole"))
        tier.put(entry("short", remaining=10.0))
        assert not tier.put(entry("over", remaining=0.0))
        clock.at += 9.9
        found = tier.get("short")
        assert found is not None
        assert found.remaining == pytest.approx(0.1)
        clock.at += 0.2
        assert tier.get("short") is None
        clock.at += 49.8
        assert list(tier.keys()) == ["whole"]
        clock.at += 0.2
        assert tier.get("whole") is None
        assert tier.put(entry("whole", version=0))  # what is over keeps nobody out

    def test_a_clock_that_jumps_back_lengthens_no_life(self, database: Database) -> None:
        """A clock that jumps back lengthens no life."""
        clock = Hand()
        tier = make_tier(database, clock=clock)
        tier.put(entry())
        clock.at -= 3600
        assert tier.get("a") is None

    def test_the_clock_is_that_of_the_database(self, database: Database) -> None:
        """The clock is that of the database."""
        with database.reading() as connection:
            now = connection.execute(sa.select(database.now)).scalar_one()
        assert abs(now - time.time()) < 60
        tier = make_tier(database, ttl=0.3)
        tier.put(entry())
        assert tier.get("a") is not None
        time.sleep(0.4)
        assert tier.get("a") is None

    def test_what_nobody_read_goes_first(self, database: Database) -> None:
        """What nobody read goes first."""
        clock = Hand()
        size = len(pack_entry(entry("00", value=bytes(1000))))
        tier = make_tier(database, capacity=10 * size, clock=clock)
        for number in range(10):
            clock.at += 1
            tier.put(entry(f"{number:02d}", value=bytes(1000)))
        clock.at += 1
        assert tier.get("00") is not None
        clock.at += 1
        tier.put(entry("10", value=bytes(1000)))
        kept = list(tier.keys())
        assert tier.usage() <= 10 * size
        assert "00" in kept
        assert "10" in kept
        assert "01" not in kept

    def test_never_holds_more_than_its_capacity(self, database: Database) -> None:
        """Never holds more than its capacity."""
        tier = make_tier(database, capacity=20_000)
        for number in range(60):
            tier.put(entry(f"{number}", value=bytes(100 + 37 * number)))
            assert tier.usage() <= 20_000
        assert tier.get("59") is not None
        assert not tier.put(entry("59", version=2, value=bytes(30_000)))
        assert tier.get("59") is None  # nor does an old value stay in place of a new one

    def test_who_is_late_does_not_bring_back_what_was_deleted(self, database: Database) -> None:
        """A buried entry is refused for a while, and a newer one is not."""
        clock = Hand()
        tier = make_tier(database, clock=clock)
        late = entry(version=time.time_ns())
        tier.put(late)
        tier.bury("a")
        tier.bury("a")
        assert tier.get("a") is None
        assert list(tier.keys()) == []
        assert tier.usage() == 0
        assert not tier.put(late)
        assert tier.put(entry(version=time.time_ns()))
        ahead = entry(version=time.time_ns() + 10**15)
        tier.put(ahead)
        tier.bury("a")
        assert not tier.put(ahead)
        clock.at += 61
        assert tier.put(late)

    def test_damage_is_noticed(self, database: Database) -> None:
        """Damage is noticed."""
        tier = make_tier(database)
        tier.put(entry(value=b"right"))
        other = pack_entry(entry("b", value=b"right"))
        with database.writing() as connection:
            connection.execute(sa.update(ENTRIES).values(data=other))
        with pytest.raises(IntegrityError):
            tier.get("a")

    def test_the_newest_of_many_threads_wins(self, database: Database) -> None:
        """The newest of many threads wins."""
        tier = make_tier(database)
        versions = [(7 * number) % 40 for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda v: tier.put(entry(version=v, value=b"%d" % v)), versions))
        found = tier.get("a")
        assert found is not None
        assert (found.version, found.value) == (39, b"39")

    def test_a_forked_process_has_connections_of_its_own(self, database: Database) -> None:
        """Parent and child never get each other's answers."""
        tier = make_tier(database)
        tier.put(entry("parent", value=b"parent"))
        assert tier.get("parent") is not None
        child = multiprocessing.get_context("fork").Process(target=_use, args=(tier, "child"))
        child.start()
        _use(tier, "parent")
        child.join(120)
        assert child.exitcode == 0

    def test_the_newest_of_many_processes_wins(self, database: Database, url: str) -> None:
        """The newest of many processes wins."""
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, str(start)])
            for start in (0, 1, 2)
        ]  # fmt: skip
        try:
            codes = [writer.wait(120) for writer in writers]
        finally:
            for writer in writers:
                writer.kill()
        assert codes == [0, 0, 0]
        tier = make_tier(database)
        found = tier.get("a")
        assert found is not None
        assert (found.version, found.value) == (59, b"59")


def _use(tier: DatabaseTier, key: str) -> None:
    for number in range(50):
        tier.put(entry(key, version=number + 10, value=b"%d" % number))
        found = tier.get(key)
        assert found is not None
        assert found.value == b"%d" % number


WRITER = """
import sys
from protein_lab.store.database import Database
from protein_lab.store.database_tier import DatabaseTier
from protein_lab.store.entries import Entry
tier = DatabaseTier(Database(sys.argv[1], 60.0), ttl=600.0, capacity=10**6)
order = [version for version in range(60) if version % 3 == int(sys.argv[2])]
for version in [*order, *reversed(order)]:
    tier.put(Entry(key="a", value=b"%d" % version, version=version))
"""


class TestSchema:
    """Tables are of one version, and of this package."""

    def test_threads_that_open_an_empty_database_agree(self, url: str) -> None:
        """Threads that open an empty database agree."""
        made = [Database(url, 30.0) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: one.prepare(STORE_SCHEMA), made))
        assert all(make_tier(one).usage() == 0 for one in made)
        for one in made:
            one.close()

    def test_a_newer_one_is_refused(self, database: Database, url: str) -> None:
        """A newer one is refused."""
        newer = Schema(part="store", version=99, tables=STORE_SCHEMA.tables)
        database.prepare(newer)
        other = Database(url)
        with pytest.raises(StoreError, match=r"newer protein_lab wrote version 99.*Install"):
            other.prepare(STORE_SCHEMA)
        other.close()

    def test_an_older_one_is_brought_up_to_date_or_refused(self, url: str) -> None:
        """An older one is brought up to date or refused."""
        tables = sa.MetaData()
        sa.Table("protein_lab_test", tables, sa.Column("a", sa.Integer))
        first = Schema(part="test", version=1, tables=tables)
        one, two, three = (Database(url) for _ in range(3))
        one.prepare(first)
        second = Schema(part="test", version=2, tables=tables)
        with pytest.raises(StoreError, match="version 1 cannot be brought up to date"):
            two.prepare(second)

        def add_column(connection: sa.Connection) -> None:
            connection.execute(sa.text("ALTER TABLE protein_lab_test ADD COLUMN b INTEGER"))

        two.prepare(Schema(part="test", version=2, tables=tables, migrations={1: add_column}))
        with three.reading() as connection:
            columns = sa.inspect(connection).get_columns("protein_lab_test")
        assert [column["name"] for column in columns] == ["a", "b"]
        three.prepare(second)
        for database in (one, two, three):
            database.close()

    def test_a_foreign_database_is_refused(self, database: Database) -> None:
        """A foreign database is refused."""
        with database.writing() as connection:
            connection.execute(sa.text("CREATE TABLE accounts (id INTEGER)"))
        with pytest.raises(StoreError, match=r"holds accounts.*database of its own"):
            database.prepare(STORE_SCHEMA)


class TestFaults:
    """What goes wrong is told in time, with a remedy and without a credential."""

    @pytest.mark.parametrize(
        "bad",
        ["", "nonsense", "mysql://u:secret@h/d", "http://h:secret/x", "postgresql://u:s@h:x/"],
    )
    def test_what_is_no_database_is_refused(self, bad: str) -> None:
        """What is no database is refused."""
        with pytest.raises(StoreError, match="PROTEIN_LAB_STORE_DATABASE") as caught:
            Database(bad)
        assert "secret" not in str(caught.value)

    def test_a_wrong_password_is_told_without_it(self, postgres: PostgresServer) -> None:
        """A wrong password is told without it."""
        database = Database(postgres.url(password="hunter2"))
        with pytest.raises(StoreError, match="Check user and password") as caught:
            database.prepare(STORE_SCHEMA)
        assert "hunter2" not in str(caught.value)
        assert not isinstance(caught.value, TierError)

    def test_a_missing_database_is_told(self, postgres: PostgresServer) -> None:
        """A missing database is told."""
        database = Database(postgres.url("nowhere"))
        with pytest.raises(StoreError, match="Create the database"):
            database.prepare(STORE_SCHEMA)

    def test_a_server_that_is_not_there_is_told(self) -> None:
        """A server that is not there is told."""
        database = Database("postgresql+psycopg://u:secret@127.0.0.1:9/d")
        with pytest.raises(TierError, match="See that the database runs") as caught:
            database.prepare(STORE_SCHEMA)
        assert "secret" not in str(caught.value)

    def test_a_server_that_hangs_or_dies_keeps_nobody(self) -> None:
        """A server that hangs or dies keeps nobody."""
        try:
            with postgres_server() as server:
                database = Database(server.url(), 2.0)
                tier = make_tier(database)
                tier.put(entry())
                server.pause()
                for _ in range(3):
                    began = time.monotonic()
                    with pytest.raises(TierError):
                        tier.get("a")
                    assert time.monotonic() - began < 20
                server.resume()
                assert tier.get("a") is not None
                server.kill()
                with pytest.raises(TierError):
                    tier.get("a")
                server.start()
                assert tier.get("a") is not None
                database.close()
        except MissingServerError as error:
            pytest.skip(str(error))

    def test_a_busy_file_is_told_in_time(self, tmp_path: Path) -> None:
        """A busy file is told in time."""
        path = tmp_path / "index.sqlite"
        database = Database(f"sqlite:///{path}", 0.3)
        tier = make_tier(database)
        tier.put(entry())
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(TierError, match="locked"):
            tier.put(entry(version=2))
        assert tier.get("a") is not None  # who reads waits for no writer
        blocker.execute("ROLLBACK")
        blocker.close()
        assert tier.put(entry(version=2))

    def test_a_file_that_is_no_database_is_told(self, tmp_path: Path) -> None:
        """A file that is no database is told."""
        path = tmp_path / "index.sqlite"
        path.write_bytes(b"no database at all " * 100)
        with pytest.raises(IntegrityError, match=r"not a database.*reindex"):
            Database(f"sqlite:///{path}").prepare(STORE_SCHEMA)
        with pytest.raises(StoreError, match="place in which you may write"):
            Database(f"sqlite:///{tmp_path}").prepare(STORE_SCHEMA)
        with pytest.raises(StoreError, match="Cannot write"):
            Database(f"sqlite:///{path}/below/index.sqlite")

    def test_a_file_is_flushed_with_every_commit(self, tmp_path: Path) -> None:
        """A file is flushed with every commit."""
        database = Database(f"sqlite:///{tmp_path}/index.sqlite")
        asked = ("journal_mode", "synchronous", "foreign_keys")
        for durable, mode in ((True, 2), (False, 1), (True, 2)):
            with database.writing(durable=durable) as connection:
                found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
            assert found == ["wal", mode, 1]
