"""Comparison and contact measures against independent implementations and real chains."""

from __future__ import annotations

import itertools

import biotite.structure as struc
import numpy as np
import pytest
import tmtools
from scipy.spatial.transform import Rotation

from protein_lab import metrics
from protein_lab.design.blueprint import blueprint_of
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal, virtual_cb
from protein_lab.training.corpus import CorpusChain


def ca_array(ca: np.ndarray) -> struc.AtomArray:
    """CA atoms as a biotite array, one chain of alanines."""
    array = struc.AtomArray(len(ca))
    array.coord = ca.astype(np.float32)
    array.res_id = np.arange(1, len(ca) + 1)
    array.atom_name[:], array.element[:], array.chain_id[:] = "CA", "C", "A"
    array.res_name[:] = "ALA"
    return array


def perturbed(ca: np.ndarray, seed: int, size: float) -> np.ndarray:
    """Add noise, and turn and shift the whole."""
    rng = np.random.default_rng(seed)
    turned = Rotation.random(random_state=seed).apply(ca)
    return turned + rng.normal(scale=size, size=ca.shape) + rng.normal(scale=20, size=3)


def helix(length: int) -> np.ndarray:
    """Ideal alpha helix (residue, 4, 3)."""
    phi, psi = np.deg2rad([-60.0, -45.0])
    return backbone_from_internal(
        np.full(length, phi), np.full(length, psi), np.full(length, np.pi)
    )


def test_rmsd_agrees_with_biotite(real_chains: list[CorpusChain]) -> None:
    """With and without superposition the value is biotite's within 1e-3 angstrom."""
    for seed, chain in enumerate(real_chains[:8]):
        first = chain.backbone[:, 1].astype(np.float64)
        second = perturbed(first, seed, 1.5)
        fitted, _ = struc.superimpose(first, second)
        assert metrics.rmsd(second, first) == pytest.approx(struc.rmsd(first, fitted), abs=1e-3)
        plain = metrics.rmsd(second, first, superimposed=False)
        assert plain == pytest.approx(struc.rmsd(first, second), abs=1e-3)
        assert plain > metrics.rmsd(second, first)


def test_rmsd_is_not_the_mean_displacement_and_sees_mirror_images() -> None:
    """Two known wrong versions: mean displacement (smaller) and a reflecting fit (zero)."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(50, 3))
    second = first + rng.normal(size=(50, 3)) * rng.exponential(size=(50, 1))
    displacement = np.linalg.norm(first - second, axis=-1).mean()
    assert metrics.rmsd(first, second, superimposed=False) > displacement
    assert metrics.rmsd(first * [1, 1, -1], first) > 0.1


def test_rmsd_takes_batches() -> None:
    """Leading axes broadcast: one reference against many models."""
    rng = np.random.default_rng(1)
    many, one = rng.normal(size=(3, 5, 20, 3)), rng.normal(size=(20, 3))
    found = metrics.rmsd(many, one)
    assert found.shape == (3, 5)
    assert found[1, 2] == pytest.approx(metrics.rmsd(many[1, 2], one))


def test_tm_score_reaches_tm_align_with_the_same_residues(real_chains: list[CorpusChain]) -> None:
    """For like chains it is within 0.01 of tmtools, which is given the alignment; never less."""
    for seed, chain in enumerate(real_chains[::3]):
        ca = chain.backbone[:, 1].astype(np.float64)
        letters = "A" * len(ca)
        for size in (0.5, 1.5):
            model = perturbed(ca, seed, size)
            other = tmtools.tm_align(model, ca, letters, letters, [letters, letters])
            found = metrics.tm_score(model, ca)
            assert found >= other.tm_norm_chain2 - 1e-4
            assert found == pytest.approx(other.tm_norm_chain2, abs=0.01)


def test_tm_score_of_unlike_chains_and_of_moved_domains(real_chains: list[CorpusChain]) -> None:
    """Where many superpositions compete the search still finds at least what tmtools finds."""
    for first, second in itertools.pairwise(real_chains[:10]):
        length = min(len(first.sequence), len(second.sequence))
        ca, other = first.backbone[:length, 1], second.backbone[:length, 1]
        hinge = np.array(ca, dtype=np.float64)
        turned = Rotation.random(random_state=length).as_matrix()
        hinge[length // 2 :] = (hinge[length // 2 :] - hinge[length // 2]) @ turned + hinge[
            length // 2
        ]
        letters = "A" * length
        for model in (other, hinge):
            inputs = (np.array(array, dtype=np.float64, order="C") for array in (model, ca))
            expected = tmtools.tm_align(*inputs, letters, letters, [letters, letters])
            assert metrics.tm_score(model, ca) >= expected.tm_norm_chain2 - 2e-3


def test_tm_score_has_the_defined_value_at_a_superposition() -> None:
    """For a nearly exact fit biotite's TM-score at the least-squares superposition is the same."""
    rng = np.random.default_rng(2)
    ca = helix(60)[:, 1] + rng.normal(scale=0.1, size=(60, 3))
    model = ca + rng.normal(scale=0.2, size=ca.shape)
    fitted, _ = struc.superimpose(ca, model)
    index = np.arange(60)
    expected = struc.tm_score(ca_array(ca), ca_array(fitted), index, index)
    assert metrics.tm_score(model, ca) == pytest.approx(expected, abs=1e-3)
    assert metrics.tm_score(model, ca) >= expected - 1e-6


