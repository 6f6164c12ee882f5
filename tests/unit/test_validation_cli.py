"""The commands of validation: presets, options that are wrong, training and benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protein_lab.cli import main
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run a command; returns its exit code and what it wrote."""
    with pytest.raises(SystemExit) as left:
        main(list(words))
    code = left.value.code
    written = capsys.readouterr()
    return (code if isinstance(code, int) else 0), written.out, written.err


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    """Write a real chain."""
    corpus = Corpus.open()
    index = int(corpus.indices("test", 50, 60)[0])
    path = tmp_path / "chain.cif"
    Protein.from_backbone(corpus.backbone(index), corpus.sequence(index)).save(path)
    return path


def test_strict_runs_quickly_on_request(
    structure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow checks are left out, the rest is reported as JSON."""
    words = ("validate", str(structure), "--preset", "strict", "--quick", "--json")
    _, out, _ = run(capsys, *words)
    (checks,) = json.loads(out).values()
    names = {check["name"] for check in checks}
    assert {"knots", "contact_potential", "predicted_lddt", "sequence_perplexity"} <= names
    assert not {"minimized_energy", "self_consistency_rmsd"} & names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("validate", "--preset", "standart", "FILE"), "Did you mean 'standard'"),
        (("validate", "--simulation-steps", "-1", "FILE"), "not below 0"),
        (("validate",), "at least one structure file"),
        (("train", "quality", "--hours", "1"), "--steps, --seed"),
        (("train", "quality", "--resume"), "--steps, --seed"),
        (("benchmark", "predictor", "--chains", "1"), "at least two chains"),
    ],
)
def test_wrong_options_are_told(
    words: tuple[str, ...], message: str, structure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes are said before anything is computed."""
    given = [str(structure) if word == "FILE" else word for word in words]
    code, _, error = run(capsys, *given)
    assert code == 1
    assert message in error
    assert "Traceback" not in error


def test_the_benchmark_prints_rows_with_floors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny run has the same rows as the whole one, and its exit code follows the floors."""
    words = ("benchmark", "predictor", "--chains", "2", "--decoys", str(tmp_path), "--json")
    code, out, _ = run(capsys, *words)
    rows = json.loads(out)
    assert [row["floor"] for row in rows if row["floor"] is not None] == [0.6, 0.7, 90.0]
    assert code == (0 if all(row["ok"] for row in rows) else 3)
    assert len(list((tmp_path / "test").glob("*.safetensors"))) == 2
