"""Batches, prior and trainer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab.errors import ProteinLabError
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig
from protein_lab.operators.prior import ornstein_uhlenbeck
from protein_lab.training.batches import BatchSource
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import perturb_curve
from protein_lab.training.trainer import Trainer, TrainingOptions

NAME = "enhanced_deeponet"
TINY = EnhancedDeepONetConfig(channels=16, heads=2, pair_channels=4, basis=4, dilations=(1, 2))
OPTIONS = TrainingOptions(
    total_steps=6, warmup=2, batches=BatchOptions(residues=128, max_length=64)
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the shipped corpus once."""
    return Corpus.open()


def test_prior_does_not_depend_on_the_sampling() -> None:
    """Refining the chain leaves variance and covariance of the prior as they were."""
    rng = np.random.default_rng(0)
    coarse = ornstein_uhlenbeck(rng, np.arange(20.0), 4000, 3.0, 2.0)
    fine = ornstein_uhlenbeck(rng, np.arange(0.0, 20.0, 0.25), 4000, 3.0, 2.0)[:, ::4]
    for paths in (coarse, fine):
        values = paths[..., 0]
        assert values[:, 10].std() == pytest.approx(3.0, rel=0.05)
        covariance = np.mean(values[:, 8] * values[:, 10])
        assert covariance == pytest.approx(9.0 * np.exp(-1.0), rel=0.15)


def test_batches_depend_on_seed_and_step_alone(corpus: Corpus) -> None:
    """Two sources give the same batch number 3, whatever was drawn before; crops fit."""
    first = BatchSource(corpus, "train", OPTIONS.batches, 1, 3.0, 2.0)
    second = BatchSource(corpus, "train", OPTIONS.batches, 1, 3.0, 2.0)
    second.batch(0)
    for one, other in zip(first.batch(3), second.batch(3), strict=True):
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.noise, other.noise)
        assert one.time == other.time
        assert len(one.target) <= 64


def test_perturbation_has_the_amplitude_that_was_asked(corpus: Corpus) -> None:
    """A perturbed curve stays near the true one, and amplitude zero leaves it alone."""
    from protein_lab.geometry import axis_curve

    curve = axis_curve(corpus.backbone(int(corpus.indices(min_length=100)[0]))[:, 1])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(perturb_curve(curve, [], rng, 0.0), curve)
    moved = [np.linalg.norm(perturb_curve(curve, [(5, 20)], rng, 1.0) - curve) for _ in range(20)]
    per_residue = np.array(moved) / np.sqrt(len(curve))
    assert 0.2 < per_residue.mean() < 3.0


def test_cut_and_resumed_run_gives_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    """A run cut after three steps and resumed ends with the bits of one that was not."""
    whole = Trainer(NAME, tmp_path / "whole", corpus, OPTIONS, config=TINY)
    whole.run(1.0)
    part = Trainer(NAME, tmp_path / "cut", corpus, OPTIONS, config=TINY)
    for _ in range(3):
        part.advance()
    part.save()
    again = Trainer(NAME, tmp_path / "cut", corpus, resume=True)
    assert again.step == 3
    again.run(1.0)
    assert again.step == whole.step == 6
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(again.weights()[name], value, err_msg=name)
    assert len(again.export(tmp_path / "out")) == 64


def test_steps_are_planned_from_the_time_allowed(corpus: Corpus, tmp_path: Path) -> None:
    """Without a number of steps the run plans them and ends."""
    options = TrainingOptions(warmup=2, batches=BatchOptions(residues=64, max_length=40))
    lines = []
    trainer = Trainer(NAME, tmp_path, corpus, options, config=TINY)
    trainer.run(1e-6, report=lines.append, report_every=10)
    assert trainer.options.total_steps == trainer.step > 30
    assert [line.step for line in lines][:3] == [10, 20, 30]
    assert (tmp_path / "log.csv").read_text().startswith("step,")


def test_training_lowers_the_loss(corpus: Corpus, tmp_path: Path) -> None:
    """Forty steps on one batch make its loss smaller by a fifth."""
    options = TrainingOptions(total_steps=1000, warmup=1, learning_rate=3e-3)
    trainer = Trainer(NAME, tmp_path, corpus, options, config=TINY)
    batch = trainer.task.batch(0, trainer.params)
    trainer.task.batch = lambda step, params: batch  # type: ignore[method-assign]
    losses = [trainer.advance()[0] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_run_is_neither_overwritten_nor_invented(corpus: Corpus, tmp_path: Path) -> None:
    """Starting over a run and resuming none are errors that say what to do."""
    Trainer(NAME, tmp_path, corpus, OPTIONS, config=TINY).save()
    with pytest.raises(ProteinLabError, match="--resume"):
        Trainer(NAME, tmp_path, corpus, OPTIONS, config=TINY)
    with pytest.raises(ProteinLabError, match="no training run"):
        Trainer(NAME, tmp_path / "empty", corpus, resume=True)
