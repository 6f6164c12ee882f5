"""What a card says besides the sizes of an operator: how it was trained and how good it is.

A card is the TOML file beside the weights. It holds the recipe of its training, so that
``protein-lab train NAME --recipe CARD`` trains in the same way again.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protein_lab.errors import WeightsError
from protein_lab.models.weights import read_card, write_atomically
from protein_lab.training.log import LOG

_LAST_SHARE = 10
"""The training loss of a card is the mean over the last tenth of the lines of the log."""


def training_command(
    operator: str,
    recipe: Mapping[str, Any],
    usual: Mapping[str, Any],
    *,
    device: str,
    num_processes: int = 1,
    shipped: bool = False,
) -> str:
    """Write the command that trains with the given options.

    Parameters
    ----------
    operator : str
        Name of the operator.
    recipe, usual : mapping
        Options of the run, and those of a run without a recipe.
    device : str
        Device of the backend, such as ``cpu`` or ``cuda:0``.
    num_processes : int
        Processes that trained together.
    shipped : bool
        Whether the run began with weights rather than with random numbers.

    Returns
    -------
    str
        One line. Options that only a recipe can set are taken from the card itself.
    """
    free = ("seed", "total_steps")
    is_usual = all(usual.get(key) == value for key, value in recipe.items() if key not in free)
    words = [f"protein-lab train {operator}"]
    if num_processes > 1:
        words = [f"torchrun --nproc-per-node {num_processes} -m protein_lab.cli train {operator}"]
    words.append(f"--seed {recipe['seed']}" if is_usual else f"--recipe {operator}.toml")
    words.append(f"--steps {recipe['total_steps']}")
    if not device.startswith("cpu"):
        words.append(f"--device {device.split(':')[0]}")
    return " ".join([*words, "--shipped"] if shipped else words)


def training_card(
    *,
    folder: Path,
    options: Mapping[str, Any],
    device: str,
    corpus_digest: str,
    commands: Sequence[str],
    steps: int,
    seconds: float,
    residues_per_batch: int,
    held_out: float,
) -> dict[str, Any]:
    """Write down how weights were trained.

    Parameters
    ----------
    folder : Path
        Of the run, with its log.
    options : mapping
        Options of the run.
    device, corpus_digest : str
    commands : sequence of str
        Commands that make the run, one after the other.
    steps : int
    seconds : float
        Spent on them.
    residues_per_batch : int
    held_out : float
        Loss on the calibration split.

    Returns
    -------
    dict
        The tables ``training``, ``held_out`` and ``recipe`` of a card.
    """
    training = {
        "corpus_digest": corpus_digest,
        "corpus_split": "train",
        "command": " && ".join(commands),
        "steps": steps,
        "hours": round(seconds / 3600, 3),
        "device": device,
        "seed": options["seed"],
        "residues_per_batch": residues_per_batch,
        "learning_rate": options["learning_rate"],
        "loss": training_loss(folder / LOG),
    }
    card = {
        "training": training,
        "held_out": {"split": "calibration", "loss": round(held_out, 4)},
        "recipe": {"device": device, "options": options},
    }
    return without_none(card)


def training_loss(log: Path) -> float | None:
    """Mean training loss over the last tenth of a log; None where nothing was logged.

    Parameters
    ----------
    log : Path
        ``log.csv`` of a run.
    """
    if not log.is_file():
        return None
    with log.open(newline="", encoding="utf-8") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream) if row["loss"]]
    last = losses[-max(1, len(losses) // _LAST_SHARE) :]
    return sum(last) / len(last) if last else None


def without_none(value: Any) -> Any:
    """Leave out of nested mappings what is None, which TOML cannot hold."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value


def require_weights(card: Path, sha256: str) -> dict[str, Any]:
    """Read a card and see that it is of the given weights.

    Parameters
    ----------
    card : Path
        The card.
    sha256 : str
        Digest of the weights that are measured.

    Returns
    -------
    dict
        What the card says.

    Raises
    ------
    WeightsError
        If the card cannot be read or belongs to other weights.
    """
    content = read_card(card)
    if content["sha256"] != sha256:
        raise WeightsError(
            f"The card {card} is of the weights {str(content['sha256'])[:16]}…, "
            f"but those of {sha256[:16]}… are measured.",
            "Set PROTEIN_LAB_WEIGHTS to the folder of the card and measure again.",
        )
    return content


def add_held_out(
    card: Path, sha256: str, name: str, command: str, figures: Sequence[Mapping[str, Any]]
) -> None:
    """Write figures that were measured on held-out chains into a card.

    Figures of the same name from an earlier measurement are replaced.

    Parameters
    ----------
    card : Path
        Card to change.
    sha256 : str
        Digest of the weights that were measured.
    name : str
        Name of the benchmark; the figures get the table ``held_out.NAME``.
    command : str
        Command that measures them again.
    figures : sequence of mapping
        Rows with ``name``, ``value``, ``low``, ``high`` and ``unit``; a row without a value is
        left out.

    Raises
    ------
    WeightsError
        If the card cannot be read or belongs to other weights.
    """
    import tomli_w

    content = require_weights(card, sha256)
    kept = ("value", "low", "high", "unit")
    table = {
        row["name"]: {key: row[key] for key in kept if row[key] is not None}
        for row in figures
        if row["value"] is not None
    }
    held_out = {**content.get("held_out", {}), name: {"command": command, "figures": table}}
    write_atomically(card, tomli_w.dumps({**content, "held_out": held_out}).encode())
