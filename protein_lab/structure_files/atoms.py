"""The table of atoms between file formats and the :class:`~protein_lab.protein.Protein` record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, THREE_LETTER
from protein_lab.errors import StructureFileError
from protein_lab.protein import MAX_RESIDUE_INDEX, Protein, is_chain_id
from protein_lab.structure_files.opening import ReadLimits
from protein_lab.typing import BoolArray, FloatArray, IntArray

StringArray = NDArray[np.str_]

MAX_COORDINATE: Final = 9999.0
_MAX_AUTHOR_NUMBER: Final = 2**31 - 1
_UNKNOWN: Final = AMINO_ACIDS.index("X")
_ATOM_INDEX: Final = {name: i for i, name in enumerate(ATOM_NAMES)}
_REQUIRED_OF_UNKNOWN: Final = frozenset({_ATOM_INDEX["N"], _ATOM_INDEX["CA"], _ATOM_INDEX["C"]})
# Selenomethionine stands for methionine in crystals; the others are spellings of force fields.
_ALIASES: Final = {
    "MSE": "MET", "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS",
    "HSP": "HIS", "CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS",
}  # fmt: skip
_RESIDUE_TYPE: Final = {
    **{name: i for i, name in enumerate(THREE_LETTER[:_UNKNOWN])},
    **{alias: THREE_LETTER.index(name) for alias, name in _ALIASES.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomTable:
    """The atoms of one model, one row an atom, before residues are made of them.

    Attributes
    ----------
    chain, insertion_code, residue_name, atom_name, alternate : ndarray, shape=(atom,), dtype=str
        Empty strings where a code is absent.
    author_number, label_number : ndarray, shape=(atom,), dtype=int64
        Residue numbers; the label number is 0 where the file gives none.
    polymer : ndarray, shape=(atom,), dtype=bool
        False for atoms that the file declares to be no part of a chain.
    occupancy, b_factor : ndarray, shape=(atom,), dtype=float64
        Fraction of the crystal that shows this position, and B-factor.
    position : ndarray, shape=(atom, 3), dtype=float64
        Angstrom.
    """

    chain: StringArray
    author_number: IntArray
    insertion_code: StringArray
    label_number: IntArray
    residue_name: StringArray
    atom_name: StringArray
    alternate: StringArray
    polymer: BoolArray
    occupancy: FloatArray
    b_factor: FloatArray
    position: FloatArray


@dataclass(slots=True)
class _Residue:
    """What was gathered for one residue; atoms map an atom index to a row of the table."""

    kind: int
    chain: str
    author_number: int
    insertion_code: str
    label_number: int
    atoms: dict[int, int]


def check_coordinates(position: FloatArray) -> None:
    """Refuse coordinates that no protein has.

    Raises
    ------
    StructureFileError
        If a coordinate is not finite or beyond 9999 angstrom, the widest that PDB files hold.
    """
    bad = np.flatnonzero(~(np.abs(position) <= MAX_COORDINATE).all(axis=-1))
    if bad.size:
        values = ", ".join(f"{value:g}" for value in position[bad[0]])
        raise StructureFileError(
            f"Atom {bad[0] + 1} lies at ({values}) angstrom; expected finite coordinates within "
            f"{MAX_COORDINATE:g} of the origin ({bad.size} such atoms).",
            "The file is damaged or in other units; get it again or move it to the origin.",
        )


def assemble(table: AtomTable, name: str, limits: ReadLimits) -> Protein:
    """Make a protein of the atoms of one model.

    Water, ligands and nucleic acids are skipped. Of alternate locations the one with the highest
    mean occupancy in its residue is taken, the alphabetically first if equal. Selenomethionine
    becomes methionine; any other residue outside the twenty becomes ``X`` when it has N, CA and
    C. Residues without a CA are left out.

    Raises
    ------
    StructureFileError
        If coordinates are absurd, atoms repeat, limits are passed or no protein is left.
    """
    check_coordinates(table.position)
    for values, what in ((table.b_factor, "B-factor"), (table.occupancy, "occupancy")):
        if not np.isfinite(values).all():
            raise StructureFileError(
                f"Expected finite {what}s, got {values[~np.isfinite(values)][0]}.", "Mend the file."
            )
    residues = list(_residues(table))
    if not residues:
        raise _no_protein(table)
    if len(residues) > limits.max_residues:
        raise StructureFileError(
            f"Expected at most {limits.max_residues} protein residues, got {len(residues)}.",
            "Keep only the chains that are needed.",
        )
    order = {chain: i for i, chain in enumerate(dict.fromkeys(r.chain for r in residues))}
    for chain in order:
        if not is_chain_id(chain):
            raise StructureFileError(
                f"The chain id {chain[:40]!r} is not usable.", "Rename the chain, for example to A."
            )
    residues.sort(key=lambda residue: order[residue.chain])
    return _protein(residues, order, table, name)


def _protein(
    residues: list[_Residue], order: dict[str, int], table: AtomTable, name: str
) -> Protein:
    length = len(residues)
    owner = np.repeat(np.arange(length), [len(r.atoms) for r in residues])
    kind = np.array([atom for r in residues for atom in r.atoms])
    row = np.array([i for r in residues for i in r.atoms.values()])
    positions = np.zeros((length, len(ATOM_NAMES), 3), dtype=np.float32)
    mask = np.zeros((length, len(ATOM_NAMES)), dtype=np.bool_)
    positions[owner, kind] = table.position[row]
    mask[owner, kind] = True
    ca_rows = [r.atoms[_ATOM_INDEX["CA"]] for r in residues]
    return Protein(
        aatype=np.array([r.kind for r in residues], dtype=np.int8),
        atom_positions=positions,
        atom_mask=mask,
        chain_index=np.array([order[r.chain] for r in residues], dtype=np.int32),
        residue_index=np.array(_label_numbers(residues), dtype=np.int32),
        author_number=np.array([r.author_number for r in residues], dtype=np.int32),
        insertion_code=tuple(r.insertion_code for r in residues),
        chain_ids=tuple(order),
        b_factor=table.b_factor[ca_rows].astype(np.float32),
        name=name,
    )


def _label_numbers(residues: list[_Residue]) -> list[int]:
    """Keep the file's label numbers of a chain if they can be used, else count from 1."""
    numbers: list[int] = []
    for _, members in groupby(residues, key=lambda residue: residue.chain):
        given = [residue.label_number for residue in members]
        rising = all(a < b for a, b in pairwise(given))
        usable = rising and given[0] >= 1 and given[-1] <= MAX_RESIDUE_INDEX
        numbers += given if usable else range(1, len(given) + 1)
    return numbers


