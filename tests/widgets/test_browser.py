"""Pages in a real browser, opened from a file and without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from protein_lab.experiments import reporting
from protein_lab.plotting import view_html
from protein_lab.protein import Protein
from protein_lab.store.output import OutputFolder
from protein_lab.testing.results import example_result, ideal_helix_design
from protein_lab.viewer import bundle, json_for_script, structure_record

ROOT = Path(__file__).parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome is installed")


_WIDGET_PAGE = """<!DOCTYPE html><meta charset="utf-8"><div id="host"></div>
<script type="module">
const file = new Blob([%s], { type: "text/javascript" });
const widget = (await import(URL.createObjectURL(file))).default;
const state = %s;
const listeners = {};
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; listeners[`change:${name}`]?.(); },
  save_changes: () => undefined,
  on: (event, callback) => { listeners[event] = callback; },
  off: (event) => { delete listeners[event]; },
};
widget.render({ model, el: document.getElementById("host") });
model.set("color", "%s");
</script>"""


def browse(page: Path, profile: Path, *options: str) -> str:
    """Open a page from its file; every name fails to resolve, so nothing can be loaded."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--use-gl=angle",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars",
        "--virtual-time-budget=5000", "--window-size=600,500", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def helix_pixels(picture: Path) -> int:
    """Count pixels in the hue of helices, whatever the light on them."""
    red, green, blue = np.moveaxis(imread(picture)[..., :3], -1, 0)
    return int(((red > 1.5 * green) & (green > blue) & (red > 0.3)).sum())


def test_page_draws_the_protein(tmp_path: Path) -> None:
    """The canvas shows a helix in its color; without the call that draws, it does not."""
    design = ideal_helix_design(0, 24)
    source = view_html(Protein.from_backbone(design.backbone))
    for name, text in (("with", source), ("without", source.replace("proteinLabView.mount", "x"))):
        page = tmp_path / f"{name}.html"
        page.write_text(text, encoding="utf-8")
        browse(page, tmp_path / "profile", f"--screenshot={tmp_path / name}.png")
    assert helix_pixels(tmp_path / "with.png") > 3_000
    assert helix_pixels(tmp_path / "without.png") == 0


def test_widget_draws_and_follows_its_traits(tmp_path: Path) -> None:
    """The widget's own entry draws the structures, and draws again when a trait changes."""
    protein = Protein.from_backbone(ideal_helix_design(0, 24).backbone)
    state = {
        "structures": [structure_record(protein, confidence=[1.0] * 24)],
        "selected": 0,
        "color": "structure",
        "spin": False,
        "height": 400,
    }
    for color in ("structure", "position", "confidence"):
        page = tmp_path / f"{color}.html"
        page.write_text(_WIDGET_PAGE % (json.dumps(bundle()), json_for_script(state), color))
        browse(page, tmp_path / "profile", f"--screenshot={tmp_path / color}.png")
    assert helix_pixels(tmp_path / "structure.png") > 3_000
    assert helix_pixels(tmp_path / "position.png") < 300
    assert helix_pixels(tmp_path / "confidence.png") < 300
    pictures = {(tmp_path / f"{name}.png").read_bytes() for name in ("position", "confidence")}
    assert len(pictures) == 2


def test_report_shows_one_design_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The still picture gives way to the canvas, and only the selected design is visible."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'extensions'}")
    result = example_result()
    with OutputFolder(tmp_path / "out", result.request, result.request_id) as output:
        folder = output.publish(result)
    dom = browse(reporting.render_report(folder), tmp_path / "profile", "--dump-dom")
    assert dom.count("<canvas") >= 1
    assert 'class="still"' not in dom
    assert len(re.findall(r'<button[^>]*aria-pressed="true"', dom)) == 2  # table and selector
    sections = {
        re.findall(r'id="([^"]*)"', tag)[0]: tag for tag in re.findall("<section[^>]*>", dom)
    }
    assert "hidden" in sections["design-2"]
    assert "hidden" not in sections["design-1"]
