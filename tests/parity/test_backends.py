"""The three backends give the same designs from the same weights and the same noise."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.collation import collate
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import axis_curve
from protein_lab.models.weights import load_operator
from protein_lab.training.corpus import CorpusChain


def _conditions(chain: CorpusChain) -> Conditions:
    return compile_conditions(chain.secondary_structure, [], [], axis_curve(chain.backbone[:, 1]))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_trained_flow_agrees_with_numpy(name: str, real_chains: list[CorpusChain]) -> None:
    """All steps from shared noise end within 1e-3 angstrom of each other."""
    chain = min(real_chains, key=lambda c: len(c.sequence))
    noise = draw_noise(np.random.default_rng(1), 2, len(chain.sequence))
    reference = sample(load_operator(backend="numpy"), _conditions(chain), noise)
    other = sample(load_operator(backend=name), _conditions(chain), noise)
    np.testing.assert_allclose(other.field, reference.field, atol=1e-3)
    np.testing.assert_allclose(other.sigma, reference.sigma, rtol=1e-3)


def test_padding_changes_nothing(real_chains: list[CorpusChain]) -> None:
    """A chain alone and the same chain padded in a batch with a longer one are predicted alike."""
    short, long = sorted(real_chains, key=lambda c: len(c.sequence))[:2]
    operator = load_operator(backend="numpy")
    chains = [_conditions(short), _conditions(long)]
    scales = operator.config.separation_scales
    alone = collate(operator.backend, chains[:1], [1.0], [0.0], scales)
    both = collate(operator.backend, chains, [1.0, 1.0], [0.0, 0.0], scales)
    size = len(short.sequence)
    noise = draw_noise(np.random.default_rng(2), 1, len(long.sequence))
    time = np.full(2, 0.5, dtype=np.float32)
    field = np.repeat(noise, 2, axis=0) + both.curve[:, :, None, :]
    padded = operator.forward(field, time, operator.encode_constraints(both))
    single = operator.forward(field[:1, :size], time[:1], operator.encode_constraints(alone))
    np.testing.assert_allclose(padded[:1, :size], single, atol=2e-4)


def test_field_turns_and_shifts_with_its_input(real_chains: list[CorpusChain]) -> None:
    """Moving curve and noise as a rigid body moves the design; mirroring does not mirror it."""
    chain = min(real_chains, key=lambda c: len(c.sequence))
    operator = load_operator(backend="numpy")
    rng = np.random.default_rng(3)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    noise = draw_noise(rng, 1, len(chain.sequence))
    still = _conditions(chain)

    def draw(matrix: np.ndarray, shift: float) -> np.ndarray:
        moved = Conditions(
            (still.axis_curve @ matrix.T + shift).astype(np.float32),
            still.secondary_structure,
            still.pairing,
            still.mask,
        )
        return sample(operator, moved, (noise @ matrix.T).astype(np.float32), 5).field

    base = draw(np.eye(3), 0.0)
    np.testing.assert_allclose(draw(rotation, 20.0), base @ rotation.T + 20.0, atol=5e-3)
    mirror = np.diag([1.0, 1.0, -1.0])
    assert np.abs(draw(mirror, 0.0) - base @ mirror).max() > 0.1


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_gradients_agree_with_differences(name: str) -> None:
    """The derivative of a composite of backend operations matches central differences."""
    backend = get_backend(name)

    def loss(params: dict, scale: float) -> tuple:
        value = backend.softmax(backend.silu(params["x"]) * scale)
        return backend.sum(backend.sin(value) * params["x"], axis=(0, 1)), {}

    x = np.random.default_rng(0).standard_normal((3, 4))
    function = backend.value_and_grad(loss)
    value, _, gradients = function({"x": backend.asarray(x)}, 1.5)
    step = np.zeros_like(x)
    step[1, 2] = 1e-2
    above, _, _ = function({"x": backend.asarray(x + step)}, 1.5)
    below, _, _ = function({"x": backend.asarray(x - step)}, 1.5)
    expected = (float(above) - float(below)) / 2e-2
    assert np.isfinite(float(value))
    assert float(backend.to_numpy(gradients["x"])[1, 2]) == pytest.approx(expected, abs=2e-3)
