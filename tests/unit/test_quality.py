"""The quality benchmark: held-out questions, honest denominators, floors that can be missed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from protein_lab.engine import Runtime
from protein_lab.errors import ProteinLabError
from protein_lab.experiments import quality_measures
from protein_lab.experiments.quality import Row, held_out_cases, quality_page, rows_of, run_quality
from protein_lab.experiments.quality_measures import GROUPS, Tally
from protein_lab.metrics import NATIVE_CLASHES_PER_1000
from protein_lab.store.schema import Design
from protein_lab.training.corpus import Corpus

FLOORS = {
    "geometry checks passed": 100.0,
    "helix residues obtained": 90.0,
    "strand residues obtained": 60.0,
    "TM-score to the source, best": 0.6,
    "left-handed helices": 0.0,
    "knotted chains": 0.0,
    "chain breaks": 0.0,
    "Ramachandran favored": 97.0,
    "backbone clashes": NATIVE_CLASHES_PER_1000,
    "median Rg deviation": 15.0,
}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """Two blueprints with one design each, through the real engine."""
    found = run_quality(True, backend="numpy", workers=1, num_blueprints=2, num_samples=1)
    return {row.name: row for row in found}


def _tallies(**sums: list[float]) -> dict[str, Tally]:
    return {prefix: Tally(dict(sums), [1.0]) for prefix in GROUPS}


def test_every_figure_is_there_for_designs_and_baselines(rows: dict[str, Row]) -> None:
    """Idea: a figure without its baselines says little."""
    for name in [*FLOORS, "pairings met", "clashes", "novelty", "failed designs"]:
        assert {prefix + name for prefix in GROUPS} <= set(rows)
    assert rows["seconds per design"].value
    assert "raw field: helix residues obtained" in rows


def test_only_designs_have_floors(rows: dict[str, Row]) -> None:
    """Idea: the floors are those agreed on, and no baseline can fail the benchmark."""
    assert {name: row.floor for name, row in rows.items() if row.floor is not None} == FLOORS


def test_intervals_are_ordered(rows: dict[str, Row]) -> None:
    """Idea: an interval has a low and a high end, and is missing only with its figure."""
    for row in rows.values():
        if row.value is None:
            assert row.low is row.high is None
        else:
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.high


def test_native_structures_answer_their_own_question(rows: dict[str, Row]) -> None:
    """Idea: measured on the source itself, everything that was asked is found."""
    assert rows["native: TM-score to the source, best"].value == pytest.approx(1.0, abs=1e-3)
    assert rows["native: pairings met"].value == 100.0
    helix = rows["native: helix residues obtained"].value
    assert helix is not None
    assert helix > 95.0


def test_ideal_elements_without_a_fold_are_worse(rows: dict[str, Row]) -> None:
    """Idea: random loops cannot give the fold; a TM-score that says so can be trusted."""
    joined = rows["ideal joined: TM-score to the source, best"].value
    fold = rows["nearest fold: TM-score to the source, best"].value
    assert joined is not None
    assert fold is not None
    assert joined < fold


def test_questions_come_from_held_out_chains() -> None:
    """Idea: no chain asked about is in the library, and the choice is always the same."""
    corpus = Corpus.open()
    cases = held_out_cases(corpus, 5, 1, "enhanced_deeponet")
    again = held_out_cases(corpus, 5, 1, "enhanced_deeponet")
    assert [case.chain.id for case in cases] == [case.chain.id for case in again]
    for case in cases:
        assert case.chain.split == "test"
        assert 50 <= case.blueprint.length <= 128


def test_failed_designs_stay_in_the_denominator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idea: failing on a hard blueprint must not make the figures better."""
    runtime = Runtime.open(backend="numpy")
    case = held_out_cases(runtime.corpus, 1, 2, "enhanced_deeponet")[0]
    empty = np.zeros((0, 4, 3), dtype=np.float32)
    failed = Design(index=1, backbone=empty, uncertainty=empty[:, 0, 0], blueprint=case.blueprint)
    failed = dataclasses.replace(failed, failed="no")
    native = dataclasses.replace(failed, failed=None, backbone=case.chain.backbone)
    made = [native, failed]
    monkeypatch.setattr(quality_measures, "design_one", lambda request, index, runtime: made[index])
    sums = quality_measures.measure_case(case, runtime)[""].sums
    states = case.blueprint.secondary_structure
    assert sums["helix"][1] == 2 * states.count("H")
    assert sums["geometry"][1] == sums["tm mean"][1] == 2
    assert sums["failed"] == [100.0, 2.0]
    assert sums["tm mean"][0] == pytest.approx(1.0, abs=1e-3)


def test_floors_can_be_missed() -> None:
    """Idea: a row below its floor is not ok, one above is, and the page shows the difference."""
    bad = {row.name: row for row in rows_of([_tallies(helix=[100.0, 2.0], left=[1.0, 1.0])])}
    good = {row.name: row for row in rows_of([_tallies(helix=[190.0, 2.0], left=[0.0, 1.0])])}
    for name in ("helix residues obtained", "left-handed helices"):
        assert not bad[name].ok
        assert good[name].ok
    assert bad["native: left-handed helices"].ok
    assert 'class="miss"' in quality_page(list(bad.values()))
    assert 'class="miss"' not in quality_page(list(good.values()))


def test_too_small_and_too_large_chains_both_miss() -> None:
    """Idea: the size may deviate to either side, but not far."""
    for size, ok in ((0.8, False), (0.9, True), (1.1, True), (1.2, False)):
        found = rows_of([{prefix: Tally({}, [size]) for prefix in GROUPS}])
        assert found[0].name == "median Rg deviation"
        assert found[0].ok is ok


def test_numbers_below_one_are_refused() -> None:
    """Idea: no worker or no design is a mistake, not an empty table."""
    with pytest.raises(ProteinLabError, match="at least one worker"):
        run_quality(workers=0)
