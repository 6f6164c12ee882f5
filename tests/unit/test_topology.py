"""The order of strands in a sheet: what is measured, pulled at, meant and checked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from protein_lab.constraints.base import Layout
from protein_lab.constraints.secondary_structure import AskedElement
from protein_lab.constraints.sheet_restraint import crossover_hand
from protein_lab.constraints.topology import Topology
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.drawing import draw_question
from protein_lab.design.request import check_request, decode_request
from protein_lab.geometry import backbone_from_internal, virtual_cb
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.training.corpus import Corpus, CorpusChain
from protein_lab.typing import FloatArray

STRING = "LEEEEELLLHHHHHHHHHHHHLLLEEEEELLLHHHHHHHHHHHHLLLEEEEEL"
"""Three strands with helices between them."""


def faults_of(constraint: dict[str, Any], *others: dict[str, Any], string: str = STRING) -> Any:
    """Check a request with three strands."""
    states = {"kind": "secondary_structure", "string": string}
    topology = {"kind": "topology"} | constraint
    found = check_request({"constraints": [states, topology, *others]})
    return [(fault.severity, fault.path, fault.message) for fault in found]


def test_crossovers_of_real_chains_are_right_handed() -> None:
    """Real parallel strands with one connection are right-handed nineteen times in twenty."""
    corpus = Corpus.open()
    chosen = corpus.indices("train", 80, 240)
    hands: list[float] = []
    for index in np.random.default_rng(2).choice(chosen, 200, replace=False):
        chain = corpus.chain(int(index))
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        elements = blueprint.elements
        strands = [k for k, item in enumerate(elements) if item.kind == "E"]
        following = set(pairwise(strands))
        ca = np.asarray(chain.backbone[:, 1], dtype=np.float64)
        for pair in blueprint.pairs:
            if pair.orientation == "parallel" and (pair.first, pair.second) in following:
                hand = crossover_hand(ca, elements[pair.first], elements[pair.second])
                mirror = crossover_hand(-ca, elements[pair.first], elements[pair.second])
                assert mirror == pytest.approx(-hand)
                hands.append(hand)
    assert len(hands) > 60
    assert np.mean(np.array(hands) > 0.0) > 0.9


def test_real_sheets_have_the_topology_that_is_read_from_them(
    real_chains: list[CorpusChain],
) -> None:
    """Neighbors that a blueprint has are met, with their directions; others are not."""
    judged = 0
    for chain in real_chains:
        states = chain.secondary_structure
        blueprint = blueprint_of(chain.backbone, states)
        strands = [k for k, item in enumerate(blueprint.elements) if item.kind == "E"]
        pairs = [p for p in blueprint.pairs if p.first in strands and p.second in strands]
        protein, layout = Protein.from_backbone(chain.backbone), Layout(len(states), (), states)
        for pair in pairs[:3]:
            order = (strands.index(pair.second) + 1, strands.index(pair.first) + 1)
            way: Any = pair.orientation
            asked = Topology(order=order, orientations=(way,))
            assert asked.evaluate(protein, layout).verdict == "pass"
            listed = [(p.first, p.second, str(p.orientation)) for p in blueprint.pairs]
            assert asked.blueprint_cost(states, listed) == 0.0
            turned: Any = {"parallel": "antiparallel", "antiparallel": "parallel"}[way]
            other = Topology(order=order, orientations=(turned,))
            assert other.evaluate(protein, layout).margin == -1.0
            assert other.blueprint_cost(states, listed) == 0.5
            judged += 1
        far = Topology(order=(1, len(strands) + 1))
        assert far.evaluate(protein, layout).verdict == "fail"
        assert far.blueprint_cost(states, []) == 2.0
    assert judged > 20


@pytest.mark.parametrize("crossovers", ["any", "right", "left"])
@pytest.mark.parametrize("way", ["parallel", "antiparallel"])
def test_the_restraint_makes_the_sheet_that_is_asked(way: Any, crossovers: Any) -> None:
    """Its gradient is true, and its lowest energy has neighbors and hands as asked."""
    elements = (AskedElement("E", 1, 6), AskedElement("H", 9, 20), AskedElement("E", 23, 28))
    layout = Layout(29, elements)
    asked = Topology(order=(2, 1), orientations=(way,), crossovers=crossovers)
    restraint = asked.restraint(layout)
    rng = np.random.default_rng(5)
    atoms = np.cumsum(rng.normal(scale=2.0, size=(29, 1, 3)), axis=0) + rng.normal(size=(29, 4, 3))
    assert restraint(atoms)[0] > 1.0
    assert worst_gradient_error(restraint, atoms) < 1e-5
    assert worst_gradient_error(restraint.on_curve, atoms[:, 1]) < 1e-5
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert restraint(atoms @ turn.T + 9.0)[0] == pytest.approx(restraint(atoms)[0])

    def energy(flat: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = restraint.on_curve(flat.reshape(-1, 3))
        return value, gradient.ravel()

    found = minimize(energy, atoms[:, 1].ravel(), jac=True, method="L-BFGS-B")
    points = found.x.reshape(-1, 3)
    assert found.fun < 1e-3
    middles = points[1:6].mean(axis=0) - points[23:28].mean(axis=0)
    assert 4.0 < np.linalg.norm(middles) < 6.0
    hand = crossover_hand(points, elements[0], elements[2])
    if crossovers != "any" and way == "parallel":
        assert (hand > 0.2) == (crossovers == "right")


def test_a_design_gets_the_pairs_that_the_order_means() -> None:
    """Neighbors become pairs of the blueprint; open directions follow from what lies between."""
    request = decode_request(
        {
            "constraints": [
                {"kind": "secondary_structure", "string": STRING},
                {"kind": "topology", "order": [2, 1, 3], "crossovers": "right"},
                {"kind": "pairing", "first": 1, "second": 2, "orientation": "antiparallel"},
            ]
        }
    )
    question = draw_question(request, np.random.default_rng(0), Corpus.open())
    found = [(p.first, p.second, p.orientation) for p in question.blueprint.pairs]
    assert found == [(0, 1, "antiparallel"), (0, 2, "parallel"), (0, 4, "parallel")]


def test_a_helix_has_no_sheet() -> None:
    """Strands that are not there are said to be missing."""
    angles = [np.full(24, np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    helix = Protein.from_backbone(backbone_from_internal(*angles))
    found = Topology(order=(2, 1, 3)).evaluate(helix, Layout(24, ()))
    assert (found.verdict, found.margin) == ("fail", -2.0)
    assert "there are 0 strands of 3" in found.details
    restraint = Topology(order=(2, 1, 3)).restraint(Layout(24, ()))
    cb = virtual_cb(helix.backbone)[:, None]
    assert restraint(np.concatenate([helix.backbone[:, :3], cb], axis=1))[0] == 0.0


@pytest.mark.parametrize(
    ("constraint", "place", "message"),
    [
        ({"order": [1]}, ".order", "at least 2"),
        ({"order": [1, 2, 1]}, ".order[2]", "listed twice"),
        ({"order": [1, 0]}, ".order[1]", "at least 1"),
        ({"order": [1, 2, 4]}, ".order[2]", "from 1 to 3"),
        ({"order": [2, 1, 3], "orientations": ["parallel"]}, ".orientations", "Expected 2"),
        ({"order": [2, 1], "orientations": ["across"]}, ".orientations[0]", "'across'"),
        ({"order": [2, 1], "crossovers": "up"}, ".crossovers", "'up'"),
        (
            {"order": [2, 1], "orientations": ["antiparallel"], "crossovers": "right"},
            ".crossovers",
            "no crossover",
        ),
    ],
)
def test_bad_topologies_are_named(constraint: dict[str, Any], place: str, message: str) -> None:
    """Every fault says where it is and what came."""
    ((severity, path, text),) = faults_of(constraint)
    assert (severity, path) == ("error", f"$.constraints[1]{place}")
    assert message in text


def test_topologies_are_checked_with_the_rest_of_the_request() -> None:
    """Pairings, lengths and open requests."""
    asked = {"order": [2, 1, 3], "orientations": ["parallel", "parallel"]}
    assert faults_of(asked | {"crossovers": "right"}) == []
    ((severity, path, _),) = faults_of(asked | {"crossovers": "left"})
    assert (severity, path) == ("warning", "$.constraints[1].crossovers")
    pairing = {"kind": "pairing", "first": 1, "second": 3, "orientation": "antiparallel"}
    ((severity, path, message),) = faults_of(asked, pairing)
    assert (severity, path) == ("error", "$.constraints[1].orientations[0]")
    assert "antiparallel in $.constraints[2]" in message
    circle = pairing | {"second": 5, "first": 3}
    assert [item[0] for item in faults_of(asked, circle)] == ["warning"]
    many = {"kind": "topology", "order": [1, 15]}
    (fault,) = check_request({"length": 50, "constraints": [many]})
    assert fault.path == "$.constraints[0].order"
    assert "need 73" in fault.message
