"""What every neural operator of the library offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters

ConfigType = TypeVar("ConfigType", bound=msgspec.Struct)


class ChainInputs(NamedTuple):
    """Input functions of a batch of chains, sampled at points along them.

    All lengths in angstrom; ``batch`` chains are padded to the same number of points.

    Attributes
    ----------
    curve : Array, shape=(batch, point, 3)
        Coarse axis curve y(sigma).
    frame : Array, shape=(batch, point, 3, 3)
        Frames along the curve, rows are axes.
    secondary_structure : Array, shape=(batch, point, 4)
        c(sigma): helix, strand, loop, unspecified.
    pairing : Array, shape=(batch, point, point, 3)
        b(sigma, tau): parallel, antiparallel, crossing.
    separation : Array, shape=(batch, point, point, scale)
        Embedded signed chain separation.
    weight : Array, shape=(batch, point)
        Quadrature weights in residues; zero where padded.
    curve_error : Array, shape=(batch,)
        How far the curve may be from the true axis, angstrom.
    """

    curve: Array
    frame: Array
    secondary_structure: Array
    pairing: Array
    separation: Array
    weight: Array
    curve_error: Array


class Encoded(NamedTuple):
    """What does not change while the flow integrates: made once, used at every step."""

    inputs: ChainInputs
    mask: Array
    log_weight: Array
    node: Array
    pair: Array
    scalars: Array


class FieldPrediction(NamedTuple):
    """Clean backbone field predicted from a noisy one.

    Attributes
    ----------
    mean : Array, shape=(batch, point, 3, 3)
        N, CA, C in angstrom.
    log_sigma : Array, shape=(batch, point)
        Logarithm of the predicted standard deviation per coordinate, angstrom.
    """

    mean: Array
    log_sigma: Array


class BaseNeuralOperator(ABC, Generic[ConfigType]):
    """Maps constraint functions and a noisy backbone field to the clean field.

    Parameters
    ----------
    config : msgspec.Struct
        Sizes of the operator.
    params : dict of str to array
        Flat parameters on ``backend``; see :mod:`protein_lab.models.weights`.
    backend : Backend
    digest : str
        SHA-256 of the weights file, empty for weights that come from no file.
    card : dict
        How the weights were trained and what they measure.
    """

    name: str

    def __init__(
        self,
        config: ConfigType,
        params: Parameters,
        backend: Backend,
        *,
        digest: str = "",
        card: dict[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.params = params
        self.backend = backend
        self.digest = digest
        self.card = card or {}

    @classmethod
    @abstractmethod
    def initialize(cls, config: ConfigType, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters."""

    @abstractmethod
    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Encode everything that does not depend on the noisy field."""

    @abstractmethod
    def encode_coordinates(
        self, field: Array, time: Array, encoded: Encoded
    ) -> tuple[Array, Array, Array]:
        """Encode the noisy field as node features, pair features and scalars."""

    @abstractmethod
    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field and its standard deviation.

        Parameters
        ----------
        field : Array, shape=(batch, point, 3, 3)
            Noisy N, CA, C at ``time``, angstrom.
        time : Array, shape=(batch,)
            Flow time, 0 noise and 1 data.
        encoded : Encoded
        """

    @cached_property
    def predict(self) -> Callable[[Array, Array, Encoded], FieldPrediction]:
        """:meth:`forward_with_uncertainty`, compiled where the backend can."""
        kind, config, backend = type(self), self.config, self.backend

        def run(params: Parameters, field: Array, time: Array, encoded: Encoded) -> FieldPrediction:
            return kind(config, params, backend).forward_with_uncertainty(field, time, encoded)

        return partial(backend.compile(run), self.params)

    @cached_property
    def encode(self) -> Callable[[ChainInputs], Encoded]:
        """:meth:`encode_constraints`, compiled where the backend can."""
        kind, config, backend = type(self), self.config, self.backend

        def run(params: Parameters, inputs: ChainInputs) -> Encoded:
            return kind(config, params, backend).encode_constraints(inputs)

        return partial(backend.compile(run), self.params)

    def forward(self, field: Array, time: Array, encoded: Encoded) -> Array:
        """Predict the clean field, shape (batch, point, 3, 3), angstrom."""
        return self.forward_with_uncertainty(field, time, encoded).mean
