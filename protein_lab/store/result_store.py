"""Results in tiers, with an index: what :func:`protein_lab.store.open.open_store` puts together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.background import Background
from protein_lab.store.base import RunQuery, RunRow, TierStatistics
from protein_lab.store.index import Index
from protein_lab.store.indexed_records import REINDEX, IndexedRecords
from protein_lab.store.records import Records
from protein_lab.store.schema import Design, DesignResult
from protein_lab.store.tiered import TieredStore

if TYPE_CHECKING:
    import xarray as xr

    from protein_lab.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)
_BATCH = 100
_READS = ""
"""Chore of writing down what was read; any other is the id of a result that is looked at."""


class Reindexed(msgspec.Struct, frozen=True, kw_only=True):
    """What building the index again came to.

    Attributes
    ----------
    num_results : int
        Results that are there.
    added, removed : int
        Rows that were missing or wrong, and rows without a result.
    damaged : tuple of str
        Ids of results that could not be read; rows of these stay as they were.
    """

    num_results: int
    added: int
    removed: int
    damaged: tuple[str, ...]


class TieredResults:
    """Results in memory, Redis, database and objects; see :class:`.base.ResultStore`.

    Use it as a context manager, or call :meth:`close`.

    Parameters
    ----------
    tiers : TieredStore
        Finds results in the fastest place.
    records : Records
        Bytes of record, and designs of runs that are not finished.
    index : Index
        Rows of results.
    resources : ExitStack
        What is let go when the store is closed.
    """

    def __init__(
        self,
        tiers: TieredStore[DesignResult],
        records: Records,
        index: Index,
        resources: ExitStack,
    ) -> None:
        self.tiers, self.records, self.index = tiers, records, index
        self._resources = resources
        self._indexed = IndexedRecords(records, index)
        self._chores = Background(self._do, "protein-lab-index")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """Where the bytes of record are, without credentials."""
        return self.records.objects.uri

    def get(self, request_id: str) -> DesignResult | None:
        """Read a result from the fastest tier; see :meth:`.ResultStore.get`."""
        result = self.tiers.get(request_id)
        if result is None:
            return None
        if self.index.touch(request_id):
            self._chores.add([_READS])
        return _own(result)

    def put(self, result: DesignResult) -> None:
        """Keep a result for good; see :meth:`.ResultStore.put`.

        When the database does not answer, the bytes of record are kept all the same, and the
        error says so.
        """
        self.tiers.put(result.request_id, result)

    def delete(self, request_id: str) -> None:
        """Remove a result from all tiers, unless it is held; see :meth:`.ResultStore.delete`."""
        self.tiers.delete(request_id)

    def find(self, query: RunQuery | None = None) -> list[RunRow]:
        """List results."""
        return self.index.find(query)

    def count(self, query: RunQuery | None = None) -> int:
        """Count results, whatever the page."""
        return self.index.count(query)

    def open_arrays(self, request_id: str) -> xr.Dataset:
        """Open the arrays of a result with named dimensions and units.

        Raises
        ------
        StoreError
            When there is no such result.
        IntegrityError
            When it is damaged.
        """
        return self.records.open_arrays(request_id)

    def keep_design(self, request_id: str, design: Design) -> None:
        """Keep a design of a run that is not finished."""
        self.records.parts.keep(request_id, design)

    def kept_designs(
        self, request_id: str, indices: Iterable[int] | None = None
    ) -> dict[int, Design]:
        """Read designs of a run that is not finished, by index; damaged ones are left out."""
        return self.records.parts.kept(request_id, indices)

    def forget_designs(self, request_id: str) -> None:
        """Remove the single designs of a run."""
        self.records.parts.forget(request_id)

    def preload(self, request_ids: Sequence[str]) -> None:
        """Copy results into the fast tiers in the background."""
        self.tiers.preload(request_ids)

    def preload_neighbors(self, request_id: str) -> None:
        """Copy, in the background, the results made just before and after one.

        Who looks at a result may look at these next.
        """
        self._chores.add([request_id])

    def warm(self, request_ids: Iterable[str]) -> int:
        """Copy results into the fast tiers now; returns how many there are."""
        return self.tiers.warm(request_ids)

    def hold(self, request_id: str, reason: str, holder: str) -> None:
        """Put a result under a legal hold: it is not deleted while that lasts.

        Raises
        ------
        StoreError
            When there is no such result, or the hold cannot be written.
        """
        self.records.hold(request_id, reason, holder)
        self._note_hold(request_id, reason)

    def release(self, request_id: str) -> None:
        """End a legal hold; see :meth:`hold`."""
        self.records.release(request_id)
        self._note_hold(request_id, "")

    def statistics(self) -> list[TierStatistics]:
        """Tell what happened at each tier, the fastest first."""
        return self.tiers.statistics()

    def reindex(self, progress: Callable[[int], None] = lambda done: None) -> Reindexed:
        """Build the index again from the results.

        Parameters
        ----------
        progress : callable
            Called with the number of results looked at so far.

        Raises
        ------
        StoreError
            When the results or the index cannot be reached.
        """
        self.index.sort()
        there: set[str] = set()
        damaged: list[str] = []
        rows: list[RunRow] = []
        added = 0
        for request_id in self.records.ids():
            there.add(request_id)
            row = self._missing_row(request_id, damaged)
            if row is not None:
                added += 1
                rows.append(row)
            if len(rows) >= _BATCH:
                self.index.upsert(*rows)
                rows.clear()
            progress(len(there))
        self.index.upsert(*rows)
        stale = [request_id for request_id in self.index.ids() if request_id not in there]
        for request_id in stale:
            self.index.remove(request_id)
        return Reindexed(
            num_results=len(there), added=added, removed=len(stale), damaged=tuple(damaged)
        )

    def close(self) -> None:
        """Let go of connections and threads."""
        self._chores.close()
        self.tiers.close()
        with suppress(StoreError):
            self.index.flush()
        self._resources.close()

    def _do(self, chore: str) -> None:
        """Ask the database for what nobody waits for."""
        if chore == _READS:
            self.index.flush()
        else:
            self.preload(self.index.neighbors(chore))

    def _note_hold(self, request_id: str, reason: str) -> None:
        try:
            self.index.hold(request_id, reason)
        except StoreError as error:
            raise StoreError(
                f"The hold of {request_id[:12]} is changed, but not listed: {error.problem}",
                REINDEX,
            ) from error

    def _missing_row(self, request_id: str, damaged: list[str]) -> RunRow | None:
        """Describe a result whose row is missing, damaged, or does not say what the result says."""
        known = None
        with suppress(IntegrityError):
            known = self.index.get(request_id)
        try:
            manifest = self.records.manifest(request_id)
            if manifest is None:
                return None
            if known is not None and _agrees(known, manifest):
                return None
            result = self.records.get(request_id)
        except IntegrityError as error:
            _LOGGER.warning("%s", error)
            damaged.append(request_id)
            return None
        if result is None:
            return None
        row = self._indexed.row(result, manifest)
        if known is not None:
            row = msgspec.structs.replace(row, accessed_at=known.accessed_at)
        return row


def _agrees(row: RunRow, manifest: Manifest) -> bool:
    held = manifest.hold.reason if manifest.hold else ""
    told = (manifest.size, manifest.lifecycle or "hot", held)
    return (row.size, row.lifecycle, row.held) == told


def _own(result: DesignResult) -> DesignResult:
    """Give a caller dictionaries of its own; the arrays are shared and cannot be changed."""
    designs = tuple(
        dataclasses.replace(
            design,
            metrics=dict(design.metrics),
            field_metrics=dict(design.field_metrics),
            timings=dict(design.timings),
        )
        for design in result.designs
    )
    return dataclasses.replace(result, designs=designs, provenance=_copied(result.provenance))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
