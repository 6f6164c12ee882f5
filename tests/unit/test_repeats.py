"""Units are equal, and one motion leads from each to the next."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Placing, Scope, Tiling
from protein_lab.constraints.repeats import Repeats
from protein_lab.design.request import check_request
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import backbone_from_internal, virtual_cb
from protein_lab.geometry.symmetry import turns_about_z
from protein_lab.protein import Protein

UNIT = 20


def unit() -> np.ndarray:
    """Build a helix with a bend, (residue, 4, 3)."""
    phi, psi = np.radians(np.full(UNIT, -62.0)), np.radians(np.full(UNIT, -42.0))
    phi[9], psi[9] = np.radians([-90.0, 120.0])
    return backbone_from_internal(phi, psi, np.full(UNIT, np.pi)) + np.array([30.0, 0.0, 0.0])


def chain(angle: float, rise: float, copies: int = 4) -> Protein:
    """Place units by the powers of one screw."""
    turns = turns_about_z(np.radians(angle) * np.arange(copies))
    placed = [unit() @ turn.T + [0.0, 0.0, rise * number] for number, turn in enumerate(turns)]
    return Protein.from_backbone(np.concatenate(placed))


def layout(protein: Protein) -> Layout:
    """Lay out nothing."""
    return Layout(protein.num_residues, ())


def points(protein: Protein) -> np.ndarray:
    """N, CA, C and CB."""
    backbone = protein.backbone.astype(np.float64)
    return np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)


def test_a_screw_repeats_and_is_closed_only_as_a_ring() -> None:
    """A quarter turn four times closes; with a rise, or another angle, it does not."""
    for angle, rise, closes in ((90.0, 0.0, True), (90.0, 9.0, False), (60.0, 0.0, False)):
        protein = chain(angle, rise)
        screw = Repeats(copies=4).evaluate(protein, layout(protein))
        ring = Repeats(copies=4, closed=True).evaluate(protein, layout(protein))
        assert screw.verdict == "pass"
        assert screw.value == pytest.approx(0.0, abs=1e-4)
        assert (ring.verdict == "pass") == closes


def test_equal_units_in_no_order_do_not_repeat() -> None:
    """Every pair of units superposes, but no one motion leads from each to the next."""
    protein = chain(50.0, 8.0)
    backbone = protein.backbone.reshape(4, UNIT, 4, 3)[[0, 2, 1, 3]].reshape(-1, 4, 3)
    found = Repeats(copies=4).evaluate(Protein.from_backbone(backbone), layout(protein))
    assert found.verdict == "fail"
    assert "0.00 between units" in found.details
    assert found.value is not None
    assert found.value > 3.0


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("size", [0.3, 6.0])
def test_the_gradient_is_that_of_the_energy(closed: bool, size: float) -> None:
    """By finite differences with the motion found anew, near the target and far from it."""
    protein = chain(80.0, 5.0)
    rng = np.random.default_rng(0)
    atoms = points(protein) + size * rng.normal(size=(4 * UNIT, 4, 3))
    energy = Repeats(copies=4, closed=closed).restraint(layout(protein))
    value, gradient = energy(atoms)
    assert value > 0.1
    for _ in range(3):
        way = rng.normal(size=atoms.shape)
        change = energy(atoms + 1e-4 * way)[0] - energy(atoms - 1e-4 * way)[0]
        assert change / 2e-4 == pytest.approx(float((gradient * way).sum()), rel=1e-4)
    value, slope = energy.on_curve(atoms[:, 1])
    way = rng.normal(size=slope.shape)
    change = (
        energy.on_curve(atoms[:, 1] + 1e-4 * way)[0] - energy.on_curve(atoms[:, 1] - 1e-4 * way)[0]
    )
    assert change / 2e-4 == pytest.approx(float((slope * way).sum()), rel=1e-4)


def test_what_repeats_is_left_alone() -> None:
    """No energy and no force, and a rigid motion changes nothing."""
    protein = chain(40.0, 6.0)
    energy = Repeats(copies=4).restraint(layout(protein))
    value, gradient = energy(points(protein))
    assert value == pytest.approx(0.0, abs=1e-4)
    assert np.abs(gradient).max() < 0.02
    rng = np.random.default_rng(2)
    atoms = points(protein) + rng.normal(size=(4 * UNIT, 4, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert energy(atoms @ turn.T + 7.0)[0] == pytest.approx(energy(atoms)[0], rel=1e-9)


def test_following_the_gradient_makes_units_equal() -> None:
    """Downhill the deviation falls below the limit."""
    protein = chain(80.0, 5.0)
    rng = np.random.default_rng(1)
    atoms = points(protein) + 2.0 * rng.normal(size=(4 * UNIT, 4, 3))
    energy = Repeats(copies=4).restraint(layout(protein))
    for _ in range(60):
        atoms -= 0.5 * energy(atoms)[1]
    assert energy(atoms)[0] < 1.0


def test_lengths_are_multiples() -> None:
    """A range gives any of them; without a length the unit says it."""
    rng = np.random.default_rng(0)
    asked = Repeats(copies=3)
    assert isinstance(asked, Placing)
    drawn = {asked.place(70, 80, rng).length for _ in range(60)}
    assert drawn == {72, 75, 78}
    assert Repeats(copies=3, unit=22).place(0, 0, rng).length == 66
    with pytest.raises(ProteinLabError, match="No length from 70 to 71"):
        asked.place(70, 71, rng)


@pytest.mark.parametrize(
    ("asked", "scope", "path", "said"),
    [
        (Repeats(copies=3), Scope(100, 100), "$.x.copies", "99 or 102"),
        (Repeats(copies=5), Scope(30, 30), "$.x.copies", "the length 50"),
        (Repeats(copies=3), Scope(100, 101), "$.x.copies", "99 or 102"),
        (Repeats(copies=3, unit=30), Scope(100, 100), "$.x.unit", "the length 90"),
        (Repeats(copies=3), Scope(0, 0), "$.x.unit", '"unit": 30'),
        (Repeats(copies=2), Scope(20, 20, "H" * 5 + "-" * 5 + "E" * 5 + "-" * 5), "$.x", "first"),
        (Repeats(copies=2), Scope(20, 20, "-" * 10 + "H" * 5 + "-" * 5), "$.x", "first unit"),
    ],
)
def test_faults_name_the_nearest_lengths(
    asked: Repeats, scope: Scope, path: str, said: str
) -> None:
    """What does not fit the chain is found before anything is drawn."""
    (fault,) = asked.faults_in("$.x", scope)
    assert fault.path == path
    assert said in f"{fault.message} {fault.remedy}"


def test_a_request_says_it() -> None:
    """The fault comes with its path in the request."""
    asked = {"kind": "repeats", "copies": 3}
    faults = check_request({"length": 100, "constraints": [asked]})
    assert [fault.path for fault in faults if fault.severity == "error"] == [
        "$.constraints[0].copies"
    ]
    assert not [
        fault
        for fault in check_request({"length": 99, "constraints": [asked]})
        if fault.severity == "error"
    ]


def test_blueprints_are_tiled_with_their_pairs() -> None:
    """Units are like the first one; what is left of a cut element ends in loop."""
    asked = Repeats(copies=2)
    assert isinstance(asked, Tiling)
    states = "LHHHHHHLLEEEEELLHHHH" + "HHHHLLEEEEELLLEEEELL"
    tiled, pairs = asked.tile(states, [(0, 1, "crossing"), (0, 2, "parallel"), (3, 4, "parallel")])
    own = "LHHHHHHLLEEEEELLLLLL"
    assert tiled == own * 2
    assert pairs == [(0, 1, "crossing"), (2, 3, "crossing")]
    long_end = "LEEEEELLHHHHHHHHHHHH" + "HHHHHHHHHHHHHHHHHHLL"
    assert asked.tile(long_end, [])[0] == ("LEEEEELLHHHHHHHHHHLL") * 2


def test_what_repeats_already_stays() -> None:
    """Asked states of all units are not changed, and pairs across units go on."""
    asked = Repeats(copies=3)
    states = "LHHHHHHHHL" * 3
    tiled, pairs = asked.tile(states, [(0, 1, "antiparallel")])
    assert tiled == states
    assert pairs == [(0, 1, "antiparallel"), (1, 2, "antiparallel")]


def test_equal_positions() -> None:
    """Residues of units are numbered alike."""
    found = Repeats(copies=3).equal_positions(Layout(30, ()))
    assert (found.reshape(3, 10) == np.arange(10)).all()
