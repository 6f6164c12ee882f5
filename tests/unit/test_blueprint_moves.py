"""Moves of elements: new topologies that are still blueprints."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from protein_lab.design.blueprint import Blueprint, Pair
from protein_lab.design.blueprint_moves import MOST_MOVES, recombine
from protein_lab.design.drawing import draw_question
from protein_lab.design.request import DesignRequest
from protein_lab.training.corpus import Corpus

FERREDOXIN = Blueprint(
    "LLEEEEEELLLHHHHHHHHHHHHLLLEEEEEELLEEEEEELLLHHHHHHHHHHLLEEEEEELL",
    (
        Pair(0, 2, "parallel"),
        Pair(0, 5, "antiparallel"),
        Pair(1, 4, "antiparallel"),
        Pair(2, 3, "antiparallel"),
    ),
)


def topology(blueprint: Blueprint) -> tuple[object, ...]:
    """Kinds and pairs, whatever the lengths."""
    return (tuple(item.kind for item in blueprint.elements), blueprint.pairs)


def test_without_novelty_nothing_moves() -> None:
    """The blueprint and the random stream stay as they were."""
    rng = np.random.default_rng(0)
    assert recombine(FERREDOXIN, 0.0, rng) is FERREDOXIN
    assert rng.random() == np.random.default_rng(0).random()
    two = Blueprint("LLHHHHHHLLHHHHHHLL", (Pair(0, 1, "antiparallel"),))
    assert recombine(two, 1.0, rng) is two


@pytest.mark.parametrize("seed", range(25))
def test_moves_give_a_blueprint_of_the_same_length(seed: int) -> None:
    """Pairs name elements of one kind that are there, in order and once."""
    made = recombine(FERREDOXIN, 1.0, np.random.default_rng(seed))
    assert made.length == FERREDOXIN.length
    kinds = [item.kind for item in made.elements]
    named = [(pair.first, pair.second) for pair in made.pairs]
    assert all(first < second < len(kinds) for first, second in named)
    assert all(kinds[first] == kinds[second] for first, second in named)
    assert named == sorted(set(named))
    counts = Counter(kinds)
    assert abs(counts["E"] + counts["H"] - len(FERREDOXIN.elements)) <= MOST_MOVES


def test_more_novelty_gives_more_topologies() -> None:
    """At 1 hardly a draw keeps the topology; at a tenth most do."""
    kept = []
    for novelty in (0.1, 1.0):
        rng = np.random.default_rng(5)
        drawn = [topology(recombine(FERREDOXIN, novelty, rng)) for _ in range(60)]
        kept.append(sum(item == topology(FERREDOXIN) for item in drawn))
    assert kept[0] > 30 > kept[1]
    rng = np.random.default_rng(6)
    assert len({topology(recombine(FERREDOXIN, 1.0, rng)) for _ in range(60)}) > 40


def test_open_requests_move_elements_by_their_novelty() -> None:
    """The same stream draws the same real blueprint, and then moves it."""
    corpus = Corpus.open()
    plain, moved = (
        [
            draw_question(
                DesignRequest(length=80, novelty=novelty), np.random.default_rng(seed), corpus
            )
            for seed in range(6)
        ]
        for novelty in (0.0, 1.0)
    )
    assert all(question.blueprint.length == 80 for question in moved)
    assert sum(a.blueprint != b.blueprint for a, b in zip(plain, moved, strict=True)) >= 4
