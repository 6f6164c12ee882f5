"""The operator benchmark: figures that are measured, floors that can be missed, a page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from protein_lab.cli import main
from protein_lab.errors import ProteinLabError
from protein_lab.experiments import operator_benchmark
from protein_lab.experiments.operator_benchmark import OperatorFigures, run_operators
from protein_lab.experiments.operator_page import operator_page


@pytest.fixture(scope="module")
def figures() -> OperatorFigures:
    """Run the whole benchmark on the cheapest operator."""
    return run_operators(names=["deeponet"], counts=(2, 2))


def test_figures_agree_with_each_other(figures: OperatorFigures) -> None:
    """Rows restate the curves; intervals hold their values; odd samplings improve."""
    rows = {row.name: row for row in figures.rows}
    errors = figures.errors["deeponet"]
    assert rows["deeponet: sampling error at L points"].value == pytest.approx(100 * errors[1])
    assert errors[1] > errors[3] > errors[5]
    assert all(row.low <= row.value <= row.high for row in figures.rows)
    assert all(np.isfinite(row.value) for row in figures.rows)
    assert all(row.ok for row in figures.rows), [row for row in figures.rows if not row.ok]


def test_whole_cycles_per_chain_fail_where_cycles_per_residue_pass(
    figures: OperatorFigures,
) -> None:
    """The baseline of the length test is far off; so the test can tell them apart."""
    rows = {row.name: row for row in figures.rows}
    assert rows["spectral layer: length difference"].value < 1e-6
    assert rows["whole cycles per chain: length difference"].value > 50


def test_a_missed_floor_is_marked() -> None:
    """A figure on the wrong side of its floor is not ok, on either kind of floor."""
    row = operator_benchmark._row
    assert not row("x", [2.0, 4.0], "", "", 2.5).ok
    assert row("x", [2.0, 4.0], "", "", 3.5).ok
    assert not row("x", [2.0, 4.0], "", "", 3.5, "at_least").ok


def test_page_shows_curves_and_rows(figures: OperatorFigures) -> None:
    """One page, with pictures inside it."""
    page = operator_page(figures)
    assert page.count('src="data:image/svg+xml;base64,') == (2 if figures.losses else 1)
    assert all(row.unit in page for row in figures.rows)
    assert "Operators as maps between functions" in page


def test_command_prints_rows_and_writes_the_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The words reach the benchmark, and the exit code says whether all floors are kept."""
    page = tmp_path / "new" / "page.html"
    words = ["benchmark", "operators", "deeponet", "--quick", "--json", "--out", str(page)]
    with pytest.raises(SystemExit) as left:
        main(words)
    rows = json.loads(capsys.readouterr().out)
    assert left.value.code == (0 if all(row["ok"] for row in rows) else 3)
    assert any(row["name"] == "deeponet: observed order, cell centers" for row in rows)
    assert page.read_text().startswith("<!doctype html>")


def test_wrong_questions_are_refused() -> None:
    """Unknown operators and a backend without 64 bits are named."""
    with pytest.raises(ProteinLabError, match="transformer"):
        run_operators(names=["transformer"])
    with pytest.raises(ProteinLabError, match="jax"):
        run_operators(backend="jax")
