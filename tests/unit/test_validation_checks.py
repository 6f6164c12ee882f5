"""Presets and the checks of fold, potentials, sequence and side chains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protein_lab.constants import ATOM_NAMES
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import Check
from protein_lab.validation import ValidationOptions, Validator, available_presets, load_preset
from protein_lab.validation.potential_counts import chain_of, count_potentials, save_potentials
from protein_lab.validation.potentials import (
    MEASURES as POTENTIALS,
)
from protein_lab.validation.potentials import QUANTITIES, energies, load_potentials
from protein_lab.validation.side_chains import (
    all_atom_score,
    clashscore,
    combined_score,
    rotamer_outliers,
)
from protein_lab.validation.topology import MEASURES as TOPOLOGY

CORPUS = Corpus.open()
BARREL = CORPUS.ids.index("3ZXQ_B") if "3ZXQ_B" in CORPUS.ids else 0


def native(index: int) -> Protein:
    """Take a chain of the corpus."""
    return Protein.from_backbone(CORPUS.backbone(index), CORPUS.sequence(index))


def some(split: str, count: int) -> list[int]:
    """Choose chains whose residues are all known."""
    order = np.random.default_rng(2).permutation(CORPUS.indices(split, 60, 120))
    known = [int(i) for i in order if "X" not in CORPUS.sequence(int(i))]
    return known[:count]


def with_sequence(protein: Protein, sequence: str) -> Protein:
    """Put other residues on a backbone."""
    return Protein.from_backbone(protein.backbone, sequence)


def named(checks: list[Check]) -> dict[str, Check]:
    """Sort checks by name."""
    return {check.name: check for check in checks}


@pytest.mark.parametrize("name", ["geometry", "standard", "strict"])
def test_presets_have_a_measure_and_a_reason_for_everything(name: str) -> None:
    """Nothing is listed that cannot be measured or that nobody could justify."""
    assert name in available_presets()
    measures = Validator(name).measures
    for check, rule in load_preset(name).checks.items():
        assert check in measures
        assert len(rule.reason) > 20
        assert rule.unit
        assert rule.threshold is not None or rule.warning is not None


def test_presets_build_on_each_other() -> None:
    """Strict keeps all of standard and narrows some; standard keeps geometry as it is."""
    geometry, standard, strict = (
        load_preset(name).checks for name in ("geometry", "standard", "strict")
    )
    assert all(standard[name] == rule for name, rule in geometry.items())
    assert set(standard) < set(strict)
    narrowed = [n for n in standard if strict[n] != standard[n]]
    assert narrowed
    for name in narrowed:
        old, new = standard[name].threshold, strict[name].threshold
        assert new is not None
        assert old is None or (new < old) == (strict[name].limit == "at_most")


def test_quick_validation_leaves_slow_checks_out() -> None:
    """Designing asks for quick checks on every attempt; nothing may take minutes there."""
    chain = native(some("calibration", 1)[0])
    options = ValidationOptions(folding="")
    quick = named(Validator("strict", options).validate(chain, quick=True))
    slow = {name for name, rule in load_preset("strict").checks.items() if rule.slow}
    assert slow
    assert not slow & set(quick)


def test_real_chains_pass_the_fold_checks_of_standard() -> None:
    """What the thresholds are taken from must keep to them."""
    rules = load_preset("standard").checks
    lost = []
    for index in some("calibration", 12):
        chain = native(index)
        for name, measure in {**TOPOLOGY, **POTENTIALS}.items():
            found, bound = measure(chain).value, rules[name].threshold
            if found is not None and bound is not None and not rules[name].allows(found, bound):
                lost.append((CORPUS.ids[index], name, found))
    assert len(lost) <= 1, lost


def test_mirror_images_turn_to_the_left() -> None:
    """The hand of strand-helix-strand units is seen from the fold alone."""
    for index in map(int, CORPUS.indices("train", 100, 200)[:400:8]):
        chain = native(index)
        if (TOPOLOGY["left_handed_crossovers"](chain).details or "").startswith("Of"):
            break
    assert TOPOLOGY["left_handed_crossovers"](chain).value == 0.0
    atoms = np.asarray(chain.backbone, dtype=np.float64)
    # turning the path between strands over mirrors the fold; only its hydrogen bonds stay
    mirrored = Protein.from_backbone(atoms * np.array([1.0, 1.0, -1.0]))
    found = TOPOLOGY["left_handed_crossovers"](mirrored).value
    assert found is None or found >= 1.0


def test_shape_and_contacts_tell_a_rod_from_a_fold() -> None:
    """A straight helix is a line without long-range contacts."""
    angles = [np.full(60, np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    rod = Protein.from_backbone(backbone_from_internal(*angles))
    fold = native(some("calibration", 1)[0])
    values = {name: (measure(rod).value, measure(fold).value) for name, measure in TOPOLOGY.items()}
    assert values["anisotropy"][0] > 0.9 > 0.6 > values["anisotropy"][1]
    assert values["long_range_contacts"][0] == 0.0
    assert values["long_range_contacts"][1] > 0.5
    assert values["contact_order"][0] < values["contact_order"][1]
    assert values["closest_ca"][1] > 3.2
    assert values["loop_share"][0] < 0.2


def test_potentials_know_native_sequences() -> None:
    """The same residues in another order have much worse energies on the same backbone."""
    rng = np.random.default_rng(0)
    worse = {"contact_potential": [], "burial_potential": [], "torsion_potential": []}
    for index in some("test", 6):
        chain = native(index)
        shuffled = with_sequence(chain, "".join(rng.permutation(list(chain.sequence))))
        for name, differences in worse.items():
            one, two = (POTENTIALS[name](item).value for item in (chain, shuffled))
            assert one is not None
            assert two is not None
            differences.append(two - one)
    assert {name: np.mean(values) > 1.0 for name, values in worse.items()} == dict.fromkeys(
        worse, True
    )


def test_z_scores_of_held_out_chains_are_like_those_of_a_normal_distribution() -> None:
    """Test chains took no part in counting, so their z-scores say that nothing is off."""
    tables = load_potentials()
    values: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for index in some("test", 30):
        chain = chain_of(CORPUS, index)
        for name, energy in energies(chain, tables).items():
            values[name].append(tables.zscore(name, energy, len(chain.labels)))
    for name, scores in values.items():
        assert abs(np.mean(scores)) < 0.6, name
        assert 0.5 < np.std(scores) < 1.6, name


def test_unknown_residues_have_no_contact_energy() -> None:
    """Without a sequence there is nothing to say of contacts, but torsions are still judged."""
    bare = Protein.from_backbone(native(some("test", 1)[0]).backbone)
    assert POTENTIALS["contact_potential"](bare).value is None
    found = POTENTIALS["torsion_potential"](bare)
    assert found.value is not None
    assert "unknown" in found.details


def test_potentials_are_counted_saved_and_guarded(tmp_path: Path) -> None:
    """A rebuilt file gives back what was counted; a damaged one is refused."""
    made = count_potentials(CORPUS, some("train", 30), some("calibration", 25))
    path = save_potentials(made, CORPUS, tmp_path)
    again = load_potentials(tmp_path)
    for name in ("torsion", "contact", "burial", "mean"):
        np.testing.assert_allclose(getattr(again, name), getattr(made, name), atol=1e-5)
    assert made.contact.shape[1:3] == (20, 20)
    np.testing.assert_allclose(made.contact, np.swapaxes(made.contact, 1, 2))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    load_potentials.cache_clear()
    with pytest.raises(ProteinLabError, match="digest"):
        load_potentials(tmp_path)


def test_sequence_agreement_prefers_the_native_sequence() -> None:
    """The operator finds a native sequence likelier than the same residues shuffled."""
    measures = Validator("standard", ValidationOptions(backend="numpy")).measures
    chain = native(some("test", 1)[0])
    rng = np.random.default_rng(1)
    shuffled = with_sequence(chain, "".join(rng.permutation(list(chain.sequence))))
    one, two = (measures["sequence_perplexity"](item).value for item in (chain, shuffled))
    assert one is not None
    assert two is not None
    assert 1.0 < one < 10.0 < two
    assert (measures["sequence_recovery"](chain).value or 0.0) > 0.2
    bare = Protein.from_backbone(chain.backbone)
    assert measures["sequence_perplexity"](bare).value is None


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    """A check that lacks its weights did not run, and says why."""
    checks = named(
        Validator("standard", ValidationOptions(weights=tmp_path)).validate(
            native(some("test", 1)[0])
        )
    )
    for name in ("predicted_lddt", "sequence_perplexity"):
        assert checks[name].verdict == "not_run"
        assert "cannot be read" in checks[name].details


def test_the_score_of_all_atoms_has_the_published_value() -> None:
    """Cctbx gives 3.55 for these figures; with two terms swapped it would not."""
    assert combined_score(48.0, 9.95, 86.44) == pytest.approx(3.55, abs=0.005)


def leucines(chi1: float) -> Protein:
    """Build a helix of leucines with all atoms, by placing them on ideal bonds."""
    from protein_lab.geometry.backbone import place_atom

    angles = [np.full(16, np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    bare = Protein.from_backbone(backbone_from_internal(*angles), "L" * 16)
    place = {name: ATOM_NAMES.index(name) for name in ("N", "CA", "CB", "CG", "CD1", "CD2")}
    positions, mask = bare.atom_positions.astype(np.float64).copy(), bare.atom_mask.copy()
    n, ca, cb = (positions[:, place[name]] for name in ("N", "CA", "CB"))
    cg = place_atom(n, ca, cb, 1.53, np.radians(114.0), np.radians(chi1))
    for name, torsion in (("CD1", 180.0), ("CD2", -60.0)):
        positions[:, place[name]] = place_atom(
            ca, cb, cg, 1.53, np.radians(110.0), np.radians(torsion)
        )
        mask[:, place[name]] = True
    positions[:, place["CG"]] = cg
    mask[:, place["CG"]] = True
    return dataclasses.replace(bare, atom_positions=positions, atom_mask=mask)


def test_eclipsed_side_chains_are_outliers() -> None:
    """Staggered leucines pass, those with an eclipsed chi1 are all found."""
    assert rotamer_outliers(leucines(-65.0)).value == 0.0
    assert rotamer_outliers(leucines(-2.0)).value == 1.0


def test_side_chain_clashes_are_counted() -> None:
    """Two side chains pushed into each other make clashes that were not there."""
    sound = leucines(-65.0)
    before = clashscore(sound).value
    positions = sound.atom_positions.copy()
    positions[10, ATOM_NAMES.index("CD1")] = positions[3, ATOM_NAMES.index("CD1")] + 0.5
    after = clashscore(dataclasses.replace(sound, atom_positions=positions))
    assert before is not None
    assert after.value is not None
    assert after.value > before
    assert "A:4" in after.details


def test_backbones_have_no_side_chain_scores() -> None:
    """Where atoms are not there, nothing is scored."""
    bare = native(some("test", 1)[0])
    for measure in (clashscore, rotamer_outliers, all_atom_score):
        assert measure(bare).value is None


@pytest.mark.parametrize("kind", ["one residue", "two residues", "random", "all in one place"])
def test_absurd_structures_are_judged_without_an_accident(kind: str) -> None:
    """Whatever stands in a file gets verdicts, and nothing absurd passes everything."""
    rng = np.random.default_rng(0)
    atoms = {
        "one residue": rng.standard_normal((1, 4, 3)),
        "two residues": 3.0 * rng.standard_normal((2, 4, 3)),
        "random": 10.0 * rng.standard_normal((60, 4, 3)),
        "all in one place": np.zeros((40, 4, 3)),
    }[kind]
    checks = Validator("strict").validate(Protein.from_backbone(atoms), quick=True)
    assert any(check.verdict == "fail" for check in checks)
    assert all(check.value is None or np.isfinite(check.value) for check in checks)
