"""Every stored object compared with its manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby

import msgspec

from protein_lab.errors import StoreError, TierError
from protein_lab.store.blobs import MissingObjectError, ObjectInfo
from protein_lab.store.generations import TOMBSTONE, TRIES, is_generation, manifest_path
from protein_lab.store.manifest import (
    MANIFEST,
    PROVENANCE,
    Damage,
    StoredObject,
    compare,
    missing,
)
from protein_lab.store.packing import ARRAYS
from protein_lab.store.records import WRITING_SECONDS, Records

_HEX_ID = re.compile("[0-9a-f]{64}")


def verify(records: Records, request_ids: Iterable[str] | None = None) -> list[Damage]:
    """Compare every object with its manifest.

    Parameters
    ----------
    records : Records
        The bytes of record.
    request_ids : iterable of str or None
        Which results; all by default.

    Returns
    -------
    list of Damage
        Missing, resized, changed and added objects with their paths from the root of the store
        and the regions that changed; damaged manifests; objects whose manifest is lost.

    Raises
    ------
    StoreError
        When the place cannot be used, or a newer version wrote there.
    """
    records.marker.before_reading()
    if request_ids is None:
        found = by_result(records)
    else:
        found = ((name, _expect(records, name)) for name in dict.fromkeys(request_ids))
    return [damage for name, infos in found for damage in verify_one(records, name, infos)]


def by_result(records: Records) -> Iterator[tuple[str, list[ObjectInfo]]]:
    """Give the objects of each result, or of what could be one."""
    for name, infos in groupby(records.objects.list(), lambda info: info.path.split("/", 1)[0]):
        found = [info for info in infos if "/" in info.path]
        paths = {info.path for info in found}
        is_result = _HEX_ID.fullmatch(name) or f"{name}/{MANIFEST}" in paths
        if found and is_result and f"{name}/{PROVENANCE}" not in paths:
            yield name, found


def verify_one(
    records: Records, request_id: str, infos: Sequence[ObjectInfo], lost_at_once: bool = False
) -> list[Damage]:
    """Compare the objects of one result with its manifest.

    Parameters
    ----------
    records : Records
        The bytes of record.
    request_id : str
        The result.
    infos : sequence of ObjectInfo
        All objects that lie there.
    lost_at_once : bool
        Whether objects without a manifest are damage also while somebody may be writing them.
    """
    for _ in range(TRIES - 1):
        before = records.raw_manifest(request_id)
        damages = _compare_all(records, request_id, infos, lost_at_once)
        # A move may have switched the manifest meanwhile; then what was compared is gone.
        if not damages or records.raw_manifest(request_id) == before:
            return damages
        infos = list(records.objects.list(f"{request_id}/"))
    return _compare_all(records, request_id, infos, lost_at_once)


def _compare_all(
    records: Records, request_id: str, infos: Sequence[ObjectInfo], lost_at_once: bool
) -> list[Damage]:
    try:
        raw = records.raw_manifest(request_id)
        if raw == TOMBSTONE:
            return []
        manifest = records.manifest(request_id)
    except TierError:
        raise
    except StoreError as error:
        return [Damage(path=manifest_path(request_id), message=error.problem)]
    if manifest is None:
        if not lost_at_once and _is_being_written(records, request_id, infos):
            return []
        message = "it is missing; nothing names the objects beside it"
        return [Damage(path=manifest_path(request_id), message=message)]
    damages = [compare_object(records, request_id, item) for item in manifest.objects]
    known = {f"{request_id}/{item.path}" for item in manifest.objects}
    arrays = f"{request_id}/{manifest.folder}{ARRAYS}/"
    added = [info.path for info in infos if info.path.startswith(arrays)]
    message = "it is not in the manifest; it was added later"
    return [damage for damage in damages if damage is not None] + [
        Damage(path=path, message=message) for path in added if path not in known
    ]


def compare_object(records: Records, request_id: str, item: StoredObject) -> Damage | None:
    """Compare one object with what the manifest says; paths begin at the root of the store."""
    whole = f"{request_id}/{item.path}"
    try:
        damage = compare(item, records.objects.read(whole))
    except MissingObjectError:
        damage = missing(item)
    return None if damage is None else msgspec.structs.replace(damage, path=whole)


def _is_being_written(records: Records, request_id: str, infos: Sequence[ObjectInfo]) -> bool:
    """Whether all that is there are generations, and young ones."""
    start = len(request_id) + 1
    since = records.now() - timedelta(seconds=WRITING_SECONDS)
    return all(is_generation(info.path[start:]) for info in infos) and (
        max((info.modified for info in infos), default=since) > since
    )


def _expect(records: Records, request_id: str) -> list[ObjectInfo]:
    infos = list(records.objects.list(f"{request_id}/"))
    if not infos:
        records.expect(request_id)
    return infos
