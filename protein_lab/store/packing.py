"""A result as a set of objects, in the form of its lifecycle class, and back.

``hot``
    ``result.zarr`` as written, and ``record.bin``, the same result as one record that is read at
    once: opening thirty arrays takes longer than everything else about a read.
``warm``
    ``result.zarr`` alone, compressed as far as zstd goes.
``cold``
    ``result.zarr.zip``: the same arrays in one object, which Zarr opens as well.

Whatever the form, the decoded arrays are the same; :func:`array_digests` tells.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from protein_lab.design.request import DesignRequest
from protein_lab.design.until import Relaxation, Search
from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.arrays import STRING_WARNING, read_designs, write_designs
from protein_lab.store.base import LifecycleClass
from protein_lab.store.manifest import Manifest
from protein_lab.store.schema import DesignResult, decode_result, encode_result, to_plain

RESULT_SCHEMA = "protein_lab/result@1"
ARRAYS = "result.zarr"
RECORD = "record.bin"
ARCHIVE = "result.zarr.zip"

_LEVELS: dict[LifecycleClass, int] = {"hot": 3, "warm": 19, "cold": 19}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEMBER = 0o100644 << 16
_REMEDY = "Restore it from a copy, or delete it and run the request again."


def write_arrays(result: DesignResult, target: Path | Store) -> None:
    """Write a result as a new Zarr group; the caller makes it durable and seals it."""
    attributes = {
        "schema": RESULT_SCHEMA,
        "request_id": result.request_id,
        "request": to_plain(result.request),
        "outcome": result.outcome,
        "provenance": to_plain(result.provenance),
        "search": to_plain(result.search),
        "relaxations": to_plain(result.relaxations),
    }
    write_designs(target, result.designs, attributes)


def describe_result(result: DesignResult, schema: str = RESULT_SCHEMA) -> Manifest:
    """Begin the manifest of a result; its objects are listed when it is sealed."""
    return Manifest(
        schema=schema,
        request_id=result.request_id,
        request=to_plain(result.request),
        provenance=to_plain(result.provenance),
        objects=(),
    )


def check_layout(manifest: Manifest, name: str) -> None:
    """Refuse a stored result whose layout another version made.

    Raises
    ------
    StoreError
        When this version does not know the layout.
    """
    kind = RESULT_SCHEMA.split("@", 1)[0]
    if manifest.schema.split("@", 1)[0] == kind and manifest.schema != RESULT_SCHEMA:
        raise StoreError(
            f"Expected {RESULT_SCHEMA} in {name}; its layout is {manifest.schema}.",
            "Read it with the version of protein_lab that wrote it.",
        )


def pack_result(result: DesignResult) -> dict[str, bytes]:
    """Give the objects of a new result, by path."""
    memory = MemoryStore()
    write_arrays(result, memory)
    return {**_prefixed(_content(memory)), RECORD: encode_result(result)}


def repack(objects: Mapping[str, bytes], lifecycle: LifecycleClass) -> dict[str, bytes]:
    """Give the objects of a result in the form of another class.

    Parameters
    ----------
    objects : mapping
        Content of its objects by path, verified.
    lifecycle : {"hot", "warm", "cold"}
        The other class.
    """
    arrays = _content(_recompressed(array_store(objects), _LEVELS[lifecycle]))
    if lifecycle == "cold":
        return {ARCHIVE: _archive(arrays)}
    packed = _prefixed(arrays)
    if lifecycle == "hot":
        packed[RECORD] = encode_result(unpack_result(objects, ARRAYS))
    return packed


def array_store(objects: Mapping[str, bytes]) -> MemoryStore:
    """Give the arrays of a result as a store that Zarr reads from.

    Raises
    ------
    IntegrityError
        When there are no arrays among the objects.
    """
    if ARCHIVE in objects:
        try:
            with zipfile.ZipFile(io.BytesIO(objects[ARCHIVE])) as archive:
                content = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
            raise IntegrityError(f"The archive {ARCHIVE} is damaged: {error}.", _REMEDY) from error
    else:
        start = f"{ARRAYS}/"
        content = {p.removeprefix(start): d for p, d in objects.items() if p.startswith(start)}
    from zarr.core.buffer import default_buffer_prototype

    make = default_buffer_prototype().buffer.from_bytes
    return MemoryStore({path: make(data) for path, data in content.items()}, read_only=True)


def array_digests(objects: Mapping[str, bytes]) -> dict[str, str]:
    """Digest every decoded array with its name, type, shape, dimensions and attributes."""
    group = zarr.open_group(array_store(objects), mode="r", use_consolidated=False)
    return {name: _array_digest(name, array) for name, array in sorted(group.arrays())}


def unpack_result(objects: Mapping[str, bytes], name: str) -> DesignResult:
    """Rebuild a result from its objects.

    Parameters
    ----------
    objects : mapping
        Content by path, verified; the record alone is enough where there is one.
    name : str
        Where they came from, for messages.

    Raises
    ------
    IntegrityError
        When they do not describe a result.
    """
    if RECORD in objects:
        return decode_result(objects[RECORD], f"{name}/{RECORD}")
    return read_arrays(array_store(objects), name)


def read_arrays(source: Path | Store, name: str) -> DesignResult:
    """Rebuild a result from its Zarr group.

    Raises
    ------
    StoreError
        When the group has another layout.
    IntegrityError
        When it does not describe a result.
    """
    attributes, designs = read_designs(source, name)
    if attributes.get("schema") != RESULT_SCHEMA:
        raise StoreError(
            f"Expected {RESULT_SCHEMA} in {name}; its layout is {attributes.get('schema')}.",
            "Read it with the version of protein_lab that wrote it.",
        )
    try:
        return DesignResult(
            request=msgspec.convert(attributes["request"], DesignRequest),
            request_id=attributes["request_id"],
            designs=designs,
            outcome=attributes["outcome"],
            provenance=attributes["provenance"],
            search=msgspec.convert(attributes.get("search"), Search | None),
            relaxations=msgspec.convert(attributes.get("relaxations", ()), tuple[Relaxation, ...]),
        )
    except (KeyError, msgspec.ValidationError) as error:
        problem = f"The attributes of {name} do not describe a result: {error}."
        raise IntegrityError(problem, _REMEDY) from error


def _recompressed(source: Store, level: int) -> MemoryStore:
    """Copy a group array by array, whatever the arrays are, each in one chunk."""
    target = MemoryStore()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=STRING_WARNING)
        group = zarr.open_group(source, mode="r", use_consolidated=False)
        copy = zarr.create_group(target, zarr_format=3, attributes=dict(group.attrs))
        for name, array in sorted(group.arrays()):
            made = copy.create_array(
                name,
                shape=array.shape,
                chunks=tuple(max(1, size) for size in array.shape),
                dtype=cast("Any", array.metadata).data_type,
                compressors=[ZstdCodec(level=level), Crc32cCodec()],
                fill_value=array.fill_value,
                dimension_names=cast("Any", array.metadata).dimension_names,
                attributes=dict(array.attrs),
                config={"write_empty_chunks": True},
            )
            if array.size:
                made[...] = array[...]
    return target


def _content(memory: MemoryStore) -> dict[str, bytes]:
    return {path: data.to_bytes() for path, data in sorted(memory._store_dict.items())}


def _prefixed(arrays: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{ARRAYS}/{path}": data for path, data in arrays.items()}


def _archive(arrays: Mapping[str, bytes]) -> bytes:
    """Put arrays into one ZIP file; the same arrays give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in arrays.items():
            member = zipfile.ZipInfo(path, date_time=_EPOCH)
            member.external_attr = _MEMBER
            is_text = path.endswith("zarr.json")
            kind = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
            archive.writestr(member, data, compress_type=kind, compresslevel=9)
    return stream.getvalue()


def _array_digest(name: str, array: zarr.Array[Any]) -> str:
    values = np.asarray(array[...])
    plain = values.dtype.kind in "biufc"
    little = values.astype(values.dtype.newbyteorder("<"), copy=False) if plain else values
    content = little.tobytes() if plain else json.dumps(values.tolist()).encode()
    about = {
        "name": name,
        "dtype": little.dtype.str if plain else "string",
        "shape": list(array.shape),
        "dimensions": list(cast("Any", array.metadata).dimension_names or ()),
        "attributes": dict(array.attrs),
    }
    head = json.dumps(about, sort_keys=True).encode()
    return hashlib.sha256(len(head).to_bytes(8, "little") + head + content).hexdigest()