def test_tm_score_of_the_mirror_image_is_low(real_chains: list[CorpusChain]) -> None:
    """Identity gives 1; a mirror image is another fold."""
    ca = real_chains[5].backbone[:, 1]
    assert metrics.tm_score(ca, ca) == pytest.approx(1.0)
    assert metrics.tm_score(ca * [1, 1, -1], ca) < 0.6


def test_tm_align_finds_a_part_in_the_whole(real_chains: list[CorpusChain]) -> None:
    """A cut-out aligns with the residues it was cut from; both normalizations are given."""
    chain = max(real_chains, key=lambda item: len(item.sequence))
    ca = chain.backbone[:, 1].astype(np.float64)
    part = perturbed(ca, 3, 0.1)[20:70]
    found = metrics.tm_align(part, chain.sequence[20:70], ca, chain.sequence)
    assert found.tm_a > 0.95
    assert found.tm_b == pytest.approx(50 / len(ca), abs=0.1)
    assert (found.aligned[:, 1] - found.aligned[:, 0] == 20).mean() > 0.95
    assert found.rmsd < 0.5


def test_lddt_agrees_with_biotite(real_chains: list[CorpusChain]) -> None:
    """Per residue it is biotite's, but for distances on the very edge of a threshold."""
    for seed, chain in enumerate(real_chains[:8]):
        reference = ca_array(chain.backbone[:, 1])
        model = reference.copy()
        model.coord = perturbed(model.coord, seed, 1.0).astype(np.float32)
        expected = struc.lddt(reference, model, aggregation="residue")
        found = metrics.lddt(model.coord, reference.coord)
        np.testing.assert_allclose(found, expected, atol=0.02)
        assert found.mean() == pytest.approx(np.mean(expected), abs=1e-3)


def test_lddt_of_a_residue_without_neighbors_is_unknown() -> None:
    """A lone residue has no distance to keep: NaN, not 0 and not 1."""
    reference = np.array([[0.0, 0, 0], [4.0, 0, 0], [100.0, 0, 0]])
    found = metrics.lddt(np.stack([reference, reference * 2]), reference)
    np.testing.assert_array_equal(found, [[1.0, 1.0, np.nan], [0.25, 0.25, np.nan]])


def test_diversity_counts_folds(real_chains: list[CorpusChain]) -> None:
    """Noisy copies fall into one cluster each: two folds in six structures give one third."""
    helical = helix(60)[:, 1]
    strands = next(
        chain.backbone[:, 1]
        for chain in real_chains
        if chain.secondary_structure.count("E") > 0.3 * len(chain.sequence)
    )
    cas = [perturbed(ca, seed, 0.3) for seed in range(3) for ca in (helical, strands)]
    assert metrics.diversity(cas) == pytest.approx(2 / 6)
    assert metrics.diversity(cas[:1]) == 1.0
    assert np.isnan(metrics.diversity([]))


def brute_force_clashes(backbone: np.ndarray, tolerance: float) -> int:
    """Count clashes atom by atom, the plain way."""
    radii = {"N": 1.55, "CA": 1.7, "C": 1.7, "O": 1.52, "CB": 1.7}
    cb = virtual_cb(backbone)
    count = 0
    for i, j in itertools.combinations(range(len(backbone)), 2):
        for (name, a), (other, b) in itertools.product(
            zip(radii, [*backbone[i], cb[i]], strict=True),
            zip(radii, [*backbone[j], cb[j]], strict=True),
        ):
            bonded = j == i + 1 and name == "C" and other == "N"
            near = np.linalg.norm(a - b) < radii[name] + radii[other] - tolerance
            count += bool(near and not bonded)
    return count


