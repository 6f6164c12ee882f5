"""Motifs: contigs, what is read from structures, where they are put, and how they pull."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.constants import AMINO_ACIDS
from protein_lab.constraints.base import (
    Layout,
    Placing,
    Restraining,
    Scope,
    SequenceAsking,
    Shaping,
)
from protein_lab.constraints.contig import Gap, Segment, read_contig, spacing_of
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.motif_fragments import local_states, segment_axis
from protein_lab.constraints.structure_source import (
    StructureSource,
    embed_sources,
    select_residues,
    structure_text,
)
from protein_lab.design.request import DesignRequest, check_request, decode_request
from protein_lab.errors import InvalidRequestError, ProteinLabError
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.corpus import CorpusChain
from protein_lab.typing import FloatArray


@pytest.fixture
def chain(real_chains: list[CorpusChain]) -> Protein:
    """Give a real chain."""
    return Protein.from_backbone(real_chains[3].backbone, real_chains[3].sequence)


@pytest.fixture
def source(chain: Protein) -> StructureSource:
    """Give its text."""
    return StructureSource(text=structure_text(chain))


def turned(atoms: FloatArray, seed: int = 0) -> FloatArray:
    """Move coordinates as a rigid body."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return atoms @ (turn * np.sign(np.linalg.det(turn))).T + 30.0


def test_contigs_are_read_as_users_write_them() -> None:
    """Lengths, ranges, single residues, negative numbers, insertion codes, further sources."""
    assert read_contig("[10-40/A163-A181, 5]") == (
        Gap(10, 40),
        Segment(0, "A", (163, ""), (181, "")),
        Gap(5, 5),
    )
    assert read_contig("A23A/2:B-3--1") == (
        Segment(0, "A", (23, "A"), (23, "A")),
        Segment(1, "B", (-3, ""), (-1, "")),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10-40/?", "'?'"),
        ("40-10", "Write 10-40"),
        ("A1-B5", "cannot be read"),
        ("0:A1", "cannot be read"),
        ("", "cannot be read"),
        ("A1-5/0 B3-9", "Chain breaks are not designed"),
        ("99999", "at most 2000"),
        ("/".join(["1"] * 300), "at most 200"),
    ],
)
def test_bad_contigs_are_explained(text: str, message: str) -> None:
    """Each says what cannot be read."""
    with pytest.raises(ProteinLabError) as error:
        read_contig(text)
    assert message in str(error.value)


def test_every_combination_of_lengths_is_equally_likely() -> None:
    """Counted by dynamic programming, drawn without rejection."""
    spacing = spacing_of(read_contig("0-2/A1/0-3/A2/1-2"), [1, 1])
    rng = np.random.default_rng(0)
    seen = Counter(spacing.draw(6, rng) for _ in range(3000))
    assert all(sum(gaps) == 4 for gaps in seen)
    assert len(seen) == 6
    assert min(seen.values()) > 400
    assert max(seen.values()) < 600
    assert spacing.residues((2, 0, 2)).tolist() == [2, 3]
    assert (spacing.shortest, spacing.longest) == (3, 9)
    wide = spacing_of(read_contig("0-20/A1/0-3"), [1])
    assert list(wide.lengths(5, 12)) == [10, 11, 12]
    assert not spacing.lengths(0, 0)
    long = spacing_of(read_contig("/".join(f"0-2000/A{k}" for k in range(1, 60))), [1] * 59)
    assert sum(long.draw(2000, rng)) == 2000 - 59


def test_a_motif_is_placed_anew(source: StructureSource) -> None:
    """Any allowed length, its residues in order, its states where it lies."""
    motif = Motif(source=source, contig="5-30/A10-20/10-40/A30-36/5-30")
    assert isinstance(motif, Placing)
    rng = np.random.default_rng(1)
    placed = [motif.place(60, 70, rng) for _ in range(200)]
    assert {item.length for item in placed} == set(range(60, 71))
    assert len({item.residues for item in placed}) > 100
    states = motif.residues().states
    for item in placed:
        assert len(item.states) == item.length
        assert "".join(item.states[i] for i in item.residues) == states
        assert item.states.count("-") == item.length - len(states)
    with pytest.raises(ProteinLabError, match="makes chains of"):
        motif.place(300, 300, rng)


