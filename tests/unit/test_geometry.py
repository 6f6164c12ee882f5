"""Geometry against independent implementations, exact constructions and real chains."""

from __future__ import annotations

import biotite.structure as struc
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from protein_lab import constants, geometry
from protein_lab.errors import GeometryError
from protein_lab.geometry.motion import compose_prefixes
from protein_lab.training.corpus import CorpusChain

HELIX = (-60.0, -45.0, 180.0)


def build(phi: float, psi: float, omega: float, length: int) -> np.ndarray:
    """Ideal chain with the same torsions (degrees) everywhere."""
    angles = (np.full(length, np.deg2rad(value)) for value in (phi, psi, omega))
    return geometry.backbone_from_internal(*angles)


def random_torsions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Torsions phi, psi, omega of any value, stacked in front."""
    return rng.uniform(-np.pi, np.pi, size=(3, *shape))


def wrapped(difference: np.ndarray) -> np.ndarray:
    """Angle differences brought to [-pi, pi)."""
    return (difference + np.pi) % (2 * np.pi) - np.pi


def angle_at(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Angle a-b-c in degrees."""
    first, second = geometry.unit(a - b), geometry.unit(c - b)
    return np.rad2deg(np.arccos(np.clip((first * second).sum(-1), -1, 1)))


def atom_array(backbone: np.ndarray) -> struc.AtomArray:
    """Put a backbone into a biotite array, one chain of alanines."""
    array = struc.AtomArray(backbone.shape[0] * backbone.shape[1])
    array.coord = backbone.reshape(-1, 3).astype(np.float32)
    array.res_id = np.repeat(np.arange(1, len(backbone) + 1), backbone.shape[1])
    array.atom_name = np.tile(constants.BACKBONE_ATOMS[: backbone.shape[1]], len(backbone))
    array.element = np.array([name[0] for name in array.atom_name])
    array.chain_id[:] = "A"
    array.res_name[:] = "ALA"
    return array


def test_a_built_backbone_has_the_ideal_bonds_and_angles() -> None:
    """Every bond length and angle is the constant it should be, whatever the torsions."""
    atoms = build_random(8, 40)
    n, ca, c, o = (atoms[..., index, :] for index in range(4))
    bonds = {
        constants.BOND_N_CA: ca - n,
        constants.BOND_CA_C: c - ca,
        constants.BOND_C_O: o - c,
        constants.BOND_C_N: n[:, 1:] - c[:, :-1],
    }
    for ideal, bond in bonds.items():
        np.testing.assert_allclose(np.linalg.norm(bond, axis=-1), ideal, atol=1e-9)
    np.testing.assert_allclose(angle_at(n, ca, c), constants.ANGLE_N_CA_C, atol=1e-6)
    np.testing.assert_allclose(angle_at(ca, c, o), constants.ANGLE_CA_C_O, atol=1e-6)
    next_n, next_ca = n[:, 1:], ca[:, 1:]
    along = angle_at(ca[:, :-1], c[:, :-1], next_n)
    np.testing.assert_allclose(along, constants.ANGLE_CA_C_N, atol=1e-6)
    np.testing.assert_allclose(
        angle_at(c[:, :-1], next_n, next_ca), constants.ANGLE_C_N_CA, atol=1e-6
    )


def build_random(samples: int, length: int) -> np.ndarray:
    """Random ideal chains (sample, residue, 4, 3)."""
    return geometry.backbone_from_internal(
        *random_torsions(np.random.default_rng(1), (samples, length))
    )


def test_torsions_and_tau_survive_the_round_trip_in_batches() -> None:
    """Angles -> atoms -> angles is the identity to 1e-9 rad, with leading axes and own tau."""
    rng = np.random.default_rng(2)
    phi, psi, omega = random_torsions(rng, (2, 3, 128))
    tau = np.deg2rad(rng.uniform(100, 122, size=phi.shape))
    atoms = geometry.backbone_from_internal(phi, psi, omega, tau)
    angles = geometry.backbone_dihedrals(atoms)
    assert np.abs(wrapped(angles[..., 1:, 0] - phi[..., 1:])).max() < 1e-9
    assert np.abs(wrapped(angles[..., :-1, 1] - psi[..., :-1])).max() < 1e-9
    assert np.abs(wrapped(angles[..., :-1, 2] - omega[..., :-1])).max() < 1e-9
    back = np.deg2rad(angle_at(atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :]))
    np.testing.assert_allclose(back, tau, atol=1e-7)
    assert np.isnan(angles[..., 0, 0]).all()
    assert np.isnan(angles[..., -1, 1:]).all()


