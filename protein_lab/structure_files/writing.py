"""Write proteins as mmCIF, BinaryCIF and PDB; equal proteins give equal bytes."""

from __future__ import annotations

import gzip
import io
import os
import re
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, cast

import numpy as np

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, THREE_LETTER
from protein_lab.errors import StructureFileError
from protein_lab.protein import Protein
from protein_lab.structure_files.atoms import check_coordinates
from protein_lab.structure_files.opening import KNOWN_SUFFIXES, named_format
from protein_lab.typing import FloatArray, IntArray

MAX_PDB_ATOMS: Final = 99_999
MAX_PDB_RESIDUES: Final = 9_999
_PDB_NUMBERS: Final = (-999, 9999)
_PDB_COORDINATES: Final = (-999.999, 9999.0)
_PDB_B_FACTORS: Final = (-99.99, 999.99)
_CIF_RESERVED = re.compile(r"^(?:data_|loop_|save_|stop_|global_|[_#$'\"\[\];])", re.IGNORECASE)

Column = list[str] | list[int] | FloatArray | IntArray


@dataclass(frozen=True, slots=True)
class _Atoms:
    """The present atoms in file order: residue and atom-name indices, and what to write."""

    residue: IntArray
    kind: IntArray
    position: FloatArray
    b_factor: FloatArray


def _atoms(protein: Protein) -> _Atoms:
    residue, kind = np.nonzero(protein.atom_mask)
    position = protein.atom_positions[residue, kind].astype(np.float64)
    check_coordinates(position)
    # Adding zero turns -0.0 into 0.0, which would otherwise be written as "-0.000".
    b_factor = np.round(protein.b_factor[residue].astype(np.float64), 3) + 0.0
    return _Atoms(residue, kind, np.round(position, 3) + 0.0, b_factor)


def to_mmcif(protein: Protein) -> str:
    """Return the text of an mmCIF file.

    Parameters
    ----------
    protein : Protein
        The ``B_iso_or_equiv`` column holds its ``b_factor`` for every atom of a residue.

    Returns
    -------
    str
        Coordinates to 0.001 angstrom; chain ids stand in both the label and the author columns.

    Raises
    ------
    StructureFileError
        If a coordinate is beyond 9999 angstrom.
    """
    parts = [f"data_{_block_name(protein)}\n#\n"]
    for category, columns in _categories(protein).items():
        parts.append(_loop(category, columns))
    return "".join(parts)


def to_binary_cif(protein: Protein) -> bytes:
    """Return the bytes of a BinaryCIF file with the same tables as :func:`to_mmcif`.

    Raises
    ------
    StructureFileError
        If a coordinate is beyond 9999 angstrom.
    """
    from biotite.structure.io.pdbx import (
        BinaryCIFBlock,
        BinaryCIFCategory,
        BinaryCIFColumn,
        BinaryCIFData,
        BinaryCIFFile,
        compress,
    )

    def column(values: Column) -> BinaryCIFColumn:
        data = np.asarray(values)
        if data.dtype.kind != "U":
            return BinaryCIFColumn(BinaryCIFData(_narrowed(data)))
        # 1 marks "not applicable", as the dot does in text.
        mask = (data == ".").astype(np.uint8)
        return BinaryCIFColumn(BinaryCIFData(data), BinaryCIFData(mask) if mask.any() else None)

    block = BinaryCIFBlock()
    for category, columns in _categories(protein).items():
        block[category] = BinaryCIFCategory({key: column(v) for key, v in columns.items()})
    buffer = io.BytesIO()
    # Values have three decimals, so this tolerance loses nothing.
    file = BinaryCIFFile({_block_name(protein): block})
    cast(BinaryCIFFile, compress(file, rtol=0.0, atol=1e-4)).write(buffer)
    return buffer.getvalue()


def _narrowed(data: np.ndarray) -> np.ndarray:
    return data.astype(np.float64 if data.dtype.kind == "f" else np.int32)


def to_pdb(protein: Protein) -> str:
    """Return the text of a PDB file, the B-factor column holding ``b_factor``.

    Raises
    ------
    StructureFileError
        If the format cannot hold the protein: chain ids of several characters, more than 9999
        residues in a chain or 99,999 atoms, or numbers too wide for their columns.
    """
    atoms = _atoms(protein)
    _check_fits_pdb(protein, atoms)
    lines: list[str] = []
    serial = 0
    residues, kinds = atoms.residue.tolist(), atoms.kind.tolist()
    for i, (residue, kind) in enumerate(zip(residues, kinds, strict=True)):
        serial += 1
        name = ATOM_NAMES[kind]
        where = _pdb_residue(protein, residue)
        x, y, z = atoms.position[i]
        # A name starts one column further right when its element has one letter, as all here.
        lines.append(
            f"ATOM  {serial:5d} {' ' + name if len(name) < 4 else name:<4} {where}   "
            f"{x:8.3f}{y:8.3f}{z:8.3f}{1.0:6.2f}{atoms.b_factor[i]:6.2f}          {name[0]:>2}  "
        )
        last = i + 1 == len(residues)
        if last or protein.chain_index[residues[i + 1]] != protein.chain_index[residue]:
            serial += 1
            lines.append(f"TER   {serial:5d}      {where}".ljust(80))
    return "\n".join([*lines, "END".ljust(80), ""])


