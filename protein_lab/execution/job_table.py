"""Accepted requests in a database: committed before anybody is told, and never lost.

Whoever answers a job holds it by a lease. Leases are kept without any clock that could jump: the
holder counts a number up, and one who sees it stand still for the length of a lease, on a clock
of its own that never goes back, may take the job over. A job that ends its process again and
again is given up with that reason instead of ending the next one.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import (
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    case,
    select,
    update,
)

from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.errors import InvalidRequestError, StoreError
from protein_lab.store.database import Database, Schema
from protein_lab.store.entries import Clock

Status = Literal["queued", "running", "done", "failed", "cancelled"]

LEASE_SECONDS: Final = 15.0
"""A job whose holder gives no sign of life for so long is taken over."""
MAX_ATTEMPTS: Final = 3
"""So many processes in a row may end over a job before it is given up."""

_PAGE: Final = 16
_STATUSES: Final = ", ".join(f"'{status}'" for status in get_args(Status))
_JOBS: Final = Table(
    "jobs",
    MetaData(),
    Column("id", String(200), primary_key=True),
    Column("request", Text, nullable=False),
    Column("status", String(16), CheckConstraint(f"status IN ({_STATUSES})"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("finished", Integer, nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    Column("holder", String(200)),
    Column("beat", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False, index=True),
)
_SCHEMA: Final = Schema(part="jobs", version=1, tables=_JOBS.metadata)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request.

    Attributes
    ----------
    id : str
        Request id; the same question with the same weights is the same job.
    request : DesignRequest
        The question.
    status : {"queued", "running", "done", "failed", "cancelled"}
        Where it stands.
    priority : int
        Of two queued jobs the one with the higher number goes first.
    finished : int
        Number of designs that are made.
    error : str or None
        Why it failed, or what a queued one waits for.
    attempts : int
        Processes that began it since it last got on by a design.
    created_at, updated_at : str
        ISO 8601 in UTC.
    """

    id: str
    request: DesignRequest
    status: Status
    priority: int
    finished: int
    error: str | None
    attempts: int
    created_at: str
    updated_at: str


