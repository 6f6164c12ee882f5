"""What the model of many nodes says follows from what was measured."""

from __future__ import annotations

import msgspec
import pytest

from protein_lab.experiments.scale_model import Constants, Plan, full_at, hours, model_rows

CONSTANTS = Constants(
    design=9.0, overhead=0.5, tasks=1000.0, put=0.2, get=0.1, rows=100.0, listed=10.0,
    size=1e4, objects=8.0,
)  # fmt: skip
PLAN = Plan(nodes=10, workers=4, designs=72_000, designs_a_result=8)


def test_hours_of_each_part() -> None:
    """Worked out by hand: 9 + 0.5 + 0.2 + 0.1 + 0.2 seconds a design on 40 workers."""
    assert hours(CONSTANTS, PLAN) == pytest.approx(
        {"workers": 72_000 * 10.0 / 40 / 3600, "scheduler": 72 / 3600, "index": 90 / 3600}
    )


def test_more_nodes_help_until_a_shared_part_is_full() -> None:
    """At the number of nodes that fills a part, workers and that part need the same time."""
    for part, nodes in full_at(CONSTANTS, PLAN).items():
        there = msgspec.structs.replace(PLAN, nodes=round(nodes))
        spent = hours(CONSTANTS, there)
        assert spent["workers"] == pytest.approx(spent[part], rel=0.01)


def test_rows_name_what_decides() -> None:
    """The hours are those of the slowest part; the first to break is the one that fills first."""
    rows = {row.name: row for row in model_rows(CONSTANTS, PLAN)}
    assert rows["model: hours"].value == pytest.approx(5.0)
    assert "workers decides" in rows["model: hours"].note
    assert rows["model: breaks first"].note == "The index."
    assert rows["model: breaks first"].value == rows["model: nodes that fill the index"].value
    assert rows["model: objects"].value == 9_000 * 8
    assert rows["model: writes of objects"].value == 72_000 + 9_000 * 8
    assert rows["model: bytes"].value == pytest.approx(0.72)
    many = msgspec.structs.replace(PLAN, nodes=10_000)
    crowded = {row.name: row for row in model_rows(CONSTANTS, many)}
    assert crowded["model: hours"].value == pytest.approx(90 / 3600)
    assert "index decides" in crowded["model: hours"].note


def test_nothing_is_built_in() -> None:
    """Every figure of the model follows from constants and plan: doubling them changes it."""
    before = model_rows(CONSTANTS, PLAN)
    doubled = Constants(
        **{name: 2 * value for name, value in msgspec.structs.asdict(CONSTANTS).items()}
    )
    after = model_rows(doubled, msgspec.structs.replace(PLAN, designs=3 * PLAN.designs))
    assert all(old.value != new.value for old, new in zip(before, after, strict=True))