def test_fixed_positions_are_kept(source: StructureSource) -> None:
    """Positions count from 1; only the length is drawn."""
    motif = Motif(source=source, contig="A10-12/A16", positions=(5, 20))
    placed = motif.place(40, 50, np.random.default_rng(0))
    assert placed.residues == (4, 5, 6, 19)
    assert 40 <= placed.length <= 50
    with pytest.raises(ProteinLabError, match="ends at residue 20, but the chain has 15"):
        motif.restraint(Layout(15, ()))


def test_the_chain_itself_holds_its_motif(chain: Protein, source: StructureSource) -> None:
    """The RMSD is true: zero for the same atoms, and what a known shift makes of it."""
    motif = Motif(source=source, contig="9/A10-20/9/A30-36/5", groups=(1, 2))
    whole = motif.evaluate(select_residues(chain, range(41)), Layout(41, ()))
    assert whole.verdict == "pass"
    assert whole.value == pytest.approx(0.0, abs=2e-3)
    assert "18 amino acids" in whole.details
    atoms = turned(chain.backbone[:41].astype(float))
    atoms[9:20] += np.array([30.0, 0.0, 0.0])
    moved = Protein.from_backbone(atoms)
    assert motif.evaluate(moved, Layout(41, ())).verdict == "pass"
    together = msgspec.structs.replace(motif, groups=None)
    found = together.evaluate(moved, Layout(41, ()))
    assert found.verdict == "fail"
    assert found.value is not None
    assert 5.0 < found.value < 15.0
    unknown = Motif(source=source, contig="0-30/A10-20/0-30")
    assert unknown.evaluate(moved, Layout(41, ())).verdict == "not_run"
    placed = Layout(41, (), places={unknown: tuple(range(9, 20))})
    assert unknown.evaluate(moved, placed).verdict == "pass"


def test_energy_is_zero_at_home_and_its_gradient_right(
    chain: Protein, source: StructureSource
) -> None:
    """Checked by finite differences, near and far from the motif, with two groups."""
    motif = Motif(source=source, contig="9/A10-20/9/A30-36/5/A42/2", groups=(1, 2, 1))
    assert isinstance(motif, Restraining)
    layout = Layout(44, ())
    restraint = motif.restraint(layout)
    backbone = chain.backbone[:44].astype(float)
    atoms = np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)
    assert restraint(turned(atoms))[0] == pytest.approx(0.0, abs=1e-4)
    rng = np.random.default_rng(3)
    curve = axis_curve(atoms[:, 1])
    for size in (0.3, 8.0):
        noisy = atoms + size * rng.normal(size=atoms.shape)
        bent = curve + size * rng.normal(size=curve.shape)
        for energy, start in ((restraint, noisy), (restraint.on_curve, bent)):
            value, gradient = energy(start)
            way = rng.normal(size=start.shape)
            step = 1e-5
            slope = (energy(start + step * way)[0] - energy(start - step * way)[0]) / (2 * step)
            assert (gradient * way).sum() == pytest.approx(slope, rel=1e-5)
            assert value > 0.0
            assert energy(turned(start))[0] == pytest.approx(value, rel=1e-6)
            assert not gradient[:9].any()
    pulls = []
    for distance in (50.0, 100.0):
        far = atoms.copy()
        far[9:20] += distance
        pulls.append(np.linalg.norm(restraint(far)[1]))
    assert pulls[1] < 1.01 * pulls[0]


def test_axes_of_segments_are_those_of_the_chain(real_chains: list[CorpusChain]) -> None:
    """Where the kernel is known the axis is right, and helices are continued past their ends."""
    checked = 0
    for chain in real_chains:
        states, axis = chain.secondary_structure, axis_curve(chain.backbone[:, 1])
        start = states.find("H" * 16)
        if start < 0:
            continue
        inner = slice(start + 4, start + 12)
        found, weight = segment_axis(
            chain.backbone[inner, 1].astype(float), local_states(chain.backbone[inner])
        )
        assert weight == pytest.approx(np.ones(8), abs=1e-3)
        assert np.linalg.norm(found - axis[inner], axis=-1).mean() < 1.0
        checked += 1
    assert checked > 3


