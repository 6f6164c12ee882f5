"""What docs/service.md tells a reader to type works against a service in its own process."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from protein_lab.protein import Protein
from protein_lab.settings import ClusterSettings, Settings, StoreSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
REQUEST = {
    "constraints": [
        {"kind": "secondary_structure", "string": "LLHHHHHHHHHHHHHHLLLLHHHHHHHHHHHHHHLL"},
    ],
    "num_designs": 1,
    "samples_per_design": 1,
    "steps": 5,
    "backend": "numpy",
}


@pytest.fixture
def port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path, port: int) -> Iterator[dict[str, str]]:
    """Start the service as the page says, in an empty folder, and give what a terminal has."""
    given = {**os.environ, "PROTEIN_LAB_SERVICE_TOKEN": "a token of the page 0123456789"}
    start = [sys.executable, "-m", "protein_lab.cli", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(start, cwd=tmp_path, env=given, stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert service.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.2)
            yield given
        finally:
            service.terminate()
            service.wait(timeout=60)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page_can_be_followed(tmp_path: Path, port: int, environment: dict[str, str]) -> None:
    """All shell blocks of the page, typed in a row, end with a design and a list of faults."""
    (tmp_path / "REQUEST.json").write_text(json.dumps(REQUEST))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 5
    script = "\n".join(["set -euo pipefail", *blocks]).replace("8000", str(port))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["status"] == "done", state["error"]
    best = Protein.from_file(tmp_path / "design_001.cif").sequence
    assert len(best) == 36
    assert (tmp_path / "designs.fasta").read_text().splitlines()[1] == best
    faults = json.loads((tmp_path / "faults.json").read_text())
    assert faults["status"] == 400
    assert [fault["path"] for fault in faults["faults"]] == ["$.num_desings"]
    store = Settings().store
    for name in (store.database_url.removeprefix("sqlite:///"), store.objects):
        assert (tmp_path / name).exists()


def test_the_page_names_every_setting() -> None:
    """Each variable of the pages is a setting, and no setting is left out."""
    pages = PAGE + (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    named = set(re.findall(r"PROTEIN_LAB_([A-Z0-9_]+[A-Z0-9])", pages))
    own = {name for name in Settings.__struct_fields__ if name not in ("store", "cluster")}
    own |= {f"store_{name}" for name in StoreSettings.__struct_fields__}
    own |= {f"cluster_{name}" for name in ClusterSettings.__struct_fields__}
    assert named == {name.upper() for name in own}
