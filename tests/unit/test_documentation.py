"""What README and docs tell a reader to type works."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from protein_lab.cli import app, main
from protein_lab.constraints.kinds import AnyConstraint
from protein_lab.design.request import read_request

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONG = ("train", "calibrate", "benchmark", "serve", "corpus build", "corpus potentials")
"""Commands that run for minutes or until stopped: their words are parsed, not run."""
RESULTS = "protein_lab_results"
"""Folder of results that the pages name."""


def commands(program: str) -> list[str]:
    """Lines of code blocks that start with a program; remarks behind two spaces are cut off."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            found = [re.split(r"\s{2,}", line)[0] for line in block.splitlines()]
            lines += [line for line in found if line.startswith(program + " ")]
    return list(dict.fromkeys(lines))


def request_of_readme() -> dict[str, object]:
    """Read the request that README shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return json.loads(re.findall(r"```json\n(.*?)```", text, re.S)[0])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold the request of README, made small, and the result of running it."""
    folder = tmp_path_factory.mktemp("reader")
    small = {"num_designs": 1, "samples_per_design": 1, "steps": 8}
    (folder / "REQUEST.json").write_text(json.dumps({**request_of_readme(), **small}))
    words = ["design", str(folder / "REQUEST.json"), "--out", str(folder / "NAME"), "--no-report"]
    words += ["--store", str(folder / RESULTS)]
    with pytest.raises(SystemExit):
        main(words)
    return folder


def test_there_are_commands() -> None:
    """The pages are searched in the right way."""
    assert len(commands("protein-lab")) > 5
    assert {"make design", "make test"} <= set(commands("make"))


@pytest.mark.parametrize("line", commands("make"))
def test_make_targets_exist(line: str) -> None:
    """Every documented target is known to make."""
    subprocess.run([*shlex.split(line), "-n"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("line", commands("protein-lab"))
def test_commands_run(
    line: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every documented command runs, or, where it takes long, is understood."""
    monkeypatch.chdir(tmp_path)
    structure = next((workplace / "NAME" / "designs").glob("*.cif"))
    line = line.replace("REQUEST.json", str(workplace / "REQUEST.json"))
    line = line.replace("FILE...", str(structure)).replace("out/NAME", str(workplace / "NAME"))
    line = line.replace(RESULTS, str(workplace / RESULTS))
    words = shlex.split(line)[1:]
    if line.split(" ", 1)[1].startswith(LONG):
        app.parse_args(words, exit_on_error=False)
        return
    if words[0] == "design":
        words += ["--no-report"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code in (0, 3, None)


def test_readme_picture_is_there() -> None:
    """The picture that README shows exists."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (ROOT / path).stat().st_size > 10_000
    for path in re.findall(r"[^!]\[[^\]]*\]\((docs[^)]+)\)", text):
        assert (ROOT / path).exists()


@pytest.mark.parametrize("kind", [item.__struct_config__.tag for item in get_args(AnyConstraint)])
def test_every_kind_of_constraint_has_a_page_with_a_picture(kind: str) -> None:
    """A page shows a design of a request that lies beside the picture and has no fault."""
    text = (ROOT / "docs" / "constraints" / f"{kind}.md").read_text(encoding="utf-8")
    assert f"(constraints/{kind}.md)" in (ROOT / "docs" / "constraints.md").read_text("utf-8")
    if kind == "custom":
        return
    pictures = ROOT / "docs" / "pictures" / "constraints"
    assert f"(../pictures/constraints/{kind}.png)" in text
    assert 1_000 < (pictures / f"{kind}.png").stat().st_size < 120_000
    if "smiles" in (pictures / f"{kind}.json").read_text(encoding="utf-8"):
        pytest.importorskip("rdkit")
    request = read_request(pictures / f"{kind}.json")
    assert kind in {item.kind for item in request.constraints}
    assert request.check() == []
