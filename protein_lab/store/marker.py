"""The mark at the root of a store: which layout it has, and that it is ours.

A store that a newer version laid out is left alone, and so is a folder with other people's files.
Folders of results from before there was a mark get one when something is written.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress

import msgspec

from protein_lab.errors import StoreError
from protein_lab.store.blobs import MissingObjectError, Objects
from protein_lab.store.manifest import MANIFEST, PROVENANCE

MARKER = "protein_lab_store.json"
STORE_VERSION = 1
PROBES = ".probe"
"""Where it is tried whether a place can be used; empty but for the moment of that."""
_SCHEMA = "protein_lab/store@"
_CONTENT = msgspec.json.encode({"schema": f"{_SCHEMA}{STORE_VERSION}"}) + b"\n"
_OURS = re.compile(
    rf"{re.escape(MARKER)}|\.[^/]+|{re.escape(PROBES)}/.*|[0-9a-f]{{64}}/.*|(parts|holds)/.*|[^/]+\.sqlite(-wal|-shm|-journal)?",
    re.DOTALL,
)
_RESULT = re.compile(rf"([^/]+)/({re.escape(MANIFEST)}|{re.escape(PROVENANCE)})")


class Marker:
    """The mark of one store, asked for once.

    Parameters
    ----------
    objects : Objects
        The place.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._may_read = False
        self._may_write = False

    def before_reading(self) -> None:
        """Refuse a store that a newer version laid out."""
        if not self._may_read:
            has_marker(self._objects)
            self._may_read = True

    def before_writing(self) -> None:
        """See that the place is a store of ours, or make it one."""
        if not self._may_write:
            mark(self._objects)
            self._may_read = self._may_write = True


def has_marker(objects: Objects) -> bool:
    """Whether the store is marked, and by a version that this one understands.

    Raises
    ------
    StoreError
        When a newer version made it, or its mark is damaged.
    """
    try:
        raw = objects.read(MARKER)
    except MissingObjectError:
        return False
    if raw == _CONTENT:
        return True
    found = re.fullmatch(rb'\{"schema":"protein_lab/store@(\d{1,9})"\}\n', raw)
    if found is not None and int(found[1]) > STORE_VERSION:
        raise StoreError(
            f"The store in {objects.uri} has layout {int(found[1])}; this version of protein_lab "
            f"knows layouts up to {STORE_VERSION}.",
            "Update protein_lab, or name another store.",
        )
    raise StoreError(
        f"The mark {MARKER} of the store in {objects.uri} is damaged.",
        "Restore it from a copy; if no newer version ever wrote there, delete it instead.",
    )


def mark(objects: Objects) -> None:
    """Mark a store unless it is marked.

    Raises
    ------
    StoreError
        When it belongs to a newer version, holds something else, or cannot be written.
    """
    if has_marker(objects):
        return
    foreign = _foreign(objects)
    if foreign:
        raise StoreError(
            f"Expected an empty place or a store of protein_lab in {objects.uri}; it holds "
            f"{', '.join(foreign[:4])}.",
            "Name another folder or prefix for the store, or empty this one.",
        )
    _probe(objects)
    if not objects.write(MARKER, _CONTENT, if_absent=True):
        has_marker(objects)


def _probe(objects: Objects) -> None:
    """See that the place creates and replaces on condition; everything rests on that.

    A server may ignore the conditions of a write, and a file system may have no hard links.
    """
    path = f"{PROBES}/{secrets.token_hex(8)}"
    try:
        created = [objects.write(path, data, if_absent=True) for data in (b"1", b"2")]
        replaced = [objects.replace(path, data, b"1") for data in (b"3", b"4")]
    finally:
        with suppress(StoreError):
            objects.delete(path)
    if created != [True, False] or replaced != [True, False]:
        raise StoreError(
            f"{objects.uri} does not keep the conditions of writes: of several writers more than "
            "one would win.",
            "Use a folder on a local disk, or a server that honors If-None-Match and If-Match.",
        )


def _foreign(objects: Objects) -> list[str]:
    """Name what is no result and nothing that we put beside results."""
    unknown: set[str] = set()
    results: set[str] = set()
    for item in objects.list():
        if found := _RESULT.fullmatch(item.path):
            results.add(found[1])
        elif not _OURS.fullmatch(item.path):
            unknown.add(item.path.split("/", 1)[0])
    return sorted(unknown - results)