def test_a_long_chain_does_not_drift() -> None:
    """Composed prefixes stay rigid motions over 2000 residues."""
    phi, psi, omega = random_torsions(np.random.default_rng(3), (2000,))
    atoms = geometry.backbone_from_internal(phi, psi, omega)
    bond = np.linalg.norm(atoms[1:, 0] - atoms[:-1, 2], axis=-1)
    np.testing.assert_allclose(bond, constants.BOND_C_N, atol=1e-9)


def test_prefixes_are_those_of_a_loop() -> None:
    """Doubling steps give what one composition after the other gives, for odd lengths too."""
    rng = np.random.default_rng(4)
    for length in (1, 2, 3, 7, 8, 13):
        turns = Rotation.random(length, random_state=5).as_matrix()
        shifts = rng.normal(size=(length, 3))
        rotations, translations = compose_prefixes(turns, shifts)
        rotation, translation = np.eye(3), np.zeros(3)
        for i in range(length):
            rotation, translation = rotation @ turns[i], rotation @ shifts[i] + translation
            np.testing.assert_allclose(rotations[i], rotation, atol=1e-12)
            np.testing.assert_allclose(translations[i], translation, atol=1e-12)


def test_dihedrals_agree_with_biotite(real_chains: list[CorpusChain]) -> None:
    """Phi, psi and omega of real chains are those of biotite to 1e-3 rad (float32 there)."""
    for chain in real_chains[:8]:
        expected = np.stack(struc.dihedral_backbone(atom_array(chain.backbone)), axis=-1)
        found = geometry.backbone_dihedrals(chain.backbone)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert np.nanmax(np.abs(wrapped(found - expected))) < 1e-3


def test_dihedral_has_the_iupac_sign() -> None:
    """Looking along the bond, a clockwise turn of the far end is positive."""
    near, axis = np.array([1.0, 0, 0]), np.array([0.0, 0, 1])
    far = np.array([0.0, -1, 0]) + axis
    # Seen from the origin along +z, x to -y is counter-clockwise in this right-handed frame.
    assert geometry.dihedral(near, 0 * axis, axis, far) == pytest.approx(-np.pi / 2)


def test_superposition_agrees_with_biotite(real_chains: list[CorpusChain]) -> None:
    """The RMSD after our superposition equals biotite's within 1e-3 angstrom."""
    first, second = real_chains[0].backbone[:60, 1], real_chains[1].backbone[:60, 1]
    rotation, translation = geometry.superimpose(first, second)
    fitted, _ = struc.superimpose(second, first)
    expected = struc.rmsd(second, fitted)
    moved = first @ rotation.T + translation
    found = np.sqrt(((moved - second) ** 2).sum(-1).mean())
    assert found == pytest.approx(expected, abs=1e-3)
    assert found > 1.0


def test_weighted_superposition_agrees_with_scipy() -> None:
    """With weights the rotation is SciPy's (an independent solution of Wahba's problem)."""
    rng = np.random.default_rng(6)
    mobile, fixed, weights = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), rng.random(30)
    rotation, translation = geometry.superimpose(mobile, fixed, weights)
    centers = [np.average(points, axis=0, weights=weights) for points in (mobile, fixed)]
    expected, _ = Rotation.align_vectors(fixed - centers[1], mobile - centers[0], weights=weights)
    np.testing.assert_allclose(rotation, expected.as_matrix(), atol=1e-8)
    np.testing.assert_allclose(rotation @ centers[0] + translation, centers[1], atol=1e-12)


def test_superposition_never_reflects() -> None:
    """A mirror image does not fit, though a reflection would make it fit exactly; in batches."""
    points = np.random.default_rng(7).normal(size=(4, 20, 3))
    rotation, translation = geometry.superimpose(points * [1, 1, -1], points)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    moved = (points * [1, 1, -1]) @ np.swapaxes(rotation, -1, -2) + translation[:, None]
    assert np.sqrt(((moved - points) ** 2).sum(-1).mean(-1)).min() > 0.1


def test_superposition_of_a_plane_is_a_rotation() -> None:
    """Flat point sets, where the SVD has a free sign, still give determinant +1 and fit."""
    points = np.random.default_rng(8).normal(size=(10, 3)) * [1, 1, 0]
    goal = Rotation.random(random_state=1).apply(points) + 3.0
    rotation, translation = geometry.superimpose(points, goal)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(points @ rotation.T + translation, goal, atol=1e-9)


def test_frames_put_the_residue_where_it_belongs() -> None:
    """In its frame a residue has CA at 0, C on the first axis and N in the upper half plane."""
    atoms = build_random(2, 20)
    rotations, origins = geometry.frames(atoms)
    local = np.einsum("...rji,...raj->...rai", rotations, atoms - origins[..., None, :])
    np.testing.assert_allclose(local[..., 1, :], 0.0, atol=1e-9)
    np.testing.assert_allclose(local[..., 2, 0], constants.BOND_CA_C, atol=1e-9)
    np.testing.assert_allclose(local[..., 2, 1:], 0.0, atol=1e-9)
    assert (local[..., 0, 1] > 0).all()
    np.testing.assert_allclose(local[..., 0, 2], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-9)


