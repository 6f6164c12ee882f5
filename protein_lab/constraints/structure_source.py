"""Structures that constraints speak of: text in the request, a file, or an id of the PDB.

A request that is computed, stored or sent holds text only: :func:`embed_sources` puts in the
residues that are needed, so the request says everything and its id depends on the content.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np

from protein_lab.errors import InvalidRequestError, OfflineError, ProteinLabError
from protein_lab.errors import StructureFileError as FileError
from protein_lab.protein import Protein
from protein_lab.structure_files import ReadLimits, read_structure, to_mmcif, to_pdb
from protein_lab.typing import Fault, IntArray

MAX_TEXT: Final = 1 << 20
"""Characters of an embedded structure; a whole request is not longer."""

_PDB_ID: Final = re.compile(r"[1-9][A-Za-z0-9]{3}|pdb_[0-9]{4}[1-9][A-Za-z0-9]{3}", re.IGNORECASE)
_ADDRESS: Final = "https://files.rcsb.org/download/{}.cif.gz"
_TIMEOUT_SECONDS: Final = 30.0
_MODEL: Final = re.compile(r"^MODEL ", re.MULTILINE)
_OUTSIDE: Final = ("file", "pdb")
_SHOWN: Final = 8
_DEPTH: Final = 12
"""Levels of JSON below which no constraint holds a source."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class StructureSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One protein structure; give exactly one of the three.

    The first model is taken, of alternate locations the one with the highest mean occupancy in
    its residue, and selenomethionine becomes methionine. Chains and residue numbers are those of
    the authors.

    Attributes
    ----------
    text : str or None
        What stands in a PDB or mmCIF file.
    file : str or None
        Path of a PDB, mmCIF or BinaryCIF file, from the folder of the request.
    pdb : str or None
        Id of an entry of the Protein Data Bank, which is fetched.
    """

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT, extra={"multiline": True})] | None = None
    file: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    pdb: Annotated[str, msgspec.Meta(max_length=12)] | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the structure stands in the request itself."""
        return self.text is not None

    def read(self) -> Protein:
        """Read the structure.

        Raises
        ------
        ProteinLabError
            When there is not exactly one source, it cannot be read, or the network is not there.
        """
        faults = _choice_faults(self, "$")
        if faults:
            raise FileError(faults[0].message, faults[0].remedy)
        if self.text is not None:
            return _read_text(self.text)
        if self.file is not None:
            return read_structure(self.file)
        return _fetch(str(self.pdb))

    def faults(self, path: str) -> list[Fault]:
        """Find what keeps the structure from being read, and warn of several models.

        An id is not fetched for this: it is only checked to be one.

        Parameters
        ----------
        path : str
            JSON path of the source.
        """
        found = _choice_faults(self, path)
        if found or self.pdb is not None:
            return found
        field = "text" if self.text is not None else "file"
        try:
            self.read()
        except ProteinLabError as error:
            return [Fault(path=f"{path}.{field}", message=error.problem, remedy=error.remedy)]
        models = len(_MODEL.findall(self.text or ""))
        if models > 1:
            found.append(
                Fault(
                    path=f"{path}.{field}",
                    message=f"Of {models} models the first is taken.",
                    remedy="Keep only the model that is meant.",
                    severity="warning",
                )
            )
        return found


@runtime_checkable
class Selective(Protocol):
    """A struct that needs only some residues of its sources."""

    def needed_residues(self, source: StructureSource, protein: Protein) -> Sequence[int]:
        """Give the residues to keep when a source is embedded.

        Parameters
        ----------
        source : StructureSource
            One of those the struct holds.
        protein : Protein
            What was read from it.

        Returns
        -------
        sequence of int
            Rising indices; none keeps all.

        Raises
        ------
        ProteinLabError
            When residues are asked for that are not there.
        """
        ...


def residue_positions(protein: Protein) -> dict[tuple[str, int, str], int]:
    """Map chain id, author number and insertion code to the index of a residue."""
    chains = [protein.chain_ids[number] for number in protein.chain_index.tolist()]
    numbers = protein.author_number.tolist()
    keys = zip(chains, numbers, protein.insertion_code, strict=True)
    return {key: i for i, key in enumerate(keys)}


def find_residue(protein: Protein, chain: str, number: int, code: str = "") -> int:
    """Return the index of a residue that is named as in papers: A181, or A23A with a code.

    Raises
    ------
    StructureFileError
        When the structure has no such chain or residue; says what it has.
    """
    found = residue_positions(protein).get((chain, number, code))
    if found is not None:
        return found
    if chain not in protein.chain_ids:
        raise FileError(
            f"The structure has no chain {chain}.",
            f"Its chains are {', '.join(protein.chain_ids[:_SHOWN])}.",
        )
    inside = np.flatnonzero(protein.chain_index == protein.chain_ids.index(chain))
    names = [f"{protein.author_number[i]}{protein.insertion_code[i]}" for i in inside]
    near = [name for name in names if name.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == str(number)]
    raise FileError(
        f"Chain {chain} has no residue {number}{code}.",
        f"It has {' and '.join(near)}."
        if near
        else f"It has {len(names)} residues from {names[0]} to {names[-1]}; those that are not "
        "resolved in the file cannot be used.",
    )


