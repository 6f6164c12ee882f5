"""Validation: a sound chain passes everything, and each defect fails the check made for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.constants import CB_INDEX
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.training.fold_search import FoldSearch
from protein_lab.typing import Check, FloatArray
from protein_lab.validation import (
    available_presets,
    load_preset,
    measure_novelty,
    novelty_not_run,
    validate,
)
from protein_lab.validation.base import PRESETS, Finding, Rule, judge, run_checks
from protein_lab.validation.geometry import MEASURES, ramachandran_share


def torsions(phi: float, psi: float, length: int, omega: float = 180.0) -> FloatArray:
    """Build a regular chain from torsions in degrees."""
    angles = [np.full(length, np.radians(angle)) for angle in (phi, psi, omega)]
    return backbone_from_internal(*angles)


HELIX = torsions(-62.0, -42.0, 24)


def verdicts(protein: Protein) -> dict[str, Check]:
    """Run the geometry preset and return its checks by name."""
    return {check.name: check for check in validate(protein)}


def failed(backbone: FloatArray, sequence: str | None = None) -> set[str]:
    """Names of the checks that a backbone fails."""
    found = verdicts(Protein.from_backbone(backbone, sequence))
    return {name for name, check in found.items() if check.verdict == "fail"}


def test_an_ideal_helix_fails_nothing() -> None:
    """Exact geometry in the densest region is as good as it gets, and says so in numbers."""
    found = verdicts(Protein.from_backbone(HELIX))
    assert {check.verdict for check in found.values()} == {"pass", "not_applicable"}
    assert found["bond_lengths"].value == pytest.approx(0.0, abs=0.01)
    assert found["ramachandran_favored"].value == 1.0
    assert found["compactness"].verdict == "not_applicable"


def test_real_chains_pass() -> None:
    """Nearly all crystal structures pass, or the thresholds would be about something else."""
    corpus = Corpus.open()
    chosen = np.random.default_rng(3).choice(corpus.num_chains, 40, replace=False)
    names: list[str] = []
    for index in chosen:
        chain = corpus.chain(int(index))
        names += failed(chain.backbone, chain.sequence)
    assert len(names) <= 6, names


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        ("stretched bond", "bond_lengths"),
        ("bent angle", "bond_angles"),
        ("twisted peptide", "peptide_planarity"),
        ("cis peptides", "cis_peptides"),
        ("mirror image", "left_handed_helices"),
        ("gap", "chain_breaks"),
        ("pulled apart", "ca_distances"),
        ("folded onto itself", "clashes"),
        ("forbidden torsions", "ramachandran_outliers"),
        ("stretched out", "compactness"),
    ],
)
def test_each_defect_fails_its_check(defect: str, name: str) -> None:
    """Every check must be able to fail, for the reason it is named after."""
    assert name in failed(defective(defect))


def defective(defect: str) -> FloatArray:
    """Build a chain with one thing wrong."""
    chain = HELIX.copy()
    match defect:
        case "stretched bond":
            chain[5, 3] += (chain[5, 3] - chain[5, 2]) * 0.2
        case "bent angle":
            chain[5, 0] += 0.7 * np.array([1.0, 0.0, 0.0])
        case "twisted peptide":
            return torsions(-62.0, -42.0, 24, omega=140.0)
        case "cis peptides":
            return torsions(-62.0, -42.0, 24, omega=0.0)
        case "mirror image":
            return chain * np.array([1.0, 1.0, -1.0])
        case "gap":
            chain[12:] += 10.0
        case "pulled apart":
            chain[12:] += (chain[12, 0] - chain[11, 2]) * 0.4
        case "folded onto itself":
            chain[20] = chain[3] + 0.5
        case "forbidden torsions":
            return torsions(75.0, -100.0, 24)
        case "stretched out":
            return torsions(-120.0, 130.0, 60)
    return chain


def test_hands_are_told_from_real_cb_atoms() -> None:
    """A mirror image keeps bonds and angles; only the hand of CA gives it away."""
    sound = Protein.from_backbone(HELIX)
    positions = sound.atom_positions * np.array([1.0, 1.0, -1.0], dtype=np.float32)
    mirrored = verdicts(
        Protein(
            **{field: getattr(sound, field) for field in sound.__slots__}
            | {"atom_positions": positions}
        )
    )
    assert mirrored["chirality"].value == sound.num_residues
    assert mirrored["chirality"].verdict == "fail"
    assert mirrored["bond_lengths"].verdict == "pass"


def test_absent_cb_atoms_are_not_called_right_handed() -> None:
    """Glycine has no hand, so there is nothing to pass."""
    check = verdicts(Protein.from_backbone(HELIX, "G" * 24))["chirality"]
    assert (check.value, check.verdict) == (None, "not_applicable")


def test_missing_atoms_are_counted_and_do_not_stop_the_rest() -> None:
    """Real files lack atoms; the residues that are whole are still measured."""
    sound = Protein.from_backbone(HELIX)
    mask = sound.atom_mask.copy()
    mask[7, 0] = False
    fields = {field: getattr(sound, field) for field in sound.__slots__}
    found = verdicts(Protein(**fields | {"atom_mask": mask}))
    assert found["missing_atoms"].value == 1.0
    assert found["chain_breaks"].value == 1.0
    assert found["bond_lengths"].verdict == "pass"
    mask[:, 0] = False
    found = verdicts(Protein(**fields | {"atom_mask": mask}))
    assert found["missing_atoms"].value == 24.0
    assert found["clashes"].verdict == "not_applicable"


def test_the_details_name_the_place() -> None:
    """A number without a place helps nobody to mend it."""
    chain = HELIX.copy()
    chain[5, 3] += (chain[5, 3] - chain[5, 2]) * 0.2
    check = verdicts(Protein.from_backbone(chain))["bond_lengths"]
    assert check.details.startswith("Largest at A:6, C-O.")
    assert check.value == pytest.approx(0.246, abs=0.01)


def test_cis_before_proline_is_no_fault() -> None:
    """One in twenty bonds before proline is cis in nature."""
    cis = torsions(-62.0, -42.0, 12, omega=0.0)
    assert "cis_peptides" in failed(cis, "A" * 12)
    assert "cis_peptides" not in failed(cis, "P" * 12)


def test_the_sign_of_the_torsions_matters() -> None:
    """The populated regions are those of L amino acids: a helix's mirror image lies outside."""
    angle = np.radians([-63.0, 63.0, 120.0, -120.0])
    share = ramachandran_share(angle, np.radians([-42.0, 42.0, -130.0, 130.0]))
    assert share[0] < 0.5
    assert share[3] < 0.9
    assert share[2] > 0.98
    assert share[1] > 0.8


