"""The ``atom_site`` table of mmCIF and BinaryCIF files, in and out, over biotite."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from protein_lab.errors import StructureFileError
from protein_lab.structure_files.atoms import AtomTable, StringArray
from protein_lab.structure_files.opening import ReadLimits

if TYPE_CHECKING:
    from biotite.structure.io.pdbx import BinaryCIFColumn, CIFColumn

    Column = CIFColumn | BinaryCIFColumn

_TABLE_START = re.compile(r"^_atom_site\.", re.MULTILINE)
_TABLE_END = re.compile(r"^(?:#|loop_|data_|_(?!atom_site\.))", re.MULTILINE | re.IGNORECASE)
_OVERLONG_WORD = re.compile(r"(?<!\S)\S{65}")
_LONGEST_LINE: Final = 512
_LONGEST_WORD: Final = 64
_MOST_COLUMNS: Final = 200
# Rows go to biotite in pieces: it makes arrays as wide as the longest value of a column, so one
# long value in a big table would otherwise cost gigabytes.
_ROWS_AT_A_TIME: Final = 5000
_MAX_CONTAINERS: Final = 2_000_000
_NUMBERS: Final = ("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv")
_WORDS: Final = (
    "group_PDB", "label_atom_id", "auth_atom_id", "label_alt_id", "label_comp_id", "auth_comp_id",
    "label_asym_id", "auth_asym_id", "label_seq_id", "auth_seq_id", "pdbx_PDB_ins_code",
    "pdbx_PDB_model_num",
)  # fmt: skip
_ABSENT: Final = ""

RawColumns = dict[str, np.ndarray[Any, Any]]


def table_of_mmcif(text: str, limits: ReadLimits) -> AtomTable:
    """Read the first model of the first ``atom_site`` table of an mmCIF file.

    Raises
    ------
    StructureFileError
        If there is no such table, it is damaged, or it is too large.
    """
    pieces = [_columns(piece) for piece in _pieces(text, limits)]
    names = set(pieces[0])
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
    return _table(columns, limits)


def _pieces(text: str, limits: ReadLimits) -> Iterator[Mapping[str, Column]]:
    from biotite.structure.io.pdbx import CIFCategory

    header, rows = _table_lines(text, limits)
    if len(rows) > limits.max_atoms:
        raise too_many_atoms(limits)
    if max(map(len, rows)) > _LONGEST_LINE:
        raise StructureFileError(
            f"A line of the atom_site table is longer than {_LONGEST_LINE} characters.",
            "The file is damaged; get it again.",
        )
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        piece = "\n".join([*header, *rows[start : start + _ROWS_AT_A_TIME]])
        yield _parsed("atom_site", lambda piece=piece: CIFCategory.deserialize(piece))


def _table_lines(text: str, limits: ReadLimits) -> tuple[list[str], list[str]]:
    """Cut out the lines of the table: the names of its columns, and its rows."""
    start = _TABLE_START.search(text)
    if start is None:
        raise StructureFileError(
            "The mmCIF file has no atom_site table, so it holds no coordinates.",
            "Give a file with coordinates, not a header or a dictionary.",
        )
    end = _TABLE_END.search(text, start.start())
    section = text[start.start() : end.start() if end else len(text)]
    # Blank lines count too: millions of them would cost more memory than atoms do.
    if section.count("\n") > limits.max_atoms + _MOST_COLUMNS:
        raise too_many_atoms(limits)
    if _OVERLONG_WORD.search(section):
        raise _overlong_word()
    lines = [line for line in section.splitlines() if line.strip()]
    before = text[max(0, start.start() - 200) : start.start()].split()
    if not before or before[-1].lower() != "loop_":
        # One atom is written as pairs of name and value instead of a table.
        lines = _looped(lines)
    count = next((i for i, line in enumerate(lines) if not line.startswith("_")), len(lines))
    if count == len(lines):
        raise StructureFileError("The atom_site table has no rows.", "Get the file again.")
    return ["loop_", *lines[:count]], lines[count:]


def _looped(lines: list[str]) -> list[str]:
    pairs = [line.split(maxsplit=1) for line in lines]
    if any(len(pair) != 2 for pair in pairs):
        raise StructureFileError("The atom_site table is damaged.", "Get the file again.")
    return [*(pair[0] for pair in pairs), " ".join(pair[1].strip() for pair in pairs)]


def table_of_binary_cif(content: bytes, limits: ReadLimits) -> AtomTable:
    """Read the first model of the first ``atom_site`` table of a BinaryCIF file.

    Raises
    ------
    StructureFileError
        If there is no such table, it is damaged, or it is too large.
    """
    category = _parsed("file", lambda: _binary_category(_message(content)))
    rows = category["rowCount"]
    if not isinstance(rows, int) or not 0 < rows <= limits.max_atoms:
        if isinstance(rows, int) and rows > limits.max_atoms:
            raise too_many_atoms(limits)
        raise StructureFileError("The atom_site table has no rows.", "Get the file again.")
    given = {column["name"]: column for column in category["columns"]}
    from biotite.structure.io.pdbx import BinaryCIFColumn

    columns: dict[str, Column] = {}
    for name in {*_NUMBERS, *_WORDS} & given.keys():
        for part in (given[name]["data"], given[name]["mask"]):
            if part is not None:
                _parsed(name, lambda part=part: _check_encodings(part["encoding"], rows))
        column = _parsed(name, lambda name=name: BinaryCIFColumn.deserialize(given[name]))
        columns[name] = column
    return _table(_columns(columns), limits)


def _message(content: bytes) -> dict[str, Any]:
    """Unpack MessagePack, counting containers: one byte of it can cost 64 in memory."""
    import msgpack

    seen = 0

    def counted(container: list[Any] | dict[str, Any]) -> Any:
        nonlocal seen
        seen += 1 + len(container)
        if seen > _MAX_CONTAINERS:
            raise StructureFileError("The BinaryCIF file holds absurdly many entries.")
        return container

    limit = len(content)
    return msgpack.unpackb(
        content,
        raw=False,
        list_hook=counted,
        object_hook=counted,
        max_array_len=min(limit, 1_000_000),
        max_map_len=min(limit, 1000),
    )


def _binary_category(message: dict[str, Any]) -> dict[str, Any]:
    for block in message["dataBlocks"]:
        for category in block["categories"]:
            if category["name"] == "_atom_site":
                return category
    raise StructureFileError(
        "The BinaryCIF file has no atom_site table, so it holds no coordinates.",
        "Give a file with coordinates.",
    )


def _check_encodings(encodings: list[dict[str, Any]], rows: int) -> None:
    """Refuse encodings that would unpack to more than the table's rows."""
    from biotite.structure.io.pdbx.encoding import decode_stepwise, deserialize_encoding

    for encoding in encodings:
        size = encoding.get("srcSize", 0)
        if encoding["kind"] in {"RunLength", "IntegerPacking"} and not 0 <= size <= 2 * rows + 2:
            raise StructureFileError(
                f"A column unpacks to {size} values where the table has {rows} rows.",
                "The file is damaged; get it again.",
            )
        if encoding["kind"] == "StringArray":
            _check_encodings(encoding["dataEncoding"], rows)
            _check_encodings(encoding["offsetEncoding"], rows)
            steps = [deserialize_encoding(dict(step)) for step in encoding["offsetEncoding"]]
            lengths = np.diff(decode_stepwise(encoding["offsets"], steps).astype(np.int64))
            if lengths.size and (lengths.min() < 0 or lengths.max() > _LONGEST_WORD):
                raise _overlong_word()


