"""Where real structures come from: three sources behind one protocol."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np

from protein_lab.errors import CorpusError, OfflineError, StructureFileError
from protein_lab.training.corpus_format import clean_sequence
from protein_lab.training.downloads import DownloadFolder, checksum_of, file_checksum
from protein_lab.typing import FloatArray

PDB_URL: Final = "https://files.rcsb.org/download/{id}.cif.gz"

_EXPORT_SCRIPT = Path(__file__).with_name("promod3_export.py")
_PROMOD3_REMEDY: Final = (
    "Install it ('apt install python3-promod3') and name its interpreter, or build from a folder "
    "of structure files."
)
_PDB_ID = re.compile(r"([0-9][A-Za-z0-9]{3}|pdb_[0-9]{4}[0-9][A-Za-z0-9]{3})(_[A-Za-z0-9]{1,4})?")


@dataclass(frozen=True, slots=True, eq=False)
class RawChain:
    """One chain as a source gives it, before any filter.

    Attributes
    ----------
    id : str
        Unique in the source.
    sequence : str
        One-letter codes.
    secondary_structure : str
        H, E, L for each residue.
    backbone : ndarray, shape (residue, 4, 3)
        N, CA, C, O in angstrom; NaN where an atom is missing.
    """

    id: str
    sequence: str
    secondary_structure: str
    backbone: FloatArray


class StructureSource(Protocol):
    """Anything that yields chains."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready provenance, complete once :meth:`chains` has run."""
        ...

    def chains(self) -> Iterator[RawChain]:
        """Yield all chains in a fixed order."""
        ...


def three_states(dssp: str) -> str:
    """Reduce DSSP's eight states to H, E, L: H is H, E is E, everything else is L."""
    return "".join(state if state in "HE" else "L" for state in dssp)


class ProMod3Source:
    """The StructureDB of ProMod3 (Studer et al., 2021), read by the Python that has it.

    Parameters
    ----------
    python : str
        Interpreter in which ``import promod3`` works.
    min_length, max_length : int
        Chains outside are not transferred at all.
    limit : int
        Stop after so many chains; 0 for all.
    """

    name = "the ProMod3 StructureDB"

    def __init__(
        self,
        python: str = "/usr/bin/python3",
        min_length: int = 40,
        max_length: int = 512,
        limit: int = 0,
    ) -> None:
        self.python = python
        self.arguments = (min_length, max_length, limit)

    def describe(self) -> dict[str, Any]:
        """Name, database and the bounds that were asked for."""
        minimum, maximum, limit = self.arguments
        return {
            "kind": "promod3",
            "database": "ProMod3 StructureDB, non-redundant PDB chains",
            "min_length": minimum,
            "max_length": maximum,
            "limit": limit,
        }

    def chains(self) -> Iterator[RawChain]:
        """Yield the chains in the order of the database.

        Raises
        ------
        CorpusError
            The interpreter is missing, has no ProMod3, or stopped early.
        """
        if shutil.which(self.python) is None:
            raise CorpusError(
                f"Expected a Python with ProMod3 at {self.python}; there is none.", _PROMOD3_REMEDY
            )
        command = [self.python, str(_EXPORT_SCRIPT), *map(str, self.arguments)]
        with tempfile.TemporaryFile() as messages:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages)
            try:
                stream = process.stdout
                while stream is not None and (frame := _read_frame(stream)) is not None:
                    yield from _unpack(frame)
            finally:
                if process.stdout is not None:
                    process.stdout.close()
                status = process.wait()
            if status != 0:
                messages.seek(0)
                said = messages.read().decode("utf-8", "replace").strip()[-400:]
                raise CorpusError(
                    f"Reading the ProMod3 StructureDB failed with status {status}: {said}",
                    _PROMOD3_REMEDY,
                )


def _read_frame(stream: IO[bytes]) -> bytes | None:
    header = stream.read(8)
    if len(header) < 8:
        return None
    (size,) = struct.unpack("<Q", header)
    payload = stream.read(size)
    return payload if len(payload) == size else None


def _unpack(frame: bytes) -> Iterator[RawChain]:
    with np.load(io.BytesIO(frame), allow_pickle=False) as archive:
        bounds = np.concatenate([[0], np.cumsum(archive["lengths"])])
        backbone = archive["backbone"]
        rows = zip(archive["ids"], archive["sequences"], archive["states"], strict=True)
        for index, (name, sequence, states) in enumerate(rows):
            yield RawChain(
                id=str(name),
                sequence=clean_sequence(str(sequence)),
                secondary_structure=three_states(str(states)),
                backbone=backbone[bounds[index] : bounds[index + 1]],
            )


