"""Disulfide bridges: real ones are recognized, others are not, and the energy leads to them."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Restraining, Scope, SequenceAsking
from protein_lab.constraints.disulfide import Disulfide, atoms_of, best_bridge
from protein_lab.constraints.windows import Windows
from protein_lab.design.request import check_request
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.training.corpus import Corpus


def cysteine_pairs() -> tuple[list[float], list[str], list[str]]:
    """Distances and verdicts of near cysteines, and verdicts of other near pairs."""
    corpus = Corpus.open()
    rng = np.random.default_rng(0)
    distances, verdicts, others = [], [], []
    for index in corpus.indices("calibration", max_length=150)[:200]:
        letters = corpus.sequence(int(index))
        places = [place for place, letter in enumerate(letters) if letter == "C"]
        protein = Protein.from_backbone(corpus.backbone(int(index)))
        layout = Layout(len(letters), ())
        for number, one in enumerate(places):
            for other in places[number + 1 :]:
                asked = Disulfide(first=one + 1, second=other + 1)
                found = asked.evaluate(protein, layout)
                distances.append(float(found.value or 0.0))
                verdicts.append(found.verdict)
        one, other = rng.choice(len(letters), 2, replace=False)
        asked = Disulfide(first=int(one) + 1, second=int(other) + 1)
        others.append(asked.evaluate(protein, layout).verdict)
    return distances, verdicts, others


def test_real_bridges_pass_and_other_pairs_fail() -> None:
    """Of cysteines within the peak of bonded ones nearly all pass; far ones and others never."""
    distances, verdicts, others = cysteine_pairs()
    bonded = np.array(distances) < 4.4
    passed = np.array(verdicts) == "pass"
    assert bonded.sum() > 30
    assert passed[bonded].mean() > 0.9
    assert not passed[np.array(distances) > 4.5].any()
    assert others.count("pass") <= 2


def test_the_bridge_is_that_of_its_torsion() -> None:
    """CB atoms 3.84 angstrom apart in a symmetric bridge have a chi3 of 90 degrees."""
    corpus = Corpus.open()
    found = []
    for index in corpus.indices("train", max_length=80)[:200]:
        letters = corpus.sequence(int(index))
        atoms = atoms_of(Protein.from_backbone(corpus.backbone(int(index))))
        places = [place for place, letter in enumerate(letters) if letter == "C"]
        for number, one in enumerate(places):
            for other in places[number + 1 :]:
                apart = np.linalg.norm(atoms[one, 3] - atoms[other, 3])
                if 3.4 < apart < 4.3:
                    found.append(best_bridge(atoms[one], atoms[other]))
    strain, chi3 = np.array(found).T
    assert len(found) > 30
    assert np.median(strain) < 0.15
    assert np.median(np.abs(chi3)) == pytest.approx(90.0, abs=8.0)


def test_gradients_are_exact() -> None:
    """Inside, near and far outside the windows, on atoms and on the axis curve."""
    restraint = Disulfide(first=2, second=7).restraint(Layout(9, ()))
    rng = np.random.default_rng(2)
    for spread in (1.0, 3.0, 20.0):
        assert worst_gradient_error(restraint, rng.normal(0, spread, (9, 4, 3))) < 1e-5
        assert worst_gradient_error(restraint.on_curve, rng.normal(0, spread, (9, 3))) < 1e-5


def test_energies_grow_linearly_far_away() -> None:
    """A square near the window, a line far from it, nothing inside."""
    windows = Windows.of([(0, 1, 3.0, 5.0)])
    at = [np.array([[0.0, 0.0, 0.0], [x, 0.0, 0.0]]) for x in (4.0, 5.1, 55.0, 56.0)]
    value = [windows.energy(points)[0] for points in at]
    assert value[0] == 0.0
    assert value[1] == pytest.approx(0.01, rel=1e-2)
    assert value[3] - value[2] == pytest.approx(2.0, rel=1e-3)
    assert not windows.energy(at[0])[1].any()
    same = windows.energy(np.zeros((2, 3)))
    assert np.isfinite(same[0])
    assert np.isfinite(same[1]).all()


def test_it_says_which_parts_it_has() -> None:
    """It pulls the chain and asks for cysteines."""
    asked = Disulfide(first=2, second=7)
    assert isinstance(asked, Restraining)
    assert isinstance(asked, SequenceAsking)
    bias = asked.residue_bias(Layout(9, ()))
    assert np.isfinite(bias[[1, 6]]).sum() == 2
    assert not bias[[0, 2, 3, 4, 5, 7, 8]].any()


@pytest.mark.parametrize(
    ("data", "path", "severity"),
    [
        ({"first": 5, "second": 5}, ".second", "error"),
        ({"first": 5, "second": 6}, ".second", "warning"),
        ({"first": 5, "second": 41}, ".second", "error"),
        ({"first": 0, "second": 20}, ".first", "error"),
        ({"first": 5}, ".second", "error"),
        ({"first": "5", "second": 20}, ".first", "error"),
    ],
)
def test_bad_input_is_told(data: dict[str, object], path: str, severity: str) -> None:
    """Every fault has its path."""
    request = {"length": 40, "constraints": [{"kind": "disulfide", **data}]}
    faults = {fault.path: fault for fault in check_request(request)}
    assert faults[f"$.constraints[0]{path}"].severity == severity


def test_one_helix_holds_no_bridge() -> None:
    """Two residues of one helix or strand are warned of, two of different ones are not."""
    scope = Scope(24, 24, "L" + "H" * 10 + "LL" + "H" * 10 + "L")
    (fault,) = Disulfide(first=3, second=7).faults_in("$", scope)
    assert "one helix" in fault.message
    assert Disulfide(first=3, second=17).faults_in("$", scope) == []


def test_a_fixed_residue_that_is_no_cysteine_is_a_fault() -> None:
    """What the sequence fixes must be what the bridge needs."""
    request = {
        "length": 40,
        "constraints": [{"kind": "disulfide", "first": 5, "second": 30}],
        "sequence": {"fixed": [{"position": 5, "residue": "A"}]},
    }
    (fault,) = check_request(request)
    assert fault.path == "$.sequence.fixed[0].residue"
    request["sequence"] = {"excluded": "C"}
    (fault,) = check_request(request)
    assert fault.path == "$.sequence.excluded"


def test_a_side_chain_bonds_once() -> None:
    """Two bridges, or a bridge and a metal site, do not share a cysteine."""
    ligands = [{"position": place, "residue": "C"} for place in (30, 33, 12)]
    request = {
        "length": 40,
        "constraints": [
            {"kind": "disulfide", "first": 5, "second": 30},
            {"kind": "disulfide", "first": 20, "second": 5},
            {"kind": "metal_site", "ligands": ligands},
        ],
    }
    assert [fault.path for fault in check_request(request)] == [
        "$.constraints[1].second",
        "$.constraints[2].ligands[0].position",
    ]
