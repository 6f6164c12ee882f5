"""Structure files: what is kept, what is skipped, what each format can hold."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protein_lab.errors import StructureFileError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.structure_files import (
    read_structure,
    to_mmcif,
    to_pdb,
    write_structure,
)
from protein_lab.training.corpus import CorpusChain

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


def backbone_rows(residue: str, number: int, **more: Any) -> list[str]:
    """Return rows of N, CA and C."""
    return [row(atom, residue, number, **more) for atom in ("N", "CA", "C")]


def pdb_line(
    atom: str = "CA", residue: str = "ALA", number: int = 1, *, chain: str = "A", x: str = "1.000",
    record: str = "ATOM", alt: str = " ", occupancy: str = "1.00", b_factor: str = "5.00",
) -> str:  # fmt: skip
    """Return one ATOM record."""
    return (
        f"{record:<6}    1  {atom:<3}{alt}{residue} {chain}{number:4d}    {x:>8}   2.000   3.000"
        f"{occupancy:>6}{b_factor:>6}           {atom[0]}"
    )


def test_selenomethionine_is_methionine() -> None:
    """MSE becomes M with its selenium in the place of the sulfur."""
    rows = [*backbone_rows("MSE", 1, group="HETATM"), row("SE", "MSE", 1, group="HETATM", x=9)]
    obtained = read_structure(cif(*rows))
    assert obtained.sequence == "M"
    assert "M SD" not in obtained.sequence


def test_unknown_residue_is_x_and_others_are_skipped() -> None:
    """A modified residue with a backbone is X; water, ions and ligands are not residues."""
    obtained = read_structure(
        cif(
            *backbone_rows("ALA", 1),
            *backbone_rows("ZZZ", 2, group="HETATM"),
            row("O", "HOH", ".", group="HETATM", author=201),
            row("CA", "CA", ".", group="HETATM", author=202),
            *(row(a, "GLY", ".", group="HETATM", author=203) for a in ("N", "CA", "C")),
            row("P", "DA", 1, chain="B"),
        )
    )
    assert obtained.sequence == "AX"
    assert obtained.chain_ids == ("A",)


def test_highest_occupancy_wins() -> None:
    """Of alternate locations the fuller one is taken for the whole residue, name included."""
    obtained = read_structure(
        cif(
            row("CA", "SER", 1, alt="A", occupancy=0.4, x=1),
            row("CA", "THR", 1, alt="B", occupancy=0.6, x=2),
            row("CA", "ALA", 2, alt="A", occupancy=0.5, x=3),
            row("CA", "ALA", 2, alt="B", occupancy=0.5, x=4),
            row("CB", "ALA", 2, x=5),
        )
    )
    assert obtained.sequence == "TA"
    assert obtained.ca[:, 0].tolist() == [2, 3]
    assert obtained.atom_mask[1].sum() == 2


def test_author_and_label_numbers_are_both_kept() -> None:
    """Gaps in label numbers, negative author numbers, insertion codes and long chain ids stay."""
    obtained = read_structure(
        cif(
            row("CA", "ALA", 3, author=-1, chain="heavy"),
            row("CA", "GLY", 4, author=-1, code="A", chain="heavy"),
            row("CA", "SER", 9, author=52, chain="heavy"),
            row("CA", "LYS", 1, author=1, chain="B2"),
        )
    )
    assert obtained.chain_ids == ("heavy", "B2")
    assert obtained.residue_index.tolist() == [3, 4, 9, 1]
    assert obtained.author_number.tolist() == [-1, -1, 52, 1]
    assert obtained.insertion_code == ("", "A", "", "")


def test_first_model_only() -> None:
    """Of several models the first in the file is read, in mmCIF and in PDB."""
    obtained = read_structure(
        cif(row("CA", "ALA", 1, x=1, model=5), row("CA", "ALA", 1, x=2, model=6))
    )
    assert obtained.ca[:, 0].tolist() == [1]
    lines = ["MODEL        1", pdb_line(x="1.5"), "ENDMDL", "MODEL        2", pdb_line(), "ENDMDL"]
    assert read_structure("\n".join(lines).encode()).ca[0, 0] == 1.5


def test_interleaved_chains_are_put_together() -> None:
    """Chains whose rows alternate in the file come out one after another."""
    obtained = read_structure(
        cif(
            row("CA", "ALA", 1, chain="A"),
            row("CA", "GLY", 1, chain="B"),
            row("CA", "SER", 2, chain="A"),
        )
    )
    assert obtained.sequence == "ASG"
    assert obtained.chain_index.tolist() == [0, 0, 1]


def test_only_label_columns_are_enough() -> None:
    """A file without author columns is read by its label columns."""
    columns = tuple(name for name in CIF_COLUMNS if not name.startswith("auth"))
    words = row("CA", "ALA", 7).split()
    kept = " ".join(w for w, name in zip(words, CIF_COLUMNS, strict=True) if name in columns)
    obtained = read_structure(cif(kept, kept.replace(" 7 ", " 8 "), columns=columns))
    assert obtained.author_number.tolist() == [7, 8]
    assert obtained.chain_ids == ("A",)


def test_pdb_with_blanks_is_read() -> None:
    """Blank chain, occupancy, B-factor and element, as other programs write, have defaults."""
    obtained = read_structure(pdb_line(chain=" ", occupancy="", b_factor="")[:54].encode())
    assert obtained.chain_ids == ("A",)
    assert obtained.b_factor.tolist() == [0]


def test_pdb_hetero_groups_after_ter_are_skipped() -> None:
    """An amino acid behind the end of its chain is a ligand."""
    lines = [
        pdb_line(),
        "TER       2      ALA A   1",
        pdb_line(number=9, record="HETATM"),
        pdb_line(number=1, chain="B"),
    ]
    obtained = read_structure("\n".join(lines).encode())
    assert obtained.chain_ids == ("A", "B")
    assert obtained.num_residues == 2


@pytest.mark.parametrize("suffix", [".cif", ".mmcif", ".bcif", ".pdb", ".ent"])
@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_saved_files_come_back(protein: Protein, tmp_path: Path, suffix: str, zipped: str) -> None:
    """Every ending can be saved and read, twice with the same bytes, and nothing else is left."""
    path = tmp_path / f"design.001{suffix}{zipped}"
    protein.save(path)
    first = path.read_bytes()
    protein.save(path)
    assert path.read_bytes() == first
    assert first.startswith(b"\x1f\x8b") == bool(zipped)
    obtained = Protein.from_file(path)
    assert obtained.sequence == protein.sequence
    assert obtained.name == "design"
    np.testing.assert_allclose(obtained.atom_positions, protein.atom_positions, atol=6e-4)
    np.testing.assert_allclose(obtained.b_factor, protein.b_factor, atol=0.006)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_mmcif_is_understood_by_biotite(protein: Protein) -> None:
    """An independent reader finds the same atoms, numbers and sequence."""
    import io

    from biotite.structure.io.pdbx import CIFFile, get_sequence, get_structure

    file = CIFFile.read(io.StringIO(to_mmcif(protein)))
    atoms = get_structure(file, model=1, extra_fields=["b_factor"])
    assert atoms.array_length() == protein.atom_mask.sum()
    np.testing.assert_allclose(atoms.coord, protein.atom_positions[protein.atom_mask], atol=6e-4)
    assert str(get_sequence(file)["A"]) == protein.sequence
    np.testing.assert_allclose(atoms.b_factor[atoms.atom_name == "CA"], protein.b_factor)


def test_mmcif_has_the_tables_that_readers_need(protein: Protein) -> None:
    """Entities, sequences, chains and both namings of every atom are there."""
    text = to_mmcif(protein)
    for item in (
        "_entry.id", "_entity.type", "_entity_poly.pdbx_strand_id", "_entity_poly_seq.mon_id",
        "_struct_asym.id", "_atom_site.label_asym_id", "_atom_site.auth_asym_id",
        "_atom_site.label_seq_id", "_atom_site.auth_seq_id", "_atom_site.pdbx_PDB_ins_code",
    ):  # fmt: skip
        assert f"\n{item}" in text


def test_equal_chains_are_one_entity_and_gaps_are_unknown(protein: Protein) -> None:
    """Two copies share an entity; residues that are not modelled stand as UNK in its sequence."""
    two = dataclasses.replace(
        protein,
        aatype=np.zeros(10, int),
        chain_index=np.repeat([0, 1], 5),
        residue_index=np.tile([1, 2, 3, 5, 6], 2),
        chain_ids=("A", "B"),
    )
    text = to_mmcif(two)
    assert "polypeptide(L) AAAXAA A,B" in text
    assert text.count("UNK") == 3  # once in the entity, once in the scheme of each chain
    assert read_structure(text.encode()).residue_index.tolist() == [1, 2, 3, 5, 6] * 2


def test_pdb_columns(protein: Protein) -> None:
    """Atom records are 80 wide with each field in its columns."""
    line = to_pdb(protein).splitlines()[1]
    assert line[:6] == "ATOM  "
    assert line[12:16] == " CA "
    assert (line[17:20], line[21], line[22:26], line[76:78]) == ("ALA", "A", "   1", " C")
    assert {len(line) for line in to_pdb(protein).splitlines()} == {80}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain_ids": ("AB",)}, "one character, got 'AB'"),
        ({"author_number": np.arange(10) + 9995}, "residue numbers lie within"),
        ({"b_factor": np.full(10, 1e4)}, "B-factors lie within"),
    ],
)
def test_pdb_refuses_what_it_cannot_hold(
    protein: Protein, change: dict[str, Any], message: str
) -> None:
    """What would not fit its columns is an error that points to mmCIF, which can hold it."""
    wide = dataclasses.replace(protein, **change)
    with pytest.raises(StructureFileError, match=rf"{message}.*mmCIF"):
        to_pdb(wide)
    assert read_structure(to_mmcif(wide).encode()).chain_ids == wide.chain_ids


@pytest.mark.parametrize(
    ("chains", "length", "message"),
    [(1, 10_000, "9999 residues, got 10000"), (10, 2500, "99999 atoms.*125010")],
)
def test_pdb_refuses_large_structures(chains: int, length: int, message: str) -> None:
    """Too many residues in a chain or atoms in all are refused."""
    total = chains * length
    mask = np.zeros((total, 37), bool)
    mask[:, :5] = True
    large = Protein(
        aatype=np.zeros(total, int),
        atom_positions=np.zeros((total, 37, 3)),
        atom_mask=mask,
        chain_index=np.repeat(np.arange(chains), length),
        residue_index=np.tile(np.arange(1, length + 1), chains),
        author_number=np.tile(np.arange(length), chains),
        insertion_code=("",) * total,
        chain_ids=tuple("ABCDEFGHIJ"[:chains]),
        b_factor=np.zeros(total),
    )
    with pytest.raises(StructureFileError, match=message):
        to_pdb(large)


@pytest.mark.parametrize("name", ["design.xyz", "design", "design.gz", "missing/design.cif"])
def test_saving_refuses(protein: Protein, tmp_path: Path, name: str) -> None:
    """An unknown ending or a missing folder is explained, and no file is left."""
    with pytest.raises(StructureFileError, match=r"ending|cannot be written"):
        write_structure(protein, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failed_save_keeps_the_old_file(
    protein: Protein, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle leaves the old file whole and no temporary file."""
    path = tmp_path / "design.cif"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StructureFileError, match="No space left on device"):
        protein.save(path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(shutil.which("mkdssp") is None, reason="the program mkdssp is not installed")
def test_mkdssp_reads_every_residue(tmp_path: Path, real_chains: list[CorpusChain]) -> None:
    """A program that walks the chain by its sequence scheme finds all residues of our mmCIF."""
    chain = real_chains[0]
    path = tmp_path / "chain.cif"
    Protein.from_backbone(chain.backbone, chain.sequence).save(path)
    done = subprocess.run(
        ["mkdssp", "--output-format", "dssp", str(path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("  #  RESIDUE"))
    assert "".join(line[13] for line in lines[header + 1 :]) == chain.sequence
