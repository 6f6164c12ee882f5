"""NumPy backend: runs trained operators where neither torch nor JAX is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends.base import Array, Optimizer, Parameters
from protein_lab.errors import BackendError


class NumpyBackend:
    """:class:`~protein_lab.backends.base.Backend` on NumPy; it runs but does not train."""

    name = "numpy"
    fixed_shapes = False
    device = "cpu"

    asarray = staticmethod(lambda value, dtype="float32": np.asarray(value, dtype=dtype))
    to_numpy = staticmethod(np.asarray)
    transpose = staticmethod(np.transpose)
    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    sqrt = staticmethod(np.sqrt)
    sin = staticmethod(np.sin)
    cos = staticmethod(np.cos)
    abs = staticmethod(np.abs)

    def like(self, value: NDArray[Any], reference: Array) -> Array:
        """Bring constants to the precision of ``reference``."""
        return np.asarray(value, dtype=reference.dtype)

    def rfft(self, value: Array, size: int) -> tuple[Array, Array]:
        """Transform real values along axis 1, divided by ``size``."""
        spectrum = np.fft.rfft(value, size, axis=1, norm="forward")
        return spectrum.real, spectrum.imag

    def irfft(self, real: Array, imaginary: Array, size: int) -> Array:
        """Undo :meth:`rfft`."""
        return np.fft.irfft(real + 1j * imaginary, size, axis=1, norm="forward")

    def reshape(self, value: Array, shape: Sequence[int], /) -> Array:
        """Give ``value`` another shape."""
        return np.reshape(value, tuple(shape))

    def where(self, condition: Array, yes: Array, no: Array, /) -> Array:
        """Choose by a Boolean array."""
        return np.where(condition, yes, no)

    def concat(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along an existing axis."""
        return np.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along a new axis."""
        return np.stack(arrays, axis=axis)

    def unstack(self, value: Array) -> list[Array]:
        """Split along the first axis, which goes away."""
        return list(value)

    def affine(self, value: Array, weight: Array, bias: Array) -> Array:
        """Apply ``value @ weight + bias`` to the last axis."""
        return value @ weight + bias

    def einsum(self, subscripts: str, *arrays: Array) -> Array:
        """Sum products over repeated indices."""
        return np.einsum(subscripts, *arrays, optimize=True)

    def sum(self, value: Array, axis: int | Sequence[int], keepdims: bool = False) -> Array:
        """Sum over axes."""
        return np.sum(value, axis=axis if isinstance(axis, int) else tuple(axis), keepdims=keepdims)

    def take(self, value: Array, index: Array) -> Array:
        """Take rows."""
        return value[index]

    def pad_axis(self, value: Array, axis: int, before: int, after: int) -> Array:
        """Add zeros before and after along one axis."""
        widths = [(0, 0)] * value.ndim
        widths[axis] = (before, after)
        return np.pad(value, widths)

    def softmax(self, value: Array) -> Array:
        """Softmax over the last axis."""
        shifted = np.exp(value - value.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def silu(self, value: Array) -> Array:
        """Smooth activation x / (1 + exp(-x))."""
        # tanh cannot overflow, exp(-x) can
        return value * (0.5 * np.tanh(0.5 * value) + 0.5)

    def softplus(self, value: Array) -> Array:
        """Smooth positive function log(1 + exp(x))."""
        return np.logaddexp(value, np.zeros((), dtype=value.dtype))

    def layer_norm(self, value: Array, scale: Array, shift: Array) -> Array:
        """Normalize the last axis to zero mean and unit variance, epsilon 1e-5."""
        centered = value - value.mean(axis=-1, keepdims=True)
        variance = np.mean(centered * centered, axis=-1, keepdims=True)
        return centered / np.sqrt(variance + value.dtype.type(1e-5)) * scale + shift

    def norm(self, arrays: Parameters, /) -> float:
        """Euclidean norm of all arrays together."""
        return float(sum((value * value).sum() for value in arrays.values())) ** 0.5

    def averaged(self, means: Parameters, values: Parameters, decay: float, /) -> dict[str, Array]:
        """Move running means towards values; see the protocol."""
        return {name: old * decay + values[name] * (1.0 - decay) for name, old in means.items()}

    def stop_gradient(self, value: Array) -> Array:
        """Return ``value``; NumPy does not differentiate."""
        return value

    def value_and_grad(
        self, function: Callable[..., Any], compiled: bool | None = None
    ) -> NoReturn:
        """Refuse: NumPy does not differentiate."""
        raise _cannot_train()

    def pullback(self, function: Callable[..., Any]) -> NoReturn:
        """Refuse: NumPy does not differentiate."""
        raise _cannot_train()

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Change nothing: NumPy has no 16-bit products."""
        return nullcontext()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is."""
        return function

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an array did not fit into memory."""
        return isinstance(error, MemoryError)

    def optimizer(self, parameters: Parameters, weight_decay: float) -> Optimizer:
        """Refuse: NumPy does not train."""
        raise _cannot_train()

    def set_num_threads(self, count: int) -> None:
        """Do nothing: BLAS threads are limited by threadpoolctl around the call."""

    def join_processes(self) -> tuple[int, int]:
        """Stand alone: training, which can be distributed, runs on torch."""
        return 0, 1

    def mean_over_processes(self, arrays: Parameters) -> dict[str, Array]:
        """Return the arrays as they are."""
        return dict(arrays)


def _cannot_train() -> BackendError:
    return BackendError(
        "Training needs a backend that differentiates, but the backend is numpy.",
        'Choose torch: pip install "protein-lab[torch]" and --backend torch.',
    )
