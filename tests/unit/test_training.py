"""Batches, prior and trainer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.cli import app
from protein_lab.errors import BackendError, ProteinLabError, WeightsError
from protein_lab.experiments.rows import Row
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.weights import read_card
from protein_lab.operators.prior import ornstein_uhlenbeck
from protein_lab.training.batches import BatchSource
from protein_lab.training.card import add_held_out, training_command
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import perturb_curve
from protein_lab.training.recipes import load_recipe
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


def test_recipes_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    """Shipped recipes are valid; a typing error is named."""
    for name in ("cpu", "gpu"):
        recipe = load_recipe(name)
        assert 0.0 < recipe.hours <= 2.0
        assert recipe.options.total_steps == 0
    gpu = load_recipe("gpu")
    assert (gpu.device, gpu.options.precision, gpu.options.compile) == ("auto", "float32", "no")
    assert gpu.options.batches is not None
    assert gpu.options.batches.residues == 8192
    path = tmp_path / "mine.toml"
    path.write_text("hours = 1.0\n[options]\nlearning_rte = 1e-3\n", encoding="utf-8")
    assert load_recipe(str(path)).hours == 1.0
    path.write_text("hurs = 1.0\n", encoding="utf-8")
    with pytest.raises(ProteinLabError, match="hurs"):
        load_recipe(str(path))
    with pytest.raises(ProteinLabError, match=r"cannot be read.*\n?.*cpu, gpu"):
        load_recipe("tpu")


def test_a_run_that_is_done_goes_on_when_it_is_given_time(corpus: Corpus, tmp_path: Path) -> None:
    """A resumed run keeps its options, or takes those that it is given."""
    first = Trainer(NAME, tmp_path, corpus, OPTIONS, config=TINY)
    first.run()
    again = Trainer(NAME, tmp_path, corpus, resume=True)
    assert again.options == OPTIONS
    again.run(1e-6)
    assert again.step > OPTIONS.total_steps
    other = msgspec.structs.replace(OPTIONS, total_steps=0, learning_rate=1e-5)
    changed = Trainer(NAME, tmp_path, corpus, other, resume=True, change_options=True)
    assert changed.options == other
    with pytest.raises(ProteinLabError, match="hours"):
        changed.run()


_TRAIN_THREE_STEPS = f"""
import sys
from pathlib import Path
import msgspec
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig
from protein_lab.training.corpus import Corpus
from protein_lab.training.trainer import Trainer, TrainingOptions

options = msgspec.json.decode(sys.argv[2], type=TrainingOptions)
config = msgspec.json.decode(sys.argv[3], type=EnhancedDeepONetConfig)
trainer = Trainer({NAME!r}, Path(sys.argv[1]), Corpus.open(), options, config=config)
assert trainer.num_processes == 2
for _ in range(3):
    trainer.advance()
