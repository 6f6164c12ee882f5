"""Protein DeepONet: a fixed basis of functions of the chain, coefficients from moments.

``u(sigma) = sum_k beta_k(a, b) tau_k(sigma, s)`` (Lu et al., *Nat. Mach. Intell.* 3, 2021) with
sigma in residues and s = sigma / L. The branch sees quadrature moments of the input functions in
place of values at fixed sensors, so any length and sampling will do; the trunk sees the place along
the chain alone. This is the linear reconstruction that cannot place a helix at will (Lanthaler et
al., ICLR 2023): the baseline that shows what the adaptive basis of the enhanced DeepONet gains.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array
from protein_lab.models.base import BaseNeuralOperator, ChainInputs, Encoded, FieldPrediction
from protein_lab.models.parameters import Initializer, OperatorConfig
from protein_lab.operators.embedding import neighbors_in_frame, time_features
from protein_lab.operators.kernel import dense
from protein_lab.operators.moments import (
    chain_fourier_features,
    moment_functions,
    moments,
    pair_moments,
)

CURVE_OFFSETS = (-8, -4, -1, 1, 4, 8)
NUM_FIELD = 9
NUM_COMPONENTS = 10
"""N, CA, C in the frame of the curve, and the logarithm of the standard deviation."""


class DeepONetConfig(OperatorConfig, frozen=True, kw_only=True):
    """Sizes of the protein DeepONet.

    Attributes
    ----------
    channels : int
        Width of branch and trunk.
    basis : int
        Number of trunk functions.
    moments, pair_moments : int
        Functions that the input functions of one and of two points are measured with.
    fourier : int
        Fourier features of the place along the chain.
    """

    channels: int = 256
    basis: int = 96
    moments: int = 32
    pair_moments: int = 8
    fourier: int = 64


class ProteinDeepONet(BaseNeuralOperator[DeepONetConfig]):
    """DeepONet with a fixed basis; see the module's text."""

    name = "deeponet"

    @classmethod
    def initialize(
        cls, config: DeepONetConfig, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : DeepONetConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output).
        """
        make = Initializer(rng)
        width, time = config.channels, config.time_channels
        num_static = config.moments * (4 + 3 * len(CURVE_OFFSETS))
        make.dense("branch.static", num_static + 3 * config.pair_moments**2, width)
        make.dense("branch.field", config.moments * NUM_FIELD, width)
        make.dense("branch.scalars", time + 2, width)
        for layer in ("first", "second"):
            make.dense(f"branch.{layer}", width, width)
            make.dense(f"trunk.{layer}", width, width)
        make.dense("branch.out", width, config.basis * NUM_COMPONENTS, gain=0.3)
        make.normal("branch.mean", (config.basis, NUM_COMPONENTS), 0.3 / math.sqrt(config.basis))
        make.dense("trunk.in", config.fourier, width)
        make.dense("trunk.out", width, config.basis)
        make.params["bias"] = np.zeros(NUM_COMPONENTS, dtype=np.float32)
        return make.params

    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Take moments of curve, secondary structure and pairing; ``pair`` holds the trunk."""
        xp, params, config = self.backend, self.params, self.config
        mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
        around = neighbors_in_frame(
            xp, inputs.curve[:, :, None, :], inputs.curve, inputs.frame, mask,
            self.in_points(CURVE_OFFSETS),
        )  # fmt: skip
        spread = np.repeat([3.0 * math.sqrt(abs(k)) for k in CURVE_OFFSETS], 3)
        value = xp.concat([inputs.secondary_structure, around / xp.like(spread, around)])
        position = _positions(self, inputs)
        functions = moment_functions(xp, position, config.moments)
        few = moment_functions(xp, position, config.pair_moments)
        found = xp.concat(
            [
                moments(xp, functions, value, inputs.weight),
                # pairs are few: a share of all pairs of points is a small number
                pair_moments(xp, few, inputs.pairing, inputs.weight) * 10.0,
            ]
        )
        length = xp.log(xp.sum(inputs.weight, axis=1)) - 4.6
        return Encoded(
            inputs=inputs,
            mask=mask,
            log_weight=xp.log(xp.maximum(inputs.weight, 1e-6)),
            node=dense(xp, params, "branch.static", found * 3.0),
            pair=self._trunk(inputs),
            scalars=xp.stack([length, inputs.curve_error]),
        )

    def _trunk(self, inputs: ChainInputs) -> Array:
        """Basis functions at every point, shape (batch, point, basis)."""
        xp, params = self.backend, self.params
        position = _positions(self, inputs)
        value = chain_fourier_features(xp, inputs.coordinate, position, self.config.fourier)
        for layer in ("in", "first", "second"):
            value = xp.silu(dense(xp, params, f"trunk.{layer}", value))
        return dense(xp, params, "trunk.out", value)

    def encode_coordinates(
        self, field: Array, time: Array, encoded: Encoded
    ) -> tuple[Array, Array, Array]:
        """Encode the noisy field: hidden branch features, trunk functions, embedded scalars."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        scale_in = self.preconditioning(time, inputs.curve_error)[0]
        scalars = xp.concat([time_features(xp, time, self.config.time_channels), encoded.scalars])
        own = neighbors_in_frame(xp, field, inputs.curve, inputs.frame, encoded.mask, (0,))
        functions = moment_functions(xp, _positions(self, inputs), self.config.moments)
        seen = moments(xp, functions, own * scale_in[:, None, None], inputs.weight)
        hidden = (
            encoded.node
            + dense(xp, params, "branch.field", seen * 3.0)
            + dense(xp, params, "branch.scalars", scalars)
        )
        return hidden, encoded.pair, scalars

    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field; see :class:`BaseNeuralOperator`."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        hidden, trunk, _ = self.encode_coordinates(field, time, encoded)
        hidden = xp.silu(hidden)
        for layer in ("first", "second"):
            hidden = hidden + xp.silu(dense(xp, params, f"branch.{layer}", hidden))
        branch = dense(xp, params, "branch.out", hidden)
        branch = xp.reshape(branch, (hidden.shape[0], self.config.basis, NUM_COMPONENTS))
        local = trunk @ (branch + params["branch.mean"]) + params["bias"]
        update = xp.reshape(local[..., :NUM_FIELD], (*local.shape[:2], 3, 3))
        update = xp.einsum("bnji,bnaj->bnai", inputs.frame, update)
        return self.assemble(field, time, inputs, update, local[..., NUM_FIELD])


def _positions(operator: ProteinDeepONet, inputs: ChainInputs) -> Array:
    """Places along the chains from 0 to 1."""
    length = operator.backend.sum(inputs.weight, axis=1, keepdims=True)
    return inputs.coordinate / length
