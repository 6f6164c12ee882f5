"""What training can do beyond the usual: samplings, guesses, physics, JAX, pictures."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.cli import training
from protein_lab.constants import UNSPECIFIED
from protein_lab.constraints.fields import SECONDARY_STRUCTURE_CHANNELS
from protein_lab.errors import ProteinLabError
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import backbone_from_internal
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.weights import OPERATORS, load_operator
from protein_lab.training.batches import BatchSource
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.evaluation import field_measures
from protein_lab.training.log import Progress
from protein_lab.training.monitor import draw_log
from protein_lab.training.physics_losses import physics_losses
from protein_lab.training.recipes import Recipe, plan_run
from protein_lab.training.trainer import Trainer, TrainingOptions

NAME = "enhanced_deeponet"
SIZES: dict[str, Any] = {
    "channels": 16, "heads": 2, "pair_channels": 4, "basis": 4, "dilations": (1, 2),
}  # fmt: skip
TINY = EnhancedDeepONetConfig(**SIZES)
LOOKING_BACK = EnhancedDeepONetConfig(**SIZES, self_conditioning=True)
BATCHES = BatchOptions(residues=128, max_length=64)
OPTIONS = TrainingOptions(total_steps=6, warmup=2, batches=BATCHES)
XP = get_backend("torch")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the shipped corpus once."""
    return Corpus.open()


def repeat(trainer: Trainer, batch: tuple[Any, ...]) -> None:
    """Give a trainer the same batch at every step."""
    trainer.task.batch = lambda step, params: batch  # type: ignore[method-assign]


def test_jax_trains_as_torch_does(corpus: Corpus, tmp_path: Path) -> None:
    """The same three steps give the same weights, and a run goes on with the other library."""
    name = "deeponet"  # the one that compiles soonest
    config = OPERATORS[name][1](channels=16, basis=4)
    runs = {}
    for backend in ("torch", "jax"):
        folder = tmp_path / backend
        run = Trainer(name, folder, corpus, OPTIONS, config=config, backend=backend)
        repeat(run, run.task.batch(0, run.params))  # of one shape, or JAX compiles again
        for _ in range(3):
            run.advance()
        runs[backend] = run
    start = runs["torch"].kind.initialize(config, np.random.default_rng(0))
    found, wanted = runs["jax"].weights(), runs["torch"].weights()
    moved = max(float(np.abs(wanted[key] - value).max()) for key, value in start.items())
    assert moved > 1e-3
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=0.02 * moved, err_msg=key)
    runs["jax"].save()
    again = Trainer(name, tmp_path / "jax", corpus, backend="torch", resume=True)
    repeat(again, again.task.batch(0, again.params))
    again.advance()
    runs["torch"].advance()
    for key, value in runs["torch"].weights().items():
        np.testing.assert_allclose(again.weights()[key], value, atol=0.02 * moved, err_msg=key)


def test_chains_are_sampled_more_densely(corpus: Corpus) -> None:
    """At three points a residue the residues' own values are among them, in fewer chains."""
    usual = BatchSource(corpus, "train", BATCHES, 1, 3.0, 2.0)
    dense = BatchSource(
        corpus, "train", msgspec.structs.replace(BATCHES, densities=(3,)), 1, 3.0, 2.0
    )
    both = BatchSource(
        corpus, "train", msgspec.structs.replace(BATCHES, densities=(1, 2)), 1, 3.0, 2.0
    )
    assert {both.density(step) for step in range(20)} == {1, 2}
    assert {usual.density(step) for step in range(20)} == {1}
    step = next(k for k in range(20) if len(dense.batch(k)) < len(usual.batch(k)))
    chain = dense.batch(step)[0]
    length = len(chain.target) // 3
    assert chain.conditions.spacing == pytest.approx(1 / 3)
    steps = np.linalg.norm(np.diff(chain.target[1::3, 1], axis=0), axis=-1)
    assert np.median(steps) == pytest.approx(3.8, abs=0.1)
    assert chain.conditions.pairing.shape == (3 * length, 3 * length, 3)
    # a process without memory of its sampling: neighbors are closer than residues are
    near, far = (np.diff(chain.noise[::stride, 1], axis=0).std() for stride in (1, 3))
    assert near < 0.8 * far


@pytest.mark.parametrize("name", [NAME, "fno", "deeponet", "curve_deeponet"])
def test_every_operator_trains_on_several_samplings(
    corpus: Corpus, tmp_path: Path, name: str
) -> None:
    """Steps at one and at two points differ in shape and both have finite gradients."""
    kind = OPERATORS[name][1]
    known = {key: value for key, value in SIZES.items() if key in kind.__struct_fields__}
    if name == "fno":
        known["channels"] = 16
    batches = BatchOptions(residues=128, max_length=64, densities=(1, 2))
    options = msgspec.structs.replace(OPTIONS, batches=batches)
    said: list[str] = []
    trainer = Trainer(name, tmp_path, corpus, options, config=kind(**known), say=said.append)
    drawn = [trainer.task.density(step) for step in range(5)]
    assert set(drawn) == {1, 2}
    losses = [trainer.advance()[0] for _ in drawn]
    assert np.isfinite(losses).all()
    assert said == []


