"""What an array library must offer so that operators can be written once.

Operators are pure functions of a flat ``dict[str, array]`` of parameters and of a
:class:`Backend`; they never name an array library. Arrays support ``+ - * / @``, comparison,
basic slicing and ``.shape``; everything else goes through the backend.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from protein_lab.errors import BackendError, MissingExtraError

Array = Any
"""An array of the backend in use; NumPy, torch and JAX share no common base class."""

Parameters = Mapping[str, Array]
BackendName = Literal["numpy", "torch", "jax"]


class Optimizer(Protocol):
    """Optimizer whose whole state can be written to a file and read back exactly."""

    def step(self, gradients: Parameters, learning_rate: float) -> None:
        """Change the parameters in place by one step."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state as a flat dictionary of NumPy arrays."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the state returned by :meth:`state`."""
        ...


class Backend(Protocol):
    """Array operations, differentiation and device placement of one array library."""

    name: str
    device: str
    fixed_shapes: bool
    """Whether every new shape of arrays costs a compilation."""

    def asarray(self, value: Any, dtype: str = "float32") -> Array:
        """Bring ``value`` to the backend's device."""
        ...

    def to_numpy(self, value: Array, /) -> NDArray[Any]:
        """Bring ``value`` back to host memory."""
        ...

    def like(self, value: NDArray[Any], reference: Array, /) -> Array:
        """Bring constants to the device and precision of ``reference``."""
        ...

    def concat(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along an existing axis."""
        ...

    def stack(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along a new axis."""
        ...

    def unstack(self, value: Array, /) -> list[Array]:
        """Split along the first axis, which goes away."""
        ...

    def reshape(self, value: Array, shape: Sequence[int], /) -> Array:
        """Give ``value`` another shape."""
        ...

    def transpose(self, value: Array, axes: Sequence[int], /) -> Array:
        """Permute the axes."""
        ...

    def affine(self, value: Array, weight: Array, bias: Array, /) -> Array:
        """Apply ``value @ weight + bias`` to the last axis."""
        ...

    def einsum(self, subscripts: str, *arrays: Array) -> Array:
        """Sum products over repeated indices."""
        ...

    def sum(self, value: Array, axis: int | Sequence[int], keepdims: bool = False) -> Array:
        """Sum over axes."""
        ...

    def take(self, value: Array, index: Array, /) -> Array:
        """Rows ``index``, integers of any shape, of ``value``, shape (row, channel)."""
        ...

    def pad_axis(self, value: Array, axis: int, before: int, after: int) -> Array:
        """Add zeros before and after along one axis."""
        ...

    def rfft(self, value: Array, size: int, /) -> tuple[Array, Array]:
        """Discrete Fourier transform of real values along axis 1, divided by ``size``.

        The values are padded with zeros to ``size``. Real and imaginary part come as two real
        arrays with ``size // 2 + 1`` frequencies on axis 1, in float32 or wider.
        """
        ...

    def irfft(self, real: Array, imaginary: Array, size: int, /) -> Array:
        """Undo :meth:`rfft`: ``size`` real values on axis 1."""
        ...

    def where(self, condition: Array, yes: Array, no: Array, /) -> Array:
        """Choose by a Boolean array."""
        ...

    def maximum(self, value: Array, floor: float, /) -> Array:
        """Raise values below ``floor`` to it."""
        ...

    def minimum(self, value: Array, ceiling: float, /) -> Array:
        """Lower values above ``ceiling`` to it."""
        ...

    def exp(self, value: Array, /) -> Array:
        """Exponential."""
        ...

    def log(self, value: Array, /) -> Array:
        """Natural logarithm."""
        ...

    def sqrt(self, value: Array, /) -> Array:
        """Square root."""
        ...

    def sin(self, value: Array, /) -> Array:
        """Sine of radians."""
        ...

    def cos(self, value: Array, /) -> Array:
        """Cosine of radians."""
        ...

    def abs(self, value: Array, /) -> Array:
        """Absolute value."""
        ...

    def softmax(self, value: Array, /) -> Array:
        """Softmax over the last axis."""
        ...

    def silu(self, value: Array, /) -> Array:
        """Smooth activation x / (1 + exp(-x))."""
        ...

    def softplus(self, value: Array, /) -> Array:
        """Smooth positive function log(1 + exp(x))."""
        ...

    def layer_norm(self, value: Array, scale: Array, shift: Array) -> Array:
        """Normalize the last axis to zero mean and unit variance, epsilon 1e-5."""
        ...

    def norm(self, arrays: Parameters, /) -> float:
        """Euclidean norm of all arrays together."""
        ...

    def averaged(self, means: Parameters, values: Parameters, decay: float, /) -> dict[str, Array]:
        """Move running means towards values: ``decay`` of the old, the rest of the new."""
        ...

    def stop_gradient(self, value: Array, /) -> Array:
        """Return ``value`` as a constant for differentiation."""
        ...

    def value_and_grad(
        self,
        function: Callable[..., tuple[Array, dict[str, Array]]],
        compiled: bool | None = None,
    ) -> Callable[..., tuple[Array, dict[str, Array], dict[str, Array]]]:
        """Differentiate ``function(params, ...) -> (loss, aux)`` by its first argument.

        The returned function gives ``(loss, aux, gradients)``. Whether it is compiled is the
        backend's choice where ``compiled`` is None.
        """
        ...

    def pullback(
        self, function: Callable[[Parameters], Array]
    ) -> Callable[[Parameters], tuple[Array, Callable[[Array], dict[str, Array]]]]:
        """Prepare to carry gradients back through ``function(inputs)``.

        The returned function gives the value, and a function that maps a gradient by the value to
        gradients by the inputs.
        """
        ...

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Multiply matrices in 16 bits where the library can; everything else stays as it is."""
        ...

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a pure function where the library can, else return it as it is."""
        ...

    def optimizer(self, parameters: Parameters, weight_decay: float) -> Optimizer:
        """Make an AdamW optimizer that changes ``parameters`` in place."""
        ...

    def is_out_of_memory(self, error: BaseException, /) -> bool:
        """Whether an error says that the device's memory did not suffice."""
        ...

    def set_num_threads(self, count: int) -> None:
        """Limit the threads of one operation; results may depend on it in the last bit."""
        ...

    def join_processes(self) -> tuple[int, int]:
        """Join the other processes of a training run, if a launcher started several.

        Returns
        -------
        rank, count : int
            Number of this process and of all; 0 and 1 where there is only one.
        """
        ...

    def mean_over_processes(self, arrays: Parameters, /) -> dict[str, Array]:
        """Average arrays over the processes that joined; every process gets the same."""
        ...


def available_backends() -> list[str]:
    """Names of the backends that can be used here, the preferred one first."""
    return [n for n in ("torch", "jax") if importlib.util.find_spec(n) is not None] + ["numpy"]


@cache
def get_backend(name: str = "auto", device: str = "cpu", precision: str = "float32") -> Backend:
    """Load a backend.

    Parameters
    ----------
    name : {"auto", "numpy", "torch", "jax"}
        ``auto`` takes torch, then JAX, then NumPy, whichever is installed first.
    device : str
        ``cpu``, or a device that the library knows such as ``cuda:0``.
    precision : {"float32", "bfloat16"}
        Of affine maps; geometry, Fourier transforms and sums stay in float32. torch only.

    Raises
    ------
    BackendError
        If the name is unknown.
    MissingExtraError
        If the library is not installed.
    """
    if name == "auto":
        name = available_backends()[0]
    if precision != "float32" and name != "torch":
        raise BackendError(f"The backend {name} computes in float32, not in {precision}.")
    if name == "numpy":
        from protein_lab.backends.numpy import NumpyBackend

        return NumpyBackend()
    if name not in ("torch", "jax"):
        raise BackendError(
            f"The backend must be auto, numpy, torch or jax, but it is {name!r}.",
            f"Usable here: {', '.join(available_backends())}.",
        )
    if importlib.util.find_spec(name) is None:
        raise MissingExtraError(name, name)
    if name == "torch":
        from protein_lab.backends.torch import TorchBackend

        return TorchBackend(device, precision)
    from protein_lab.backends.jax import JaxBackend

    return JaxBackend(device)
