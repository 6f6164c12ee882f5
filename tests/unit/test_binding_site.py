"""Binding sites: ligands are read with care, poses are found, pockets are measured."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.constraints.binding_energy import CLASH
from protein_lab.constraints.binding_site import BindingSite, PocketResidue
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.ligand import Ligand, LigandAtom, points_of
from protein_lab.constraints.pocket import burial, pocket_volume
from protein_lab.constraints.pose import PRECISE, fit_pose, place_points, turned_starts
from protein_lab.constraints.structure_source import StructureSource, structure_text
from protein_lab.design.request import check_request
from protein_lab.errors import MissingExtraError
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.training.corpus import CorpusChain

# Phenol, flat hexagon with bonds of 1.39 and 1.36 angstrom, and one hydrogen.
RING = [(1.39 * np.cos(a), 1.39 * np.sin(a), 0.0) for a in np.radians(np.arange(0, 360, 60))]
SDF = (
    "phenol\n  by hand\n\n  8  7  0  0  0  0  0  0  0  0999 V2000\n"
    + "".join(f"{x:10.4f}{y:10.4f}{z:10.4f} C   0  0\n" for x, y, z in RING)
    + f"{2.75:10.4f}{0:10.4f}{0:10.4f} O   0  0\n{3.1:10.4f}{0.9:10.4f}{0:10.4f} H   0  0\n"
)
PHENOL = Ligand(sdf=SDF)


def site(*positions: int, **more: Any) -> BindingSite:
    """Ask for phenol beside some residues."""
    return BindingSite(
        ligand=PHENOL, residues=tuple(PocketResidue(position=place) for place in positions), **more
    )


def test_ligands_are_read_alike() -> None:
    """V2000, V3000 and a list of atoms give the same heavy atoms."""
    known = points_of(PHENOL)
    assert known.shape == (7, 3)
    listed = Ligand(atoms=tuple(LigandAtom(element="C", x=x, y=y, z=z) for x, y, z in known))
    rows = "".join(f"M  V30 {n} C {x} {y} {z} 0\n" for n, (x, y, z) in enumerate(known, start=1))
    text = f"a\nb\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN ATOM\n{rows}"
    for other in (listed, Ligand(sdf=text + "M  V30 END ATOM\n")):
        np.testing.assert_allclose(points_of(other), known, atol=1e-4)


def test_smiles_become_one_conformer() -> None:
    """RDKit makes the ring of phenol flat, and the same one every time."""
    pytest.importorskip("rdkit")
    points = points_of(Ligand(smiles="Oc1ccccc1"))
    assert points.shape == (7, 3)
    centered = points - points.mean(axis=0)
    assert np.linalg.svd(centered)[1][2] < 0.1
    points_of.cache_clear()
    assert np.array_equal(points, points_of(Ligand(smiles="Oc1ccccc1")))


def test_without_rdkit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is told with the way to get it."""
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(MissingExtraError, match=r"protein-lab\[ligand\]"):
        points_of(Ligand(smiles="CCCCN"))


def test_a_pose_is_found_from_afar() -> None:
    """The gradient on a pose is exact, and points find back to where they were."""
    points = points_of(PHENOL) - points_of(PHENOL).mean(axis=0)
    goal = place_points(points, np.array([0.5, -0.1, 0.7, 0.2, 3.0, -5.0, 1.0]))

    def energy(placed: np.ndarray) -> tuple[float, np.ndarray]:
        return float(((placed - goal) ** 2).sum()), 2.0 * (placed - goal)

    value, pose = fit_pose(energy, points, turned_starts(np.zeros((1, 3)), 4, np.eye(3)))
    assert value < 1e-8
    np.testing.assert_allclose(place_points(points, pose), goal, atol=1e-3)


@pytest.mark.parametrize("more", [{}, {"burial": 0.9}, {"template": True}])
def test_gradients_are_exact(more: dict[str, Any], real_chains: list[CorpusChain]) -> None:
    """The pose follows the chain, and its own change adds nothing to the gradient."""
    asked = site(2, 5, 9, 14, **more)
    rng = np.random.default_rng(3)
    if more.get("template"):
        protein = Protein.from_backbone(real_chains[0].backbone, real_chains[0].sequence)
        asked = BindingSite(
            ligand=PHENOL,
            template=StructureSource(text=structure_text(protein)),
            residues=tuple(
                PocketResidue(position=place, source=f"A{place + 20}") for place in (2, 5, 9, 14)
            ),
        )
    chain = rng.normal(0, 9, (20, 1, 3)) + rng.normal(0, 1.5, (20, 4, 3))
    restraint = asked.restraint(Layout(20, ()))
    assert restraint(chain)[0] > 1.0
    restraint.precision = PRECISE
    assert worst_gradient_error(restraint, chain) < 1e-3
    assert worst_gradient_error(restraint.on_curve, rng.normal(0, 30, (20, 3))) < 1e-5
    before = restraint(chain)[0]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert restraint(chain @ turn.T + 30.0)[0] == pytest.approx(before, rel=1e-6)


def buried_and_exposed(chain: CorpusChain) -> tuple[list[int], list[int]]:
    """Five residues (from 1) about the deepest place of a chain, and five about the barest."""
    atoms = atoms_of(Protein.from_backbone(chain.backbone))
    beta = atoms[:, 3]
    apart = np.linalg.norm(beta[:, None] - beta[None], axis=-1)
    count = (apart < 10.0).sum(axis=1)
    chosen = [int(count.argmax()), int(count.argmin())]
    near = [
        np.argsort(np.linalg.norm(beta - (3 * beta[k] - 2 * atoms[k, 1]), axis=1)) for k in chosen
    ]
    return [(row[:5] + 1).tolist() for row in near]  # pyright: ignore[reportReturnType]


