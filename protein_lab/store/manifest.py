"""Manifests: the list of a folder's objects with sizes and digests, written last.

Without a valid manifest a result does not exist. Next to SHA-256 each object has a CRC-32 per
block of 4 KiB, so that damage is reported with the region of the file where it lies; the manifest
protects itself with a digest and by being in one canonical form.

Fields that came later are left out where they are not set, so that the bytes of earlier manifests
stay canonical and their digests valid.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.files import is_scratch, storing, write_durable

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
"""Name of the manifest in an output folder, where people look for it."""

BLOCK = 4096
_HEX = 8


class StoredObject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a result.

    Attributes
    ----------
    path : str
        Relative to the folder of the manifest, with forward slashes.
    size : int
        Bytes.
    sha256 : str
        Digest of the content.
    blocks : str
        CRC-32 of each 4 KiB block, eight hexadecimal digits each.
    """

    path: str
    size: int
    sha256: str
    blocks: str


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A legal hold: the result is never deleted while it lasts.

    Attributes
    ----------
    reason : str
        Why.
    holder : str
        Who asked for it.
    since : datetime
        When, in UTC.
    """

    reason: str
    holder: str
    since: datetime


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A copy of the objects that is being made, to take the place of those that are listed.

    Attributes
    ----------
    generation : str
        Folder of the copy.
    since : datetime
        When it was begun, in UTC.
    """

    generation: str
    since: datetime


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder holds and where it came from.

    Attributes
    ----------
    schema : str
        Name and version of the layout, as ``protein_lab/result@1``.
    request_id : str
        Id of the request that the folder answers.
    request, provenance : dict
        The question, and versions, digests, backend, seed and timings of the answer.
    objects : tuple of StoredObject
        Every file except the manifest itself, sorted by path.
    digest : str
        SHA-256 of the manifest with this field empty.
    created_at : datetime
        When the result was stored first, in UTC; a move does not change it.
    arrays : dict of str to str
        SHA-256 of each decoded array with its name, type, shape and attributes; a move or a
        repair does not change them.
    generation : str
        Folder in which the objects lie; not set where they lie beside the manifest.
    lifecycle : str
        ``warm`` or ``cold``; not set for ``hot``.
    hold : Hold
        Legal hold.
    moving : Move
        Copy that is being made.
    """

    schema: str
    request_id: str
    request: dict[str, Any]
    provenance: dict[str, Any]
    objects: tuple[StoredObject, ...]
    digest: str = ""
    created_at: datetime | UnsetType = UNSET
    arrays: dict[str, str] | UnsetType = UNSET
    generation: str | UnsetType = UNSET
    lifecycle: str | UnsetType = UNSET
    hold: Hold | UnsetType = UNSET
    moving: Move | UnsetType = UNSET

    @property
    def folder(self) -> str:
        """Beginning of the paths of all objects, relative to the manifest."""
        return f"{self.generation}/" if self.generation else ""

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(item.size for item in self.objects)


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One object that differs from its manifest.

    Attributes
    ----------
    path : str
        The object, relative to the verified folder.
    message : str
        What was expected and what is there.
    regions : tuple of (int, int)
        Byte ranges, half open, in which the content differs; empty when it cannot be told.
    """

    path: str
    message: str
    regions: tuple[tuple[int, int], ...] = ()


def describe(path: str, data: bytes) -> StoredObject:
    """Measure one object."""
    return StoredObject(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        blocks=_block_sums(data),
    )


def list_objects(folder: Path, keep: Callable[[str], bool] = lambda path: True) -> list[str]:
    """List the finished files below ``folder`` for which ``keep`` holds, sorted."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_scratch(Path(name))]
        for name in names:
            path = Path(parent, name).relative_to(folder)
            if not is_scratch(path) and keep(path.as_posix()):
                found.append(path.as_posix())
    return sorted(found)


def seal(folder: Path, manifest: Manifest, paths: Iterable[str], name: str = MANIFEST) -> Manifest:
    """Describe ``paths`` and write the manifest; from here on the result exists.

    Parameters
    ----------
    folder : Path
        Holds the objects; their content is already durable.
    manifest : Manifest
        Its objects are kept as they were described, so that sealing again hides no damage.
    paths : iterable of str
        Objects to describe now, relative to ``folder``.
    name : str
        File name of the manifest.
    """
    described = {item.path: item for item in manifest.objects}
    described |= {path: describe(path, (folder / path).read_bytes()) for path in paths}
    objects = tuple(described[path] for path in sorted(described))
    sealed = sealed_manifest(msgspec.structs.replace(manifest, objects=objects))
    with storing(folder / name):
        write_durable(folder / name, encode_manifest(sealed))
    return sealed


def sealed_manifest(manifest: Manifest) -> Manifest:
    """Give a manifest the digest of its content."""
    # One trip through JSON first: what is digested is what a reader will decode.
    plain = _decode(encode_manifest(msgspec.structs.replace(manifest, digest="")))
    return msgspec.structs.replace(plain, digest=_digest(plain))


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest in its canonical form."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest:
    """Read a manifest and check that it is intact.

    Raises
    ------
    StoreError
        When there is none: the folder holds no finished result.
    IntegrityError
        When its own bytes were changed.
    """
    path = folder / name
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"Expected a finished result in {folder}; it has no {name}.",
            "Check the path, or run the request again.",
        ) from error
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror}.") from error
    return decode_manifest(raw, str(path))


def decode_manifest(raw: bytes, name: str) -> Manifest:
    """Read bytes of :func:`encode_manifest` and check that they are intact.

    Parameters
    ----------
    raw : bytes
        Content.
    name : str
        What to call it in an error.

    Raises
    ------
    IntegrityError
        When the bytes were changed.
    StoreError
        When a newer version of protein_lab wrote them.
    """
    problem = IntegrityError(
        f"The manifest {name} was changed after it was written.",
        "Repair it from a copy, or run the request again.",
    )
    try:
        manifest = _decode(raw)
    except msgspec.ValidationError as error:
        if _is_intact(raw):
            raise StoreError(
                f"The manifest {name} was written by a newer version of protein_lab.",
                "Read it with that version.",
            ) from error
        raise problem from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise problem from error
    if encode_manifest(manifest) != raw or _digest(manifest) != manifest.digest:
        raise problem
    return manifest


def manifest_name(folder: Path) -> str:
    """Name of a folder's manifest: that of an output folder, or that of a stored result."""
    return PROVENANCE if (folder / PROVENANCE).exists() else MANIFEST


