"""The curve benchmark: what is drawn, what is chosen, and the fit of the score."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.design.curve_choice import COEFFICIENTS
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.curve_quality import CurveScores, rows_of, run_curves


def test_the_fit_finds_what_made_the_scores() -> None:
    """Coefficients come back from scores that were made with them, whatever chains differ by."""
    rng = np.random.default_rng(0)
    weights = np.array(list(COEFFICIENTS.values()))
    scores = []
    for _ in range(12):
        terms = rng.standard_normal((32, len(weights)))
        tm = rng.uniform(0.3, 0.6) + terms @ weights * 0.1
        chosen = np.argsort(-tm)[:8]
        scores.append(CurveScores(tm, terms, terms @ weights, chosen))
    rows = {row.name: row for row in rows_of(scores)}
    for name, weight in COEFFICIENTS.items():
        assert rows[f"coefficient of {name}"].value == pytest.approx(0.1 * weight, abs=1e-6)
    assert rows["correlation of the score"].value == pytest.approx(1.0)
    best, blind = rows["chosen curves, best of 8"].value, rows["curves, best of 8 blindly"].value
    assert best is not None
    assert blind is not None
    assert best > blind
    assert best == rows["best of all curves"].value == rows["likeliest curve"].value


def test_the_benchmark_draws_curves() -> None:
    """Two chains: figures in their order, and the same ones again."""
    rows = run_curves(num_chains=2, num_curves=8)
    value = {row.name: row.value or 0.0 for row in rows}
    assert 0.1 < value["curves, mean"] <= value["best of all curves"] < 1.0
    assert value["chosen curves, best of 8"] == pytest.approx(value["best of all curves"])
    with pytest.raises(ProteinLabError, match="8 curves"):
        run_curves(num_chains=2, num_curves=4)
