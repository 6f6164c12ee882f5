"""Optimizers in designs: asked for in a request, deterministic, and of use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.design.blueprint import Blueprint, blueprint_of
from protein_lab.design.objective import with_beta
from protein_lab.design.optimizing import optimize_backbone, optimize_start, searches
from protein_lab.design.request import DesignRequest, check_request, decode_request
from protein_lab.design.sampling import conditions_of
from protein_lab.design.spaces.torsions import Torsions
from protein_lab.flow import sample
from protein_lab.geometry import axis_curve
from protein_lab.models.weights import load_operator
from protein_lab.training.corpus import CorpusChain

STATES = "LL" + "H" * 14 + "LLLLL" + "H" * 14 + "LLLLL" + "H" * 14 + "LL"
SIZE = len(STATES)


def request(optimizer: dict[str, Any] | None, **fields: Any) -> DesignRequest:
    """Ask that two residues come together."""
    distance = {"kind": "distance", "first": 6, "second": SIZE - 5, "max": 9.0}
    return decode_request(
        {"length": SIZE, "constraints": [distance], "optimizer": optimizer, "steps": 4,
         "samples_per_design": 2, **fields}
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "gradient", "budget": 40},
        {"kind": "evolutionary", "budget": 40},
        {"kind": "annealing", "over": "latents", "budget": 40},
    ],
    ids=lambda item: item["kind"],
)
def test_start_is_better_and_a_function_of_the_stream(
    options: dict[str, Any], real_chains: list[CorpusChain]
) -> None:
    """What fields start from brings the residues closer, and the same stream gives the same."""
    chain = min(real_chains, key=lambda item: len(item.sequence))
    size = len(chain.sequence)
    blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
    curve = axis_curve(np.asarray(chain.backbone, dtype=np.float64)[:, 1])
    far = np.unravel_index(np.argmax(np.linalg.norm(curve[:, None] - curve, axis=-1)), (size, size))
    first, second = (int(place) for place in far)
    wish = [{"kind": "distance", "first": first + 1, "second": second + 1, "max": 5.0}]
    asked = request(options, length=size, constraints=wish)
    operator = load_operator("deeponet", "torch")
    layout = Layout(size, blueprint.elements)

    def start() -> Any:
        return optimize_start(
            asked, operator, layout, blueprint, curve, np.random.default_rng([7, 0])
        )

    one, two = start(), start()
    assert np.array_equal(one.curve, two.curve)
    assert np.array_equal(one.noise, two.noise)
    assert one.noise.shape == (2, size, 3, 3)
    field = sample(operator, conditions_of(blueprint, one.curve), one.noise, 4).field[0]
    found = with_beta(field)[[first, second], 3]
    known = with_beta(chain.backbone)[[first, second], 3]
    assert np.linalg.norm(found[0] - found[1]) < np.linalg.norm(known[0] - known[1]) - 1.0
    assert one.records[-1].best <= one.records[0].best


@pytest.mark.parametrize("kind", ["gradient", "evolutionary", "annealing"])
def test_loops_turn_to_where_constraints_hold(kind: str) -> None:
    """The residues come closer, exact geometry stays, and the same stream gives the same."""
    space = Torsions(STATES)
    backbone = space.subject(space.center(np.random.default_rng(5))).require_backbone()
    asked = request({"kind": kind, "over": "torsions", "budget": 300})
    layout = Layout(SIZE, Blueprint(STATES).elements)

    def turn() -> Any:
        return optimize_backbone(
            asked, layout, STATES, backbone.astype(np.float32), np.random.default_rng([7, 0])
        )

    one, two = turn(), turn()
    assert np.array_equal(one.backbone, two.backbone)
    assert one.records[-1].best <= one.records[0].best
    ends = [with_beta(atoms)[[5, SIZE - 6], 3] for atoms in (backbone, one.backbone)]
    old, new = (float(np.linalg.norm(pair[0] - pair[1])) for pair in ends)
    assert new < old - 1.0
    steps = np.linalg.norm(np.diff(one.backbone[:, 1], axis=0), axis=-1)
    assert steps == pytest.approx(3.80, abs=0.03)


def test_requests_say_what_is_searched() -> None:
    """A request names one optimizer, or none."""
    assert not searches(request(None), "latents")
    assert searches(request({"kind": "gradient"}), "latents")
    assert searches(request({"kind": "annealing"}), "torsions")


@pytest.mark.parametrize(
    ("fields", "path", "severity"),
    [
        ({"optimizer": {"kind": "annealing", "hot": 0.1, "cold": 0.2}}, "$.optimizer.cold",
         "error"),
        ({"optimizer": {"kind": "gradient", "budget": 1}}, "$.optimizer.budget", "error"),
        ({"optimizer": {"kind": "magic"}}, "$.optimizer.kind", "error"),
        ({"optimizer": {"kind": "gradient", "over": "sequences"}}, "$.optimizer.over", "error"),
        ({"optimizer": {"kind": "gradient"}, "backend": "numpy", "constraints": [
            {"kind": "distance", "first": 3, "second": 40, "max": 9.0}]},
         "$.optimizer.over", "error"),
        ({"optimizer": {"kind": "annealing", "over": "sequences"},
          "sequence": {"num_sequences": 0}}, "$.optimizer.over", "error"),
        ({"optimizer": {"kind": "gradient"}}, "$.optimizer", "warning"),
    ],
)  # fmt: skip
def test_what_an_optimizer_cannot_do_is_told(
    fields: dict[str, Any], path: str, severity: str
) -> None:
    """Faults name the path before anything is computed."""
    found = check_request({"length": 60, **fields})
    assert (path, severity) in [(item.path, item.severity) for item in found]
    assert {item.path for item in found} <= {path, "$.optimizer"}
    assert all(item.message and item.remedy for item in found if item.path == "$.optimizer")
