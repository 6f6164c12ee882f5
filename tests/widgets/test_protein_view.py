"""The notebook widget without a browser: its traits are what the browser draws."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import traitlets

from protein_lab.errors import ProteinLabError
from protein_lab.protein import Protein
from protein_lab.testing.results import ideal_helix_design
from protein_lab.viewer import BUNDLE, bundle

widgets = pytest.importorskip("protein_lab_widgets", reason="the widgets are not on the path")
SOURCES = Path(__file__).parents[2] / "extensions" / "protein_lab_widgets" / "js"


@pytest.fixture
def proteins() -> list[Protein]:
    """Give two helices of different length."""
    designs = [ideal_helix_design(i, 12 + 4 * i) for i in range(2)]
    return [Protein.from_backbone(d.backbone, name=f"helix_{d.index}") for d in designs]


def test_view_sends_what_it_was_given(proteins: list[Protein]) -> None:
    """Names, states and uncertainty reach the browser's side as plain JSON."""
    view = widgets.ProteinView(
        proteins, uncertainty=[np.full(12, 0.5), np.full(16, 0.7)], confidence=[(0.25,) * 12, ()]
    )
    assert [item["name"] for item in view.structures] == ["helix_0", "helix_1"]
    assert view.structures[1]["states"] == "L" + "H" * 14 + "L"
    assert view.structures[0]["uncertainty"] == [0.5] * 12
    assert [item["confidence"] for item in view.structures] == [[0.25] * 12, []]
    state = view.get_state(["structures", "selected", "color", "spin", "height"])
    assert json.loads(json.dumps(state))["selected"] == 0


def test_one_protein_and_later_ones(proteins: list[Protein]) -> None:
    """A single protein needs no list; showing others starts at the first again."""
    view = widgets.ProteinView(proteins)
    view.selected = 1
    view.show(proteins[0])
    assert (len(view.structures), view.selected) == (1, 0)
    assert view.structures[0]["uncertainty"] == []


def test_wrong_values_are_refused(proteins: list[Protein]) -> None:
    """Numbers outside, unknown colors and missing uncertainties raise; the view keeps its state."""
    view = widgets.ProteinView(proteins)
    with pytest.raises(traitlets.TraitError, match="from 0 to 1"):
        view.selected = 2
    with pytest.raises(traitlets.TraitError):
        view.color = "pretty"
    with pytest.raises(ProteinLabError, match="one uncertainty for each of 2"):
        widgets.ProteinView(proteins, uncertainty=[np.ones(12)])
    with pytest.raises(ProteinLabError, match="one confidence for each of 2"):
        widgets.ProteinView(proteins, confidence=[np.ones(12)])
    assert (view.selected, view.color) == (0, "structure")


def test_changes_can_be_observed(proteins: list[Protein]) -> None:
    """What the reader chooses in the browser arrives in Python."""
    view = widgets.ProteinView(proteins)
    seen: list[str] = []
    view.observe(lambda change: seen.append(change["new"]), names="color")
    view.set_state({"color": "position"})
    assert seen == ["position"]


def test_bundle_is_small_and_exports_the_widget() -> None:
    """One copy travels with every widget, so its size has a limit; licenses lie beside it."""
    assert BUNDLE.stat().st_size < 600_000
    assert re.search(r"export\s*\{[^}]*\bas default\b", bundle())
    notice = (BUNDLE.parent / "LICENSE.txt").read_text(encoding="utf-8")
    for name in ("University of Pittsburgh", "three.js", "pako", "upng-js", "iobuffer", "netcdfjs"):
        assert name in notice


@pytest.mark.skipif(
    shutil.which("node") is None or not (SOURCES / "node_modules").is_dir(),
    reason="building the view needs Node and `npm ci` in extensions/protein_lab_widgets/js",
)
def test_bundle_is_built_from_its_source() -> None:
    """The committed file is what the sources build to, and the check notices a change."""
    before = hashlib.sha256(BUNDLE.read_bytes()).hexdigest()
    done = subprocess.run(
        ["node", "build.mjs", "--check"], cwd=SOURCES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(BUNDLE.read_bytes()).hexdigest() == before
