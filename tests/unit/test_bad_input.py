"""What cannot be computed is refused in words: what was expected, what came, how to mend it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from protein_lab.backends import get_backend
from protein_lab.constraints.fields import Conditions
from protein_lab.design import length_range
from protein_lab.design.length_range import BINS, TRAINED, length_warning, measured_errors
from protein_lab.design.request import check_request
from protein_lab.errors import BackendError, GeometryError, WeightsError
from protein_lab.experiments.length_errors import run_lengths, write_table
from protein_lab.experiments.speed_inputs import helical_conditions
from protein_lab.flow import draw_noise, sample
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import load_operator, read_card, save_weights
from protein_lab.settings import ASSETS

NAME = "deeponet"
LENGTH = 24


@pytest.fixture(scope="module")
def operator() -> BaseNeuralOperator[Any]:
    """Give the smallest operator that has weights."""
    return load_operator(NAME, "numpy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy shipped weights to where a test may break them."""
    for ending in ("safetensors", "toml"):
        shutil.copy(ASSETS / "weights" / f"{NAME}.{ending}", tmp_path)
    return tmp_path


def _conditions(**changed: Any) -> Conditions:
    """Conditions with some of their arrays replaced."""
    good = helical_conditions(LENGTH)
    names = ("axis_curve", "secondary_structure", "pairing", "mask", "spacing")
    return Conditions(**({name: getattr(good, name) for name in names} | changed))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["noise", "axis_curve", "secondary_structure", "pairing"])
def test_fields_that_are_not_finite_are_named(
    operator: BaseNeuralOperator[Any], where: str, bad: float
) -> None:
    """The field is named, with how many numbers of it are wrong and where the first is."""
    noise = draw_noise(np.random.default_rng(0), 1, LENGTH)
    conditions = helical_conditions(LENGTH)
    values = noise if where == "noise" else np.array(getattr(conditions, where))
    values[(0,) * values.ndim] = bad
    given = conditions if where == "noise" else _conditions(**{where: values})
    with pytest.raises(GeometryError, match=where.replace("_", " ") + r" has 1 .*\(0, 0"):
        sample(operator, given, noise, 1)


@pytest.mark.parametrize("shape", [(1, LENGTH + 1, 3, 3), (1, LENGTH, 4, 3)])
def test_noise_of_another_shape_is_refused(
    operator: BaseNeuralOperator[Any], shape: tuple[int, ...]
) -> None:
    """Both shapes are told."""
    with pytest.raises(GeometryError, match=rf"\(sample, {LENGTH}, 3, 3\).*got"):
        sample(operator, helical_conditions(LENGTH), np.zeros(shape, np.float32), 1)


def test_coordinates_in_another_unit_are_refused(operator: BaseNeuralOperator[Any]) -> None:
    """A curve in nanometers, or in picometers, is not taken for one in angstrom."""
    noise = draw_noise(np.random.default_rng(0), 1, LENGTH)
    curve = np.outer(np.arange(LENGTH), (1.5, 0.0, 0.0)).astype(np.float32)
    sample(operator, _conditions(axis_curve=curve), noise, 1)
    with pytest.raises(GeometryError, match=r"angstrom.*0\.150 apart"):
        sample(operator, _conditions(axis_curve=curve / 10), noise, 1)
    with pytest.raises(GeometryError, match="angstrom"):
        sample(operator, _conditions(axis_curve=curve * 1000), noise, 1)
    with pytest.raises(GeometryError, match="error of the curve"):
        sample(operator, _conditions(axis_curve=curve), noise, 1, curve_error=-1.0)


@pytest.mark.parametrize("device", ["banana", "cuda:99", "gpu"])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_unknown_devices_are_refused(backend: str, device: str) -> None:
    """The device is named, and one that works; see also the remedy."""
    with pytest.raises(BackendError, match=device) as caught:
        get_backend(backend, device)
    assert "cpu" in str(caught.value) + caught.value.remedy


def test_bytes_that_are_no_safetensors_are_refused(folder: Path) -> None:
    """Even where the card has their digest."""
    path = folder / f"{NAME}.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    card = read_card(folder / f"{NAME}.toml")
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / f"{NAME}.toml").write_text(tomli_w.dumps(card))
    with pytest.raises(WeightsError, match="no safetensors"):
        load_operator(NAME, "numpy", folder=folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"operator": "fno"}, "of fno"),
        ({"config": {"channels": "many"}}, "this version does not know"),
        ({"config": {"channels": 128}}, "has the shape"),
    ],
)
def test_cards_of_another_version_are_refused(
    folder: Path, changes: dict[str, Any], told: str
) -> None:
    """Sizes or operator that do not belong to these weights are told, with the remedy."""
    card = read_card(folder / f"{NAME}.toml")
    card["config"] |= changes.get("config", {})
    card |= {"operator": changes.get("operator", NAME)}
    (folder / f"{NAME}.toml").write_text(tomli_w.dumps(card))
    with pytest.raises(WeightsError, match=told) as caught:
        load_operator(NAME, "numpy", folder=folder)
    assert "protein-lab train" in caught.value.remedy


def test_weights_that_are_not_finite_are_refused(
    folder: Path, operator: BaseNeuralOperator[Any]
) -> None:
    """A run that diverged does not make designs."""
    params = dict(operator.params)
    params["bias"] = np.full_like(params["bias"], np.nan)
    save_weights(params, folder, NAME, operator.config, {})
    with pytest.raises(WeightsError, match="bias holds numbers that are not finite"):
        load_operator(NAME, "numpy", folder=folder)


@pytest.mark.parametrize("length", [TRAINED[0] - 1, TRAINED[1] + 1, 2000])
def test_lengths_outside_training_are_warned_of_with_errors(length: int) -> None:
    """The request runs; the warning says what was trained and what was measured."""
    (fault,) = [f for f in check_request({"length": length}) if f.path == "$.length"]
    assert fault.severity == "warning"
    assert f"{TRAINED[0]} to {TRAINED[1]}" in fault.message
    for _, _, error in measured_errors():
        assert f"{error:.2f}" in fault.message
    assert ("Nothing was measured" in fault.message) == (length not in range(40, 769))


def test_lengths_inside_training_are_not() -> None:
    """Both ends belong to it."""
    assert [length_warning("$", length) for length in TRAINED] == [None, None]


def test_errors_by_length_are_those_of_the_shipped_weights() -> None:
    """The table names the weights that it was measured on, and has all ranges in order."""
    import tomllib

    content = tomllib.loads(length_range.TABLE.read_text())
    card = read_card(ASSETS / "weights" / "enhanced_deeponet.toml")
    assert content["weights"] == card["sha256"]
    assert tuple((low, high) for low, high, _ in measured_errors()) == BINS


def test_errors_by_length_are_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the benchmark measures is what the checks read back."""
    monkeypatch.setattr("protein_lab.experiments.length_errors.BINS", BINS[:2])
    rows = run_lengths(True, NAME, per_range=1)
    write_table(rows, "0" * 64, tmp_path / "lengths.toml")
    monkeypatch.setattr(length_range, "TABLE", tmp_path / "lengths.toml")
    measured_errors.cache_clear()
    try:
        found = measured_errors()
    finally:
        monkeypatch.undo()
        measured_errors.cache_clear()
    assert [(low, high) for low, high, _ in found] == list(BINS[:2])
    assert [error for *_, error in found] == pytest.approx([row.value for row in rows], abs=1e-3)
    assert all(0.0 < error < 20.0 for *_, error in found)
