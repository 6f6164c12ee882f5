"""The three operators map functions to functions: sampling, length, place and hand.

The numbers T1 ... T16 are those of docs/operators.md. Weights are untrained: what is tested is how
an operator is built. The flow time is 0.5 throughout.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.experiments.operator_measures import (
    mirror_difference,
    moved_chain,
    observed_order,
    rotation_error,
    sampling_errors,
)
from protein_lab.experiments.operator_sampling import (
    ChainFunctions,
    make_sampling,
    smooth_chain,
)
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.weights import OPERATORS
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus
from protein_lab.training.tasks import FieldTask

NAMES = ("enhanced_deeponet", "fno", "deeponet")
WITH_BASELINE = (*NAMES, "transformer")
"""Beside the operators the plain transformer, which has to be a sound network, not an operator."""

LENGTH = 24
SMALL: dict[str, dict[str, Any]] = {
    "enhanced_deeponet": {"channels": 32, "heads": 2, "pair_channels": 8, "dilations": (1, 2)},
    "fno": {"channels": 32, "spectral_channels": 16, "vector_channels": 4, "dilations": (1, 2)},
    "deeponet": {"channels": 64, "basis": 32},
    "transformer": {"channels": 48, "heads": 4, "blocks": 2},
}
"""Two blocks in place of six: what holds for two holds for six, and tests stay fast."""

SILENT = {
    "enhanced_deeponet": ("attention.key.bias", "pair.bias.bias"),
    "transformer": ("pairing.bias.bias",),
}
"""Parameters without effect: they add a constant to the logits of a softmax."""


@cache
def _operator(name: str, dtype: str = "float64", backend: str = "torch") -> BaseNeuralOperator[Any]:
    kind, config_kind = OPERATORS[name]
    config = msgspec.convert(SMALL[name], config_kind)
    xp = get_backend(backend)
    params = kind.initialize(config, np.random.default_rng(0))
    return kind(config, {key: xp.asarray(value, dtype) for key, value in params.items()}, xp)


def _predict(
    operator: BaseNeuralOperator[Any], inputs: ChainInputs, field: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean relative to the curve, and logarithm of the standard deviation."""
    xp = operator.backend
    dtype = str(field.dtype).rpartition(".")[2]
    time = xp.asarray(np.full(field.shape[0], 0.5), dtype)
    found = operator.forward_with_uncertainty(field, time, operator.encode_constraints(inputs))
    mean = xp.to_numpy(found.mean - inputs.curve[:, :, None, :])
    return mean, xp.to_numpy(found.log_sigma)


@pytest.mark.parametrize("name", NAMES)
def test_t1_finer_sampling_converges(name: str) -> None:
    """Errors at residues fall with second order from L to 3L cells, and at least first for ends.

    With an odd number of points a residue all points are centers of cells and the order is two.
    With an even number there are points right at the ends, where neighbors past the end begin:
    such a jump costs the trapezoid rule one order.
    """
    chain = smooth_chain(np.random.default_rng(1), LENGTH, 4)
    counts = (1, 2, 3, 4)
    error = dict(zip(counts, sampling_errors(_operator(name), chain, counts, 9), strict=True))
    assert error[1] < 2e-2
    assert error[3] < 2e-3
    assert observed_order(error, 1, 3) > 1.8
    assert observed_order(error, 2, 4) > 0.8


@pytest.mark.parametrize("name", WITH_BASELINE)
def test_t4_neither_padding_nor_batch_matters(name: str) -> None:
    """A chain alone, padded, and elsewhere in the batch: the same to the last digits."""
    operator = _operator(name)
    chains = [smooth_chain(np.random.default_rng(k), length) for k, length in ((1, 24), (2, 37))]
    single = [
        _predict(operator, *chain.inputs(operator.backend, make_sampling(chain.length, 1), 8,
                                         dtype="float64"))
        for chain in chains
    ]  # fmt: skip
    for order in ((0, 1), (1, 0)):
        inputs, field = _padded([chains[k] for k in order], operator)
        mean, sigma = _predict(operator, inputs, field)
        for row, k in enumerate(order):
            length = chains[k].length
            np.testing.assert_allclose(mean[row, :length], single[k][0][0], atol=1e-9)
            np.testing.assert_allclose(sigma[row, :length], single[k][1][0], atol=1e-9)


def _padded(
    chains: list[ChainFunctions], operator: BaseNeuralOperator[Any]
) -> tuple[ChainInputs, Any]:
    """Batch chains of different lengths; the padding holds anything but numbers to be used."""
    xp = operator.backend
    size = max(chain.length for chain in chains)
    rows = [
        chain.inputs(get_backend("numpy"), make_sampling(chain.length, 1), 8, dtype="float64")
        for chain in chains
    ]

    def pad(values: list[NDArray[Any]], fill: float, pairs: bool = False) -> Any:
        padded = []
        for value in values:
            short = size - value.shape[1]
            widths = [(0, 0), (0, short), (0, short if pairs else 0)] + [(0, 0)] * 9
            padded.append(np.pad(value, widths[: value.ndim], constant_values=fill))
        return xp.asarray(np.concatenate(padded), "float64")

    field = pad([row[1] for row in rows], 7.0)
    fills = {"weight": 0.0, "curve": -3.0, "frame": 0.5, "coordinate": 99.0}
    columns = {
        key: pad(
            [getattr(row[0], key) for row in rows],
            fills.get(key, 1.0),
            pairs=key in ("pairing", "separation"),
        )
        for key in ChainInputs._fields
        if key not in ("curve_error", "partner", "partner_pairing")
    }
    errors = np.concatenate([row[0].curve_error for row in rows])
    return ChainInputs(**columns, curve_error=xp.asarray(errors, "float64")), field


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
def test_t9_output_turns_and_shifts_with_the_input(name: str, dtype: str, tolerance: float) -> None:
    """Rigid motions of curve, frames and field move the prediction alike."""
    chain = smooth_chain(np.random.default_rng(3), LENGTH)
    assert rotation_error(_operator(name, dtype), chain, dtype) < tolerance


