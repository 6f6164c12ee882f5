"""Round trips through every file format, over generated proteins."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, BACKBONE_INDICES
from protein_lab.errors import StructureFileError
from protein_lab.protein import Protein
from protein_lab.structure_files import read_structure, to_binary_cif, to_mmcif, to_pdb

PRINTABLE = "".join(chr(c) for c in range(33, 127))
MMCIF_IDS = st.text(PRINTABLE, min_size=1, max_size=6).filter(lambda c: c not in {"?", "."})
PDB_IDS = st.sampled_from(string.ascii_letters + string.digits)
FAST = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def proteins(draw: st.DrawFn, ids: st.SearchStrategy[str] = MMCIF_IDS) -> Protein:
    """Proteins of one or two chains with odd numbering, gaps, insertion codes, missing atoms."""
    chain_ids = draw(st.lists(ids, min_size=1, max_size=2, unique=True))
    lengths = [draw(st.integers(1, 4)) for _ in chain_ids]
    total = sum(lengths)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((total, len(ATOM_NAMES))) < 0.3
    mask[:, BACKBONE_INDICES] = True
    positions = rng.uniform(-900, 900, (total, len(ATOM_NAMES), 3)).round(3).astype(np.float32)
    numbers: list[int] = []
    codes: list[str] = []
    labels: list[int] = []
    for length in lengths:
        number, label = draw(st.integers(-50, 5000)), 0
        for _ in range(length):
            repeats = numbers and codes[-1] < "Z" and draw(st.booleans()) and label > 0
            codes.append((chr(ord(codes[-1] or "@") + 1)) if repeats else "")
            number += 0 if repeats else draw(st.integers(1, 3))
            label += draw(st.integers(1, 3))
            numbers.append(number)
            labels.append(label)
    return Protein(
        aatype=rng.integers(0, len(AMINO_ACIDS), total),
        atom_positions=positions,
        atom_mask=mask,
        chain_index=np.repeat(np.arange(len(lengths)), lengths),
        residue_index=np.array(labels),
        author_number=np.array(numbers),
        insertion_code=tuple(codes),
        chain_ids=tuple(chain_ids),
        b_factor=rng.uniform(0, 99, total).round(2).astype(np.float32),
        name=draw(st.sampled_from(["design", "1abc", "odd name; 'x'", "#"])),
    )


def assert_same(obtained: Protein, given_: Protein, atol: float) -> None:
    """Compare everything that a file keeps in every format."""
    assert obtained.sequence == given_.sequence
    assert obtained.chain_ids == given_.chain_ids
    assert obtained.insertion_code == given_.insertion_code
    np.testing.assert_array_equal(obtained.chain_index, given_.chain_index)
    np.testing.assert_array_equal(obtained.author_number, given_.author_number)
    np.testing.assert_array_equal(obtained.atom_mask, given_.atom_mask)
    np.testing.assert_allclose(obtained.atom_positions, given_.atom_positions, atol=atol)
    np.testing.assert_allclose(obtained.b_factor, given_.b_factor, atol=0.011)


@FAST
@given(proteins())
def test_mmcif_keeps_everything(protein: Protein) -> None:
    """An mmCIF file keeps chain ids of any length, both numberings, insertion codes, B-factors."""
    text = to_mmcif(protein)
    obtained = read_structure(text.encode(), "mmcif")
    assert_same(obtained, protein, 1.1e-3)
    np.testing.assert_array_equal(obtained.residue_index, protein.residue_index)
    assert to_mmcif(protein) == text


@FAST
@given(proteins())
def test_binary_cif_keeps_everything(protein: Protein) -> None:
    """BinaryCIF keeps the same as mmCIF and is as deterministic."""
    data = to_binary_cif(protein)
    obtained = read_structure(data, "bcif")
    assert_same(obtained, protein, 1.1e-3)
    np.testing.assert_array_equal(obtained.residue_index, protein.residue_index)
    assert to_binary_cif(protein) == data


@FAST
@given(proteins(PDB_IDS))
def test_pdb_keeps_all_but_label_numbers(protein: Protein) -> None:
    """PDB keeps author numbers and insertion codes; label numbers restart at 1."""
    obtained = read_structure(to_pdb(protein).encode(), "pdb")
    assert_same(obtained, protein, 1.1e-3)
    for chain in protein.chain_ids:
        part = obtained.select_chain(chain)
        assert part.residue_index.tolist() == list(range(1, part.num_residues + 1))


@FAST
@given(proteins(PDB_IDS))
def test_writing_what_was_read_changes_nothing(protein: Protein) -> None:
    """A second trip gives the same text as the first, in both text formats."""
    for write in (to_mmcif, to_pdb):
        once = read_structure(write(protein).encode(), name=protein.name)
        assert write(once) == write(read_structure(write(once).encode(), name=protein.name))


@FAST
@given(st.data())
def test_damaged_files_give_one_kind_of_error(data: st.DataObject) -> None:
    """Cut or overwritten files are read or refused, never answered with another exception."""
    protein = data.draw(proteins(PDB_IDS))
    write = data.draw(st.sampled_from(["mmcif", "pdb", "bcif"]))
    content = bytearray(
        {"mmcif": lambda: to_mmcif(protein).encode(), "pdb": lambda: to_pdb(protein).encode(),
         "bcif": lambda: to_binary_cif(protein)}[write]()
    )  # fmt: skip
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 6))):
        start = data.draw(st.integers(0, len(content) - 1))
        junk = data.draw(st.sampled_from([b"\xff", b"\x00", b"nan", b"inf", b"-1", b"'", b"9e999"]))
        content[start : start + len(junk)] = junk
    _read_or_refuse(bytes(content))


@FAST
@given(st.binary(max_size=400), st.sampled_from(["mmcif", "pdb", "bcif", None]))
def test_random_bytes_give_one_kind_of_error(content: bytes, format: str | None) -> None:
    """Any bytes at all, under any format name, are refused with the documented error."""
    with pytest.raises(StructureFileError):
        read_structure(content, format)  # type: ignore[arg-type]


def _read_or_refuse(content: bytes) -> None:
    try:
        protein = read_structure(content)
    except StructureFileError:
        return
    # What is accepted is sound: the record's own checks ran, and the range is that of files.
    assert np.abs(protein.atom_positions).max() <= 9999
