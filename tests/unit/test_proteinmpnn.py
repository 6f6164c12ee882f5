"""A program of the user is believed only when it did what it was asked for."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from protein_lab.cli import main
from protein_lab.design.proteinmpnn import run_proteinmpnn
from protein_lab.design.sequence_options import LETTERS, FixedResidue, SequenceOptions
from protein_lab.protein import Protein
from protein_lab.structure_files import read_structure
from protein_lab.testing.results import ideal_helix_design

BACKBONE = ideal_helix_design(0, 20).backbone
OPTIONS = SequenceOptions(
    num_sequences=2,
    temperature=0.1,
    fixed=(FixedResidue(position=3, residue="W"), FixedResidue(position=90, residue="A")),
    excluded="C",
)

SCRIPT = '''
"""Writes what protein_mpnn_run.py writes, or fails in a way that programs fail."""
import argparse, json, pathlib, sys, time
parser = argparse.ArgumentParser()
for name in ("pdb_path", "pdb_path_chains", "out_folder", "omit_AAs", "fixed_positions_jsonl",
             "bias_by_res_jsonl"):
    parser.add_argument("--" + name)
for name in ("num_seq_per_target", "batch_size", "seed"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--sampling_temp")
asked = parser.parse_args()
fault = {fault!r}
pathlib.Path({seen!r}).write_text(json.dumps(vars(asked)))
pdb = pathlib.Path(asked.pdb_path).read_text()
pathlib.Path({seen!r}).with_suffix(".pdb").write_text(pdb)
if asked.bias_by_res_jsonl:
    table = pathlib.Path(asked.bias_by_res_jsonl).read_text()
    pathlib.Path({seen!r}).with_suffix(".bias").write_text(table)
if fault == "crash":
    sys.exit("CUDA error: no kernel image")
if fault == "hang":
    time.sleep(60)
size = len({{line[22:26] for line in pdb.splitlines() if line.startswith("ATOM")}})
fixed = json.loads(pathlib.Path(asked.fixed_positions_jsonl).read_text())["design"]["A"]
lines = [">design, score=2.1, global_score=2.1, fixed_chains=[]", "G" * size]
for sample in range(1, asked.num_seq_per_target + (fault != "fewer")):
    letters = list("AK"[sample % 2] * (size - (fault == "short")))
    for place in fixed:
        letters[place - 1] = "L" if fault == "fixed" else "W"
    if fault == "letters":
        letters[7] = "X"
    score = "" if fault == "score" else f"score={{2.0 - sample / 10}}, "
    lines += [f">T=0.1, sample={{sample}}, {{score}}global_score=1.0, seq_recovery=0.1"]
    lines += ["".join(letters)]
folder = pathlib.Path(asked.out_folder) / "seqs"
if fault != "nothing":
    folder.mkdir()
    (folder / "design.fa").write_text("\\n".join(lines) + "\\n")
'''


def command(tmp_path: Path, fault: str = "") -> str:
    """Write the script and give the words that start it."""
    script = tmp_path / "protein_mpnn_run.py"
    script.write_text(SCRIPT.format(fault=fault, seen=str(tmp_path / "seen.json")))
    return shlex.join([sys.executable, str(script)])


def test_what_is_asked_and_what_comes_back(tmp_path: Path) -> None:
    """Options reach the program, residues stay where they are fixed, the best score is first."""
    drawn = run_proteinmpnn(command(tmp_path), BACKBONE, OPTIONS, seed=0)
    assert drawn.not_run is None
    assert [item.score for item in drawn.sequences] == [-1.8, -1.9]
    assert [item.sequence for item in drawn.sequences] == ["AAWA" + "A" * 16, "KKWK" + "K" * 16]
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert (seen["omit_AAs"], seen["sampling_temp"], seen["seed"]) == ("CX", "0.1", 1)
    given = read_structure(tmp_path / "seen.pdb")
    assert given.sequence == "GGW" + "G" * 17
    np.testing.assert_allclose(given.backbone, BACKBONE, atol=1e-3)
    assert not Path(seen["out_folder"]).exists()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", "ended with 1: CUDA error: no kernel image"),
        ("hang", "longer than 0.5 s"),
        ("nothing", r"wrote no design\.fa"),
        ("short", "Expected 20 residues of ProteinMPNN, but it wrote 19"),
        ("fewer", "Expected 2 sequences of ProteinMPNN, but it wrote 1"),
        ("letters", "unknown type: X"),
        ("fixed", "changed residue 3"),
        ("score", "wrote no score"),
    ],
)
def test_nothing_is_made_of_a_failure(tmp_path: Path, fault: str, reason: str) -> None:
    """Whatever goes wrong, there are no sequences, and the reason says what."""
    limit = 0.5 if fault == "hang" else 60.0
    drawn = run_proteinmpnn(command(tmp_path, fault), BACKBONE, OPTIONS, time_limit=limit)
    assert drawn.sequences == ()
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(drawn.not_run)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "PROTEIN_LAB_PROTEINMPNN"),
        ("/no/such/program", "cannot be started as '/no/such/program'"),
        ("'python", "quotation"),
    ],
)
def test_a_program_that_is_not_there_is_not_run(words: str, reason: str) -> None:
    """Missing programs and broken commands are told, not raised."""
    drawn = run_proteinmpnn(words, BACKBONE, OPTIONS)
    assert reason in (drawn.not_run or "")
    assert drawn.sequences == ()


def test_sequences_for_files_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command draws with the operator, or says why the other program did not run."""
    path = tmp_path / "mine.cif"
    Protein.from_backbone(BACKBONE).save(path)

    def run(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["sequences", str(path), "--backend", "numpy", *words])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    code, first, _ = run("--number", "2", "--exclude", "C")
    assert code in (0, None)
    assert first.count(">mine_") == 2
    assert "C" not in "".join(line for line in first.splitlines() if line[0] != ">")
    assert run("--number", "2", "--exclude", "C")[1] == first
    _, shown, _ = run("--json")
    (found,) = json.loads(shown)
    assert [len(item["probability"]) for item in found["sequences"]] == [20] * 4
    monkeypatch.delenv("PROTEIN_LAB_PROTEINMPNN", raising=False)
    code, out, err = run("--program", "proteinmpnn")
    assert (code, out) == (1, "")
    assert "not run: No ProteinMPNN is known here" in err
    assert run("--temperature", "9")[0] == 2
    assert run("--exclude", "Z")[0] == 2
    assert "at least 1" in run("--number", "0")[2]


