"""Read a structure from a path or from bytes."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from protein_lab.errors import GeometryError, StructureFileError
from protein_lab.protein import Protein
from protein_lab.structure_files import cif, pdb
from protein_lab.structure_files.atoms import AtomTable, assemble
from protein_lab.structure_files.opening import (
    FORMAT_NAMES,
    KNOWN_SUFFIXES,
    ReadLimits,
    StructureFormat,
    detected_format,
    is_gzip,
    named_format,
    read_bytes,
    text_of,
    unpacked,
)

_DEFAULT_LIMITS = ReadLimits()
_LONGEST_NAME = 60


def read_structure(
    source: str | PathLike[str] | bytes,
    format: StructureFormat | None = None,
    *,
    name: str | None = None,
    limits: ReadLimits = _DEFAULT_LIMITS,
) -> Protein:
    """Read the protein chains of the first model of a structure file.

    Water, ligands and nucleic acids are skipped; see :func:`.atoms.assemble` for alternate
    locations and unusual residues. Further models are ignored.

    Parameters
    ----------
    source : path-like or bytes
        A file, or the content of one. Both may be gzipped.
    format : {"mmcif", "bcif", "pdb"}, optional
        Expected format. By default that of the file's name; for bytes whatever they look like.
    name : str, optional
        Name of the protein; by default the file's name without its ending.
    limits : ReadLimits
        What is refused as too large.

    Returns
    -------
    Protein
        With chain ids, author numbers and insertion codes of the file.

    Raises
    ------
    StructureFileError
        Whatever is wrong with the file: missing, empty, damaged, too large, of another format
        than its name says, without protein, or with absurd coordinates.
    """
    path = None if isinstance(source, bytes) else Path(source)
    label = "The given bytes" if path is None else str(path)
    try:
        data = source if isinstance(source, bytes) else read_bytes(Path(source), limits)
        content = unpacked(data, limits)
        chosen = _format(path, data, content, format)
        title = (name or (path.name.split(".")[0] if path else "")) or "structure"
        return assemble(_table(content, chosen, limits), title[:_LONGEST_NAME], limits)
    except (StructureFileError, GeometryError) as error:
        raise StructureFileError(f"{label}: {error.problem}", error.remedy) from error
    except MemoryError:
        raise StructureFileError(f"{label}: there is not enough memory to read it.") from None


def _table(content: bytes, format: StructureFormat, limits: ReadLimits) -> AtomTable:
    if format == "bcif":
        return cif.table_of_binary_cif(content, limits)
    text = text_of(content)
    return cif.table_of_mmcif(text, limits) if format == "mmcif" else pdb.table_of(text, limits)


def _format(
    path: Path | None, data: bytes, content: bytes, asked: StructureFormat | None
) -> StructureFormat:
    """Compare what the content is with what the name or the caller says it is."""
    if asked is not None and asked not in FORMAT_NAMES:
        raise StructureFileError(
            f"Unknown format {asked!r}.", f"Use one of {', '.join(FORMAT_NAMES)}."
        )
    found, description = detected_format(content)
    announced, says_gzip = named_format(path) if path else (None, is_gzip(data))
    expected = asked or announced
    if found is None:
        wanted = FORMAT_NAMES[expected] if expected else f"a structure file: {KNOWN_SUFFIXES}"
        raise StructureFileError(
            f"Expected {wanted}; the content looks like {description}.",
            "Give an mmCIF, BinaryCIF or PDB file.",
        )
    if expected is not None and expected != found:
        raise StructureFileError(
            f"Expected {FORMAT_NAMES[expected]}{'' if asked else ' by its name'}; "
            f"the content looks like {description}.",
            f"Pass format={found!r}." if asked else "Rename the file to match its content.",
        )
    if announced is not None and says_gzip != is_gzip(data):
        told = "gzip data by its name; it is not compressed" if says_gzip else "plain data by its"
        raise StructureFileError(
            f"Expected {told}{'' if says_gzip else ' name; it is gzipped'}.",
            f"Rename it {'without' if says_gzip else 'with'} .gz.",
        )
    return found
