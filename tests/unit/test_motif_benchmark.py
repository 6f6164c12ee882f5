"""The motif benchmark: problems read as they are distributed, and figures of what came out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab.constraints.contig import read_contig
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.structure_source import select_residues, structure_text
from protein_lab.design.request import DesignRequest
from protein_lab.engine import design_one
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.motif_benchmark import Solved, Try, motif_rows, run_motifs
from protein_lab.experiments.motif_problems import (
    PUBLISHED,
    fetch_problems,
    problem_of_remarks,
    read_problems,
)
from protein_lab.protein import Protein
from protein_lab.runtime import Runtime
from protein_lab.store.schema import Design
from protein_lab.training.corpus import CorpusChain

REMARKS = """\
REMARK 999 NAME   TEST
REMARK 999 PDB    TEST
REMARK 999 INPUT      5  20
REMARK 999 INPUT  A  10  20{first}
REMARK 999 INPUT      8  15
REMARK 999 INPUT  A  30  36{second}
REMARK 999 INPUT      5  20
REMARK 999 MINIMUM TOTAL LENGTH      50
REMARK 999 MAXIMUM TOTAL LENGTH      60

"""


@pytest.fixture
def atoms(real_chains: list[CorpusChain]) -> str:
    """Give the text of the residues that the problem needs, as files of motifs have them."""
    chain = Protein.from_backbone(real_chains[3].backbone, real_chains[3].sequence)
    return structure_text(select_residues(chain, [*range(9, 20), *range(29, 36)]))


def test_problems_are_read_from_remarks(atoms: str) -> None:
    """Segments and stretches by columns; letters after them are groups."""
    request = problem_of_remarks(REMARKS.format(first="", second="") + atoms, "test.pdb")
    (motif,) = request.constraints
    assert isinstance(motif, Motif)
    assert request.length == (50, 60)
    assert motif.contig == "5-20/A10-20/8-15/A30-36/5-20"
    assert motif.groups is None
    assert motif.residues().sizes == (11, 7)
    two = problem_of_remarks(REMARKS.format(first=" A", second=" B") + atoms, "test.pdb")
    assert isinstance(two.constraints[0], Motif)
    assert two.constraints[0].groups == (1, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  10  20", "  1x  20", "numbers are expected"),
        ("INPUT  A  10  20", "INPUT A 10 20", "1 of 5 INPUT lines"),
        ("REMARK 999 MAXIMUM TOTAL LENGTH      60\n", "", "MAXIMUM TOTAL LENGTH"),
        ("INPUT  A  10  20", "INPUT  B  10  20", "no chain B"),
    ],
)
def test_broken_problems_are_explained(atoms: str, old: str, new: str, message: str) -> None:
    """The message says what is wrong with the file."""
    text = REMARKS.format(first="", second="").replace(old, new) + atoms
    with pytest.raises(ProteinLabError, match=message):
        problem_of_remarks(text, "test.pdb")


def test_folders_hold_remarks_or_requests(atoms: str, tmp_path: Path) -> None:
    """Both kinds, in order of their names; other files are passed over."""
    with pytest.raises(ProteinLabError, match="is none"):
        read_problems(tmp_path / "nowhere")
    (tmp_path / "plain.pdb").write_text(atoms)
    with pytest.raises(ProteinLabError, match="no motif problem"):
        read_problems(tmp_path)
    text = REMARKS.format(first="", second="") + atoms
    (tmp_path / "b.pdb").write_text(text)
    (tmp_path / "a.json").write_bytes(problem_of_remarks(text, "x").canonical())
    found = read_problems(tmp_path, 7, 3)
    assert [item.name for item in found] == ["a", "b"]
    assert {(item.request.num_designs, item.request.seed) for item in found} == {(7, 3)}
    (tmp_path / "c.json").write_text('{"length": 80}')
    with pytest.raises(ProteinLabError, match=r"c\.json asks for no motif"):
        read_problems(tmp_path)


def test_the_published_problems_are_whole(tmp_path: Path) -> None:
    """Twenty-four contigs that can be read; those that are there are not fetched again."""
    assert len(PUBLISHED) == len({name for name, *_ in PUBLISHED}) == 24
    for name, _, contig, low, high in PUBLISHED:
        assert read_contig(contig)
        assert low <= high
        (tmp_path / f"{name}.json").write_text("{}")
    assert len(fetch_problems(tmp_path)) == 24


def test_figures_count_successes_and_clusters() -> None:
    """Floors are 23 of 24 problems and a tenth of the designs; intervals hold the figure."""
    hit, miss = Try(0.5, True, np.zeros((9, 3))), Try(2.0, False, np.zeros((0, 3)))
    some = Solved("some", (hit, miss, hit, miss), 2)
    none = Solved("none", (miss, miss, miss, Try(float("nan"), False, np.zeros((0, 3)))), 0)
    solved, clusters, share, *rest = motif_rows([some] * 23 + [none])
    assert (solved.value, solved.floor, solved.ok) == (23.0, 23.0, True)
    assert (clusters.value, clusters.floor, clusters.ok) == (2.0, 0.4, True)
    assert share.value == pytest.approx(100 * 23 / 24 / 2)
    assert len(rest) == 24
    assert rest[0].value == 50.0
    assert "2 of 4 designs in 2 unique clusters; median RMSD 1.25" in rest[0].note
    for row in (solved, clusters, share, *rest):
        assert row.low is not None
        assert row.value is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
    missed, few, *_ = motif_rows([some] * 22 + [none] * 2)
    assert not missed.ok
    assert few.ok


def test_a_problem_is_designed(atoms: str, tmp_path: Path) -> None:
    """One design of one problem, judged by what it is."""
    (tmp_path / "one.pdb").write_text(REMARKS.format(first="", second="") + atoms)
    calls: list[tuple[int, int]] = []
    rows = run_motifs(tmp_path, workers=1, num_samples=1, progress=lambda *now: calls.append(now))
    assert calls == [(1, 1)]
    assert rows[0].value in (0.0, 1.0)
    assert rows[3].name == "motif one: successes"
    with pytest.raises(ProteinLabError, match="at least one worker"):
        run_motifs(tmp_path, workers=0)


def test_an_interrupted_run_goes_on(
    atoms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished designs are read, others made, and a damaged one is told."""
    problems, kept = tmp_path / "problems", tmp_path / "kept"
    problems.mkdir()
    (problems / "one.pdb").write_text(REMARKS.format(first="", second="") + atoms)
    made: list[int] = []

    def made_once(request: DesignRequest, index: int, runtime: Runtime) -> Design:
        made.append(index)
        if len(made) == 2:
            raise KeyboardInterrupt
        return design_one(request, index, runtime)

    monkeypatch.setattr("protein_lab.experiments.motif_benchmark.design_one", made_once)
    with pytest.raises(KeyboardInterrupt):
        run_motifs(problems, workers=1, num_samples=2, draws=kept)
    rows = run_motifs(problems, workers=1, num_samples=2, draws=kept)
    assert made == [0, 1, 1]
    assert run_motifs(problems, workers=1, num_samples=2, draws=kept) == rows
    assert made == [0, 1, 1]
    first = min(kept.iterdir())
    first.write_bytes(first.read_bytes()[:40])
    with pytest.raises(ProteinLabError, match="cannot be read"):
        run_motifs(problems, workers=1, num_samples=2, draws=kept)
