"""Hostile structure files: every kind is refused with one documented error, at little cost."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from protein_lab.errors import StructureFileError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.structure_files import (
    ReadLimits,
    read_structure,
    to_binary_cif,
    to_mmcif,
    to_pdb,
)

CIF_COLUMNS = (
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id",
    "label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y",
    "Cartn_z", "occupancy", "B_iso_or_equiv", "auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num",
)  # fmt: skip


def helix(length: int) -> np.ndarray:
    """Return the backbone of an ideal helix."""
    return backbone_from_internal(
        np.full(length, -1.0), np.full(length, -0.8), np.full(length, np.pi)
    )


@pytest.fixture(scope="module")
def protein() -> Protein:
    """Return a helix of ten residues with a rising B-factor."""
    return Protein.from_backbone(helix(10), "ACDEFGHIKL", b_factor=np.arange(10) / 4)


def cif(*rows: str, columns: tuple[str, ...] = CIF_COLUMNS) -> bytes:
    """Return a small mmCIF file with the given atom rows."""
    head = "".join(f"_atom_site.{name}\n" for name in columns)
    return f"data_test\n#\nloop_\n{head}{chr(10).join(rows)}\n#\n".encode()


def row(
    atom: str, residue: str, number: int | str, *, x: float | str = 1.0, group: str = "ATOM",
    alt: str = ".", chain: str = "A", author: int | None = None, code: str = "?",
    occupancy: float = 1.0, model: int = 1,
) -> str:  # fmt: skip
    """Return one row of an ``atom_site`` table."""
    written = number if author is None else author
    return (
        f"{group} 1 {atom[0]} {atom} {alt} {residue} {chain} 1 {number} {code} {x} 2.0 3.0 "
        f"{occupancy} 7.5 {written} {chain} {model}"
    )


def pdb_line(
    atom: str = "CA", residue: str = "ALA", number: int = 1, *, chain: str = "A", x: str = "1.000",
    record: str = "ATOM", alt: str = " ", occupancy: str = "1.00", b_factor: str = "5.00",
) -> str:  # fmt: skip
    """Return one ATOM record."""
    return (
        f"{record:<6}    1  {atom:<3}{alt}{residue} {chain}{number:4d}    {x:>8}   2.000   3.000"
        f"{occupancy:>6}{b_factor:>6}           {atom[0]}"
    )


def bad_pdb(x: str) -> bytes:
    """Return a PDB file with one strange coordinate."""
    return f"{pdb_line()}\n{pdb_line(number=2, x=x)}\n".encode()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "file is empty"),
    "empty gzip": (gzip.compress(b""), "empty inside"),
    "truncated gzip": (gzip.compress(bad_pdb("1.0") * 50)[:-20], "truncated"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + b"\x07" * 40, "gzip data"),
    "bomb": (gzip.compress(bytes(80 * 1024 * 1024)), "larger than the limit of 64 MiB"),
    "binary": (bytes(range(128, 256)) * 8, "binary data"),
    "zip": (b"PK\x03\x04" + bytes(50), "zip archive"),
    "fasta": (b">x\nACDE\n", "FASTA"),
    "html": (b"<!DOCTYPE html><html>404</html>", "web page"),
    "json": (b'{"a": 1}', "JSON"),
    "utf-16": ("data_x\n".encode("utf-16"), "UTF-16"),
    "prose": (b"Dear sir or madam,\n", "some other text"),
    "not utf-8 pdb": (b"REMARK \xe9\n" + bad_pdb("1.0"), "byte 0xe9 at offset 7"),
    "not utf-8 cif": (cif(row("CA", "ALA", 1)) + b"\xff", "0xff"),
    "nan pdb": (bad_pdb("nan"), r"Atom 2 lies at \(nan, 2, 3\)"),
    "inf pdb": (bad_pdb("inf"), "expected finite"),
    "overflow pdb": (bad_pdb("1e999"), "expected finite"),
    "absurd pdb": (bad_pdb("99999.0"), "within 9999"),
    "words pdb": (bad_pdb("abc"), "x coordinate 'abc'"),
    "cut pdb": (bad_pdb("1.0")[:-40], "truncated"),
    "bad occupancy": (pdb_line(occupancy="inf").encode(), "finite occupancy"),
    "bad b": (pdb_line(b_factor="nan").encode(), "finite B-factor"),
    "header only pdb": (b"HEADER    PROTEIN\nREMARK 1\nEND\n", "no atoms"),
    "water only pdb": (pdb_line("O", "HOH", record="HETATM").encode(), "residues: HOH"),
    "repeated atoms": (f"{pdb_line()}\n{pdb_line()}\n".encode(), "ALA A1 has the atom CA twice"),
    "nan cif": (cif(row("CA", "ALA", 1, x="nan")), "nan"),
    "inf cif": (cif(row("CA", "ALA", 1, x="-inf")), "-inf"),
    "absurd cif": (cif(row("CA", "ALA", 1, x=1e5)), "100000"),
    "unset cif": (cif(row("CA", "ALA", 1, x="?")), "nan"),
    "words cif": (cif(row("CA", "ALA", 1, x="abc")), "Cartn_x cannot be parsed"),
    "odd number cif": (cif(row("CA", "ALA", "1.5")), "cannot be parsed"),
    "huge number cif": (cif(row("CA", "ALA", "9" * 30)), "cannot be parsed"),
    "big number cif": (cif(row("CA", "ALA", 1, author=2**40)), "residue number"),
    "long code cif": (cif(row("CA", "ALA", 1, code="AB")), "insertion code"),
    "long chain cif": (cif(row("CA", "ALA", 1, chain="A" * 40)), "chain id"),
    "cut cif": (cif(row("CA", "ALA", 1), "ATOM 2 C CA"), "truncated or damaged"),
    "header only cif": (b"data_test\n_entry.id test\n#\n", "no atom_site"),
    "no rows": (cif(), "no rows"),
    "no columns": (cif("ATOM 1", columns=("group_PDB", "id")), "lacks the column Cartn_x"),
    "water only cif": (cif(row("O", "HOH", ".", group="HETATM", author=1)), "residues: HOH"),
    "long word": (cif(row("CA", "A" * 100, 1)), "more than 64 characters"),
    "long quoted word": (cif(row("CA", f"'{'A ' * 50}'", 1)), "more than 64 characters"),
    "long line": (cif(row("CA", "ALA", 1) + " " * 600 + "x"), "longer than 512"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_content_is_explained(case: str) -> None:
    """Every kind of bad content gives the one documented error with its own message."""
    content, message = HOSTILE[case]
    with pytest.raises(StructureFileError, match=message) as caught:
        read_structure(content)
    assert str(caught.value).startswith("The given bytes: ")


def test_bomb_costs_no_memory() -> None:
    """Unpacking stops at the limit: far less than the bomb's 80 MB is ever held."""
    bomb = HOSTILE["bomb"][0]
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(StructureFileError, match="limit of 1 MiB"):
            read_structure(bomb, limits=ReadLimits(max_bytes=2**20))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_limits_hold(protein: Protein) -> None:
    """Atoms and residues above the limits are refused in every format."""
    for content in (to_mmcif(protein).encode(), to_pdb(protein).encode(), to_binary_cif(protein)):
        with pytest.raises(StructureFileError, match="more than 20 atoms"):
            read_structure(content, limits=ReadLimits(max_atoms=20))
        with pytest.raises(StructureFileError, match="at most 9 protein residues, got 10"):
            read_structure(content, limits=ReadLimits(max_residues=9))