def _residues(table: AtomTable) -> Iterator[_Residue]:
    """Group the rows into residues, in the order of the file."""
    known = np.isin(table.atom_name, [*ATOM_NAMES, "SE"])
    rows = np.flatnonzero(known & table.polymer)
    chain, number, code = (
        table.chain[rows].tolist(),
        table.author_number[rows].tolist(),
        table.insertion_code[rows].tolist(),
    )
    groups: dict[tuple[str, int, str], list[int]] = {}
    for row, key in zip(rows.tolist(), zip(chain, number, code, strict=True), strict=True):
        groups.setdefault(key, []).append(row)
    for (chain_id, author_number, insertion_code), members in groups.items():
        chosen = _without_alternates(members, table)
        residue_name = str(table.residue_name[chosen[0]])
        kind = _RESIDUE_TYPE.get(residue_name, _UNKNOWN)
        where = f"{residue_name} {chain_id}{author_number}{insertion_code}"
        atoms = _atoms(chosen, table, where)
        required = _REQUIRED_OF_UNKNOWN if kind == _UNKNOWN else {_ATOM_INDEX["CA"]}
        if not required <= atoms.keys():
            continue
        if abs(author_number) > _MAX_AUTHOR_NUMBER or len(insertion_code) > 1:
            raise StructureFileError(
                f"Residue {where}: expected a residue number of up to ten digits and an insertion "
                "code of one character.",
                "Renumber the residues.",
            )
        label = int(table.label_number[chosen[0]])
        yield _Residue(kind, chain_id, author_number, insertion_code, label, atoms)


def _atoms(rows: list[int], table: AtomTable, where: str) -> dict[int, int]:
    atoms: dict[int, int] = {}
    for row in rows:
        atom = str(table.atom_name[row])
        if atom == "SE":
            if table.residue_name[row] != "MSE":
                continue
            atom = "SD"
        if atoms.setdefault(_ATOM_INDEX[atom], row) != row:
            raise StructureFileError(
                f"Residue {where} has the atom {atom} twice.",
                "Give every chain an id of its own and every residue its own number.",
            )
    return atoms


def _without_alternates(rows: list[int], table: AtomTable) -> list[int]:
    """Drop all but the most occupied alternate location of one residue."""
    letters = [str(letter) for letter in table.alternate[rows]]
    distinct = sorted(set(letters) - {""})
    if not distinct:
        return rows
    occupancy = table.occupancy[rows]

    def mean_occupancy(letter: str) -> float:
        return float(np.mean([o for o, a in zip(occupancy, letters, strict=True) if a == letter]))

    best = max(distinct, key=mean_occupancy)
    return [row for row, letter in zip(rows, letters, strict=True) if letter in {"", best}]


def _no_protein(table: AtomTable) -> StructureFileError:
    names: Counter[Any] = Counter(table.residue_name.tolist())
    seen = ", ".join(str(name)[:10] or "(blank)" for name, _ in names.most_common(6))
    return StructureFileError(
        f"Expected protein residues, found none among {len(table.chain)} atoms (residues: {seen}).",
        "Give a file with at least the CA atoms of a protein chain.",
    )
