"""Metal sites: real zinc fingers pass, chance residues fail, and the energy leads to a site."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Scope
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.metal_center import IDEAL_ANGLES, find_center
from protein_lab.constraints.metal_rotamers import Rotamers, rotamers
from protein_lab.constraints.metal_site import (
    CA_WINDOW,
    CB_WINDOW,
    MetalLigand,
    MetalSite,
)
from protein_lab.constraints.pose import PRECISE
from protein_lab.design.request import check_request
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.testing.results import ideal_helix_design
from protein_lab.training.corpus import Corpus

RIBBON = re.compile("C..C.{8,24}C..C")
FINGERS = {"3UK3_C": (2, 5, 18, 22), "2HAN_D": (6, 9, 23, 26), "1LKO_A": (156, 159, 172, 175)}


def real(name: str) -> Protein:
    """Take one chain of the corpus."""
    corpus = Corpus.open()
    chain = corpus.chain(corpus.ids.index(name))
    return Protein.from_backbone(chain.backbone, chain.sequence)


def site_of(protein: Protein, places: tuple[int, ...]) -> MetalSite:
    """Ask for the residues that are there (0-based)."""
    return MetalSite(
        ligands=tuple(
            MetalLigand(position=place + 1, residue=protein.sequence[place])  # pyright: ignore[reportArgumentType]
            for place in places
        )
    )


@pytest.mark.parametrize("name", FINGERS)
def test_real_sites_pass(name: str) -> None:
    """Zinc finger, nuclear receptor and rubredoxin-like ribbon hold an ion."""
    protein = real(name)
    found = site_of(protein, FINGERS[name]).evaluate(protein, Layout(protein.num_residues, ()))
    assert found.verdict == "pass", found
    assert found.value is not None
    assert found.value < 0.3


def test_chance_residues_fail() -> None:
    """Four residues that lie near each other by chance hardly ever hold an ion."""
    rng = np.random.default_rng(0)
    verdicts = []
    for name in FINGERS:
        protein = Protein.from_backbone(real(name).backbone)
        beta = atoms_of(protein)[:, 3]
        for _ in range(4):
            first = int(rng.integers(len(beta)))
            near = np.argsort(np.linalg.norm(beta - beta[first], axis=1))[1:11]
            places = (first, *rng.choice(near, 3, replace=False).tolist())
            ligands = tuple(MetalLigand(position=p + 1, residue="C") for p in places)
            found = MetalSite(ligands=ligands).evaluate(protein, Layout(len(beta), ()))
            verdicts.append(found.verdict)
    assert verdicts.count("pass") <= 2


def test_other_amino_acids_fail() -> None:
    """The residues must be those that were asked, where there is a sequence."""
    protein = real("3UK3_C")
    letters = protein.sequence.replace("H", "A")
    found = site_of(protein, FINGERS["3UK3_C"]).evaluate(
        Protein.from_backbone(protein.backbone, letters), Layout(protein.num_residues, ())
    )
    assert found.verdict == "fail"
    assert "residue 19 is A" in found.details


@pytest.mark.parametrize("letter", "CHDE")
def test_windows_hold_all_rotamers(letter: str) -> None:
    """Side chains have their bonds, and the windows of the energy are those of the rotamers."""
    residue = atoms_of(Protein.from_backbone(ideal_helix_design(0, 12).backbone))[5]
    cloud = rotamers(letter, residue)
    assert cloud.metal.shape == cloud.donor.shape
    bond = {"C": 2.31, "H": 2.03, "D": 1.99, "E": 1.99}[letter]
    np.testing.assert_allclose(np.linalg.norm(cloud.metal - cloud.donor, axis=1), bond, atol=1e-6)
    for place, window in ((1, CA_WINDOW[letter]), (3, CB_WINDOW[letter])):
        apart = np.linalg.norm(cloud.metal - residue[place], axis=1)
        clear = apart > 2.8
        inside = (apart[clear] > window[0] - 0.2) & (apart[clear] < window[1] + 0.05)
        assert inside.mean() > 0.85
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = rotamers(letter, residue @ turn.T + 7.0)
    np.testing.assert_allclose(moved.metal, cloud.metal @ turn.T + 7.0, atol=1e-6)


def test_the_center_is_where_rotamers_meet() -> None:
    """Four clouds that share one point meet there, with the angles of a tetrahedron."""
    rng = np.random.default_rng(1)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3.0)
    clouds = []
    for corner in corners:
        metal = rng.normal(0, 6, (300, 3))
        metal[17] = 0.0
        clouds.append(Rotamers(metal + 5.0, metal + 5.0 + 2.3 * corner))
    found = find_center(clouds, IDEAL_ANGLES["tetrahedral"])
    assert found.rms < 1e-9
    np.testing.assert_allclose(found.place, 5.0, atol=1e-9)
    assert found.angle < 0.1


def test_gradients_are_exact_and_lead_to_a_site() -> None:
    """The ion follows the chain; going downhill brings the residues about it."""
    ligands = tuple(
        MetalLigand(position=place, residue="H" if place > 5 else "C") for place in (1, 4, 7, 9)
    )
    restraint = MetalSite(ligands=ligands).restraint(Layout(9, ()))
    rng = np.random.default_rng(4)
    chain = rng.normal(0, 7, (9, 1, 3)) + rng.normal(0, 1, (9, 4, 3))
    before = restraint(chain)[0]
    assert before > 10.0
    restraint.precision = PRECISE
    assert worst_gradient_error(restraint, chain) < 1e-3
    assert worst_gradient_error(restraint.on_curve, rng.normal(0, 20, (9, 3))) < 1e-5
    for _ in range(400):
        chain = chain - 0.05 * restraint(chain)[1]
    assert restraint(chain)[0] < 0.02 * before


FOUR = [{"position": place, "residue": "C"} for place in (3, 6, 20, 23)]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"ligands": FOUR[:1]}, ".ligands", "two to 4"),
    ({"ligands": FOUR, "geometry": "trigonal"}, ".ligands", "two to 3"),
    ({"ligands": [*FOUR[:3], FOUR[0]]}, ".ligands[3].position", "already"),
    ({"ligands": [*FOUR[:3], {"position": 41, "residue": "H"}]},
     ".ligands[3].position", "1 to 40"),
    ({"ligands": [*FOUR[:3], {"position": 9, "residue": "K"}]}, ".ligands[3].residue", "'H'"),
    ({"ligands": FOUR, "metal": "gold"}, ".metal", "'zinc'"),
    ({"ligands": FOUR, "geometry": "linear"}, ".geometry", "'octahedral'"),
    ({}, ".ligands", "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(data: dict[str, Any], path: str, message: str) -> None:
    """Every fault names the place and what was expected."""
    request = {"length": 40, "constraints": [{"kind": "metal_site", **data}]}
    faults = check_request(request)
    assert any(
        item.path == f"$.constraints[0]{path}" and message in item.message for item in faults
    ), faults


def test_residues_at_both_ends_of_a_helix_are_told() -> None:
    """An ion cannot span a long straight element."""
    ligands = tuple(MetalLigand(position=place, residue="H") for place in (2, 6, 20))
    faults = MetalSite(ligands=ligands).faults_in("$", Scope(30, 30, "L" + "H" * 22 + "L" * 7))
    assert [fault.path for fault in faults] == ["$.ligands[2].position"] * 2
    assert "one helix" in faults[0].message
