"""Secondary structure against mkdssp and pydssp, adherence and overlap against hand counts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydssp
import pytest

from protein_lab import metrics
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal, virtual_hydrogen
from protein_lab.training.corpus import CorpusChain

MKDSSP = shutil.which("mkdssp")


def chain_of(angles: list[tuple[float, float]]) -> np.ndarray:
    """Ideal chain (residue, 4, 3) with phi and psi in degrees and flat peptides."""
    phi, psi = np.deg2rad(np.array(angles)).T
    return backbone_from_internal(phi, psi, np.full(len(phi), np.pi))


def helix(length: int) -> np.ndarray:
    """Ideal alpha helix."""
    return chain_of([(-60.0, -45.0)] * length)


def write_pdb(backbone: np.ndarray, path: Path) -> None:
    """Write backbone atoms of alanines, by the columns of the PDB format."""
    lines = [
        "HEADER    BACKBONE                                01-JAN-00   1XYZ",
        "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1",
    ]
    for i, residue in enumerate(backbone):
        for k, (name, (x, y, z)) in enumerate(zip(("N", "CA", "C", "O"), residue, strict=True)):
            lines.append(
                f"ATOM  {4 * i + k + 1:5d}  {name:<3s} ALA A{i + 1:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {name[0]}"
            )
    path.write_text("\n".join([*lines, "END", ""]))


def run_mkdssp(backbone: np.ndarray, folder: Path) -> str:
    """Three states by mkdssp; its pi helices count as helix, which they interrupt."""
    source, target = folder / "chain.pdb", folder / "chain.dssp"
    write_pdb(backbone, source)
    command = [str(MKDSSP), "--output-format", "dssp", str(source), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    lines = target.read_text().splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("  #")) + 1
    letters = [line[16] for line in lines[start:] if line[13] != "!"]
    return "".join({"H": "H", "I": "H", "E": "E"}.get(letter, "L") for letter in letters)


@pytest.mark.skipif(MKDSSP is None, reason="the program mkdssp is not installed")
def test_dssp_agrees_with_mkdssp(real_chains: list[CorpusChain], tmp_path: Path) -> None:
    """On real backbones at least 97 % of mkdssp's H, E and of ours are the other's too."""
    pairs: list[tuple[str, str]] = []
    for chain in real_chains[:14]:
        backbone = np.round(chain.backbone.astype(np.float64), 3)
        expected, found = run_mkdssp(backbone, tmp_path), metrics.dssp(backbone)
        assert len(expected) == len(found)
        pairs.extend(zip(expected, found, strict=True))
    for state in "HE":
        ours = [expected for expected, found in pairs if found == state]
        theirs = [found for expected, found in pairs if expected == state]
        assert min(len(ours), len(theirs)) > 100
        assert theirs.count(state) / len(theirs) > 0.97
        assert ours.count(state) / len(ours) > 0.97


def test_dssp_agrees_with_pydssp(real_chains: list[CorpusChain]) -> None:
    """A simplified assignment agrees on 93 %, once isolated bridges are strands as they are there.

    pydssp also starts and ends helices at lone turns, so full agreement is not to be expected.
    """
    same = total = 0
    for chain in real_chains:
        expected = "".join(pydssp.assign(chain.backbone.astype(np.float64))).replace("-", "L")
        found = list(metrics.dssp(chain.backbone))
        for ladder in metrics.ladders(chain.backbone, min_bridges=1):
            for residue in ladder.first + ladder.second:
                found[residue] = "E" if found[residue] == "L" else found[residue]
        same += sum(a == b for a, b in zip(expected, found, strict=True))
        total += len(found)
    assert same / total > 0.93


def test_an_ideal_helix_is_one_helix_but_for_its_ends() -> None:
    """The first and the last residue of a helix are never inside two consecutive turns."""
    assert metrics.dssp(helix(20)) == "L" + "H" * 18 + "L"
    assert metrics.dssp(helix(5)) == "LLLLL"
    assert metrics.dssp(helix(6)) == "LHHHHL"
    assert metrics.dssp(helix(1)) == "L"
    assert metrics.dssp(chain_of([(-120.0, 130.0)] * 20)) == "L" * 20


def test_a_break_ends_a_helix() -> None:
    """Turns do not cross chains, whether the index says so or the peptide bond is missing."""
    whole = helix(20)
    split = metrics.dssp(whole, chain_index=np.repeat([0, 1], 10))
    assert split[9:11] == "LL"
    assert split.count("H") == 16
    parted = whole.copy()
    parted[10:] += 50.0
    assert metrics.dssp(parted) == split


def test_hydrogen_bonds_of_a_helix_and_their_energy() -> None:
    """Residue i + 4 gives its N-H to residue i; the energy is that of four point charges."""
    atoms = helix(12)
    donor, acceptor, energy = metrics.hydrogen_bonds(atoms)
    np.testing.assert_array_equal(donor, np.arange(4, 12))
    np.testing.assert_array_equal(acceptor, np.arange(8))
    n, h = atoms[4, 0], virtual_hydrogen(atoms)[4]
    c, o = atoms[0, 2], atoms[0, 3]
    terms = [1 / np.linalg.norm(a - b) for a, b in ((o, n), (c, h), (o, h), (c, n))]
    expected = 0.084 * 332 * (terms[0] + terms[1] - terms[2] - terms[3])
    assert energy[0] == pytest.approx(expected, abs=1e-9)
    assert -4.0 < expected < -0.5


def test_ladders_pair_residues_as_their_bonds_say(real_chains: list[CorpusChain]) -> None:
    """Both strands of a ladder run as its orientation says and are assigned E."""
    seen = set()
    for chain in real_chains[:12]:
        states = metrics.dssp(chain.backbone)
        for ladder in metrics.ladders(chain.backbone):
            seen.add(ladder.orientation)
            step = np.diff(ladder.second)
            assert (np.diff(ladder.first) > 0).all()
            assert (step >= 0).all() if ladder.orientation == "parallel" else (step <= 0).all()
            assert {states[i] for i in ladder.first + ladder.second} <= {"E", "H"}
            ca = chain.backbone[:, 1]
            apart = np.linalg.norm(ca[list(ladder.first)] - ca[list(ladder.second)], axis=-1)
            assert apart.max() < 8.0
    assert seen == {"parallel", "antiparallel"}
    assert len(metrics.ladders(helix(20))) == 0


def test_isolated_bridges_are_kept_only_when_asked(real_chains: list[CorpusChain]) -> None:
    """min_bridges = 1 adds ladders of one bridge and changes no other."""
    for chain in real_chains[:6]:
        usual = metrics.ladders(chain.backbone)
        every = metrics.ladders(chain.backbone, min_bridges=1)
        assert [ladder for ladder in every if len(ladder.first) > 1] == usual


def test_handedness_tells_a_helix_from_its_mirror_image() -> None:
    """DSSP gives both the same letters, so the hand must be counted apart."""
    right = helix(20)
    left = right * [1, 1, -1]
    states = metrics.dssp(right)
    assert metrics.dssp(left) == states
    assert metrics.helix_handedness(right, states) == (15, 0)
    assert metrics.helix_handedness(left, states) == (0, 15)
    assert metrics.helix_handedness(right, "L" * 20) == (0, 0)


def test_real_helices_are_right_handed(real_chains: list[CorpusChain]) -> None:
    """Only kinks where two helices meet turn left: fewer than one turn in a hundred."""
    counts = [metrics.helix_handedness(c.backbone, c.secondary_structure) for c in real_chains]
    right, left = np.sum(counts, axis=0)
    assert right > 300
    assert left < 0.01 * right


def test_adherence_counts_only_what_was_asked() -> None:
    """Three of four H, one of two E, no L asked; free residues do not count."""
    found = metrics.secondary_structure_adherence("HHHH--EE", "HHHLLEEL")
    assert found["H"] == 0.75
    assert found["E"] == 0.5
    assert np.isnan(found["L"])


def test_tolerance_forgives_frayed_ends_but_not_missing_segments() -> None:
    """Two residues at either end are left out, yet a lost strand stays lost."""
    asked, frayed = "LLLLHHHHHHHHLLLL", "LLLLLLHHHHHHHLLL"
    assert metrics.secondary_structure_adherence(asked, frayed)["H"] == 0.75
    assert metrics.secondary_structure_adherence(asked, frayed, tolerance=2)["H"] == 1.0
    lost = metrics.secondary_structure_adherence("LLEEELL", "LLLLLLL", tolerance=2)
    assert lost["E"] == 0.0


@pytest.mark.parametrize(
    ("obtained", "percent"),
    [
        ("LHHHHHHHHHHL", 100.0),
        ("LHLHLHLHLHLL", 12.5),
        ("LLLHHHHHLLLL", 63.2),
    ],
)
def test_segment_overlap_of_the_published_examples(obtained: str, percent: float) -> None:
    """Against a ten-residue helix a broken prediction scores far below a short one.

    By hand, for the second: the helix meets five single H, each adding 10 * 1/10, weight 50; the
    loops add 1 and 1/2, weight 2; (5 + 1.5) / 52 = 12.5 %. For the third: 10 * (5 + 2) / 10, 1/3
    and 1/4, weight 12; 63.2 %.
    """
    found = metrics.segment_overlap("LHHHHHHHHHHL", obtained)
    assert 100 * found == pytest.approx(percent, abs=0.05)


def test_segment_overlap_ignores_what_was_left_open() -> None:
    """A helix may go on where nothing was asked; nothing asked at all gives no number."""
    assert metrics.segment_overlap("--HHHH--", "HHHHHHHH") == 1.0
    assert metrics.segment_overlap("LLHHHHLL", "HHHHHHHH") < 1.0
    assert np.isnan(metrics.segment_overlap("----", "HHLL"))


def test_wrong_states_are_named() -> None:
    """Other lengths and alphabets raise the library's error."""
    with pytest.raises(GeometryError, match="4 states were asked and 3"):
        metrics.segment_overlap("HHHH", "HHH")
    with pytest.raises(GeometryError, match="'G' came"):
        metrics.secondary_structure_adherence("HHHH", "HHGH")
    with pytest.raises(GeometryError, match="tolerance"):
        metrics.secondary_structure_adherence("HHHH", "HHHH", tolerance=-1)
    with pytest.raises(GeometryError, match="chain_index"):
        metrics.dssp(helix(8), chain_index=[0, 0])
    with pytest.raises(GeometryError, match="letters"):
        metrics.helix_handedness(helix(8), "HHH")
