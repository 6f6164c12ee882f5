"""The speed benchmark measures what it says, and what it made the operators do stays done."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from protein_lab import flow
from protein_lab.backends import get_backend
from protein_lab.collation import collate
from protein_lab.errors import ProteinLabError
from protein_lab.experiments import speed
from protein_lab.experiments.speed_arrays import watched_shapes
from protein_lab.experiments.speed_baseline import seconds_of_a_backbone
from protein_lab.experiments.speed_inputs import forward_inputs, helical_conditions
from protein_lab.experiments.speed_parity import compare_backends_in_process
from protein_lab.flow import draw_noise, sample
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import OPERATORS
from protein_lab.operators import kernel
from protein_lab.training.corpus import Corpus

LENGTH = 40
SMALL: dict[str, dict[str, Any]] = {
    "enhanced_deeponet": {"channels": 32, "heads": 2, "pair_channels": 8, "dilations": (1,)},
    "fno": {"channels": 32, "spectral_channels": 16, "vector_channels": 4, "dilations": (1,)},
}


def _operator(name: str, backend: str = "torch", dtype: str = "float32") -> BaseNeuralOperator[Any]:
    kind, config_kind = OPERATORS[name]
    config = msgspec.convert(SMALL[name], config_kind)
    xp = get_backend(backend)
    params = kind.initialize(config, np.random.default_rng(0))
    return kind(config, {key: xp.asarray(value, dtype) for key, value in params.items()}, xp)


def _predicted(operator: BaseNeuralOperator[Any]) -> NDArray[Any]:
    inputs, field = forward_inputs(operator, LENGTH)
    time = operator.backend.asarray(np.full(1, 0.5))
    return operator.backend.to_numpy(operator.predict(field, time, operator.encode(inputs)).mean)


def test_powers_are_found() -> None:
    """An exact power law gives its power; a noisy one an interval that holds it."""
    lengths = [64.0, 128.0, 256.0, 512.0] * 4
    exact = [3e-6 * length**1.7 for length in lengths]
    assert speed.fit_power(lengths, exact)[0] == pytest.approx(1.7)
    noise = np.random.default_rng(0).normal(scale=0.1, size=len(lengths))
    noisy = [value * factor for value, factor in zip(exact, np.exp(noise), strict=True)]
    power, low, high = speed.fit_power(lengths, noisy)
    assert low < 1.7 < high
    assert low < power < high


def test_the_rival_has_the_size_of_foldingdiff() -> None:
    """About 14 million weights, and its time is that of all steps, not of those that were run."""
    one, size = seconds_of_a_backbone(get_backend("torch"), 8, 2)
    assert 13.5e6 < size < 15.0e6
    assert one > 0.0


def test_requests_are_those_of_held_out_chains() -> None:
    """They are valid, of about 100 residues, and always the same."""
    asked = speed.held_out_requests(Corpus.open(), 3)
    assert asked == speed.held_out_requests(Corpus.open(), 3)
    for request in asked:
        assert not any(fault.severity == "error" for fault in request.check())


def test_the_fno_makes_no_array_of_pairs_and_the_flagship_does() -> None:
    """The watch sees them where they are."""
    assert watched_shapes(_operator("fno", "numpy")) == []
    assert watched_shapes(_operator("enhanced_deeponet", "numpy"))


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_partners_alone_are_as_good_as_all_pairs(backend: str) -> None:
    """The FNO predicts the same from the paired points as from the whole pairing function."""
    operator = _operator("fno", backend)
    chains = [helical_conditions(LENGTH), helical_conditions(LENGTH + 9)]
    xp = operator.backend
    field = xp.asarray(np.random.default_rng(0).normal(size=(2, LENGTH + 9, 3, 3)))
    found = []
    for all_pairs in (True, False):
        inputs = collate(xp, chains, [1.0, 1.0], [0.0, 0.3], 8, all_pairs=all_pairs)
        encoded = operator.encode(inputs)
        found.append(xp.to_numpy(operator.forward(field, xp.asarray(np.full(2, 0.5)), encoded)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_rows_at_a_time_are_as_good_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flagship cuts pairs of long chains into rows, which changes nothing."""
    operator = _operator("enhanced_deeponet")
    whole = _predicted(operator)
    monkeypatch.setattr(kernel, "WHOLE_PAIRS", 10)
    monkeypatch.setattr(kernel, "_PAIRS_AT_ONCE", 7 * LENGTH)
    np.testing.assert_allclose(_predicted(operator), whole, atol=1e-5)


def test_long_chains_are_drawn_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples come out in order whatever their groups, and progress ends at the last step."""
    operator, told = _operator("enhanced_deeponet"), list[tuple[int, int]]()
    noise, conditions = draw_noise(np.random.default_rng(0), 3, LENGTH), helical_conditions(LENGTH)
    whole = sample(operator, conditions, noise, 2)
    monkeypatch.setattr(flow, "_PAIRS_AT_ONCE", 2 * LENGTH**2)
    parts = sample(operator, conditions, noise, 2, progress=lambda *at: told.append(at))
    np.testing.assert_allclose(parts.field, whole.field, atol=1e-4)
    np.testing.assert_allclose(parts.sigma, whole.sigma, atol=1e-4)
    assert told[-1] == (4, 4)
    assert told == sorted(told)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
)
def test_too_little_memory_takes_fewer_samples(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples are halved with a warning until they fit; one that does not fit is told."""
    operator, limit = _operator("enhanced_deeponet"), [1]
    noise, conditions = draw_noise(np.random.default_rng(0), 3, LENGTH), helical_conditions(LENGTH)
    whole = sample(operator, conditions, noise, 1)
    collate_all = flow.collate

    def small_machine(backend: Any, chains: Any, *rest: Any, **options: Any) -> Any:
        if len(chains) > limit[0]:
            raise error
        return collate_all(backend, chains, *rest, **options)

    monkeypatch.setattr(flow, "collate", small_machine)
    with pytest.warns(ResourceWarning, match="did not fit in memory"):
        parts = sample(operator, conditions, noise, 1)
    np.testing.assert_allclose(parts.field, whole.field, atol=1e-4)
    limit[0] = 0
    with (
        pytest.warns(ResourceWarning),
        pytest.raises(ProteinLabError, match=f"not enough memory .* {LENGTH} residues"),
    ):
        sample(operator, conditions, noise, 1)


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on as they are."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(flow, "collate", broken)
    noise = draw_noise(np.random.default_rng(0), 2, LENGTH)
    with pytest.raises(RuntimeError, match="shapes differ"):
        sample(_operator("fno"), helical_conditions(LENGTH), noise, 1)


def test_backends_are_compared_in_a_process_of_their_own() -> None:
    """The figures of the smallest operator are there and within the limits of the benchmark."""
    figures = compare_backends_in_process(["deeponet"])["deeponet"]
    assert figures["float64"] < 1e-10
    assert figures["float32"] < 1e-5
    assert figures["gradients"] < 1e-4
    assert figures["sampling"] < 1e-3
