"""States of searches as files: safetensors, with the JSON values in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.design.optimizers.base import Problem, State
from protein_lab.errors import ProteinLabError
from protein_lab.models.weights import write_atomically

STATE_VERSION: Final = 1


def save_state(state: State, path: Path) -> None:
    """Write a state as one safetensors file, its JSON values in the header.

    Parameters
    ----------
    state : State
    path : Path
        Its folder must be there; an older file is replaced as a whole.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in state.arrays.items()}
    told = {
        "version": STATE_VERSION,
        "kind": state.kind,
        "space": state.problem.space.name,
        "numbers": state.numbers,
    }
    write_atomically(path, save(arrays, metadata={"search": json.dumps(told, sort_keys=True)}))


def load_state(path: Path, problem: Problem, kind: str) -> State:
    """Read a state that :func:`save_state` wrote.

    Parameters
    ----------
    path : Path
    problem : Problem
        What the search was about; it is not in the file.
    kind : str
        Strategy that will continue it.

    Raises
    ------
    ProteinLabError
        When there is no such file, it is damaged, or it belongs to another search.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            told = json.loads((file.metadata() or {})["search"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = (told["version"], told["kind"], told["space"])
        numbers = told["numbers"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ProteinLabError(
            f"Expected the state of a search in {path}, but it cannot be read: {error}.",
            "Begin the search anew.",
        ) from error
    if found != (STATE_VERSION, kind, problem.space.name):
        raise ProteinLabError(
            f"The state in {path} belongs to a search of {found[2]} by {found[1]} "
            f"(version {found[0]}), not of {problem.space.name} by {kind}.",
            "Continue it with what began it, or begin anew.",
        )
    return State(problem, kind, arrays, numbers)
