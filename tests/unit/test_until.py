"""Designs are made until enough are accepted, and the same ones whoever makes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab import engine
from protein_lab.cli import main
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.request import DesignRequest, check_request, decode_request
from protein_lab.design.until import (
    FEWEST_LOOKS,
    HOPELESS_BELOW,
    Tally,
    Until,
    chance_of_success,
)
from protein_lab.errors import ExecutionError
from protein_lab.execution.base import OnDesign, RuntimeSpec, ShouldStop
from protein_lab.execution.reproduction import reproduce
from protein_lab.execution.run import run_request
from protein_lab.store.conclusion import conclude
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import Design
from protein_lab.testing.results import failed_design, ideal_helix_design
from protein_lab.typing import Measurement

QUICK = {"length": [24, 32], "steps": 2, "samples_per_design": 1, "seed": 11}


def count(until: Until, accepted: Iterable[bool]) -> Tally:
    """Take designs in order until the tally has enough."""
    tally = Tally(until, 8)
    for index, verdict in enumerate(accepted):
        if tally.is_over:
            break
        tally.take(index, verdict)
    return tally


def test_it_stops_at_the_design_that_makes_it_enough() -> None:
    """Designs that come out of order count as soon as the gap before them is closed."""
    tally = Tally(Until(accepted=2, max_samples=9), 8)
    for index in (3, 1, 4, 2):
        tally.take(index, accepted=index != 2)
        assert not tally.is_over
    tally.take(0, accepted=False)
    search = tally.search()
    assert search is not None
    assert (search.stopped_by, search.num_made, search.num_accepted) == ("accepted", 4, 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_finishing_changes_nothing(seed: int) -> None:
    """Whatever order designs finish in, the same ones are counted."""
    rng = np.random.default_rng(seed)
    accepted = rng.random(60) < 0.2
    until = Until(accepted=6, max_samples=60)
    tally = Tally(until, 8)
    for index in rng.permutation(60):
        tally.take(int(index), bool(accepted[index]))
    assert tally.search() == count(until, accepted).search()


def test_it_stops_at_max_samples() -> None:
    """No more designs are made than allowed."""
    search = count(Until(accepted=10, max_samples=15), [True, False] * 50).search()
    assert search is not None
    assert (search.stopped_by, search.num_made, search.num_accepted) == ("max_samples", 15, 8)


def test_the_chance_is_that_of_drawn_rates() -> None:
    """The beta-binomial figure agrees with drawing rates and counts."""
    rng = np.random.default_rng(0)
    rate = rng.beta(3 + 1, 37 + 1, size=200_000)
    drawn = rng.binomial(60, rate)
    expected = float((drawn >= 5).mean())
    until = Until(accepted=8, max_samples=100)
    assert chance_of_success(40, 3, until) == pytest.approx(expected, abs=0.005)
    assert chance_of_success(98, 3, until) == 0.0
    assert chance_of_success(20, 8, until) == 1.0


def test_a_hopeless_search_is_given_up_and_says_why() -> None:
    """Of failures alone it stops early, but not before it has looked at enough."""
    search = count(Until(accepted=8, max_samples=64), [False] * 64).search()
    assert search is not None
    assert search.stopped_by == "hopeless"
    assert FEWEST_LOOKS <= search.num_made < 40
    assert search.chance is not None
    assert search.chance < HOPELESS_BELOW
    assert "probability of 8 within 64" in search.reason


def test_searches_are_seldom_given_up_wrongly() -> None:
    """Of searches that are given up, fewer than 5 % would have succeeded, looks at all included."""
    rng = np.random.default_rng(1)
    until = Until(accepted=4, max_samples=40)
    given_up = wrong = 0
    for rate in rng.random(1500):
        accepted = rng.random(40) < rate
        search = count(until, accepted).search()
        assert search is not None
        if search.stopped_by == "hopeless":
            given_up += 1
            wrong += int(accepted.sum() >= 4)
    assert given_up > 50
    assert wrong < 0.08 * given_up


def test_the_clock_ends_a_search_but_not_before_its_first_design() -> None:
    """A search is never empty."""
    tally = Tally(Until(accepted=5, seconds=0.1), 8)
    tally._start -= 10.0  # as if ten seconds had passed
    tally.look_at_clock()
    assert not tally.is_over
    tally.take(0, accepted=False)
    tally.look_at_clock()
    search = tally.search()
    assert search is not None
    assert (search.stopped_by, search.num_made, search.chance) == ("seconds", 1, None)


@pytest.mark.parametrize(
    ("until", "path", "message"),
    [
        ({"accepted": 3}, "$.until", "neither"),
        ({"accepted": 3, "max_samples": 2}, "$.until.max_samples", "at least 3"),
        ({"accepted": 0, "max_samples": 2}, "$.until.accepted", "from 1 to 10000"),
        ({"max_samples": 2}, "$.until.accepted", "missing"),
        ({"accepted": 3, "seconds": -1}, "$.until.seconds", "a number from"),
        ({"accepted": 3, "second": 5}, "$.until.second", "unknown"),
        (8, "$.until", "an object"),
    ],
)
def test_faults_have_paths(until: object, path: str, message: str) -> None:
    """What is wrong is named before anything is made."""
    faults = check_request({"length": 30, "until": until})
    assert any(fault.path == path and message in fault.message for fault in faults), faults


def measured(design: Design, margins: Iterable[float]) -> Design:
    """Give a design constraints with these margins."""
    items = tuple(
        Measurement(
            constraint=f"kind{number}", value=1.0, unit="angstrom", target=1.0, margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
        )
        for number, margin in enumerate(margins)
    )  # fmt: skip
    return replace(design, measurements=items)


def test_the_constraint_to_relax_is_named_with_its_miss() -> None:
    """Margins are those of the designs that fail it; accepted ones count as accepted."""
    asked = (
        SecondaryStructure(string="L" + "H" * 9 + "LLLL" + "H" * 9 + "L"),
        Pairing(first=1, second=2, orientation="antiparallel"),
    )
    until = Until(accepted=3, max_samples=6)
    request = DesignRequest(length=24, constraints=asked, until=until)
    designs = [
        measured(ideal_helix_design(0, 24), (1.0, 1.0)),
        measured(ideal_helix_design(1, 24), (-1.5, 1.0)),
        measured(ideal_helix_design(2, 24), (-0.5, 1.0)),
        measured(ideal_helix_design(3, 24), (-0.7, -2.0)),
        measured(ideal_helix_design(4, 24, passes=False), (-9.0, 1.0)),
        failed_design(5, "no fold"),
    ]
    tally = count(Until(accepted=3, max_samples=6), [d.accepted for d in designs])
    found = conclude(request, designs, tally.search())
    first, second = found.relaxations
    assert (first.path, first.num_failed, first.num_accepted_without) == ("$.constraints[0]", 4, 3)
    assert first.median_miss == pytest.approx(1.1)
    assert (second.num_failed, second.num_accepted_without) == (1, 1)
    assert "Without $.constraints[0] (secondary_structure) 3 would be accepted" in found.outcome
    assert "$.constraints[1]" not in found.outcome
    assert found.outcome.startswith(
        "1 of 6 designs made were accepted; no more than 6 may be made. The others miss: "
    )
    assert [design.index for design in found.designs] == [0, 2, 1, 3]
    assert found.search is not None
    assert found.search.num_near_misses == 3


class Backwards:
    """An executor that hands over blocks of designs in reverse, beyond what is needed."""

    keeps_designs = False

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Make the designs."""
        del runtime_spec
        wanted = list(indices)
        for start in range(0, len(wanted), 4):
            for index in reversed(wanted[start : start + 4]):
                on_design(engine.design_one(request, index, self.runtime))
            if should_stop():
                return

    def __init__(self, runtime: engine.Runtime) -> None:
        self.runtime = runtime


