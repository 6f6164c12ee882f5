"""What every neural operator of the library offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.models.parameters import OperatorConfig

ConfigType = TypeVar("ConfigType", bound=OperatorConfig)


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
    coordinate : Array, shape=(batch, point)
        Place sigma of every point, residues from the start of the chain; the first residue is
        the cell from 0 to 1, with its center at 0.5.
    partner, partner_pairing : Array, shape=(batch, point, partner) and (batch, point, partner, 3)
        Points tau where b(sigma, tau) is not zero, and b there; padded with zeros. Given in place
        of ``pairing`` and ``separation``, which are empty then, to operators that do not look at
        all pairs of points.
    """

    curve: Array
    frame: Array
    secondary_structure: Array
    pairing: Array
    separation: Array
    weight: Array
    curve_error: Array
    coordinate: Array
    partner: Array | None = None
    partner_pairing: Array | None = None


class Encoded(NamedTuple):
    """What does not change while the flow integrates: made once, used at every step.

    ``guess`` is the exception: the clean field that the operator predicted one step before, shape
    (batch, point, atom, 3), for operators that are trained to look at it; None at the first step.
    """

    inputs: ChainInputs
    mask: Array
    log_weight: Array
    node: Array
    pair: Array
    scalars: Array
    guess: Array | None = None


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
    config : OperatorConfig
        Sizes of the operator.
    params : dict of str to array
        Flat parameters on ``backend``; see :mod:`protein_lab.models.weights`.
    backend : Backend
    digest : str
        SHA-256 of the weights file, empty for weights that come from no file.
    card : dict
        How the weights were trained and what they measure.
    points_per_residue : int
        Sampling of the functions that the operator is given; see :meth:`resampled`.
    """

    name: str
    sees_all_pairs: ClassVar[bool] = True
    """Whether it takes functions of all pairs of points; else it takes those that are paired."""

    def __init__(
        self,
        config: ConfigType,
        params: Parameters,
        backend: Backend,
        *,
        digest: str = "",
        card: dict[str, Any] | None = None,
        points_per_residue: int = 1,
    ) -> None:
        self.config = config
        self.params = params
        self.backend = backend
        self.digest = digest
        self.card = card or {}
        self.points_per_residue = points_per_residue

    def resampled(self, points_per_residue: int) -> Self:
        """Return the same operator for functions sampled with so many points a residue.

        The parameters stay as they are: only offsets along the chain, which are lengths in
        residues, become other numbers of points.
        """
        return type(self)(
            self.config,
            self.params,
            self.backend,
            digest=self.digest,
            card=self.card,
            points_per_residue=points_per_residue,
        )

    def in_points(self, offsets: Sequence[int]) -> tuple[int, ...]:
        """Convert offsets along the chain from residues to sample points."""
        return tuple(offset * self.points_per_residue for offset in offsets)

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

    @property
    def looks_back(self) -> bool:
        """Whether the operator is trained to look at its prediction of the step before."""
        return bool(getattr(self.config, "self_conditioning", False))

    def _maker(self) -> Callable[[Parameters], Self]:
        """Return a function of parameters that makes an operator like this one."""
        kind, config, backend, points = (
            type(self), self.config, self.backend, self.points_per_residue,
        )  # fmt: skip
        return lambda params: kind(config, params, backend, points_per_residue=points)

    def preconditioning(self, time: Array, curve_error: Array) -> tuple[Array, Array, Array]:
        """Factors for the input, the skip path and the output at flow time ``time``.

        With data of standard deviation s around the curve and noise of standard deviation p, the
        network sees unit variance and has to predict unit variance at every time (Karras et al.,
        NeurIPS 2022, here for a straight flow path).

        Parameters
        ----------
        time, curve_error : Array, shape=(batch,)

        Returns
        -------
        tuple of Array, each of shape=(batch,)
        """
        config = self.config
        data = config.data_scale**2 + curve_error * curve_error
        noise = (1.0 - time) * (1.0 - time) * config.prior_scale**2
        total = time * time * data + noise
        scale_in = 1.0 / self.backend.sqrt(total)
        remaining = self.backend.maximum(1.0 - time, 0.01)
        scale_out = self.backend.sqrt(data) * config.prior_scale * remaining * scale_in
        return scale_in, time * data / total, scale_out

    def center(self, inputs: ChainInputs) -> Array:
        """Place that every point of the field is near, shape (batch, point, atom or 1, 3)."""
        return inputs.curve[:, :, None, :]

    def assemble(
        self, field: Array, time: Array, inputs: ChainInputs, update: Array, relative: Array
    ) -> FieldPrediction:
        """Make the prediction from what the network gives at unit scale.

        Parameters
        ----------
        field : Array, shape=(batch, point, 3, 3)
            Noisy N, CA, C at ``time``, angstrom.
        time : Array, shape=(batch,)
        inputs : ChainInputs
        update : Array, shape=(batch, point, 3, 3)
            Of unit variance, in global coordinates.
        relative : Array, shape=(batch, point)
            Logarithm of the standard deviation relative to the scale of the output.
        """
        _, skip, scale_out = self.preconditioning(time, inputs.curve_error)
        center = self.center(inputs)
        mean = (
            center
            + (field - center) * skip[:, None, None, None]
            + update * scale_out[:, None, None, None]
        )
        return FieldPrediction(mean, relative + self.backend.log(scale_out)[:, None])

    @cached_property
    def predict(self) -> Callable[[Array, Array, Encoded], FieldPrediction]:
        """:meth:`forward_with_uncertainty`, compiled where the backend can."""
        make = self._maker()

        def run(params: Parameters, field: Array, time: Array, encoded: Encoded) -> FieldPrediction:
            return make(params).forward_with_uncertainty(field, time, encoded)

        return partial(self.backend.compile(run), self.params)

    @cached_property
    def encode(self) -> Callable[[ChainInputs], Encoded]:
        """:meth:`encode_constraints`, compiled where the backend can."""
        make = self._maker()

        def run(params: Parameters, inputs: ChainInputs) -> Encoded:
            return make(params).encode_constraints(inputs)

        return partial(self.backend.compile(run), self.params)

    def forward(self, field: Array, time: Array, encoded: Encoded) -> Array:
        """Predict the clean field, shape (batch, point, 3, 3), angstrom."""
        return self.forward_with_uncertainty(field, time, encoded).mean
