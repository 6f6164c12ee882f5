"""Sampling of the flow: its order, and what it may not depend on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from protein_lab.collation import collate
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.flow import LIBRARY_CURVE_ERROR, draw_noise, sample, time_schedule
from protein_lab.geometry import axis_curve
from protein_lab.models.weights import load_operator
from protein_lab.training.corpus import Corpus

SHORT, LONG = "1AU7_C", "1XD3_A"


def conditions(name: str) -> Conditions:
    """Curve and secondary structure of a real chain."""
    corpus = Corpus.open()
    chain = corpus.chain(corpus.ids.index(name))
    return compile_conditions(
        chain.secondary_structure, [], [], np.asarray(axis_curve(chain.backbone[:, 1]))
    )


def euler(given: Conditions, noise: np.ndarray, steps: int) -> np.ndarray:
    """Integrate the same flow by Euler steps."""
    operator = load_operator("deeponet", "numpy")
    count = len(noise)
    inputs = collate(
        operator.backend, [given] * count, [LIBRARY_CURVE_ERROR] * count, [0.0] * count,
        operator.config.separation_scales,
    )  # fmt: skip
    encoded = operator.encode(inputs)
    field = noise + inputs.curve[:, :, None, :]
    times = time_schedule(steps)
    for now, following in pairwise(times.tolist()):
        time = np.full(count, now, dtype=np.float32)
        clean = operator.predict(field, time, encoded).mean
        field = field + (clean - field) * ((following - now) / (1.0 - now))
    return field


def test_few_steps_come_nearer_than_many_of_first_order() -> None:
    """Eight evaluations must be worth more than sixteen Euler steps, or they are too few."""
    operator, given = load_operator("deeponet", "numpy"), conditions(SHORT)
    noise = draw_noise(np.random.default_rng(0), 2, given.length)
    exact = euler(given, noise, 512)

    def error(field: np.ndarray) -> float:
        return float(np.sqrt(((field - exact) ** 2).sum(-1).mean()))

    drawn = sample(operator, given, noise, 8).field
    assert error(drawn) < 0.1
    assert error(drawn) < error(euler(given, noise, 16))
    assert error(sample(operator, given, noise, 32).field) < error(drawn)


@pytest.mark.parametrize("name", [SHORT, LONG])
def test_samples_do_not_depend_on_their_neighbors(name: str) -> None:
    """A sample comes out the same alone and among others, whether or not they are split up."""
    operator, given = load_operator("deeponet", "numpy"), conditions(name)
    noise = draw_noise(np.random.default_rng(0), 3, given.length)
    seen: list[tuple[int, int]] = []
    together = sample(operator, given, noise, 3, progress=lambda *done: seen.append(done))
    alone = sample(operator, given, noise[1:2], 3)
    np.testing.assert_allclose(together.field[1], alone.field[0], atol=2e-3)
    np.testing.assert_allclose(together.sigma[1], alone.sigma[0], rtol=1e-3)
    assert seen[-1][0] == seen[-1][1] == len(seen)
