"""The folder that a design run leaves behind.

While a run works, finished designs lie in ``.partial``, each whole and durable as soon as it is
done, so that a run that was cut off goes on where it stopped. When all are there, the files are
made in ``.partial/staging`` and moved to their places, ``provenance.json`` last: it lists every
file with its digest, and without it the folder holds no finished result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from protein_lab.constraints.base import Assembling
from protein_lab.design.request import DesignRequest, embedded_request
from protein_lab.errors import IntegrityError, StoreError
from protein_lab.protein import Protein
from protein_lab.store.files import storing, sync_folder, sync_tree, write_durable
from protein_lab.store.manifest import PROVENANCE, list_objects, read_manifest, seal
from protein_lab.store.objects import load_result
from protein_lab.store.packing import ARRAYS, describe_result, write_arrays
from protein_lab.store.schema import Design, DesignResult, decode_design, encode_design, to_plain
from protein_lab.store.summary import (
    assembly_file,
    design_file,
    encode_summary,
    fasta,
    summarize,
)

OUTPUT_SCHEMA = "protein_lab/output@1"
REPORT = "report.html"
SUMMARY = "summary.json"
FASTA = "designs.fasta"
_DESIGNS = "designs"
_PARTIAL = ".partial"
_STAGING = "staging"
_REQUEST = "request.json"
_LOCK = "lock"
_ENTRIES = frozenset({_DESIGNS, FASTA, SUMMARY, ARRAYS, REPORT, PROVENANCE, _PARTIAL})


class OutputFolder:
    """Folder of one request: resumes, keeps finished designs, publishes the result.

    Use it as a context manager: it holds a lock, so that two runs never share a folder.

    Parameters
    ----------
    path : Path or str
        The folder; made when missing.
    request : DesignRequest
        The question.
    request_id : str
        Its id.

    Raises
    ------
    StoreError
        When the folder holds something else, another run works in it, or it is not writable.
    """

    def __init__(self, path: Path | str, request: DesignRequest, request_id: str) -> None:
        self.path = Path(path)
        self.request = embedded_request(request)
        self.request_id = request_id
        self._partial = self.path / _PARTIAL
        self._lock: Any = None

    def __enter__(self) -> Self:
        with storing(self.path):
            self._claim()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def is_complete(self) -> bool:
        """Whether the finished result of this request is already here."""
        return (self.path / PROVENANCE).exists()

    def load(self) -> DesignResult:
        """Read the finished result, every file verified."""
        return load_result(self.path)

    def finished(self) -> dict[int, Design]:
        """Read the designs that an earlier run finished, by index; damaged ones are left out."""
        designs: dict[int, Design] = {}
        for path in sorted(self._partial.glob("design-*.bin")):
            try:
                design = decode_design(path.read_bytes(), str(path))
            except IntegrityError:
                continue  # it is computed again, which gives the same design
            designs[design.index] = design
        return designs

    def keep(self, design: Design) -> None:
        """Make a finished design durable.

        Raises
        ------
        StoreError
            When it cannot be written; designs kept before stay.
        """
        with storing(self.path):
            write_durable(self._partial / f"design-{design.index:06d}.bin", encode_design(design))

    def publish(self, result: DesignResult) -> Path:
        """Write all files of the result, the provenance last, and forget the partial designs.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        StoreError
            When it cannot be written; finished designs are kept for the next try.
        """
        if self.is_complete:
            return self.path
        staging = self._partial / _STAGING
        with storing(self.path):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            _write_files(staging, result)
            sync_tree(staging)
            for source in sorted(staging.iterdir()):
                _move(source, self.path / source.name)
            sync_folder(self.path)
            _seal(self.path, result)
            self.__exit__(None, None, None)
            shutil.rmtree(self._partial, ignore_errors=True)
        return self.path

    def _claim(self) -> None:
        """Make the folder, see that it is ours, and lock it."""
        self.path.mkdir(parents=True, exist_ok=True)
        found = {entry.name for entry in self.path.iterdir()}
        if self.is_complete:
            self._expect(read_manifest(self.path, PROVENANCE).request_id)
            return
        known = self._partial / _REQUEST
        if known.exists():
            self._expect(_read_request_id(known))
        elif found - {_PARTIAL}:
            raise StoreError(
                f"Expected {self.path} to be empty or to hold an earlier run of this request; "
                f"it holds {', '.join(sorted(found)[:4])}.",
                "Choose another folder with --out, or empty this one.",
            )
        self._partial.mkdir(exist_ok=True)
        self._lock = _lock(self._partial / _LOCK, self.path)
        content = {"request_id": self.request_id, "request": to_plain(self.request)}
        write_durable(known, msgspec.json.encode(content))

    def _expect(self, request_id: str) -> None:
        if request_id != self.request_id:
            raise StoreError(
                f"{self.path} belongs to another request "
                f"({request_id[:12]}, not {self.request_id[:12]}).",
                "Choose another folder with --out; results are never overwritten.",
            )


def attach(folder: Path | str, name: str, content: bytes) -> Path:
    """Add a file, as the report, to a finished output folder and list it in the provenance.

    Parameters
    ----------
    folder : Path or str
        A finished output folder.
    name : str
        File name in it; an earlier file of this name is replaced.
    content : bytes
        Its content.

    Raises
    ------
    StoreError
        When the folder holds no finished result, the name is taken by one of its objects, or it
        cannot be written.
    """
    root = Path(folder)
    manifest = read_manifest(root, PROVENANCE)
    if not name or Path(name).name != name or name in _ENTRIES - {REPORT}:
        raise StoreError(f"Expected a new file name in {root}; {name!r} is taken or no name.")
    with storing(root / name):
        write_durable(root / name, content)
    seal(root, manifest, [name], PROVENANCE)
    return root / name


def _write_files(staging: Path, result: DesignResult) -> None:
    (staging / _DESIGNS).mkdir()
    for rank, design in enumerate(result.designs, start=1):
        name = design_file(rank, design)
        if name is not None:
            protein = _structure(rank, design)
            (staging / name).write_text(protein.to_mmcif(), encoding="utf-8")
            _write_assembly(staging, result.request, rank, design, protein)
    (staging / FASTA).write_text(fasta(result), encoding="utf-8")
    (staging / SUMMARY).write_bytes(encode_summary(summarize(result)))
    write_arrays(result, staging / ARRAYS)


def _write_assembly(
    staging: Path, request: DesignRequest, rank: int, design: Design, protein: Protein
) -> None:
    """Write what the design is a part of, where the request asks for such."""
    name = assembly_file(request, rank, design)
    if name is not None:
        first = next(item for item in request.constraints if isinstance(item, Assembling))
        (staging / name).write_text(first.assembly(protein).to_mmcif(), encoding="utf-8")


def _structure(rank: int, design: Design) -> Protein:
    """Build the protein record of a design; its B-factor column holds the uncertainty."""
    return Protein.from_backbone(
        design.backbone,
        sequence=design.sequence,
        b_factor=design.uncertainty,
        name=f"design_{rank:03d}",
    )


def _seal(folder: Path, result: DesignResult) -> None:
    ours = _ENTRIES - {_PARTIAL, PROVENANCE, REPORT}
    paths = list_objects(folder, keep=lambda path: path.split("/", 1)[0] in ours)
    seal(folder, describe_result(result, OUTPUT_SCHEMA), paths, PROVENANCE)


def _move(source: Path, target: Path) -> None:
    """Put a file or folder in its place, over what an interrupted publication left there."""
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def _read_request_id(path: Path) -> str:
    try:
        return str(msgspec.json.decode(path.read_bytes())["request_id"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise StoreError(
            f"Expected an earlier run of this request; {path} is damaged.",
            "Choose another folder with --out, or empty this one.",
        ) from error


def _lock(path: Path, folder: Path) -> Any:
    """Hold a lock that the system releases when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - systems without POSIX locks go without
        return None
    handle = path.open("wb")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise StoreError(
            f"Another run is working in {folder}.", "Wait for it, or choose another --out."
        ) from error
    return handle
