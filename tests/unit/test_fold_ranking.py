"""Guides, their means, the ranking of candidates and its fit; fields that follow a curve."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.design.adherence import follow_curve, trust_in_curve
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.element_table import ElementTable
from protein_lab.design.fold_library import FoldLibrary
from protein_lab.design.guides import likeness, mean_guide
from protein_lab.design.paths import even_steps
from protein_lab.design.ranking import choose, probabilities, ranking_weights
from protein_lab.experiments.fold_ranking import Query, card, first_picks, fit_ranking
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the corpus that ships with the package."""
    return Corpus.open()


@pytest.fixture(scope="module")
def ca(corpus: Corpus) -> FloatArray:
    """CA of a chain of usual size."""
    chain = int(corpus.indices("train", 80, 90)[0])
    return corpus.backbone(chain)[:, 1].astype(np.float64)


def turned(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Turn and move points, without a mirror image."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return points @ (turn * np.linalg.det(turn)).T + rng.standard_normal(3)


def error(first: FloatArray, second: FloatArray) -> float:
    """RMSD after superposition."""
    rotation, shift = superimpose(first, second)
    return float(np.sqrt(((first @ rotation.T + shift - second) ** 2).sum(-1).mean()))


def test_mean_of_guides_errs_less_than_each(ca: FloatArray) -> None:
    """Independent smooth errors cancel, wherever the guides lie."""
    rng = np.random.default_rng(0)
    noisy = [turned(ca + 4 * axis_curve(rng.standard_normal(ca.shape)), rng) for _ in range(9)]
    mean = mean_guide(noisy[0], np.stack(noisy[1:]), np.ones(8))
    assert error(mean, ca) < 0.6 * min(error(guide, ca) for guide in noisy)


def test_a_part_that_differs_leaves_no_trace_and_gaps_are_filled(ca: FloatArray) -> None:
    """Other guides count where they agree; what the own one lacks comes from them."""
    other, own = ca.copy(), ca.copy()
    other[:20] += 40.0
    own[-5:] = np.nan
    mean = mean_guide(own, other[None], np.ones(1))
    assert np.abs(mean[:20] - ca[:20]).max() < 0.8
    assert np.abs(mean[-5:] - ca[-5:]).max() < 0.8
    assert np.array_equal(mean_guide(own, np.zeros((0, *ca.shape)), np.zeros(0))[:9], own[:9])


def test_likeness_is_one_for_copies_and_low_for_mirror_images(ca: FloatArray) -> None:
    """The TM-score does not see a motion, but sees the hand, and counts only what is known."""
    rng = np.random.default_rng(1)
    half = ca.copy()
    half[len(ca) // 2 :] = np.nan
    close = likeness(np.stack([ca, turned(ca, rng), ca * [-1.0, 1.0, 1.0], half]))
    assert close[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert close[0, 2] < 0.6
    assert close[0, 3] == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(close, close.T)


def test_choice_repeats_what_is_sure_and_spreads_what_is_not() -> None:
    """One likely fold takes most designs; equally likely folds are each taken."""
    apart = np.full((6, 6), 0.2) + 0.8 * np.eye(6)
    sure = choose(apart, np.array([0.95, 0.01, 0.01, 0.01, 0.01, 0.01]), 8)
    assert len(sure) == 8
    assert (sure == 0).sum() >= 3
    assert sure[0] == 0
    assert len(set(choose(apart, np.full(6, 1 / 6), 8).tolist())) == 6


def test_shipped_weights_rank_every_feature_of_candidates(corpus: Corpus) -> None:
    """The asset and the code name the same features, and the chain's own fold comes first."""
    train = corpus.indices("train")
    library = FoldLibrary(corpus, exclude=train[400:])
    chain = int(corpus.indices("train", 80, 120)[3])
    blueprint = blueprint_of(corpus.backbone(chain), corpus.secondary_structure(chain))
    found = library.candidates(ElementTable.of_blueprint(blueprint))
    weights = ranking_weights()
    assert set(weights) == set(found.features)
    chance = probabilities(found.features, weights)
    assert chance.sum() == pytest.approx(1.0)
    assert found.hits[int(chance.argmax())].chain_index == chain
    without = library.candidates(ElementTable.of_blueprint(blueprint), np.array([chain]))
    assert chain not in [hit.chain_index for hit in without.hits]


def test_fit_learns_which_feature_tells_the_closest(corpus: Corpus) -> None:
    """With a first estimate that is noise, the fit turns to the feature that is not."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        scores = rng.uniform(0.3, 0.9, 20)
        features = {
            "expected": rng.uniform(0.3, 0.9, 20),
            "telling": scores + rng.normal(0, 0.02, 20),
            "empty": np.zeros(20),
        }
        found.append(Query(features, scores))
    weights = fit_ranking(found[:20], penalty=1e-3)
    assert first_picks(found[20:], weights) > first_picks(found[20:], {"expected": 1.0}) + 0.1
    text = card(corpus, found, weights)
    assert corpus.digest in text
    assert "telling = " in text


def test_fields_follow_a_curve_without_changing_inside(ca: FloatArray, corpus: Corpus) -> None:
    """The axis comes back to the curve; residues are moved as a whole."""
    chain = int(corpus.indices("train", 80, 90)[0])
    rng = np.random.default_rng(3)
    true = corpus.backbone(chain)[:, :3].astype(np.float64)
    stray = true + 5 * axis_curve(rng.standard_normal(ca.shape))[:, None]
    field = turned(stray.reshape(-1, 3), rng).reshape(1, -1, 3, 3)
    held = follow_curve(field, axis_curve(ca))
    assert error(held[0, :, 1].astype(float), ca) < 0.5 * error(stray[:, 1], ca)
    before = np.linalg.norm(field[:, :, 1] - field[:, :, 0], axis=-1)
    after = np.linalg.norm(held[:, :, 1] - held[:, :, 0], axis=-1)
    assert np.allclose(before, after, atol=1e-3)
    assert follow_curve(field, axis_curve(ca), 0.0) is field
    assert (trust_in_curve(0.3), trust_in_curve(0.9)) == (0.0, 1.0)


def test_compressed_and_stretched_paths_get_real_steps(ca: FloatArray) -> None:
    """Between fixed ends, and as a free tail."""
    rng = np.random.default_rng(4)
    start, stop = ca[10], ca[20]
    straight = start + np.linspace(0, 1, 16)[1:-1, None] * (stop - start)
    whole = np.concatenate([[start], even_steps(straight, start, stop, rng), [stop]])
    assert np.abs(np.linalg.norm(np.diff(whole, axis=0), axis=-1) - 3.8).max() < 0.5
    tail = np.concatenate([[start], even_steps(straight * 2 - start, start, None, rng)])
    assert np.abs(np.linalg.norm(np.diff(tail, axis=0), axis=-1) - 3.8).max() < 0.5