class JobTable:
    """The table of jobs, for any number of processes and threads.

    Parameters
    ----------
    database : Database
        Where it is; made when missing.
    lease : float
        Seconds without a sign of life after which a job is taken over.
    max_attempts : int
        Processes in a row that may end over a job.
    clock : callable
        Measures the lease.

    Raises
    ------
    TierError
        When the database does not answer.
    StoreError
        When it cannot be used, or its table is that of a newer version.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease: float = LEASE_SECONDS,
        max_attempts: int = MAX_ATTEMPTS,
        clock: Clock = time.monotonic,
    ) -> None:
        self.lease = lease
        self.max_attempts = max_attempts
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._database = database
        database.prepare(_SCHEMA)

    def add(self, identity: str, request: DesignRequest, priority: int = 0) -> Job:
        """Commit a job; one that is there stays as it is, unless it failed or was cancelled.

        Parameters
        ----------
        identity : str
            Request id.
        request : DesignRequest
            The question.
        priority : int
            Higher goes first.
        """
        now = _now()
        statement = self._database.insert(_JOBS).values(
            id=identity,
            request=request.canonical().decode(),
            status="queued",
            priority=priority,
            finished=0,
            attempts=0,
            beat=0,
            created_at=now,
            updated_at=now,
        )
        with self._database.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[_JOBS.c.id],
                    set_=_queued(finished=0),
                    where=_JOBS.c.status.in_(["failed", "cancelled"]),
                )
            )
            return _job(connection.execute(_by_id(identity)).one())

    def find(self, identity: str) -> Job | None:
        """Look a job up."""
        with self._database.reading() as connection:
            found = connection.execute(_by_id(identity)).one_or_none()
        return None if found is None else _job(found)

    def reopen(self, identity: str) -> Job | None:
        """Queue a job again that is done but whose result is gone."""
        with self._database.writing() as connection:
            connection.execute(
                update(_JOBS)
                .where(_JOBS.c.id == identity, _JOBS.c.status == "done")
                .values(_queued(finished=0))
            )
        return self.find(identity)

    def cancel(self, identity: str) -> Job | None:
        """End a job that is queued or running; its holder stops after the design in work."""
        with self._database.writing() as connection:
            connection.execute(
                update(_JOBS)
                .where(_JOBS.c.id == identity, _JOBS.c.status.in_(["queued", "running"]))
                .values(status="cancelled", holder=None, beat=_JOBS.c.beat + 1, updated_at=_now())
            )
        return self.find(identity)

    def claim(self) -> Job | None:
        """Take an abandoned job, or else the first of the queue; None when there is neither.

        A table holds one job at a time: what it held before and did not give back counts as
        abandoned.
        """
        for row in [*self.abandoned(), *self._queue()]:
            try:
                if row.attempts >= self.max_attempts and row.holder != self.holder:
                    raise StoreError(
                        f"{row.attempts} processes in a row ended while they answered this.",
                        "Ask for fewer or smaller designs, or see the log of the service for why; "
                        "then post the request again.",
                    )
                job = _job(row)
            except (StoreError, InvalidRequestError) as error:
                # It must neither end the next process nor keep the jobs behind it waiting.
                self._take(row, status="failed", holder=None, error=str(error))
                continue
            attempts = row.attempts + (row.holder != self.holder)
            if self._take(row, status="running", holder=self.holder, attempts=attempts, error=None):
                return msgspec.structs.replace(job, status="running", attempts=attempts, error=None)
        return None

    def abandoned(self) -> Sequence[Any]:
        """Look at the running jobs, and give those whose holders show no sign of life."""
        with self._database.reading() as connection:
            running = connection.execute(
                select(_JOBS).where(_JOBS.c.status == "running").order_by(_JOBS.c.updated_at)
            ).all()
        now = self._clock()
        with self._lock:
            # only what runs is remembered, and since when it has had the number it has now
            known, self._seen = self._seen, {}
            for row in running:
                beat, since = known.get(row.id, (row.beat, now))
                self._seen[row.id] = (row.beat, since if beat == row.beat else now)
            return [
                row
                for row in running
                if row.holder in (None, self.holder) or now - self._seen[row.id][1] > self.lease
            ]

    def renew(self, identity: str) -> bool:
        """Give a sign of life; False when the job is not ours any more."""
        return self._change(identity, beat=_JOBS.c.beat + 1)

    def note(self, identity: str, finished: int) -> bool:
        """Commit how many designs are made; False when the job is not ours any more.

        One more than before shows that its attempts get somewhere, and they count anew.
        """
        is_more = _JOBS.c.finished < finished
        return self._change(
            identity,
            beat=_JOBS.c.beat + 1,
            finished=case((is_more, finished), else_=_JOBS.c.finished),
            attempts=case((is_more, 0), else_=_JOBS.c.attempts),
            updated_at=_now(),
        )

    def finish(
        self,
        identity: str,
        status: Literal["done", "failed"],
        finished: int | None = None,
        error: str | None = None,
    ) -> bool:
        """Commit how a job ended; ``finished`` stays when it is None."""
        count = {} if finished is None else {"finished": finished}
        return self._change(
            identity,
            status=status,
            error=error,
            holder=None,
            beat=_JOBS.c.beat + 1,
            updated_at=_now(),
            **count,
        )

    def release(self, identity: str) -> bool:
        """Let go of a job, so that whoever comes next goes on with it at once."""
        return self._change(identity, holder=None, attempts=0, beat=_JOBS.c.beat + 1)

    def postpone(self, identity: str, error: str) -> bool:
        """Give a job back to the queue, behind the others; ``error`` says what it waits for."""
        return self._change(identity, **_queued(error=error))

    def ping(self) -> None:
        """Write to the table and take it back, to see that both work.

        Raises
        ------
        TierError
            When it does not.
        """
        with self._database.writing() as connection:
            connection.execute(update(_JOBS).where(_JOBS.c.id == "").values(beat=0))
            connection.execute(select(_JOBS.c.id).limit(1)).first()

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()

    def _queue(self) -> Sequence[Any]:
        with self._database.reading() as connection:
            return list(
                connection.execute(
                    select(_JOBS)
                    .where(_JOBS.c.status == "queued")
                    .order_by(_JOBS.c.priority.desc(), _JOBS.c.updated_at, _JOBS.c.id)
                    .limit(_PAGE)
                )
            )

    def _take(self, row: Any, **values: Any) -> bool:
        """Change a job unless somebody else did so since it was read."""
        with self._database.writing() as connection:
            taken = connection.execute(
                update(_JOBS)
                .where(_JOBS.c.id == row.id, _JOBS.c.beat == row.beat, _JOBS.c.status == row.status)
                .values(beat=row.beat + 1, updated_at=_now(), **values)
            )
        return taken.rowcount == 1

    def _change(self, identity: str, **values: Any) -> bool:
        """Change a job that we hold."""
        with self._database.writing() as connection:
            changed = connection.execute(
                update(_JOBS)
                .where(
                    _JOBS.c.id == identity,
                    _JOBS.c.holder == self.holder,
                    _JOBS.c.status == "running",
                )
                .values(**values)
            )
        return changed.rowcount == 1


def _queued(error: str | None = None, **values: Any) -> dict[str, Any]:
    """Values of a job that waits, with its attempts forgotten."""
    return {
        "status": "queued",
        "error": error,
        "holder": None,
        "attempts": 0,
        "beat": _JOBS.c.beat + 1,
        "updated_at": _now(),
        **values,
    }


def _by_id(identity: str) -> Any:
    return select(_JOBS).where(_JOBS.c.id == identity)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        request=decode_request(row.request),
        status=row.status,
        priority=row.priority,
        finished=row.finished,
        error=row.error,
        attempts=row.attempts,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
