"""Chains laid out as segments of variable length: what is drawn, measured and checked."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.constraints.secondary_structure import asked_elements
from protein_lab.constraints.segments import Segment, Segments
from protein_lab.design.drawing import draw_question
from protein_lab.design.request import check_request, decode_request
from protein_lab.errors import ProteinLabError
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus, CorpusChain

HAIRPIN: list[dict[str, Any]] = [
    {"state": "L", "length": [1, 3]},
    {"state": "E", "length": [5, 7]},
    {"state": "L", "length": [2, 4]},
    {"state": "E", "length": [5, 7]},
    {"state": "L", "length": [3, 5]},
    {"state": "H", "length": [12, 16]},
    {"state": "L", "length": 2},
]


def segments(*parts: tuple[str, Any]) -> Segments:
    """Write segments shortly."""
    return Segments(segments=tuple(Segment(state=s, length=n) for s, n in parts))  # pyright: ignore


def faults_of(parts: list[dict[str, Any]], *others: dict[str, Any], **fields: Any) -> list[str]:
    """Paths and messages of what is wrong in a request with segments."""
    constraints = [{"kind": "segments", "segments": parts}, *others]
    found = check_request({"constraints": constraints} | fields)
    return [f"{fault.severity} {fault.path} {fault.message}" for fault in found]


def test_every_combination_of_lengths_is_drawn_equally_often() -> None:
    """The draw is uniform over all lengths that the request allows."""
    asked = segments(("L", (0, 2)), ("H", (4, 7)), ("L", (1, 3)))
    rng = np.random.default_rng(0)
    allowed = [c for c in product(range(3), range(4, 8), range(1, 4)) if 8 <= sum(c) <= 10]
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(200 * len(allowed)):
        placed = asked.place(8, 10, rng)
        assert len(placed.states) == placed.length
        stops = (*placed.residues[1:], placed.length)
        counts[tuple(b - a for a, b in zip(placed.residues, stops, strict=True))] += 1
    assert set(counts) == set(allowed)
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


def test_long_lists_are_drawn_within_the_length() -> None:
    """Numbers of combinations beyond any float do no harm."""
    asked = segments(*[("H", (10, 200)), ("L", (2, 60))] * 100)
    placed = asked.place(1800, 1900, np.random.default_rng(1))
    assert 1800 <= placed.length <= 1900
    assert len(placed.residues) == 200
    with pytest.raises(ProteinLabError, match="no 20 to 30 residues"):
        asked.place(20, 30, np.random.default_rng(1))


def test_a_request_draws_its_length_and_its_pairs_from_segments() -> None:
    """Without a length in the request, designs differ in length and keep elements and pairs."""
    pairing = {"kind": "pairing", "first": 1, "second": 2, "orientation": "antiparallel"}
    request = decode_request(
        {"constraints": [{"kind": "segments", "segments": HAIRPIN}, pairing], "num_designs": 2}
    )
    corpus, lengths = Corpus.open(), set()
    for seed in range(6):
        question = draw_question(request, np.random.default_rng(seed), corpus)
        lengths.add(question.layout.length)
        assert [item.kind for item in question.layout.elements] == ["E", "E", "H"]
        assert [(p.first, p.second) for p in question.blueprint.pairs] == [(0, 1)]
    assert len(lengths) > 1


def test_real_chains_meet_the_segments_that_they_have(real_chains: list[CorpusChain]) -> None:
    """Lengths that are not known are found; a wrong order of elements is not met."""
    for chain in real_chains[:6]:
        protein = Protein.from_backbone(chain.backbone)
        states = dssp(chain.backbone)
        parts: list[tuple[str, Any]] = []
        stop = 0
        for element in asked_elements(states):
            parts += [("L", (max(element.start - stop - 2, 0), element.start - stop + 2))]
            parts += [(element.kind, (max(element.length - 2, 1), element.length + 2))]
            stop = element.stop
        parts += [("L", (max(len(states) - stop - 2, 0), len(states) - stop + 2))]
        layout = Layout(len(states), ())
        found = segments(*parts).evaluate(protein, layout)
        assert (found.verdict, found.value) == ("pass", pytest.approx(1.0))
        turned = [({"H": "E", "E": "H"}.get(s, s), n) for s, n in parts]
        assert segments(*turned).evaluate(protein, layout).verdict == "fail"
        asked = segments(*parts)
        places = tuple(np.cumsum([0] + [n[0] for _, n in parts[:-1]]).tolist())
        told = asked.evaluate(protein, Layout(len(states), (), "", {asked: places}))
        assert (told.value or 0.0) <= (found.value or 0.0)
        too_short = segments(("L", 3), ("H", (4, 9))).evaluate(protein, layout)
        assert (too_short.verdict, too_short.margin) == ("fail", -1.0)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (1, {"length": [7, 5]}, "[1].length Expected the shorter length first"),
        (1, {"length": 2}, "[1].length Expected a strand of at least 3"),
        (5, {"length": [3, 9]}, "[5].length Expected a helix of at least 4"),
        (2, {"length": 0}, "[2].length Expected a loop of at least 1"),
        (2, {"state": "E", "length": 3}, "[2].state Expected something between"),
        (2, {"state": "X"}, "[2].state Expected '-', 'E', 'H' or 'L'"),
        (2, {"length": "4"}, "[2].length Expected an integer"),
        (5, {"length": [12, 9999]}, "[5].length Expected at most 2000"),
    ],
)
def test_bad_segments_are_named(place: int, change: dict[str, Any], message: str) -> None:
    """Every fault says where it is and what came."""
    parts = [dict(part) for part in HAIRPIN]
    parts[place] |= change
    found = faults_of(parts)
    assert f"error $.constraints[0].segments{message}" in found[0]


def test_segments_are_checked_with_the_rest_of_the_request() -> None:
    """Length, pairings, turns and other states must agree with the segments."""
    pairing = {"kind": "pairing", "first": 1, "second": 2, "orientation": "antiparallel"}
    assert faults_of(HAIRPIN, pairing, length=[40, 45]) == []
    assert faults_of([]) == [
        "error $.constraints[0].segments Expected at least one segment, but the list is empty."
    ]
    (found,) = faults_of(HAIRPIN, length=80)
    assert "Expected segments of 80 residues in all" in found
    (found,) = faults_of(HAIRPIN, pairing | {"second": 4}, length=[40, 45])
    assert found.startswith("error $.constraints[1].second Expected an element from 1 to 3")
    (found,) = faults_of(HAIRPIN, pairing | {"orientation": "crossing"}, length=[40, 45])
    assert "never crossing" in found
    tight = [*HAIRPIN[:2], {"state": "L", "length": [1, 2]}, *HAIRPIN[3:]]
    (found,) = faults_of(tight, pairing | {"orientation": "parallel"}, length=[40, 42])
    assert found.startswith("warning $.constraints[0].segments[3] the strand of segment 2 and")
    string = {"kind": "secondary_structure", "ranges": [{"start": 2, "stop": 9, "state": "H"}]}
    (found,) = faults_of(HAIRPIN, string, length=42)
    assert "Expected the states of the chain once" in found
    twice = {"kind": "segments", "segments": HAIRPIN}
    (found,) = faults_of(HAIRPIN, twice, length=42)
    assert found.startswith("error $.constraints[1]")
    outside = {"kind": "distance", "first": 3, "second": 39, "max": 8}
    (found,) = faults_of(HAIRPIN, outside)
    assert "chains of 30 residues are allowed" in found
