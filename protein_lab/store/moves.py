"""Copy, verify, switch, delete: how the objects of a result get another form.

The intent is noted in the manifest first, with the generation that will hold the copy. So at any
moment there is the generation that the manifest lists and at most one more; a mover that died is
taken over after an hour, and one that was only slow finds that its manifest is gone and gives up.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.base import LifecycleClass
from protein_lab.store.generations import listed, manifest_path, new_generation
from protein_lab.store.manifest import Manifest, Move, encode_manifest, sealed_manifest
from protein_lab.store.packing import array_digests, repack
from protein_lab.store.records import Records

MOVE_TIME = timedelta(hours=1)
"""A move that has not ended after so long was cut off."""


class MovingError(StoreError):
    """Somebody else moves the result just now."""


def class_of(manifest: Manifest) -> LifecycleClass:
    """Tell in which form a result is kept."""
    known: dict[str, LifecycleClass] = {"warm": "warm", "cold": "cold"}
    return known.get(str(manifest.lifecycle), "hot")


def move(records: Records, request_id: str, lifecycle: LifecycleClass) -> Manifest:
    """Give the objects of a result the form of another class.

    Parameters
    ----------
    records : Records
        The bytes of record.
    request_id : str
        The result.
    lifecycle : {"hot", "warm", "cold"}
        The class.

    Returns
    -------
    Manifest
        What lists the result now.

    Raises
    ------
    MovingError
        When somebody else moves it.
    IntegrityError
        When it is damaged, or the copy is not what it should be; the result stays as it was.
    StoreError
        When there is no such result, or the place cannot be used.
    """
    begun = _begin(records, request_id)
    try:
        final = _copy(records, request_id, begun, lifecycle)
    except StoreError:
        back = sealed_manifest(msgspec.structs.replace(begun, moving=UNSET))
        with suppress(StoreError):
            records.switch(request_id, back, encode_manifest(begun))
        raise
    if not records.switch(request_id, final, encode_manifest(begun)):
        with suppress(StoreError):
            records.objects.delete(*[f"{request_id}/{item.path}" for item in final.objects])
        raise MovingError(f"The result {request_id[:12]} was changed meanwhile.", "Try again.")
    remove_unlisted(records, request_id, final)
    return final


def is_recent(moving: Move, now: datetime) -> bool:
    """Whether a move may still go on; one from the future was noted by a clock that was wrong."""
    return abs(now - moving.since) < MOVE_TIME


def remove_unlisted(records: Records, request_id: str, manifest: Manifest) -> None:
    """Remove the objects of a result that its manifest does not list."""
    listed_paths = {f"{request_id}/{item.path}" for item in manifest.objects}
    listed_paths.add(manifest_path(request_id))
    there = [info.path for info in records.objects.list(f"{request_id}/")]
    records.objects.delete(*[path for path in there if path not in listed_paths])


def _begin(records: Records, request_id: str) -> Manifest:
    """Note in the manifest where the copy will be, unless another mover is at work."""
    manifest = records.expect(request_id)
    now = records.now()
    if isinstance(manifest.moving, Move) and is_recent(manifest.moving, now):
        raise MovingError(
            f"The result {request_id[:12]} is being moved since {manifest.moving.since:%H:%M:%S}.",
            "Try again later.",
        )
    mark = Move(generation=new_generation(), since=now)
    begun = sealed_manifest(msgspec.structs.replace(manifest, moving=mark))
    if not records.switch(request_id, begun, encode_manifest(manifest)):
        raise MovingError(f"The result {request_id[:12]} was changed meanwhile.", "Try again.")
    return begun


def _copy(
    records: Records, request_id: str, begun: Manifest, lifecycle: LifecycleClass
) -> Manifest:
    """Write the copy and read it back; gives the manifest that will list it."""
    remove_unlisted(records, request_id, begun)
    content = records.content(request_id, begun)
    digests = array_digests(content)
    if begun.arrays and begun.arrays != digests:
        raise IntegrityError(
            f"The arrays of {request_id[:12]} differ from the digests in their manifest.",
            "Repair the store first.",
        )
    assert isinstance(begun.moving, Move)
    packed = repack(content, lifecycle)
    changed = msgspec.structs.replace(
        begun,
        generation=begun.moving.generation,
        lifecycle=UNSET if lifecycle == "hot" else lifecycle,
        moving=UNSET,
        arrays=digests,
    )
    final = listed(changed, packed)
    records.write_generation(request_id, final.folder, packed)
    if array_digests(records.content(request_id, final)) != digests:
        raise IntegrityError(
            f"The copy of {request_id[:12]} has other arrays than its source.",
            "The result stays as it was; try again.",
        )
    return final
