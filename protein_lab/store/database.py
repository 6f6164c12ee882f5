"""The database behind the store: one SQLite file, or a PostgreSQL server.

Every call ends within the timeout, also where the server hangs and answers nothing at all: limits
that only the server keeps, as ``statement_timeout``, are no help then. What goes wrong comes out as
an error of this package that names the database without its credentials.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from protein_lab.errors import IntegrityError, MissingExtraError, StoreError, TierError
from protein_lab.store.files import storing

Migration = Callable[[sa.Connection], None]
"""Takes the tables of a part from one version to the next."""

VERSIONS = sa.Table(
    "protein_lab_schema",
    sa.MetaData(),
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
"""Which tables are here, and of which version; also the mark of a database of this package."""

_LOCK = 0x70_6C_61_62  # of PostgreSQL, while tables are made; any number that is always the same
_POOL = 5
_POOL_MORE = 10
_CHECKED = "PROTEIN_LAB_STORE_DATABASE"
_SYMPTOMS: tuple[tuple[str, type[StoreError], str], ...] = (
    ("malformed", IntegrityError, "damaged"),
    ("not a database", IntegrityError, "damaged"),
    ("could not decode", IntegrityError, "damaged"),
    ("invalid page", IntegrityError, "damaged"),
    ("is full", TierError, "full"),
    ("no space left", TierError, "full"),
    ("readonly", StoreError, "read-only"),
    ("read-only", StoreError, "read-only"),
    ("unable to open", StoreError, "read-only"),
    ("permission denied", StoreError, "rights"),
    ("password", StoreError, "login"),
    ("authentication", StoreError, "login"),
    ("role ", StoreError, "login"),
    ("relation ", StoreError, "tables"),
    ("no such table", StoreError, "tables"),
    ("no such column", StoreError, "tables"),
    ("does not exist", StoreError, "missing"),
    ("closed database", TierError, "down"),
)
_REMEDIES = {
    "damaged": "Move the file away and run `protein-lab store reindex`; results are not in it.",
    "full": "Free some space there, and run the same command again.",
    "read-only": f"Set {_CHECKED} to a place in which you may write.",
    "rights": "Grant the user the right to create and change tables there.",
    "login": f"Check user and password in {_CHECKED}.",
    "tables": f"Set {_CHECKED} to another database and run `protein-lab store reindex`.",
    "missing": f"Create the database, or check its name in {_CHECKED}.",
    "down": "See that the database runs and can be reached, then repeat the command.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Tables of one part of the package.

    Attributes
    ----------
    part : str
        Name of the part, as ``store``.
    version : int
        Counts up with every change of the tables.
    tables : MetaData
        The tables as this version has them.
    migrations : mapping of int to callable
        By the version that each begins from.
    """

    part: str
    version: int
    tables: sa.MetaData
    migrations: Mapping[int, Migration] = field(default_factory=dict)


