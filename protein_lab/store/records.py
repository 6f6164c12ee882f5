"""Results written once: objects under a generation of their own, the manifest last.

One protocol for folders and buckets. ``ID/manifest.json`` names the objects of a result with size
and SHA-256, and appears when all of them are durable; it is created, or replaced where its content
is known, in one step. So of several writers exactly one wins, a reader sees one whole generation,
and what a writer that died left behind is named by nothing until it is collected. Where a place
can name a whole folder in one step, the first generation lies beside its manifest, as
``ID/result.zarr``; any other lies in ``ID/GENERATION/``.

Deleting replaces the manifest by a tombstone first. A legal hold is part of the manifest, so that
no deletion or move can overtake it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.blobs import Objects
from protein_lab.store.checking import CheckedStore
from protein_lab.store.generations import (
    TOMBSTONE,
    TRIES,
    Generations,
    is_generation,
    is_id,
    listed,
    manifest_path,
    new_generation,
)
from protein_lab.store.holds import HOLDS, Holds
from protein_lab.store.manifest import (
    MANIFEST,
    Hold,
    Manifest,
    encode_manifest,
    missing,
    raise_for,
)
from protein_lab.store.packing import (
    ARCHIVE,
    ARRAYS,
    RECORD,
    array_digests,
    array_store,
    describe_result,
    pack_result,
    unpack_result,
)
from protein_lab.store.parts import PARTS, THREADS, Parts
from protein_lab.store.schema import DesignResult

if TYPE_CHECKING:
    import xarray as xr

WRITING_SECONDS = 3600.0
"""A writer that needs longer gives up: what it wrote first may be collected as an orphan."""


def utc_now() -> datetime:
    """Tell the time, in UTC."""
    return datetime.now(UTC)


class Records(Generations):
    """The bytes of record.

    Parameters
    ----------
    objects : Objects
        Where they are kept.
    now : callable
        Gives the time, in UTC.

    Attributes
    ----------
    parts : Parts
        Designs of runs that are not finished.
    holds : Holds
        Copies of legal holds.
    """

    def __init__(self, objects: Objects, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(objects)
        self.parts = Parts(objects, self.marker)
        self.holds = Holds(objects)
        self.now = now

    def put(self, result: DesignResult, created_at: datetime | None = None) -> bool:
        """Keep a result for good; when this returns, no crash loses it.

        Parameters
        ----------
        result : DesignResult
            The answer to a request.
        created_at : datetime or None
            When it was stored first, where that was earlier.

        Returns
        -------
        bool
            False when one is there already, which stays as it is.

        Raises
        ------
        StoreError
            When it cannot be written; nothing of it is visible then.
        """
        request_id = result.request_id
        raw = self.raw_manifest(request_id)
        if self.valid_manifest(request_id, raw) is not None:
            return False
        self.mark()
        packed = pack_result(result)
        manifest = msgspec.structs.replace(
            describe_result(result),
            created_at=created_at or self.now(),
            arrays=array_digests(packed),
            hold=self.holds.kept(request_id),
        )
        if raw is None:
            whole = {**packed, MANIFEST: encode_manifest(listed(manifest, packed))}
            if self.objects.write_folder(request_id, whole):
                return True
        return self._put_generation(request_id, manifest, packed)

    def get(self, request_id: str) -> DesignResult | None:
        """Read a result; None where there is none.

        Everything that is used was compared with its digest. Where the record is damaged, the
        arrays are read instead.

        Raises
        ------
        IntegrityError
            When it is damaged; the message names the objects.
        StoreError
            When the place cannot be used, or a newer version wrote there.
        """
        found = self.get_with_manifest(request_id)
        return None if found is None else found[0]

    def get_with_manifest(self, request_id: str) -> tuple[DesignResult, Manifest] | None:
        """Read a result and the manifest that lists it; see :meth:`get`."""
        name = f"{self.objects.uri}/{request_id}"
        for attempt in range(TRIES):
            manifest = self.manifest(request_id)
            if manifest is None:
                return None
            try:
                return self._unpacked(request_id, manifest, name), manifest
            except IntegrityError:
                # A move may have switched the manifest between the two reads.
                if attempt == TRIES - 1 or self.manifest(request_id) == manifest:
                    raise
        return None

    def ids(self) -> Iterator[str]:
        """Give the ids of all results, also of those whose manifest is damaged."""
        names = [name for name in self.objects.folders() if name not in (PARTS, HOLDS)]
        names = [name for name in names if is_id(name)]
        with ThreadPoolExecutor(THREADS) as pool:
            for name, raw in zip(names, pool.map(self.raw_manifest, names), strict=True):
                if raw is not None and raw != TOMBSTONE:
                    yield name

    def open_arrays(self, request_id: str) -> xr.Dataset:
        """Open the arrays of a result; values are read, and compared, when they are used.

        Raises
        ------
        StoreError
            When there is no such result.
        IntegrityError
            When an object is missing or has another size; later, when one that is read is not
            what the manifest says.
        """
        for _ in range(TRIES - 1):
            manifest = self.expect(request_id)
            try:
                return self._opened(request_id, manifest)
            except IntegrityError:
                # A move may have switched the manifest between the two reads.
                if self.manifest(request_id) == manifest:
                    raise
        return self._opened(request_id, self.expect(request_id))

    def _opened(self, request_id: str, manifest: Manifest) -> xr.Dataset:
        import xarray as xr

        name = f"{self.objects.uri}/{request_id}"
        arrays = f"{manifest.folder}{ARRAYS}/"
        items = {item.path: item for item in manifest.objects}
        if f"{manifest.folder}{ARCHIVE}" in items:
            source: Any = array_store(self.content(request_id, manifest, [ARCHIVE]))
        else:
            there = {info.path: info.size for info in self.objects.list(f"{request_id}/")}
            for path, item in items.items():
                if there.get(f"{request_id}/{path}") != item.size:
                    raise_for([missing(item)], name)
            listed_arrays = {path.removeprefix(arrays): item for path, item in items.items()}
            place = self.objects.arrays(f"{request_id}/{arrays}".rstrip("/"))
            source = CheckedStore(place, listed_arrays, name)
        return xr.open_dataset(source, engine="zarr", chunks=None, consolidated=False)

    def delete(self, request_id: str) -> None:
        """Remove a result; one that is not there is no error.

        Raises
        ------
        StoreError
            When it is under a legal hold, or was changed at the same moment.
        """
        path = manifest_path(request_id)
        raw = self.raw_manifest(request_id)
        if raw is None or raw == TOMBSTONE:  # a deletion that was cut off is ended by ``gc``
            return
        manifest = self.valid_manifest(request_id, raw)
        hold = self.holds.kept(request_id) if manifest is None else manifest.hold
        if hold:
            raise StoreError(
                f"The result {request_id[:12]} is under a legal hold since "
                f"{hold.since:%Y-%m-%d}: {hold.reason} ({hold.holder}).",
                "Release the hold first.",
            )
        doomed = self._doomed(request_id, manifest)
        if not self.objects.replace(path, TOMBSTONE, raw):
            raise StoreError(f"The result {request_id[:12]} was changed meanwhile.", "Try again.")
        self.objects.delete(*doomed)
        self.objects.discard(path, TOMBSTONE)

    def hold(self, request_id: str, reason: str, holder: str) -> Hold:
        """Put a result under a legal hold: it is never deleted while that lasts.

        Parameters
        ----------
        request_id : str
            The result.
        reason, holder : str
            Why, and who asks for it.

        Raises
        ------
        StoreError
            When there is no such result, or no reason.
        """
        if not reason.strip() or not holder.strip():
            raise StoreError("Expected a reason for the hold and who asks for it.")
        self.expect(request_id)
        hold = Hold(reason=reason, holder=holder, since=self.now())
        self.holds.keep(request_id, hold)
        self.change(request_id, lambda found: msgspec.structs.replace(found, hold=hold))
        return hold

    def release(self, request_id: str) -> None:
        """End a legal hold.

        Raises
        ------
        StoreError
            When there is no such result.
        """
        self.change(request_id, lambda found: msgspec.structs.replace(found, hold=UNSET))
        self.holds.forget(request_id)

    def created_at(self, request_id: str, manifest: Manifest) -> datetime:
        """Tell when a result was stored first; before that was noted, by its oldest object."""
        if isinstance(manifest.created_at, datetime):
            return manifest.created_at
        times = [info.modified for info in self.objects.list(f"{request_id}/")]
        return min(times, default=self.now())

    def _put_generation(
        self, request_id: str, manifest: Manifest, packed: Mapping[str, bytes]
    ) -> bool:
        started = time.monotonic()
        generation = new_generation()
        folder = f"{generation}/"
        whole = listed(msgspec.structs.replace(manifest, generation=generation), packed)
        self.write_generation(request_id, folder, packed)
        for _ in range(TRIES):
            raw = self.raw_manifest(request_id)
            if self.valid_manifest(request_id, raw) is not None or _is_late(started):
                break
            if self.switch(request_id, whole, raw):
                self._complete(request_id, folder, packed)
                return True
        self.objects.delete(*[f"{request_id}/{folder}{path}" for path in packed])
        if self.valid_manifest(request_id, self.raw_manifest(request_id)) is None:
            raise StoreError(
                f"Cannot store the result {request_id[:12]} in {self.objects.uri}: it took too "
                "long, or others write there without end.",
                "Try again.",
            )
        return False

    def _doomed(self, request_id: str, manifest: Manifest | None) -> list[str]:
        """List what a deletion removes: all but what somebody may be writing just now."""
        named = {f"{request_id}/{item.path}" for item in manifest.objects} if manifest else set()
        start = len(request_id) + 1
        since = self.now() - timedelta(seconds=WRITING_SECONDS)
        return [
            info.path
            for info in self.objects.list(f"{request_id}/")
            if info.path in named
            or (
                not (is_generation(info.path[start:]) and info.modified > since)
                and info.path != manifest_path(request_id)
            )
        ]

    def _complete(self, request_id: str, folder: str, packed: Mapping[str, bytes]) -> None:
        """Write objects again that a collector with a wrong clock took before they had a name."""
        there = {info.path for info in self.objects.list(f"{request_id}/{folder}")}
        lost = {p: data for p, data in packed.items() if f"{request_id}/{folder}{p}" not in there}
        self.write_generation(request_id, folder, lost)

    def _unpacked(self, request_id: str, manifest: Manifest, name: str) -> DesignResult:
        listed_paths = {item.path.removeprefix(manifest.folder) for item in manifest.objects}
        if RECORD in listed_paths:
            with suppress(IntegrityError):
                return unpack_result(self.content(request_id, manifest, [RECORD]), name)
        return unpack_result(self.content(request_id, manifest, listed_paths - {RECORD}), name)


def _is_late(started: float) -> bool:
    return time.monotonic() - started > WRITING_SECONDS