trainer.save()
"""


def test_a_card_says_how_to_train_again(corpus: Corpus, tmp_path: Path) -> None:
    """The command and recipe in a card give the same weights; data, time and losses stand there."""
    options = msgspec.structs.replace(OPTIONS, average=0.9)
    trainer = Trainer(NAME, tmp_path / "first", corpus, options, config=TINY)
    trainer.run(report_every=2)
    trainer.export(tmp_path / "weights")
    path = tmp_path / "weights" / f"{NAME}.toml"
    card = read_card(path)
    told = card["training"]
    assert told["command"] == f"protein-lab train {NAME} --recipe {NAME}.toml --steps 6"
    assert told["corpus_digest"] == corpus.digest
    assert told["hours"] >= 0.0
    assert told["loss"] > 0.0
    assert card["held_out"]["loss"] > 0.0
    again = Trainer(NAME, tmp_path / "again", corpus, load_recipe(str(path)).options, config=TINY)
    again.run()
    assert again.export(tmp_path / "other") == card["sha256"]


def test_commands_follow_what_was_done(corpus: Corpus, tmp_path: Path) -> None:
    """Usual options need no recipe; resuming a run to its end is the same run, going on is not."""
    usual = TrainingOptions(seed=3, total_steps=2)
    initial = EnhancedProteinDeepONet.initialize(TINY, np.random.default_rng(0))
    first = Trainer(NAME, tmp_path, corpus, usual, config=TINY, initial=initial)
    assert first.commands == [f"protein-lab train {NAME} --seed 3 --steps 2 --shipped"]
    first.save()
    resumed = Trainer(NAME, tmp_path, corpus, resume=True)
    assert resumed.commands == first.commands
    resumed.set_steps(5)
    resumed.save()
    longer = Trainer(NAME, tmp_path, corpus, resume=True)
    assert longer.commands == [
        *first.commands,
        f"protein-lab train {NAME} --seed 3 --steps 5 --shipped --resume",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "cpu"}, "protein-lab train fno --seed 1 --steps 9"),
        ({"device": "cuda:0"}, "protein-lab train fno --seed 1 --steps 9 --device cuda"),
        (
            {"device": "cpu", "num_processes": 4},
            "torchrun --nproc-per-node 4 -m protein_lab.cli train fno --seed 1 --steps 9",
        ),
    ],
)
def test_commands_are_understood(given: dict[str, Any], words: str) -> None:
    """What a card says is what the command line reads."""
    options = msgspec.to_builtins(TrainingOptions(seed=1, total_steps=9))
    usual = msgspec.to_builtins(TrainingOptions())
    assert training_command("fno", options, usual, **given) == words
    _, bound, _ = app.parse_args("train" + words.partition("train")[2], exit_on_error=False)
    assert (bound.arguments["steps"], bound.arguments["seed"]) == (9, 1)


def test_figures_are_added_to_the_card_of_the_weights(corpus: Corpus, tmp_path: Path) -> None:
    """Figures join the card and take the place of older ones; other weights are refused."""
    digest = Trainer(NAME, tmp_path / "run", corpus, OPTIONS, config=TINY).export(tmp_path)
    path, command = tmp_path / f"{NAME}.toml", "protein-lab benchmark quality"
    before = read_card(path)
    rows = [
        Row("helix residues obtained", 97.5, 96.0, 98.9, "%", 90.0, True, "Of the asked ones."),
        Row("pairings met", None, None, None, "%", None, True, "Nothing was asked."),
    ]
    figures = [msgspec.to_builtins(row) for row in rows]
    add_held_out(path, digest, "quality", command, figures)
    figures[0]["value"] = 98.0
    add_held_out(path, digest, "quality", command, figures)
    card = read_card(path)
    quality = card["held_out"].pop("quality")
    measured = {"value": 98.0, "low": 96.0, "high": 98.9, "unit": "%"}
    assert quality == {"command": command, "figures": {"helix residues obtained": measured}}
    assert card == before
    with pytest.raises(WeightsError, match="measured"):
        add_held_out(path, "0" * 64, "quality", command, figures)
    assert read_card(path)["held_out"]["quality"] == quality


def test_processes_average_their_gradients(corpus: Corpus, tmp_path: Path) -> None:
    """Two processes make the step that one makes on the mean gradient of their batches."""
    script = tmp_path / "run.py"
    script.write_text(_TRAIN_THREE_STEPS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        joined = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in joined.items()}}
        told = [msgspec.json.encode(part).decode() for part in (OPTIONS, TINY)]
        command = [sys.executable, str(script), str(tmp_path / "two"), *told]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    alone = Trainer(NAME, tmp_path / "one", corpus, OPTIONS, config=TINY)
    differentiate = alone.backend.value_and_grad(alone.task.loss)
    for step in range(3):
        batches = [alone.task.batch(2 * step + rank, alone.params) for rank in range(2)]
        both = [differentiate(alone.params, *batch)[2] for batch in batches]
        mean = {name: (both[0][name] + both[1][name]) / 2 for name in both[0]}
        norm = float(sum(float((g * g).sum()) for g in mean.values())) ** 0.5
        factor = min(1.0, OPTIONS.clip / norm)
        alone.optimizer.step({n: g * factor for n, g in mean.items()}, OPTIONS.rate_at(step))
    together = Trainer(NAME, tmp_path / "two", corpus, resume=True)
    assert together.step == 3
    for name, value in alone.params.items():
        np.testing.assert_allclose(together.params[name], value, atol=2e-6, err_msg=name)


def test_short_floats_are_for_affine_maps_only() -> None:
    """In bfloat16 the field differs a little, and everything that comes out is float32."""
    rng = np.random.default_rng(0)
    value, weight, bias = rng.standard_normal((3, 5)), rng.standard_normal((5, 4)), np.zeros(4)
    exact, short = (get_backend("torch", precision=kind) for kind in ("float32", "bfloat16"))
    results = [
        xp.to_numpy(xp.affine(xp.asarray(value), xp.asarray(weight), xp.asarray(bias)))
        for xp in (exact, short)
    ]
    assert results[1].dtype == np.float32
    assert 0 < np.abs(results[1] - results[0]).max() < 0.05
    with pytest.raises(BackendError, match="bfloat16"):
        get_backend("numpy", precision="bfloat16")
