"""Results as folders with Zarr groups that xarray opens, written once.

Layout (``protein_lab/result@1``): dimensions ``design``, ``residue``, ``atom``, ``xyz``,
``check``, ``constraint``, ``metric`` and ``draw`` (sequences of a design, best first). Designs of
different lengths are padded with NaN to the longest; ``length`` tells where each one ends. Every
chunk ends in a crc32c, so that a reader that knows nothing of the manifest still notices damage.
``record`` keeps what has no array form. Results are written by
:class:`protein_lab.store.records.Records`; what is here reads any folder with a result.
"""

from __future__ import annotations

from pathlib import Path

from protein_lab.store.blobs import LocalObjects
from protein_lab.store.generations import TOMBSTONE
from protein_lab.store.manifest import (
    MANIFEST,
    Damage,
    list_objects,
    manifest_name,
    raise_for,
    read_manifest,
    verify_folder,
)
from protein_lab.store.packing import (
    ARCHIVE,
    ARRAYS,
    RECORD,
    check_layout,
    read_arrays,
    unpack_result,
)
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult


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
    Records(LocalObjects(root)).put(result)
    return Path(root) / result.request_id


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
    check_layout(manifest, str(folder))
    if verify:
        raise_for(_verify(folder, _result_part(folder)), folder)
    objects = {item.path.removeprefix(manifest.folder) for item in manifest.objects}
    place = folder / manifest.folder
    for name in (RECORD, ARCHIVE):
        if name in objects and (verify or name == ARCHIVE):
            return unpack_result({name: (place / name).read_bytes()}, str(place))
    return read_arrays(place / ARRAYS, str(folder))


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
    found = Path(root).glob(f"[!.]*/{MANIFEST}")
    return sorted(path.parent.name for path in found if path.stat().st_size != len(TOMBSTONE))


def _result_part(folder: Path) -> str:
    """Beginning of the paths that make the result; an output folder holds other files as well."""
    return "" if manifest_name(folder) == MANIFEST else f"{ARRAYS}/"


def _verify(folder: Path, part: str) -> list[Damage]:
    name = manifest_name(folder)
    damages = verify_folder(folder, part)
    if any(damage.path == name for damage in damages):
        return damages
    manifest = read_manifest(folder, name)
    known = {item.path for item in manifest.objects}
    arrays = f"{manifest.folder}{ARRAYS}/"
    found = list_objects(folder, keep=lambda path: path.startswith(arrays))
    added = [path for path in found if path not in known]
    message = "it is not in the manifest; it was added later"
    return damages + [Damage(path=path, message=message) for path in added]
