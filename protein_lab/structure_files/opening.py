"""Get the bytes of a structure file within limits and find out what they are."""

from __future__ import annotations

import gzip
import io
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from protein_lab.errors import StructureFileError

StructureFormat = Literal["mmcif", "bcif", "pdb"]

FORMAT_NAMES: Final[dict[StructureFormat, str]] = {
    "mmcif": "mmCIF",
    "bcif": "BinaryCIF",
    "pdb": "PDB",
}
FORMAT_OF_SUFFIX: Final[dict[str, StructureFormat]] = {
    ".cif": "mmcif",
    ".mmcif": "mmcif",
    ".bcif": "bcif",
    ".pdb": "pdb",
    ".ent": "pdb",
}
KNOWN_SUFFIXES: Final = ", ".join(FORMAT_OF_SUFFIX) + " (each also with .gz)"

_GZIP_MAGIC = b"\x1f\x8b"
_LOOKED_AT = 65_536
# Beginnings of other things that people give by mistake, to say what they look like.
_OTHER_CONTENT: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\x7fELF", "a program"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"{", "JSON"),
    (b"<", "a web page or XML"),
    (b">", "FASTA sequences"),
)
_PDB_RECORD = re.compile(
    r"^(?:ATOM  |HETATM|HEADER|TITLE |COMPND|SOURCE|KEYWDS|EXPDTA|AUTHOR|REVDAT|REMARK|SEQRES|"
    r"CRYST1|MODEL |DBREF |ORIGX1|SCALE1)",
    re.MULTILINE,
)
_CIF_START = re.compile(r"^(?:#[^\n]*\n|\s)*data_", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """How much a structure file may hold before it is refused.

    Attributes
    ----------
    max_bytes : int
        Size of the file, and of its content once unpacked.
    max_atoms : int
        Atoms of all kinds (water and ligands too) in the file.
    max_residues : int
        Protein residues.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_atoms: int = 500_000
    max_residues: int = 100_000


def read_bytes(path: Path, limits: ReadLimits) -> bytes:
    """Read a regular file, never more than the limit.

    Raises
    ------
    StructureFileError
        If it is missing, a folder, a device, unreadable, empty or too large.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise StructureFileError("Expected a file, got a folder.", "Name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise StructureFileError("Expected a regular file, got a pipe or a device.")
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except FileNotFoundError:
        raise StructureFileError("There is no such file.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StructureFileError(f"The file cannot be read ({reason}).") from error
    _check_size(data, limits, "The file")
    return data


def unpacked(data: bytes, limits: ReadLimits) -> bytes:
    """Undo gzip where it is used; stops at the limit, so a bomb costs no memory.

    Raises
    ------
    StructureFileError
        If the data are empty, damaged or too large.
    """
    if not data:
        raise StructureFileError("The file is empty.", "Get it again; a download may have failed.")
    if not data.startswith(_GZIP_MAGIC):
        _check_size(data, limits, "The file")
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(limits.max_bytes + 1)
    except EOFError:
        raise StructureFileError(
            "The gzip data end too early: the file is truncated.", "Get it again."
        ) from None
    except (OSError, zlib.error) as error:
        raise StructureFileError(
            f"The gzip data are damaged ({error}).", "Get it again."
        ) from error
    _check_size(content, limits, "The unpacked file")
    if not content:
        raise StructureFileError("The gzip file is empty inside.", "Get it again.")
    return content


def _check_size(data: bytes, limits: ReadLimits, what: str) -> None:
    if len(data) > limits.max_bytes:
        raise StructureFileError(
            f"{what} is larger than the limit of {limits.max_bytes / 2**20:.3g} MiB.",
            "Keep only the chains that are needed.",
        )


def text_of(data: bytes) -> str:
    """Decode UTF-8 text.

    Raises
    ------
    StructureFileError
        If a byte is not UTF-8; the message says where.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StructureFileError(
            f"Expected UTF-8 text, got the byte 0x{data[error.start]:02x} at offset {error.start}.",
            "Save the file as UTF-8; it may also be damaged.",
        ) from None


def detected_format(content: bytes) -> tuple[StructureFormat | None, str]:
    """Judge content by itself.

    Returns
    -------
    format : {"mmcif", "bcif", "pdb"} or None
        None when it is none of them.
    description : str
        What it looks like, for a message.
    """
    head = content[:_LOOKED_AT]
    if (head[0] & 0xF0 == 0x80 or head[0] in {0xDE, 0xDF}) and b"dataBlocks" in content:
        return "bcif", FORMAT_NAMES["bcif"]
    # A cut inside a character must not look like an encoding fault.
    text = head.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if "\x00" not in text:
        if _CIF_START.match(text):
            return "mmcif", FORMAT_NAMES["mmcif"]
        if _PDB_RECORD.search(text):
            return "pdb", FORMAT_NAMES["pdb"]
    for magic, description in _OTHER_CONTENT:
        if head.lstrip().startswith(magic):
            return None, description
    strange = text.count("\ufffd") + sum(c < " " and c not in "\t\r\n\f" for c in text)
    return None, "binary data" if strange > len(text) // 100 else "some other text"


def named_format(path: Path) -> tuple[StructureFormat | None, bool]:
    """Return the format that a file name announces (None if unknown), and whether it says gzip."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    if zipped:
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1] if suffixes else ""), zipped


def is_gzip(data: bytes) -> bool:
    """Tell whether data begin like a gzip file."""
    return data.startswith(_GZIP_MAGIC)
