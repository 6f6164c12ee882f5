"""Functions in, functions out: prior, flow, trained operators and operators that can be known.

The numbers T1 ... T16 are those of docs/operators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from protein_lab.backends import Array, get_backend
from protein_lab.backends.base import Parameters
from protein_lab.experiments.operator_measures import (
    flow_difference,
    layer_length_differences,
    real_chains,
    resolution_losses,
)
from protein_lab.experiments.operator_sampling import make_sampling, smooth_chain
from protein_lab.models.weights import OPERATORS, available, load_operator
from protein_lab.operators.kernel import dense, local_kernel
from protein_lab.operators.moments import chain_fourier_features, moment_functions, moments
from protein_lab.operators.prior import ornstein_uhlenbeck
from protein_lab.operators.spectral import KNOTS, spectral_convolution
from protein_lab.training.corpus import Corpus

XP = get_backend("torch")
NAMES = ("enhanced_deeponet", "fno", "deeponet")
LENGTH = 32
Values = NDArray[np.float64]


@pytest.mark.parametrize("name", [name for name in NAMES if name in available()])
def test_t6_trained_operators_take_denser_samplings(name: str) -> None:
    """Trained at one point a residue, an operator loses little when it is given two.

    The benchmark measures more chains and samplings and draws the curve.
    """
    operator = load_operator(name, "torch")
    losses = [
        resolution_losses(operator, chain, (1, 2), (0.3, 0.7))
        for chain in real_chains(Corpus.open(), 3, 60)
    ]
    coarse, fine = np.mean(losses, axis=0)
    assert fine <= 1.2 * coarse


def test_t7_prior_is_a_law_of_functions() -> None:
    """Refining the sampling changes neither the variance of averages nor covariances."""
    rng, variances, covariances = np.random.default_rng(0), [], []
    for count in (2, 4, 8, 16):
        sampling = make_sampling(LENGTH, count)
        paths = ornstein_uhlenbeck(rng, sampling.coordinate, 1400, 3.0, 2.0)
        paths = np.concatenate(list(np.moveaxis(paths, 2, 0)))
        test = np.sin(np.pi * sampling.coordinate / LENGTH)
        variances.append(float(np.var(paths @ (test * sampling.weight))))
        at = paths[:, sampling.residues[[10, 12]]]
        covariances.append(float(np.mean(at[:, 0] * at[:, 1])) / 9.0)
    assert max(variances) / min(variances) < 1.15
    # 4,200 draws leave a standard error of 0.016
    np.testing.assert_allclose(covariances, np.exp(-1.0), atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_t8_flow_of_smooth_noise_ends_at_the_same_backbone(name: str) -> None:
    """Twenty steps from one smooth function, at L and at 2L points: residues agree."""
    kind, config_kind = OPERATORS[name]
    small = {} if name == "deeponet" else {"channels": 32, "dilations": (1, 2)}
    config = msgspec.convert(small, config_kind)
    drawn = kind.initialize(config, np.random.default_rng(0))
    operator = kind(config, {key: XP.asarray(value) for key, value in drawn.items()}, XP)
    assert flow_difference(operator, smooth_chain(np.random.default_rng(6), LENGTH), 1, 2) < 0.1


def _random_waves(rng: np.random.Generator, count: int, places: Values, length: int) -> Values:
    """Return smooth random functions, shape (function, point): waves of up to four cycles."""
    rate = 2 * np.pi * np.arange(5) / length
    cosine, sine = rng.standard_normal((2, count, 5)) / (1.0 + np.arange(5))
    return cosine @ np.cos(np.outer(rate, places)) + sine @ np.sin(np.outer(rate, places))


def _antiderivative(seed: int, count: int, length: int, points: int) -> tuple[Any, ...]:
    rng, sampling = np.random.default_rng(seed), make_sampling(length, points)
    fine = make_sampling(length, 45)
    waves = _random_waves(rng, count, fine.coordinate, length)
    total = np.cumsum(waves / 45, axis=1) - waves / 90
    at = np.stack([np.interp(sampling.coordinate, fine.coordinate, row) for row in total])
    seen = np.stack([np.interp(sampling.coordinate, fine.coordinate, row) for row in waves])
    return sampling, seen, at / length


def _convolved(
    kernel: Callable[[Values], Values], seed: int, count: int, length: int, points: int
) -> tuple[Any, ...]:
    """Functions that vanish at the ends, and what a kernel makes of them."""
    rng, sampling = np.random.default_rng(seed), make_sampling(length, points)
    fine = make_sampling(length, 15)
    envelope = np.sin(np.pi * fine.coordinate / length) ** 2
    waves = _random_waves(rng, count, fine.coordinate, length) * envelope
    apart = sampling.coordinate[:, None] - fine.coordinate[None, :]
    at = waves @ kernel(apart).T / 15
    seen = np.stack([np.interp(sampling.coordinate, fine.coordinate, row) for row in waves])
    return sampling, seen, at


def _train(
    params: dict[str, Array],
    model: Callable[[Parameters, Any, Array], Array],
    data: tuple[Any, ...],
    steps: int,
    rate: float,
) -> None:
    """Fit parameters in place to functions at one sampling."""
    sampling, seen, target = data[0], XP.asarray(data[1]), XP.asarray(data[2])

    def loss(given: Parameters) -> tuple[Array, dict[str, Array]]:
        error = model(given, sampling, seen) - target
        return XP.sum(error * error, axis=(0, 1)) / target.shape[0], {}

    optimizer, differentiate = XP.optimizer(params, 0.0), XP.value_and_grad(loss)
    for step in range(steps):
        left = 1.0 - step / steps
        optimizer.step(differentiate(params)[2], rate * left * left + 1e-5)


def _error(
    params: Parameters, model: Callable[[Parameters, Any, Array], Array], data: tuple[Any, ...]
) -> float:
    found = XP.to_numpy(model(params, data[0], XP.asarray(data[1])))
    return float(np.linalg.norm(found - data[2]) / np.linalg.norm(data[2]))


def _bring(arrays: dict[str, Values]) -> dict[str, Array]:
    return {name: XP.asarray(value) for name, value in arrays.items()}


def _spectral_model(params: Parameters, sampling: Any, seen: Array) -> Array:
    weight = XP.asarray(np.tile(sampling.weight, (seen.shape[0], 1)))
    points = sampling.points_per_residue
    return spectral_convolution(XP, params, "k", seen[..., None], weight, points)[..., 0]


def test_t13_spectral_layer_learns_to_smooth() -> None:
    """Learned at one sampling and length, the kernel is right at others."""

    def gauss(x: Values) -> Values:
        return np.exp(-0.5 * (x / 2.0) ** 2) / (2.0 * np.sqrt(2 * np.pi))

    params = _bring({"k.multiplier": np.zeros((len(KNOTS), 1, 1, 2))})
    _train(params, _spectral_model, _convolved(gauss, 0, 64, 32, 2), 300, 0.05)
    for length, points in ((32, 2), (32, 3), (32, 1), (48, 2)):
        assert _error(params, _spectral_model, _convolved(gauss, 1, 16, length, points)) < 2e-2


def test_t13_local_kernel_learns_to_shift() -> None:
    """A shift by two residues is one tap of the comb; it holds at any sampling."""

    def model(params: Parameters, sampling: Any, seen: Array) -> Array:
        offsets = [k * sampling.points_per_residue for k in (-2, -1, 0, 1, 2)]
        return local_kernel(XP, params, "l", seen[..., None], offsets)[..., 0]

    def data(seed: int, points: int) -> tuple[Any, ...]:
        sampling = make_sampling(LENGTH, points)
        rng = np.random.default_rng(seed)
        state = rng.bit_generator.state
        envelope = [
            np.sin(np.pi * np.clip(sampling.coordinate + move, 0, LENGTH) / LENGTH) ** 2
            for move in (0, 2)
        ]
        functions = []
        for move, size in zip((0, 2), envelope, strict=True):
            rng.bit_generator.state = state
            functions.append(_random_waves(rng, 64, sampling.coordinate + move, LENGTH) * size)
        return sampling, functions[0], functions[1]

    params = _bring({"l.weight": np.zeros((5, 1)), "l.bias": np.zeros(1)})
    _train(params, model, data(0, 2), 300, 0.1)
    for points in (1, 2, 3):
        assert _error(params, model, data(1, points)) < 2e-2


def test_t13_deeponet_learns_the_antiderivative() -> None:
    """Moments in a linear branch, Fourier features in the trunk; right at unseen samplings."""

    def model(params: Parameters, sampling: Any, seen: Array) -> Array:
        places = XP.asarray(np.tile(sampling.coordinate, (seen.shape[0], 1)))
        weight = XP.asarray(np.tile(sampling.weight, (seen.shape[0], 1)))
        functions = moment_functions(XP, places / LENGTH, 16)
        branch = dense(XP, params, "b", moments(XP, functions, seen[..., None], weight))
        position = places[:1] / LENGTH
        trunk = chain_fourier_features(XP, places[:1], position, 32)
        trunk = dense(XP, params, "o", XP.silu(dense(XP, params, "t", trunk)))[0]
        return branch @ XP.transpose(trunk, (1, 0))

    rng = np.random.default_rng(0)
    params = _bring(
        {
            "b.weight": rng.standard_normal((16, 24)) / 4, "b.bias": np.zeros(24),
            "t.weight": rng.standard_normal((32, 64)) / 6, "t.bias": np.zeros(64),
            "o.weight": rng.standard_normal((64, 24)) / 8, "o.bias": np.zeros(24),
        }
    )  # fmt: skip
    _train(params, model, _antiderivative(0, 256, LENGTH, 2), 600, 1e-2)
    for points in (2, 3, 5):
        assert _error(params, model, _antiderivative(1, 32, LENGTH, points)) < 2e-2


def test_t16_cycles_per_residue_are_needed() -> None:
    """The layer's output does not know the length; with whole cycles per chain it would."""
    ours, integer_modes = layer_length_differences(np.random.default_rng(0))
    assert ours < 2e-2
    assert integer_modes > 0.5
