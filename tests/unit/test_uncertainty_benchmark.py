"""The way from held-out chains to a calibration and its benchmark, on the fastest operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protein_lab.cli import main
from protein_lab.design.calibration import read_calibration
from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.held_out_fields import (
    draw_case,
    held_out_fields,
    one_per_cluster,
)
from protein_lab.experiments.quality import Row
from protein_lab.experiments.uncertainty_benchmark import (
    BEFORE,
    UncertaintyFigures,
    run_uncertainty,
)
from protein_lab.experiments.uncertainty_page import uncertainty_page
from protein_lab.models.weights import load_operator
from protein_lab.settings import ASSETS
from protein_lab.training.corpus import Corpus

STEPS = 2
LONGEST = 75


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Shipped corpus."""
    return Corpus.open()


@pytest.fixture(scope="module")
def operator() -> Any:
    """Shipped operator that is fastest."""
    return load_operator("deeponet", "numpy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a calibration that the command line made, and the fields it drew."""
    place = tmp_path_factory.mktemp("calibrated")
    words = ["calibrate", "--operator", "deeponet", "--chains", "34", "--longest", str(LONGEST)]
    words += ["--samples", "2", "--steps", str(STEPS), "--backend", "numpy"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--out", str(place), "--draws", str(place / "draws")])
    assert left.value.code == 0
    return place


@pytest.fixture(scope="module")
def figures(operator: Any, folder: Path) -> UncertaintyFigures:
    """Benchmark of that calibration on few chains."""
    return run_uncertainty(operator, folder, quick=True, count=12, folder=folder / "draws")


def row(figures: UncertaintyFigures, name: str) -> Row:
    """Find a row by its name."""
    return next(item for item in figures.rows if item.name == name)


def test_chains_are_one_a_cluster_and_always_the_same(corpus: Corpus) -> None:
    """Fewer are the first of more, and none is longer than asked."""
    chosen = one_per_cluster(corpus, "calibration", 12, 90)
    assert chosen[:5] == one_per_cluster(corpus, "calibration", 5, 90)
    assert len({int(corpus.cluster[index]) for index in chosen}) == 12
    assert all(corpus.lengths[index] <= 90 for index in chosen)
    assert {str(corpus.split[index]) for index in chosen} == {"calibration"}
    with pytest.raises(CorpusError, match="no test chain"):
        one_per_cluster(corpus, "test", 5, 10)


def test_kept_fields_are_those_that_were_drawn(
    corpus: Corpus, operator: Any, tmp_path: Path
) -> None:
    """Reading gives the same case; a damaged file is named."""
    index = one_per_cluster(corpus, "calibration", 1, LONGEST)
    (first,) = held_out_fields(operator, corpus, index, 2, STEPS, tmp_path)
    (again,) = held_out_fields(operator, corpus, index, 2, STEPS, tmp_path)
    direct = draw_case(operator, corpus, index[0], 2, STEPS)
    for case in (again, direct):
        assert case.drawn.field.tobytes() == first.drawn.field.tobytes()
        assert case.curve.tobytes() == first.curve.tobytes()
    off = np.linalg.norm(
        first.curve - draw_case(operator, corpus, index[0], 1, 1, 0.0).curve, axis=-1
    )
    assert 0.2 < np.sqrt((off**2).mean()) < 2.0
    next(tmp_path.glob("*.npz")).write_bytes(b"PK nothing")
    with pytest.raises(ProteinLabError, match="cannot be read"):
        list(held_out_fields(operator, corpus, index, 2, STEPS, tmp_path))
    with pytest.raises(ProteinLabError, match="Expected samples and steps"):
        list(held_out_fields(operator, corpus, index, 0, STEPS))


def test_calibration_says_what_it_was_made_of(folder: Path, operator: Any, corpus: Corpus) -> None:
    """Digests, counts and settings are those of the run."""
    made = read_calibration(folder / "deeponet.uncertainty.json")
    assert (made.weights_sha256, made.corpus_digest) == (operator.digest, corpus.digest)
    assert (made.samples, made.steps, made.split) == (2, STEPS, "calibration")
    assert made.lengths[1] <= LONGEST
    assert (made.several.fitted_chains, made.several.conformal_chains) == (11, 23)
    assert len(list((folder / "draws").glob("*.npz"))) >= 34


def test_benchmark_compares_before_and_after(figures: UncertaintyFigures) -> None:
    """Every figure is there for both, and calibration brings the predicted size to the true one."""
    names = {item.name for item in figures.rows}
    for name in ("chains within the 90 % band", "mean half-width", "CRPS", "calibration error"):
        assert {name, BEFORE + name, f"refined: {name}", f"one sample: {name}"} <= names
    assert row(figures, "CRPS").value < row(figures, BEFORE + "CRPS").value
    after = row(figures, "calibration error").value
    assert after < row(figures, BEFORE + "calibration error").value
    covered = row(figures, "chains within the 90 % band")
    inside = sum(item.is_inside() for item in figures.after)
    assert covered.value == pytest.approx(100.0 * inside / len(figures.after))
    assert covered.low <= covered.value <= covered.high
    assert covered.floor == 87.0
    assert row(figures, "rank correlation of sigma and error").floor == 0.5
    assert [item.floor for item in figures.rows].count(None) == len(figures.rows) - 2


def test_page_shows_both(figures: UncertaintyFigures) -> None:
    """The page holds two pictures and every row."""
    pytest.importorskip("matplotlib")
    page = uncertainty_page(figures)
    assert page.count("<img") == 2
    assert page.count("<tr") == len(figures.rows) + 1


def test_benchmark_without_calibration_is_refused(
    operator: Any, tmp_path: Path, folder: Path
) -> None:
    """Nothing is measured where nothing was calibrated."""
    with pytest.raises(ProteinLabError, match="not_run"):
        run_uncertainty(operator, tmp_path)
    with pytest.raises(ProteinLabError, match="at least 2 chains"):
        run_uncertainty(operator, folder, count=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calibrate", "--operator", "nobody"], "must be one of"),
        (["calibrate", "--operator", "deeponet", "--chains", "3", "--steps", "1"], "at least 30"),
        (["benchmark", "uncertainty", "--operator", "curve_deeponet"], "not_run"),
    ],
)
def test_commands_say_what_is_wrong(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Bad input is told in words."""
    if words[0] == "calibrate":
        words = [*words, "--out", str(tmp_path), "--longest", "60", "--backend", "numpy"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 1
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text


def test_command_prints_rows(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The command prints the rows of the benchmark as JSON."""
    for name in ("deeponet.toml", "deeponet.safetensors"):
        (folder / name).write_bytes((ASSETS / "weights" / name).read_bytes())
    monkeypatch.setenv("PROTEIN_LAB_WEIGHTS", str(folder))
    words = ["benchmark", "uncertainty", "--operator", "deeponet", "--chains", "4", "--json"]
    words += ["--quick", "--draws", str(folder / "draws"), "--backend", "numpy"]
    with pytest.raises(SystemExit) as left:
        main([*words, "--out", str(folder / "page.html")])
    assert left.value.code in (0, 3)
    rows = json.loads(capsys.readouterr().out)
    assert set(rows[0]) == {"name", "value", "low", "high", "unit", "floor", "ok", "note"}
    assert (left.value.code == 0) == all(item["ok"] for item in rows)
    assert (folder / "page.html").is_file()
