"""Laws of geometry and metrics under rigid motion and reflection, over random chains."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from protein_lab import geometry, metrics

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
MIRROR = np.array([1.0, 1.0, -1.0])
few = settings(max_examples=20, deadline=None)


def random_chain(seed: int) -> np.ndarray:
    """Chain of 12 to 60 residues, helices and strands and loops by chance (residue, 4, 3)."""
    rng = np.random.default_rng(seed)
    wells = np.deg2rad([(-60.0, -45.0), (-120.0, 130.0), (-80.0, 150.0), (60.0, 40.0)])
    kind = np.repeat(rng.choice(4, size=10, p=[0.5, 0.3, 0.1, 0.1]), rng.integers(2, 9, size=10))
    kind = kind[: max(12, min(60, len(kind)))]
    phi, psi = (wells[kind] + rng.normal(scale=0.1, size=(len(kind), 2))).T
    return geometry.backbone_from_internal(phi, psi, np.pi + rng.normal(scale=0.05, size=len(kind)))


def random_motion(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation matrix and translation of up to some tens of angstrom."""
    rng = np.random.default_rng(seed)
    return Rotation.random(random_state=seed).as_matrix(), rng.normal(scale=20.0, size=3)


@few
@given(SEEDS, SEEDS)
def test_measures_do_not_change_with_a_rigid_motion(seed: int, motion: int) -> None:
    """Numbers and letters of a structure do not depend on where it lies."""
    first = random_chain(seed)
    second = first + np.random.default_rng(seed).normal(scale=0.3, size=first.shape)
    rotation, shift = random_motion(motion)
    moved = first @ rotation.T + shift
    assert metrics.dssp(moved) == metrics.dssp(first)
    assert metrics.ladders(moved) == metrics.ladders(first)
    assert metrics.num_clashes(moved) == metrics.num_clashes(first)
    states = metrics.dssp(first)
    assert metrics.helix_handedness(moved, states) == metrics.helix_handedness(first, states)
    ca, moved_ca, other = first[:, 1], moved[:, 1], second[:, 1]
    np.testing.assert_array_equal(metrics.chain_breaks(moved_ca), metrics.chain_breaks(ca))
    np.testing.assert_allclose(metrics.rmsd(moved_ca, other), metrics.rmsd(ca, other), atol=1e-7)
    np.testing.assert_allclose(metrics.lddt(moved_ca, other), metrics.lddt(ca, other), atol=1e-9)
    found, expected = metrics.tm_score(moved_ca, other), metrics.tm_score(ca, other)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(
        geometry.radius_of_gyration(moved_ca), geometry.radius_of_gyration(ca), atol=1e-9
    )
    half = len(first) // 2
    for kind in ("parallel", "antiparallel", "crossing"):
        ends = (0, half), (half, len(first))
        assert metrics.pairing_met(moved, *ends, kind) == metrics.pairing_met(first, *ends, kind)


@few
@given(SEEDS)
def test_reflection_changes_what_has_a_hand_and_nothing_else(seed: int) -> None:
    """Torsions change sign and helices their hand; distances and hydrogen bonds do not care."""
    chain = random_chain(seed)
    mirrored = chain * MIRROR
    angles, reflected = (geometry.backbone_dihedrals(atoms) for atoms in (chain, mirrored))
    np.testing.assert_allclose(np.sin(reflected), -np.sin(angles), atol=1e-9)
    np.testing.assert_allclose(np.cos(reflected), np.cos(angles), atol=1e-9)
    states = metrics.dssp(chain)
    assert metrics.dssp(mirrored) == states
    right, left = metrics.helix_handedness(chain, states)
    assert metrics.helix_handedness(mirrored, states) == (left, right)
    assert metrics.rmsd(chain[:, 1] * MIRROR, chain[:, 1]) > 0.1
    np.testing.assert_allclose(metrics.lddt(mirrored[:, 1], chain[:, 1]), 1.0)
    assert np.abs(geometry.virtual_cb(mirrored) - geometry.virtual_cb(chain) * MIRROR).max() > 1.0


@few
@given(SEEDS)
def test_torsions_survive_the_round_trip(seed: int) -> None:
    """Atoms -> torsions -> atoms -> torsions is the identity to 1e-9 rad; atoms superimpose."""
    chain = random_chain(seed)
    angles = geometry.backbone_dihedrals(chain)
    rebuilt = geometry.backbone_from_internal(*np.moveaxis(angles, -1, 0))
    again = geometry.backbone_dihedrals(rebuilt)
    difference = (again - angles + np.pi) % (2 * np.pi) - np.pi
    assert np.nanmax(np.abs(difference)) < 1e-9
    assert metrics.rmsd(rebuilt[:, 1], chain[:, 1]) < 1e-7


@few
@given(SEEDS, SEEDS)
def test_placed_atoms_and_frames_move_with_the_chain(seed: int, motion: int) -> None:
    """CB, O, axis curve and frames are equivariant: moving first or last is the same."""
    chain = random_chain(seed)
    rotation, shift = random_motion(motion)
    moved = chain @ rotation.T + shift
    for place in (geometry.virtual_cb, lambda atoms: geometry.place_oxygen(atoms[:, :3])):
        np.testing.assert_allclose(place(moved), place(chain) @ rotation.T + shift, atol=1e-8)
    curve, moved_curve = geometry.axis_curve(chain[:, 1]), geometry.axis_curve(moved[:, 1])
    np.testing.assert_allclose(moved_curve, curve @ rotation.T + shift, atol=1e-8)
    np.testing.assert_allclose(
        geometry.arc_speed(moved_curve), geometry.arc_speed(curve), atol=1e-8
    )
    rotations, _ = geometry.frames(chain)
    np.testing.assert_allclose(geometry.frames(moved)[0], rotation @ rotations, atol=1e-8)
    bishop = geometry.parallel_transport_frames(curve)
    found = geometry.parallel_transport_frames(moved_curve)
    np.testing.assert_allclose(found, bishop @ rotation.T, atol=1e-6)
    identity = np.broadcast_to(np.eye(3), bishop.shape)
    np.testing.assert_allclose(bishop @ np.swapaxes(bishop, -1, -2), identity, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(bishop), 1.0, atol=1e-9)


@few
@given(SEEDS, SEEDS)
def test_superposition_recovers_any_rigid_motion(seed: int, motion: int) -> None:
    """A moved copy is brought back exactly, by the inverse motion."""
    points = random_chain(seed)[:, 1]
    rotation, shift = random_motion(motion)
    found, translation = geometry.superimpose(points @ rotation.T + shift, points)
    np.testing.assert_allclose(found, rotation.T, atol=1e-9)
    np.testing.assert_allclose(translation, -rotation.T @ shift, atol=1e-7)
