"""Results as Zarr groups that xarray opens, written once.

Layout (``protein_lab/result@1``): dimensions ``design``, ``residue``, ``atom``, ``xyz``,
``check``, ``constraint``, ``metric`` and ``draw`` (sequences of a design, best first). Designs of
different lengths are padded with NaN to the longest; ``length`` tells where each one ends. Every
chunk ends in a crc32c, so that a reader that knows nothing of the manifest still notices damage.
``record`` keeps what has no array form.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from protein_lab.design.request import DesignRequest
from protein_lab.design.until import Relaxation, Search
from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.arrays import read_designs, write_designs
from protein_lab.store.files import scratch_folder, scratch_name, storing, sync_folder, sync_tree
from protein_lab.store.manifest import (
    MANIFEST,
    Damage,
    Manifest,
    list_objects,
    manifest_name,
    raise_for,
    read_manifest,
    seal,
    verify_folder,
)
from protein_lab.store.schema import DesignResult

RESULT_SCHEMA = "protein_lab/result@1"
ARRAYS = "result.zarr"


def save_result(result: DesignResult, root: Path | str) -> Path:
    """Store a result under its id.

    Parameters
    ----------
    result : DesignResult
        The answer to a request.
    root : Path or str
        Folder of results; made when missing.

    Returns
    -------
    Path
        The result's folder, with ``result.zarr`` and ``manifest.json``. When it was there
        already, the first one is kept as it is.

    Raises
    ------
    StoreError
        When it cannot be written; nothing half written is left.
    """
    path = Path(root) / result.request_id
    if _exists(path):
        return path
    with storing(path), scratch_folder(path) as scratch:
        write_arrays(result, scratch / ARRAYS)
        sync_tree(scratch)
        manifest = describe_result(result, RESULT_SCHEMA)
        seal(scratch, manifest, list_objects(scratch))
        try:
            scratch.rename(path)
        except OSError:
            # Another writer of the same id may have been first; then its result stands.
            if not _exists(path):
                _set_aside(path)
                scratch.rename(path)
        sync_folder(path.parent)
    return path


def write_arrays(result: DesignResult, folder: Path) -> None:
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
    write_designs(folder, result.designs, attributes)


def describe_result(result: DesignResult, schema: str) -> Manifest:
    """Begin the manifest of a result; its objects are listed when it is sealed."""
    return Manifest(
        schema=schema,
        request_id=result.request_id,
        request=to_plain(result.request),
        provenance=to_plain(result.provenance),
        objects=(),
    )


def load_result(path: Path | str, verify: bool = True) -> DesignResult:
    """Read a stored result, or the result in an output folder.

    Parameters
    ----------
    path : Path or str
        Folder written by :func:`save_result` or by
        :class:`protein_lab.store.output.OutputFolder`.
    verify : bool
        Whether to compare the arrays with their digests first; without it, damage inside a chunk
        is still noticed, by the chunk's own checksum.

    Raises
    ------
    StoreError
        When there is no finished result.
    IntegrityError
        When an object is missing or damaged; the message names it.
    """
    folder = Path(path)
    manifest = read_manifest(folder, manifest_name(folder))
    if verify:
        raise_for(_verify(folder, f"{ARRAYS}/"), folder)
    attributes, designs = read_designs(folder / ARRAYS)
    if attributes.get("schema") != RESULT_SCHEMA:
        raise StoreError(
            f"Expected {RESULT_SCHEMA} in {folder}; its layout is {attributes.get('schema')}.",
            "Read it with the version of protein_lab that wrote it.",
        )
    try:
        return DesignResult(
            request=msgspec.convert(attributes["request"], DesignRequest),
            request_id=manifest.request_id,
            designs=designs,
            outcome=attributes["outcome"],
            provenance=attributes["provenance"],
            search=msgspec.convert(attributes.get("search"), Search | None),
            relaxations=msgspec.convert(attributes.get("relaxations", ()), tuple[Relaxation, ...]),
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise IntegrityError(
            f"The attributes of {folder / ARRAYS} do not describe a result: {error}.",
            "Restore it from a copy, or delete it and run the request again.",
        ) from error


def verify_result(path: Path | str) -> list[Damage]:
    """Find everything in a stored result or an output folder that differs from what was written.

    Returns
    -------
    list of Damage
        One entry per object that is missing or damaged, or that was added to the arrays; empty
        when all is intact. Files that a user put beside the outputs are no damage.

    Raises
    ------
    StoreError
        When there is no finished result.
    """
    return _verify(Path(path), "")


def stored_results(root: Path | str) -> list[str]:
    """List the request ids of all finished results below ``root``, sorted."""
    return sorted(path.parent.name for path in Path(root).glob(f"[!.]*/{MANIFEST}"))


def _exists(path: Path) -> bool:
    """Whether a finished result is there; one without a valid manifest does not exist."""
    try:
        read_manifest(path)
    except StoreError:
        return False
    return True


def _set_aside(path: Path) -> None:
    """Remove what has the place of a result but is none, without a moment of half a result."""
    if path.exists():
        old = scratch_name(path)
        path.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _verify(folder: Path, part: str) -> list[Damage]:
    name = manifest_name(folder)
    damages = verify_folder(folder, part)
    if any(damage.path == name for damage in damages):
        return damages
    known = {item.path for item in read_manifest(folder, name).objects}
    found = list_objects(folder, keep=lambda path: path.startswith(f"{ARRAYS}/"))
    added = [path for path in found if path not in known]
    message = "it is not in the manifest; it was added later"
    return damages + [Damage(path=path, message=message) for path in added]


def to_plain(value: Any) -> Any:
    """Turn a value into JSON types, the way it will be read back.

    Numbers of NumPy become plain ones, paths become text, NaN becomes null.
    """
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(value, enc_hook=_number)))


def _number(value: Any) -> Any:
    """Turn numbers of NumPy and paths into JSON types, for msgspec."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot store a {type(value).__name__}")