def _parsed(what: str, parse: Callable[[], Any]) -> Any:
    """Turn whatever a parser raises on damaged input into one kind of error."""
    from biotite.file import DeserializationError, InvalidFileError

    try:
        return parse()
    except StructureFileError:
        raise
    except (
        DeserializationError, InvalidFileError, ArithmeticError, AttributeError, LookupError,
        RecursionError, StopIteration, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise StructureFileError(
            f"The {what} cannot be parsed: it is truncated or damaged.", "Get the file again."
        ) from error


def _columns(columns: Mapping[str, Column]) -> RawColumns:
    """Convert the needed columns to plain arrays; masked words become empty strings."""
    raw: RawColumns = {}
    for name in _NUMBERS:
        if name in columns:
            absent = {"occupancy": 1.0, "B_iso_or_equiv": 0.0}.get(name, np.nan)
            column: Any = columns[name]
            raw[name] = _parsed(
                name, lambda column=column, absent=absent: column.as_array(np.float64, absent)
            )
    for name in _WORDS:
        if name in columns:
            words = _parsed(name, lambda name=name: columns[name].as_array(str, _ABSENT))
            if words.dtype.itemsize > _LONGEST_WORD * np.dtype("U1").itemsize:
                raise _overlong_word()
            raw[name] = words
    return raw


def _table(columns: RawColumns, limits: ReadLimits) -> AtomTable:
    missing = [name for name in _NUMBERS[:3] if name not in columns]
    if missing:
        raise StructureFileError(
            f"The atom_site table lacks the column {missing[0]}.", "Give a file with coordinates."
        )
    sizes = {len(column) for column in columns.values()}
    if len(sizes) != 1:
        raise StructureFileError(
            "The columns of the atom_site table differ in length.", "Get the file again."
        )
    count = sizes.pop()
    if count > limits.max_atoms:
        raise too_many_atoms(limits)
    if "pdbx_PDB_model_num" in columns:
        model = columns["pdbx_PDB_model_num"]
        columns = {name: column[model == model[0]] for name, column in columns.items()}
        count = len(columns["Cartn_x"])
    hetero = columns.get("group_PDB", np.full(count, "ATOM")) == "HETATM"
    label = _integers(columns, ("label_seq_id",), count)
    unnumbered = hetero & (label == 0) if "label_seq_id" in columns else np.zeros(count, np.bool_)
    return AtomTable(
        chain=_first_given(columns, ("auth_asym_id", "label_asym_id"), count, "A"),
        author_number=_integers(columns, ("auth_seq_id", "label_seq_id"), count),
        insertion_code=_first_given(columns, ("pdbx_PDB_ins_code",), count),
        label_number=label,
        residue_name=_first_given(columns, ("label_comp_id", "auth_comp_id"), count),
        atom_name=_first_given(columns, ("label_atom_id", "auth_atom_id"), count),
        alternate=_first_given(columns, ("label_alt_id",), count),
        polymer=~unnumbered,
        occupancy=columns.get("occupancy", np.ones(count)),
        b_factor=columns.get("B_iso_or_equiv", np.zeros(count)),
        position=np.stack([columns[name] for name in _NUMBERS[:3]], axis=-1),
    )


def _first_given(
    columns: RawColumns, names: tuple[str, ...], count: int, otherwise: str = _ABSENT
) -> StringArray:
    """Take the first of several columns, row by row, that holds something."""
    result = np.full(count, otherwise)
    for name in reversed(names):
        if name in columns:
            result = np.where(columns[name] != _ABSENT, columns[name], result)
    return result


def _integers(columns: RawColumns, names: tuple[str, ...], count: int) -> Any:
    words = _first_given(columns, names, count, "0")
    return _parsed(names[0], lambda: words.astype(np.int64))


def too_many_atoms(limits: ReadLimits) -> StructureFileError:
    """Return the error for a file of too many atoms."""
    return StructureFileError(
        f"The file holds more than {limits.max_atoms} atoms (or lines for them), the limit.",
        "Keep only the chains and the model that are needed.",
    )


def _overlong_word() -> StructureFileError:
    return StructureFileError(
        f"The atom_site table holds a word of more than {_LONGEST_WORD} characters.",
        "The file is damaged; get it again.",
    )