def test_placed_oxygens_are_near_the_real_ones(real_chains: list[CorpusChain]) -> None:
    """Only the last residue has no peptide plane; all others come close to the experiment."""
    for chain in real_chains:
        placed = geometry.place_oxygen(chain.backbone[:, :3])
        off = np.linalg.norm(placed[:-1, 3] - chain.backbone[:-1, 3], axis=-1)
        assert np.median(off) < 0.1
        np.testing.assert_array_equal(placed[:, :3], chain.backbone[:, :3].astype(np.float64))


def test_the_last_oxygen_continues_the_chain() -> None:
    """In a helix the last oxygen, whose psi is unknown, points as the others do."""
    helix = build(*HELIX, 12)
    np.testing.assert_allclose(geometry.place_oxygen(helix), helix, atol=1e-9)


def test_virtual_cb_has_ideal_bond_angles_and_hand() -> None:
    """CB is at its bond length and both angles, on the L side, even for a distorted tau."""
    rng = np.random.default_rng(9)
    tau = np.deg2rad(rng.uniform(100, 122, size=30))
    atoms = geometry.backbone_from_internal(*random_torsions(rng, (30,)), tau)
    n, ca, c = atoms[:, 0], atoms[:, 1], atoms[:, 2]
    cb = geometry.virtual_cb(atoms)
    np.testing.assert_allclose(np.linalg.norm(cb - ca, axis=-1), constants.BOND_CA_CB, atol=1e-9)
    np.testing.assert_allclose(angle_at(n, ca, cb), 110.5, atol=1e-6)
    np.testing.assert_allclose(angle_at(c, ca, cb), 110.1, atol=1e-6)
    volume = ((n - ca) * np.cross(c - ca, cb - ca)).sum(-1)
    assert volume.min() > 2.0


def test_virtual_cb_agrees_with_the_published_linear_form() -> None:
    """The widely used coefficients (ProteinMPNN) give the same place within 0.1 angstrom."""
    atoms = build_random(1, 30)[0]
    to_ca, to_c = atoms[:, 1] - atoms[:, 0], atoms[:, 2] - atoms[:, 1]
    expected = (
        -0.58273431 * np.cross(to_ca, to_c) + 0.56802827 * to_ca - 0.54067466 * to_c + atoms[:, 1]
    )
    assert np.linalg.norm(geometry.virtual_cb(atoms) - expected, axis=-1).max() < 0.1


def test_hydrogens_oppose_the_carbonyl_before() -> None:
    """N-H is 1 angstrom long and antiparallel to the previous C=O; the first residue has none."""
    atoms = build_random(1, 10)[0]
    hydrogen = geometry.virtual_hydrogen(atoms)
    assert np.isnan(hydrogen[0]).all()
    bond = hydrogen[1:] - atoms[1:, 0]
    carbonyl = geometry.unit(atoms[:-1, 3] - atoms[:-1, 2])
    np.testing.assert_allclose(bond, -carbonyl, atol=1e-9)


def test_axis_curve_is_a_normalized_gaussian_filter(real_chains: list[CorpusChain]) -> None:
    """Away from the ends it is SciPy's filter; at the ends the weights still sum to one."""
    ca = real_chains[0].backbone[:, 1].astype(np.float64)
    curve = geometry.axis_curve(ca, width=2.0)
    expected = gaussian_filter1d(ca, 2.0, axis=0, truncate=4.0)
    np.testing.assert_allclose(curve[8:-8], expected[8:-8], atol=1e-9)
    still = geometry.axis_curve(np.broadcast_to([1.0, 2.0, 3.0], (5, 3)), width=3.0)
    np.testing.assert_allclose(still, np.broadcast_to([1.0, 2.0, 3.0], (5, 3)), atol=1e-12)


def test_the_axis_curve_of_a_helix_rises_by_a_helix() -> None:
    """Smoothing takes the turns out: 1.5 angstrom a residue, and 3.3 in a strand."""
    helix = geometry.axis_curve(build(*HELIX, 40)[:, 1])
    strand = geometry.axis_curve(build(-120.0, 130.0, 180.0, 40)[:, 1])
    assert geometry.arc_speed(helix)[10:30] == pytest.approx(1.5, abs=0.1)
    assert geometry.arc_speed(strand)[10:30] == pytest.approx(3.3, abs=0.15)


