"""Checks that start something else: the force field, and the user's own folding program."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.validation import ValidationOptions, Validator, physics
from protein_lab.validation.folding import measures as folding_measures
from protein_lab.validation.physics import measures as physics_measures

SEQUENCE = "AEAAAKEAAAKEAAAKA"


def helix(sequence: str = SEQUENCE) -> Protein:
    """Build a small helix that a real force field likes."""
    angles = [np.full(len(sequence), np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    return Protein.from_backbone(backbone_from_internal(*angles), sequence)


PROGRAM = """
import pathlib, shutil, sys, time
fasta, out, source, mode = sys.argv[1:]
text = pathlib.Path(fasta).read_text()
assert text.startswith(">") and text.split()[1].isalpha(), text
if mode == "slow":
    time.sleep(60)
if mode == "fail":
    sys.exit("no memory")
if mode != "nothing":
    target = pathlib.Path(out) / "ranked"
    target.mkdir()
    shutil.copy(source, target / ("model" + pathlib.Path(source).suffix))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Write a real program that answers with a copy of a structure file."""
    path = tmp_path / "fold me.py"
    path.write_text(PROGRAM)
    return path


def command(program: Path, source: Path, mode: str = "copy") -> str:
    """Write the command as a user types it."""
    words = [sys.executable, str(program)]
    quoted = " ".join(shlex.quote(word) for word in words)
    return f"{quoted} {{fasta}} {{out}} {shlex.quote(str(source))} {mode}"


def fold(protein: Protein, text: str, seconds: float = 60.0) -> tuple[float | None, str, bool]:
    """Run the check; returns RMSD, details and whether it ran."""
    options = ValidationOptions(folding=text, folding_seconds=seconds)
    found = folding_measures(options)["self_consistency_rmsd"](protein)
    return found.value, found.details, found.has_run


@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_a_structure_that_comes_back_is_compared(
    program: Path, tmp_path: Path, ending: str
) -> None:
    """The same structure, moved, has no RMSD; a bent one has, and its TM-score falls."""
    protein = helix()
    moved = Protein.from_backbone(np.asarray(protein.backbone)[..., [1, 2, 0]] + 30.0, SEQUENCE)
    moved.save(tmp_path / f"same.{ending}")
    value, details, has_run = fold(protein, command(program, tmp_path / f"same.{ending}"))
    assert has_run
    assert value == pytest.approx(0.0, abs=0.01)
    assert sys.executable in details
    angles = [np.full(len(SEQUENCE), np.radians(angle)) for angle in (-120.0, 130.0, 180.0)]
    strand = Protein.from_backbone(backbone_from_internal(*angles), SEQUENCE)
    strand.save(tmp_path / f"other.{ending}")
    options = ValidationOptions(folding=command(program, tmp_path / f"other.{ending}"))
    both = folding_measures(options)
    assert (both["self_consistency_rmsd"](protein).value or 0.0) > 3.0
    assert (both["self_consistency_tm"](protein).value or 1.0) < 0.5


@pytest.mark.parametrize(
    ("mode", "message"), [("fail", "no memory"), ("nothing", "no structure file")]
)
def test_a_program_that_fails_did_not_run(
    program: Path, tmp_path: Path, mode: str, message: str
) -> None:
    """Failures are told and never become numbers."""
    protein = helix()
    protein.save(tmp_path / "same.pdb")
    value, details, has_run = fold(protein, command(program, tmp_path / "same.pdb", mode))
    assert (value, has_run) == (None, False)
    assert message in details


def test_a_program_that_takes_too_long_is_stopped(program: Path, tmp_path: Path) -> None:
    """The limit holds."""
    protein = helix()
    protein.save(tmp_path / "same.pdb")
    value, details, has_run = fold(protein, command(program, tmp_path / "same.pdb", "slow"), 0.5)
    assert (value, has_run) == (None, False)
    assert "longer than 0.5 s" in details


def test_another_sequence_is_refused(program: Path, tmp_path: Path) -> None:
    """A structure of other residues is an answer to another question."""
    helix("G" * len(SEQUENCE)).save(tmp_path / "other.pdb")
    value, details, has_run = fold(helix(), command(program, tmp_path / "other.pdb"))
    assert (value, has_run) == (None, False)
    assert "another sequence" in details


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "PROTEIN_LAB_FOLDING"),
        ("fold {fasta}", "{out}"),
        ("/no/such/program {fasta} {out}", "cannot be started"),
        ("fold '{fasta} {out}", "unclear"),
    ],
)
def test_bad_commands_are_told(text: str, message: str) -> None:
    """Every mistake in the command has its message."""
    value, details, has_run = fold(helix(), text)
    assert (value, has_run) == (None, False)
    assert message in details


def test_unknown_residues_cannot_be_folded() -> None:
    """Without a sequence there is nothing to fold."""
    bare = Protein.from_backbone(helix().backbone)
    value, details, has_run = fold(bare, "fold {fasta} {out}")
    assert (value, has_run) == (None, True)
    assert "not known" in details


def test_physics_without_its_packages_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named with the extra that brings it, and nothing passes."""
    monkeypatch.setattr(physics, "NEEDS", ("no_such_package",))
    checks = Validator("strict", ValidationOptions(folding="")).validate(helix())
    found = {check.name: check for check in checks}
    for name in ("minimized_energy", "minimized_rmsd", "simulated_rmsd", "contacts_kept"):
        assert found[name].verdict == "not_run"
        assert "protein-lab[sim]" in found[name].details


def test_a_helix_survives_the_force_field() -> None:
    """Side chains are placed, the energy falls, the same seed gives the same numbers."""
    pytest.importorskip("openmm")
    pytest.importorskip("pdbfixer")
    protein = helix()
    options = ValidationOptions(simulation_steps=20, seed=3)
    first, again = (
        {name: measure(protein) for name, measure in physics_measures(options).items()}
        for _ in range(2)
    )
    assert first == again
    assert (first["minimized_energy"].value or 0.0) < 0.0
    assert "placed" in first["minimized_energy"].details
    assert (first["minimized_rmsd"].value or 9.0) < 1.5
    assert (first["contacts_kept"].value or 0.0) > 0.8


def test_physics_needs_a_whole_known_chain() -> None:
    """Unknown residues have no side chains to place."""
    pytest.importorskip("openmm")
    pytest.importorskip("pdbfixer")
    bare = Protein.from_backbone(helix().backbone)
    found = physics_measures(ValidationOptions())["minimized_energy"](bare)
    assert (found.value, found.has_run) == (None, True)


def test_time_that_does_not_suffice_is_told() -> None:
    """A run that is cut short says so."""
    pytest.importorskip("openmm")
    pytest.importorskip("pdbfixer")
    options = ValidationOptions(simulation_steps=500, simulation_seconds=0.0)
    found = physics_measures(options)["simulated_rmsd"](helix())
    assert "did not suffice" in found.details
