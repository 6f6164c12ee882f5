"""Checkpoints of a training run: two are kept, so that a damaged one loses minutes, not hours."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.errors import ProteinLabError
from protein_lab.models.weights import write_atomically

CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
DAMAGED = "checkpoint.damaged.safetensors"
Arrays = Mapping[str, NDArray[Any]]


class CheckpointError(ProteinLabError):
    """A checkpoint is missing, damaged, cannot be written, or belongs to another run."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State of a run.

    Attributes
    ----------
    meta : dict
        Step, options, sizes, digest of the corpus and what else JSON holds.
    arrays : dict of str to ndarray
    """

    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Arrays whose names begin with ``prefix``, which is left out."""
        return {n.removeprefix(prefix): v for n, v in self.arrays.items() if n.startswith(prefix)}


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, whole or not."""
    return any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS))


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it is kept beside it.

    Whenever the process is killed, at least one whole checkpoint is there.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    checkpoint : Checkpoint

    Raises
    ------
    CheckpointError
        If the file cannot be written, for one because the disk is full; the older ones stay.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in checkpoint.arrays.items()}
    meta = {**checkpoint.meta, "digest": _digest(arrays)}
    data = save(arrays, metadata={"training": json.dumps(meta, sort_keys=True)})
    path, following = folder / CHECKPOINT, folder / "checkpoint.new.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(following, data)
        if path.exists():
            path.replace(folder / PREVIOUS)
        following.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint of step {meta.get('step')} cannot be written to {folder} "
            f"({error.strerror or error}).",
            "The one before it is kept. Make room or name another place, then use --resume.",
        ) from error


def read_checkpoint(folder: Path, say: Callable[[str], None]) -> Checkpoint:
    """Read the latest whole checkpoint.

    Parameters
    ----------
    folder : Path
    say : callable
        Told when the latest checkpoint is damaged and the one before it is used; it is renamed.

    Raises
    ------
    CheckpointError
        If there is none, or all are damaged.
    """
    if not holds_run(folder):
        raise CheckpointError(
            f"There is no training run in {folder} to resume.", "Start without --resume."
        )
    faults = []
    for name in (CHECKPOINT, PREVIOUS):
        path = folder / name
        try:
            found = _read(path)
        except FileNotFoundError:
            faults.append(f"{name} is missing")
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{name} is damaged ({error})")
        else:
            if faults:
                say(f"{faults[0]}; the run goes on from {name}, step {found.meta['step']}.")
                # out of the way, or the next checkpoint would put it in the place of this one
                with contextlib.suppress(OSError):
                    (folder / CHECKPOINT).replace(folder / DAMAGED)
            return found
    raise CheckpointError(
        f"No checkpoint in {folder} can be used: {'; '.join(faults)}.",
        "Copy one back if you have one, or start anew in another folder with --out.",
    )


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="numpy") as stream:
            meta = json.loads((stream.metadata() or {})["training"])
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    # runs of earlier versions have no digest
    if meta.get("digest", "") not in ("", _digest(arrays)):
        raise ValueError("its numbers do not have the digest that was written")
    return Checkpoint(meta, arrays)


def _digest(arrays: Arrays) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.dtype} {value.shape} ".encode())
        total.update(value.tobytes())
    return total.hexdigest()