def test_parallel_transport_keeps_the_binormal_of_a_plane_curve() -> None:
    """On a circle nothing twists: the binormal is constant and the normal points inward."""
    turn = np.linspace(0, 1.5 * np.pi, 60)
    circle = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1)
    found = geometry.parallel_transport_frames(circle)
    np.testing.assert_allclose(found[:, 2], np.broadcast_to([0, 0, 1.0], (60, 3)), atol=1e-9)
    inward = -circle / np.linalg.norm(circle, axis=-1, keepdims=True)
    assert ((found[:, 1] * inward).sum(-1) > 0.999)[1:-1].all()


def test_parallel_transport_lags_the_frenet_frame_by_the_torsion() -> None:
    """Against the curve's own normal it turns by minus the integral of torsion, known exactly."""
    radius, pitch, turn = 2.0, 0.7, np.linspace(0, 4 * np.pi, 4000)
    helix = np.stack([radius * np.cos(turn), radius * np.sin(turn), pitch * turn], axis=-1)
    found = geometry.parallel_transport_frames(helix)
    own = np.stack([-np.cos(turn), -np.sin(turn), 0 * turn], axis=-1)
    lag = np.unwrap(np.arctan2((own * found[:, 2]).sum(-1), (own * found[:, 1]).sum(-1)))
    torsion = turn[-1] * pitch / np.hypot(radius, pitch)
    assert lag[-1] - lag[0] == pytest.approx(torsion, abs=0.01)


def test_the_angle_rolls_the_frames_about_the_tangent() -> None:
    """Normal and binormal turn by the angle everywhere; the tangent stays."""
    curve = np.random.default_rng(10).normal(size=(30, 3)).cumsum(axis=0)
    found, rolled = (geometry.parallel_transport_frames(curve, angle) for angle in (0.0, 0.5))
    np.testing.assert_allclose(rolled[:, 0], found[:, 0], atol=1e-12)
    np.testing.assert_allclose((rolled[:, 1] * found[:, 1]).sum(-1), np.cos(0.5), atol=1e-9)
    np.testing.assert_allclose((rolled[:, 1] * found[:, 2]).sum(-1), np.sin(0.5), atol=1e-9)


@pytest.mark.parametrize(
    "curve",
    [
        np.arange(10)[:, None] * np.array([[0.0, 3.0, 0.0]]),
        np.repeat(np.arange(5)[:, None] * np.array([[1.0, 0.0, 0.0]]), 3, axis=0),
        np.zeros((4, 3)),
    ],
    ids=["straight", "with stops", "a point"],
)
def test_degenerate_curves_still_give_rotations(curve: np.ndarray) -> None:
    """Straight, stopping and collapsed curves have no normal of their own, but get a frame."""
    found = geometry.parallel_transport_frames(curve)
    identity = np.broadcast_to(np.eye(3), found.shape)
    np.testing.assert_allclose(found @ np.swapaxes(found, -1, -2), identity, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-9)


def test_radius_of_gyration_agrees_with_biotite(real_chains: list[CorpusChain]) -> None:
    """Equal masses: biotite's mass-weighted radius of CA atoms is ours within 1e-3 angstrom."""
    for chain in real_chains[:5]:
        array = atom_array(chain.backbone)
        expected = struc.gyration_radius(array[array.atom_name == "CA"])
        found = geometry.radius_of_gyration(chain.backbone[:, 1])
        assert found == pytest.approx(expected, abs=1e-3)


def test_wrong_shapes_and_missing_atoms_are_named() -> None:
    """Each mistake raises the library's error and says what came."""
    with pytest.raises(GeometryError, match=r"shape .* it has \(5, 2, 3\)"):
        geometry.frames(np.zeros((5, 2, 3)))
    with pytest.raises(GeometryError, match="not finite"):
        geometry.virtual_cb(np.full((5, 4, 3), np.nan))
    with pytest.raises(GeometryError, match="same points"):
        geometry.superimpose(np.zeros((5, 3)), np.zeros((6, 3)))
    with pytest.raises(GeometryError, match="weights"):
        geometry.superimpose(np.zeros((5, 3)), np.zeros((5, 3)), np.zeros(5))
    with pytest.raises(GeometryError, match="internal angle"):
        geometry.backbone_from_internal(np.full(5, np.nan), np.zeros(5), np.zeros(5))
    with pytest.raises(GeometryError, match="share the shape"):
        geometry.backbone_from_internal(np.zeros(5), np.zeros(6), np.zeros(5))
    with pytest.raises(GeometryError, match="width"):
        geometry.axis_curve(np.zeros((5, 3)), width=0.0)
    with pytest.raises(GeometryError, match="at least 2"):
        geometry.arc_speed(np.zeros((1, 3)))
