"""torch backend; the only module that imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.nn import functional
from torch.optim import swa_utils

from protein_lab.backends.base import Array, Parameters
from protein_lab.errors import BackendError

# Radial basis functions make denormal numbers, which slow CPUs down five times.
torch.set_flush_denormal(True)


class TorchBackend:
    """:class:`~protein_lab.backends.base.Backend` on torch, on a CPU or a GPU."""

    name = "torch"
    fixed_shapes = False

    def __init__(self, device: str = "cpu", precision: str = "float32") -> None:
        if precision not in ("float32", "bfloat16"):
            raise BackendError(f"The precision must be float32 or bfloat16, but is {precision!r}.")
        if device == "auto":
            place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            device = place if torch.cuda.is_available() else "cpu"
        self.device = _existing(device)
        self.precision = precision

    def join_processes(self) -> tuple[int, int]:
        """Join the processes that ``torchrun`` started; see the protocol."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.startswith("cuda") else "gloo")
        return int(os.environ.get("RANK", "0")), count

    def mean_over_processes(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Average over the processes that joined; see the protocol."""
        if not distributed.is_initialized():
            return dict(arrays)
        # one message for all arrays: hundreds of small ones cost more than their content
        names = sorted(arrays)
        flat = torch.cat([arrays[name].reshape(-1) for name in names])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        parts = torch.split(flat, [arrays[name].numel() for name in names])
        return {n: part.reshape(arrays[n].shape) for n, part in zip(names, parts, strict=True)}

    exp = staticmethod(torch.exp)
    log = staticmethod(torch.log)
    sqrt = staticmethod(torch.sqrt)
    sin = staticmethod(torch.sin)
    cos = staticmethod(torch.cos)
    abs = staticmethod(torch.abs)
    silu = staticmethod(functional.silu)
    softplus = staticmethod(functional.softplus)

    def asarray(self, value: Any, dtype: str = "float32") -> Array:
        """Bring ``value`` to the backend's device."""
        if isinstance(value, torch.Tensor):
            return value.to(self.device, getattr(torch, dtype))
        array = np.array(value, dtype=dtype)  # a copy: torch warns about read-only memory
        return torch.from_numpy(array).to(self.device)

    def to_numpy(self, value: Array) -> NDArray[Any]:
        """Bring ``value`` back to host memory."""
        return value.detach().cpu().numpy()

    def like(self, value: NDArray[Any], reference: Array) -> Array:
        """Bring constants to the device and precision of ``reference``."""
        return torch.tensor(value, dtype=reference.dtype, device=reference.device)

    def rfft(self, value: Array, size: int) -> tuple[Array, Array]:
        """Transform real values along axis 1, divided by ``size``."""
        # half precision transforms need sizes that are powers of two, and lose the low modes
        with torch.autocast(value.device.type, enabled=False):
            wide = value.to(torch.promote_types(value.dtype, torch.float32))
            spectrum = torch.fft.rfft(wide, size, dim=1, norm="forward")
            return spectrum.real, spectrum.imag

    def irfft(self, real: Array, imaginary: Array, size: int) -> Array:
        """Undo :meth:`rfft`."""
        with torch.autocast(real.device.type, enabled=False):
            wide = torch.promote_types(real.dtype, torch.float32)
            spectrum = torch.complex(real.to(wide), imaginary.to(wide))
            return torch.fft.irfft(spectrum, size, dim=1, norm="forward")

    def reshape(self, value: Array, shape: Sequence[int], /) -> Array:
        """Give ``value`` another shape."""
        return torch.reshape(value, tuple(shape))

    def where(self, condition: Array, yes: Array, no: Array, /) -> Array:
        """Choose by a Boolean array."""
        return torch.where(condition, yes, no)

    def einsum(self, subscripts: str, *arrays: Array) -> Array:
        """Sum products over repeated indices."""
        return torch.einsum(subscripts, *arrays)

    def concat(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along an existing axis."""
        return torch.cat(list(arrays), dim=axis)

    def stack(self, arrays: Sequence[Array], axis: int = -1) -> Array:
        """Join arrays along a new axis."""
        return torch.stack(list(arrays), dim=axis)

    def unstack(self, value: Array) -> list[Array]:
        """Split along the first axis, which goes away."""
        return list(torch.unbind(value))

    def affine(self, value: Array, weight: Array, bias: Array) -> Array:
        """Apply ``value @ weight + bias`` to the last axis."""
        if self.precision == "bfloat16":
            short = (part.to(torch.bfloat16) for part in (value, weight.t(), bias))
            return functional.linear(*short).to(value.dtype)
        return functional.linear(value, weight.t(), bias)

    def transpose(self, value: Array, axes: Sequence[int]) -> Array:
        """Permute the axes."""
        return value.permute(*axes)

    def sum(self, value: Array, axis: int | Sequence[int], keepdims: bool = False) -> Array:
        """Sum over axes."""
        axes = axis if isinstance(axis, int) else tuple(axis)
        return torch.sum(value, dim=axes, keepdim=keepdims)

    def take(self, value: Array, index: Array, /) -> Array:
        """Take rows."""
        rows = torch.index_select(value, 0, index.reshape(-1))
        return rows.reshape(*index.shape, value.shape[1])

    def pad_axis(self, value: Array, axis: int, before: int, after: int) -> Array:
        """Add zeros before and after along one axis."""
        trailing = value.ndim - 1 - axis % value.ndim
        return functional.pad(value, [0, 0] * trailing + [before, after])

    def maximum(self, value: Array, floor: float) -> Array:
        """Raise values below ``floor`` to it."""
        return torch.clamp(value, min=floor)

    def minimum(self, value: Array, ceiling: float) -> Array:
        """Lower values above ``ceiling`` to it."""
        return torch.clamp(value, max=ceiling)

    def softmax(self, value: Array) -> Array:
        """Softmax over the last axis."""
        return torch.softmax(value, dim=-1)

    def layer_norm(self, value: Array, scale: Array, shift: Array) -> Array:
        """Normalize the last axis to zero mean and unit variance, epsilon 1e-5."""
        return functional.layer_norm(value, value.shape[-1:], scale, shift, 1e-5)

    def norm(self, arrays: Parameters, /) -> float:
        """Euclidean norm of all arrays together."""
        return float(torch.nn.utils.get_total_norm(list(arrays.values())))

    def averaged(self, means: Parameters, values: Parameters, decay: float, /) -> dict[str, Array]:
        """Move running means towards values, in place and in few kernels; see the protocol."""
        move = swa_utils.get_ema_multi_avg_fn(decay)
        move(list(means.values()), [values[name].detach() for name in means], 1)
        return dict(means)

    def stop_gradient(self, value: Array) -> Array:
        """Return ``value`` as a constant for differentiation."""
        return value.detach()

    def value_and_grad(
        self,
        function: Callable[..., tuple[Array, dict[str, Array]]],
        compiled: bool | None = None,
    ) -> Callable[..., tuple[Array, dict[str, Array], dict[str, Array]]]:
        """Differentiate ``function(params, ...) -> (loss, aux)`` by its first argument."""
        if compiled is None:
            run = self.compile(function)
        else:
            run = torch.compile(function, dynamic=True) if compiled else function

        def differentiated(
            parameters: Parameters, *args: Any
        ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
            leaves = {n: p.detach().requires_grad_(True) for n, p in parameters.items()}
            with torch.enable_grad():
                loss, auxiliary = run(leaves, *args)
                gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            return (
                loss.detach(),
                {n: a.detach() for n, a in auxiliary.items()},
                {
                    n: torch.zeros_like(p) if g is None else g
                    for (n, p), g in zip(leaves.items(), gradients, strict=True)
                },
            )

        return differentiated

    def pullback(
        self, function: Callable[[Parameters], Array]
    ) -> Callable[[Parameters], tuple[Array, Callable[[Array], dict[str, Array]]]]:
        """Carry gradients back by automatic differentiation; see the protocol."""

        def run(inputs: Parameters) -> tuple[Array, Callable[[Array], dict[str, Array]]]:
            leaves = {n: value.detach().requires_grad_(True) for n, value in inputs.items()}
            with torch.enable_grad():
                value = function(leaves)

            def pull(gradient: Array) -> dict[str, Array]:
                found = torch.autograd.grad(value, list(leaves.values()), gradient)
                return dict(zip(leaves, found, strict=True))

            return value.detach(), pull

        return run

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Multiply matrices in bfloat16 inside the context; sums and steps stay in float32."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile with ``torch.compile`` on a GPU; on a CPU the start-up does not pay back."""
        return torch.compile(function, dynamic=True) if self.device != "cpu" else function

    def optimizer(self, parameters: Parameters, weight_decay: float) -> TorchAdamW:
        """Make an AdamW optimizer that changes ``parameters`` in place."""
        return TorchAdamW(parameters, weight_decay)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether memory of the GPU, or of the host, did not suffice."""
        told = str(error)
        return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
            isinstance(error, RuntimeError)
            and ("out of memory" in told or "can't allocate memory" in told)
        )

    def set_num_threads(self, count: int) -> None:
        """Limit the threads of one operation."""
        torch.set_num_threads(count)


def _existing(device: str) -> str:
    """Return the name of a device that is there."""
    try:
        kind, index = torch.device(device).type, torch.device(device).index
    except RuntimeError as error:
        raise BackendError(
            f"The device must be cpu, cuda, cuda:NUMBER or auto, but it is {device!r}.",
            "Use --device cpu, or auto to take a GPU where there is one.",
        ) from error
    if kind not in ("cpu", "cuda"):
        raise BackendError(
            f"The device must be cpu, cuda, cuda:NUMBER or auto, but it is {device!r}.",
            "Use --device cpu, or auto to take a GPU where there is one.",
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (index or 0) >= count:
        seen = "no GPU" if count == 0 else f"{count} GPU{'s' if count > 1 else ''} from cuda:0 on"
        raise BackendError(
            f"The device {device!r} was asked for, but torch sees {seen}.", "Use --device cpu."
        )
    return device


class TorchAdamW:
    """``torch.optim.AdamW`` over a flat dictionary; decays matrices, not vectors."""

    def __init__(self, parameters: Parameters, weight_decay: float) -> None:
        self.parameters = dict(parameters)
        groups = [
            {"params": [p for p in self.parameters.values() if p.ndim > 1],
             "weight_decay": weight_decay},
            {"params": [p for p in self.parameters.values() if p.ndim <= 1],
             "weight_decay": 0.0},
        ]  # fmt: skip
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), foreach=True)

    def step(self, gradients: Parameters, learning_rate: float) -> None:
        """Change the parameters in place by one step."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return moments and step counts, named after their parameters."""
        found: dict[str, NDArray[Any]] = {}
        for name, parameter in self.parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                found[f"{name}|{key}"] = value.detach().cpu().numpy().copy()
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the state returned by :meth:`state`."""
        for name, parameter in self.parameters.items():
            own = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"{name}|{key}" in state:
                    value = torch.tensor(np.array(state[f"{name}|{key}"]))
                    # foreach AdamW keeps the step count on the host
                    own[key] = value if key == "step" else value.to(parameter.device)
            if own:
                self._optimizer.state[parameter] = own