def test_presets_give_unit_and_reason_for_every_number() -> None:
    """A threshold without its reason cannot be judged; a measure without a rule never runs."""
    assert available_presets() == sorted(path.stem for path in PRESETS.glob("*.toml"))
    preset = load_preset("geometry")
    assert set(preset.checks) == set(MEASURES)
    for rule in preset.checks.values():
        assert rule.unit
        assert len(rule.reason) > 20


def test_unknown_presets_are_refused_with_a_hint() -> None:
    """Nothing is validated against a preset that was mistyped."""
    with pytest.raises(ProteinLabError, match="Did you mean 'geometry'"):
        validate(Protein.from_backbone(HELIX), preset="geometri")


def test_a_broken_preset_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited preset with a mistyped key is an error, not a silent default."""
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ndescription = ""\n[checks.clashes]\nunit = "x"\nreason = ""\nlimt = 1\n'
    )
    monkeypatch.setattr("protein_lab.validation.base.PRESETS", tmp_path)
    with pytest.raises(ProteinLabError, match="limt"):
        load_preset("mine")


def test_verdicts() -> None:
    """The threshold itself passes; a warning changes words, not the verdict."""
    rule = Rule(unit="x", threshold=2.0, warning=1.0, reason="")
    assert judge("a", Finding(2.0), rule).verdict == "pass"
    assert "more than 1 x" in judge("a", Finding(1.5), rule).details
    assert judge("a", Finding(2.1), rule).verdict == "fail"
    assert judge("a", Finding(None), rule).verdict == "not_applicable"
    least = Rule(unit="x", limit="at_least", threshold=2.0, reason="")
    assert judge("a", Finding(1.9), least).verdict == "fail"
    assert judge("a", Finding(2.0), least).verdict == "pass"
    assert judge("a", Finding(9.0), msgspec.structs.replace(rule, threshold=None)).verdict == (
        "not_applicable"
    )


def test_checks_without_a_measure_are_not_run() -> None:
    """What did not run is never a pass."""
    (check,) = run_checks(
        Protein.from_backbone(HELIX),
        msgspec.structs.replace(
            load_preset("geometry"), checks={"docking": Rule(unit="x", threshold=1.0, reason="")}
        ),
        MEASURES,
    )
    assert check.verdict == "not_run"
    assert check.value is None
    assert novelty_not_run().verdict == "not_run"


def test_novelty_looks_at_every_chain() -> None:
    """Of several chains the one with the nearest relative counts, and is named."""
    corpus = Corpus.open()
    indices = corpus.indices(min_length=60, max_length=80)[:8]
    search = FoldSearch(corpus, indices[:4])
    known, other = (corpus.chain(int(indices[place])) for place in (2, 6))
    atoms = np.concatenate([other.backbone, known.backbone + 100.0])
    belongs = np.repeat([0, 1], [len(other.backbone), len(known.backbone)])
    both = dataclasses.replace(
        Protein.from_backbone(atoms), chain_index=belongs.astype(np.int32), chain_ids=("A", "B")
    )
    check = measure_novelty(both, search)
    assert check.value == pytest.approx(1.0, abs=1e-3)
    assert known.id in check.details
    assert "chain B" in check.details
    alone = measure_novelty(Protein.from_backbone(other.backbone), search)
    assert alone.value is not None
    assert alone.value < 0.9


def test_cb_of_a_design_is_where_the_hand_is_read() -> None:
    """The check reads the CB column of the atom table."""
    assert Protein.from_backbone(HELIX).atom_mask[:, CB_INDEX].all()
