"""Training runs that are killed, damaged, mixed up, or run out of something."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.cli import main
from protein_lab.errors import BackendError, ProteinLabError
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig
from protein_lab.training import checkpoints
from protein_lab.training.chains import BatchOptions
from protein_lab.training.checkpoints import CHECKPOINT, PREVIOUS, CheckpointError
from protein_lab.training.corpus import Corpus
from protein_lab.training.log import LOG, TrainingLog
from protein_lab.training.trainer import DivergedError, Trainer, TrainingOptions

NAME = "enhanced_deeponet"
TINY = EnhancedDeepONetConfig(channels=16, heads=2, pair_channels=4, basis=4, dilations=(1, 2))
OPTIONS = TrainingOptions(
    total_steps=8, warmup=2, batches=BatchOptions(residues=128, max_length=64)
)
RECIPE = """
hours = 1.0
[config]
channels = 16
heads = 2
pair_channels = 4
basis = 4
dilations = [1, 2]
[options]
warmup = 2
[options.batches]
residues = 128
max_length = 64
"""


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the shipped corpus once."""
    return Corpus.open()


@pytest.fixture(scope="module")
def uncut(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Run to the end without a break."""
    trainer = Trainer(NAME, tmp_path_factory.mktemp("uncut"), corpus, OPTIONS, config=TINY)
    trainer.run(report_every=2)
    return trainer


def start(corpus: Corpus, folder: Path, steps: int = 0, **given: Any) -> Trainer:
    """Begin a run and make some steps, with a checkpoint after each."""
    trainer = Trainer(NAME, folder, corpus, OPTIONS, config=TINY, **given)
    for _ in range(steps):
        trainer.advance()
        trainer.save()
    return trainer


_KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig
from protein_lab.training.corpus import Corpus
from protein_lab.training.trainer import Trainer, TrainingOptions

folder, place, options, config = sys.argv[1:]
trainer = Trainer(
    "enhanced_deeponet", Path(folder), Corpus.open(),
    msgspec.json.decode(options, type=TrainingOptions),
    config=msgspec.json.decode(config, type=EnhancedDeepONetConfig),
)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

step, replace = trainer.optimizer.step, Path.replace

def dying_step(*given):
    step(*given)
    if trainer.step == 5:
        die()  # parameters are new, their average and the number of steps are not

def dying_replace(self, target):
    done = replace(self, target)
    if trainer.step == 5 and Path(target).name == "checkpoint.previous.safetensors":
        die()  # the old checkpoint has moved away, the new one is not in its place yet
    return done

if place == "step":
    trainer.optimizer.step = dying_step
else:
    Path.replace = dying_replace
trainer.run(checkpoint_minutes=0.0, report_every=2)
"""


@pytest.mark.parametrize("place", ["step", "checkpoint"])
def test_killed_run_goes_on_as_if_it_had_not_been(
    corpus: Corpus, uncut: Trainer, tmp_path: Path, place: str
) -> None:
    """After SIGKILL inside a step or inside the writing of a checkpoint no bit differs."""
    told = [msgspec.json.encode(part).decode() for part in (OPTIONS, TINY)]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path), place, *told],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    said: list[str] = []
    again = Trainer(NAME, tmp_path, corpus, resume=True, say=said.append)
    assert again.step == (5 if place == "step" else 4)
    assert len(said) == (0 if place == "step" else 1)
    again.run(report_every=2)
    assert again.step == uncut.step
    for name, value in uncut.weights().items():
        np.testing.assert_array_equal(again.weights()[name], value, err_msg=name)
    moments = again.optimizer.state()
    for name, value in uncut.optimizer.state().items():
        np.testing.assert_array_equal(moments[name], value, err_msg=name)
    steps = [int(row["step"]) for row in TrainingLog(tmp_path, again.step).rows]
    assert steps == [2, 4, 6, 8]


def flip_byte(path: Path) -> None:
    """Change one byte in the middle of the numbers."""
    data = bytearray(path.read_bytes())
    data[-100] ^= 0xFF
    path.write_bytes(bytes(data))


