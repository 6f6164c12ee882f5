"""Going on with a run: only with the operator, corpus and recipe that it was begun with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from protein_lab.models.weights import OPERATORS
from protein_lab.training.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from protein_lab.training.corpus import Corpus
from protein_lab.training.options import TrainingOptions


def resume_run(
    folder: Path,
    operator: str,
    corpus: Corpus,
    asked: tuple[TrainingOptions | None, msgspec.Struct | None],
    say: Callable[[str], None],
) -> tuple[Checkpoint, TrainingOptions, Any]:
    """Read the checkpoint of a run, if it is of the run that was asked for.

    Parameters
    ----------
    folder : Path
    operator : str
    corpus : Corpus
    asked : tuple
        Options, whose number of steps may differ, and sizes; None for those of the run.
    say : callable
        Told when a damaged checkpoint is passed over.

    Returns
    -------
    checkpoint : Checkpoint
    options : TrainingOptions
    config : msgspec.Struct

    Raises
    ------
    CheckpointError
        If there is no whole checkpoint, or something differs; the message lists what.
    """
    found = read_checkpoint(folder, say)
    meta, (options, config) = found.meta, asked
    require_same_run(meta, {"operator": operator, "corpus": corpus.digest}, folder)
    try:
        stored = msgspec.convert(meta["options"], TrainingOptions)
        sizes = msgspec.convert(meta["config"], OPERATORS[operator][1])
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"The checkpoint in {folder} holds options that are not valid: {error}.",
            "It was written by another version; start anew in another folder with --out.",
        ) from error
    there = {"options": _recipe(stored), "config": msgspec.to_builtins(sizes)}
    here = {
        "options": None if options is None else _recipe(options),
        "config": None if config is None else msgspec.to_builtins(config),
    }
    require_same_run(there, here, folder)
    return found, stored, sizes


def _recipe(options: TrainingOptions) -> dict[str, Any]:
    """Return what decides how a run goes, beside its length."""
    recipe = msgspec.to_builtins(options)
    del recipe["total_steps"]
    return recipe


def require_same_run(meta: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """See that a checkpoint is of the run that was asked for.

    Parameters
    ----------
    meta : mapping
        Of the checkpoint.
    asked : mapping
        Operator, digest of the corpus and, where they were given, sizes and options, by the same
        names; None for what may be anything.
    folder : Path
        Named in the error.

    Raises
    ------
    CheckpointError
        If something differs; the message lists what.
    """
    differences = []
    for key, value in asked.items():
        if value is not None and key in meta:
            differences += _differences(key, meta[key], value)
    if differences:
        raise CheckpointError(
            f"The run in {folder} is another one: {'; '.join(differences)}.",
            "Resume it as it was begun, or name another folder with --out. A new --recipe is "
            "taken over with --change-options.",
        )


def _differences(name: str, stored: Any, asked: Any) -> list[str]:
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        # a key that the checkpoint lacks came later, with a default that changes nothing
        found = [_differences(f"{name}.{key}", stored[key], asked[key]) for key in asked
                 if key in stored]  # fmt: skip
        return [line for lines in found for line in lines]
    if stored == asked or (isinstance(stored, list | tuple) and list(stored) == list(asked)):
        return []
    return [f"{name} is {_short(stored)} there and {_short(asked)} here"]


def _short(value: Any) -> str:
    return str(value)[:16] + "…" if isinstance(value, str) and len(value) > 24 else str(value)
