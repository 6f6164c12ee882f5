"""The command that trains operators."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, Literal

from protein_lab.cli.app import app, say
from protein_lab.errors import EXIT_DONE, EXIT_INTERRUPTED, ProteinLabError


@app.command
def train(
    operator: str,
    *,
    hours: float | None = None,
    steps: int = 0,
    out: Path | None = None,
    device: str | None = None,
    backend: Literal["torch", "jax"] = "torch",
    recipe: str | None = None,
    resume: bool = False,
    change_options: bool = False,
    shipped: bool = False,
    seed: int | None = None,
    checkpoint_minutes: float = 5.0,
    loaders: int = 0,
) -> int:
    """Train an operator on the corpus; leaves a checkpoint that --resume continues exactly.

    Several processes that torchrun starts train together, one a GPU. The operator ``quality`` is
    trained on decoys, which are made first and kept.

    Parameters
    ----------
    operator
        Name of the operator.
    hours
        Time allowed; sets the number of steps unless ``--steps`` does. One hour without both.
    steps
        Number of steps of the whole run.
    out
        Folder for checkpoint, log and weights; ``runs/OPERATOR`` unless given.
    device
        ``cpu``, ``cuda``, ``cuda:NUMBER`` or ``auto``.
    backend
        Library that trains.
    recipe
        ``cpu``, ``gpu``, or a TOML file with hours, device and options.
    resume
        Continue the run in the folder.
    change_options
        Continue it with the options of the recipe, though it was begun with others.
    shipped
        Start a new run from the weights that come with the package.
    seed
        Seed of weights, batches and noise; 0 unless given.
    checkpoint_minutes
        Minutes between two checkpoints.
    loaders
        Processes that make batches ahead; a GPU needs 6 or more.
    """
    from protein_lab.models.weights import OPERATORS, load_operator
    from protein_lab.training.corpus import Corpus
    from protein_lab.training.recipes import load_recipe, plan_run
    from protein_lab.training.trainer import Trainer

    if operator not in OPERATORS:
        raise ProteinLabError(
            f"The operator must be one of {', '.join(OPERATORS)}, but it is {operator!r}."
        )
    _check_numbers(hours, steps, checkpoint_minutes, loaders)
    if operator == "quality":
        given = (hours, recipe, resume or None, change_options or None, shipped or None)
        if any(value is not None for value in given):
            raise ProteinLabError(
                "The quality operator takes --steps, --seed, --out, --backend and --device alone.",
                "Run the same command again to go on with decoys that were made.",
            )
        return _train_quality(out, steps, seed or 0, backend, device)
    folder = out or Path("runs") / operator
    plan = load_recipe(recipe) if recipe else None
    options, config = plan_run(operator, plan, seed, resume)
    trainer = Trainer(
        operator, folder, Corpus.open(), options, config=config, backend=backend,
        device=device or (plan.device if plan else "cpu"),
        resume=resume, change_options=change_options,
        initial=load_operator(operator, "numpy").params if shipped else None,
        loaders=loaders, say=say,
    )  # fmt: skip
    if steps:
        trainer.set_steps(steps)
    if hours is None and not steps:
        hours = plan.hours if plan else 1.0
    with _Bar(trainer.step) as bar:
        try:
            trainer.run(
                hours, report=bar.line, tick=bar.tick, checkpoint_minutes=checkpoint_minutes
            )
        except KeyboardInterrupt:
            place = "" if out is None else f" --out {shlex.quote(str(out))}"
            say(
                f"Stopped. The checkpoint of step {trainer.step} is in {folder}; go on with: "
                f"protein-lab train {operator} --resume{place}"
            )
            return EXIT_INTERRUPTED
    digest = trainer.export(folder)
    print(f"Weights: {folder / operator}.safetensors (SHA-256 {digest[:16]}…)")
    return EXIT_DONE


def _train_quality(
    out: Path | None, steps: int, seed: int, backend: str, device: str | None
) -> int:
    """Make decoys in the folder, train on them, and write weights beside them."""
    from protein_lab.experiments.predictor_run import build_quality
    from protein_lab.experiments.predictor_training import OPTIONS

    path = build_quality(
        out or Path("runs") / "quality", steps=steps or OPTIONS.total_steps, seed=seed,
        backend=backend, device=device or "cpu", say=say,
    )  # fmt: skip
    print(f"Weights: {path}")
    return EXIT_DONE


def _check_numbers(
    hours: float | None, steps: int, checkpoint_minutes: float, loaders: int
) -> None:
    """Refuse times and steps that no run can have."""
    if (hours is not None and not 0.0 < hours < 1e6) or steps < 0 or not checkpoint_minutes >= 0:
        raise ProteinLabError(
            "Expected hours above 0, a number of steps and minutes not below 0, but got "
            f"{hours} hours, {steps} steps and {checkpoint_minutes} minutes."
        )
    if not 0 <= loaders <= 256:
        raise ProteinLabError(f"Expected 0 to 256 loaders, but got {loaders}.")


class _Bar:
    """Progress with an estimate on a terminal, plain lines elsewhere."""

    def __init__(self, step: int) -> None:
        from tqdm import tqdm

        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(initial=step, unit="step", disable=not self._terminal, dynamic_ncols=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tick(self, step: int, total: int, loss: float) -> None:
        """Show a step."""
        if self._terminal:
            self._bar.total = total or None
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(step - self._bar.n)

    def line(self, progress: Any) -> None:
        """Write a line where there is no terminal, or where something was measured."""
        if not self._terminal:
            say(_training_line(progress))
        elif progress.metrics:
            self._bar.write(_training_line(progress), file=sys.stderr)


def _training_line(line: Any) -> str:
    words = [f"{line.step}/{line.total_steps}", f"loss {line.loss:.3f}"]
    if line.held_out == line.held_out:
        words.append(f"held-out {line.held_out:.3f}")
    words += [f"{name} {value:.2f}" for name, value in line.metrics.items()]
    left = line.seconds / max(line.step, 1) * (line.total_steps - line.step) / 60
    return "  ".join([*words, f"{left:.0f} min left"])
