"""Care for the bytes of record: find damage, repair it, and collect what nothing names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.blobs import ObjectInfo
from protein_lab.store.generations import (
    TOMBSTONE,
    is_id,
    listed,
    manifest_path,
    new_generation,
)
from protein_lab.store.manifest import (
    Manifest,
    Move,
    compare,
    encode_manifest,
)
from protein_lab.store.marker import PROBES
from protein_lab.store.moves import class_of, is_recent, remove_unlisted
from protein_lab.store.packing import (
    ARRAYS,
    RECORD,
    array_digests,
    pack_result,
    repack,
    unpack_result,
)
from protein_lab.store.parts import PARTS
from protein_lab.store.records import WRITING_SECONDS, Records
from protein_lab.store.schema import DesignResult
from protein_lab.store.verification import by_result, compare_object, verify, verify_one

__all__ = ["GRACE", "Source", "copies_of", "gc", "repair", "verify"]

GRACE = timedelta(days=1)
"""What nothing names is left alone for so long: somebody may be writing it."""

Source = Callable[[str], DesignResult | None]
"""Gives a result by its id, as a faster tier does."""


def gc(records: Records, grace: timedelta = GRACE, dry_run: bool = False) -> list[ObjectInfo]:
    """Remove what nothing names.

    That is: generations that no manifest names, what a deletion left, scratch of writers that
    died, and single designs of runs whose result is stored. What belongs to a damaged manifest, or
    to a result under a legal hold, stays: it may be all that is left.

    Parameters
    ----------
    records : Records
        The bytes of record.
    grace : timedelta
        Younger objects stay; at least an hour, which is what a writer may take.
    dry_run : bool
        Only tell what would be removed.

    Returns
    -------
    list of ObjectInfo
        What was removed.

    Raises
    ------
    StoreError
        When the grace is too short or the place cannot be used.
    """
    if grace.total_seconds() < WRITING_SECONDS:
        raise StoreError(
            f"Expected a grace of at least {WRITING_SECONDS:.0f} s, got "
            f"{grace.total_seconds():.0f} s.",
            "A writer may take that long.",
        )
    records.marker.before_reading()
    until = records.now() - grace
    held = records.holds.ids()
    removed: list[ObjectInfo] = []
    for request_id, infos in by_result(records):
        if request_id in held:
            continue
        orphans = _orphans(records, request_id, infos, until, dry_run)
        _remove(records, orphans, dry_run)
        if not dry_run and len(orphans) == len(infos) - 1:
            records.objects.discard(manifest_path(request_id), TOMBSTONE)
        removed += orphans
    for run in records.parts.runs():
        if is_id(run) and _intact_manifest(records, run) is not None:
            parts = list(records.objects.list(f"{PARTS}/{run}/"))
            _remove(records, parts, dry_run)
            removed += parts
    probes = [info for info in records.objects.list(f"{PROBES}/") if info.modified <= until]
    _remove(records, probes, dry_run)
    return removed + probes + list(records.objects.sweep(until, dry_run))


def repair(
    records: Records,
    request_id: str,
    sources: Sequence[Source] = (),
    copies: Sequence[Records] = (),
) -> list[str]:
    """Mend a damaged result.

    What is intact of the result itself is tried first (its record gives the arrays, and the other
    way round), then copies in another place, then other tiers. Objects whose bytes come out as the
    manifest says are put back in their place; else the result gets a new generation whose decoded
    arrays have the digests of the manifest.

    Parameters
    ----------
    records : Records
        The bytes of record.
    request_id : str
        The result.
    sources : sequence of callable
        Give the result by its id, as other tiers do; those that fail are passed over.
    copies : sequence of Records
        The same results in another place.

    Returns
    -------
    list of str
        Paths that were mended; empty when all was intact.

    Raises
    ------
    StoreError
        When nothing gives the result back. Nothing was changed then.
    """
    infos = list(records.objects.list(f"{request_id}/"))
    damages = verify_one(records, request_id, infos, lost_at_once=True)
    if not damages:
        return []
    manifest = _intact_manifest(records, request_id)
    if manifest is None:
        return _restore(records, request_id, infos, [*copies_of(copies), *sources])
    contents = _contents(records, request_id, manifest, sources, copies)
    kept: list[Mapping[str, bytes]] = []
    for content in contents:
        _put_back(records, request_id, manifest, content)
        if not verify_one(records, request_id, list(records.objects.list(f"{request_id}/"))):
            return [damage.path for damage in damages]
        kept.append(content)
    for content in kept:
        if _renew(records, request_id, manifest, content):
            return [damage.path for damage in damages]
    raise _hopeless(request_id)


def copies_of(copies: Sequence[Records]) -> list[Source]:
    """Give other places as sources."""
    return [copy.get for copy in copies]


def _orphans(
    records: Records, request_id: str, infos: Sequence[ObjectInfo], until: datetime, dry_run: bool
) -> list[ObjectInfo]:
    """Find the objects of a result that its manifest does not name."""
    path = manifest_path(request_id)
    try:
        raw = records.raw_manifest(request_id)
        manifest = records.manifest(request_id)
    except TierError:
        raise
    except StoreError:
        return []  # damaged, or written by a newer version
    if raw == TOMBSTONE and any(info.path == path and info.modified > until for info in infos):
        return []  # somebody may be deleting it just now
    moving = ""
    if manifest is not None and isinstance(manifest.moving, Move):
        if is_recent(manifest.moving, records.now()):
            moving = f"{request_id}/{manifest.moving.generation}/"
        elif not dry_run:
            # A mover that is only slow finds that its move is over, and switches nothing.
            manifest = records.change(request_id, _without_move)
    objects = manifest.objects if manifest is not None else ()
    named = {path} | {f"{request_id}/{item.path}" for item in objects}
    return [
        info
        for info in infos
        if info.path not in named
        and info.modified <= until
        and not (moving and info.path.startswith(moving))
    ]


def _without_move(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, moving=UNSET)


def _remove(records: Records, infos: Sequence[ObjectInfo], dry_run: bool) -> None:
    if infos and not dry_run:
        records.objects.delete(*[info.path for info in infos])


def _intact_manifest(records: Records, request_id: str) -> Manifest | None:
    try:
        return records.manifest(request_id)
    except IntegrityError:
        return None


def _contents(
    records: Records,
    request_id: str,
    manifest: Manifest,
    sources: Sequence[Source],
    copies: Sequence[Records],
) -> Iterator[dict[str, bytes]]:
    """Give the objects of a result as they should be, from one place after another."""
    for copy in copies:
        with suppress(StoreError):
            other = copy.manifest(request_id)
            if other is not None:
                content = copy.content(request_id, other)
                yield (
                    content
                    if class_of(other) == class_of(manifest)
                    else repack(content, class_of(manifest))
                )
    for source in (records.get, *copies_of(copies), *sources):
        result = _asked(source, request_id)
        if result is not None:
            packed = pack_result(result)
            yield packed if class_of(manifest) == "hot" else repack(packed, class_of(manifest))


def _asked(source: Source, request_id: str) -> DesignResult | None:
    try:
        result = source(request_id)
    except StoreError:
        return None
    return result if result is not None and result.request_id == request_id else None


def _put_back(
    records: Records, request_id: str, manifest: Manifest, content: Mapping[str, bytes]
) -> None:
    """Write the damaged objects whose content is what the manifest says, and remove others."""
    for item in manifest.objects:
        data = content.get(item.path.removeprefix(manifest.folder))
        if data is None or compare(item, data) is not None:
            continue
        if compare_object(records, request_id, item) is not None:
            records.objects.write(f"{request_id}/{item.path}", data)
    arrays = f"{request_id}/{manifest.folder}{ARRAYS}/"
    known = {f"{request_id}/{item.path}" for item in manifest.objects}
    there = [info.path for info in records.objects.list(arrays)]
    records.objects.delete(*[path for path in there if path not in known])


def _renew(
    records: Records, request_id: str, manifest: Manifest, content: Mapping[str, bytes]
) -> bool:
    """Give a result a new generation, if its decoded arrays are those of the manifest."""
    digests = array_digests(content)
    if manifest.arrays and manifest.arrays != digests:
        return False
    generation = new_generation()
    changed = msgspec.structs.replace(manifest, generation=generation, arrays=digests)
    final = listed(changed, content)
    records.write_generation(request_id, final.folder, content)
    if not records.switch(request_id, final, encode_manifest(manifest)):
        records.objects.delete(*[f"{request_id}/{item.path}" for item in final.objects])
        raise StoreError(f"The result {request_id[:12]} was changed meanwhile.", "Try again.")
    remove_unlisted(records, request_id, final)
    return True


def _restore(
    records: Records, request_id: str, infos: Sequence[ObjectInfo], sources: Sequence[Source]
) -> list[str]:
    """Write a result anew whose manifest is damaged or lost."""
    created = min((info.modified for info in infos), default=records.now())
    for source in (lambda name: _left_over(records, name, infos), *sources):
        result = _asked(source, request_id)
        if result is not None:
            records.put(result, created_at=created)
            remove_unlisted(records, request_id, records.expect(request_id))
            return [manifest_path(request_id)]
    raise _hopeless(request_id)


def _left_over(
    records: Records, request_id: str, infos: Sequence[ObjectInfo]
) -> DesignResult | None:
    """Read a record that no manifest names; it carries a digest of its own."""
    for info in infos:
        if info.path.endswith(f"/{RECORD}"):
            with suppress(StoreError):
                return unpack_result({RECORD: records.objects.read(info.path)}, request_id)
    return None


def _hopeless(request_id: str) -> StoreError:
    return StoreError(
        f"Nothing gives the result {request_id[:12]} back.",
        "Restore it from a backup, or delete it and run the request again.",
    )
