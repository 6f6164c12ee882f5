"""JAX backend; the only module that imports JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends.base import Array, Optimizer, Parameters
from protein_lab.errors import BackendError


class JaxBackend:
    """:class:`~protein_lab.backends.base.Backend` on JAX; it runs and differentiates."""

    name = "jax"
    fixed_shapes = True

    def __init__(self, device: str = "cpu") -> None:
        platform, _, index = device.partition(":")
        try:
            devices = jax.devices(None if platform == "auto" else platform)
            self._device = devices[int(index or 0)]
            self.device = self._device.platform if platform == "auto" else device
        except (RuntimeError, IndexError, ValueError) as error:
            raise BackendError(
                f"JAX has no device {device!r} ({error}).", "Use --device cpu."
            ) from error

    transpose = staticmethod(jnp.transpose)
    maximum = staticmethod(jnp.maximum)
    minimum = staticmethod(jnp.minimum)
    exp = staticmethod(jnp.exp)
    log = staticmethod(jnp.log)
    sqrt = staticmethod(jnp.sqrt)
    sin = staticmethod(jnp.sin)
    cos = staticmethod(jnp.cos)
    abs = staticmethod(jnp.abs)
    silu = staticmethod(jax.nn.silu)
    softplus = staticmethod(jax.nn.softplus)

    def norm(self, arrays: Parameters, /) -> float:
        """Euclidean norm of all arrays together."""
        return float(sum((value * value).sum() for value in arrays.values())) ** 0.5

    def averaged(self, means: Parameters, values: Parameters, decay: float, /) -> dict[str, Array]:
        """Move running means towards values; see the protocol."""
        return {name: old * decay + values[name] * (1.0 - decay) for name, old in means.items()}

    stop_gradient = staticmethod(jax.lax.stop_gradient)

    def asarray(self, value: Any, dtype: str = "float32") -> Array:
        """Bring ``value`` to the backend's device."""
        return jax.device_put(jnp.asarray(value, dtype=dtype), self._device)

    def to_numpy(self, value: Array) -> NDArray[Any]:
        """Bring ``value`` back to host memory."""
        return np.asarray(value)

    def like(self, value: NDArray[Any], reference: Array) -> Array:
        """Bring constants to the precision of ``reference``."""
        return jnp.asarray(value, dtype=reference.dtype)

    def rfft(self, value: Array, size: int) -> tuple[Array, Array]:
        """Transform real values along axis 1, divided by ``size``."""
        wide = jnp.promote_types(value.dtype, jnp.float32)
        spectrum = jnp.fft.rfft(value.astype(wide), size, axis=1, norm="forward")
        return spectrum.real, spectrum.imag

    def irfft(self, real: Array, imaginary: Array, size: int) -> Array:
        """Undo :meth:`rfft`."""
        return jnp.fft.irfft(jax.lax.complex(real, imaginary), size, axis=1, norm="forward")

    def reshape(self, value: Array, shape: Sequence[int], /) -> Array:
        """Give ``value`` another shape."""
        return jnp.reshape(value, tuple(shape))

    def where(self, condition: Array, yes: Array, no: Array, /) -> Array:
        """Choose by a Boolean array."""
        return jnp.where(condition, yes, no)

    def concat(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along an existing axis."""
        return jnp.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along a new axis."""
        return jnp.stack(arrays, axis=axis)

    def unstack(self, value: Array) -> list[Array]:
        """Split along the first axis, which goes away."""
        return list(value)

    def affine(self, value: Array, weight: Array, bias: Array) -> Array:
        """Apply ``value @ weight + bias`` to the last axis."""
        return value @ weight + bias

    def einsum(self, subscripts: str, *arrays: Array) -> Array:
        """Sum products over repeated indices."""
        return jnp.einsum(subscripts, *arrays)

    def sum(self, value: Array, axis: int | Sequence[int], keepdims: bool = False) -> Array:
        """Sum over axes."""
        axes = axis if isinstance(axis, int) else tuple(axis)
        return jnp.sum(value, axis=axes, keepdims=keepdims)

    def take(self, value: Array, index: Array, /) -> Array:
        """Take rows."""
        return jnp.take(value, index, axis=0)

    def pad_axis(self, value: Array, axis: int, before: int, after: int) -> Array:
        """Add zeros before and after along one axis."""
        widths = [(0, 0)] * value.ndim
        widths[axis] = (before, after)
        return jnp.pad(value, widths)

    def softmax(self, value: Array) -> Array:
        """Softmax over the last axis."""
        return jax.nn.softmax(value, axis=-1)

    def layer_norm(self, value: Array, scale: Array, shift: Array) -> Array:
        """Normalize the last axis to zero mean and unit variance, epsilon 1e-5."""
        centered = value - jnp.mean(value, axis=-1, keepdims=True)
        variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
        return centered / jnp.sqrt(variance + 1e-5) * scale + shift

    def value_and_grad(
        self,
        function: Callable[..., tuple[Array, dict[str, Array]]],
        compiled: bool | None = None,
    ) -> Callable[..., tuple[Array, dict[str, Array], dict[str, Array]]]:
        """Differentiate ``function(params, ...) -> (loss, aux)`` by its first argument."""
        differentiated = jax.value_and_grad(function, has_aux=True)
        if compiled:
            differentiated = jax.jit(differentiated)

        def flat(*args: Any) -> tuple[Array, dict[str, Array], dict[str, Array]]:
            (loss, auxiliary), gradients = differentiated(*args)
            return loss, auxiliary, gradients

        return flat

    def pullback(
        self, function: Callable[[Parameters], Array]
    ) -> Callable[[Parameters], tuple[Array, Callable[[Array], dict[str, Array]]]]:
        """Carry gradients back by automatic differentiation; see the protocol."""

        def run(inputs: Parameters) -> tuple[Array, Callable[[Array], dict[str, Array]]]:
            value, back = jax.vjp(function, dict(inputs))
            return value, lambda gradient: back(gradient)[0]

        return run

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Change nothing: JAX computes in full precision."""
        return nullcontext()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile with ``jax.jit``."""
        return jax.jit(function)

    def optimizer(self, parameters: Parameters, weight_decay: float) -> Optimizer:
        """Make an AdamW optimizer that puts new arrays into ``parameters``."""
        return JaxAdamW(cast("dict[str, Array]", parameters), weight_decay)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether memory of the device did not suffice."""
        return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)

    def set_num_threads(self, count: int) -> None:
        """Do nothing: XLA fixes its threads when the process starts."""

    def join_processes(self) -> tuple[int, int]:
        """Stand alone: training on several devices runs on torch."""
        return 0, 1

    def mean_over_processes(self, arrays: Parameters) -> dict[str, Array]:
        """Return the arrays as they are."""
        return dict(arrays)


_BETAS = (0.9, 0.98)
_EPSILON = 1e-8


@jax.jit
def _adamw(
    values: dict[str, Array], gradients: dict[str, Array], means: dict[str, Array],
    squares: dict[str, Array], step: Array, rate: Array, decay: Array,
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:  # fmt: skip
    """Make one step of AdamW (Loshchilov & Hutter, ICLR 2019) in the order of torch's."""
    first, second = _BETAS
    means = {n: m + (gradients[n] - m) * (1.0 - first) for n, m in means.items()}
    squares = {n: s * second + gradients[n] ** 2 * (1.0 - second) for n, s in squares.items()}
    found = {}
    for name, value in values.items():
        kept = value * (1.0 - rate * decay) if value.ndim > 1 else value
        scale = jnp.sqrt(squares[name]) / jnp.sqrt(1.0 - second**step) + _EPSILON
        found[name] = kept - rate / (1.0 - first**step) * means[name] / scale
    return found, means, squares


class JaxAdamW:
    """AdamW over a flat dictionary; decays matrices, not vectors, and keeps the state of torch's.

    JAX's arrays never change: new ones take their places in the dictionary.
    """

    def __init__(self, parameters: dict[str, Array], weight_decay: float) -> None:
        self.parameters = parameters
        self._decay, self._count = weight_decay, 0
        self._means = {name: jnp.zeros_like(value) for name, value in parameters.items()}
        self._squares = dict(self._means)

    def step(self, gradients: Parameters, learning_rate: float) -> None:
        """Put new parameters into the dictionary."""
        self._count += 1
        found, self._means, self._squares = _adamw(
            dict(self.parameters), dict(gradients), self._means, self._squares,
            float(self._count), learning_rate, self._decay,
        )  # fmt: skip
        self.parameters.update(found)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return moments and step counts, named after their parameters."""
        found: dict[str, NDArray[Any]] = {}
        for name in self.parameters if self._count else ():
            found[f"{name}|step"] = np.array(self._count, dtype=np.float32)
            found[f"{name}|exp_avg"] = np.asarray(self._means[name])
            found[f"{name}|exp_avg_sq"] = np.asarray(self._squares[name])
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the state returned by :meth:`state`."""
        for name, value in self.parameters.items():
            if f"{name}|step" in state:
                self._count = int(state[f"{name}|step"])
                self._means[name], self._squares[name] = (
                    jax.device_put(jnp.asarray(state[f"{name}|{key}"]), value.device)
                    for key in ("exp_avg", "exp_avg_sq")
                )
