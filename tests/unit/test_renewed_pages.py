"""Figures of benchmarks in pages of the documentation can be made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab.errors import ReportError
from protein_lab.experiments.rows import Row
from protein_lab.experiments.rows_page import FIRST, LAST, renew_page
from protein_lab.experiments.scale_model import Constants, model_rows
from protein_lab.experiments.store_plots import draw_hits, draw_hours
from protein_lab.experiments.timing import not_run

ROWS = [
    Row("hit: memory", 0.05, 0.04, 0.06, "ms", 0.1, True, "Fast."),
    Row("hit: objects", 12_345.6, None, None, "ms", None, True, "Slow."),
    not_run("hit: redis", "ms", 2.0, "There is none."),
]


def test_figures_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    """Twice gives the same page; a picture lies beside it."""
    pytest.importorskip("matplotlib")
    page = tmp_path / "store.md"
    page.write_text(f"# Before\n{FIRST}\nold\n{LAST}\nafter\n", encoding="utf-8")
    renew_page(page, ROWS, draw_hits(ROWS))
    once = page.read_text(encoding="utf-8")
    renew_page(page, ROWS, draw_hits(ROWS))
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith(f"# Before\n{FIRST}\n| figure |")
    assert once.endswith(f"{LAST}\nafter\n")
    assert "old" not in once
    assert "| hit: memory | 0.05 ms | 0.04 to 0.06 | 0.1 | Fast. |" in once
    assert "| hit: objects | 12,300 ms |  |  | Slow. |" in once
    assert "| hit: redis | not run |" in once
    assert (tmp_path / "pictures" / "store.png").stat().st_size > 1000


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """Nothing is written then."""
    pytest.importorskip("matplotlib")
    page = tmp_path / "other.md"
    page.write_text(f"{FIRST}\n", encoding="utf-8")
    with pytest.raises(ReportError, match="end of figures"):
        renew_page(page, ROWS, draw_hits(ROWS))
    assert page.read_text(encoding="utf-8") == f"{FIRST}\n"


def test_hours_are_drawn_from_rows() -> None:
    """The curve of the workers falls with the nodes; what is shared is level."""
    pytest.importorskip("matplotlib")
    constants = Constants(
        design=9.0, overhead=0.004, tasks=500.0, put=0.01, get=0.001, rows=2000.0,
        listed=1e4, size=2e4, objects=58.0,
    )  # fmt: skip
    measured = {
        "design: seconds": 9.0, "executor: added to a design": 4.0, "scheduler: tasks": 500.0,
        "object: write": 10.0, "object: read": 1.0, "index: rows": 2000.0,
        "object: listed": 1e4, "design: bytes": 2e4, "result: objects": 58.0,
    }  # fmt: skip
    rows = [Row(name, value, None, None, "", None, True, "") for name, value in measured.items()]
    axes = draw_hours([*rows, *model_rows(constants)]).axes[0]
    workers, scheduler, index = (np.asarray(line.get_ydata()) for line in axes.lines[:3])
    assert np.all(np.diff(workers) < 0)
    assert np.ptp(scheduler) == np.ptp(index) == 0
