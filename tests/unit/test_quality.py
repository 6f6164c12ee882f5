"""The quality benchmark: held-out questions, honest denominators, floors that can be missed."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.request import DesignRequest
from protein_lab.engine import Runtime
from protein_lab.errors import ProteinLabError
from protein_lab.experiments import quality, quality_measures
from protein_lab.experiments.quality import held_out_cases, rows_of, run_quality
from protein_lab.experiments.quality_energy import energy_backbones
from protein_lab.experiments.quality_measures import GROUPS, Tally
from protein_lab.experiments.quality_paired import paired_rows
from protein_lab.experiments.quality_plots import quality_pictures
from protein_lab.experiments.rows import Row
from protein_lab.experiments.rows_page import rows_page
from protein_lab.metrics import NATIVE_CLASHES_PER_1000, rmsd
from protein_lab.models.weights import read_card
from protein_lab.protein import Protein
from protein_lab.settings import Settings
from protein_lab.store.schema import Design
from protein_lab.training.corpus import Corpus
from protein_lab.validation import validate

FLOORS = {
    "geometry checks passed": 100.0,
    "helix residues obtained": 95.0,
    "strand residues obtained": 80.0,
    "TM-score to the source, best": 0.75,
    "TM-score to the source, mean": 0.62,
    "left-handed helices": 0.0,
    "knotted chains": 0.0,
    "chain breaks": 0.0,
    "Ramachandran favored": 97.0,
    "backbone clashes": NATIVE_CLASHES_PER_1000,
    "median Rg deviation": 15.0,
    "pairings met": 75.0,
}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """Two blueprints with one design each, through the real engine; energy alone beside it."""
    found = run_quality(
        True, backend="numpy", workers=1, num_blueprints=2, num_samples=1,
        parts=("designs", "energy only"),
    )  # fmt: skip
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


def test_energy_alone_is_judged_like_designs(rows: dict[str, Row]) -> None:
    """Idea: the refinement without an operator keeps helices, but does not fold."""
    ours = rows["TM-score to the source, mean"].value
    energy = rows["energy only: TM-score to the source, mean"].value
    helix = rows["energy only: helix residues obtained"].value
    assert ours is not None
    assert energy is not None
    assert helix is not None
    assert energy < ours
    assert helix > 50.0


def test_energy_alone_gives_sound_chains_that_differ() -> None:
    """Idea: without a field the energy keeps what is ideal, and each design has other loops."""
    blueprint = Blueprint("LL" + "H" * 12 + "LLLL" + "H" * 12 + "LL")
    made = energy_backbones(blueprint, DesignRequest(length=32, num_designs=2, seed=1))
    assert len(made) == 2
    first, second = (np.asarray(backbone) for backbone in made)
    for backbone in (first, second):
        checks = validate(Protein.from_backbone(backbone))
        assert all(check.verdict != "fail" for check in checks)
    assert rmsd(first[:, 1], second[:, 1]) > 1.0


def test_pairs_are_compared_blueprint_by_blueprint() -> None:
    """Idea: a small but steady difference is seen, noise is not, and a miss counts as one."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0.3, 0.9, 24)

    def group(values: np.ndarray) -> list[Tally]:
        return [Tally({"tm mean": [float(v), 1.0], "helix": [90.0, 1.0]}) for v in values]

    groups = {
        "": group(level),
        "fno: ": group(level - 0.05 + rng.normal(scale=0.02, size=24)),
        "deeponet: ": group(level + rng.normal(scale=0.05, size=24)),
        "polymer: ": group(level[:5]),
    }
    found = {row.name: row for row in paired_rows(groups)}
    better = found["difference to fno: TM-score to the source, mean"]
    same = found["difference to deeponet: TM-score to the source, mean"]
    equal = found["difference to fno: helix residues obtained"]
    assert better.low is not None
    assert better.low > 0.0
    assert better.value == pytest.approx(0.05, abs=0.01)
    assert same.low is not None
    assert same.high is not None
    assert same.low < 0.0 < same.high
    assert equal.value == equal.low == equal.high == 0.0
    assert not any("polymer" in name for name in found)  # other blueprints than those of designs


def test_what_was_not_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idea: without its weights a baseline has no figure, and the table says so."""
    monkeypatch.setattr(quality, "available", lambda: ["enhanced_deeponet"])
    monkeypatch.setattr(quality, "measure_job", lambda job, runtime: {"": Tally({}, [1.0])})
    found = {
        row.name: row
        for row in run_quality(
            workers=1, backend="numpy", num_blueprints=1, num_samples=1, parts=("designs", "fno")
        )
    }
    assert found["fno: not run"].value is None
    assert "weights" in found["fno: not run"].note
    assert "numpy" in found["machine: cores"].note
    card = read_card(Settings.from_environment().weights / "enhanced_deeponet.toml")
    assert found["enhanced_deeponet: training steps"].value == card["training"]["steps"]


def test_unknown_parts_are_refused() -> None:
    """Idea: the known ones are listed."""
    with pytest.raises(ProteinLabError, match=r"energy only.*but got nothing of it"):
        run_quality(parts=("nothing of it",))


def test_pictures_show_groups_and_differences() -> None:
    """Idea: what was not measured leaves no hole, and nothing is drawn of nothing."""
    row = Row("TM-score to the source, mean", 0.5, 0.4, 0.6, "TM-score", None, True, "")
    other = msgspec.structs.replace(row, name="difference to fno: TM-score to the source, mean")
    assert quality_pictures([row, other]).count("<figure") == 2
    assert quality_pictures([row]).count("<figure") == 1
    assert quality_pictures([]) == ""


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
    assert 'class="miss"' in rows_page(list(bad.values()), "Designs")
    assert 'class="miss"' not in rows_page(list(good.values()), "Designs")


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
