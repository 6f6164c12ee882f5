"""The ATOM and HETATM records of PDB files, parsed by biotite after a safety pass."""

from __future__ import annotations

import io
import re
import string
import warnings

import numpy as np

from protein_lab.errors import StructureFileError
from protein_lab.structure_files.atoms import AtomTable, StringArray
from protein_lab.structure_files.cif import too_many_atoms
from protein_lab.structure_files.opening import ReadLimits

_RECORD = re.compile(r"^(?:ATOM  |HETATM|TER\b|ENDMDL)[^\n]*$", re.MULTILINE)
_COORDINATE_END = 54
_LINE_LENGTH = 80


def table_of(text: str, limits: ReadLimits) -> AtomTable:
    """Read the first model of a PDB file.

    Blank occupancies count as 1 and blank B-factors as 0. A chain without an id gets the first
    free letter. HETATM records after the TER of their chain are no part of it.

    Raises
    ------
    StructureFileError
        If there are no atoms, a line is cut or unreadable, or there are too many atoms.
    """
    from biotite.structure.io.pdb import PDBFile

    lines = _atom_lines(text, limits)
    try:
        with warnings.catch_warnings():
            # biotite warns about blank element columns, which are not used here.
            warnings.simplefilter("ignore")
            file = PDBFile.read(io.StringIO("\n".join(lines)))
            atoms = file.get_structure(
                model=1, altloc="all", extra_fields=["occupancy", "b_factor"]
            )
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise StructureFileError(
            f"An ATOM record cannot be read: {_first_unreadable(lines)}.",
            "The file is damaged or its columns are shifted; get it again.",
        ) from error
    count = len(lines)
    return AtomTable(
        chain=_named_chains(atoms.chain_id),
        author_number=atoms.res_id.astype(np.int64),
        insertion_code=atoms.ins_code,
        label_number=np.zeros(count, dtype=np.int64),
        residue_name=atoms.res_name,
        atom_name=atoms.atom_name,
        alternate=np.char.strip(atoms.get_annotation("altloc_id")),
        polymer=np.ones(count, dtype=np.bool_),
        occupancy=atoms.get_annotation("occupancy"),
        b_factor=atoms.get_annotation("b_factor"),
        position=np.asarray(atoms.coord, dtype=np.float64),
    )


def _atom_lines(text: str, limits: ReadLimits) -> list[str]:
    """Keep the atom records of the first model that can belong to chains, at full width."""
    lines: list[str] = []
    ended: set[str] = set()
    count = 0
    for match in _RECORD.finditer(text):
        line = match.group().rstrip()[:_LINE_LENGTH]
        if line.startswith("ENDMDL"):
            break
        if line.startswith("TER"):
            ended.add(line[21:22] if len(line) > 21 else lines[-1][21] if lines else "")
            continue
        count += 1
        if count > limits.max_atoms:
            raise too_many_atoms(limits)
        if len(line) < _COORDINATE_END:
            raise StructureFileError(
                f"Atom record {count} ends after {len(line)} characters, before its coordinates "
                "are complete: the file is truncated.",
                "Get it again.",
            )
        if line.startswith("HETATM") and line[21] in ended:
            continue
        lines.append(_completed(line))
    if not lines:
        raise StructureFileError(
            "The PDB file has no atoms that belong to a chain.", "Give a file with ATOM records."
        )
    return lines


def _completed(line: str) -> str:
    line = line.ljust(_LINE_LENGTH)
    occupancy, b_factor = line[54:60], line[60:66]
    return "".join(
        (
            line[:54],
            occupancy if occupancy.strip() else "  1.00",
            b_factor if b_factor.strip() else "  0.00",
            line[66:],
        )
    )


def _first_unreadable(lines: list[str]) -> str:
    for line in lines:
        for first, last, what in (
            (30, 38, "x coordinate"),
            (38, 46, "y coordinate"),
            (46, 54, "z coordinate"),
            (54, 60, "occupancy"),
            (60, 66, "B-factor"),
        ):
            try:
                float(line[first:last])
            except ValueError:
                return f"{line[6:27].strip()!r} has the {what} {line[first:last].strip()!r}"
    return "a residue number is not a number"


def _named_chains(chains: StringArray) -> StringArray:
    if "" not in chains:
        return chains
    taken = set(chains.tolist())
    free = next(
        (c for c in string.ascii_uppercase + string.ascii_lowercase + string.digits
         if c not in taken),
        "blank",
    )  # fmt: skip
    return np.where(chains == "", free, chains)