def _pdb_residue(protein: Protein, residue: int) -> str:
    chain = protein.chain_ids[protein.chain_index[residue]]
    code = protein.insertion_code[residue] or " "
    name = THREE_LETTER[protein.aatype[residue]]
    return f"{name} {chain}{protein.author_number[residue]:4d}{code}"


def _check_fits_pdb(protein: Protein, atoms: _Atoms) -> None:
    def refuse(what: str, remedy: str = "Write mmCIF instead.") -> None:
        raise StructureFileError(f"The PDB format cannot hold {protein.name!r}: {what}.", remedy)

    long_ids = [chain for chain in protein.chain_ids if len(chain) > 1]
    if long_ids:
        refuse(f"chain ids have one character, got {long_ids[0]!r}")
    largest = int(np.bincount(protein.chain_index).max())
    if largest > MAX_PDB_RESIDUES:
        refuse(f"a chain has at most {MAX_PDB_RESIDUES} residues, got {largest}")
    records = len(atoms.residue) + len(protein.chain_ids)
    if records > MAX_PDB_ATOMS:
        refuse(f"at most {MAX_PDB_ATOMS} atoms and chain ends are numbered, got {records}")
    for values, (low, high), what in (
        (protein.author_number, _PDB_NUMBERS, "residue numbers"),
        (atoms.position, _PDB_COORDINATES, "coordinates"),
        (atoms.b_factor, _PDB_B_FACTORS, "B-factors"),
    ):
        if values.min() < low or values.max() > high:
            refuse(f"{what} lie within {low} to {high}, got {values.min()} to {values.max()}")


def _categories(protein: Protein) -> dict[str, dict[str, Column]]:
    """Lay out the tables of the file: entry, entities, their sequences, chains, atoms."""
    sequences = [_numbered_names(protein, i) for i in range(len(protein.chain_ids))]
    entity_of = {names: i + 1 for i, names in enumerate(dict.fromkeys(sequences))}
    entities = [entity_of[names] for names in sequences]
    ids = list(entity_of.values())
    letters: dict[str, str] = dict(zip(THREE_LETTER, AMINO_ACIDS, strict=True))
    strands = [
        ",".join(c for c, e in zip(protein.chain_ids, entities, strict=True) if e == entity)
        for entity in ids
    ]
    count = len(ids)
    return {
        "entry": {"id": [_block_name(protein)]},
        "entity": {"id": ids, "type": ["polymer"] * count},
        "entity_poly": {
            "entity_id": ids,
            "type": ["polypeptide(L)"] * count,
            "pdbx_seq_one_letter_code_can": ["".join(letters[n] for n in s) for s in entity_of],
            "pdbx_strand_id": strands,
        },
        "entity_poly_seq": {
            "entity_id": [e for names, e in entity_of.items() for _ in names],
            "num": [i + 1 for names in entity_of for i in range(len(names))],
            "mon_id": [name for names in entity_of for name in names],
        },
        "struct_asym": {"id": list(protein.chain_ids), "entity_id": entities},
        "pdbx_poly_seq_scheme": _sequence_scheme(protein, entities, sequences),
        "atom_site": _atom_site(protein, entities),
    }


def _sequence_scheme(
    protein: Protein, entities: list[int], sequences: list[tuple[str, ...]]
) -> dict[str, Column]:
    """Map label numbers to author numbers; programs such as mkdssp walk the chain by it."""
    author = {
        (int(c), int(n)): (str(a), code or ".")
        for c, n, a, code in zip(
            protein.chain_index,
            protein.residue_index,
            protein.author_number,
            protein.insertion_code,
            strict=True,
        )
    }
    places = [(c, n + 1) for c, names in enumerate(sequences) for n in range(len(names))]
    monomers = [sequences[c][n - 1] for c, n in places]
    seen = [author.get(place) for place in places]
    chains = [protein.chain_ids[c] for c, _ in places]
    return {
        "asym_id": chains,
        "entity_id": [entities[c] for c, _ in places],
        "seq_id": [n for _, n in places],
        "mon_id": monomers,
        "ndb_seq_num": [n for _, n in places],
        "pdb_seq_num": [found[0] if found else "?" for found in seen],
        "auth_seq_num": [found[0] if found else "?" for found in seen],
        "pdb_mon_id": [m if f else "?" for m, f in zip(monomers, seen, strict=True)],
        "auth_mon_id": [m if f else "?" for m, f in zip(monomers, seen, strict=True)],
        "pdb_strand_id": chains,
        "pdb_ins_code": [found[1] if found else "." for found in seen],
        "hetero": ["n"] * len(places),
    }


