"""Where real structures come from: three sources behind one protocol."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from protein_lab.errors import CorpusError
from protein_lab.training.corpus_format import clean_sequence
from protein_lab.typing import FloatArray

_EXPORT_SCRIPT = Path(__file__).with_name("promod3_export.py")


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
        self, python: str = "/usr/bin/python3", min_length: int = 40, max_length: int = 512,
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


_PROMOD3_REMEDY = (
    "Install it ('apt install python3-promod3') and name its interpreter, or build from a folder "
    "of structure files."
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
