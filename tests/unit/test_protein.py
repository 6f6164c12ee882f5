"""The protein record: what it accepts, what it refuses, how it shows itself."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from protein_lab.constants import ATOM_NAMES, BOND_CA_CB, CB_INDEX
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray


def helix(length: int = 12) -> FloatArray:
    """Return an ideal right-handed helix, shape (residue, 4, 3)."""
    turn = np.full(length, np.deg2rad(-57.0))
    return backbone_from_internal(turn, np.full(length, np.deg2rad(-47.0)), np.full(length, np.pi))


@pytest.fixture
def protein() -> Protein:
    """Return a helix of known sequence."""
    return Protein.from_backbone(helix(), "ACDEFGHIKLMX", name="helix")


def test_backbone_comes_back(protein: Protein) -> None:
    """The backbone that goes in comes out, with sequence and numbering from 1."""
    np.testing.assert_allclose(protein.backbone, helix(), atol=1e-5)
    assert protein.sequence == "ACDEFGHIKLMX"
    assert protein.residue_index.tolist() == list(range(1, 13))
    assert protein.author_number.tolist() == list(range(1, 13))
    assert protein.has_backbone.all()


def test_every_residue_but_glycine_gets_a_cb(protein: Protein) -> None:
    """CB is present except on glycine, at the ideal bond length, and ``cb`` fills the gap."""
    assert protein.atom_mask[:, CB_INDEX].tolist() == [letter != "G" for letter in protein.sequence]
    distance = np.linalg.norm(protein.cb - protein.ca, axis=1)
    np.testing.assert_allclose(distance, BOND_CA_CB, atol=0.02)


def test_cb_has_the_left_handed_chirality_of_l_amino_acids(protein: Protein) -> None:
    """Mirroring the backbone would give the other sign: the CB lies on the L side."""
    n, ca, c = (protein.backbone[:, i] for i in range(3))
    side = np.einsum("ij,ij->i", np.cross(n - ca, c - ca), protein.cb - ca)
    assert (side > 0).all()


def test_without_a_sequence_residues_are_unknown() -> None:
    """A backbone alone has the sequence X and still gets CB atoms."""
    protein = Protein.from_backbone(helix(5))
    assert protein.sequence == "XXXXX"
    assert protein.atom_mask[:, CB_INDEX].all()


def test_arrays_are_read_only_copies() -> None:
    """Nobody can change a protein, neither through its arrays nor through the arrays given."""
    backbone = helix(5)
    protein = Protein.from_backbone(backbone)
    before = protein.ca.copy()
    backbone += 1.0
    np.testing.assert_array_equal(protein.ca, before)
    with pytest.raises(ValueError, match="read-only"):
        protein.atom_positions[0, 0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        protein.name = "other"  # type: ignore[misc]


def test_survives_pickling(protein: Protein) -> None:
    """Workers of a cluster get the same protein."""
    copy = pickle.loads(pickle.dumps(protein))  # noqa: S301
    np.testing.assert_array_equal(copy.atom_positions, protein.atom_positions)
    assert copy.chain_ids == protein.chain_ids


def test_absent_atoms_are_zero_and_nan_in_the_backbone(protein: Protein) -> None:
    """Garbage behind the mask is cleared; the backbone view shows NaN instead of an origin."""
    mask = protein.atom_mask.copy()
    mask[3, ATOM_NAMES.index("O")] = False
    changed = dataclasses.replace(protein, atom_mask=mask)
    assert not changed.atom_positions[3, ATOM_NAMES.index("O")].any()
    assert np.isnan(changed.backbone[3, 3]).all()
    assert changed.has_backbone.tolist() == [i != 3 for i in range(12)]


def test_select_chain_keeps_numbers(protein: Protein) -> None:
    """One chain of two comes out with its own numbers; an unknown chain is named in the error."""
    chain_index = np.repeat([0, 1], 6).astype(np.int32)
    both = dataclasses.replace(
        protein,
        chain_index=chain_index,
        residue_index=np.tile(np.arange(1, 7), 2),
        author_number=np.arange(12) - 3,
        chain_ids=("A", "heavy"),
    )
    part = both.select_chain("heavy")
    assert part.sequence == protein.sequence[6:]
    assert part.chain_ids == ("heavy",)
    assert part.author_number.tolist() == list(range(3, 9))
    np.testing.assert_array_equal(part.ca, protein.ca[6:])
    with pytest.raises(GeometryError, match=r"no chain 'B'.*A, heavy"):
        both.select_chain("B")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("atom_positions", np.zeros((12, 14, 3)), r"atom_positions.*\(12, 37, 3\).*\(12, 14, 3\)"),
        ("atom_mask", np.ones((11, 37), bool), r"atom_mask.*\(12, 37\).*\(11, 37\)"),
        ("aatype", np.full(12, 21), "0 to 20"),
        ("aatype", np.full(12, 300), "whole numbers within int8"),
        ("aatype", np.full(12, 0.5), "whole numbers"),
        ("residue_index", np.arange(12), "numbers from 1"),
        ("residue_index", np.ones(12, int), "increase"),
        ("residue_index", np.arange(12) + 2_000_000, "up to 1000000"),
        ("author_number", np.ones(12, int), "same author number"),
        ("chain_index", np.ones(12, int), "chain_index"),
        ("chain_index", np.arange(12) % 2, "in blocks"),
        ("chain_ids", ("A", "B"), "2 chain ids"),
        ("chain_ids", ("A B",), "printable"),
        ("chain_ids", ("?",), "neither"),
        ("chain_ids", ("",), "1 to 32"),
        ("chain_ids", ("ä",), "ASCII"),
        ("insertion_code", ("",) * 11, "11 entries"),
        ("insertion_code", ("AB",) * 12, "one printable character"),
        ("b_factor", np.full(12, np.nan), "B-factor that is not finite"),
    ],
)
def test_wrong_fields_are_refused(
    protein: Protein, field: str, value: object, message: str
) -> None:
    """Every wrong field is named together with what was expected."""
    with pytest.raises(GeometryError, match=message):
        dataclasses.replace(protein, **{field: value})


def test_bad_atoms_are_refused(protein: Protein) -> None:
    """A residue without CA or with an infinite coordinate is named by its position."""
    mask = protein.atom_mask.copy()
    mask[4, ATOM_NAMES.index("CA")] = False
    with pytest.raises(GeometryError, match="residue 5 has no CA"):
        dataclasses.replace(protein, atom_mask=mask)
    positions = protein.atom_positions.copy()
    positions[6:8, 0, 0] = np.inf
    with pytest.raises(GeometryError, match=r"residue 7 \(and 1 more\).*not finite"):
        dataclasses.replace(protein, atom_positions=positions)


@pytest.mark.parametrize(
    ("backbone", "sequence", "message"),
    [
        (np.zeros((3, 3, 3)), None, r"\(residue, 4, 3\)"),
        (np.zeros((0, 4, 3)), None, r"\(0, 4, 3\)"),
        (helix(3), "AC", "3 residues, got 2"),
        (helix(3), "AcB", "'B', 'c'"),
        (helix(3) * np.nan, None, "not finite"),
    ],
)
def test_from_backbone_refuses(backbone: FloatArray, sequence: str | None, message: str) -> None:
    """Wrong shapes, sequences that do not fit and coordinates that are not finite are refused."""
    with pytest.raises(GeometryError, match=message):
        Protein.from_backbone(backbone, sequence)


def test_repr_is_one_line(protein: Protein) -> None:
    """The short form names the protein, its size and its chains."""
    assert repr(protein) == "Protein('helix', 12 residues, 1 chain A:12)"


def test_html_is_escaped_and_says_when_it_cannot_draw(
    protein: Protein, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile name cannot inject markup; without plotting there is a note, not an error."""
    monkeypatch.setitem(sys.modules, "protein_lab.plotting", None)
    shown = dataclasses.replace(protein, name="<script>alert(1)</script>")._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "ACDEFGHIKLMX" in shown
    assert "No 3-D view" in shown


def test_html_frames_the_viewer(protein: Protein, monkeypatch: pytest.MonkeyPatch) -> None:
    """The viewer is a whole page, so it stands in a frame of its own, escaped."""
    from types import ModuleType

    plotting = ModuleType("protein_lab.plotting")
    plotting.view_html = lambda protein: f'<html lang="en">{protein.num_residues}</html>'  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "protein_lab.plotting", plotting)
    shown = protein._repr_html_()
    assert 'srcdoc="&lt;html lang=&quot;en&quot;&gt;12&lt;/html&gt;"' in shown


def test_import_is_light() -> None:
    """The record and the file module load neither biotite nor an array framework."""
    code = (
        "import sys, protein_lab.protein, protein_lab.structure_files;"
        "heavy = {'biotite', 'torch', 'jax', 'scipy.stats', 'msgpack'} & set(sys.modules);"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