def _numbered_names(protein: Protein, chain: int) -> tuple[str, ...]:
    """Name the residues of a chain by label number; stretches that are not modelled are UNK."""
    member = protein.chain_index == chain
    numbers = protein.residue_index[member]
    names = [THREE_LETTER[-1]] * int(numbers[-1])
    for number, kind in zip(numbers, protein.aatype[member], strict=True):
        names[number - 1] = THREE_LETTER[kind]
    return tuple(names)


def _atom_site(protein: Protein, entities: list[int]) -> dict[str, Column]:
    atoms = _atoms(protein)
    chain = protein.chain_index[atoms.residue]
    count = len(chain)
    names = [ATOM_NAMES[kind] for kind in atoms.kind]
    residue_names = [THREE_LETTER[kind] for kind in protein.aatype[atoms.residue]]
    chain_ids = [protein.chain_ids[i] for i in chain]
    return {
        "group_PDB": ["ATOM"] * count,
        "id": np.arange(1, count + 1),
        "type_symbol": [name[0] for name in names],
        "label_atom_id": names,
        "label_alt_id": ["."] * count,
        "label_comp_id": residue_names,
        "label_asym_id": chain_ids,
        "label_entity_id": np.asarray(entities)[chain],
        "label_seq_id": protein.residue_index[atoms.residue],
        "pdbx_PDB_ins_code": [protein.insertion_code[i] or "." for i in atoms.residue],
        "Cartn_x": atoms.position[:, 0],
        "Cartn_y": atoms.position[:, 1],
        "Cartn_z": atoms.position[:, 2],
        "occupancy": np.ones(count),
        "B_iso_or_equiv": atoms.b_factor,
        "auth_seq_id": protein.author_number[atoms.residue],
        "auth_comp_id": residue_names,
        "auth_asym_id": chain_ids,
        "auth_atom_id": names,
        "pdbx_PDB_model_num": np.ones(count, dtype=np.int32),
    }


def _loop(category: str, columns: dict[str, Column]) -> str:
    """Write one table, its columns padded so that a person can read it."""
    texts = [_texts(values) for values in columns.values()]
    widths = [max(map(len, column)) for column in texts]
    head = ["loop_", *(f"_{category}.{name}" for name in columns)]
    rows = (
        " ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*texts, strict=True)
    )
    return "\n".join([*head, *rows, "#", ""])


def _texts(values: Column) -> list[str]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return [f"{value:.3f}" for value in values]
    return [_quoted(str(value)) for value in values]


def _quoted(word: str) -> str:
    if not _CIF_RESERVED.match(word):
        return word
    return f'"{word}"' if "'" in word else f"'{word}'"


def _block_name(protein: Protein) -> str:
    """Make a data block name: CIF allows printable characters without spaces, up to 75."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", protein.name)[:70].strip("_.") or "protein"


def write_structure(protein: Protein, path: str | PathLike[str]) -> None:
    """Write a file in the format that its ending names; a failed write leaves nothing behind.

    Parameters
    ----------
    protein : Protein
        What to write.
    path : path-like
        Ends in ``.cif``, ``.mmcif``, ``.bcif``, ``.pdb`` or ``.ent``, each also with ``.gz``.

    Raises
    ------
    StructureFileError
        If the ending is unknown, the format cannot hold the protein, or the disk refuses.
    """
    target = Path(path)
    format, zipped = named_format(target)
    if format is None:
        raise StructureFileError(
            f"{target}: its ending names no structure format.", f"Use {KNOWN_SUFFIXES}."
        )
    if format == "bcif":
        data = to_binary_cif(protein)
    else:
        data = (to_mmcif(protein) if format == "mmcif" else to_pdb(protein)).encode("ascii")
    # A fixed time stamp keeps gzip output the same for the same protein.
    _replace(target, gzip.compress(data, mtime=0) if zipped else data)


def _replace(target: Path, data: bytes) -> None:
    """Write beside the target, then rename, so that no reader ever sees half a file."""
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StructureFileError(
            f"{target}: the file cannot be written ({error.strerror}).",
            "Name a folder that exists, is writable and has space left.",
        ) from error
