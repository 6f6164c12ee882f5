"""Weights are read strictly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protein_lab.errors import WeightsError
from protein_lab.models.weights import available, load_operator, save_weights
from protein_lab.settings import ASSETS
from protein_lab.training.corpus import Corpus

NAME = "enhanced_deeponet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the shipped weights to where a test may break them."""
    for ending in ("safetensors", "toml"):
        shutil.copy(ASSETS / "weights" / f"{NAME}.{ending}", tmp_path)
    return tmp_path


def test_shipped_weights_name_the_shipped_corpus() -> None:
    """The card says on which corpus the weights were trained: the one in the package."""
    assert NAME in available()
    card = load_operator(NAME, "numpy").card
    assert card["training"]["corpus_digest"] == Corpus.open().digest


def test_flipped_byte_is_found(folder: Path) -> None:
    """One changed bit in the weights file is an error, not another operator."""
    path = folder / f"{NAME}.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"SHA-256.*card says"):
        load_operator(NAME, "numpy", folder=folder)


@pytest.mark.parametrize("ending", ["safetensors", "toml"])
def test_missing_file_says_how_to_mend_it(folder: Path, ending: str) -> None:
    """A missing file is named, with the remedy."""
    (folder / f"{NAME}.{ending}").unlink()
    with pytest.raises(WeightsError, match=r"cannot be read.*PROTEIN_LAB_WEIGHTS"):
        load_operator(NAME, "numpy", folder=folder)


def test_missing_unknown_and_misshapen_parameters_are_named(folder: Path) -> None:
    """Parameters that do not fit the card's sizes are listed by name."""
    operator = load_operator(NAME, "numpy")
    params = dict(operator.params)
    params["extra"] = params.pop("sigma.bias")
    params["trunk.in.bias"] = params["trunk.in.bias"][:-1]
    save_weights(params, folder, NAME, operator.config, {})
    with pytest.raises(WeightsError, match=r"sigma.bias is missing.*extra is unknown.*trunk.in"):
        load_operator(NAME, "numpy", folder=folder)


def test_unknown_operator_lists_the_known() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(WeightsError, match=NAME):
        load_operator("perceptron", "numpy")
