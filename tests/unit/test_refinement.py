"""Refinement: exact geometry from any field, and the asked structure from a usable one."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.constants import (
    ANGLE_C_N_CA,
    ANGLE_CA_C_N,
    ANGLE_N_CA_C,
    BOND_C_N,
    BOND_C_O,
    BOND_CA_C,
    BOND_N_CA,
)
from protein_lab.design.blueprint import Blueprint, blueprint_of
from protein_lab.design.hydrogen_bonds import helix_bonds
from protein_lab.design.ideal_chain import project, torsions
from protein_lab.design.peptide_flips import (
    TRAPPED,
    inner_energies,
    residue_torsions,
    turn_planes,
)
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.refinement import Refined, refine
from protein_lab.design.restraints import RestraintEnergy, Strengths
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_dihedrals, backbone_from_internal, place_oxygen
from protein_lab.metrics import (
    NATIVE_CLASHES_PER_1000,
    backbone_clash_per_1000,
    dssp,
    num_clashes,
)
from protein_lab.training.corpus import Corpus

HELIX = (-63.0, -42.0)
STRAND = (-112.0, 123.0)
TURN = ((-60.0, -30.0), (-90.0, 0.0))


def build(angles: list[tuple[float, float]]) -> np.ndarray:
    """Backbone (residue, 4, 3) with given phi and psi in degrees."""
    phi, psi = np.radians(np.array(angles)).T
    return np.asarray(backbone_from_internal(phi, psi, np.full(len(phi), np.pi)), dtype=np.float64)


def helical_hairpin() -> tuple[np.ndarray, str]:
    """Two helices joined by a loop, and their states."""
    angles = [STRAND] * 2 + [HELIX] * 14 + [(-95.0, 0.0), (-70.0, 140.0), (-100.0, 120.0)]
    angles += [HELIX] * 14 + [STRAND] * 2
    backbone = build(angles)
    return backbone, dssp(backbone)


def sheet(parallel: bool) -> tuple[np.ndarray, Blueprint]:
    """Two straight strands 4.8 angstrom apart, joined by a loop that need not be right."""
    atoms = build([STRAND] * 8)
    strand = atoms[:, :3] - atoms[:, :3].mean(axis=(0, 1))
    along = strand[-1, 1] - strand[0, 1]
    along /= np.linalg.norm(along)
    # Carbonyls point to the neighbor strand, alternately to one side and to the other.
    aside = np.linalg.svd(atoms[:, 3] - atoms[:, 2])[2][0]
    aside -= (aside @ along) * along
    aside /= np.linalg.norm(aside)
    strand = strand @ np.stack([along, aside, np.cross(along, aside)]).T
    other = strand if parallel else strand * np.array([-1.0, -1.0, 1.0])
    other = other + np.array([0.0, 4.8, 0.0])
    ends = strand[-1, 1], other[0, 1]
    count = 14 if parallel else 5
    share = np.linspace(0.0, 1.0, count + 2)[1:-1]
    line = ends[0] + share[:, None] * (ends[1] - ends[0])
    line[:, 2] += 8.0 * np.sin(np.pi * share)
    offsets = np.array([[-1.2, 0.6, 0.0], [0.0, 0.0, 0.0], [1.2, 0.6, 0.0]])
    field = np.concatenate([strand, line[:, None] + offsets, other])
    states = "E" * 8 + "L" * count + "E" * 8
    return field, blueprint_of(field, states)


def assert_exact(result: Refined) -> None:
    """Bonds, angles, planarity and handedness are those of an ideal chain."""
    n, ca, c, o = result.backbone.astype(np.float64).transpose(1, 0, 2)
    for first, second, ideal in (
        (n, ca, BOND_N_CA),
        (ca, c, BOND_CA_C),
        (c, o, BOND_C_O),
        (c[:-1], n[1:], BOND_C_N),
    ):
        np.testing.assert_allclose(np.linalg.norm(first - second, axis=-1), ideal, atol=2e-3)
    for corner, ideal, slack in (
        ((ca[:-1], c[:-1], n[1:]), ANGLE_CA_C_N, 0.1),
        ((c[:-1], n[1:], ca[1:]), ANGLE_C_N_CA, 0.1),
        ((n, ca, c), ANGLE_N_CA_C, 4.0),
    ):
        one, two = corner[0] - corner[1], corner[2] - corner[1]
        cosine = (one * two).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(two, axis=-1)
        np.testing.assert_allclose(np.degrees(np.arccos(cosine)), ideal, atol=slack)
    omega = backbone_dihedrals(result.backbone)[:-1, 2]
    assert np.abs(np.degrees(omega)).min() > 172.0 - 0.1


@pytest.fixture(scope="module")
def helices() -> tuple[np.ndarray, str, Refined]:
    """Refine a noisy helical hairpin once: the original, its states, the result."""
    backbone, states = helical_hairpin()
    noise = np.random.default_rng(0).normal(scale=0.3, size=(len(states), 3, 3))
    return backbone, states, refine(backbone[:, :3] + noise, Blueprint(states))


def test_noisy_helices_come_back_exact(helices: tuple[np.ndarray, str, Refined]) -> None:
    """0.3 angstrom of noise must leave no trace in the geometry and not move the fold."""
    _, states, result = helices
    assert states.count("H") >= 24
    assert_exact(result)
    assert result.converged, result.problems
    assert result.moved_rmsd < 1.0
    assert num_clashes(result.backbone) == 0


def test_helices_are_right_handed(helices: tuple[np.ndarray, str, Refined]) -> None:
    """A helix of the other hand would have the same distances; only phi and psi tell."""
    _, states, result = helices
    phi = np.degrees(backbone_dihedrals(result.backbone)[:, 0])
    inside = np.array([state == "H" for state in states])
    assert phi[inside].max() < -30.0


def test_the_same_field_gives_the_same_bytes(
    helices: tuple[np.ndarray, str, Refined],
) -> None:
    """Results are stored under a digest, so nothing in the refinement may be random."""
    backbone, states, _ = helices
    field, blueprint = backbone[:, :3] * 1.02, Blueprint(states)
    first, second = refine(field, blueprint), refine(field, blueprint)
    assert first.backbone.tobytes() == second.backbone.tobytes()


@pytest.mark.parametrize("parallel", [False, True])
def test_strands_get_a_ladder(parallel: bool) -> None:
    """Strands that only lie side by side must come out bonded, in either direction."""
    field, blueprint = sheet(parallel)
    assert blueprint.pairs[0].orientation == ("parallel" if parallel else "antiparallel")
    noise = np.random.default_rng(1).normal(scale=0.1, size=field.shape)
    result = refine(field + noise, blueprint)
    assert_exact(result)
    asked = np.array([state == "E" for state in blueprint.secondary_structure])
    obtained = np.array([state == "E" for state in result.secondary_structure])
    assert obtained[asked].mean() >= 0.6, result.secondary_structure


@pytest.mark.parametrize("damage", ["noise", "gap", "squeezed", "collapsed"])
def test_a_broken_field_still_gives_a_chain(damage: str) -> None:
    """Whatever the operator draws, geometry is exact or the result says that it is not."""
    backbone, states = helical_hairpin()
    field = backbone[:, :3].copy()
    if damage == "noise":
        field += np.random.default_rng(2).normal(scale=2.0, size=field.shape)
    elif damage == "gap":
        field[17:] += np.array([4.0, 0.0, 0.0])
    elif damage == "squeezed":
        field[10:25] = field[10:25] * 0.4 + field[17:18, 1:2] * 0.6
    else:
        field[:] = 0.0
    result = refine(field, Blueprint(states))
    if result.converged:
        assert_exact(result)
    else:
        assert result.problems
    assert np.isfinite(result.backbone).all()


def test_certain_residues_move_less() -> None:
    """Sigma must steer who gives way when two parts of the field contradict each other."""
    backbone, states = helical_hairpin()
    field = backbone[:, :3].copy()
    field[17:] += np.array([0.0, 3.0, 0.0])
    sigma = np.where(np.arange(len(states)) < 17, 0.1, 1.0)
    moved = []
    for spread in (sigma, sigma[::-1]):
        result = refine(field, Blueprint(states), sigma=spread)
        shift = np.linalg.norm(result.backbone[:17, 1] - field[:17, 1], axis=-1)
        moved.append(shift.mean())
    assert moved[0] < moved[1]


def test_gradient_agrees_with_differences() -> None:
    """An analytic gradient is only worth its speed when it is the gradient."""
    rng = np.random.default_rng(3)
    backbone, states = helical_hairpin()
    trace = backbone[:, :3].reshape(-1, 3) + rng.normal(scale=0.2, size=(len(states) * 3, 3))
    energy = RestraintEnergy(
        trace + rng.normal(scale=0.3, size=trace.shape),
        np.ones(len(trace)),
        TorsionWells.of(states),
        np.array(helix_bonds(states)),
        Strengths(position=1.0, torsion=1.0, hydrogen_bond=1.0, repulsion=50.0, outside=1.0),
    )
    energy.find_pairs(trace)
    for name, (_, gradient) in energy.terms(trace).items():
        direction = rng.normal(size=trace.shape)
        step = 1e-6 * direction
        ahead, behind = energy.terms(trace + step)[name][0], energy.terms(trace - step)[name][0]
        slope = float((gradient * direction).sum())
        assert slope != 0.0
        assert (ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-4), name


@pytest.mark.parametrize("name", ["1AU7_C", "1FAS_A"])
def test_no_more_clashes_than_in_real_chains(name: str) -> None:
    """A field whose atoms overlap must come out with no more clashes than 95 % of real chains."""
    corpus = Corpus.open()
    chain = corpus.chain(corpus.ids.index(name))
    blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
    noise = np.random.default_rng(5).normal(scale=0.35, size=(len(chain.backbone), 3, 3))
    field = 0.97 * chain.backbone[:, :3] + noise
    assert backbone_clash_per_1000(place_oxygen(field)) > 10 * NATIVE_CLASHES_PER_1000
    result = refine(field, blueprint)
    assert_exact(result)
    assert backbone_clash_per_1000(result.backbone) <= NATIVE_CLASHES_PER_1000


def test_forbidden_torsions_are_turned_away() -> None:
    """Planes drawn the wrong way round are turned back, all at once, without moving any CA."""
    backbone, states = helical_hairpin()
    trace = backbone[:, :3].reshape(-1, 3)
    wells = TorsionWells.of(states)
    wrong = trace.copy()
    for plane in (4, 9, 10, 20):
        first, second = wrong[3 * plane + 1], wrong[3 * plane + 4]
        axis = (second - first) / np.linalg.norm(second - first)
        for atom in (3 * plane + 2, 3 * plane + 3):
            arm = wrong[atom] - first
            wrong[atom] = first + 2.0 * (arm @ axis) * axis - arm
    held = np.zeros(len(states) - 1, dtype=bool)
    turned, trust = turn_planes(wrong, wells, np.ones(len(trace)), held)
    assert inner_energies(residue_torsions(wrong), wells).max() > TRAPPED
    assert inner_energies(residue_torsions(turned), wells).max() < TRAPPED
    np.testing.assert_array_equal(turned[1::3], wrong[1::3])
    assert set(np.flatnonzero(trust < 1.0)) >= {14, 15, 29, 30, 62, 63}


def test_projection_moves_little() -> None:
    """The projection repairs a nearly right chain where it is wrong, with no lever arm."""
    backbone = build([HELIX] * 60)
    trace = backbone[:, :3].reshape(-1, 3)
    noisy = trace + np.random.default_rng(4).normal(scale=0.02, size=trace.shape)
    exact, violation = project(noisy)
    assert violation < 1e-4
    assert np.linalg.norm(exact - noisy, axis=-1).max() < 0.15
    assert np.degrees(torsions(exact)[0][2::3]).max() < -40.0


@pytest.mark.parametrize(
    "field",
    [
        np.full((6, 3, 3), np.nan),
        np.full((6, 3, 3), np.inf),
        np.zeros((6, 4, 3)),
        np.zeros((5, 3, 3)),
        np.zeros((2, 3, 3)),
    ],
)
def test_unusable_fields_are_refused(field: np.ndarray) -> None:
    """NaN, infinity and wrong shapes are the caller's errors, not a structure."""
    with pytest.raises(GeometryError):
        refine(field, Blueprint("L" * 6 if len(field) > 2 else "LL"))


def test_unusable_sigma_is_refused() -> None:
    """A sigma of the wrong length or sign cannot be a weight."""
    field = build([HELIX] * 12)[:, :3]
    for sigma in (np.ones(11), np.full(12, -1.0), np.full(12, np.nan)):
        with pytest.raises(GeometryError):
            refine(field, Blueprint("H" * 12), sigma=sigma)
