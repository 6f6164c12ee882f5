"""Training of operators by flow matching: resumable, logged, checkpointed by time."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend, get_backend
from protein_lab.errors import ProteinLabError
from protein_lab.models.weights import OPERATORS, save_weights, write_atomically
from protein_lab.training.card import training_command, training_loss, without_none
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.tasks import BATCHES, TASKS, FieldTask, Task

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.csv"
_CALIBRATION_SEED = 987_654_321
_GRACE = 1.1
"""Times the allowed time after which a run is cut, though its steps were planned to fit."""


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run does; stored in every checkpoint.

    Attributes
    ----------
    learning_rate : float
        Peak; reached after ``warmup`` steps, held, and lowered to a hundredth over the last
        ``cooldown`` of the steps.
    total_steps : int
        Steps of the run; 0 means that they are set from the time allowed, once the speed is known.
    average : float
        Decay of the exponential moving average of the weights, which is what is used.
    clip : float
        Largest norm of the gradient.
    precision : {"float32", "bfloat16"}
        Of affine maps; bfloat16 pays on GPUs only.
    batches : BatchOptions, optional
        How batches are made; by default as fits the operator.
    """

    learning_rate: float = 1e-3
    warmup: int = 200
    cooldown: float = 0.3
    total_steps: int = 0
    weight_decay: float = 0.01
    average: float = 0.999
    clip: float = 1.0
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    batches: BatchOptions | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the training log."""

    step: int
    total_steps: int
    seconds: float
    learning_rate: float
    loss: float
    held_out: float
    parts: dict[str, float]


class Trainer:
    """State of a training run.

    Parameters
    ----------
    operator : str
        Name of the operator.
    folder : Path
        Where checkpoint and log are kept.
    corpus : Corpus
    options : TrainingOptions, optional
        By default the common ones, or on resume those that the run began with.
    config : msgspec.Struct, optional
        Sizes of the operator.
    backend, device : str
        Several processes that ``torchrun`` started train together, each on its share of the
        batches; the first one keeps log and checkpoint.
    resume : bool
        Continue from the checkpoint in ``folder``.
    initial : mapping of str to ndarray, optional
        Weights to start a new run from, by default untrained ones.

    Raises
    ------
    ProteinLabError
        If there is nothing to resume, or a run would overwrite another.
    """

    def __init__(
        self,
        operator: str,
        folder: Path,
        corpus: Corpus,
        options: TrainingOptions | None = None,
        *,
        config: Any = None,
        backend: str = "torch",
        device: str = "cpu",
        resume: bool = False,
        initial: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.kind, config_kind = OPERATORS[operator]
        self.folder, self.corpus = folder, corpus
        self.options = options or TrainingOptions()
        self.config: Any = config or config_kind()
        self.step, self.seconds, self._earlier = 0, 0.0, list[str]()
        self._shipped = initial is not None
        rng = np.random.default_rng(self.options.seed)
        stored: dict[str, NDArray[Any]] = {}
        if resume:
            stored = self._read_checkpoint(config_kind, options is not None)
        elif (folder / CHECKPOINT).exists():
            raise ProteinLabError(
                f"The folder {folder} already holds a training run.",
                "Continue it with --resume, or name another folder with --out.",
            )
        self.backend: Backend = get_backend(backend, device, self.options.precision)
        self.rank, self.num_processes = self.backend.join_processes()
        fresh = dict(initial) if initial else self.kind.initialize(self.config, rng)
        start = _part(stored, "params/") or fresh
        average = _part(stored, "average/") or start
        self.params = {n: self.backend.asarray(v) for n, v in start.items()}
        self.average = {n: self.backend.asarray(v) for n, v in average.items()}
        self.optimizer = self.backend.optimizer(self.params, self.options.weight_decay)
        self.optimizer.restore(_part(stored, "optimizer/"))
        self.task = self._task("train", self.options.seed)
        self._differentiate = self.backend.value_and_grad(self.task.loss)
        self._held_out = self._task("calibration", _CALIBRATION_SEED)

    def _task(self, split: str, seed: int) -> Task:
        make = TASKS.get(self.kind.name, FieldTask)
        return make(self.kind, self.config, self.backend, self.corpus, split, self.batches, seed)

    @property
    def batches(self) -> BatchOptions:
        """How batches are made: as asked, else as fits the operator."""
        return self.options.batches or BATCHES.get(self.kind.name, BatchOptions())

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step: a function of the step alone, so that resuming is exact."""
        options = self.options
        total = options.total_steps or 1_000_000_000
        warm = min(1.0, (step + 1) / options.warmup)
        left = max(0.0, (total - step) / max(1.0, options.cooldown * total))
        return options.learning_rate * warm * max(0.01, min(1.0, left))

    def run(
        self,
        hours: float | None = None,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Progress], None] | None = None,
        report_every: int = 50,
    ) -> None:
        """Train until the steps are done or the time is over; leaves a checkpoint in any case.

        Parameters
        ----------
        hours : float, optional
            Time allowed for this call. Where no number of steps is set, or they are done, it is
            set after 30 steps so that the run ends in time.
        checkpoint_minutes : float
        report : callable, optional
            Called with a :class:`Progress` every ``report_every`` steps.
        report_every : int
        """
        began = saved = time.monotonic()
        first, before = self.step, self.seconds
        if hours is not None and self.step >= self.options.total_steps:
            self.set_steps(0)
        if hours is None and not self.options.total_steps:
            raise ProteinLabError("Expected hours or a number of steps, but got neither.")
        allowed = float("inf") if hours is None else hours * 3600
        try:
            while not self.options.total_steps or self.step < self.options.total_steps:
                loss, parts = self.advance()
                now = time.monotonic()
                self.seconds = before + now - began
                if not self.options.total_steps and self.step - first == 30:
                    left = int((allowed - (now - began)) / ((now - began) / 30))
                    self.set_steps(self.step + max(1, left))
                elif self.options.total_steps and now - began > _GRACE * allowed:
                    break
                if now - saved > checkpoint_minutes * 60:
                    self.save()
                    saved = now
                if self.step % report_every == 0 or self.step == self.options.total_steps:
                    self._report(loss, parts, report)
        finally:
            self.save()

    def set_steps(self, total: int) -> None:
        """Set the number of steps of the whole run; 0 to have it set from the time allowed."""
        self.options = msgspec.structs.replace(self.options, total_steps=total)

    def advance(self) -> tuple[float, dict[str, float]]:
        """Make one step; returns the loss and its parts."""
        xp = self.backend
        batch = self.task.batch(self.step * self.num_processes + self.rank, self.params)
        loss, parts, gradients = self._differentiate(self.params, *batch)
        gradients = xp.mean_over_processes(gradients)
        norm = float(sum(float((g * g).sum()) for g in gradients.values())) ** 0.5
        value = float(loss)
        if np.isfinite(norm):
            if norm > self.options.clip:
                factor = self.options.clip / norm
                gradients = {n: g * factor for n, g in gradients.items()}
            self.optimizer.step(gradients, self.learning_rate(self.step))
            decay = min(self.options.average, (1 + self.step) / (10 + self.step))
            for name, mean in self.average.items():
                new = xp.stop_gradient(self.params[name])
                self.average[name] = mean * decay + new * (1.0 - decay)
        self.step += 1
        return value, {name: float(part) for name, part in parts.items()}

    def held_out_loss(self, num_batches: int = 4) -> float:
        """Loss of the averaged weights on fixed batches of the calibration split."""
        losses = [
            float(self.task.loss(self.average, *self._held_out.batch(number, self.average))[0])
            for number in range(num_batches)
        ]
        return float(np.mean(losses))

    def _report(
        self,
        loss: float,
        parts: Mapping[str, float],
        report: Callable[[Progress], None] | None,
    ) -> None:
        line = Progress(
            step=self.step, total_steps=self.options.total_steps, seconds=self.seconds,
            learning_rate=self.learning_rate(self.step), loss=loss,
            held_out=self.held_out_loss() if self.step % 500 == 0 else float("nan"),
            parts=dict(parts),
        )  # fmt: skip
        if self.rank > 0:
            return
        row = msgspec.to_builtins(line)
        row |= row.pop("parts")
        path = self.folder / LOG
        self.folder.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        if report is not None:
            report(line)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Averaged weights as NumPy arrays."""
        return {name: self.backend.to_numpy(value) for name, value in self.average.items()}

    @property
    def commands(self) -> list[str]:
        """Commands that make this run: one, or more where it was continued in another way."""
        latest = training_command(
            self.kind.name,
            msgspec.to_builtins(self.options),
            msgspec.to_builtins(TrainingOptions()),
            device=self.backend.device,
            num_processes=self.num_processes,
            shipped=self._shipped,
        )
        if latest in (command.removesuffix(" --resume") for command in self._earlier[-1:]):
            return self._earlier
        return [*self._earlier, latest + " --resume" if self._earlier else latest]

    def export(self, folder: Path) -> str:
        """Write averaged weights and card to ``folder``; returns the weights' SHA-256."""
        options = self.options
        held_out = self.held_out_loss()
        recipe = {"device": self.backend.device, "options": msgspec.to_builtins(options)}
        card = {
            "training": {
                "corpus_digest": self.corpus.digest,
                "corpus_split": "train",
                "command": " && ".join(self.commands),
                "steps": self.step,
                "hours": round(self.seconds / 3600, 3),
                "device": self.backend.device,
                "seed": options.seed,
                "residues_per_batch": self.batches.residues,
                "learning_rate": options.learning_rate,
                "loss": training_loss(self.folder / LOG),
            },
            "held_out": {"split": "calibration", "loss": round(held_out, 4)},
            "recipe": recipe,
        }
        return save_weights(self.weights(), folder, self.kind.name, self.config, without_none(card))

    def save(self) -> None:
        """Write the checkpoint atomically; in the first process only."""
        from safetensors.numpy import save

        if self.rank > 0:
            return
        arrays = {f"params/{n}": self.backend.to_numpy(v) for n, v in self.params.items()}
        arrays |= {f"average/{n}": v for n, v in self.weights().items()}
        arrays |= {f"optimizer/{n}": v for n, v in self.optimizer.state().items()}
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "operator": self.kind.name,
            "corpus": self.corpus.digest,
            "options": msgspec.to_builtins(self.options),
            "config": msgspec.to_builtins(self.config),
            "commands": self.commands if self.options.total_steps else [],
            "shipped": self._shipped,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        contiguous = {n: np.ascontiguousarray(v) for n, v in arrays.items()}
        data = save(contiguous, metadata={"training": json.dumps(meta, sort_keys=True)})
        write_atomically(self.folder / CHECKPOINT, data)

    def _read_checkpoint(
        self, config_kind: type[msgspec.Struct], keep_options: bool
    ) -> dict[str, NDArray[Any]]:
        from safetensors import safe_open

        path = self.folder / CHECKPOINT
        if not path.exists():
            raise ProteinLabError(
                f"There is no training run in {self.folder} to resume.", "Start without --resume."
            )
        with safe_open(path, framework="numpy") as stream:
            meta = json.loads(stream.metadata()["training"])
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if not keep_options:
            self.options = msgspec.convert(meta["options"], TrainingOptions)
        self.config = msgspec.convert(meta["config"], config_kind)
        self.step, self.seconds = meta["step"], meta["seconds"]
        self._earlier, self._shipped = meta.get("commands", []), meta.get("shipped", False)
        return arrays


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}