def test_pockets_of_real_chains(real_chains: list[CorpusChain]) -> None:
    """A ligand in the core is buried in a pocket, one at a bare place is not."""
    deep, bare = [], []
    for chain in real_chains[4:9]:
        protein = Protein.from_backbone(chain.backbone, chain.sequence)
        layout = Layout(len(chain.sequence), ())
        atoms = np.concatenate([atoms_of(protein).reshape(-1, 3), protein.backbone[:, 3]])
        for places, found in zip(buried_and_exposed(chain), (deep, bare), strict=True):
            asked = site(*places)
            ligand = asked.pose(protein)
            found.append((burial(ligand, atoms), pocket_volume(ligand, atoms)))
            measured = asked.evaluate(protein, layout)
            nearest = np.linalg.norm(atoms_of(protein).reshape(-1, 1, 3) - ligand, axis=-1).min()
            if measured.verdict == "pass":
                assert nearest >= CLASH
    assert np.mean(deep, axis=0)[0] > 0.65
    assert np.mean(bare, axis=0)[0] < 0.6
    assert np.mean(deep, axis=0)[1] > 2.0 * np.mean(bare, axis=0)[1]


def test_what_is_not_there_fails(real_chains: list[CorpusChain]) -> None:
    """Residues far apart, burial in the open and another character are not met."""
    chain = real_chains[5]
    protein = Protein.from_backbone(chain.backbone, "D" * len(chain.sequence))
    layout = Layout(len(chain.sequence), ())
    beta = atoms_of(protein)[:, 3]
    apart = np.linalg.norm(beta[:, None] - beta[None], axis=-1)
    far = np.unravel_index(int(apart.argmax()), apart.shape)
    missed = site(int(far[0]) + 1, int(far[1]) + 1).evaluate(protein, layout)
    assert missed.verdict == "fail"
    assert missed.value is not None
    assert missed.value > 1.0
    deep, bare = buried_and_exposed(chain)
    assert site(*bare, burial=0.95).evaluate(protein, layout).verdict == "fail"
    assert site(*bare, volume=900.0).evaluate(protein, layout).verdict == "fail"
    greasy = site(*deep, character="hydrophobic")
    assert "0% hydrophobic" in greasy.evaluate(protein, layout).details
    assert greasy.evaluate(protein, layout).verdict == "fail"
    bias = greasy.residue_bias(layout)
    assert np.count_nonzero(bias) == 5 * 8


def test_burial_is_a_solid_angle() -> None:
    """Nothing around gives 0, a shell all around gives 1, half a shell about one half."""
    directions = np.random.default_rng(0).normal(size=(3000, 3))
    shell = 6.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    point = np.zeros((1, 3))
    assert burial(point, shell) == 1.0
    assert burial(point, shell + 100.0) == 0.0
    assert 0.5 < burial(point, shell[shell[:, 2] > 0]) < 0.8


TWO = [{"position": 3}, {"position": 30}]
LIGAND = {"sdf": SDF}
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"residues": TWO}, ".ligand", "missing"),
    ({"residues": TWO, "ligand": {}}, ".ligand", "none"),
    ({"residues": TWO, "ligand": {"sdf": SDF, "smiles": "C"}}, ".ligand", "'sdf' and 'smiles'"),
    ({"residues": TWO, "ligand": {"sdf": "phenol"}}, ".ligand.sdf", "SDF"),
    ({"residues": TWO, "ligand": {"sdf": SDF[:200]}}, ".ligand.sdf", "announced"),
    ({"residues": TWO, "ligand": {"atoms": []}}, ".ligand.atoms", "0"),
    ({"residues": TWO[:1], "ligand": LIGAND}, ".residues", "at least two"),
    ({"residues": [*TWO, TWO[0]], "ligand": LIGAND}, ".residues[2].position", "already"),
    ({"residues": [*TWO, {"position": 41}], "ligand": LIGAND}, ".residues[2].position", "1 to 40"),
    ({"residues": [*TWO, {"position": 9, "atom": 8}], "ligand": LIGAND},
     ".residues[2].atom", "1 to 7"),
    ({"residues": [*TWO, {"position": 9, "min": 7.0}], "ligand": LIGAND},
     ".residues[2].max", "more than 7"),
    ({"residues": [*TWO, {"position": 9, "source": "A9"}], "ligand": LIGAND},
     ".residues[2].source", "no template"),
    ({"residues": TWO, "ligand": LIGAND, "template": {"text": "x"}}, ".residues[0].source", "None"),
    ({"residues": TWO, "ligand": LIGAND, "character": "oily"}, ".character", "'hydrophobic'"),
    ({"residues": TWO, "ligand": LIGAND, "burial": 2}, ".burial", "0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(data: dict[str, Any], path: str, message: str) -> None:
    """Every fault names the place and what was expected."""
    request = {"length": 40, "constraints": [{"kind": "binding_site", **data}]}
    faults = check_request(request)
    assert any(
        item.path == f"$.constraints[0]{path}" and message in item.message for item in faults
    ), faults


def test_unreadable_smiles_are_told() -> None:
    """RDKit's refusal becomes a fault at the SMILES."""
    pytest.importorskip("rdkit")
    data = {"kind": "binding_site", "residues": TWO, "ligand": {"smiles": "C1CC"}}
    (fault,) = check_request({"length": 40, "constraints": [data]})
    assert fault.path == "$.constraints[0].ligand.smiles"
