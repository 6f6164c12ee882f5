"""Hotspots: designs are docked without a clash, and what cannot be touched is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from protein_lab.constraints.base import Layout
from protein_lab.constraints.burial import count_neighbors
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.hotspots import Hotspots
from protein_lab.constraints.pose import PRECISE
from protein_lab.constraints.structure_source import StructureSource, structure_text
from protein_lab.constraints.target_docking import CLASH, Dock
from protein_lab.design.request import check_request
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.testing.results import ideal_helix_design
from protein_lab.training.corpus import CorpusChain

HELIX = Protein.from_backbone(ideal_helix_design(0, 30).backbone)


@pytest.fixture(scope="module")
def target(real_chains: list[CorpusChain]) -> Protein:
    """Give one real chain."""
    chain = real_chains[6]
    return Protein.from_backbone(chain.backbone, chain.sequence)


def exposure(protein: Protein) -> np.ndarray:
    """Count the neighbors of each residue."""
    atoms = atoms_of(protein)
    return count_neighbors(atoms[:, 1], atoms[:, 3], np.arange(len(atoms)))[0]


def asked(target: Protein, hotspots: list[int], avoid: tuple[int, ...] = ()) -> Hotspots:
    """Ask for residues of a target (0-based)."""
    return Hotspots(
        target=StructureSource(text=structure_text(target)),
        hotspots=tuple(f"A{place + 1}" for place in hotspots),
        avoid=tuple(f"A{place + 1}" for place in avoid),
    )


def test_gradients_of_docking_are_exact() -> None:
    """On all atoms of the design, near and far, coarse and fine."""
    rng = np.random.default_rng(0)
    target = rng.normal(0, 5, (12, 4, 3))
    dock = Dock(target, np.array([1, 4]), np.array([8]), 8.0)
    design = rng.normal(0, 5, (40, 3)) + np.array([4.0, 0.0, 0.0])
    for coarse in (True, False):
        assert dock.energy(design, coarse)[0] > 1.0
        assert worst_gradient_error(lambda p, c=coarse: dock.energy(p, c), design) < 1e-4


def test_no_pair_of_atoms_that_is_too_near_is_overlooked(target: Protein) -> None:
    """The energy is the sum over all pairs of atoms, in touching, crossing and distant poses."""
    atoms, design = atoms_of(target), atoms_of(HELIX)
    middle, none = atoms.mean(axis=(0, 1)), np.zeros(0, dtype=np.int64)
    dock = Dock(atoms, none, none, 8.0)
    rng = np.random.default_rng(5)
    seen = []
    for away in (0.0, 8.0, 14.0, 20.0, 60.0):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        placed = (design - design.mean(axis=(0, 1))) @ turn + middle + [away, 0.0, 0.0]
        for coarse, low in ((True, 4.5), (False, CLASH + 0.5)):
            kept = slice(3, None) if coarse else slice(None)
            between = cdist(placed[:, kept].reshape(-1, 3), atoms[:, kept].reshape(-1, 3))
            excess = np.maximum(low - between, 0.0) / 3.0
            expected = (18.0 * (np.sqrt(1.0 + excess**2) - 1.0)).sum()
            found, _ = dock.energy(placed.reshape(-1, 3), coarse)
            assert found == pytest.approx(expected, rel=1e-12)
            seen.append(found)
    assert seen[1] > 10.0
    assert seen[-1] == 0.0


def test_a_helix_lies_against_an_exposed_residue(target: Protein) -> None:
    """The pose touches, does not clash, and does not depend on where the design lies."""
    bare = int(exposure(target).argmin())
    constraint = asked(target, [bare])
    layout = Layout(HELIX.num_residues, ())
    found = constraint.evaluate(HELIX, layout)
    assert found.verdict == "pass"
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = Protein.from_backbone(HELIX.backbone @ turn.T - 40.0)
    assert constraint.evaluate(moved, layout).details == found.details


def test_both_ends_of_a_target_cannot_be_touched_at_once(target: Protein) -> None:
    """A short helix does not reach across; the part that it touches is told, without a clash."""
    apart = np.linalg.norm(target.ca[:, None] - target.ca[None], axis=-1)
    one, other = np.unravel_index(int(apart.argmax()), apart.shape)
    short = Protein.from_backbone(ideal_helix_design(0, 12).backbone)
    constraint = asked(target, [int(one), int(other)])
    found = constraint.evaluate(short, Layout(12, ()))
    assert apart[one, other] > 34.0
    assert found.verdict == "fail"
    assert found.value is not None
    assert found.value <= 0.5
    assert any("angstrom apart" in fault.message for fault in constraint.faults("$"))


def test_avoided_residues_around_a_hotspot_fail(target: Protein) -> None:
    """What touches a residue inside cannot keep away from those that cover it."""
    deep = int(exposure(target).argmax())
    beta = atoms_of(target)[:, 3]
    around = np.argsort(np.linalg.norm(beta - beta[deep], axis=1))[1:12]
    constraint = asked(target, [deep], avoid=tuple(around.tolist()))
    found = constraint.evaluate(HELIX, Layout(HELIX.num_residues, ()))
    assert found.verdict == "fail"
    assert found.margin is not None
    assert found.margin < 0.0
    assert CLASH == 3.0


def test_a_buried_hotspot_is_warned_of(target: Protein) -> None:
    """The most buried residue is no place to bind."""
    (fault,) = asked(target, [int(exposure(target).argmax())]).faults("$")
    assert fault.severity == "warning"
    assert "inside the target" in fault.message


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"hotspots": []}, ".hotspots", "at least one"),
    ({"hotspots": ["30"]}, ".hotspots[0]", "B30"),
    ({"hotspots": ["A3", "B3"]}, ".hotspots[1]", "no chain B"),
    ({"hotspots": ["A3"], "avoid": ["A3"]}, ".avoid[0]", "touched and avoided"),
    ({"hotspots": ["A3"], "avoid": ["A999"]}, ".avoid[0]", "no residue 999"),
    ({"hotspots": ["A3"], "distance": 1.0}, ".distance", "5 to 15"),
    ({"hotspots": ["A3"], "share": 2}, ".share", "0 to 1"),
    ({"hotspots": ["A3"], "target": {"text": "no structure"}}, ".target.text", ""),
    ({"hotspots": ["A3"], "target": {}}, ".target", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(data: dict[str, Any], path: str, message: str) -> None:
    """Every fault names the place and what was expected."""
    constraint = {"kind": "hotspots", "target": {"text": structure_text(HELIX)}, **data}
    faults = check_request({"length": 40, "constraints": [constraint]})
    assert any(
        item.path == f"$.constraints[0]{path}" and message in item.message for item in faults
    ), faults


def test_the_pull_towards_a_target_is_exact(target: Protein) -> None:
    """Its gradient is that of the energy in the best pose, and it goes with the design."""
    apart = np.linalg.norm(target.ca[:, None] - target.ca[None], axis=-1)
    ends = np.unravel_index(int(apart.argmax()), apart.shape)
    constraint = asked(target, [int(place) for place in ends])
    restraint = constraint.restraint(Layout(HELIX.num_residues, ()))
    restraint.precision, restraint.iterations = PRECISE, 200
    atoms = atoms_of(HELIX) * 1.02
    value, gradient = restraint(atoms)
    assert value > 0.1
    assert np.abs(gradient.sum(axis=(0, 1))).max() < 1e-3, "the target comes along"
    assert worst_gradient_error(restraint, atoms) < 1e-2
    moved, _ = restraint(atoms[..., [1, 2, 0]] + 25.0)
    assert moved == pytest.approx(value, rel=1e-3)


def test_the_pose_stands_still_under_small_moves(target: Protein) -> None:
    """There the energy and its gradient are those at that pose; a large move takes it along."""
    bare = int(exposure(target).argmin())
    restraint = asked(target, [bare]).restraint(Layout(HELIX.num_residues, ()))
    atoms = atoms_of(HELIX)
    first = restraint.pose(atoms)
    assert np.array_equal(restraint.pose(atoms + 0.1), first)
    assert not np.array_equal(restraint.pose(atoms + 5.0), first)
    torn = atoms + np.random.default_rng(2).normal(0, 0.05, atoms.shape)
    assert worst_gradient_error(restraint, torn) < 1e-4


def test_a_constraint_on_its_way_is_judged_at_the_pose_that_pulls(
    target: Protein, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pose is searched for again only where the chain has become another one."""
    searches = []
    dock = Dock.dock
    monkeypatch.setattr(Dock, "dock", lambda *args: (searches.append(1), dock(*args))[1])
    apart = np.linalg.norm(target.ca[:, None] - target.ca[None], axis=-1)
    one, other = np.unravel_index(int(apart.argmax()), apart.shape)
    bare = int(exposure(target).argmin())
    layout = Layout(HELIX.num_residues, ())
    for hotspots, met, following in (([bare], True, 0), ([int(one), int(other)], False, 1)):
        searches.clear()
        restraint = asked(target, hotspots).restraint(layout)
        restraint(atoms_of(HELIX))
        assert len(searches) == 1
        for _ in range(3):
            assert restraint.seems_met(atoms_of(HELIX)) == met
        assert len(searches) == 1 + following
        restraint.seems_met(atoms_of(HELIX) * 1.2)
        assert len(searches) == 1 + 2 * following
