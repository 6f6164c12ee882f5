"""Copies around an axis are exact, touch, and do not overlap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Scope
from protein_lab.constraints.docking import Docking, improve
from protein_lab.constraints.symmetry import (
    Symmetry,
    SymmetryRestraint,
    assemble_copies,
    copy_rmsd,
    symmetry_rmsd,
)
from protein_lab.design.request import DesignRequest, check_request
from protein_lab.errors import GeometryError
from protein_lab.geometry import virtual_cb
from protein_lab.geometry.symmetry import point_group, spread_rotations, turn_by
from protein_lab.metrics import num_clashes
from protein_lab.protein import Protein
from protein_lab.store.output import OutputFolder
from protein_lab.store.summary import summarize
from protein_lab.testing.results import example_result, ideal_helix_design
from protein_lab.training.corpus import Corpus


@pytest.fixture(scope="module")
def chain() -> Protein:
    """Take a real chain of moderate length."""
    corpus = Corpus.open()
    number = next(
        place for place in range(len(corpus.ids)) if 60 <= len(corpus.chain(place).backbone) <= 70
    )
    found = corpus.chain(number)
    return Protein.from_backbone(found.backbone, found.sequence)


def own_layout(protein: Protein) -> Layout:
    """Lay out nothing."""
    return Layout(protein.num_residues, ())


@pytest.mark.parametrize("name", ["C2", "C5", "C12", "D2", "D3", "D6"])
def test_groups_are_groups(name: str) -> None:
    """Products stay within, all are proper rotations, and the order is right."""
    group = point_group(name)
    assert len(group) == int(name[1:]) * (1 if name[0] == "C" else 2)
    np.testing.assert_allclose(np.linalg.det(group), 1.0)
    products = (group[:, None] @ group).reshape(-1, 9)
    nearest = np.abs(products[:, None] - group.reshape(-1, 9)).max(-1).min(1)
    assert nearest.max() < 1e-12
    np.testing.assert_array_equal(group[0], np.eye(3))


def test_there_is_no_other_group() -> None:
    """A name that is none is refused."""
    with pytest.raises(GeometryError, match="such as C3"):
        point_group("T")


def test_rotations_are_spread() -> None:
    """Every rotation has one of the spread ones near it, and all are proper."""
    spread = spread_rotations(400)
    np.testing.assert_allclose(
        spread @ np.swapaxes(spread, -1, -2), np.tile(np.eye(3), (400, 1, 1)), atol=1e-12
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        turn = turn_by(rng.normal(size=3))
        traces = np.einsum("kij,ij->k", spread, turn)
        assert np.degrees(np.arccos((traces.max() - 1.0) / 2.0)) < 45.0


@pytest.mark.parametrize("group", ["C2", "C3", "C4", "C5", "C6", "D2"])
def test_copies_are_exact_and_touch(chain: Protein, group: str, tmp_path: Path) -> None:
    """The figures are those of the file: RMSD at most 0.01 angstrom, contacts, no overlap."""
    asked = Symmetry(group=group)  # type: ignore[arg-type]
    found = asked.evaluate(chain, own_layout(chain))
    assert found.verdict == "pass", found.details
    assembly = assemble_copies(chain, asked)
    assembly.save(tmp_path / "assembly.cif")
    read = Protein.from_file(tmp_path / "assembly.cif")
    assert len(read.chain_ids) == len(point_group(group))
    assert copy_rmsd(read) < 0.01
    assert symmetry_rmsd(read, group) < 0.01
    assert read.sequence == chain.sequence * len(read.chain_ids)
    first, second = read.select_chain("A"), read.select_chain("B")
    assert num_clashes(np.concatenate([first.backbone, second.backbone])) <= 2 * num_clashes(
        chain.backbone
    )


def test_a_copy_that_is_moved_is_noticed(chain: Protein) -> None:
    """The two figures see what each can see: a bent copy, and one that is only shifted."""
    asked = Symmetry(group="C3")
    assembly = assemble_copies(chain, asked)
    positions = assembly.atom_positions.copy()
    positions[-chain.num_residues :] += np.where(
        assembly.atom_mask[-chain.num_residues :, :, None], 0.5, 0.0
    ).astype(np.float32)
    shifted = replace(assembly, atom_positions=positions)
    assert copy_rmsd(shifted) < 0.01
    assert symmetry_rmsd(shifted, "C3") > 0.8
    positions[-5:, 1] += 3.0
    assert copy_rmsd(replace(assembly, atom_positions=positions)) > 0.1


def test_its_place_means_nothing(chain: Protein) -> None:
    """A chain that is turned and shifted docks in the same way."""
    asked = Symmetry(group="C3")
    turned = chain.backbone @ turn_by(np.array([0.3, -1.2, 0.8])).T + 20.0
    moved = Protein.from_backbone(turned, chain.sequence)
    found = asked.evaluate(moved, own_layout(moved))
    assert found == asked.evaluate(chain, own_layout(chain))


def test_too_many_contacts_fail_with_the_number_that_is_missing(chain: Protein) -> None:
    """The margin counts contacts."""
    found = Symmetry(group="C2", contacts=200).evaluate(chain, own_layout(chain))
    assert found.verdict == "fail"
    assert found.value is not None
    assert found.margin == found.value - 200.0


def points_of(chain: Protein) -> np.ndarray:
    """N, CA, C and CB."""
    backbone = chain.backbone.astype(np.float64)
    return np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)


@pytest.mark.parametrize("group", ["C2", "C4", "D2"])
def test_the_gradient_is_that_of_the_best_energy(chain: Protein, group: str) -> None:
    """By finite differences of the energy with the pose found anew: the envelope theorem."""
    asked = Symmetry(group=group, contacts=150)  # type: ignore[arg-type]
    restraint = SymmetryRestraint(asked)
    atoms = points_of(chain)
    energy, _ = restraint(atoms)
    energy, gradient = restraint(atoms)
    assert energy > 0.1
    rng = np.random.default_rng(3)
    for _ in range(3):
        way = rng.normal(size=atoms.shape)
        step = 1e-4
        change = (restraint(atoms + step * way)[0] - restraint(atoms - step * way)[0]) / (2 * step)
        assert change == pytest.approx(float((gradient * way).sum()), rel=0.03, abs=0.02)


def test_a_rigid_motion_costs_nothing(chain: Protein) -> None:
    """The gradient has no net force and no torque, for the pose takes them up."""
    restraint = SymmetryRestraint(Symmetry(group="C3", contacts=60))
    atoms = points_of(chain)
    restraint(atoms)
    _, gradient = restraint(atoms)
    arms = atoms - atoms.mean((0, 1))
    scale = float(np.abs(gradient).sum())
    assert scale > 0.1
    assert np.abs(gradient.sum((0, 1))).max() < 0.02 * scale
    assert np.abs(np.cross(arms, gradient).sum((0, 1))).max() < 0.2 * scale


def test_the_curve_is_pulled_too(chain: Protein) -> None:
    """A curve has an energy with the same property."""
    restraint = SymmetryRestraint(Symmetry(group="C3", contacts=100))
    curve = chain.ca.astype(np.float64)
    restraint.on_curve(curve)
    energy, gradient = restraint.on_curve(curve)
    assert energy > 0.0
    lower, _ = restraint.on_curve(curve - 0.02 * gradient / np.abs(gradient).max())
    assert lower < energy


def test_energies_have_exact_gradients_in_a_fixed_pose() -> None:
    """The parts by themselves, where points overlap and where they are far away."""
    rng = np.random.default_rng(0)
    docking = Docking(
        point_group("D3"), [(1,), (3, 4, 5)], 4.0, 6.0, np.array([[5.0, 4.5], [4.5, 4.0]])
    )
    for shift in (2.0, 30.0):
        points = 4.0 * rng.normal(size=(2, 6, 3)) + np.array([shift, 0.5 * shift, shift])
        _, gradient = docking.energy(points)
        way = rng.normal(size=points.shape)
        step = 1e-5
        change = docking.energy(points + step * way)[0] - docking.energy(points - step * way)[0]
        assert change / (2 * step) == pytest.approx(float((gradient * way).sum()), rel=1e-5)


def test_following_the_gradient_improves_a_pose() -> None:
    """A chain that starts far from the axis ends beside its copy."""
    rng = np.random.default_rng(1)
    docking = Docking(point_group("C2"), [(1,)], 5.0, 6.0, np.array([[4.0]]))
    points = 5.0 * rng.normal(size=(1, 20, 3))
    before = docking.energy(points + np.array([40.0, 0.0, 0.0]))[0]
    (rotation, translation), energy = improve(
        docking, points, (np.eye(3), np.array([40.0, 0.0, 0.0]))
    )
    assert energy < 0.1 < before
    assert docking.energy(points @ rotation.T + translation)[0] == pytest.approx(energy, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("group", "C13", "'C12'"), ("group", "D7", "'D6'"), ("contacts", 0, "from 1 to 200")],
)
def test_bad_values_are_named(field: str, value: object, message: str) -> None:
    """What is possible is listed."""
    asked = {"kind": "symmetry", "group": "C3", field: value}
    (fault,) = check_request({"length": 60, "constraints": [asked]})
    assert fault.path == f"$.constraints[0].{field}"
    assert message in fault.message


def test_many_contacts_of_a_short_chain_are_doubted() -> None:
    """It may be, but hardly."""
    (fault,) = Symmetry(group="C2", contacts=90).faults_in("$.x", Scope(60, 60))
    assert (fault.path, fault.severity) == ("$.x.contacts", "warning")


def test_the_assembly_lies_beside_the_design(tmp_path: Path) -> None:
    """An output folder holds it, the summary names it, and the digests cover it."""
    result = example_result([ideal_helix_design(0, 40)])
    request = DesignRequest(length=40, constraints=(Symmetry(group="C2"),), num_designs=1)
    result = replace(result, request=request)
    with OutputFolder(tmp_path / "out", request, result.request_id) as output:
        output.publish(result)
    (entry,) = summarize(result).designs
    assert entry.assembly_file == "designs/001_assembly.cif"
    read = Protein.from_file(tmp_path / "out" / entry.assembly_file)
    assert read.chain_ids == ("A", "B")
    assert read.num_residues == 80
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored["designs"][0]["assembly_file"] == entry.assembly_file
    manifest = msgspec.json.decode((tmp_path / "out" / "provenance.json").read_bytes())
    assert entry.assembly_file in {item["path"] for item in manifest["objects"]}
