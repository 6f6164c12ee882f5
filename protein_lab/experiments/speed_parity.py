"""How far the array libraries are apart: values, gradients and where the flow ends.

JAX computes with 64 bits only where that is asked for before it is loaded, so the figures come
from a process of their own; see :func:`compare_backends_in_process`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, available_backends
from protein_lab.errors import BackendError
from protein_lab.experiments.operator_measures import in_precision
from protein_lab.experiments.speed_inputs import forward_inputs, helical_conditions
from protein_lab.flow import draw_noise, sample
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.weights import load_operator
from protein_lab.training.losses import flow_losses

LENGTH: Final = 48
STEPS: Final = 20
TIME: Final = 0.6
_SILENT: Final = ("key.bias", "pair.bias.bias")
Operators = Mapping[str, BaseNeuralOperator[Any]]
Arrays = Mapping[str, NDArray[Any]]


def compare_backends_in_process(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compare the installed backends in a fresh process that allows JAX 64 bits.

    Parameters
    ----------
    names : sequence of str
        Operators with shipped weights.

    Returns
    -------
    dict
        For each operator the figures of :func:`compare_backends`.

    Raises
    ------
    BackendError
        If the process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, *names],
        env={**os.environ, "JAX_ENABLE_X64": "1"}, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackendError(
            f"The backends could not be compared: {lines[-1] if lines else done.returncode}.",
            "Run protein-lab doctor to see what is installed.",
        )
    return msgspec.json.decode(done.stdout, type=dict[str, dict[str, float]])


def compare_backends(name: str) -> dict[str, float]:
    """Compare the backends that are installed, NumPy as the reference, on shipped weights.

    Parameters
    ----------
    name : str
        Operator.

    Returns
    -------
    dict of str to float
        ``float64`` and ``float32``: largest relative difference of predictions; ``gradients``:
        of gradients between torch and JAX in 32 bits, the largest over tensors; ``sampling``:
        largest distance of atoms, angstrom, after 20 steps from the same noise in 32 bits.
        Without a second backend that can, a figure is missing.
    """
    loaded = {other: load_operator(name, other) for other in available_backends()}
    figures = {
        dtype: _largest_difference([_predict(item, dtype) for item in loaded.values()])
        for dtype in ("float64", "float32")
        if len(loaded) > 1
    }
    fields = [_sampled(item) for item in loaded.values()]
    if len(fields) > 1:
        moved = [np.linalg.norm(field - fields[-1], axis=-1).max() for field in fields[:-1]]
        figures["sampling"] = float(max(moved))
    if {"torch", "jax"} <= loaded.keys():
        figures["gradients"] = _gradient_difference(
            _gradients(loaded["torch"]), _gradients(loaded["jax"])
        )
    return figures


def _largest_difference(values: Sequence[NDArray[Any]]) -> float:
    reference = values[-1]
    size = np.abs(reference).max()
    return float(max(np.abs(value - reference).max() / size for value in values[:-1]))


def _given(operator: BaseNeuralOperator[Any], dtype: str) -> tuple[ChainInputs, Array, Array]:
    """Draw inputs, noisy field and flow time in a precision, alike for every backend."""
    xp = operator.backend
    inputs, field = forward_inputs(operator, LENGTH)
    brought = ChainInputs(
        *(
            value if name == "partner" or value is None else xp.asarray(xp.to_numpy(value), dtype)
            for name, value in zip(inputs._fields, inputs, strict=True)
        )
    )
    return brought, xp.asarray(xp.to_numpy(field), dtype), xp.asarray(np.full(1, TIME), dtype)


def _predict(operator: BaseNeuralOperator[Any], dtype: str) -> NDArray[Any]:
    """Predict what the network adds to the curve, angstrom."""
    wide = in_precision(operator, dtype)
    inputs, field, time = _given(operator, dtype)
    found = wide.predict(field, time, wide.encode(inputs)).mean
    return wide.backend.to_numpy(found - inputs.curve[:, :, None, :])


def _sampled(operator: BaseNeuralOperator[Any]) -> NDArray[Any]:
    noise = draw_noise(np.random.default_rng(0), 1, LENGTH)
    return sample(operator, helical_conditions(LENGTH), noise, STEPS).field


def _gradients(operator: BaseNeuralOperator[Any]) -> Arrays:
    """Gradients of the training loss by every parameter, 32 bits."""
    xp = operator.backend
    inputs, field, time = _given(operator, "float32")
    target = inputs.curve[:, :, None, :] + (field - inputs.curve[:, :, None, :]) * 0.5

    def loss(params: Any) -> tuple[Array, dict[str, Array]]:
        made = type(operator)(operator.config, params, xp)
        encoded = made.encode_constraints(inputs)
        found = made.forward_with_uncertainty(field, time, encoded)
        scale = made.preconditioning(time, inputs.curve_error)[2]
        return flow_losses(xp, found, target, encoded.mask, scale)

    gradients = xp.value_and_grad(loss)(operator.params)[2]
    return {name: xp.to_numpy(value) for name, value in gradients.items()}


def _gradient_difference(first: Arrays, second: Arrays) -> float:
    """Largest relative difference of a tensor's gradient.

    Constants in the logits of a softmax have no effect: their gradients are rounding alone, which
    is compared with the largest gradient.
    """
    sizes = {name: float(np.linalg.norm(value)) for name, value in second.items()}
    largest = max(sizes.values())
    return max(
        float(np.linalg.norm(value - second[name]))
        / (largest if name.endswith(_SILENT) else sizes[name])
        for name, value in first.items()
        if sizes[name] > 0.0
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode({name: compare_backends(name) for name in sys.argv[1:]})
    )