def test_operator_looks_at_its_guess(corpus: Corpus, tmp_path: Path) -> None:
    """Self-conditioning: half of the steps have a guess, weights learn from it, samples use it."""
    trainer = Trainer(NAME, tmp_path, corpus, OPTIONS, config=LOOKING_BACK)
    guessed = [len(trainer.task.batch(step, trainer.params)) == 5 for step in range(12)]
    assert 2 < sum(guessed) < 10
    before = trainer.params["node.guess.weight"].clone()
    trainer.run()
    assert float((trainer.params["node.guess.weight"] - before).abs().max()) > 1e-4
    again = Trainer(NAME, tmp_path, corpus, resume=True)
    assert again.config.self_conditioning
    operator = again.kind(again.config, again.params, again.backend)
    chain = BatchSource(corpus, "train", BATCHES, 0, 3.0, 2.0).batch(0)[0]
    noise = draw_noise(np.random.default_rng(0), 1, len(chain.target))
    with_guess = sample(operator, chain.conditions, noise, 3).field
    plain = {k: v for k, v in again.params.items() if ".guess" not in k}
    without = sample(again.kind(TINY, plain, again.backend), chain.conditions, noise, 3).field
    assert np.abs(with_guess - without).max() > 1e-4


def test_guidance_leads_away_from_what_was_not_asked(corpus: Corpus) -> None:
    """At -1 it draws what is drawn without secondary structure and pairing, at 0 what was asked."""
    operator = load_operator(NAME, "torch")
    asked = BatchSource(corpus, "train", BATCHES, 0, 3.0, 2.0).batch(0)[0].conditions
    states = np.zeros_like(asked.secondary_structure)
    states[:, SECONDARY_STRUCTURE_CHANNELS.index(UNSPECIFIED)] = 1.0
    unasked = replace(asked, secondary_structure=states, pairing=asked.pairing * 0)
    noise = draw_noise(np.random.default_rng(0), 1, asked.length)
    back = sample(operator, asked, noise, 3, guidance=-1.0).field
    np.testing.assert_allclose(back, sample(operator, unasked, noise, 3).field, atol=1e-3)
    plain = sample(operator, asked, noise, 3).field
    np.testing.assert_array_equal(sample(operator, asked, noise, 3, guidance=0.0).field, plain)
    further = sample(operator, asked, noise, 3, guidance=1.0).field
    assert ((further - plain) * (plain - back)).sum() > 0.0


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bar has an estimate; measured lines are kept above it."""
    line = Progress(
        step=4, total_steps=5, seconds=240.0, learning_rate=1e-3, loss=0.5, held_out=0.25,
        parts={}, metrics={"helix": 0.75},
    )  # fmt: skip
    for is_terminal in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda is_terminal=is_terminal: is_terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        with training._Bar(0) as bar:
            for step in range(1, 5):
                bar.tick(step, 5, 0.5)
            bar.line(line)
        shown = stream.getvalue()
        assert "4/5  loss 0.500  held-out 0.250  helix 0.75  1 min left\n" in shown
        assert ("4/5 [" in shown) == is_terminal


def test_shipped_weights_do_not_look_back() -> None:
    """What was trained before has no guess and keeps its parameters."""
    operator = load_operator(NAME, "numpy")
    assert not operator.looks_back
    config = msgspec.convert(operator.card["config"], EnhancedDeepONetConfig)
    fresh = EnhancedProteinDeepONet.initialize(config, np.random.default_rng(0))
    assert set(fresh) == set(operator.params)


def test_coarse_flow_has_no_second_guess(corpus: Corpus, tmp_path: Path) -> None:
    """It looks back by its frames already, so asking for it is an error."""
    config = OPERATORS["curve_deeponet"][1](**SIZES, self_conditioning=True)
    with pytest.raises(ProteinLabError, match="frames"):
        Trainer("curve_deeponet", tmp_path, corpus, OPTIONS, config=config)
    physical = msgspec.structs.replace(OPTIONS, physics=0.1)
    with pytest.raises(ProteinLabError, match="physics to 0"):
        Trainer("curve_deeponet", tmp_path, corpus, physical)


def helix(length: int = 24) -> np.ndarray:
    """Ideal alpha helix, N, CA, C."""
    angles = [np.full(length, np.radians(value)) for value in (-62.0, -42.0, 180.0)]
    return np.asarray(backbone_from_internal(*angles))[:, :3]


def losses_of(mean: np.ndarray, target: np.ndarray, time: float = 1.0) -> dict[str, float]:
    """Physical losses of one chain."""
    mask = np.ones((1, len(mean)))
    given = (XP.asarray(value) for value in (mean[None], target[None], mask, np.array([time])))
    return {name: float(value) for name, value in physics_losses(XP, *given).items()}


def test_physical_losses_see_what_they_are_named_after() -> None:
    """Ideal chains cost nothing; each fault raises its loss; far from the data none counts."""
    ideal = helix()
    clean = losses_of(ideal, ideal)
    assert clean["bond_lengths"] < 0.01
    assert clean["bond_angles"] < 0.05
    assert clean["clashes"] == 0.0
    assert clean["hydrogen_bonds"] == 0.0
    stretched = losses_of(ideal * 1.05, ideal)
    assert stretched["bond_lengths"] > 0.2
    assert stretched["hydrogen_bonds"] > 0.2
    assert losses_of(ideal * 0.4, ideal)["clashes"] > 0.2
    bent = ideal.copy()
    bent[:, 2] += [0.0, 0.0, 0.8]
    assert losses_of(bent, ideal)["bond_angles"] > clean["bond_angles"] + 0.2
    assert losses_of(ideal * 1.05, ideal, 0.5) == dict.fromkeys(clean, 0.0)
    broken = ideal.copy()
    broken[12:] += 20.0
    assert losses_of(broken, broken)["bond_lengths"] < 0.01


def test_physical_losses_come_late(corpus: Corpus, tmp_path: Path) -> None:
    """They join the loss in the last part of the run, and lower what they measure."""
    options = msgspec.structs.replace(
        OPTIONS, total_steps=1000, physics=1.0, physics_share=0.5, learning_rate=3e-3, warmup=1
    )
    trainer = Trainer(NAME, tmp_path, corpus, options, config=TINY)
    assert "bond_lengths" not in trainer.advance()[1]
    trainer.step = 500
    inputs, target, noise, time = trainer.task.batch(0, trainer.params)[:4]
    repeat(trainer, (inputs, target, noise, time * 0.0 + 0.95))
    found = [trainer.advance()[1]["bond_lengths"] for _ in range(30)]
    assert 0.0 < found[-1] < 0.9 * found[0]


def test_measures_of_samples(corpus: Corpus) -> None:
    """A real chain has its own helices, strands and bonds; a straight one has none."""
    index = next(
        int(i) for i in corpus.indices("calibration", 60, 100)
        if {"H", "E"} <= set(corpus.secondary_structure(int(i)))
    )  # fmt: skip
    backbone = np.asarray(corpus.backbone(index), dtype=np.float64)
    states = corpus.secondary_structure(index)
    own = field_measures(backbone[:, :3], backbone, states)
    assert own["helix"] > 0.9
    assert own["strand"] > 0.8
    assert own["strand_bonds"] > 0.8
    assert own["ca_ca"] > 0.9
    line = np.arange(len(states))[:, None, None] * [3.4, 0.0, 0.0] + backbone[:1, :3]
    far = field_measures(line, backbone, states)
    assert far["helix"] == far["strand"] == 0.0
    assert far["ca_ca"] == 0.0


def test_log_is_drawn(tmp_path: Path) -> None:
    """Losses and measures become a picture in two formats."""
    rows = [{"step": k * 10.0, "loss": 1.0 + 1.0 / (k + 1)} for k in range(50)]
    rows[-1] |= {"held_out": 0.9, "helix": 0.5, "strand": 0.25, "ca_ca": 0.75}
    draw_log(rows, tmp_path)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    shown = (tmp_path / "loss.svg").read_text()
    assert "<svg" in shown
    draw_log(rows[:2], tmp_path)
    assert len((tmp_path / "loss.svg").read_text()) < len(shown)


def test_recipe_holds_sizes() -> None:
    """Sizes of a recipe are those of its operator; unknown and wrong ones are named."""
    made = plan_run(NAME, Recipe(config={"channels": 32, "self_conditioning": True}), 7, False)
    assert made[0] is not None
    assert made[0].seed == 7
    assert isinstance(made[1], EnhancedDeepONetConfig)
    assert made[1].self_conditioning
    with pytest.raises(ProteinLabError, match="chanels"):
        plan_run(NAME, Recipe(config={"chanels": 32}), None, False)
    with pytest.raises(ProteinLabError, match="channels"):
        plan_run(NAME, Recipe(config={"channels": "wide"}), None, False)
    assert plan_run(NAME, None, None, True) == (None, None)
