"""The benchmark of many workers measures what its model needs."""

from __future__ import annotations

import pytest

from protein_lab.experiments import scale_benchmark
from protein_lab.experiments.scale_benchmark import constants_of, run_scale
from protein_lab.experiments.scale_model import model_rows

pytest.importorskip("distributed")


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every constant is measured on real workers and a real store, and the model follows."""
    counts = scale_benchmark._Counts(designs=2, small=3, tasks=500, objects=5, rows=100)
    monkeypatch.setattr(scale_benchmark, "_QUICK", counts)
    monkeypatch.setattr(scale_benchmark, "RESIDUES", 12)
    told: list[str] = []
    rows = run_scale(quick=True, progress=told.append)
    assert told[0] == "2 designs on one worker"
    found = {row.name: row for row in rows}
    efficiency = found["efficiency of 2 workers"]
    assert efficiency.value is not None
    assert efficiency.ok == (efficiency.value >= 0.9)
    assert 0 < efficiency.value < 2
    assert (found["scheduler: tasks"].value or 0) > 1
    assert (found["design: bytes"].value or 0) > 1000
    assert (found["result: objects"].value or 0) > 5
    constants = constants_of(rows)
    assert constants.design > 0
    assert [row for row in rows if row.name.startswith("model: ")] == model_rows(constants)
    assert rows[-1].name == "machine: cores"
