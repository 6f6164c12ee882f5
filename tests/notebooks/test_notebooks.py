"""Every tutorial runs from the first to the last cell, as it is in the repository."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest

from protein_lab.experiments.reporting import execute
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.weights import save_weights

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("reports/*.ipynb")])


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the kernel import this checkout and use an operator with random weights."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'extensions'}")
    config = EnhancedDeepONetConfig()
    params = EnhancedProteinDeepONet.initialize(config, np.random.default_rng(0))
    save_weights(params, tmp_path / "weights", "enhanced_deeponet", config, {})
    monkeypatch.setenv("PROTEIN_LAB_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


def test_first_design_runs(kernel: Path) -> None:
    """The tutorial designs, draws and saves what its text says."""
    folder = kernel / "designs"
    template = ROOT / "notebooks" / "01_first_design.ipynb"
    notebook = execute(template, {"num_designs": 1, "folder": str(folder)})
    outputs = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    assert outputs["check"][0]["data"]["text/plain"] == "[]"
    assert "constraints[1].second" in outputs["check-fault"][0]["text"]
    assert "image/png" in outputs["summary"][0]["data"]
    assert "application/vnd.jupyter.widget-view+json" in outputs["view"][0]["data"]
    assert "novelty" in outputs["validate"][0]["text"]
    assert (folder / "designs" / "001.cif").is_file()
    assert (folder / "provenance.json").is_file()


def test_constraints_and_results_runs(kernel: Path) -> None:
    """Workers make the designs, and the result is found in the store and opened as arrays."""
    template = ROOT / "notebooks" / "02_constraints_and_results.ipynb"
    given = {"num_designs": 1, "workers": 1, "store_folder": str(kernel / "store")}
    outputs = {cell.id: cell.get("outputs", []) for cell in execute(template, given).cells}
    assert not outputs["ask"], "the request has neither a fault nor a warning"
    assert "radius_of_gyration" in outputs["verdicts"][0]["data"]["text/html"]
    assert "hairpin and helix with a distance" in outputs["runs"][0]["data"]["text/html"]
    assert "uncertainty" in outputs["arrays"][0]["data"]["text/plain"]
    assert "image/png" in outputs["plot"][0]["data"]
    assert len(list((kernel / "store").glob("*/manifest.json"))) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_clean(path: Path) -> None:
    """No outputs, no counters, a kernel that exists everywhere, parameters, and named cells."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert [c.id for c in code if "parameters" in c.metadata.get("tags", [])] == ["parameters"]
    assert all(len(cell.source.splitlines()) <= 20 for cell in code)
