"""Training of operators by flow matching: resumable, logged, checkpointed by time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend, get_backend
from protein_lab.errors import ProteinLabError
from protein_lab.models.weights import OPERATORS, save_weights
from protein_lab.training.card import training_card, training_command
from protein_lab.training.chains import BatchOptions
from protein_lab.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    holds_run,
    write_checkpoint,
)
from protein_lab.training.corpus import Corpus
from protein_lab.training.evaluation import CALIBRATION_SEED, Evaluation
from protein_lab.training.gradients import DivergedError, GradientSum, clipped
from protein_lab.training.interrupts import HeldInterrupts
from protein_lab.training.learning import Task
from protein_lab.training.log import Progress
from protein_lab.training.monitor import Monitor
from protein_lab.training.options import TrainingOptions
from protein_lab.training.prefetch import Prefetcher
from protein_lab.training.resuming import resume_run
from protein_lab.training.tasks import BATCHES, made_ahead, make_task

_LOGGER = logging.getLogger(__name__)
_GRACE = 1.1
"""Of the allowed time; then a run is cut, though its steps were planned to fit."""
_STARTED = 10
"""Steps that a device needs to get going, which say nothing of its speed."""
_PLANNED_AFTER = 30
"""Steps after which the speed is known; it is looked at again until the rate falls."""
_MAX_LEFT_OUT = 5
"""Steps in a row without a finite gradient after which a run is given up."""
_AGREE_EVERY = 10
"""Steps after which processes agree on the time that has passed."""


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
    change_options : bool
        Whether a run that is resumed takes over ``options`` that are not those it began with.
    initial : mapping of str to ndarray, optional
        Weights to start a new run from, by default untrained ones.
    loaders : int
        Processes that make batches ahead; 0 to make each when it is needed, which suffices on a
        CPU.
    say : callable, optional
        Told what a user should know while it runs; by default the log of the process.

    Raises
    ------
    ProteinLabError
        If there is nothing to resume, a run would overwrite another, or what is resumed is of
        another operator, corpus or recipe.
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
        change_options: bool = False,
        initial: Mapping[str, NDArray[Any]] | None = None,
        loaders: int = 0,
        say: Callable[[str], None] = _LOGGER.warning,
    ) -> None:
        self.kind, config_kind = OPERATORS[operator]
        self.folder, self.corpus, self._say = folder, corpus, say
        self.options = options or TrainingOptions()
        self.config: Any = config or config_kind()
        self.step, self.seconds, self._earlier = 0, 0.0, list[str]()
        self._shipped, self._left_out, self._is_whole = initial is not None, 0, True
        stored = Checkpoint({}, {})
        if resume:
            asked = (None if change_options else options, config)
            stored, self.options, self.config = resume_run(folder, operator, corpus, asked, say)
            if options is not None and (change_options or options.total_steps):
                self.options = options
            self.step, self.seconds = stored.meta["step"], stored.meta["seconds"]
            self._earlier = stored.meta.get("commands", [])
            self._shipped = stored.meta.get("shipped", False)
        elif holds_run(folder):
            raise ProteinLabError(
                f"The folder {folder} already holds a training run.",
                "Continue it with --resume, or name another folder with --out.",
            )
        self.backend: Backend = get_backend(backend, device, self.options.precision)
        self.rank, self.num_processes = self.backend.join_processes()
        fresh = stored.part("params/") or initial or self._untrained()
        average = stored.part("average/") or fresh
        self.params = {n: self.backend.asarray(v) for n, v in fresh.items()}
        # copies: where nothing is stored yet both would be the same arrays
        self.average = {n: self.backend.asarray(np.array(v)) for n, v in average.items()}
        self.optimizer = self.backend.optimizer(self.params, self.options.weight_decay)
        self.optimizer.restore(stored.part("optimizer/"))
        self.task = self._task("train", self.options.seed)
        self._loaders = loaders
        if self.options.physics and not self.task.has_physics:
            raise ProteinLabError(
                f"There are no physical losses for {operator}, but their weight is "
                f"{self.options.physics:g}.", "Set physics to 0.",
            )  # fmt: skip
        self.gradients = GradientSum(
            self.backend, self.task, self.options.compile, say, int(stored.meta.get("pieces", 1))
        )
        calibration = self._task("calibration", CALIBRATION_SEED)
        self.evaluation = Evaluation(self.kind, self.config, self.backend, corpus, calibration)
        self.monitor = Monitor(folder, self.step, say)

    def _untrained(self) -> dict[str, NDArray[Any]]:
        return self.kind.initialize(self.config, np.random.default_rng(self.options.seed))

    def _task(self, split: str, seed: int) -> Task:
        batches = self.batches
        if split != "train":  # what is measured is what is used: one point a residue
            batches = msgspec.structs.replace(batches, densities=(1,))
        place = (self.backend, self.corpus)
        return make_task(self.kind.name, self.config, split, batches, seed, *place)

    def _made_ahead(self) -> AbstractContextManager[Prefetcher | None]:
        learned = (self.kind.name, self.config, self.batches, self.options.seed)
        place = (self.backend, self.corpus, self._loaders, self.num_processes)
        return made_ahead(*learned, *place)

    @property
    def batches(self) -> BatchOptions:
        """How batches are made: as asked, else as fits the operator."""
        return self.options.batches or BATCHES.get(self.kind.name, BatchOptions())

    def run(
        self,
        hours: float | None = None,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Progress], None] | None = None,
        report_every: int = 50,
        evaluate_every: int = 500,
        tick: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Train until the steps are done or the time is over; leaves a checkpoint in any case.

        Ctrl-C, and the signal that ends a cluster job, stop it after the step that it is at.

        Parameters
        ----------
        hours : float, optional
            Time allowed for this call. Where no number of steps is set, or they are done, it is
            set so that the run ends in time.
        checkpoint_minutes : float
        report : callable, optional
            Called with a :class:`Progress` every ``report_every`` steps.
        report_every, evaluate_every : int
            Steps between two lines of the log, and between two measurements on held-out chains.
        tick : callable, optional
            Called after every step with its number, the number of all, and the loss.

        Raises
        ------
        DivergedError
            If losses are not finite any more; the last checkpoint stays as it is.
        CheckpointError
            If the last checkpoint cannot be written.
        KeyboardInterrupt
            If it was stopped; the checkpoint is written.
        """
        if hours is not None and self.step >= self.options.total_steps:
            self.set_steps(0)
        if hours is None and not self.options.total_steps:
            raise ProteinLabError("Expected hours or a number of steps, but got neither.")
        allowed = float("inf") if hours is None else hours * 3600
        saved = time.monotonic()
        try:
            with HeldInterrupts() as interrupts, self._made_ahead() as self.task.ahead:
                for loss, parts in self._steps(allowed):
                    if tick is not None:
                        tick(self.step, self.options.total_steps, loss)
                    is_last = self.step == self.options.total_steps
                    if self.step % report_every == 0 or is_last:
                        is_due = is_last or self.step % evaluate_every == 0
                        self._report(loss, parts, report, is_due)
                    if interrupts.asked:
                        raise KeyboardInterrupt
                    if time.monotonic() - saved > checkpoint_minutes * 60:
                        self._save_or_say()
                        saved = time.monotonic()
        except DivergedError:
            raise
        except BaseException:
            if self._is_whole:
                self._save_or_say()
            raise
        self.save()
        if self.rank == 0:
            self.monitor.draw()

    def _steps(self, allowed: float) -> Any:
        """Make steps until they are done or the time, in seconds, is over; yields their losses."""
        before, first, plans = self.seconds, self.step, not self.options.total_steps
        began = measured = time.monotonic()
        while not self.options.total_steps or self.step < self.options.total_steps:
            made = self.advance()
            now = time.monotonic()
            self.seconds, done = before + now - began, self.step - first
            if done == _STARTED:
                measured = now
            if done % _AGREE_EVERY == 0:
                passed = self._agreed(now - began)
                if plans and done >= _PLANNED_AFTER and self._may_plan():
                    pace = self._agreed(now - measured) / (done - _STARTED)
                    self.set_steps(self.step + max(1, int((allowed - passed) / pace)))
                elif self.options.total_steps and passed > _GRACE * allowed:
                    yield made
                    return
            yield made

    def _may_plan(self) -> bool:
        """Whether the rate has not begun to fall, so that another number of steps jolts nothing."""
        held = 0.9 * (1.0 - self.options.cooldown) * self.options.total_steps
        return not held or self.step < held

    def _agreed(self, seconds: float) -> float:
        """Mean of a time over the processes, which must all stop at the same step."""
        if self.num_processes == 1:
            return seconds
        value = self.backend.asarray(np.array([seconds]))
        mean = self.backend.mean_over_processes({"seconds": value})["seconds"]
        return float(self.backend.to_numpy(mean)[0])

    def set_steps(self, total: int) -> None:
        """Set the number of steps of the whole run; 0 to have it set from the time allowed."""
        self.options = msgspec.structs.replace(self.options, total_steps=total)

    def advance(self) -> tuple[float, dict[str, float]]:
        """Make one step; returns the loss and its parts.

        Raises
        ------
        DivergedError
            If no gradient was finite for several steps; parameters are as before them.
        """
        xp = self.backend
        number = self.step * self.num_processes + self.rank
        batch, density = self.task.batch(number, self.params), self.task.density(number)
        physics = self.options.physics_at(self.step)
        if physics and density == 1:  # elsewhere points are no atoms
            batch = self.task.with_physics(batch, physics)
        value, parts, gradients = self.gradients(self.params, batch, density)
        gradients = xp.mean_over_processes(gradients)
        gradients = clipped(xp, gradients, self.options.clip)
        self._is_whole = False
        if gradients:
            self._left_out = 0
            self.optimizer.step(gradients, self.options.rate_at(self.step))
            decay = min(self.options.average, (1 + self.step) / (10 + self.step))
            self.average = xp.averaged(self.average, self.params, decay)
        else:
            self._leave_out(value)
        self.step += 1
        self._is_whole = True
        return value, parts

    def _leave_out(self, loss: float) -> None:
        """Say that a step has no finite gradient, and give up after a few."""
        self._left_out += 1
        if self._left_out < _MAX_LEFT_OUT:
            self._say(f"Step {self.step} has no finite gradient (loss {loss:g}): it is left out.")
            return
        raise DivergedError(
            f"The training diverged: {_MAX_LEFT_OUT} steps in a row up to step {self.step} had no "
            f"finite gradient (loss {loss:g}).",
            f"The last good checkpoint in {self.folder} is kept. Resume it with a lower "
            "learning_rate in a recipe and --change-options.",
        )

    def _report(
        self,
        loss: float,
        parts: Mapping[str, float],
        report: Callable[[Progress], None] | None,
        evaluate: bool,
    ) -> None:
        if self.rank > 0:
            return
        line = Progress(
            step=self.step, total_steps=self.options.total_steps, seconds=self.seconds,
            learning_rate=self.options.rate_at(self.step), loss=loss,
            held_out=self.evaluation.held_out_loss(self.average) if evaluate else float("nan"),
            parts=dict(parts),
            metrics=self.evaluation.samples(self.average) if evaluate else {},
        )  # fmt: skip
        self.monitor.record(line)
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
        card = training_card(
            folder=self.folder,
            options=msgspec.to_builtins(self.options),
            device=self.backend.device,
            corpus_digest=self.corpus.digest,
            commands=self.commands,
            steps=self.step,
            seconds=self.seconds,
            residues_per_batch=self.batches.residues,
            held_out=self.evaluation.held_out_loss(self.average),
        )
        return save_weights(self.weights(), folder, self.kind.name, self.config, card)

    def save(self) -> None:
        """Write the checkpoint, keeping the one before it; in the first process only.

        Raises
        ------
        CheckpointError
            If it cannot be written; the older ones stay.
        """
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
            "pieces": self.gradients.pieces,
        }
        write_checkpoint(self.folder, Checkpoint(meta, arrays))

    def _save_or_say(self) -> None:
        """Write the checkpoint, or say why not: a full disk may have room again later."""
        try:
            self.save()
        except CheckpointError as error:
            self._say(f"{error.problem} The one before it is kept.")
        if self.rank == 0:
            self.monitor.draw()
