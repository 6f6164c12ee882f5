"""The report: everything the output folder says, nothing else, and no request to any network."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from protein_lab.constraints.pairing import Pairing
from protein_lab.errors import MissingExtraError, ReportError
from protein_lab.experiments import report_sections, reporting
from protein_lab.experiments.report_data import read_output
from protein_lab.experiments.report_html import column, number, words
from protein_lab.experiments.report_sequences import sequence_section
from protein_lab.store.objects import verify_result
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import DesignResult
from protein_lab.testing.results import example_result, failed_design, ideal_helix_design
from protein_lab.typing import Measurement

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Collects texts and attributes of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep attributes with their element."""
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep text."""
        if data.strip():
            self.texts.append(data.strip())


def publish(folder: Path, result: DesignResult) -> Path:
    """Write an output folder."""
    with OutputFolder(folder, result.request, result.request_id) as output:
        return output.publish(result)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel import this checkout."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'extensions'}")


@pytest.fixture(scope="module")
def result() -> DesignResult:
    """Give designs that passed, failed a check, and did not come out, with a hostile name."""
    designs = (
        ideal_helix_design(0, 24),
        ideal_helix_design(1, 24, passes=False),
        failed_design(2, f"no fold {HOSTILE}"),
    )
    made = example_result(designs)
    return dataclasses.replace(made, outcome=f"1 of 3 {HOSTILE}")


def test_report_tells_everything_and_asks_nothing(tmp_path: Path, result: DesignResult) -> None:
    """Every section is there, hostile strings stay text, and no address leaves the page."""
    folder = publish(tmp_path / "out", result)
    path = reporting.render_report(folder)
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    said = " ".join(page.texts)
    for expected in (
        "example", "1 of 3 designs accepted", result.request_id, "Clashes", "not run", "failed",
        "Structures", "Backbone torsions", "Contact map", "Secondary structure, asked", "Novelty",
        "Uncertainty of every residue", "not calibrated", "protein-lab reproduce", "0" * 64,
        "Weights digest", f"no fold {HOSTILE}",
    ):  # fmt: skip
        assert expected in said, expected
    assert HOSTILE not in source
    addresses = [v for _, name, v in page.attributes if name in ("src", "href")]
    assert addresses
    assert all(v.startswith(("data:", "designs/")) for v in addresses)
    assert source.count("globalThis.proteinLabView=") == 1
    assert not re.search(r"require(?:\.min)?\.js|mathjax", source, re.IGNORECASE)
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes
    assert "read_output(result" not in source
    records = re.search(r'id="structures"[^>]*>(.*?)</script>', source, re.DOTALL)
    assert records is not None
    assert [item["name"] for item in json.loads(records.group(1))] == ["001", "002"]
    assert verify_result(folder) == []
    assert len(source) < 2_000_000


def test_sequences_are_shown_residue_by_residue(tmp_path: Path) -> None:
    """Each residue says its probability and state; differing letters are bold; a lack says why."""
    plain = ideal_helix_design(0, 64)
    lacking = dataclasses.replace(
        ideal_helix_design(1, 24, num_sequences=0), sequence_failed=f"no weights {HOSTILE}"
    )
    data = read_output(publish(tmp_path / "out", example_result([plain, lacking])))
    source = sequence_section(data.shown[0])
    page = Page(source)
    letters = [v for tag, name, v in page.attributes if (tag, name) == ("i", "title")]
    assert len(letters) == 64
    assert letters[5] == "A6, helix, probability 0.30"
    kinds = [v for tag, name, v in page.attributes if (tag, name) == ("i", "class")]
    assert kinds[:3] == ["q4 l", "q2 h", "q1 h"]
    assert {"All 2 sequences", "2.72", "3.49"} <= set(page.texts)
    best, other = (made.sequence for made in plain.sequences)
    differing = "".join(two for one, two in zip(best, other, strict=True) if one != two)
    assert "".join(re.findall(r"<b>(.*?)</b>", source)) == differing
    assert len(differing) == 52
    assert "19 %" in page.texts
    assert "in <code>designs.fasta" in source
    why = sequence_section(data.shown[1])
    assert "no weights" in why
    assert HOSTILE not in why


def test_a_failing_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the cell and what went wrong; no half page is left."""
    folder = publish(tmp_path / "out", example_result())
    template = tmp_path / "templates" / "design_report.ipynb"
    template.parent.mkdir()
    notebook = nbformat.read(reporting.template_path(), as_version=4)
    notebook.cells[2].source = "raise ValueError('the table broke')"
    nbformat.write(notebook, template)
    monkeypatch.setattr(reporting, "_TEMPLATES", (template.parent,))
    with pytest.raises(ReportError, match=r"'designs'.*ValueError: the table broke"):
        reporting.render_report(folder)
    assert not (folder / "report.html").exists()
    with pytest.raises(ReportError, match="no parameter coulor"):
        reporting.render_report(folder, {"coulor": 1})


def test_what_is_no_result_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, a damaged summary and a missing extra are told apart."""
    with pytest.raises(ReportError, match=r"no provenance\.json"):
        reporting.render_report(tmp_path)
    folder = publish(tmp_path / "out", example_result())
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ReportError, match=r"summary\.json is not what"):
        read_output(folder)
    (folder / "summary.json").unlink()
    with pytest.raises(ReportError, match="cannot be read"):
        read_output(folder)
    monkeypatch.setattr(reporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="notebooks"):
        reporting.render_report(folder)
    monkeypatch.setattr(reporting, "_TEMPLATES", (tmp_path,))
    with pytest.raises(ReportError, match="Install protein-lab again"):
        reporting.template_path()


def test_asked_pairs_are_framed_by_their_verdicts(tmp_path: Path) -> None:
    """A pair that was not met is passed on as such, with the residues of its elements."""
    states = "LL" + "H" * 9 + "LLL" + "H" * 9 + "L"
    design = ideal_helix_design(0, 24)
    missed = Measurement(
        constraint="pairing", value=0.0, unit="met", target=1.0, margin=-0.5, verdict="fail"
    )
    request = {"constraints": [{"kind": "pairing", "first": 1, "second": 2}]}
    assert Pairing(first=1, second=2, orientation="parallel").kind == "pairing"
    ranges = report_sections._asked_ranges(states, request, [missed])
    assert ranges == [((2, 11), (14, 23), False)]
    assert report_sections._asked_ranges(states, request, []) == []
    shutil.rmtree(publish(tmp_path / "out", example_result([design])))


def test_only_the_best_are_shown_in_detail(tmp_path: Path) -> None:
    """All designs are in the table; as many as asked for have pictures."""
    designs = [ideal_helix_design(i, 16 + i) for i in range(5)]
    data = read_output(publish(tmp_path / "out", example_result(designs)), detailed=2)
    assert [shown.entry.rank for shown in data.shown] == [1, 2]
    assert report_sections.table_of_designs(data).html.count("<tr>") == 6
    nothing = example_result([failed_design(0, "no fold")])
    empty = read_output(publish(tmp_path / "none", nothing))
    assert "no structure to show" in report_sections.structures(empty).html
    assert report_sections.details(empty).html.count("<section") == 0


def test_numbers_are_written_for_readers() -> None:
    """Columns share their decimals, undefined figures say so, abbreviations keep their case."""
    assert column([1.0, 1.061, None])[:2] == ["1.00", "1.06"]
    assert column([3.0, 12.0]) == ["3", "12"]
    assert column([None]) == [number(None)]
    assert number(0.01234) == "0.0123"
    assert words("tm_to_source") == "TM to source"