class Database:
    """Connections to one database; all threads may use it.

    Parameters
    ----------
    url : str
        As ``sqlite:///FILE`` or ``postgresql+psycopg://USER@HOST/NAME``.
    timeout : float
        Seconds that a call may take.

    Raises
    ------
    StoreError
        When the URL is none, or names a database of another kind.
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self._url = _parse(url)
        self.timeout = timeout
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.place = _place(self._url)
        self._limit = threading.local()
        self._prepared: set[str] = set()
        self._alone: Any = nullcontext()
        self._engine = self._sqlite_engine() if self.is_sqlite else self._postgresql_engine()
        _leave_to_parent(weakref.WeakMethod(self._forget_connections))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a connection that only reads; each statement sees what is committed by then.

        Raises
        ------
        TierError
            When the database does not answer in time.
        StoreError
            When it cannot be used as it is.
        """
        # a transaction would be two more trips to the server
        level = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        with self._transaction(self._engine.execution_options(**level)) as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """Open a transaction that writes; see :meth:`reading`.

        Parameters
        ----------
        durable : bool
            Whether no crash may lose it once the block has ended. Copies need not wait for the
            disk; what they leave is whole in any case.
        """
        engine = self._engine.execution_options(writes=True, durable=durable)
        with self._transaction(engine) as connection:
            if not durable and not self.is_sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def insert(self, table: sa.Table) -> Any:
        """Begin an ``INSERT`` that can say what happens on conflict."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    @functools.cached_property
    def now(self) -> sa.ColumnElement[float]:
        """Seconds since 1970 by the clock of the database."""
        if self.is_sqlite:
            days = sa.func.julianday("now", type_=sa.Float)
            return (days - 2440587.5) * 86_400.0
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)

    def prepare(self, schema: Schema) -> None:
        """Make the tables of a part, or see that they are of this version.

        Raises
        ------
        TierError
            When the database does not answer in time.
        StoreError
            When it belongs to something else, or was written by a newer version.
        """
        if schema.part in self._prepared:
            return
        with self.reading() as connection:
            is_current = self._version(connection, schema.part) == schema.version
        if not is_current:
            with self.writing() as connection:
                self._build(connection, schema)
        self._prepared.add(schema.part)

    def close(self) -> None:
        """Let go of all connections."""
        with self._alone:
            self._engine.dispose()

    def _forget_connections(self) -> None:
        """Open new connections from now on; those from before belong to another process."""
        self._engine.dispose(close=False)

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """Give a connection, and the time that its work may take."""
        outer = getattr(self._limit, "at", None)
        self._limit.at = outer if outer is not None else monotonic() + self.timeout
        try:
            with self._alone, engine.begin() as connection:
                yield connection
        except exc.TimeoutError as error:
            raise TierError(
                f"Expected a free connection to {self.place} within {self.timeout:g} s.",
                _REMEDIES["down"],
            ) from error
        except exc.DBAPIError as error:
            raise self._explained(error) from error
        finally:
            self._limit.at = outer

    def _version(self, connection: sa.Connection, part: str) -> int | None:
        """Read the version of a part; None where it has no tables.

        Raises
        ------
        StoreError
            When the database belongs to something else.
        """
        found = sa.inspect(connection).get_table_names()
        if VERSIONS.name not in found:
            if found:
                raise StoreError(
                    f"Expected an empty database, or one of protein_lab, at {self.place}; "
                    f"it holds {', '.join(sorted(found)[:4])}.",
                    f"Set {_CHECKED} to a database of its own.",
                )
            return None
        return connection.execute(
            sa.select(VERSIONS.c.version).where(VERSIONS.c.part == part)
        ).scalar()

    def _build(self, connection: sa.Connection, schema: Schema) -> None:
        """Bring the tables of a part to its version; of several processes one does it."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        found = self._version(connection, schema.part)
        if found is None:
            VERSIONS.create(connection, checkfirst=True)
            schema.tables.create_all(connection)
            row = {"part": schema.part, "version": schema.version}
            connection.execute(self.insert(VERSIONS).values(row))
            return
        if found > schema.version:
            raise StoreError(
                f"Expected tables of version {schema.version} at {self.place}; a newer protein_lab "
                f"wrote version {found}.",
                "Install that version of protein_lab, or use another database.",
            )
        for version in range(found, schema.version):
            if version not in schema.migrations:
                raise StoreError(
                    f"Expected tables of version {schema.version} at {self.place}; those of "
                    f"version {version} cannot be brought up to date.",
                    "Use another database and run `protein-lab store reindex`.",
                )
            schema.migrations[version](connection)
        connection.execute(
            sa.update(VERSIONS).where(VERSIONS.c.part == schema.part).values(version=schema.version)
        )

    def _explained(self, error: exc.DBAPIError) -> StoreError:
        """Say what a driver's error means, without what it may tell of credentials."""
        reason = " ".join(str(error.orig).split()) or type(error.orig).__name__
        for secret in (self._url.password, *self._url.query.values()):
            if isinstance(secret, str) and secret:
                reason = reason.replace(secret, "***")
        kind, word = TierError, "down"
        for symptom, its_kind, its_word in _SYMPTOMS:
            if symptom in reason.lower():
                kind, word = its_kind, its_word
                break
        return kind(f"The database {self.place} failed: {reason[:300]}.", _REMEDIES[word])

    def _sqlite_engine(self) -> sa.Engine:
        options: dict[str, Any] = {"connect_args": {"timeout": self.timeout}}
        if self._url.database in (None, "", ":memory:"):
            # all threads share the one connection that holds the data, one after the other
            options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
            self._alone = threading.RLock()
        else:
            folder = Path(self._url.database or "").parent
            with storing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            options |= {"pool_size": _POOL, "max_overflow": _POOL_MORE}
            options |= {"pool_timeout": self.timeout}
        engine = sa.create_engine(self._url, hide_parameters=True, **options)
        event.listen(engine, "connect", _open_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql_engine(self) -> sa.Engine:
        try:
            from protein_lab.store.postgresql import LimitedConnection
        except ImportError as error:
            raise MissingExtraError("psycopg", "stack") from error
        milliseconds = round(self.timeout * 1000)
        limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        engine = sa.create_engine(
            self._url, hide_parameters=True, pool_pre_ping=True, pool_size=_POOL,
            max_overflow=_POOL_MORE, pool_timeout=self.timeout,
            connect_args={"options": limits, "application_name": "protein_lab"},
        )  # fmt: skip
        connect = functools.partial(LimitedConnection.open, self._remaining)
        event.listen(engine, "do_connect", lambda _dialect, _record, _args, given: connect(given))
        return engine

    def _remaining(self) -> float:
        """Seconds that are left for the work of this thread."""
        limit = getattr(self._limit, "at", None)
        return self.timeout if limit is None else limit - monotonic()


def _leave_to_parent(forget: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Keep a process that is forked from talking on the connections of its parent."""

    def after_fork() -> None:
        method = forget()
        if method is not None:
            method()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        name = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError, TypeError) as error:
        raise StoreError(
            "Expected the URL of a database, as sqlite:///FILE or postgresql+psycopg://HOST/NAME.",
            f"Correct {_CHECKED}.",
        ) from error
    if name not in ("sqlite", "postgresql", "postgres"):
        raise StoreError(
            f"Expected an SQLite or PostgreSQL database, got one of the kind {name!r}.",
            f"Set {_CHECKED} to sqlite:///FILE or postgresql+psycopg://HOST/NAME.",
        )
    return parsed.set(drivername="sqlite" if name == "sqlite" else "postgresql+psycopg")


def _place(url: sa.URL) -> str:
    """Name a database without its user, password and options."""
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{url.host or 'localhost'}{port}/{url.database or ''}"


def _open_sqlite(connection: Any, _record: Any) -> None:
    """Set up a new connection: transactions are begun by us, and a commit is on the disk."""
    connection.isolation_level = None
    cursor = connection.cursor()
    with suppress(sqlite3.OperationalError):
        # a file that cannot be written can still be read
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction; one that writes waits for others now, where it can still wait."""
    options = connection.get_execution_options()
    if options.get("writes", False):
        mode = "FULL" if options["durable"] else "NORMAL"
        connection.exec_driver_sql(f"PRAGMA synchronous = {mode}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