def test_many_newlines_are_refused() -> None:
    """Megabytes of empty lines are no structure and cost little."""
    with pytest.raises(StructureFileError, match="no atoms"):
        read_structure(b"HEADER\n" + b"\n" * 5_000_000)
    with pytest.raises(StructureFileError, match="more than 500000 atoms"):
        read_structure(b"data_x\nloop_\n_atom_site.id\n" + b"\n" * 5_000_000)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.cif", "no such file"),
        ("", "got a folder"),
        ("pipe.cif", "pipe or a device"),
        ("structure.cif", r"Expected mmCIF by its name; the content looks like PDB.*Rename"),
        ("structure.pdb.gz", "gzip data by its name; it is not compressed.*without .gz"),
        ("zipped.pdb", "plain data by its name; it is gzipped.*with .gz"),
        ("broken\0name", "cannot be read"),
    ],
)
def test_bad_paths(tmp_path: Path, name: str, message: str) -> None:
    """Missing files, folders, pipes and wrong names are told apart, and the path is named."""
    content = f"{pdb_line()}\n".encode()
    (tmp_path / "structure.cif").write_bytes(content)
    (tmp_path / "structure.pdb.gz").write_bytes(content)
    (tmp_path / "zipped.pdb").write_bytes(gzip.compress(content))
    os.mkfifo(tmp_path / "pipe.cif")
    with pytest.raises(StructureFileError, match=message) as caught:
        read_structure(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_unknown_ending_is_read_by_content(tmp_path: Path) -> None:
    """A file without a telling name is read as what it is, and a wrong format asked is refused."""
    path = tmp_path / "structure.txt"
    path.write_text(pdb_line())
    assert read_structure(path).sequence == "A"
    with pytest.raises(StructureFileError, match=r"Expected mmCIF; .*like PDB.*format='pdb'"):
        read_structure(path, "mmcif")
    with pytest.raises(StructureFileError, match="Unknown format 'xyz'"):
        read_structure(path, "xyz")  # type: ignore[arg-type]


def tampered(protein: Protein, change: Any) -> bytes:
    """Return a BinaryCIF file whose ``atom_site`` columns were changed."""
    message = msgpack.unpackb(to_binary_cif(protein))
    block = message["dataBlocks"][0]
    category = next(c for c in block["categories"] if c["name"] == "_atom_site")
    change(category, {column["name"]: column for column in category["columns"]})
    return msgpack.packb(message)


def run_length_bomb(category: Any, columns: Any) -> None:
    """Let a few bytes claim to unpack to a billion numbers."""
    columns["auth_seq_id"]["data"] = {
        "data": np.array([1, 10**9], np.int32).tobytes(),
        "encoding": [
            {"kind": "RunLength", "srcType": 3, "srcSize": 10**9},
            {"kind": "ByteArray", "type": 3},
        ],
    }


def string_bomb(category: Any, columns: Any) -> None:
    """Let one huge word widen a whole column."""
    encoding = columns["label_comp_id"]["data"]["encoding"][0]
    encoding["stringData"] = "A" * 100_000
    encoding["offsets"] = np.array([0, 100_000], np.int32).tobytes()
    encoding["offsetEncoding"] = [{"kind": "ByteArray", "type": 3}]


def negative_rows(category: Any, columns: Any) -> None:
    """Claim a negative number of rows."""
    category["rowCount"] = -1


def short_column(category: Any, columns: Any) -> None:
    """Let one column be shorter than the others."""
    columns["Cartn_x"]["data"] = {
        "data": np.zeros(3, np.float32).tobytes(),
        "encoding": [{"kind": "ByteArray", "type": 32}],
    }


def nan_column(category: Any, columns: Any) -> None:
    """Set the coordinates to NaN."""
    columns["Cartn_x"]["data"] = {
        "data": np.full(category["rowCount"], np.nan, np.float32).tobytes(),
        "encoding": [{"kind": "ByteArray", "type": 32}],
    }


def no_encoding(category: Any, columns: Any) -> None:
    """Name an encoding that does not exist."""
    columns["Cartn_x"]["data"]["encoding"] = [{"kind": "Pickle"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (run_length_bomb, "unpacks to 1000000000 values"),
        (string_bomb, "more than 64 characters"),
        (negative_rows, "no rows"),
        (short_column, "differ in length"),
        (nan_column, "finite"),
        (no_encoding, "cannot be parsed"),
    ],
)
def test_hostile_binary_cif(protein: Protein, change: Any, message: str) -> None:
    """Bombs and nonsense inside BinaryCIF are found before they unpack."""
    with pytest.raises(StructureFileError, match=message):
        read_structure(tampered(protein, change))


def test_nested_message_is_refused() -> None:
    """A message of endless nesting or of very many empty lists is refused."""
    for inner in (b"\x91" * 5000 + b"\xc0", b"\xdd\x00\x20\x00\x00" + b"\x90" * 2**21):
        with pytest.raises(StructureFileError):
            read_structure(b"\x81\xaadataBlocks" + inner)
