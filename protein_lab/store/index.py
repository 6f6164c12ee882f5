"""The index: one row a result, to list, filter and count results without reading them.

It can be built again from the results at any time, so that a lost database loses nothing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from cachetools import TTLCache

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.base import LifecycleClass, RunQuery, RunRow
from protein_lab.store.database import Database
from protein_lab.store.database_tables import PLACE, RUN_CONSTRAINTS, RUNS, STORE_SCHEMA

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOUCH_SECONDS = 3600.0  # a result that is read all day is noted once an hour
_TOUCHES_SECONDS = 30.0  # what was read is written down so often at most, many results in one go
_MOST_TOUCHES = 64
_PAGE = 500
_MOST = 10_000_000  # larger pages mean all


class Index:
    """Rows of results in a database.

    Parameters
    ----------
    database : Database
        Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_reads: TTLCache[str, bool] = TTLCache(100_000, _TOUCH_SECONDS)
        self._quiet: TTLCache[str, bool] = TTLCache(1, _TOUCHES_SECONDS)
        self._reads: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def add(self, row: RunRow) -> None:
        """Commit a row; one that is there already stays as it is.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        insert = self._database.insert(RUNS).values(_values(row))
        with self._writing() as connection:
            added = connection.execute(insert.on_conflict_do_nothing().returning(RUNS.c.request_id))
            if added.first() is not None:
                self._add_constraints(connection, [row])

    def upsert(self, *rows: RunRow) -> None:
        """Commit rows in place of what is there under their ids; see :meth:`add`."""
        if not rows:
            return
        insert = self._database.insert(RUNS)
        change = {column.name: insert.excluded[column.name] for column in RUNS.columns}
        replace = insert.on_conflict_do_update(index_elements=[RUNS.c.request_id], set_=change)
        ids = [row.request_id for row in rows]
        with self._writing() as connection:
            connection.execute(replace, [_values(row) for row in rows])
            theirs = RUN_CONSTRAINTS.c.request_id.in_(ids)
            connection.execute(sa.delete(RUN_CONSTRAINTS).where(theirs))
            self._add_constraints(connection, rows)

    def get(self, request_id: str) -> RunRow | None:
        """Look a row up.

        Raises
        ------
        IntegrityError
            When it was damaged.
        StoreError
            When the database does not answer.
        """
        self._flush_first()
        with self._reading() as connection:
            found = connection.execute(sa.select(RUNS).where(RUNS.c.request_id == request_id))
            row = found.mappings().first()
        return None if row is None else _row(row)

    def find(self, query: RunQuery | None = None) -> list[RunRow]:
        """List results; see :meth:`protein_lab.store.base.ResultStore.find`."""
        query = _checked(query)
        self._flush_first()
        column = {"name": RUNS.c.folded_name}.get(query.order, RUNS.c[query.order])
        keys = [column, RUNS.c.request_id]
        order = keys if query.order == "name" else [key.desc() for key in keys]
        page = sa.select(RUNS).where(*_conditions(query)).order_by(*order)
        page = page.limit(query.limit).offset(query.offset)
        with self._reading() as connection:
            return [_row(row) for row in connection.execute(page).mappings()]

    def count(self, query: RunQuery | None = None) -> int:
        """Count results; see :meth:`protein_lab.store.base.ResultStore.count`."""
        number = sa.select(sa.func.count()).select_from(RUNS).where(*_conditions(_checked(query)))
        with self._reading() as connection:
            return int(connection.execute(number).scalar_one())

    def ids(self) -> Iterator[str]:
        """Give the ids of all rows, damaged ones too, in order."""
        for page in self._pages(RUNS.c.request_id):
            yield from (row["request_id"] for row in page)

    def rows(self) -> Iterator[RunRow]:
        """Give all rows, in the order of their ids."""
        self._flush_first()
        for page in self._pages(RUNS):
            yield from map(_row, page)

    def touch(self, request_id: str) -> bool:
        """Note that a result was read, without asking the database.

        Returns
        -------
        bool
            Whether it is time to call :meth:`flush`, in the background.
        """
        with self._lock:
            if request_id in self._known_reads:
                return False
            self._known_reads[request_id] = True
            self._reads[request_id] = datetime.now(UTC)
            is_due = "flushed" not in self._quiet or len(self._reads) >= _MOST_TOUCHES
            self._quiet["flushed"] = True
            return is_due

    def sort(self) -> None:
        """Build what an SQLite file finds rows by again, from the rows."""
        if self._database.is_sqlite:
            with self._writing() as connection:
                connection.exec_driver_sql("REINDEX")

    def flush(self) -> None:
        """Write down which results were read since the last time.

        Raises
        ------
        StoreError
            When the database does not answer.
        """
        with self._lock:
            reads, self._reads = self._reads, {}
        if reads:
            with self._writing(durable=False) as connection:
                # always in the same order: two writers never wait for each other's rows
                for request_id, moment in sorted(reads.items()):
                    _replace(connection, request_id, {"accessed_at": _microseconds(moment)})

    def neighbors(self, request_id: str, count: int = 2) -> list[str]:
        """Give the ids of results that were made just before and just after one."""
        mine = sa.select(RUNS.c.created_at, RUNS.c.request_id)
        place = sa.tuple_(RUNS.c.created_at, RUNS.c.request_id)
        order = [RUNS.c.created_at, RUNS.c.request_id]
        with self._reading() as connection:
            row = connection.execute(mine.where(RUNS.c.request_id == request_id)).first()
            if row is None:
                return []
            at = sa.tuple_(*(sa.literal(value) for value in row))
            ids = sa.select(RUNS.c.request_id).limit(count)
            later = ids.where(place > at).order_by(*order)
            earlier = ids.where(place < at).order_by(*(column.desc() for column in order))
            return [key for page in (later, earlier) for key in connection.execute(page).scalars()]

    def usage(self) -> int:
        """Add up the bytes of record of all results."""
        total = sa.select(sa.func.coalesce(sa.func.sum(RUNS.c.size), 0))
        with self._reading() as connection:
            return int(connection.execute(total).scalar_one())

    def place(self, change_to: str | None = None) -> str | None:
        """Tell, or commit, where the results of this index are; None where it is new."""
        with self._writing() if change_to is not None else self._reading() as connection:
            if change_to is not None:
                connection.execute(sa.delete(PLACE))
                connection.execute(self._database.insert(PLACE).values(uri=change_to))
            return connection.execute(sa.select(PLACE.c.uri)).scalar()

    def set_lifecycle(self, request_id: str, lifecycle: LifecycleClass, size: int) -> None:
        """Commit how the bytes of a result are kept, and how many they are now."""
        self._change(request_id, lifecycle=lifecycle, size=size)

    def hold(self, request_id: str, reason: str) -> None:
        """Commit a legal hold, or with an empty reason its end."""
        self._change(request_id, held=reason)

    def remove(self, request_id: str) -> None:
        """Remove a row; one that is not there is no error."""
        with self._writing() as connection:
            for table in (RUN_CONSTRAINTS, RUNS):
                connection.execute(sa.delete(table).where(table.c.request_id == request_id))

    def verify(self) -> list[str]:
        """Find damage in the rows and, of an SQLite file, in its pages.

        Returns
        -------
        list of str
            What is wrong; empty when all is intact.
        """
        faults = []
        try:
            with self._reading() as connection:
                if self._database.is_sqlite:
                    said = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
                    faults += [f"{self._database.place}: {line}" for line in said if line != "ok"]
                for row in connection.execute(sa.select(RUNS)).mappings():
                    if row["seal"] != _seal(row):
                        faults.append(f"row {str(row['request_id'])[:12]} differs from its seal")
        except IntegrityError as error:
            faults.append(error.problem)
        return faults

    def _flush_first(self) -> None:
        """Show in rows what was read just now; a database that is read-only can still be read."""
        try:
            self.flush()
        except TierError:
            raise
        except StoreError:
            return

    def _reading(self) -> Any:
        self._database.prepare(STORE_SCHEMA)
        return self._database.reading()

    def _writing(self, durable: bool = True) -> Any:
        self._database.prepare(STORE_SCHEMA)
        return self._database.writing(durable=durable)

    def _pages(self, *columns: Any) -> Iterator[Sequence[sa.RowMapping]]:
        """Read rows page by page, so that no transaction lasts as long as its reader."""
        last = ""
        while True:
            page = sa.select(*columns).where(RUNS.c.request_id > last)
            page = page.order_by(RUNS.c.request_id).limit(_PAGE)
            with self._reading() as connection:
                found = connection.execute(page).mappings().all()
            yield found
            if len(found) < _PAGE:
                return
            last = found[-1]["request_id"]

    def _add_constraints(self, connection: sa.Connection, rows: Sequence[RunRow]) -> None:
        kinds = [
            {"request_id": row.request_id, "kind": kind}
            for row in rows
            for kind in sorted({*row.constraints})
        ]
        if kinds:
            insert = self._database.insert(RUN_CONSTRAINTS)
            connection.execute(insert.on_conflict_do_nothing(), kinds)

    def _change(self, request_id: str, **change: Any) -> None:
        """Write a row with some values replaced.

        Raises
        ------
        StoreError
            When there is no such row.
        """
        with self._writing() as connection:
            if not _replace(connection, request_id, change):
                raise StoreError(
                    f"Expected a stored result {request_id[:12]}; the index has none.",
                    "Look for it with `protein-lab store ls`, or run `protein-lab store reindex`.",
                )


def _replace(connection: sa.Connection, request_id: str, change: Mapping[str, Any]) -> bool:
    """Change values of a row, and its seal with them."""
    mine = RUNS.c.request_id == request_id
    row = connection.execute(sa.select(RUNS).where(mine).with_for_update()).mappings().first()
    if row is None:
        return False
    found = {str(name): value for name, value in row.items()}
    _row(found)  # a damaged row is not sealed again
    values = {**found, **change}
    values["seal"] = _seal(values)
    connection.execute(sa.update(RUNS).where(mine).values(values))
    return True


def _conditions(query: RunQuery) -> list[sa.ColumnElement[bool]]:
    """Say in SQL which rows are looked for."""
    found: list[sa.ColumnElement[bool]] = []
    if query.text:
        named = RUNS.c.folded_name.contains(query.text.casefold(), autoescape=True)
        found.append(sa.or_(named, RUNS.c.request_id.startswith(query.text, autoescape=True)))
    if query.operator is not None:
        found.append(RUNS.c.operator == query.operator)
    if query.lifecycle is not None:
        found.append(RUNS.c.lifecycle == query.lifecycle)
    if query.min_accepted is not None:
        found.append(RUNS.c.num_accepted >= query.min_accepted)
    if query.since is not None:
        found.append(RUNS.c.created_at >= _microseconds(query.since))
    if query.until is not None:
        found.append(RUNS.c.created_at <= _microseconds(query.until))
    if query.constraint is not None:
        asked = RUN_CONSTRAINTS.c
        mine = sa.and_(asked.kind == query.constraint, asked.request_id == RUNS.c.request_id)
        found.append(sa.exists().where(mine))
    return found


def _checked(query: RunQuery | None) -> RunQuery:
    """Refuse what no database understands.

    Raises
    ------
    StoreError
        When a page is no page, or a text holds characters that cannot be stored.
    """
    query = query or RunQuery()
    for name in ("limit", "offset"):
        value = getattr(query, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise StoreError(f"Expected {name} to be a number from 0 up, got {value!r}.")
    known = ("created_at", "accessed_at", "num_accepted", "size", "name")
    if query.order not in known:
        raise StoreError(f"Expected order to be one of {', '.join(known)}, got {query.order!r}.")
    for text in (query.text, query.operator, query.constraint):
        if text is not None and _storable(text) != text:
            raise StoreError(f"Expected text to look for without control characters, got {text!r}.")
    sizes = {name: min(getattr(query, name), _MOST) for name in ("limit", "offset")}
    return msgspec.structs.replace(query, **sizes)


def _storable(text: str) -> str:
    """Put a sign in place of characters that PostgreSQL or UTF-8 cannot hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _values(row: RunRow) -> dict[str, Any]:
    values = {
        "request_id": row.request_id,
        "name": _storable(row.name),
        "folded_name": _storable(row.name).casefold(),
        "created_at": _microseconds(row.created_at),
        "accessed_at": _microseconds(row.accessed_at),
        "num_designs": row.num_designs,
        "num_accepted": row.num_accepted,
        "length": row.length,
        "operator": row.operator,
        "constraints": msgspec.json.encode(row.constraints).decode(),
        "size": row.size,
        "lifecycle": row.lifecycle,
        "held": _storable(row.held),
        "outcome": _storable(row.outcome),
    }
    return {**values, "seal": _seal(values)}


def _seal(values: Mapping[Any, Any]) -> str:
    plain = [values[column.name] for column in RUNS.columns if column.name != "seal"]
    return hashlib.sha256(msgspec.json.encode(plain)).hexdigest()[:32]


def _row(values: Mapping[Any, Any]) -> RunRow:
    """Make a row of what the database holds.

    Raises
    ------
    IntegrityError
        When it is not what was written.
    """
    if values["seal"] != _seal(values):
        raise IntegrityError(
            f"Expected an intact row {str(values['request_id'])[:12]} in the index; it differs.",
            "Run `protein-lab store reindex`; results are not in the index.",
        )
    plain = {name: values[name] for name in RunRow.__struct_fields__}
    plain["constraints"] = tuple(msgspec.json.decode(plain["constraints"]))
    for name in ("created_at", "accessed_at"):
        plain[name] = _EPOCH + plain[name] * _MICROSECOND
    return RunRow(**plain)


def _microseconds(moment: datetime) -> int:
    """Count microseconds since 1970; a time without a zone is one of UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND
