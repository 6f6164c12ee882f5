"""Every operator is one function on three backends: values, gradients, steps, padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend, get_backend
from protein_lab.collation import collate
from protein_lab.constraints.fields import Conditions
from protein_lab.experiments.operator_sampling import make_sampling, smooth_chain
from protein_lab.models.base import ChainInputs
from protein_lab.models.weights import OPERATORS
from protein_lab.operators.prior import backbone_noise
from protein_lab.training.losses import flow_losses

NAMES = ("enhanced_deeponet", "fno", "deeponet", "transformer")
BACKENDS = ("numpy", "torch", "jax")
LENGTHS = (37, 64)
SMALL: dict[str, dict[str, Any]] = {
    "enhanced_deeponet": {"dilations": (2,)},
    "fno": {"dilations": (2,)},
    "deeponet": {},
    "transformer": {"blocks": 1},
}
"""One block of full width; the others repeat it, and JAX compiles each."""
SILENT = ("key.bias", "pair.bias.bias", "pairing.bias.bias")
"""Constants in the logits of a softmax have no effect: their gradients are rounding alone."""

Arrays = dict[str, NDArray[Any]]


@contextmanager
def _precision(backend: str, dtype: str) -> Iterator[Backend]:
    """Offer a backend that computes in ``dtype``; JAX needs to be allowed 64 bits."""
    wide = backend == "jax" and dtype == "float64"
    with jax.enable_x64(True) if wide else nullcontext():
        yield get_backend(backend)


def _batch() -> tuple[ChainInputs, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Chains of 37 and 64 residues in one batch, their noisy and clean fields, flow times."""
    conditions, fields = [], np.zeros((2, 2, max(LENGTHS), 3, 3))
    for row, length in enumerate(LENGTHS):
        chain = smooth_chain(np.random.default_rng(row), length)
        places = make_sampling(length, 1).coordinate
        one = chain.curve(places).astype(np.float32)
        pairing = chain.pairing(places)
        conditions.append(
            Conditions(one, chain.secondary_structure(places), pairing, np.ones(length))
        )
        fields[1, row, :length] = chain.field(places)
        noise = backbone_noise(np.random.default_rng(9), length, 1, 2.0, 2.0)[0]
        fields[0, row, :length] = 0.4 * (one[:, None] + noise) + 0.6 * fields[1, row, :length]
    inputs = collate(get_backend("numpy"), conditions, [0.5, 1.5], [0.0, 1.0], 8)
    return inputs, fields[0], fields[1], np.array([0.6, 0.6])


def _config(name: str) -> Any:
    return msgspec.convert(SMALL[name], OPERATORS[name][1])


def _draw(name: str) -> Arrays:
    return OPERATORS[name][0].initialize(_config(name), np.random.default_rng(0))


def _given(xp: Backend, dtype: str) -> tuple[ChainInputs, Array, Array, Array]:
    inputs, noisy, target, time = _batch()
    brought = ChainInputs(
        *(None if value is None else xp.asarray(np.asarray(value), dtype) for value in inputs)
    )
    return brought, *(xp.asarray(value, dtype) for value in (noisy, target, time))


def _forward(name: str, backend: str, dtype: str) -> list[NDArray[Any]]:
    """Mean and uncertainty at the residues of the two chains."""
    kind, config = OPERATORS[name][0], _config(name)
    with _precision(backend, dtype) as xp:
        inputs, noisy, _, time = _given(xp, dtype)
        params = {key: xp.asarray(value, dtype) for key, value in _draw(name).items()}
        operator = kind(config, params, xp)
        found = operator.predict(noisy, time, operator.encode(inputs))
        values = [xp.to_numpy(found.mean), xp.to_numpy(found.log_sigma)]
    assert all(value.dtype == dtype for value in values)
    return [value[row, :length] for value in values for row, length in enumerate(LENGTHS)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_backends_predict_the_same(name: str, dtype: str, tolerance: float) -> None:
    """Relative differences between backends are those of rounding."""
    expected = _forward(name, "numpy", dtype)
    for backend in BACKENDS[1:]:
        for found, reference in zip(_forward(name, backend, dtype), expected, strict=True):
            error = np.abs(found - reference).max() / np.abs(reference).max()
            assert error < tolerance, backend


def _gradients(name: str, backend: str, dtype: str) -> Arrays:
    kind, config = OPERATORS[name][0], _config(name)
    with _precision(backend, dtype) as xp:
        inputs, noisy, target, time = _given(xp, dtype)

        def loss(params: Any) -> tuple[Array, dict[str, Array]]:
            operator = kind(config, params, xp)
            encoded = operator.encode_constraints(inputs)
            found = operator.forward_with_uncertainty(noisy, time, encoded)
            scale = operator.preconditioning(time, inputs.curve_error)[2]
            return flow_losses(xp, found, target, encoded.mask, scale)

        params = {key: xp.asarray(value, dtype) for key, value in _draw(name).items()}
        gradients = xp.compile(xp.value_and_grad(loss))(params)[2]
        return {key: xp.to_numpy(value) for key, value in gradients.items()}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_one_step_agree(name: str) -> None:
    """Gradients of torch and JAX agree tensor by tensor, and so do the weights a step later.

    Steps are compared in 64 bits: the first step of Adam divides every gradient by itself, which
    turns the rounding of near-zero gradients into full steps.
    """
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-9)):
        found, expected = _gradients(name, "jax", dtype), _gradients(name, "torch", dtype)
        assert found.keys() == expected.keys()
        largest = max(np.linalg.norm(value) for value in expected.values())
        for key, reference in expected.items():
            error = np.linalg.norm(found[key] - reference)
            size = np.linalg.norm(reference)
            rounding = largest if key.endswith(SILENT) else 0.0
            assert error < tolerance * max(size, rounding), key
    stepped = [_stepped(name, gradients) for gradients in (found, expected)]
    for key, reference in stepped[1].items():
        np.testing.assert_allclose(stepped[0][key], reference, atol=1e-5, err_msg=key)


def _stepped(name: str, gradients: Arrays) -> Arrays:
    """Weights after one step of the optimizer along some gradients."""
    xp = get_backend("torch")
    params = {key: xp.asarray(value, "float64") for key, value in _draw(name).items()}
    brought = {key: xp.asarray(value, "float64") for key, value in gradients.items()}
    xp.optimizer(params, 0.01).step(brought, 1e-3)
    return {key: xp.to_numpy(value) for key, value in params.items()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_fourier_transforms_undo_each_other(backend: str) -> None:
    """Forward and back gives the values, and zeros where the padding was; size 7 and 8."""
    xp = get_backend(backend)
    value = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    for size in (7, 8):
        real, imaginary = xp.rfft(xp.asarray(value), size)
        reference = np.fft.rfft(value, size, axis=1, norm="forward")
        np.testing.assert_allclose(xp.to_numpy(real), reference.real, atol=1e-6)
        np.testing.assert_allclose(xp.to_numpy(imaginary), reference.imag, atol=1e-6)
        back = xp.to_numpy(xp.irfft(real, imaginary, size))
        np.testing.assert_allclose(back[:, :5], value, atol=1e-5)
        np.testing.assert_allclose(back[:, 5:], 0.0, atol=1e-5)
        assert back.dtype == np.float32
