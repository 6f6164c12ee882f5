"""Requests say how long they will take."""

from __future__ import annotations

from pathlib import Path

import pytest

from protein_lab.cli import main
from protein_lab.design.cost import estimate_cost
from protein_lab.design.request import DesignRequest, decode_request


def test_more_costs_more() -> None:
    """Longer chains, more samples, more designs; what is measured once is returned as it was."""
    plain = estimate_cost(DesignRequest(length=100, num_designs=1))
    assert plain is not None
    assert plain.design_seconds == pytest.approx(1.65 + 4 * (0.165 + 0.39))
    for longer in (
        DesignRequest(length=150, num_designs=1),
        DesignRequest(length=100, num_designs=1, samples_per_design=8),
        DesignRequest(length=100, num_designs=1, steps=16),
        DesignRequest(length=900, num_designs=1),
    ):
        cost = estimate_cost(longer)
        assert cost is not None
        assert cost.design_seconds > plain.design_seconds
    many = estimate_cost(DesignRequest(length=(90, 110), num_designs=100))
    assert many is not None
    assert many.total_seconds == pytest.approx(100 * plain.design_seconds)


def test_a_contig_says_the_length() -> None:
    """Also where the request has none."""
    segments = [{"state": "H", "length": 20}, {"state": "L", "length": [3, 5]}] * 3
    request = decode_request({"constraints": [{"kind": "segments", "segments": segments}]})
    cost = estimate_cost(request)
    assert cost is not None
    assert 0.8 < cost.design_seconds < 5.0


def test_check_tells_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the faults; an invalid request has none."""
    place = tmp_path / "request.json"
    place.write_text('{"length": 100, "num_designs": 1000}')
    with pytest.raises(SystemExit):
        main(["check", str(place)])
    assert "a design, 64 min in all, on one core" in capsys.readouterr().out
    place.write_text('{"length": 1}')
    with pytest.raises(SystemExit):
        main(["check", str(place)])
    assert "Cost" not in capsys.readouterr().out