def test_states_of_fragments_agree_with_dssp(real_chains: list[CorpusChain]) -> None:
    """Helices and strands are found without the partners that DSSP needs."""
    agree = total = 0
    for chain in real_chains:
        whole = dssp(chain.backbone)
        start = len(whole) // 3
        found = local_states(chain.backbone[start : start + 25])
        pairs = [(a, b) for a, b in zip(found, whole[start : start + 25], strict=True) if b in "HE"]
        agree += sum(a == b for a, b in pairs)
        total += len(pairs)
    assert agree > 0.85 * total


def test_only_kept_amino_acids_are_asked(chain: Protein, source: StructureSource) -> None:
    """Fixed where kept, open where masked and outside the motif."""
    motif = Motif(source=source, contig="3/A10-13/3", mask="A11-12")
    assert isinstance(motif, SequenceAsking)
    bias = motif.residue_bias(Layout(10, ()))
    assert np.isfinite(bias).sum(axis=1).tolist() == [20, 20, 20, 1, 20, 20, 1, 20, 20, 20]
    assert bias[3, AMINO_ACIDS.index(chain.sequence[9])] == 0.0
    assert not msgspec.structs.replace(motif, sequence="mask").residue_bias(Layout(10, ())).any()


def test_torsions_are_those_of_the_motif(source: StructureSource) -> None:
    """One angle is missing at each end of a segment."""
    motif = Motif(source=source, contig="3/A10-13/3")
    assert isinstance(motif, Shaping)
    given = motif.torsions(Layout(10, ()))
    assert np.isnan(given[[0, 1, 2, 7, 8, 9]]).all()
    assert np.isnan(given[3, 0])
    assert np.isfinite(given[4:6]).all()


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"contig": "5/C10-20/5"}, "contig", "no chain C"),
        ({"contig": "5/A900-920/5"}, "contig", "no residue 900"),
        ({"contig": "5/A20-10/5"}, "contig", "ends before it begins"),
        ({"contig": "10-20"}, "contig", "at least one segment"),
        ({"contig": "5/A10-20/5/A15-25/5"}, "contig", "used twice"),
        ({"contig": "5/2:A10/5"}, "contig", "source 2"),
        ({"contig": "5/A10-20/5", "mask": "A50"}, "mask", "not a residue of the motif"),
        ({"contig": "5/A10-20/5", "mask": "A14-12"}, "mask", "first residue before the last"),
        ({"contig": "5/A10-20/5", "mask": "2:A12"}, "mask", "not a residue of the motif"),
        ({"contig": "5/A10-20/5", "groups": [1, 2]}, "groups", "Expected 1 numbers"),
        ({"contig": "5/A10-20/5", "positions": [3]}, "positions", "given twice"),
        ({"contig": "A10-20/A30", "positions": [3, 10]}, "positions[1]", "before it ends"),
        ({"contig": "A10-20", "positions": [75]}, "positions", "ends at residue 85"),
        ({"contig": "5/A10-20/5"}, "contig", "chains of 21 to 21 residues"),
        ({"source": {}}, "source", "but got none"),
        ({"source": {"text": "nothing"}}, "source.text", "Expected a structure file"),
        ({"source": {"file": "nowhere.pdb"}}, "source.file", "no such file"),
        ({"max_rmsd": 0.0}, "max_rmsd", "0.1"),
    ],
)
def test_faults_are_found_before_anything_is_computed(
    source: StructureSource, change: dict[str, object], path: str, message: str
) -> None:
    """Each error names its place in the request."""
    item = {"kind": "motif", "source": {"text": source.text}, "contig": "5-90/A10-20/5-90"}
    faults = check_request({"length": 80, "constraints": [item | change]}, ".")
    errors = [fault for fault in faults if fault.severity == "error"]
    assert errors
    assert errors[0].path == f"$.constraints[0].{path}"
    assert message in errors[0].message


