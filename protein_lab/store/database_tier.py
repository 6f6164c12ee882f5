"""Copies of results in the database: they outlive the process, and other machines see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from protein_lab.store.database import Database
from protein_lab.store.database_tables import ENTRIES, STORE_SCHEMA
from protein_lab.store.entries import Clock, Entry, pack_entry, unpack_entry

_FULL = 0.9  # of the capacity is left after room was made, so that it is not made at every turn
_WRITERS = 16  # that may fill one database at once and stay within its capacity
_BATCH = 256
_MOST_READS = 1024
GRAVE_SECONDS = 60.0
"""How long a deleted entry is refused; longer than any reader holds on to one."""

_EVICTION_LOCK = 0x70_6C_65_76  # of PostgreSQL; any number that is always the same


class DatabaseTier:
    """Entries in a table; see :class:`protein_lab.store.entries.Tier`.

    Parameters
    ----------
    database : Database
        Where they are.
    ttl : float
        Seconds that an entry lives at most, by the clock of the database.
    capacity : int
        Bytes; the entries that nobody read for longest go first.
    clock : callable or None
        Takes the place of the database's clock.
    """

    def __init__(
        self, database: Database, *, ttl: float, capacity: int, clock: Clock | None = None
    ) -> None:
        self.name = "database"
        self.ttl, self.capacity = ttl, capacity
        self._database = database
        self._clock = clock
        self._reads: set[str] = set()
        self._room = 0.0  # bytes that may be written before usage is looked at again
        self._lock = threading.Lock()
        now: sa.ColumnElement[Any] = database.now
        if clock is not None:
            now = sa.bindparam("now", type_=sa.Double)
        # made once: saying it again takes longer than to look the entry up
        self._get = sa.select(ENTRIES.c.data, ENTRIES.c.expires_at - now).where(
            ENTRIES.c.key == sa.bindparam("asked"), _is_entry(now)
        )

    def get(self, key: str) -> Entry | None:
        """Read an entry that lives; see :meth:`protein_lab.store.entries.Tier.get`."""
        self._database.prepare(STORE_SCHEMA)
        asked = {"asked": key} if self._clock is None else {"asked": key, "now": self._clock()}
        with self._database.reading() as connection:
            row = connection.execute(self._get, asked).first()
        if row is None:
            return None
        entry = unpack_entry(key, row[0], float(row[1]))
        with self._lock:
            self._reads.add(key)
            is_many = len(self._reads) >= _MOST_READS
        if is_many:
            self._note_reads()
        return entry

    def put(self, entry: Entry) -> bool:
        """Keep an entry unless a newer one is there; see :meth:`.Tier.put`."""
        self._database.prepare(STORE_SCHEMA)
        life = self.ttl if entry.remaining is None else min(self.ttl, entry.remaining)
        data = pack_entry(entry)
        if life <= 0:
            return False
        if len(data) > self.capacity:
            self._delete_older(entry)
            return False
        self._note_reads()
        with self._database.writing(durable=False) as connection:
            is_kept = connection.execute(self._put_newer(entry, data, life)).first() is not None
        if is_kept:
            with self._lock:
                self._room -= len(data)
                is_full = self._room < 0
            if is_full:
                self._make_room()
        return is_kept

    def delete(self, key: str) -> None:
        """Forget an entry; see :meth:`protein_lab.store.entries.Tier.delete`."""
        self._database.prepare(STORE_SCHEMA)
        with self._database.writing(durable=False) as connection:
            connection.execute(sa.delete(ENTRIES).where(ENTRIES.c.key == key))

    def bury(self, key: str) -> None:
        """Forget an entry, and refuse for a while what is not newer than this call.

        Whoever read it just before and puts it back, as a copy, does so in vain.
        """
        self._database.prepare(STORE_SCHEMA)
        now = self._now()
        grave = {
            "key": key, "version": time.time_ns(), "size": 0, "data": b"",
            "stored_at": now, "read_at": now, "expires_at": now + GRAVE_SECONDS,
        }  # fmt: skip
        insert = self._database.insert(ENTRIES).values(grave)
        change = {name: insert.excluded[name] for name in grave if name != "key"}
        newest = sa.case(
            (ENTRIES.c.version > insert.excluded.version, ENTRIES.c.version),
            else_=insert.excluded.version,
        )
        with self._database.writing(durable=False) as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[ENTRIES.c.key], set_={**change, "version": newest}
                )
            )

    def keys(self) -> Iterator[str]:
        """Give the keys of all entries that live, in order."""
        self._database.prepare(STORE_SCHEMA)
        last = ""
        while True:
            page = (
                sa.select(ENTRIES.c.key)
                .where(ENTRIES.c.key > last, _is_entry(self._now()))
                .order_by(ENTRIES.c.key)
                .limit(_MOST_READS)
            )
            with self._database.reading() as connection:
                found = list(connection.execute(page).scalars())
            yield from found
            if len(found) < _MOST_READS:
                return
            last = found[-1]

    def usage(self) -> int:
        """Add up the bytes of all entries, those included whose life is over but not their row."""
        self._database.prepare(STORE_SCHEMA)
        with self._database.reading() as connection:
            return _usage(connection)

    def _now(self) -> sa.ColumnElement[float]:
        return self._database.now if self._clock is None else sa.literal(self._clock(), sa.Double)

    def _put_newer(self, entry: Entry, data: bytes, life: float) -> Any:
        """One statement, so that of several writers the newest wins whatever their order."""
        now = self._now()
        row = {
            "key": entry.key, "version": entry.version, "size": len(data), "data": data,
            "stored_at": now, "read_at": now, "expires_at": now + life,
        }  # fmt: skip
        insert = self._database.insert(ENTRIES).values(row)
        new = insert.excluded
        is_newer = sa.or_(
            ENTRIES.c.version < new.version,
            sa.and_(
                ENTRIES.c.version == new.version,
                ENTRIES.c.expires_at < new.expires_at,
                ENTRIES.c.size > 0,
            ),
            sa.not_(_lives(now)),
        )
        change = {name: new[name] for name in row if name != "key"}
        return insert.on_conflict_do_update(
            index_elements=[ENTRIES.c.key], set_=change, where=is_newer
        ).returning(ENTRIES.c.key)

    def _delete_older(self, entry: Entry) -> None:
        older = sa.delete(ENTRIES).where(
            ENTRIES.c.key == entry.key, ENTRIES.c.version < entry.version
        )
        with self._database.writing(durable=False) as connection:
            connection.execute(older)

    def _note_reads(self) -> None:
        """Write down in one go which entries were read since the last time."""
        with self._lock:
            keys, self._reads = sorted(self._reads), set()
        if keys:
            # always in the same order: two writers never wait for each other's rows
            change = (
                sa.update(ENTRIES)
                .where(ENTRIES.c.key == sa.bindparam("read_key"))
                .values(read_at=self._now())
            )
            with self._database.writing(durable=False) as connection:
                connection.execute(change, [{"read_key": key} for key in keys])

    def _make_room(self) -> None:
        """Remove entries whose life is over, then those that nobody read for longest."""
        with self._database.writing(durable=False) as connection:
            if not self._database.is_sqlite:
                mine = sa.select(sa.func.pg_try_advisory_xact_lock(_EVICTION_LOCK))
                if not connection.execute(mine).scalar():
                    return  # another process is at it
            usage = _usage(connection)
            if usage > self.capacity - self.capacity / _WRITERS:
                connection.execute(sa.delete(ENTRIES).where(ENTRIES.c.expires_at <= self._now()))
                usage = _usage(connection)
            if usage > self.capacity:
                usage -= _remove_oldest(connection, usage - _FULL * self.capacity)
        with self._lock:
            self._room = max(0.0, self.capacity - usage) / _WRITERS


def _lives(now: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether a life is not over; one that begins in the future was begun by a wrong clock."""
    return sa.and_(ENTRIES.c.expires_at > now, ENTRIES.c.stored_at <= now)


def _is_entry(now: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(_lives(now), ENTRIES.c.size > 0)  # a grave has none


def _usage(connection: sa.Connection) -> int:
    total = sa.select(sa.func.coalesce(sa.func.sum(ENTRIES.c.size), 0))
    return int(connection.execute(total).scalar_one())


def _remove_oldest(connection: sa.Connection, excess: float) -> int:
    """Remove entries until so many bytes are free.

    Returns
    -------
    int
        Bytes that were removed.
    """
    oldest = sa.select(ENTRIES.c.key, ENTRIES.c.size).order_by(ENTRIES.c.read_at).limit(_BATCH)
    removed = 0
    while removed < excess:
        chosen = []
        for key, size in connection.execute(oldest):
            if removed >= excess:
                break
            chosen.append(key)
            removed += size
        if not chosen:
            break
        connection.execute(sa.delete(ENTRIES).where(ENTRIES.c.key.in_(chosen)))
    return removed
