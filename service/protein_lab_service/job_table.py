"""Jobs in a SQLite file: committed before anybody is told that a request was accepted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.errors import InvalidRequestError, ProteinLabError

Status = Literal["queued", "running", "done", "failed"]

_BUSY_SECONDS: Final = 30.0
_STATUSES: Final = ", ".join(f"'{status}'" for status in get_args(Status))
_TABLE: Final = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ({_STATUSES})),
    finished INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)
"""
_COLUMNS: Final = "id, request, status, finished, error, created_at, updated_at"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request.

    Attributes
    ----------
    id : str
        Request id; the same question with the same weights is the same job.
    request : DesignRequest
        The question.
    status : {"queued", "running", "done", "failed"}
        Where it stands.
    finished : int
        Number of designs that are made.
    error : str or None
        Why it failed.
    created_at, updated_at : str
        ISO 8601 in UTC.
    """

    id: str
    request: DesignRequest
    status: Status
    finished: int
    error: str | None
    created_at: str
    updated_at: str


class JobTable:
    """The table of jobs in a SQLite file.

    Every call opens its own connection, so that all threads may use one table.

    Parameters
    ----------
    path : Path or str
        The database; made when missing.

    Raises
    ------
    ProteinLabError
        When it cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ProteinLabError(
                f"Expected a SQLite database at {self.path}, but {error}.",
                "Set PROTEIN_LAB_STORE_DATABASE to a writable file.",
            ) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection whose changes are durable when the block ends."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection, connection:
            connection.execute("PRAGMA synchronous = FULL")
            yield connection

    def add(self, identity: str, request: DesignRequest) -> Job:
        """Commit a job; one that is there stays as it is, unless it failed: then it is retried."""
        now = _now()
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO jobs (id, request, status, created_at, updated_at) "
                "VALUES (?, ?, 'queued', ?, ?) ON CONFLICT (id) DO UPDATE SET "
                "status = 'queued', error = NULL, updated_at = excluded.updated_at "
                "WHERE status = 'failed'",
                (identity, request.canonical().decode(), now, now),
            )
            row = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (identity,))
            return _job(row.fetchone())

    def find(self, identity: str) -> Job | None:
        """Look a job up."""
        with self._connection() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (identity,))
            found = row.fetchone()
        return None if found is None else _job(found)

    def next(self) -> Job | None:
        """Take the oldest job that is not finished, one that a crash cut off included."""
        while (found := self._oldest()) is not None:
            try:
                return _job(found)
            except InvalidRequestError as error:
                # Another version wrote it; it must not keep the jobs behind it waiting.
                self.update(found[0], "failed", error=str(error))
        return None

    def _oldest(self) -> Any:
        with self._connection() as connection:
            return connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE status IN ('queued', 'running') "
                "ORDER BY status = 'queued', updated_at, rowid LIMIT 1"
            ).fetchone()

    def update(
        self, identity: str, status: Status, finished: int | None = None, error: str | None = None
    ) -> None:
        """Commit where a job stands; ``finished`` stays when it is None."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE jobs SET status = ?, finished = coalesce(?, finished), error = ?, "
                "updated_at = ? WHERE id = ?",
                (status, finished, error, _now(), identity),
            )

    def ping(self) -> None:
        """Read and lock the table for writing, to see that both work.

        Raises
        ------
        sqlite3.Error
            When they do not.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM jobs").fetchone()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _job(row: tuple[str, str, Status, int, str | None, str, str]) -> Job:
    identity, request, status, finished, error, created_at, updated_at = row
    return Job(
        id=identity,
        request=decode_request(request),
        status=status,
        finished=finished,
        error=error,
        created_at=created_at,
        updated_at=updated_at,
    )