def cut_short(path: Path) -> None:
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip_byte, cut_short, lambda path: path.write_bytes(b"")])
def test_damaged_checkpoint_is_passed_over(
    corpus: Corpus, uncut: Trainer, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The checkpoint before a damaged one is used and named; two damaged ones are an error."""
    start(corpus, tmp_path, 4)
    damage(tmp_path / CHECKPOINT)
    said: list[str] = []
    again = Trainer(NAME, tmp_path, corpus, resume=True, say=said.append)
    assert again.step == 3
    assert "damaged" in said[0]
    assert PREVIOUS in said[0]
    again.run()
    for name, value in uncut.weights().items():
        np.testing.assert_array_equal(again.weights()[name], value, err_msg=name)
    damage(tmp_path / CHECKPOINT)
    damage(tmp_path / PREVIOUS)
    with pytest.raises(CheckpointError, match=r"damaged.*--out"):
        Trainer(NAME, tmp_path, corpus, resume=True)


def test_run_of_something_else_is_not_resumed(corpus: Corpus, tmp_path: Path) -> None:
    """Another operator, corpus, recipe or size is an error that names what differs."""
    start(corpus, tmp_path, 1)
    with pytest.raises(CheckpointError, match="operator is enhanced_deeponet there and fno here"):
        Trainer("fno", tmp_path, corpus, resume=True)
    slower = msgspec.structs.replace(OPTIONS, learning_rate=1e-5)
    with pytest.raises(CheckpointError, match=r"learning_rate is 0\.001 there.*--change-options"):
        Trainer(NAME, tmp_path, corpus, slower, resume=True)
    changed = Trainer(NAME, tmp_path, corpus, slower, resume=True, change_options=True)
    assert changed.options.learning_rate == 1e-5
    with pytest.raises(CheckpointError, match=r"config\.channels is 16 there and 128 here"):
        Trainer(NAME, tmp_path, corpus, config=EnhancedDeepONetConfig(), resume=True)
    longer = msgspec.structs.replace(OPTIONS, total_steps=9)
    assert Trainer(NAME, tmp_path, corpus, longer, resume=True).options.total_steps == 9


def test_run_on_another_corpus_is_not_resumed(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of the corpus stands in the checkpoint."""
    start(corpus, tmp_path, 1)
    monkeypatch.setattr(Corpus, "digest", property(lambda self: "0" * 64))
    with pytest.raises(CheckpointError, match=r"corpus is .* there and 0000"):
        Trainer(NAME, tmp_path, corpus, resume=True)


def test_diverging_run_stops_and_keeps_its_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    """A loss that is no number ends the run; the last good checkpoint is untouched."""
    said: list[str] = []
    trainer = start(corpus, tmp_path, 2, say=said.append)
    good = (tmp_path / CHECKPOINT).read_bytes()
    batch = trainer.task.batch(0, trainer.params)
    broken = (batch[0], batch[1] * float("nan"), *batch[2:])
    trainer.task.batch = lambda step, params: broken  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"diverged.*learning_rate"):
        trainer.run()
    assert "no finite gradient" in said[0]
    assert (tmp_path / CHECKPOINT).read_bytes() == good
    assert all(np.isfinite(value).all() for value in trainer.weights().values())


@pytest.mark.parametrize("name", [NAME, "curve_deeponet", "sequence"])
def test_batch_that_does_not_fit_is_computed_in_pieces(
    corpus: Corpus, tmp_path: Path, name: str
) -> None:
    """When memory runs out the step is the same, in pieces; too long a chain is an error."""
    from protein_lab.models.weights import OPERATORS

    sizes = {"channels": 16, "heads": 2, "pair_channels": 4, "basis": 4, "dilations": (1, 2)}
    kind = OPERATORS[name][1]
    config = kind(**({} if name == "sequence" else sizes))
    options = msgspec.structs.replace(OPTIONS, batches=BatchOptions(residues=300, max_length=60))
    said: list[str] = []
    trainer = Trainer(name, tmp_path, corpus, options, config=config, say=said.append)
    batch = trainer.task.batch(0, trainer.params)
    count = trainer.task.num_chains(batch)
    assert count >= 3
    loss, parts, gradients = trainer.gradients(trainer.params, batch)
    whole = trainer.gradients.differentiated[1]
    largest = 2
    close = 1e-2 if name == "sequence" else 1e-5  # its products are of 16 bits

    def differentiate(params: Any, *arrays: Any) -> Any:
        if arrays[1].shape[0] > largest:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return whole(params, *arrays)

    trainer.gradients.differentiated[1] = differentiate
    again, again_parts, pieces = trainer.gradients(trainer.params, batch)
    assert trainer.gradients.pieces > 1
    assert "pieces" in said[0]
    assert again == pytest.approx(loss, rel=1e-5)
    assert again_parts == pytest.approx(parts, rel=1e-4)
    norm = np.sqrt(sum(float((value**2).sum()) for value in gradients.values()))
    for key, value in gradients.items():
        np.testing.assert_allclose(pieces[key], value, atol=close * norm, err_msg=key)
    largest = 0
    with pytest.raises(ProteinLabError, match="max_length"):
        trainer.gradients(trainer.params, batch)


