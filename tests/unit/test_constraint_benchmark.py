"""The constraint benchmark asks what can be had, and its figures are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.design.request import check_request, decode_request
from protein_lab.errors import ProteinLabError
from protein_lab.experiments import precheck_benchmark
from protein_lab.experiments.compound_requests import compound_requests
from protein_lab.experiments.constraint_benchmark import (
    Answer,
    _compound_rows,
    answer_request,
    run_constraints,
)
from protein_lab.experiments.quality import held_out_cases
from protein_lab.training.corpus import Corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Give the corpus that comes with the package."""
    return Corpus.open()


def test_compound_requests_have_three_families_and_are_sound(corpus: Corpus) -> None:
    """The same seed asks the same, another one asks something else."""
    cases = held_out_cases(corpus, 6, 1, "enhanced_deeponet")
    requests = compound_requests(iter(cases), 6, 1)
    assert len(requests) >= 5
    for request in requests:
        assert len({item.kind for item in request.constraints}) >= 3
        assert request.check() == []
    assert compound_requests(iter(cases), 6, 1) == requests
    assert compound_requests(iter(cases), 6, 2) != requests


def test_shares_count_requests_and_designs() -> None:
    """Half of the requests are met by their best design, a quarter of all designs meet all."""
    answers = [
        Answer((True, False), {"distance": (1, 2)}),
        Answer((False, False), {"distance": (2, 2)}),
    ]
    rows = {row.name: row for row in _compound_rows(answers)}
    assert rows["compound: best"].value == 50.0
    assert rows["compound: mean"].value == 25.0
    assert rows["compound: distance"].value == 75.0
    assert not rows["compound: best"].ok
    assert rows["compound: best"].low == 0.0
    assert rows["compound: best"].high == 100.0


def test_an_answer_is_kept(tmp_path: Path) -> None:
    """It is read the next time, undefined shares too, and a damaged one is told."""
    states = {"kind": "secondary_structure", "string": "LLL" + 24 * "H" + "LLL"}
    asked = {"num_designs": 1, "sequence": {"num_sequences": 0}, "constraints": [states]}
    request = decode_request(json.dumps(asked))
    first = answer_request(request, tmp_path)
    assert len(first.met) == 1
    (path,) = tmp_path.iterdir()
    other = Answer((False,), {"distance": (0, 1)}, {"helix": (50.0, float("nan"))})
    path.write_bytes(msgspec.msgpack.encode(other))
    again = answer_request(request, tmp_path)
    assert again.by_kind == other.by_kind
    assert np.isnan(again.states["helix"][1])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ProteinLabError, match="Delete the file"):
        answer_request(request, tmp_path)


def test_every_plant_is_found_where_it_was_planted(corpus: Corpus) -> None:
    """And the request was sound before."""
    sound = list(precheck_benchmark._sound_requests(corpus, 4))
    rng = np.random.default_rng(0)
    used = set()
    for request, length in sound:
        assert check_request(request) == []
        for plant in precheck_benchmark._PLANTS:
            spoiled = {**request, "constraints": [dict(item) for item in request["constraints"]]}
            path = plant(spoiled, length, rng)
            if path is not None:
                used.add(plant)
                found = [fault.path for fault in check_request(spoiled)]
                assert any(item.startswith(path) for item in found), (plant.__name__, found)
    assert len(used) >= len(precheck_benchmark._PLANTS) - 1


def test_senseless_sizes_are_refused() -> None:
    """With what to do."""
    with pytest.raises(ProteinLabError, match="at least one worker"):
        run_constraints(workers=0)


def test_too_much_is_warned_of() -> None:
    """More numbers than torsions; as many are fine."""
    pairs = [{"first": n, "second": m} for n in range(1, 11) for m in range(20, 40)]
    for count, expected in ((80, 0), (81, 1)):
        contacts = {"kind": "contacts", "pairs": pairs[:count], "at_least": 1}
        faults = check_request({"length": 40, "constraints": [contacts]})
        found = [fault for fault in faults if "torsions" in fault.message]
        assert len(found) == expected
        assert all(fault.severity == "warning" for fault in found)