def verify_folder(folder: Path, part: str = "") -> list[Damage]:
    """Compare the objects of a folder with its manifest.

    Parameters
    ----------
    folder : Path
        A stored result or an output folder.
    part : str
        Beginning of the paths to compare; all of them by default.

    Returns
    -------
    list of Damage
        Missing, resized, changed objects and a changed manifest; empty when all is intact.

    Raises
    ------
    StoreError
        When the folder holds no finished result.
    """
    name = manifest_name(folder)
    try:
        manifest = read_manifest(folder, name)
    except IntegrityError as error:
        return [Damage(path=name, message=error.problem)]
    wanted = [item for item in manifest.objects if item.path.startswith(part)]
    return [damage for item in wanted if (damage := _compare_file(folder, item)) is not None]


def raise_for(damages: Iterable[Damage], folder: Path | str) -> None:
    """Raise when there is any damage.

    Raises
    ------
    IntegrityError
        Names every damaged object.
    """
    lines = [f"{damage.path}: {damage.message}" for damage in damages]
    if lines:
        raise IntegrityError(
            f"The result in {folder} is damaged.\n" + "\n".join(lines) + "\n",
            "Restore it from a copy, or delete it and run the request again.",
        )


def compare(item: StoredObject, data: bytes) -> Damage | None:
    """Compare the content of an object with what its manifest says."""
    if len(data) != item.size:
        message = f"expected {item.size} bytes; it has {len(data)}"
        return Damage(path=item.path, message=message)
    if hashlib.sha256(data).hexdigest() == item.sha256:
        return None
    regions = _changed_regions(item, _block_sums(data))
    where = ", ".join(f"{start}-{stop - 1}" for start, stop in regions) or "unknown"
    return Damage(
        path=item.path,
        message=f"its content differs from its digest; changed bytes lie in {where}",
        regions=regions,
    )


def missing(item: StoredObject) -> Damage:
    """Say that an object is not there."""
    return Damage(path=item.path, message=f"expected {item.size} bytes; it is missing")


def _compare_file(folder: Path, item: StoredObject) -> Damage | None:
    path = Path(item.path)
    if path.is_absolute() or ".." in path.parts:
        return Damage(path=item.path, message="lies outside its folder")
    try:
        data = (folder / path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return missing(item)
    except OSError as error:
        return Damage(path=item.path, message=f"cannot be read: {error.strerror}")
    return compare(item, data)


def _block_sums(data: bytes) -> str:
    return "".join(
        f"{zlib.crc32(data[start : start + BLOCK]):08x}" for start in range(0, len(data), BLOCK)
    )


def _changed_regions(item: StoredObject, sums: str) -> tuple[tuple[int, int], ...]:
    starts = range(0, item.size, BLOCK)
    return tuple(
        (start, min(start + BLOCK, item.size))
        for number, start in enumerate(starts)
        if item.blocks[number * _HEX : (number + 1) * _HEX]
        != sums[number * _HEX : (number + 1) * _HEX]
    )


def _decode(raw: bytes) -> Manifest:
    return msgspec.json.decode(raw, type=Manifest)


def _digest(manifest: Manifest) -> str:
    plain = msgspec.structs.replace(manifest, digest="")
    return hashlib.sha256(encode_manifest(plain)).hexdigest()


def _is_intact(raw: bytes) -> bool:
    """Whether this is a manifest with fields of its own whose digest is right."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        return False
    digest = fields.get("digest")
    encoded = msgspec.json.encode({**fields, "digest": ""}, order="sorted")
    plain = msgspec.json.format(encoded, indent=2) + b"\n"
    return digest == hashlib.sha256(plain).hexdigest()