@pytest.mark.parametrize("name", NAMES)
def test_t10_the_mirror_image_is_another_chain(name: str) -> None:
    """Frames stay right-handed, so a mirrored input does not give the mirrored output."""
    chain = smooth_chain(np.random.default_rng(3), LENGTH)
    frames = moved_chain(chain, np.diag([1.0, 1.0, -1.0]), np.zeros(3)).frame(np.arange(1.0, 5.0))
    np.testing.assert_allclose(np.linalg.det(frames), 1.0, atol=1e-9)
    assert mirror_difference(_operator(name), chain, "float64") > 1e-3


def test_the_baseline_is_no_operator() -> None:
    """The transformer is as large as the flagship, but its output does not turn with its input."""
    sizes = [
        sum(v.size for v in kind.initialize(config(), np.random.default_rng(0)).values())
        for kind, config in (OPERATORS["transformer"], OPERATORS["enhanced_deeponet"])
    ]
    assert abs(sizes[0] / sizes[1] - 1.0) < 0.05
    chain = smooth_chain(np.random.default_rng(3), LENGTH)
    assert rotation_error(_operator("transformer"), chain, "float64") > 1e-3


def _task(name: str, max_length: int) -> tuple[FieldTask, dict[str, Any]]:
    """Return a training task of the small operator, and its untrained parameters on torch."""
    kind, config_kind = OPERATORS[name]
    config, xp = msgspec.convert(SMALL[name], config_kind), get_backend("torch")
    options = BatchOptions(residues=4 * max_length, max_length=max_length)
    task = FieldTask(kind, config, xp, Corpus.open(), "train", options, 0)
    drawn = kind.initialize(config, np.random.default_rng(0))
    return task, {key: xp.asarray(value) for key, value in drawn.items()}


@pytest.mark.parametrize("name", WITH_BASELINE)
def test_t12_every_parameter_learns(name: str) -> None:
    """Untrained loss is near that of predicting nothing at unit scale; all gradients are alive."""
    task, params = _task(name, 64)
    # several batches together: some chains have pairs, some have none
    batch = task.to_backend([chain for step in range(3) for chain in task.source.batch(step)])
    loss, parts, gradients = task.backend.value_and_grad(task.loss)(params, *batch)
    assert np.isfinite(float(loss))
    assert 0.5 < float(parts["field"]) < 2.0
    for key, gradient in gradients.items():
        values = task.backend.to_numpy(gradient)
        assert np.isfinite(values).all(), key
        if key.endswith(SILENT.get(name, ())):
            assert np.abs(values).max() < 1e-5, key
        else:
            assert np.abs(values).max() > 1e-5, key


@pytest.mark.parametrize("name", WITH_BASELINE)
def test_t12_one_chain_can_be_learned_by_heart(name: str) -> None:
    """A few steps on one noisy field bring its prediction within half an angstrom."""
    task, params = _task(name, 24)
    xp = task.backend
    inputs, target, noise, _ = task.to_backend(task.source.batch(0)[:1])
    batch = (inputs, target, noise, xp.asarray(np.array([0.3])))
    optimizer, differentiate = xp.optimizer(params, 0.0), xp.value_and_grad(task.loss)

    def deviation() -> float:
        operator = task.kind(task.config, params, xp)
        noisy = (inputs.curve[:, :, None, :] + noise) * 0.7 + target * 0.3
        encoded = operator.encode_constraints(inputs)
        error = xp.to_numpy(operator.forward(noisy, batch[3], encoded) - target)
        return float(np.sqrt((error**2).sum(-1).mean()))

    before = deviation()
    for step in range(110):
        _, _, gradients = differentiate(params, *batch)
        optimizer.step(gradients, 2e-3 if step < 80 else 3e-4)
    assert before > 1.0
    assert deviation() < 0.5


def test_t15_lengths_may_change_their_unit() -> None:
    """Frames have no unit, and the scales of the flow follow that of lengths.

    The networks themselves take angstrom and nothing else: their features are distances over
    fixed lengths, so feeding them nanometers is not offered.
    """
    operator = _operator("fno", backend="numpy")
    config = msgspec.structs.replace(operator.config, prior_scale=0.3, data_scale=0.18)
    small = type(operator)(config, operator.params, operator.backend)
    time, error = np.array([0.1, 0.9]), np.array([1.0, 2.0])
    angstrom = operator.preconditioning(time, error)
    nanometer = small.preconditioning(time, error / 10)
    np.testing.assert_allclose(nanometer[0], angstrom[0] * 10, rtol=1e-12)
    np.testing.assert_allclose(nanometer[1], angstrom[1], rtol=1e-12)
    np.testing.assert_allclose(nanometer[2], angstrom[2] / 10, rtol=1e-12)
