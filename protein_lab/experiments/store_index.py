"""How fast the index lists and filters results, and takes new ones."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.experiments.rows import Row
from protein_lab.experiments.timing import median_row, plain_row
from protein_lab.store.base import RunQuery, RunRow
from protein_lab.store.database import Database
from protein_lab.store.index import Index

_BATCH: Final = 100
_REPEATS: Final = 15
_KINDS: Final = ("secondary_structure", "pairing", "motif", "distance")


def index_rows(count: int) -> list[Row]:
    """Measure an index of so many results in SQLite.

    Parameters
    ----------
    count : int
        Results.
    """
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'index.sqlite'}")
        with closing(database):
            index = Index(database)
            rate = fill_index(index, count)
            first = RunQuery(limit=100)
            some = RunQuery(constraint=_KINDS[2], min_accepted=4, order="num_accepted", limit=100)
            named = RunQuery(text="run 77", limit=100)
            everything = RunQuery(limit=count)
            queries = {
                "list: first page": first,
                "list: filtered by constraint and number": some,
                "list: part of a name": named,
                "list: all": everything,
            }
            rows = [_query_row(name, index, query, count) for name, query in queries.items()]
    note = f"{count} rows committed to SQLite, {_BATCH} at once."
    return [*rows, plain_row("index: rows", rate, "rows/s", note)]


def fill_index(index: Index, count: int) -> float:
    """Commit rows of so many results; gives rows a second."""
    rng = np.random.default_rng(3)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    seconds = 0.0
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        rows = [_row(number, start + timedelta(minutes=number), rng) for number in numbers]
        before = time.perf_counter()
        index.upsert(*rows)
        seconds += time.perf_counter() - before
    return count / seconds


def _row(number: int, moment: datetime, rng: np.random.Generator) -> RunRow:
    kinds = {str(kind) for kind in rng.choice(_KINDS, size=2)}
    return RunRow(
        request_id=rng.bytes(32).hex(),
        name=f"run {number}",
        created_at=moment,
        accessed_at=moment,
        num_designs=8,
        num_accepted=int(rng.integers(9)),
        length=int(rng.integers(60, 200)),
        operator="enhanced_deeponet",
        constraints=tuple(sorted(kinds)),
        size=int(rng.integers(100_000, 200_000)),
    )


def _query_row(name: str, index: Index, query: RunQuery, count: int) -> Row:
    times = np.empty(_REPEATS)
    found = 0
    for number in range(_REPEATS):
        before = time.perf_counter()
        found = len(index.find(query))
        times[number] = time.perf_counter() - before
    note = f"{found} of {count} results in the index."
    return median_row(name, times * 1e3, "ms", None, note)