def test_stretches_that_cannot_reach_are_faults(chain: Protein, source: StructureSource) -> None:
    """An error where even the longest is too short, a warning where only the shortest is."""
    apart = np.linalg.norm(chain.ca[:, None] - chain.ca[None], axis=-1)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    first, second = sorted((int(first) + 1, int(second) + 1))
    ends = f"A{first}/{{}}/A{second}"
    hopeless = Motif(source=source, contig="5-40/" + ends.format("0-2") + "/5-40")
    (fault,) = hopeless.faults("$")
    assert (fault.severity, "angstrom apart" in fault.message) == ("error", True)
    tight = Motif(source=source, contig="5-40/" + ends.format("0-40") + "/5-40")
    (fault,) = tight.faults("$")
    assert fault.severity == "warning"
    spacing = tight.spacing().gaps[1]
    assert 3.8 * (spacing.shortest + 1) > apart.max() - 0.2


def test_missing_residues_and_atoms_are_named(chain: Protein) -> None:
    """A segment that runs over a hole, and one without oxygen."""
    holed = select_residues(chain, [i for i in range(40) if not 14 <= i < 17])
    text = structure_text(holed)
    motif = Motif(source=StructureSource(text=text), contig="20/A10-25/20")
    (fault,) = motif.faults("$")
    assert "missing between A14 and A18" in fault.message
    bare = "\n".join(
        line for line in text.splitlines() if not (line[12:16].strip() == "O" and "A  12" in line)
    )
    (fault,) = Motif(source=StructureSource(text=bare), contig="20/A10-13/20").faults("$")
    assert "A12 has not all of N, CA, C and O" in fault.message


def test_warns_where_other_states_are_asked(source: StructureSource) -> None:
    """Only a helix where the motif has a strand or the other way round is doubtful."""
    motif = Motif(source=source, contig="A1-40", positions=(1,))
    own = motif.residues().states
    assert motif.faults_in("$", Scope(60, 60, own + "-" * 20)) == []
    swapped = own.translate(str.maketrans("HE", "EH")) + "-" * 20
    (fault,) = motif.faults_in("$", Scope(60, 60, swapped))
    assert fault.severity == "warning"


def test_requests_carry_their_motif(
    chain: Protein, tmp_path: Path, source: StructureSource
) -> None:
    """Files become text of the needed residues; over a network files are refused unread."""
    chain.save(tmp_path / "whole.pdb")
    item = {"kind": "motif", "source": {"file": "whole.pdb"}, "contig": "5-90/A10-20/5-90"}
    data = {"length": 80, "constraints": [item]}
    request = decode_request(data, tmp_path)
    (motif,) = request.constraints
    assert isinstance(motif, Motif)
    assert isinstance(motif.source, StructureSource)
    assert motif.source.read().num_residues == 11
    whole = DesignRequest(length=80, constraints=(Motif(source=source, contig=item["contig"]),))
    assert embed_sources(whole) is whole
    assert decode_request(request.canonical()) == request
    with pytest.raises(InvalidRequestError, match=r"source\.file: Expected the structure itself"):
        decode_request(data)
    assert item["source"] == {"file": "whole.pdb"}


def test_motifs_that_do_not_know_of_each_other_are_faults(source: StructureSource) -> None:
    """Two contigs, a contig beside fixed places, fixed places that overlap, amino acids too."""
    text = {"kind": "motif", "source": {"text": source.text}}
    drawn = text | {"contig": "5-90/A10-20/5-90"}
    fixed = text | {"contig": "A10-20", "positions": [30]}

    def errors(*items: dict[str, object]) -> list[str]:
        faults = check_request({"length": 80, "constraints": list(items)})
        return [fault.path for fault in faults if fault.severity == "error"]

    assert errors(drawn) == errors(fixed) == []
    assert errors(drawn, drawn | {"mask": "A10"}) == ["$.constraints[1]"]
    assert errors(fixed, drawn) == ["$.constraints[1]"]
    assert errors(fixed, fixed | {"positions": [45]}) == []
    assert errors(fixed, fixed | {"positions": [35], "sequence": "mask"}) == [
        "$.constraints[1].positions"
    ]
    template = {"kind": "template", "source": {"text": source.text}}
    request = {"constraints": [template, template | {"noise": 3.0}]}
    assert [fault.path for fault in check_request(request)] == ["$.constraints[1]"]
