"""Generations of objects, and the manifest that is switched from one to another in one step."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.blobs import MissingObjectError, Objects
from protein_lab.store.manifest import (
    MANIFEST,
    Manifest,
    compare,
    decode_manifest,
    describe,
    encode_manifest,
    raise_for,
    sealed_manifest,
)
from protein_lab.store.marker import Marker
from protein_lab.store.packing import check_layout
from protein_lab.store.parts import THREADS

TOMBSTONE = b'{"schema":"protein_lab/deleted@1"}\n'
"""Content of the manifest of a result that was deleted."""
TRIES = 5
_GENERATION = re.compile("g[0-9a-f]{16}/")
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


class Generations:
    """Objects of results by generation, and the manifests that name them.

    Parameters
    ----------
    objects : Objects
        Where they are kept.

    Attributes
    ----------
    marker : Marker
        The mark at the root.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.marker = Marker(objects)

    def manifest(self, request_id: str) -> Manifest | None:
        """Read the manifest of a result; None where there is none.

        Raises
        ------
        IntegrityError
            When it is damaged.
        """
        raw = self.raw_manifest(request_id)
        return None if raw is None or raw == TOMBSTONE else self._decoded(request_id, raw)

    def raw_manifest(self, request_id: str) -> bytes | None:
        """Read the bytes of a manifest, valid or not; None where there are none."""
        self.marker.before_reading()
        try:
            return self.objects.read(manifest_path(request_id))
        except MissingObjectError:
            return None

    def expect(self, request_id: str) -> Manifest:
        """Read the manifest of a result that must be there.

        Raises
        ------
        StoreError
            When it is not.
        """
        manifest = self.manifest(request_id)
        if manifest is None:
            raise StoreError(
                f"Expected a finished result {request_id[:12]} in {self.objects.uri}.",
                "Check the id, or run the request again.",
            )
        return manifest

    def valid_manifest(self, request_id: str, raw: bytes | None) -> Manifest | None:
        """Decode a manifest; None where it is damaged, as then there is no result."""
        if raw is None or raw == TOMBSTONE:
            return None
        try:
            return self._decoded(request_id, raw)
        except IntegrityError:
            return None

    def content(
        self, request_id: str, manifest: Manifest, paths: Iterable[str] | None = None
    ) -> dict[str, bytes]:
        """Read objects by the path that they have in every generation, and compare their digests.

        Parameters
        ----------
        request_id : str
            The result.
        manifest : Manifest
            Lists them.
        paths : iterable of str or None
            Which ones; all by default.

        Raises
        ------
        IntegrityError
            When one is missing or damaged; the message names all of them.
        """
        start = manifest.folder
        items = {item.path.removeprefix(start): item for item in manifest.objects}
        wanted = {path: items[path] for path in (items if paths is None else paths)}
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda item: self._read(request_id, item.path), wanted.values())
            content = dict(zip(wanted, found, strict=True))
        damages = [compare(item, content[path]) for path, item in wanted.items()]
        raise_for(filter(None, damages), f"{self.objects.uri}/{request_id}")
        return content

    def change(self, request_id: str, edit: Callable[[Manifest], Manifest]) -> Manifest:
        """Change what a manifest says, whoever else changes it at the same time.

        Raises
        ------
        StoreError
            When there is no such result, or others change it without end.
        """
        for _ in range(TRIES):
            manifest = self.expect(request_id)
            changed = sealed_manifest(edit(manifest))
            if self.switch(request_id, changed, encode_manifest(manifest)):
                return changed
        raise StoreError(f"The result {request_id[:12]} is changed by others.", "Try again.")

    def switch(self, request_id: str, manifest: Manifest, expected: bytes | None) -> bool:
        """Put a sealed manifest in the place of known bytes, or of none, in one step."""
        path, data = manifest_path(request_id), encode_manifest(manifest)
        if expected is None:
            won = self.objects.write(path, data, if_absent=True)
        else:
            won = self.objects.replace(path, data, expected)
        # The answer to a first try that arrived may have been lost.
        return won or self.raw_manifest(request_id) == data

    def write_generation(self, request_id: str, folder: str, content: Mapping[str, bytes]) -> None:
        """Write the objects of a generation; nothing names them yet.

        Raises
        ------
        StoreError
            When one cannot be written; those that could are removed.
        """
        paths = [f"{request_id}/{folder}{path}" for path in content]
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(self.objects.write, paths, content.values()))
        except StoreError:
            with suppress(StoreError):
                self.objects.delete(*paths)
            raise

    def mark(self) -> None:
        """See that the place is a store of ours, or make it one, before anything is written.

        Raises
        ------
        StoreError
            When it holds something else, was laid out by a newer version, or cannot be written.
        """
        self.marker.before_writing()

    def _decoded(self, request_id: str, raw: bytes) -> Manifest:
        manifest = decode_manifest(raw, f"{self.objects.uri}/{manifest_path(request_id)}")
        if manifest.request_id != request_id:
            raise IntegrityError(
                f"The manifest of {request_id[:12]} in {self.objects.uri} belongs to "
                f"{manifest.request_id[:12]}.",
                "Move its folder back to its name.",
            )
        check_layout(manifest, f"{self.objects.uri}/{request_id}")
        return manifest

    def _read(self, request_id: str, path: str) -> bytes:
        """Read an object; one that is not there reads as empty, which no digest of ours has."""
        if ".." in path.split("/"):
            return b""
        try:
            return self.objects.read(f"{request_id}/{path}")
        except MissingObjectError:
            return b""


def listed(manifest: Manifest, content: Mapping[str, bytes]) -> Manifest:
    """List the objects of a generation in its manifest and seal it."""
    items = [describe(f"{manifest.folder}{path}", content[path]) for path in sorted(content)]
    return sealed_manifest(msgspec.structs.replace(manifest, objects=tuple(items)))


def new_generation() -> str:
    """Name a generation that nobody else writes."""
    return f"g{secrets.token_hex(8)}"


def is_generation(path: str) -> bool:
    """Whether an object, by its path below its result, lies in a generation of its own."""
    return _GENERATION.match(path) is not None


def is_id(name: str) -> bool:
    """Whether a name can be the id of a request."""
    return _ID.fullmatch(name) is not None


def manifest_path(request_id: str) -> str:
    """Path of the manifest of a result.

    Raises
    ------
    StoreError
        When the id is none.
    """
    if not is_id(request_id):
        raise StoreError(f"Expected the id of a request, got {request_id[:80]!r}.")
    return f"{request_id}/{MANIFEST}"
