"""The layers are operators: integrals by quadrature, the same for every sampling and length.

The numbers T1 ... T16 are those of docs/operators.md. The functions are waves on an interval that
does not close, sampled at cell centers (midpoint rule), unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.experiments.operator_sampling import make_sampling
from protein_lab.operators.basis import adaptive_basis, branch_coefficients
from protein_lab.operators.kernel import local_kernel, quadrature_attention
from protein_lab.operators.moments import (
    chain_fourier_features,
    moment_functions,
    moments,
    pair_moments,
)
from protein_lab.operators.pairing import pairing_kernels, pairing_means
from protein_lab.operators.spectral import (
    KNOTS,
    REACH,
    hat_functions,
    spectral_convolution,
    spectral_vectors,
)

XP = get_backend("numpy")
TORCH = get_backend("torch")
LENGTH = 32
Values = NDArray[np.float64]


def _waves(seed: int, columns: int, cycles: int = 4) -> Callable[[Values], Values]:
    rng = np.random.default_rng(seed)
    amplitude = rng.standard_normal((cycles, columns)) / np.sqrt(cycles)
    phase = rng.uniform(0, 2 * np.pi, (cycles, columns))
    # no whole number of periods: sums over whole periods would be exact at any sampling
    rate = 2 * np.pi * (np.arange(1, cycles + 1)[:, None] - 0.37) / LENGTH
    return lambda x: (amplitude * np.cos(x[:, None, None] * rate + phase)).sum(1)


def _normal(shape: tuple[int, ...], seed: int) -> Values:
    return np.random.default_rng(seed).standard_normal(shape)


def _relative(found: Values, expected: Values) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


ATTENTION = {
    f"a.{part}.{kind}": value
    for index, part in enumerate(("query", "key", "value"))
    for kind, value in (("weight", _normal((8, 8), index)), ("bias", np.zeros(8)))
} | {"a.out.weight": _normal((8 + 2 * 6, 8), 9) / 4, "a.out.bias": np.zeros(8)}


def _attention(places: Values, weight: Values) -> Values:
    """Two heads with a kernel of separation; frames turn along the chain."""
    turn = 0.1 * places
    frame = np.zeros((len(places), 3, 3))
    frame[:, 0, 0], frame[:, 0, 1] = np.cos(turn), np.sin(turn)
    frame[:, 1, 0], frame[:, 1, 1], frame[:, 2, 2] = -np.sin(turn), np.cos(turn), 1.0
    apart = (places[:, None] - places[None, :]) / LENGTH
    curve = _waves(2, 3)(places)
    return quadrature_attention(
        XP, ATTENTION, "a", _waves(1, 8)(places)[None],
        bias=np.stack([np.sin(3 * apart), np.cos(2 * apart)])[None],
        log_weight=np.log(weight)[None],
        points=np.concatenate([_waves(3, 3)(places), curve], axis=1)[None],
        origin=curve[None], frame=frame[None], num_heads=2,
    )[0]  # fmt: skip


def _partners(places: Values, weight: Values) -> Values:
    """Means over partners of a smooth pairing function."""
    one = _waves(4, 3)(places)
    pairing = 0.5 + 0.5 * np.sin(one[:, None] + one[None, :])
    kernel, amount = pairing_kernels(
        XP, pairing[None], 5 * _waves(2, 3)(places)[None], weight[None]
    )
    means = pairing_means(XP, kernel, _waves(1, 8)(places)[None])
    return np.concatenate([means.reshape(len(places), -1), amount[0]], axis=1)


def _moments(places: Values, weight: Values) -> Values:
    """All moments; they are numbers of the chain, repeated at every point."""
    functions = moment_functions(XP, (places / LENGTH)[None], 8)
    one = _waves(4, 3)(places)
    pairing = np.sin(one[:, None] + one[None, :])[None]
    found = [
        moments(XP, functions, _waves(1, 8)(places)[None], weight[None]),
        pair_moments(XP, functions, pairing, weight[None]),
    ]
    return np.repeat(np.concatenate(found, axis=1), len(places), axis=0)


BRANCH = {
    "b.in.weight": _normal((10, 6), 0),
    "b.in.bias": np.zeros(6),
    "b.out.weight": _normal((6, 4), 1),
    "b.out.bias": np.zeros(4),
    "b.mean": np.zeros((2, 2)),
}


def _branch(places: Values, weight: Values) -> Values:
    """Coefficients of the adaptive basis, repeated at every point."""
    found = branch_coefficients(
        XP, BRANCH, "b", _waves(1, 8)(places)[None], weight[None], np.ones((1, 2)), (2, 2)
    )
    return np.repeat(found.reshape(1, -1), len(places), axis=0)


INTEGRALS = [_attention, _partners, _moments, _branch]


@pytest.mark.parametrize("layer", INTEGRALS)
def test_t1_integrals_converge_with_second_order(layer: Callable[..., Values]) -> None:
    """Errors fall ninefold when the points are tripled, and are small at 96 points."""
    errors, exact = [], None
    for count in (9, 3, 1):
        sampling = make_sampling(LENGTH, count)
        found = layer(sampling.coordinate, sampling.weight)[sampling.residues]
        exact = found if exact is None else exact
        errors.append(_relative(found, exact))
    _, fine, coarse = errors
    assert fine < 5e-3
    assert np.log(coarse / fine) / np.log(3) > 1.8


@pytest.mark.parametrize("layer", INTEGRALS)
def test_t2_uneven_points_give_the_same_integrals(layer: Callable[..., Values]) -> None:
    """129 points at s = r^2 with trapezoid weights agree with many even ones.

    Local kernels and Fourier transforms need even points and are not meant for these.
    """
    uneven = LENGTH * np.linspace(0, 1, 129) ** 2
    weight = np.gradient(uneven)
    weight[[0, -1]] = 0.5 * np.array([uneven[1] - uneven[0], uneven[-1] - uneven[-2]])
    found = layer(uneven, weight)
    even = make_sampling(LENGTH, 11)
    expected = layer(even.coordinate, even.weight)
    # places that both have: compare where an even point is nearest, through interpolation
    near = np.stack([np.interp(uneven, even.coordinate, column) for column in expected.T], axis=1)
    inside = (uneven > 0.5) & (uneven < LENGTH - 0.5)
    assert _relative(found[inside], near[inside]) < 1e-2


@pytest.mark.parametrize("layer", INTEGRALS)
def test_t3_split_points_change_nothing(layer: Callable[..., Values]) -> None:
    """A point given twice with half its weight each is the same source."""
    sampling = make_sampling(LENGTH, 1)
    repeats = np.ones(LENGTH, dtype=int)
    repeats[[3, 11, 30]] = 2
    places = np.repeat(sampling.coordinate, repeats)
    weight = np.repeat(sampling.weight / repeats, repeats)
    first = np.cumsum(repeats) - repeats
    np.testing.assert_allclose(
        layer(places, weight)[first], layer(sampling.coordinate, sampling.weight), atol=1e-10
    )


def _multiplier(channels: int, seed: int = 0) -> dict[str, Values]:
    return {"k.multiplier": _normal((len(KNOTS), channels, channels, 2), seed)}


def _kernel(offset: Values, multiplier: Values) -> Values:
    """Kernel of the layer by direct integration over frequency, (..., channel, channel)."""
    frequency = (np.arange(20_000) + 0.5) / 40_000
    hats = hat_functions(frequency) * 2 / 40_000
    phase = 2 * np.pi * offset[..., None] * frequency
    even, odd = np.cos(phase) @ hats, np.sin(phase) @ hats
    window = np.where(np.abs(offset) < REACH, np.cos(0.5 * np.pi * offset / REACH) ** 2, 0.0)
    kernel = even @ multiplier[..., 0].reshape(len(KNOTS), -1)
    kernel -= odd @ multiplier[..., 1].reshape(len(KNOTS), -1)
    return (kernel * window[..., None]).reshape(*offset.shape, *multiplier.shape[1:3])


@pytest.mark.parametrize("count", [1, 2])
def test_spectral_layer_is_a_convolution_in_residues(count: int) -> None:
    """The transform gives the plain sum over points with the kernel in residues, and no wrap."""
    sampling = make_sampling(23, count)
    value = _normal((2, len(sampling.weight), 3), 1)
    weight = np.stack([sampling.weight, sampling.weight])
    params = _multiplier(3)
    apart, back = np.unique(
        sampling.coordinate[:, None] - sampling.coordinate[None, :], return_inverse=True
    )
    kernel = _kernel(apart, params["k.multiplier"])[back]
    expected = np.einsum("ijcd,bjc,j->bid", kernel, value, sampling.weight)
    found = spectral_convolution(XP, params, "k", value, weight, count)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _bump(places: Values, center: float) -> Values:
    """Return a packet of helix frequency, smooth and 30 residues wide, in two channels."""
    inside = np.clip((places - center) / 15.0, -1, 1)
    envelope = np.cos(0.5 * np.pi * inside) ** 6
    angle = 2 * np.pi * (places - center) / 3.6
    return np.stack([envelope * np.cos(angle), envelope * np.sin(angle)], axis=1)


def test_t1_spectral_layer_converges_faster_than_any_power() -> None:
    """A smooth packet away from the ends: one point a residue is as good as eight."""
    params, results = _multiplier(2), []
    for count in (1, 2, 8):
        sampling = make_sampling(64, count)
        found = spectral_convolution(
            XP, params, "k", _bump(sampling.coordinate, 32.0)[None], sampling.weight[None], count
        )
        results.append(found[0, sampling.residues])
    assert _relative(results[0], results[2]) < 1e-4
    assert _relative(results[1], results[2]) < 1e-6


def test_t1_local_kernel_is_the_same_at_every_sampling() -> None:
    """Offsets in residues: a comb kernel reads the same places however many lie between."""
    params = {"l.weight": _normal((5 * 8, 8), 0), "l.bias": _normal((8,), 1)}
    results = []
    for count in (1, 2, 3):
        sampling = make_sampling(LENGTH, count)
        value = _waves(1, 8)(sampling.coordinate)[None]
        offsets = [count * k for k in (-2, -1, 0, 1, 2)]
        found = local_kernel(XP, params, "l", value, offsets)[0]
        results.append(found[sampling.residues])
    np.testing.assert_allclose(results[1], results[0], atol=1e-10)
    np.testing.assert_allclose(results[2], results[0], atol=1e-10)


def test_t4_padding_does_not_reach_the_spectral_layer() -> None:
    """Points of no weight change nothing, however many: the kernel is finite and nothing wraps."""
    params, value, weight = _multiplier(2), _normal((1, 40, 2), 1), np.ones((1, 40))
    alone = spectral_convolution(XP, params, "k", value, weight)
    for extra in (1, 24, 200):
        padded = np.concatenate([value, _normal((1, extra, 2), 2)], axis=1)
        zeros = np.concatenate([weight, np.zeros((1, extra))], axis=1)
        found = spectral_convolution(XP, params, "k", padded, zeros)
        np.testing.assert_allclose(found[:, :40], alone, atol=1e-11)


def test_t5_basis_at_some_places_is_that_of_all_places() -> None:
    """Fixed and adaptive basis functions are functions of the place alone."""
    sampling = make_sampling(LENGTH, 2)
    some = np.array([3, 17, 40])
    places = sampling.coordinate[None]
    every = chain_fourier_features(XP, places, places / LENGTH, 16)
    few = chain_fourier_features(XP, places[:, some], places[:, some] / LENGTH, 16)
    np.testing.assert_array_equal(few, every[:, some])
    params = {
        "t.norm.scale": np.ones(16), "t.norm.shift": np.zeros(16),
        "t.in.weight": _normal((16, 16), 0), "t.in.bias": np.zeros(16),
        "t.out.weight": _normal((16, 4), 1), "t.out.bias": np.zeros(4),
    }  # fmt: skip
    np.testing.assert_allclose(
        adaptive_basis(XP, params, "t", few),
        adaptive_basis(XP, params, "t", every)[:, some],
        atol=1e-12,
    )


def test_t9_spectral_vectors_turn_with_their_input() -> None:
    """Filters that mix channels and never x, y and z commute with rotations."""
    value, weight = _normal((1, 30, 4, 3), 0), np.ones((1, 30))
    rotation, _ = np.linalg.qr(_normal((3, 3), 1))
    params = _multiplier(4)
    turned = spectral_vectors(XP, params, "k", value @ rotation.T, weight)
    np.testing.assert_allclose(
        turned, spectral_vectors(XP, params, "k", value, weight) @ rotation.T, atol=1e-10
    )


def test_t14_output_of_the_spectral_layer_can_be_differentiated() -> None:
    """Its derivative by the transform agrees with central differences on a fine sampling."""
    count = 32
    sampling = make_sampling(64, count)
    value = _bump(sampling.coordinate, 32.0)[None]
    found = spectral_convolution(XP, _multiplier(2), "k", value, sampling.weight[None], count)[0]
    size = 4 * len(found)
    window = np.clip((sampling.coordinate - 32.0) / 32.0, -1, 1)[:, None]
    smooth = found * np.cos(0.5 * np.pi * window) ** 4
    frequency = np.fft.rfftfreq(size, 1.0 / count)
    spectrum = np.fft.rfft(smooth, size, axis=0) * (2j * np.pi * frequency[:, None])
    exact = np.fft.irfft(spectrum, size, axis=0)[1 : len(found) - 1]
    differences = (smooth[2:] - smooth[:-2]) * (0.5 * count)
    assert _relative(differences, exact) < 1e-3


def test_t14_trunk_functions_have_true_derivatives() -> None:
    """Derivatives of Fourier features by differentiation agree with central differences."""
    places = torch.linspace(5, 25, 7, dtype=torch.float64)[None].requires_grad_()
    weight = torch.tensor(_normal((16,), 0))

    def trunk(at: torch.Tensor) -> torch.Tensor:
        return torch.sin(chain_fourier_features(TORCH, at, at / LENGTH, 16) @ weight)

    (exact,) = torch.autograd.grad(trunk(places).sum(), places)
    differences = (trunk(places + 1e-3) - trunk(places - 1e-3)) / 2e-3
    differences = differences.detach()
    assert float((exact - differences).norm() / exact.norm()) < 1e-3


def test_t16_spectral_layer_does_not_know_the_length() -> None:
    """The same packet in the middle of 128 and of 256 residues has the same output around it."""
    params, results = _multiplier(2), []
    for length in (128, 256):
        sampling = make_sampling(length, 1)
        value = _bump(sampling.coordinate, length / 2)[None]
        found = spectral_convolution(XP, params, "k", value, sampling.weight[None])[0]
        results.append(found[length // 2 - 24 : length // 2 + 24])
    assert _relative(results[0], results[1]) < 1e-10
