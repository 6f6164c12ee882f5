"""The coarse flow: curves as compact as chains, turned with their input, exact on resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.constants import RADIUS_OF_GYRATION_EXPONENT, RADIUS_OF_GYRATION_FACTOR
from protein_lab.constraints.fields import compile_conditions
from protein_lab.curve_flow import coarsen, draw_polymer, refine_curve, sample_curves
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.curve_choice import (
    choose_curves,
    curve_features,
    expected_tm,
    is_mirrored,
    likeness,
)
from protein_lab.design.curves import fold_curves
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import axis_curve, radius_of_gyration
from protein_lab.metrics import tm_score
from protein_lab.models.curve_deeponet import CurveDeepONet, CurveDeepONetConfig
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.trainer import Trainer, TrainingOptions

TINY = CurveDeepONetConfig(
    channels=16, heads=2, pair_channels=8, basis=8, dilations=(1,), time_channels=8
)
STATES = "LL" + "H" * 14 + "LLL" + "E" * 6 + "LLLL" + "E" * 6 + "LL"
ELEMENTS = [(2, 16), (19, 25), (29, 35)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the shipped corpus."""
    return Corpus.open()


@pytest.fixture(scope="module")
def operator() -> CurveDeepONet:
    """Make a small operator whose every weight matters."""
    rng = np.random.default_rng(1)
    start = CurveDeepONet.initialize(TINY, rng)
    params = {name: value + 0.1 * rng.standard_normal(value.shape) for name, value in start.items()}
    backend = get_backend("numpy")
    return CurveDeepONet(TINY, {n: backend.asarray(v) for n, v in params.items()}, backend)


def test_polymers_are_as_compact_as_chains_at_every_sampling() -> None:
    """The mean square radius of gyration is that of the law, however the chain is sampled."""
    for length, points in ((64, 16), (128, 32), (128, 128), (256, 64)):
        drawn = draw_polymer(np.random.default_rng(0), length, points, 400)
        expected = RADIUS_OF_GYRATION_FACTOR * length**RADIUS_OF_GYRATION_EXPONENT
        found = np.sqrt(np.mean([radius_of_gyration(curve) ** 2 for curve in drawn]))
        assert found == pytest.approx(expected, rel=0.05)
        np.testing.assert_allclose(drawn.mean(axis=1), 0.0, atol=1e-9)


def test_curves_of_real_chains_survive_coarse_sampling(corpus: Corpus) -> None:
    """Interpolated again, the curve is within a few tenths of an angstrom."""
    errors = []
    for index in corpus.indices("test", 80, 160)[:20]:
        chain = corpus.chain(int(index))
        curve = axis_curve(chain.backbone[:, 1])
        conditions = compile_conditions(chain.secondary_structure, [], [], curve)
        coarse = coarsen(conditions, 4.0)
        assert coarse.spacing * coarse.length == pytest.approx(conditions.length)
        assert coarse.secondary_structure.sum(axis=1) == pytest.approx(np.ones(coarse.length))
        again = refine_curve(coarse.axis_curve, conditions.length)
        shift = curve.mean(axis=0) - again.mean(axis=0)
        errors.append(np.sqrt(((again + shift - curve) ** 2).sum(axis=1).mean()))
    assert np.median(errors) < 0.5


def test_pairing_of_cells_is_the_share_of_their_residues() -> None:
    """A cell half inside a strand is half paired."""
    conditions = compile_conditions(
        STATES, ELEMENTS, [(1, 2, "antiparallel")], np.zeros((len(STATES), 3))
    )
    coarse = coarsen(conditions, 4.0)
    fine_total, coarse_total = conditions.pairing.sum(), coarse.pairing.sum() * coarse.spacing**2
    assert coarse_total == pytest.approx(fine_total, rel=1e-5)
    np.testing.assert_allclose(coarse.pairing, np.swapaxes(coarse.pairing, 0, 1))


def test_sampled_curves_turn_with_their_noise_and_know_left_from_right(
    operator: CurveDeepONet,
) -> None:
    """Turned noise gives turned curves; mirrored noise does not give mirrored ones."""
    conditions = coarsen(
        compile_conditions(STATES, ELEMENTS, [(1, 2, "antiparallel")], np.zeros((len(STATES), 3))),
        4.0,
    )
    noise = draw_polymer(np.random.default_rng(3), len(STATES), conditions.length, 2)
    rotation, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    plain = sample_curves(operator, conditions, noise, steps=5).curve
    turned = sample_curves(operator, conditions, noise @ rotation.T, steps=5).curve
    mirrored = sample_curves(operator, conditions, -noise, steps=5).curve
    np.testing.assert_allclose(turned, plain @ rotation.T, atol=1e-3)
    assert np.abs(mirrored + plain).max() > 0.05


def test_late_starts_keep_the_known_curve(operator: CurveDeepONet) -> None:
    """At time 1 nothing is changed; nonsense is refused."""
    curve = np.cumsum(np.random.default_rng(0).standard_normal((len(STATES), 3)), axis=0)
    conditions = coarsen(compile_conditions(STATES, ELEMENTS, [], curve), 4.0)
    noise = draw_polymer(np.random.default_rng(3), len(STATES), conditions.length, 1)
    kept = sample_curves(operator, conditions, noise, start=1.0).curve
    np.testing.assert_allclose(kept[0], conditions.axis_curve, atol=1e-6)
    with pytest.raises(ProteinLabError, match="start"):
        sample_curves(operator, conditions, noise, start=1.5)
    with pytest.raises(GeometryError, match="not finite"):
        sample_curves(operator, conditions, noise * np.nan)


