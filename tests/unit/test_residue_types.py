"""Amino acids asked along the chain reach the sequences, and contradictions are told before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.constraints.amino_acids import CLASSES, LETTERS, mask_of
from protein_lab.constraints.base import Layout
from protein_lab.constraints.residue_types import ResidueTypes, TypeRange
from protein_lab.design.request import DesignRequest, check_request
from protein_lab.design.sequence_bias import sequence_bias
from protein_lab.design.sequence_options import FixedResidue, SequenceOptions
from protein_lab.design.sequences import design_sequences
from protein_lab.errors import ProteinLabError
from protein_lab.models.sequence import SequenceOperator
from protein_lab.models.weights import load_sequence_operator
from protein_lab.protein import Protein
from protein_lab.testing.results import ideal_helix_design
from protein_lab.typing import Measurement

SIZE = 40
BACKBONE = ideal_helix_design(0, SIZE).backbone
LAYOUT = Layout(SIZE, ())


@pytest.fixture(scope="module")
def operator() -> SequenceOperator:
    """Give the shipped sequence operator."""
    return load_sequence_operator(get_backend("numpy").name)


def asked(*ranges: TypeRange) -> DesignRequest:
    """Make a request with one constraint."""
    return DesignRequest(length=SIZE, constraints=(ResidueTypes(ranges=ranges),))


def measured(sequence: str, *ranges: TypeRange) -> Measurement:
    """Evaluate one constraint on a sequence."""
    protein = Protein.from_backbone(BACKBONE, sequence)
    return ResidueTypes(ranges=ranges).evaluate(protein, LAYOUT)


def test_what_is_asked_is_drawn(operator: SequenceOperator) -> None:
    """Given, allowed and excluded amino acids hold in every sequence; preferred ones gain."""
    parts = (
        TypeRange(start=2, sequence="MK-W"),
        TypeRange(start=10, stop=20, only="aromatic"),
        TypeRange(start=21, stop=30, excluded="AEKLR"),
        TypeRange(start=31, stop=40, preferred="G", strength=6.0),
    )
    bias = sequence_bias(asked(*parts), LAYOUT)
    assert bias is not None
    options = SequenceOptions(num_sequences=6, temperature=1.0, excluded="H")
    plain = design_sequences(operator, BACKBONE, options, np.random.default_rng(0))
    made = design_sequences(operator, BACKBONE, options, np.random.default_rng(0), bias)
    for item in made:
        assert item.sequence[1:3] == "MK"
        assert item.sequence[4] == "W"
        assert set(item.sequence[9:20]) <= set("FWY")
        assert not set(item.sequence[20:30]) & set("AEKLR")
        found = ResidueTypes(ranges=parts).evaluate(
            Protein.from_backbone(BACKBONE, item.sequence), LAYOUT
        )
        assert found.verdict == "pass", found
    glycines = [sum(item.sequence[30:].count("G") for item in drawn) for drawn in (plain, made)]
    assert glycines[1] > glycines[0] + 20


def test_no_bias_changes_nothing(operator: SequenceOperator) -> None:
    """Zeros draw the very sequences that are drawn without a bias."""
    options = SequenceOptions(num_sequences=2)
    plain = design_sequences(operator, BACKBONE, options, np.random.default_rng(0))
    zeros = np.zeros((SIZE, 20))
    assert design_sequences(operator, BACKBONE, options, np.random.default_rng(0), zeros) == plain
    assert sequence_bias(DesignRequest(length=SIZE), LAYOUT) is None


def test_a_bias_is_in_nats(operator: SequenceOperator) -> None:
    """At temperature 1 a bias of b makes an amino acid exp(b) times likelier against another."""
    free = TypeRange(start=1, stop=SIZE, only="AL")
    tilted = TypeRange(start=1, stop=SIZE, preferred="A", strength=1.0)
    options = SequenceOptions(num_sequences=12, temperature=1.0)
    odds = []
    for parts in ((free,), (free, tilted)):
        bias = sequence_bias(asked(*parts), LAYOUT)
        made = design_sequences(operator, BACKBONE, options, np.random.default_rng(1), bias)
        first = "".join(item.sequence for item in made)
        odds.append(np.log(first.count("A") / first.count("L")))
    # residues see each other, so that the average over the chain only comes near to 1
    assert 0.4 < odds[1] - odds[0] < 1.8


@pytest.mark.parametrize(
    ("bias", "reason"),
    [
        (np.zeros((SIZE - 1, 20)), "shape"),
        (np.full((SIZE, 20), np.nan), "finite"),
        (np.full((SIZE, 20), -np.inf), "No amino acid is left for residue 1"),
    ],
)
def test_an_impossible_bias_is_refused(
    operator: SequenceOperator, bias: np.ndarray, reason: str
) -> None:
    """Nothing is drawn from a distribution that is none."""
    with pytest.raises(ProteinLabError, match=reason):
        design_sequences(operator, BACKBONE, SequenceOptions(), np.random.default_rng(0), bias)


@pytest.mark.parametrize(
    ("sequence", "part", "value", "verdict"),
    [
        ("A" * SIZE, TypeRange(start=1, stop=10, only="A"), 1.0, "pass"),
        ("A" * 9 + "C" + "A" * 30, TypeRange(start=1, stop=10, only="small"), 1.0, "pass"),
        ("A" * 9 + "W" + "A" * 30, TypeRange(start=1, stop=10, only="small"), 0.9, "fail"),
        ("A" * SIZE, TypeRange(start=1, sequence="AAKA"), 2 / 3 + 1 / 12, "fail"),
        ("A" * SIZE, TypeRange(start=1, sequence="A--A"), 1.0, "pass"),
        ("A" * 20 + "L" * 20, TypeRange(start=11, stop=30, preferred="L"), 0.5, "pass"),
        ("A" * 21 + "L" * 19, TypeRange(start=11, stop=30, preferred="L"), 0.45, "fail"),
    ],
)
def test_verdicts(sequence: str, part: TypeRange, value: float, verdict: str) -> None:
    """The value counts residues; one wrong one is enough to fail what must hold."""
    found = measured(sequence, part)
    assert found.value == pytest.approx(value)
    assert found.verdict == verdict


def test_without_a_sequence_nothing_is_measured() -> None:
    """A backbone alone neither passes nor fails."""
    part = TypeRange(start=1, sequence="M")
    found = ResidueTypes(ranges=(part,)).evaluate(Protein.from_backbone(BACKBONE), LAYOUT)
    assert (found.verdict, found.value, found.margin) == ("not_run", None, None)


BAD: list[tuple[list[dict[str, Any]], str, str]] = [
    ([], ".ranges", "at least one range"),
    ([{"start": 3}], ".ranges[0]", "got none"),
    ([{"start": 3, "only": "oily"}], ".ranges[0].only", "a class"),
    ([{"start": 3, "only": "Polar"}], ".ranges[0].only", "Polar"),
    ([{"start": 3, "only": ""}], ".ranges[0].only", "got none"),
    ([{"start": 9, "stop": 3, "only": "A"}], ".ranges[0].stop", "at least 9"),
    ([{"start": 3, "stop": 9, "sequence": "MK"}], ".ranges[0].sequence", "7 letters"),
    ([{"start": 3, "sequence": "MKx"}], ".ranges[0].sequence[2]", "'x'"),
    ([{"start": 3, "sequence": ""}], ".ranges[0].sequence", "at least one"),
    ([{"start": 3, "only": "A", "excluded": "small"}], ".ranges[0]", "residue 3"),
    ([{"start": 39, "sequence": "MKL"}], ".ranges[0].start", "1 to 40"),
    ([{"start": 0, "sequence": "M"}], ".ranges[0].start", "1 to 2000"),
    ([{"start": 3, "only": "A", "strength": 90.0}], ".ranges[0].strength", "0 to 20"),
    ([{"start": 3, "onyl": "A"}], ".ranges[0].onyl", "unknown"),
    ([{"sequence": "A"}], ".ranges[0].start", "missing"),
]


@pytest.mark.parametrize(("ranges", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(
    ranges: list[dict[str, Any]], path: str, message: str
) -> None:
    """Every fault names the place and what was expected."""
    data = {"length": SIZE, "constraints": [{"kind": "residue_types", "ranges": ranges}]}
    faults = {fault.path: fault for fault in check_request(data)}
    place = f"$.constraints[0]{path}"
    assert place in faults
    assert message in faults[place].message


def test_constraints_that_leave_nothing_are_told() -> None:
    """Two constraints, or one and the options of the sequence, may contradict each other."""
    first = ResidueTypes(ranges=(TypeRange(start=5, stop=9, only="DE"),))
    second = ResidueTypes(ranges=(TypeRange(start=7, sequence="K"),))
    request = DesignRequest(length=SIZE, constraints=(first, second))
    (fault,) = request.check()
    assert fault.path == "$.constraints[1]"
    assert "$.constraints[0]" in fault.message
    assert "residue 7" in fault.message
    options = SequenceOptions(fixed=(FixedResidue(position=6, residue="W"),), excluded="DE")
    request = DesignRequest(length=SIZE, constraints=(first,), sequence=options)
    assert [item.path for item in request.check()] == [
        "$.sequence.fixed[0].residue",
        "$.sequence.excluded",
    ]


def test_doubts_are_warnings() -> None:
    """Prolines in asked helices and sequences that nobody draws are told, but do not stop."""
    data = {
        "constraints": [
            {"kind": "secondary_structure", "string": "L" + "H" * 20 + "L" * 5},
            {"kind": "residue_types", "ranges": [{"start": 12, "sequence": "P"}]},
        ],
        "sequence": {"num_sequences": 0},
    }
    faults = [item for item in check_request(data) if item.path.startswith("$.constraints[1]")]
    assert [item.severity for item in faults] == ["warning", "warning"]
    assert "breaks the helix" in faults[0].message
    assert "no effect" in faults[1].message


def test_classes_are_of_amino_acids() -> None:
    """Each class holds each of its members once."""
    for letters in CLASSES.values():
        assert set(letters) <= set(LETTERS)
        assert mask_of(letters).sum() == len(letters)
