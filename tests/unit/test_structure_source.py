"""Structures that requests name: read, found in, cut to what is needed, and embedded."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.constraints.structure_source import (
    StructureSource,
    absolute_files,
    embed_sources,
    find_residue,
    has_outside_sources,
    outside_sources,
    select_residues,
    structure_text,
)
from protein_lab.errors import InvalidRequestError, ProteinLabError
from protein_lab.protein import Protein
from protein_lab.training.corpus import CorpusChain

INSERTED = """\
ATOM      1  N   GLY A  23      11.000  63.000 -25.900  1.00 19.33           N
ATOM      2  CA AGLY A  23      12.000  62.900 -27.300  0.40 19.33           C
ATOM      3  CA BGLY A  23      12.500  62.900 -27.300  0.60 19.33           C
ATOM      4  CA  ALA A  23A     15.800  62.900 -27.300  1.00 19.33           C
ATOM      5  CA  ALA B -3       25.800  62.900 -27.300  1.00 19.33           C
"""


class Holder(msgspec.Struct, frozen=True):
    """Something that holds sources and needs two residues of them."""

    sources: tuple[StructureSource, ...]

    def needed_residues(self, source: StructureSource, protein: Protein) -> list[int]:
        """Keep the first two."""
        del source, protein
        return [0, 1]


@pytest.fixture
def chain(real_chains: list[CorpusChain]) -> Protein:
    """Give a real chain."""
    return Protein.from_backbone(real_chains[3].backbone, real_chains[3].sequence)


def test_residues_are_found_as_papers_name_them() -> None:
    """Insertion codes, negative numbers, chains; the most occupied location is taken."""
    protein = StructureSource(text=INSERTED).read()
    assert find_residue(protein, "A", 23, "A") == 1
    assert find_residue(protein, "B", -3) == 2
    assert protein.ca[0, 0] == pytest.approx(12.5)
    with pytest.raises(ProteinLabError, match=r"no residue 23B\. It has 23 and 23A"):
        find_residue(protein, "A", 23, "B")
    with pytest.raises(ProteinLabError, match=r"no chain C\. Its chains are A, B"):
        find_residue(protein, "C", 1)
    with pytest.raises(ProteinLabError, match="2 residues from 23 to 23A"):
        find_residue(protein, "A", 99)


def test_text_of_selected_residues_reads_back(chain: Protein) -> None:
    """Numbers, kinds and coordinates of what is kept stay."""
    some = select_residues(chain, [4, 5, 9])
    again = StructureSource(text=structure_text(some)).read()
    assert again.sequence == some.sequence
    assert again.author_number.tolist() == some.author_number.tolist()
    np.testing.assert_allclose(again.backbone, some.backbone, atol=6e-4)


def test_sources_are_embedded_from_their_folder(chain: Protein, tmp_path: Path) -> None:
    """Only what is needed gets in, equal content gives equal bytes, text stays as it is."""
    (tmp_path / "sub").mkdir()
    chain.save(tmp_path / "sub" / "a.pdb")
    chain.save(tmp_path / "b.cif")
    held = Holder((StructureSource(file="sub/a.pdb"), StructureSource(file="b.cif")))
    first, second = embed_sources(held, tmp_path).sources
    assert first == second
    assert first.read().num_residues == 2
    done = Holder((first, second))
    assert embed_sources(done, tmp_path / "nowhere") is done


def test_a_missing_file_is_named_by_its_path(tmp_path: Path) -> None:
    """The fault says where in the request the file stands."""
    held = Holder((StructureSource(file="none.pdb"),))
    with pytest.raises(InvalidRequestError, match=r"\$\.sources\[0\].*There is no such file"):
        embed_sources(held, tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (StructureSource(), "but got none"),
        (StructureSource(text="a", file="b"), "'text' and 'file'"),
        (StructureSource(pdb="ubiquitin"), "Expected an id"),
        (StructureSource(text="no structure"), "Expected a structure file"),
        (StructureSource(file="/nowhere.pdb"), "no such file"),
    ],
)
def test_bad_sources_are_faults(source: StructureSource, message: str) -> None:
    """One fault with path and remedy, and the same when it is read."""
    (fault,) = source.faults("$.x")
    assert message in fault.message
    assert fault.path.startswith("$.x")
    assert fault.remedy
    with pytest.raises(ProteinLabError, match=message):
        source.read()


def test_several_models_are_warned_of() -> None:
    """The first is taken."""
    text = f"MODEL        1\n{INSERTED}ENDMDL\nMODEL        2\n{INSERTED}ENDMDL\n"
    (fault,) = StructureSource(text=text).faults("$")
    assert (fault.severity, "2 models" in fault.message) == ("warning", True)
    assert StructureSource(text=text).read().num_residues == 3


def test_outside_sources_are_listed_and_made_absolute(tmp_path: Path) -> None:
    """Files and ids anywhere in the constraints; nesting without end is harmless."""
    request = {"constraints": [{"source": {"file": "a.pdb"}}, {"parts": [{"pdb": "1qjg"}]}]}
    assert outside_sources(request) == ["$.constraints[0].source.file",
                                        "$.constraints[1].parts[0].pdb"]  # fmt: skip
    assert not has_outside_sources({"constraints": [{"source": {"text": INSERTED}}]})
    assert not has_outside_sources([1])
    absolute_files(request, tmp_path)
    assert request["constraints"][0]["source"]["file"] == str(tmp_path / "a.pdb")
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert not has_outside_sources({"constraints": deep})
    absolute_files(deep, tmp_path)
