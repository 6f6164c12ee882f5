"""What the configurations and untrained parameters of all operators have in common."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class OperatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and scales that every operator has.

    Attributes
    ----------
    time_channels : int
        Features of the embedded flow time.
    separation_scales : int
        Scales of the embedded chain separation of pairs of points.
    prior_scale : float
        Standard deviation of the prior around the curve, angstrom.
    prior_correlation : float
        Correlation length of the prior, residues.
    data_scale : float
        Standard deviation of the clean field around its own axis curve, angstrom.
    """

    time_channels: int = 64
    separation_scales: int = 8
    prior_scale: float = 3.0
    prior_correlation: float = 2.0
    data_scale: float = 1.8


class Initializer:
    """Collects named parameters; dense weights have variance gain^2 / inputs.

    Parameters
    ----------
    rng : Generator
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.params: dict[str, NDArray[Any]] = {}

    def dense(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        """Add weight (input, output) and bias of an affine map."""
        self.normal(f"{name}.weight", (inputs, outputs), gain / math.sqrt(inputs))
        self.params[f"{name}.bias"] = np.zeros(outputs, dtype=np.float32)

    def normal(self, name: str, shape: tuple[int, ...], scale: float) -> None:
        """Add an array of Gaussian entries of standard deviation ``scale``."""
        self.params[name] = (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def norm(self, name: str, width: int) -> None:
        """Add scale and shift of a normalization."""
        self.params[f"{name}.scale"] = np.ones(width, dtype=np.float32)
        self.params[f"{name}.shift"] = np.zeros(width, dtype=np.float32)
