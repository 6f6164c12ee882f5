"""Weights on disk: safetensors with a TOML card, read strictly and verified by digest."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.errors import WeightsError
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.curve_deeponet import CurveDeepONet, CurveDeepONetConfig
from protein_lab.models.deeponet import DeepONetConfig, ProteinDeepONet
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.fno import FNOConfig, ProteinFNO
from protein_lab.models.quality import QualityConfig, QualityOperator
from protein_lab.models.sequence import SequenceConfig, SequenceOperator
from protein_lab.models.transformer import ProteinTransformer, TransformerConfig
from protein_lab.settings import Settings

OPERATORS: dict[str, tuple[type[Any], type[msgspec.Struct]]] = {
    EnhancedProteinDeepONet.name: (EnhancedProteinDeepONet, EnhancedDeepONetConfig),
    CurveDeepONet.name: (CurveDeepONet, CurveDeepONetConfig),
    ProteinFNO.name: (ProteinFNO, FNOConfig),
    SequenceOperator.name: (SequenceOperator, SequenceConfig),
    ProteinDeepONet.name: (ProteinDeepONet, DeepONetConfig),
    ProteinTransformer.name: (ProteinTransformer, TransformerConfig),
    QualityOperator.name: (QualityOperator, QualityConfig),
}
COMPANIONS = (CurveDeepONet.name, SequenceOperator.name, QualityOperator.name)
"""Weights that work with those of every operator: coarse curves, sequences, predicted quality."""

MAX_BYTES = 1 << 30


def available(folder: Path | None = None) -> list[str]:
    """Names of the operators that have weights in ``folder`` (the shipped ones by default)."""
    where = folder or Settings.from_environment().weights
    return [name for name in OPERATORS if (where / f"{name}.safetensors").is_file()]


def weights_digest(operator: str, folder: Path) -> str:
    """Identify all weights that a request for an operator can use, by what their cards say.

    A calibration that lies beside the weights decides what uncertainty a design gets, so it has a
    part in the identity.

    Parameters
    ----------
    operator : str
    folder : Path
        Where weights and cards lie.

    Returns
    -------
    str
        SHA-256 over the names and digests of the operator, of the :data:`COMPANIONS` there, and
        of the calibration.

    Raises
    ------
    WeightsError
        If the operator's card is missing or broken.
    """
    names = [operator, *(n for n in COMPANIONS if (folder / f"{n}.toml").is_file())]
    cards = {name: read_card(folder / f"{name}.toml") for name in names}
    lines = [f"{name} {card['sha256']}" for name, card in cards.items()]
    for name, card in cards.items():
        if "calibration" in card:  # what predictions mean decides checks too
            text = json.dumps(card["calibration"], sort_keys=True)
            lines.append(f"{name} calibration {hashlib.sha256(text.encode()).hexdigest()}")
    calibration = calibration_file(operator, folder)
    if calibration.is_file():
        lines.append(f"calibration {hashlib.sha256(_read_bytes(calibration)).hexdigest()}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def calibration_file(operator: str, folder: Path) -> Path:
    """Name the file beside the weights of an operator that calibrates its uncertainty."""
    return folder / f"{operator}.uncertainty.json"


def load_operator(
    name: str = "enhanced_deeponet",
    backend: str = "auto",
    *,
    device: str = "cpu",
    folder: Path | None = None,
) -> BaseNeuralOperator[Any]:
    """Load a trained operator.

    Parameters
    ----------
    name : str
        One of :data:`OPERATORS`.
    backend : {"auto", "numpy", "torch", "jax"}
    device : str
    folder : Path, optional
        Where ``NAME.safetensors`` and ``NAME.toml`` lie; the shipped weights by default.

    Returns
    -------
    BaseNeuralOperator
        With ``digest`` (SHA-256 of the weights file) and ``card``.

    Raises
    ------
    WeightsError
        If the operator is unknown, a file is missing or broken, the digest is not the card's, or
        a parameter is missing, unknown or of another shape.
    """
    if name not in OPERATORS:
        raise WeightsError(
            f"The operator must be one of {', '.join(OPERATORS)}, but it is {name!r}."
        )
    return _load(name, backend, device, folder)


def load_sequence_operator(
    backend: str = "auto", *, device: str = "cpu", folder: Path | None = None
) -> SequenceOperator:
    """Load the trained sequence operator; parameters and errors as in :func:`load_operator`."""
    return _load(SequenceOperator.name, backend, device, folder)


def load_quality_operator(
    backend: str = "auto", *, device: str = "cpu", folder: Path | None = None
) -> QualityOperator:
    """Load the trained quality operator; parameters and errors as in :func:`load_operator`."""
    return _load(QualityOperator.name, backend, device, folder)


def _load(name: str, backend: str, device: str, folder: Path | None) -> Any:
    """Load any operator from its two files."""
    where = folder or Settings.from_environment().weights
    path = where / f"{name}.safetensors"
    card = read_card(path.with_suffix(".toml"))
    data = _read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["sha256"]:
        raise WeightsError(
            f"The weights {path} have the SHA-256 {digest[:16]}…, "
            f"but their card says {str(card['sha256'])[:16]}….",
            "The file is damaged or belongs to another card: install the weights again.",
        )
    kind, config_kind = OPERATORS[name]
    if card.get("operator", name) != name:
        raise WeightsError(
            f"Expected weights of {name}, but the card {path.with_suffix('.toml')} is of "
            f"{card['operator']}.",
            _REMEDY,
        )
    try:
        config = msgspec.convert(card["config"], config_kind)
    except msgspec.ValidationError as error:
        raise WeightsError(
            f"The card {path.with_suffix('.toml')} has sizes that this version does not know "
            f"({error}).",
            _REMEDY,
        ) from error
    arrays = _parse(data, path)
    _check_shapes(arrays, kind.initialize(config, np.random.default_rng(0)), path)
    chosen = get_backend(backend, device)
    params = {key: chosen.asarray(value) for key, value in arrays.items()}
    return kind(config, params, chosen, digest=digest, card=card)


def read_card(path: Path) -> dict[str, Any]:
    """Read a card.

    Raises
    ------
    WeightsError
        If it is missing, not TOML, or lacks ``sha256`` or ``config``.
    """
    try:
        card = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"The card {path} cannot be read ({error}).", _REMEDY) from error
    missing = [key for key in ("sha256", "config") if key not in card]
    if missing:
        raise WeightsError(f"The card {path} lacks {', '.join(missing)}.", _REMEDY)
    return card


def save_weights(
    params: Mapping[str, NDArray[Any]],
    folder: Path,
    name: str,
    config: msgspec.Struct,
    card: Mapping[str, Any],
) -> str:
    """Write weights and card; returns the SHA-256 of the weights file.

    Parameters
    ----------
    params : mapping of str to ndarray
    folder : Path
    name : str
    config : msgspec.Struct
        Sizes of the operator.
    card : mapping
        Provenance and measured quality: what TOML can hold.
    """
    import tomli_w
    from safetensors.numpy import save

    data = save({key: np.ascontiguousarray(params[key]) for key in sorted(params)})
    digest = hashlib.sha256(data).hexdigest()
    content = {
        "operator": name,
        "sha256": digest,
        "num_parameters": int(sum(value.size for value in params.values())),
        "config": msgspec.to_builtins(config),
        **card,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.safetensors", data)
    write_atomically(folder / f"{name}.toml", tomli_w.dumps(content).encode())
    return digest


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


_REMEDY = (
    "Install the package again, or set PROTEIN_LAB_WEIGHTS to a folder with NAME.safetensors "
    "and NAME.toml made by: protein-lab train NAME."
)


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"The weights {path} have {size} bytes, over the {MAX_BYTES} limit.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights {path} cannot be read ({error}).", _REMEDY) from error


def _parse(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"The weights {path} are no safetensors ({error}).", _REMEDY) from error


def _check_shapes(
    found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], path: Path
) -> None:
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is unknown" for name in found if name not in expected]
    faults += [
        f"{name} has the shape {found[name].shape}, not {expected[name].shape}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    faults += [
        f"{name} holds numbers that are not finite"
        for name, value in found.items()
        if not np.isfinite(value).all()
    ]
    if faults:
        shown = "; ".join(faults[:3])
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WeightsError(f"The weights {path} do not fit their card: {shown}{more}.", _REMEDY)
