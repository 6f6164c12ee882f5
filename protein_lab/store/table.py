"""Stored results in a notebook: a table of all, and one of them by its id."""

from __future__ import annotations

import atexit
import html
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd

from protein_lab.errors import StoreError
from protein_lab.settings import Settings, StoreSettings
from protein_lab.store.base import RunQuery, RunRow
from protein_lab.store.open import open_store
from protein_lab.store.result_store import TieredResults
from protein_lab.store.schema import DesignResult

if TYPE_CHECKING:
    import xarray as xr

_ID_SIGNS = 12
_LOCK = threading.Lock()
_OPEN: dict[tuple[StoreSettings, str | None], TieredResults] = {}
"""Stores that notebooks asked for: memory is a fast tier only when it is kept."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


class RunTable(pd.DataFrame):
    """A table of stored results, shown in a notebook with short ids and readable figures."""

    @property
    def _constructor(self) -> type[RunTable]:
        return RunTable

    def _repr_html_(self) -> str | None:
        shown = pd.DataFrame(self)
        if shown.index.name != "request_id":
            return shown._repr_html_()  # type: ignore[operator]
        about = f"<p>{len(self)} result{'' if len(self) == 1 else 's'}</p>"
        if not len(self):
            return about
        forms = {name: form for name, form in _FORMS.items() if name in shown.columns}
        page = shown.rename(index=lambda key: str(key)[:_ID_SIGNS])
        return page.to_html(formatters=forms, max_rows=60, border=0) + about


def runs(*, store: TieredResults | str | None = None, **filters: Any) -> RunTable:
    """List stored results, the newest first.

    Parameters
    ----------
    store : TieredResults or str or None
        An open store, or where it is; that of the settings unless given.
    **filters
        Fields of :class:`~protein_lab.store.base.RunQuery`, as ``text``, ``operator``,
        ``constraint``, ``min_accepted``, ``since``, ``order``, ``limit``.

    Returns
    -------
    RunTable
        A pandas table by request id with one column per field of
        :class:`~protein_lab.store.base.RunRow`; times are in UTC, ``length`` in residues,
        ``size`` in bytes.

    Raises
    ------
    StoreError
        When a filter is none, or the index does not answer.
    """
    try:
        query = msgspec.convert(filters, RunQuery)
    except msgspec.ValidationError as error:
        raise StoreError(f"Expected filters of results, but {error}.") from error
    unknown = sorted(set(filters) - set(RunQuery.__struct_fields__))
    if unknown:
        known = ", ".join(RunQuery.__struct_fields__)
        raise StoreError(f"Expected filters among {known}; got {', '.join(unknown)}.")
    rows = [msgspec.structs.asdict(row) for row in _opened(store).find(query)]
    columns = list(RunRow.__struct_fields__)
    table = RunTable(rows, columns=columns)
    for name in ("created_at", "accessed_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table.set_index("request_id")  # type: ignore[return-value]


def open_run(request_id: str, *, store: TieredResults | str | None = None) -> DesignResult:
    """Read a stored result.

    Parameters
    ----------
    request_id : str
        Its id, or the beginning of it.
    store : TieredResults or str or None
        An open store, or where it is; that of the settings unless given.

    Raises
    ------
    StoreError
        When there is no such result, or there are several.
    IntegrityError
        When it is damaged.
    """
    opened = _opened(store)
    whole = full_id(opened, request_id)
    result = opened.get(whole)
    if result is None:
        raise _missing(request_id)
    opened.preload_neighbors(whole)
    return result


def open_run_arrays(request_id: str, *, store: TieredResults | str | None = None) -> xr.Dataset:
    """Open a stored result as arrays with named dimensions and units; see :func:`open_run`."""
    opened = _opened(store)
    return opened.open_arrays(full_id(opened, request_id))


def full_id(store: TieredResults, request_id: str) -> str:
    """Complete an id of which the beginning is given.

    Raises
    ------
    StoreError
        When no result has such an id, or several have.
    """
    if len(request_id) == 64:
        return request_id
    found = [
        row.request_id
        for row in (store.find(RunQuery(text=request_id)) if request_id else [])
        if row.request_id.startswith(request_id)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _missing(request_id)
    raise StoreError(
        f"Expected the id of one result; {len(found)} begin with {request_id[:_ID_SIGNS]}.",
        "Give more of it.",
    )


def readable_size(size: float) -> str:
    """Write bytes with a unit."""
    for unit in _UNITS[:-1]:
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def _opened(store: TieredResults | str | None) -> TieredResults:
    """Take an open store, or the one that this process keeps open for its place."""
    if isinstance(store, TieredResults):
        return store
    settings = Settings.from_environment().store
    with _LOCK:
        found = _OPEN.get((settings, store))
        if found is None:
            found = _OPEN[settings, store] = open_store(settings, store, must_exist=True)
            atexit.register(found.close)
        return found


def _missing(request_id: str) -> StoreError:
    return StoreError(
        f"Expected a stored result {request_id[:_ID_SIGNS]!r}; there is none.",
        "List what is there with `protein-lab store ls`.",
    )


_FORMS: dict[str | int, Callable[[Any], str]] = {
    "created_at": lambda moment: f"{moment:%Y-%m-%d %H:%M}",
    "accessed_at": lambda moment: f"{moment:%Y-%m-%d %H:%M}",
    "constraints": lambda kinds: html.escape(", ".join(kinds)),
    "size": readable_size,
}