def test_cut_and_resumed_training_gives_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    """Own guesses depend on weights and step alone, so resuming is exact here too."""
    options = TrainingOptions(total_steps=6, warmup=2, batches=BatchOptions(residues=256))
    whole = Trainer("curve_deeponet", tmp_path / "whole", corpus, options, config=TINY)
    for _ in range(6):
        whole.advance()
    first = Trainer("curve_deeponet", tmp_path / "cut", corpus, options, config=TINY)
    for _ in range(3):
        first.advance()
    first.save()
    again = Trainer("curve_deeponet", tmp_path / "cut", corpus, resume=True)
    again.run(1.0)
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(again.weights()[name], value, err_msg=name)


def test_training_lowers_the_loss(corpus: Corpus, tmp_path: Path) -> None:
    """Forty steps on one batch make its loss smaller by a fifth."""
    options = TrainingOptions(
        total_steps=1000, warmup=1, learning_rate=3e-3, batches=BatchOptions(residues=512)
    )
    trainer = Trainer("curve_deeponet", tmp_path, corpus, options, config=TINY)
    batch = trainer.task.batch(0, trainer.params)
    trainer.task.batch = lambda step, params: batch  # type: ignore[method-assign]
    losses = [trainer.advance()[0] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_curve_that_fits_its_blueprint_is_kept(operator: CurveDeepONet) -> None:
    """Real curves are expected to be nearer than straight, crumpled, reversed or mirrored ones."""
    corpus = Corpus.open()
    wins = 0
    for index in corpus.indices("test", 80, 120)[:12]:
        chain = corpus.chain(int(index))
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        true = axis_curve(chain.backbone[:, 1])
        straight = np.linspace([0.0, 0.0, 0.0], [150.0, 0.0, 0.0], len(true))
        curves = np.stack([true, true * 0.5, straight, true[::-1], -true])
        # what the others say is left out: these are not draws
        expected = expected_tm(curves, np.zeros(5), np.eye(5), blueprint)
        has_strands = any(blueprint.elements[pair.first].kind == "E" for pair in blueprint.pairs)
        wins += expected[0] > expected[1 : 5 if has_strands else 4].max()
    assert wins >= 10
    chain = corpus.chain(int(corpus.indices("test", 80, 120)[0]))
    blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
    true = axis_curve(chain.backbone[:, 1])
    (curve,) = fold_curves(operator, blueprint, np.random.default_rng(0), num_curves=2)
    assert curve.shape == (blueprint.length, 3)
    (kept,) = fold_curves(operator, blueprint, np.random.default_rng(0), known=true, novelty=0.0)
    moved = true - true.mean(axis=0) + kept.mean(axis=0)
    assert np.sqrt(((kept - moved) ** 2).sum(axis=-1).mean()) < 1.0


def test_real_sheets_twist_one_way() -> None:
    """The sign of the twist tells nearly every real chain with a sheet from its mirror image."""
    corpus = Corpus.open()
    twists, mirrored = [], []
    for index in corpus.indices("calibration", 60, 128)[:40]:
        chain = corpus.chain(int(index))
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        curve = axis_curve(chain.backbone[:, 1])
        twist = curve_features(curve, blueprint)["twist"]
        assert curve_features(-curve, blueprint)["twist"] == pytest.approx(-twist)
        twists += [twist] if twist else []
        mirrored += [is_mirrored(np.stack([curve, -curve]), blueprint)]
    assert len(twists) > 20
    assert np.mean(mirrored, axis=0)[0] < 0.03 < 0.5 < np.mean(mirrored, axis=0)[1]
    assert np.mean(np.array(twists) > 0) > 0.95


def test_likeness_is_a_tm_score() -> None:
    """Copies are alike however they are turned, strangers and mirror images are not."""
    rng = np.random.default_rng(0)
    curve = np.cumsum(rng.standard_normal((30, 3)) * 4.0, axis=0)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    other = np.cumsum(rng.standard_normal((30, 3)) * 4.0, axis=0)
    close = likeness(np.stack([curve, curve @ turn.T + 5.0, -curve, other]), 30)
    np.testing.assert_allclose(close, close.T)
    assert close[0, 1] == pytest.approx(1.0)
    assert close[0, 2:].max() < 0.6
    assert close[0, 3] <= tm_score(curve, other) + 1e-6
    assert likeness(curve[None], 30).shape == (1, 1)


def test_choices_hedge() -> None:
    """After the likeliest comes one of another group rather than its own copy."""
    close = np.eye(5)
    close[:3, :3] = 0.95
    close[3:, 3:] = 0.95
    np.fill_diagonal(close, 1.0)
    expected = np.array([0.50, 0.51, 0.50, 0.49, 0.48])
    chosen = choose_curves(close, expected, 3)
    assert chosen[0] == 1
    assert chosen[1] == 3
    assert len(set(choose_curves(close, expected, 9).tolist())) == 5