class FolderSource:
    """All structure files in a folder and the folders below it.

    A file that cannot be read is skipped and listed in :meth:`describe`. Of chains with the same
    sequence in one file only the first is taken.

    Parameters
    ----------
    folder : path
        Folder with PDB, mmCIF or BinaryCIF files, also gzipped.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self._skipped: dict[str, str] = {}
        self._checksums: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The folder."""
        return f"the folder {self.folder}"

    def describe(self) -> dict[str, Any]:
        """Count the files, give one checksum over all, and name the files that were skipped."""
        return {
            "kind": "folder",
            "num_files": len(self._checksums),
            "sha256": checksum_of(self._checksums),
            "skipped": dict(self._skipped),
        }

    def chains(self) -> Iterator[RawChain]:
        """Yield the chains of all files, in the order of the files' names.

        Raises
        ------
        CorpusError
            The folder is missing, holds no structure file, or only unreadable ones.
        """
        from protein_lab.structure_files.opening import FORMAT_OF_SUFFIX, KNOWN_SUFFIXES

        if not self.folder.is_dir():
            raise CorpusError(f"Expected a folder of structure files; {self.folder} is none.")
        files = sorted(
            path
            for path in self.folder.rglob("*")
            if path.is_file() and _suffix(path) in FORMAT_OF_SUFFIX
        )
        if not files:
            raise CorpusError(
                f"No structure file in {self.folder}.", f"Known endings: {KNOWN_SUFFIXES}."
            )
        for path in files:
            label = path.relative_to(self.folder).as_posix()
            try:
                chains = chains_of_file(path)
            except StructureFileError as error:
                self._skipped[label] = error.problem
                continue
            self._checksums[label] = file_checksum(path)
            yield from chains
        if not self._checksums:
            name, problem = next(iter(self._skipped.items()))
            raise CorpusError(f"No file in {self.folder} can be read; {name}: {problem}")


class PdbSource:
    """Entries of the Protein Data Bank by id, downloaded once and kept with their checksums.

    Parameters
    ----------
    ids : sequence of str
        Entries such as ``1UBQ``, or single chains such as ``1UBQ_A``.
    folder : path
        Where downloads are kept; what is there already is not downloaded again.
    url : str
        Address with ``{id}`` in the place of the entry.
    retries : int
        Further attempts, each going on where the last one stopped.
    """

    name = "the list of PDB ids"

    def __init__(
        self,
        ids: Sequence[str],
        folder: str | PathLike[str],
        url: str = PDB_URL,
        retries: int = 3,
    ) -> None:
        if not ids:
            raise CorpusError("Expected at least one PDB id; the list is empty.")
        self.entries = tuple(dict.fromkeys(_entry_and_chain(text) for text in ids))
        self.url = url
        self._downloads = DownloadFolder(Path(folder), retries=retries)
        self._skipped: dict[str, str] = {}
        self._checksums: dict[str, str] = {}

    @classmethod
    def from_file(
        cls, path: str | PathLike[str], folder: str | PathLike[str], url: str = PDB_URL
    ) -> PdbSource:
        """Read the ids from a text file: one or more a line, ``#`` starts a comment."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"The list of PDB ids {path} cannot be read: {error}") from error
        words = [word for line in lines for word in line.split("#")[0].replace(",", " ").split()]
        return cls(words, folder, url)

    def describe(self) -> dict[str, Any]:
        """Address, SHA-256 of every entry, and the entries that were skipped."""
        return {
            "kind": "pdb",
            "url": self.url,
            "sha256": dict(self._checksums),
            "skipped": dict(self._skipped),
        }

    def chains(self) -> Iterator[RawChain]:
        """Download what is missing and yield the chains in the order of the list.

        Raises
        ------
        OfflineError
            The network does not answer; what was downloaded is kept for the next attempt.
        CorpusError
            No entry could be used.
        """
        for entry, chain in self.entries:
            suffix = ".cif.gz" if self.url.endswith(".gz") else ".cif"
            try:
                path, checksum = self._downloads.fetch(self.url.format(id=entry), entry + suffix)
                chains = chains_of_file(path)
            except OfflineError:
                raise
            except (CorpusError, StructureFileError) as error:
                self._skipped[entry] = error.problem
                continue
            self._checksums[entry] = checksum
            yield from (item for item in chains if not chain or item.id == f"{entry}_{chain}")
        if not self._checksums:
            name, problem = next(iter(self._skipped.items()))
            raise CorpusError(f"No entry of the list can be used; {name}: {problem}")


def chains_of_file(path: Path) -> list[RawChain]:
    """Chains of a structure file with distinct sequences; DSSP is run on each by itself.

    Raises
    ------
    StructureFileError
        The file cannot be read.
    """
    from protein_lab.metrics import dssp
    from protein_lab.structure_files import read_structure

    protein = read_structure(path)
    entry = path.name.split(".")[0]
    chains: list[RawChain] = []
    seen: set[str] = set()
    for chain_id in protein.chain_ids:
        chain = protein.select_chain(chain_id)
        if chain.sequence in seen:
            continue
        seen.add(chain.sequence)
        backbone = np.where(chain.has_backbone[:, None, None], chain.backbone, np.nan)
        states = dssp(backbone) if np.isfinite(backbone).all() else "L" * chain.num_residues
        chains.append(RawChain(f"{entry}_{chain_id}", chain.sequence, states, backbone))
    return chains


def _entry_and_chain(text: str) -> tuple[str, str]:
    match = _PDB_ID.fullmatch(text)
    if match is None:
        raise CorpusError(f"Expected a PDB id such as 1UBQ or 1UBQ_A; came {text!r}.")
    entry = match[1]
    return (entry if entry.startswith("pdb_") else entry.upper()), (match[2] or "_")[1:]


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