def test_clashes_are_those_of_brute_force() -> None:
    """Random chains, full of overlaps, give the count of a plain double loop."""
    rng = np.random.default_rng(4)
    for tolerance in (0.5, 1.5):
        for _ in range(3):
            phi, psi = rng.uniform(-np.pi, np.pi, size=(2, 30))
            atoms = backbone_from_internal(phi, psi, np.full(30, np.pi))
            atoms[15:] += atoms[5, 1] - atoms[20, 1]
            expected = brute_force_clashes(atoms, tolerance)
            assert expected > 0
            assert metrics.num_clashes(atoms, tolerance) == expected


def test_sound_chains_do_not_clash(real_chains: list[CorpusChain]) -> None:
    """Ideal helices have none and crystal structures next to none; a doubled chain has many."""
    assert metrics.num_clashes(helix(40)) == 0
    assert sum(metrics.num_clashes(chain.backbone) for chain in real_chains) <= 3
    doubled = np.concatenate([helix(20), helix(20) + 0.5])
    assert metrics.num_clashes(doubled) > 100


def test_chain_breaks_are_found_but_not_between_chains() -> None:
    """A shift after residue 9 breaks the chain there, unless a new chain starts."""
    ca = helix(20)[:, 1]
    ca[10:] += 5.0
    np.testing.assert_array_equal(metrics.chain_breaks(ca), [9])
    assert metrics.chain_breaks(ca, np.repeat([0, 1], 10)).size == 0
    collapsed = np.zeros((3, 3))
    np.testing.assert_array_equal(metrics.chain_breaks(collapsed), [0, 1])


def test_real_chains_meet_their_own_pairing(real_chains: list[CorpusChain]) -> None:
    """What a blueprint measures on a structure, pairing_met finds; it rejects all else."""
    met = total = 0
    for chain in real_chains:
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        spans = [(element.start, element.stop) for element in blueprint.elements]
        for pair in blueprint.pairs:
            ends = spans[pair.first], spans[pair.second]
            met += metrics.pairing_met(chain.backbone, *ends, pair.orientation)
            total += 1
            for other in {"parallel", "antiparallel", "crossing"} - {pair.orientation}:
                assert not metrics.pairing_met(chain.backbone, *ends, other)  # pyright: ignore
    assert total > 50
    assert met / total > 0.98


def test_far_elements_are_not_paired() -> None:
    """Two helices side by side are paired by direction; moved apart they are not."""
    one = helix(16)
    axis = one[-3:, 1].mean(axis=0) - one[:3, 1].mean(axis=0)
    axis /= np.linalg.norm(axis)
    aside = np.cross(axis, [0.0, 0.0, 1.0])
    aside /= np.linalg.norm(aside)
    ends = (0, 16), (16, 32)
    near = np.concatenate([one, one + 8.5 * aside])
    assert metrics.pairing_met(near, *ends, "parallel")
    assert not metrics.pairing_met(near, *ends, "antiparallel")
    far = np.concatenate([one, one + 14.0 * aside])
    assert not metrics.pairing_met(far, *ends, "parallel")


def test_wrong_inputs_are_named() -> None:
    """Each mistake raises the library's error and says what came."""
    chain = helix(10)
    with pytest.raises(GeometryError, match="same points"):
        metrics.rmsd(chain[:, 1], chain[:9, 1])
    with pytest.raises(GeometryError, match="two chains"):
        metrics.tm_score(chain, chain)
    with pytest.raises(GeometryError, match="one letter"):
        metrics.tm_align(chain[:, 1], "AAA", chain[:, 1], "A" * 10)
    with pytest.raises(GeometryError, match="does not lie"):
        metrics.pairing_met(chain, (0, 5), (5, 11), "parallel")
    with pytest.raises(GeometryError, match="sideways"):
        metrics.pairing_met(chain, (0, 5), (5, 10), "sideways")  # pyright: ignore
    with pytest.raises(GeometryError, match="one structure"):
        metrics.num_clashes(chain[None])
