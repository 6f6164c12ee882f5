"""What a request leaves open is drawn; what came out is measured and ranked."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import Range, SecondaryStructure
from protein_lab.design import selection
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.drawing import FLANK, draw_question
from protein_lab.design.request import DesignRequest
from protein_lab.design.sampling import uncertainty
from protein_lab.design.selection import backbone_metrics, field_metrics, rank_key
from protein_lab.flow import FlowSample
from protein_lab.metrics import dssp, find_knot
from protein_lab.metrics.knots import UNKNOT
from protein_lab.training.corpus import Corpus
from protein_lab.typing import Check


def test_a_knotted_sample_is_never_chosen() -> None:
    """A real knotted chain, refined, is unsound although it passes every other check."""
    corpus = Corpus.open()
    knotted = corpus.backbone(corpus.ids.index("2EFV_A"))
    length = len(knotted)
    straight = next(
        corpus.backbone(int(index))
        for index in corpus.indices("train", length, length)
        if find_knot(corpus.backbone(int(index))[:, 1]).name == UNKNOT
    )
    blueprint = blueprint_of(knotted, dssp(knotted))
    sigma = np.ones((1, length), dtype=np.float32)
    alone = selection.refine_best(
        FlowSample(knotted[None, :, :3].astype(np.float32), sigma),
        blueprint, blueprint, lambda _: True,
    )  # fmt: skip
    assert alone.is_knotted
    assert not alone.is_sound
    fields = np.stack([knotted[:, :3], straight[:, :3]]).astype(np.float32)
    both = selection.refine_best(
        FlowSample(fields, np.ones((2, length), dtype=np.float32)),
        blueprint, blueprint, lambda _: True,
    )  # fmt: skip
    assert not both.is_knotted
    assert both.is_sound
    assert both.rank > alone.rank


def test_open_parts_are_drawn_and_asked_ones_kept() -> None:
    """Asked elements keep their ends, whatever is drawn beside them, and pairs find them."""
    corpus = Corpus.open()
    request = DesignRequest(
        length=(90, 100),
        constraints=(
            SecondaryStructure(
                ranges=(
                    Range(start=40, stop=46, state="E"),
                    Range(start=47, stop=50, state="L"),
                    Range(start=51, stop=57, state="E"),
                )
            ),
            Pairing(first=2, second=1, orientation="antiparallel"),
        ),
    )
    for seed in range(6):
        question = draw_question(request, np.random.default_rng(seed), corpus)
        states = question.blueprint.secondary_structure
        assert 90 <= len(states) <= 100
        assert "-" not in states
        assert states[39 - FLANK : 57 + FLANK] == "LL" + "E" * 7 + "LLLL" + "E" * 7 + "LL"
        elements = question.blueprint.elements
        assert len(elements) > 2
        spans = [(item.start, item.stop) for item in elements]
        asked = (spans.index((39, 46)), spans.index((50, 57)))
        assert [
            pair.orientation
            for pair in question.blueprint.pairs
            if (pair.first, pair.second) == asked
        ] == ["antiparallel"]
        assert all(pair.second < len(elements) for pair in question.blueprint.pairs)
        assert not question.is_fixed


def test_with_only_a_length_the_corpus_decides() -> None:
    """Blueprints come from real chains, differ between designs and repeat with the seed."""
    corpus = Corpus.open()
    drawn = [
        draw_question(DesignRequest(length=80), np.random.default_rng(seed), corpus).blueprint
        for seed in (0, 1, 0)
    ]
    assert drawn[0] == drawn[2]
    assert drawn[0] != drawn[1]
    assert all(item.length == 80 and item.elements for item in drawn)


def test_uncertainty_is_the_spread_after_superposition() -> None:
    """Rigid motion of a sample is no spread; a moved residue is, where it moved."""
    rng = np.random.default_rng(0)
    field = rng.normal(scale=8.0, size=(30, 3, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    same = FlowSample(np.stack([field, field @ turn.T + 5.0]), np.ones((2, 30)))
    assert uncertainty(same).max() < 1e-4
    moved = field.copy()
    moved[11, 1] += 2.0
    spread = uncertainty(FlowSample(np.stack([field, moved]), np.ones((2, 30))))
    assert spread.argmax() == 11
    assert spread[11] == pytest.approx(np.sqrt(3.0), rel=0.15)
    alone = uncertainty(FlowSample(field[None], np.full((1, 30), 0.5)))
    assert alone == pytest.approx(0.5 * np.sqrt(3.0))


def test_metrics_of_a_real_chain_match_its_own_blueprint() -> None:
    """A native structure obtains what it has, so the score is near its maximum."""
    from protein_lab.design.blueprint import blueprint_of

    corpus = Corpus.open()
    chain = corpus.chain(int(corpus.indices("train", 70, 90)[3]))
    blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
    found = backbone_metrics(chain.backbone, blueprint)
    wanted = [found[name] for name in ("helix_obtained", "strand_obtained", "pairs_met")]
    assert np.nanmin(wanted) > 0.8
    assert found["segment_overlap"] > 0.9
    assert field_metrics(chain.backbone[:, :3], blueprint)["ca_ca_ok"] > 0.9


def test_ranking_puts_checks_before_margins_before_score() -> None:
    """Failed last, then by failed checks, then score, and ties by index."""
    bad = Check(name="x", value=1.0, unit="", threshold=0.0, verdict="fail")
    keys = {
        "none": rank_key("why", (), (), {}, 0),
        "broken": rank_key(None, (bad,), (), {"score": 9.0}, 1),
        "better": rank_key(None, (), (), {"score": 2.0}, 4),
        "first": rank_key(None, (), (), {"score": 1.0}, 2),
        "second": rank_key(None, (), (), {"score": 1.0}, 3),
    }
    order = sorted(keys, key=lambda name: keys[name])
    assert order == ["better", "first", "second", "broken", "none"]
