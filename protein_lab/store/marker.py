"""The mark at the root of a store: which layout it has, and that it is ours.

A store that a newer version laid out is left alone, and so is a folder with other people's files.
Folders of results from before there was a mark get one when something is written.
"""

from __future__ import annotations

import re

import msgspec

from protein_lab.errors import StoreError
from protein_lab.store.blobs import MissingObjectError, Objects
from protein_lab.store.manifest import MANIFEST, PROVENANCE

MARKER = "protein_lab_store.json"
STORE_VERSION = 1
_SCHEMA = "protein_lab/store@"
_CONTENT = msgspec.json.encode({"schema": f"{_SCHEMA}{STORE_VERSION}"}) + b"\n"
_OURS = re.compile(
    rf"{re.escape(MARKER)}|[0-9a-f]{{64}}/.*|(parts|holds)/.*|[^/]+\.sqlite(-wal|-shm|-journal)?",
    re.DOTALL,
)
_RESULT = re.compile(rf"([^/]+)/({re.escape(MANIFEST)}|{re.escape(PROVENANCE)})")


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
    if not objects.write(MARKER, _CONTENT, if_absent=True):
        has_marker(objects)


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
