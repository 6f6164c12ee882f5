"""What more workers gain, what each design costs besides itself, and what very many would cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from protein_lab import engine
from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.execution.base import spec_of
from protein_lab.execution.dask import DaskExecutor
from protein_lab.execution.throughput import empty_tasks_per_second
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.experiments.scale_model import Constants, model_rows
from protein_lab.experiments.store_index import fill_index
from protein_lab.experiments.timing import median_row, plain_row
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.database import Database
from protein_lab.store.index import Index
from protein_lab.store.open import open_store
from protein_lab.store.schema import Design, encode_design
from protein_lab.typing import FloatArray

EFFICIENCY_FLOOR: Final = 0.9
"""Of two workers against one."""
OVERHEAD_FLOOR: Final = 5.0
"""Milliseconds that the executor may add to a design, in the median."""
RESIDUES: Final = 100
WORKERS: Final = 2
SEED: Final = 11

_IN_A_RESULT: Final = 8


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How often each thing is done."""

    designs: int
    small: int
    tasks: int
    objects: int
    rows: int


_FULL: Final = _Counts(designs=64, small=200, tasks=10_000, objects=400, rows=10_000)
_QUICK: Final = _Counts(designs=8, small=40, tasks=1_000, objects=60, rows=2_000)


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of designs took."""

    seconds: float
    designs: list[Design]


def run_scale(quick: bool = False, progress: Callable[[str], None] | None = None) -> list[Row]:
    """Measure one machine, and work out many.

    Parameters
    ----------
    quick : bool
        8 designs in place of 64, fewer repeats.
    progress : callable or None
        Called with what is measured next.

    Returns
    -------
    list of Row

    Raises
    ------
    MissingExtraError
        When Dask is not installed.
    """
    tell = progress or (lambda text: None)
    counts = _QUICK if quick else _FULL
    request = decode_request(
        {
            "length": RESIDUES,
            "num_designs": counts.designs,
            "samples_per_design": 1,
            "seed": SEED,
            "backend": "numpy",
        }
    )
    runtime = engine.Runtime.open(request)
    tell(f"{counts.designs} designs on one worker")
    one = _run(request, runtime, 1)
    tell(f"{counts.designs} designs on {WORKERS} workers")
    more = _run(request, runtime, WORKERS)
    rows = _run_rows(one, more)
    tell(f"{counts.small} small designs on one worker")
    rows.append(_overhead_row(_run(_small_request(counts.small), runtime, 1)))
    tell("empty tasks")
    note = f"{counts.tasks} tasks that do nothing, {WORKERS} workers of this machine."
    rate = empty_tasks_per_second(counts.tasks, WORKERS)
    rows.append(plain_row("scheduler: tasks", rate, "tasks/s", note))
    tell("objects and index")
    rows += _object_rows(one.designs, counts.objects)
    rows.append(_index_row(counts.rows))
    rows += _result_rows(request, one.designs, runtime)
    return [*rows, *model_rows(constants_of(rows)), machine_row()]


def constants_of(rows: list[Row]) -> Constants:
    """Take from the rows what the model needs."""
    found = {row.name: row.value or 0.0 for row in rows}
    return Constants(
        design=found["design: seconds"],
        overhead=max(found["executor: added to a design"], 0.0) / 1e3,
        tasks=found["scheduler: tasks"],
        put=found["object: write"] / 1e3,
        get=found["object: read"] / 1e3,
        rows=found["index: rows"],
        listed=found["object: listed"],
        size=found["design: bytes"],
        objects=found["result: objects"],
    )


def _run(request: DesignRequest, runtime: engine.Runtime, workers: int) -> _Run:
    """Make the designs of a request on so many workers."""
    designs: list[Design] = []
    with DaskExecutor(workers=workers) as executor:
        spec = spec_of(runtime)
        beyond = range(request.num_designs, request.num_designs + workers)
        executor.run(request, spec, beyond, lambda design: None)  # everything is loaded
        before = time.perf_counter()
        executor.run(request, spec, range(request.num_designs), designs.append)
        seconds = time.perf_counter() - before
    return _Run(seconds=seconds, designs=designs)


def _run_rows(one: _Run, more: _Run) -> list[Row]:
    count = len(one.designs)
    efficiency = one.seconds / (WORKERS * more.seconds)
    is_enough = efficiency >= EFFICIENCY_FLOOR
    note = f"{count} designs: {one.seconds:.1f} s on one worker, {more.seconds:.1f} s on {WORKERS}."
    own = np.array([design.timings["total"] for design in one.designs])
    return [
        Row(
            f"efficiency of {WORKERS} workers",
            efficiency,
            None,
            None,
            "ratio",
            EFFICIENCY_FLOOR,
            is_enough,
            f"{note} At least the floor.",
        ),
        median_row(
            "design: seconds",
            own,
            "s",
            None,
            f"{RESIDUES} residues with sequences and checks, one thread.",
        ),
    ]


def _small_request(count: int) -> DesignRequest:
    """Ask for the quickest designs that there are, so that much of the time is not theirs."""
    return decode_request(
        {
            "length": 12,
            "num_designs": count,
            "samples_per_design": 1,
            "steps": 1,
            "sequence": {"num_sequences": 0},
            "seed": SEED,
            "backend": "numpy",
        }
    )


def _overhead_row(run: _Run) -> Row:
    count = len(run.designs)
    own = sum(design.timings["total"] for design in run.designs)
    added = 1e3 * (run.seconds - own) / count
    note = (
        f"{count} small designs on one worker: {run.seconds:.1f} s, of which {own:.1f} s their own."
    )
    return Row(
        "executor: added to a design",
        added,
        None,
        None,
        "ms",
        OVERHEAD_FLOOR,
        added <= OVERHEAD_FLOOR,
        f"{note} At most the floor.",
    )


def _object_rows(designs: list[Design], count: int) -> list[Row]:
    """Time to write, read and list objects as large as a design, in a folder."""
    data = encode_design(designs[0])
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        objects = LocalObjects(folder)
        paths = [f"designs/{number:06d}.bin" for number in range(count)]
        writes = _times([lambda path=path: objects.write(path, data) for path in paths])
        reads = _times([lambda path=path: objects.read(path) for path in paths])
        before = time.perf_counter()
        listed = sum(1 for _ in objects.list("designs/"))
        seconds = time.perf_counter() - before
    note = f"{len(data)} bytes, durable, in a folder of this machine."
    return [
        median_row("object: write", writes * 1e3, "ms", None, note),
        median_row("object: read", reads * 1e3, "ms", None, note),
        plain_row(
            "object: listed", listed / seconds, "objects/s", f"{listed} objects in a folder."
        ),
    ]


def _times(calls: list[Callable[[], object]]) -> FloatArray:
    times = np.empty(len(calls))
    for number, call in enumerate(calls):
        before = time.perf_counter()
        call()
        times[number] = time.perf_counter() - before
    return times


def _index_row(count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'index.sqlite'}")
        with closing(database):
            rate = fill_index(Index(database), count)
    return plain_row("index: rows", rate, "rows/s", f"{count} rows committed to SQLite.")


def _result_rows(
    request: DesignRequest, designs: list[Design], runtime: engine.Runtime
) -> list[Row]:
    """Bytes of record and objects of a result."""
    chosen = sorted(designs, key=lambda design: design.index)[:_IN_A_RESULT]
    asked = msgspec.structs.replace(request, num_designs=len(chosen))
    result = engine.assemble(asked, chosen, runtime)
    with (
        tempfile.TemporaryDirectory(prefix="protein_lab_") as folder,
        closing(open_store(StoreSettings(objects=folder))) as store,
    ):
        store.put(result)
        sizes = [info.size for info in store.records.objects.list(f"{result.request_id}/")]
    note = f"A result of {len(chosen)} designs."
    return [
        plain_row("design: bytes", sum(sizes) / len(chosen), "bytes", f"{note} All its objects."),
        plain_row("result: objects", len(sizes), "count", note),
    ]