def select_residues(protein: Protein, residues: Sequence[int] | IntArray) -> Protein:
    """Return some residues as a protein of its own, numbering kept.

    Parameters
    ----------
    protein : Protein
        Of any number of chains.
    residues : sequence of int
        Rising indices, at least one.
    """
    index = np.unique(np.asarray(residues, dtype=np.int64))
    kept, chains = np.unique(protein.chain_index[index], return_inverse=True)
    return Protein(
        aatype=protein.aatype[index],
        atom_positions=protein.atom_positions[index],
        atom_mask=protein.atom_mask[index],
        chain_index=chains.astype(np.int32),
        residue_index=protein.residue_index[index],
        author_number=protein.author_number[index],
        insertion_code=tuple(protein.insertion_code[i] for i in index),
        chain_ids=tuple(protein.chain_ids[i] for i in kept),
        b_factor=np.zeros(len(index), dtype=np.float32),
        name=protein.name,
    )


def structure_text(protein: Protein) -> str:
    """Write a structure as PDB where that can hold it, else as mmCIF; B-factors are left out."""
    plain = select_residues(protein, range(protein.num_residues))
    try:
        return "".join(f"{line.rstrip()}\n" for line in to_pdb(plain).splitlines())
    except FileError:
        return to_mmcif(plain)


def embed_sources(value: _Struct, folder: str | Path = ".") -> _Struct:
    """Replace files and ids, wherever they stand, by the text of the residues that are needed.

    Parameters
    ----------
    value : Struct
        A request or a constraint. Embedded text stays as it is.
    folder : path-like
        Where relative paths start.

    Returns
    -------
    Struct
        Equal to ``value`` where nothing comes from outside.

    Raises
    ------
    InvalidRequestError
        With the JSON path of the first source that cannot be read.
    """
    return _embedded(value, Path(folder), None, "$")


def outside_sources(request: Any) -> list[str]:
    """List the JSON paths of everything that must be read from a file or fetched.

    Parameters
    ----------
    request : Struct or mapping
        A request, or what its JSON holds, checked or not.
    """
    value = msgspec.to_builtins(request) if isinstance(request, msgspec.Struct) else request
    asked = value.get("constraints") if isinstance(value, Mapping) else None
    return list(_outside(asked, "$.constraints"))


def has_outside_sources(request: Any) -> bool:
    """Tell whether something must be read from a file or fetched; see :func:`outside_sources`."""
    return bool(outside_sources(request))


def absolute_files(value: Any, folder: Path, depth: int = _DEPTH) -> None:
    """Let relative paths of sources in parsed JSON start from a folder, in place."""
    if isinstance(value, dict) and depth:
        name = value.get("file")
        if isinstance(name, str) and name.isprintable() and not Path(name).is_absolute():
            value["file"] = str(folder.absolute() / name)
        for item in value.values():
            absolute_files(item, folder, depth - 1)
    elif isinstance(value, list) and depth:
        for item in value:
            absolute_files(item, folder, depth - 1)


def _outside(value: Any, path: str, depth: int = _DEPTH) -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        yield from (f"{path}.{name}" for name in _OUTSIDE if value.get(name) is not None)
        for name, item in value.items():
            yield from _outside(item, f"{path}.{name}", depth - 1)
    elif isinstance(value, list | tuple) and depth:
        for number, item in enumerate(value):
            yield from _outside(item, f"{path}[{number}]", depth - 1)


def _embedded(value: Any, folder: Path, owner: Any, path: str) -> Any:
    if isinstance(value, StructureSource):
        return _with_text(value, folder, owner, path)
    if isinstance(value, msgspec.Struct):
        parts = {name: getattr(value, name) for name in value.__struct_fields__}
        new = {
            name: _embedded(part, folder, value, f"{path}.{name}") for name, part in parts.items()
        }
        changed = {name: part for name, part in new.items() if part is not parts[name]}
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(
            _embedded(item, folder, owner, f"{path}[{number}]") for number, item in enumerate(value)
        )
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def _with_text(source: StructureSource, folder: Path, owner: Any, path: str) -> StructureSource:
    if source.is_embedded:
        return source
    found = source
    if source.file is not None:
        found = StructureSource(file=str(folder / source.file))
    try:
        protein = found.read()
        needed = owner.needed_residues(source, protein) if isinstance(owner, Selective) else ()
        text = structure_text(select_residues(protein, needed) if len(needed) else protein)
    except ProteinLabError as error:
        raise InvalidRequestError(
            [Fault(path=path, message=error.problem, remedy=error.remedy)]
        ) from error
    return StructureSource(text=text)


def _choice_faults(source: StructureSource, path: str) -> list[Fault]:
    given = [name for name in ("text", "file", "pdb") if getattr(source, name) is not None]
    if len(given) != 1:
        return [
            Fault(
                path=path,
                message="Expected one of 'text', 'file' and 'pdb', but got "
                f"{' and '.join(map(repr, given)) or 'none'}.",
                remedy='Write for example {"file": "motif.pdb"}.',
            )
        ]
    if source.pdb is not None and not _PDB_ID.fullmatch(source.pdb):
        return [
            Fault(
                path=f"{path}.pdb",
                message=f"Expected an id of the Protein Data Bank, but got {source.pdb!r}.",
                remedy="Write for example 1qjg.",
            )
        ]
    return []


@lru_cache(maxsize=64)
def _read_text(text: str) -> Protein:
    return read_structure(text.encode(), limits=ReadLimits(max_bytes=4 * MAX_TEXT))


@lru_cache(maxsize=8)
def _fetch(entry: str) -> Protein:
    address = _ADDRESS.format(entry.lower())
    limits = ReadLimits()
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as response:
            data = response.read(limits.max_bytes + 1)
    except urllib.error.HTTPError as error:
        raise FileError(
            f"The Protein Data Bank has no {entry}: it answered {error.code}.", "Check the id."
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise OfflineError(
            f"Fetching {address} failed: {getattr(error, 'reason', '') or error}.",
            "Check the network, or get the file elsewhere and name it as 'file'.",
        ) from error
    return read_structure(data, name=entry.lower())