@pytest.fixture(scope="module")
def runtime() -> engine.Runtime:
    """Open the shipped operator once."""
    return engine.Runtime.open("enhanced_deeponet", backend="numpy")


def test_a_search_is_the_same_in_any_order_resumed_and_reproduced(
    runtime: engine.Runtime, tmp_path: Path
) -> None:
    """The loop of the engine, an executor that runs ahead, and a run cut off give one result."""
    request = decode_request(QUICK | {"until": {"accepted": 1, "max_samples": 6}})
    plain = engine.design(request, runtime)
    ahead = run_request(request, runtime, executor=Backwards(runtime))
    assert plain.search == ahead.search
    assert plain.search is not None
    with OutputFolder(tmp_path / "out", request, runtime.request_id(request)) as output:
        with pytest.raises(ExecutionError, match="Repeat the same command"):
            run_request(request, runtime, output=output, should_stop=lambda: True)
        result = run_request(request, runtime, output=output)
    for other in (ahead, result):
        assert [item.index for item in other.designs] == [item.index for item in plain.designs]
        for mine, theirs in zip(other.designs, plain.designs, strict=True):
            assert mine.backbone.tobytes() == theirs.backbone.tobytes()
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored["search"] == msgspec.to_builtins(result.search)
    again = reproduce(tmp_path / "out")
    assert again.exact
    assert again.differences == ()


def test_the_command_line_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options make a search of any request; fewer than asked ends with 3."""
    file = tmp_path / "request.json"
    never = {"kind": "secondary_structure", "string": "E" * 26}
    file.write_text(json.dumps({**QUICK, "length": 26, "constraints": [never]}))
    words = ["design", str(file), "--out", str(tmp_path / "out"), "--no-report"]
    words += ["--until-accepted", "2", "--max-samples", "3"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 3
    said = capsys.readouterr()
    assert "no more than 3 may be made" in said.out
    assert "0 of 2 accepted, 3 made" in said.err


def test_a_number_beside_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would be passed over is an error with the remedy."""
    file = tmp_path / "request.json"
    file.write_text(json.dumps({**QUICK, "until": {"accepted": 1, "max_samples": 2}}))
    with pytest.raises(SystemExit) as left:
        main(["design", str(file), "--out", str(tmp_path / "out"), "--num-designs", "5"])
    assert left.value.code == 1
    assert "--until-accepted" in capsys.readouterr().err
