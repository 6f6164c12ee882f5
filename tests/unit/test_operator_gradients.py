"""The derivatives of layers and losses match differences (test T11 of the operators)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.models.base import FieldPrediction
from protein_lab.operators.embedding import neighbors_in_frame
from protein_lab.operators.kernel import quadrature_attention
from protein_lab.operators.moments import (
    moment_functions,
    moments,
    pair_moments,
)
from protein_lab.operators.pairing import pairing_kernels, pairing_means
from protein_lab.operators.spectral import (
    KNOTS,
    spectral_convolution,
    spectral_vectors,
)
from protein_lab.training.losses import flow_losses

TORCH = get_backend("torch")
Values = NDArray[np.float64]


def _normal(shape: tuple[int, ...], seed: int) -> Values:
    return np.random.default_rng(seed).standard_normal(shape)


ATTENTION = {
    f"a.{part}.{kind}": value
    for index, part in enumerate(("query", "key", "value"))
    for kind, value in (("weight", _normal((8, 8), index)), ("bias", np.zeros(8)))
} | {"a.out.weight": _normal((8 + 2 * 6, 8), 9) / 4, "a.out.bias": np.zeros(8)}


def _gradcheck(function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
    values = [
        torch.tensor(_normal(shape, seed)).requires_grad_() for seed, shape in enumerate(shapes)
    ]
    assert torch.autograd.gradcheck(function, values, eps=1e-6, atol=3e-5, rtol=3e-4)


WEIGHT = torch.tensor([[1.0, 0.5, 1.0, 1.0, 0.0]], dtype=torch.float64)


def test_t11_gradients_of_the_spectral_layer() -> None:
    """Derivatives by value and by multiplier match differences, scalars and vectors."""

    def scalars(value: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
        return spectral_convolution(TORCH, {"k.multiplier": multiplier}, "k", value, WEIGHT)

    def vectors(value: torch.Tensor, multiplier: torch.Tensor) -> torch.Tensor:
        return spectral_vectors(TORCH, {"k.multiplier": multiplier}, "k", value, WEIGHT)

    _gradcheck(scalars, (1, 5, 2), (len(KNOTS), 2, 1, 2))
    _gradcheck(vectors, (1, 5, 1, 3), (len(KNOTS), 1, 1, 2))


def test_t11_gradients_of_attention_and_frames() -> None:
    """Derivatives by value, kernel, coordinates, origin and frame match differences."""
    params = {name: torch.tensor(value) for name, value in ATTENTION.items()}

    def attention(*given: torch.Tensor) -> torch.Tensor:
        value, bias, points, origin, frame = given
        return quadrature_attention(
            TORCH, params, "a", value, bias=bias, log_weight=torch.log(WEIGHT[:, :4]),
            points=points, origin=origin, frame=frame, num_heads=2,
        )  # fmt: skip

    _gradcheck(attention, (1, 4, 8), (1, 2, 4, 4), (1, 4, 6), (1, 4, 3), (1, 4, 3, 3))

    def seen(field: torch.Tensor, origin: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        return neighbors_in_frame(TORCH, field, origin, frame, (WEIGHT > 0) * 1.0, (-1, 0, 2))

    _gradcheck(seen, (1, 5, 2, 3), (1, 5, 3), (1, 5, 3, 3))


def test_t11_gradients_of_pairing_and_moments() -> None:
    """Derivatives of means over partners and of moments match differences."""
    pairing = torch.tensor(_normal((1, 5, 5, 2), 7) ** 2)

    def partners(value: torch.Tensor, curve: torch.Tensor) -> torch.Tensor:
        kernel, _ = pairing_kernels(TORCH, pairing, curve, WEIGHT)
        return pairing_means(TORCH, kernel, value)

    def measured(value: torch.Tensor, pairs: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        functions = moment_functions(TORCH, torch.sigmoid(places), 4)
        one = moments(TORCH, functions, value, WEIGHT)
        return torch.cat([one, pair_moments(TORCH, functions, pairs, WEIGHT)], dim=1)

    _gradcheck(partners, (1, 5, 2), (1, 5, 3))
    _gradcheck(measured, (1, 5, 2), (1, 5, 5, 1), (1, 5))


def test_t11_gradients_of_the_losses() -> None:
    """Derivatives by the predicted field match differences.

    The negative log-likelihood holds the error of the mean fixed, so only the other terms have
    the derivative of their value; by the uncertainty all have it.
    """
    target = torch.tensor(_normal((1, 5, 3, 3), 5))
    mask = (WEIGHT > 0) * torch.ones((), dtype=torch.float64)
    scale = torch.tensor([0.7], dtype=torch.float64)

    def mean_terms(mean: torch.Tensor) -> tuple[torch.Tensor, ...]:
        prediction = FieldPrediction(mean, torch.zeros_like(WEIGHT))
        parts = flow_losses(TORCH, prediction, target, mask, scale)[1]
        return parts["field"], parts["bonds"], parts["contacts"]

    def likelihood(log_sigma: torch.Tensor) -> torch.Tensor:
        return flow_losses(TORCH, FieldPrediction(target * 0.5, log_sigma), target, mask, scale)[0]

    _gradcheck(mean_terms, (1, 5, 3, 3))
    _gradcheck(likelihood, (1, 5))