def test_a_bias_reaches_the_program_and_is_checked(tmp_path: Path) -> None:
    """Rows follow the program's order of amino acids; what is forbidden is never taken over."""
    bias = np.zeros((20, 20))
    bias[0, LETTERS.index("K")] = 1.5
    bias[4, LETTERS.index("W")] = -np.inf
    bias[2] = -np.inf  # residue 3 is fixed
    drawn = run_proteinmpnn(command(tmp_path), BACKBONE, OPTIONS, bias=bias)
    assert drawn.not_run is None
    table = json.loads((tmp_path / "seen.bias").read_text())["design"]["A"]
    assert np.shape(table) == (20, 21)
    assert table[0]["ACDEFGHIKLMNPQRSTVWYX".index("K")] == 1.5
    assert table[4]["ACDEFGHIKLMNPQRSTVWYX".index("W")] == -1e6
    assert np.count_nonzero(table[0]) == np.count_nonzero(table[4]) == 1
    bias[4, LETTERS.index("K")] = -np.inf
    drawn = run_proteinmpnn(command(tmp_path), BACKBONE, OPTIONS, bias=bias)
    assert drawn.sequences == ()
    assert "wrote K at residue 5" in (drawn.not_run or "")
    drawn = run_proteinmpnn(command(tmp_path), BACKBONE, OPTIONS, bias=bias[:9])
    assert "bias for 20 residues" in (drawn.not_run or "")