def test_full_disk_keeps_the_checkpoint_and_the_run(
    corpus: Corpus, uncut: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the run goes on and says so; at its end that is an error."""
    said: list[str] = []
    trainer = start(corpus, tmp_path, 2, say=said.append)
    write, is_full = checkpoints.write_atomically, True

    def full(path: Path, data: bytes) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    with pytest.raises(CheckpointError, match=r"No space left.*--resume"):
        trainer.run(checkpoint_minutes=0.0)
    assert "No space left" in said[0]
    assert trainer.step == OPTIONS.total_steps
    again = Trainer(NAME, tmp_path, corpus, resume=True, say=said.append)
    assert again.step == 2
    is_full = False
    again.run()
    for name, value in uncut.weights().items():
        np.testing.assert_array_equal(again.weights()[name], value, err_msg=name)


def test_log_fits_the_checkpoint(tmp_path: Path) -> None:
    """Lines after the checkpoint and torn ones are dropped; a new column joins all lines."""
    log = TrainingLog(tmp_path, 0)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0 / step})
    with (tmp_path / LOG).open("a") as stream:
        stream.write("40,0.0")
    assert [row["step"] for row in TrainingLog(tmp_path, 40).rows] == [10, 20, 30, 40]
    with (tmp_path / LOG).open("a") as stream:
        stream.write("5")
    again = TrainingLog(tmp_path, 20)
    again.append({"step": 30, "loss": 0.5, "helix": 0.25})
    lines = (tmp_path / LOG).read_text().splitlines()
    assert lines == ["step,loss,helix", "10,0.1,", "20,0.05,", "30,0.5,0.25"]


@pytest.mark.parametrize("device", ["cuda:7", "tpu", "meta", "gpu", "cpu:x"])
def test_device_that_is_not_there_is_named(device: str) -> None:
    """The error says which devices can be asked for."""
    with pytest.raises(BackendError, match=device):
        get_backend("torch", device)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hours", "-1"], "hours above 0"),
        (["--device", "tpu"], "cpu, cuda"),
        (["--resume"], "no training run"),
        (["--resume", "--seed", "3"], "--seed"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be done is said in a line, without a traceback."""
    with pytest.raises(SystemExit) as left:
        main(["train", NAME, "--out", str(tmp_path), *words])
    assert left.value.code == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert "Unexpected" not in shown


def test_interrupted_command_saves_and_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends the command after a step; --resume finishes the run, log and weights too."""
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "protein_lab.cli", "train", NAME, "--out", str(folder)]
    begun = [*command, "--recipe", str(recipe), "--checkpoint-minutes", "0"]
    process = subprocess.Popen(begun, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (folder / CHECKPOINT).exists() and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    step = checkpoints.read_checkpoint(folder, print).meta["step"]
    resumed = [*command, "--resume", "--steps", str(step + 2)]
    done = subprocess.run(resumed, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "Weights:" in done.stdout
    assert f"{step + 2}/{step + 2}  loss" in done.stderr
    assert (folder / f"{NAME}.toml").is_file()
    assert (folder / LOG).read_text().startswith("step,")
    assert (folder / "loss.png").stat().st_size > 5000


def test_batches_made_ahead_change_nothing(corpus: Corpus, uncut: Trainer, tmp_path: Path) -> None:
    """Weights after a run whose batches came from another process have the same bits."""
    trainer = start(corpus, tmp_path / "run", loaders=1)
    trainer.run(report_every=2)
    assert trainer.step == uncut.step
    for name, value in uncut.weights().items():
        assert np.array_equal(trainer.weights()[name], value), name


def test_a_dead_loader_is_told(corpus: Corpus, tmp_path: Path) -> None:
    """The run stops with what to do, and can be resumed."""
    trainer = start(corpus, tmp_path / "run", loaders=1)

    def kill(step: int, *_: Any) -> None:
        if step == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(ProteinLabError, match="has died"):
        trainer.run(report_every=2, tick=kill)
    Trainer(NAME, tmp_path / "run", corpus, resume=True).run()
