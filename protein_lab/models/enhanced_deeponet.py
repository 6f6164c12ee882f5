"""Enhanced protein DeepONet: adaptive basis, geometric quadrature attention, uncertainty head.

The operator maps constraint functions on the chain (coarse axis curve, secondary structure,
pairing) and a noisy backbone field at flow time t to the clean field. It works in frames that
run along the smooth curve, so it turns and shifts with its input, and tells left from right.
Noise is scaled in and out as in Karras et al. (NeurIPS 2022), here for a straight flow path.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array
from protein_lab.models.base import BaseNeuralOperator, ChainInputs, Encoded, FieldPrediction
from protein_lab.operators.basis import adaptive_basis, branch_coefficients
from protein_lab.operators.embedding import (
    neighbors_in_frame,
    pair_distance,
    radial_basis,
    shift,
    time_features,
)
from protein_lab.operators.kernel import dense, local_kernel, normalize, quadrature_attention

FIELD_OFFSETS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
CURVE_OFFSETS = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
KERNEL_OFFSETS = (-2, -1, 0, 1, 2)
CURVE_CENTERS = tuple(np.linspace(3.0, 24.0, 15).tolist())
ALPHA_CENTERS = tuple(np.linspace(3.5, 14.0, 15).tolist())
BOND_CENTERS = tuple(np.linspace(2.8, 7.0, 8).tolist())
NUM_COMPONENTS = 9
_MASKED = -1e9


class EnhancedDeepONetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the enhanced DeepONet.

    Attributes
    ----------
    channels, heads, pair_channels, basis : int
        Width, attention heads, width of pair features, number of trunk functions.
    dilations : tuple of int
        One block per entry; spacing of its local kernel's taps, residues.
    prior_scale : float
        Standard deviation of the prior around the curve, angstrom.
    prior_correlation : float
        Correlation length of the prior, residues.
    data_scale : float
        Standard deviation of the clean field around its own axis curve, angstrom.
    """

    channels: int = 128
    heads: int = 8
    pair_channels: int = 32
    basis: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    time_channels: int = 64
    separation_scales: int = 8
    prior_scale: float = 3.0
    prior_correlation: float = 2.0
    data_scale: float = 1.8


class EnhancedProteinDeepONet(BaseNeuralOperator[EnhancedDeepONetConfig]):
    """The flagship operator; see the module's text."""

    name = "enhanced_deeponet"

    @classmethod
    def initialize(
        cls, config: EnhancedDeepONetConfig, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : EnhancedDeepONetConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output).
        """
        make = _Initializer(rng)
        width, pair, time = config.channels, config.pair_channels, config.time_channels
        num_node = 4 + 3 * len(CURVE_OFFSETS) + 1 + len(CURVE_OFFSETS)
        make.dense("node.static", num_node, width)
        make.dense("node.field", len(FIELD_OFFSETS) * NUM_COMPONENTS, width)
        num_static = len(CURVE_CENTERS) + 3 + 1 + config.separation_scales + 3 + 4
        make.dense("pair.static", num_static, pair)
        make.dense("pair.field", len(ALPHA_CENTERS) + 2 * len(BOND_CENTERS), pair)
        make.dense("pair.scalars", time, pair)
        make.dense("pair.bias", pair, len(config.dilations) * config.heads)
        make.dense("scalars.in", time + 2, time)
        make.dense("scalars.out", time, time)
        for index in range(len(config.dilations)):
            block = f"blocks.{index}"
            make.dense(f"{block}.film", time, 2 * width, gain=0.1)
            for norm in ("local.norm", "attention.norm", "mlp.norm"):
                make.norm(f"{block}.{norm}", width)
            make.dense(f"{block}.local.kernel", len(KERNEL_OFFSETS) * width, width)
            make.dense(f"{block}.local.out", width, width, gain=0.2)
            for part in ("query", "key", "value"):
                make.dense(f"{block}.attention.{part}", width, width)
            make.dense(f"{block}.attention.out", width + config.heads * 12, width, gain=0.2)
            make.dense(f"{block}.mlp.in", width, 2 * width)
            make.dense(f"{block}.mlp.out", 2 * width, width, gain=0.2)
        make.norm("trunk.norm", width)
        make.dense("trunk.in", width, width)
        make.dense("trunk.out", width, config.basis)
        make.dense("branch.in", width + time, width)
        make.dense("branch.out", width, config.basis * NUM_COMPONENTS, gain=0.1)
        shape = (config.basis, NUM_COMPONENTS)
        make.params["branch.mean"] = (rng.standard_normal(shape) * 0.05).astype(np.float32)
        make.dense("sigma", width, 1, gain=0.1)
        return make.params

    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Encode curve, secondary structure and pairing."""
        xp, params = self.backend, self.params
        mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
        log_weight = xp.where(
            inputs.weight > 0, xp.log(xp.maximum(inputs.weight, 1e-6)), inputs.weight + _MASKED
        )
        around = neighbors_in_frame(
            xp, inputs.curve[:, :, None, :], inputs.curve, inputs.frame, mask, CURVE_OFFSETS
        )
        spread = np.repeat([3.0 * math.sqrt(abs(k)) for k in CURVE_OFFSETS], 3)
        ends = xp.stack([shift(xp, mask, k) for k in CURVE_OFFSETS])
        length = xp.log(xp.sum(inputs.weight, axis=1)) - 4.6
        per_point = mask * length[:, None]
        node = xp.concat(
            [inputs.secondary_structure, around / xp.asarray(spread), per_point[..., None], ends]
        )
        scalars = xp.stack([length, inputs.curve_error])
        return Encoded(
            inputs=inputs,
            mask=mask,
            log_weight=log_weight,
            node=dense(xp, params, "node.static", node),
            pair=dense(xp, params, "pair.static", self._pair_features(inputs)),
            scalars=scalars,
        )

    def _pair_features(self, inputs: ChainInputs) -> Array:
        """Distances, directions and constraints of all pairs of points."""
        xp = self.backend
        between = inputs.curve[:, None, :, :] - inputs.curve[:, :, None, :]
        distance = xp.sqrt(xp.sum(between * between, axis=-1) + 0.01)
        direction = xp.einsum("bnij,bnmj->bnmi", inputs.frame, between) / (distance[..., None] + 1)
        tangent = inputs.frame[:, :, 0]
        along = xp.einsum("bni,bmi->bnm", tangent, tangent)[..., None]
        other = inputs.secondary_structure[:, None] + 0.0 * along
        return xp.concat(
            [
                radial_basis(xp, distance, CURVE_CENTERS, 1.5),
                direction,
                along,
                inputs.separation,
                inputs.pairing,
                other,
            ]
        )

    def encode_coordinates(
        self, field: Array, time: Array, encoded: Encoded
    ) -> tuple[Array, Array, Array]:
        """Encode the noisy field: node features, pair features, embedded scalars."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        scale_in, _, _ = self.preconditioning(time, inputs.curve_error)
        embedded = xp.concat([time_features(xp, time, self.config.time_channels), encoded.scalars])
        hidden = xp.silu(dense(xp, params, "scalars.in", embedded))
        scalars = xp.silu(dense(xp, params, "scalars.out", hidden))
        near = neighbors_in_frame(
            xp, field, inputs.curve, inputs.frame, encoded.mask, FIELD_OFFSETS
        )
        node = encoded.node + dense(xp, params, "node.field", near * scale_in[:, None, None])
        n, ca, c = field[:, :, 0], field[:, :, 1], field[:, :, 2]
        distances = xp.concat(
            [
                radial_basis(xp, pair_distance(xp, ca, ca), ALPHA_CENTERS, 0.75),
                radial_basis(xp, pair_distance(xp, n, c), BOND_CENTERS, 0.6),
                radial_basis(xp, pair_distance(xp, c, n), BOND_CENTERS, 0.6),
            ]
        )
        pair = encoded.pair + dense(xp, params, "pair.field", distances)
        pair = xp.silu(pair + dense(xp, params, "pair.scalars", scalars)[:, None, None, :])
        return node, pair, scalars

    def _attention_biases(self, pair: Array) -> list[Array]:
        """Geometric part of the attention kernel, one (batch, head, point, point) per block."""
        blocks, heads = len(self.config.dilations), self.config.heads
        bias = dense(self.backend, self.params, "pair.bias", pair)
        batch, size = bias.shape[:2]
        bias = self.backend.reshape(bias, (batch, size, size, blocks, heads))
        return self.backend.unstack(self.backend.transpose(bias, (3, 0, 4, 1, 2)))

    def preconditioning(self, time: Array, curve_error: Array) -> tuple[Array, Array, Array]:
        """Factors for the input, the skip path and the output at flow time ``time``.

        With data of standard deviation s around the curve and noise of standard deviation p, the
        network sees unit variance and has to predict unit variance at every time.
        """
        config = self.config
        data = config.data_scale**2 + curve_error * curve_error
        noise = (1.0 - time) * (1.0 - time) * config.prior_scale**2
        total = time * time * data + noise
        scale_in = 1.0 / self.backend.sqrt(total)
        remaining = self.backend.maximum(1.0 - time, 0.01)
        scale_out = self.backend.sqrt(data) * config.prior_scale * remaining * scale_in
        return scale_in, time * data / total, scale_out

    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field; see :class:`BaseNeuralOperator`."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        node, pair, scalars = self.encode_coordinates(field, time, encoded)
        batch, size = node.shape[:2]
        points = xp.concat([xp.reshape(field, (batch, size, 9)), inputs.curve])
        hidden = node * encoded.mask[:, :, None]
        biases = self._attention_biases(pair)
        for index, dilation in enumerate(self.config.dilations):
            hidden = self._block(hidden, index, dilation, scalars, encoded, biases[index], points)
        trunk = adaptive_basis(xp, params, "trunk", hidden)
        branch = branch_coefficients(
            xp, params, "branch", hidden, inputs.weight, scalars,
            (self.config.basis, NUM_COMPONENTS),
        )  # fmt: skip
        local = xp.reshape(trunk @ branch, (batch, size, 3, 3))
        _, skip, scale_out = self.preconditioning(time, inputs.curve_error)
        update = xp.einsum("bnji,bnaj->bnai", inputs.frame, local)
        center = inputs.curve[:, :, None, :]
        mean = (
            center
            + (field - center) * skip[:, None, None, None]
            + update * scale_out[:, None, None, None]
        )
        relative = dense(xp, params, "sigma", normalize(xp, params, "trunk.norm", hidden))[..., 0]
        return FieldPrediction(mean, relative + xp.log(scale_out)[:, None])

    def _block(
        self,
        hidden: Array,
        index: int,
        dilation: int,
        scalars: Array,
        encoded: Encoded,
        bias: Array,
        points: Array,
    ) -> Array:
        """Local kernel, geometric attention and pointwise map, each added to its input."""
        xp, params, name = self.backend, self.params, f"blocks.{index}"
        width = self.config.channels
        film = dense(xp, params, f"{name}.film", scalars)[:, None, :]
        value = normalize(xp, params, f"{name}.local.norm", hidden)
        value = (value * (1.0 + film[..., :width]) + film[..., width:]) * encoded.mask[..., None]
        offsets = [dilation * k for k in KERNEL_OFFSETS]
        value = xp.silu(local_kernel(xp, params, f"{name}.local.kernel", value, offsets))
        hidden = hidden + dense(xp, params, f"{name}.local.out", value)
        value = normalize(xp, params, f"{name}.attention.norm", hidden)
        hidden = hidden + quadrature_attention(
            xp, params, f"{name}.attention", value,
            bias=bias, log_weight=encoded.log_weight, points=points,
            origin=encoded.inputs.curve, frame=encoded.inputs.frame,
            num_heads=self.config.heads,
        )  # fmt: skip
        value = normalize(xp, params, f"{name}.mlp.norm", hidden)
        value = xp.silu(dense(xp, params, f"{name}.mlp.in", value))
        return hidden + dense(xp, params, f"{name}.mlp.out", value)


class _Initializer:
    """Collects named parameters; dense weights have variance gain^2 / inputs."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.params: dict[str, NDArray[Any]] = {}

    def dense(self, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
        weight = self.rng.standard_normal((inputs, outputs)) * (gain / math.sqrt(inputs))
        self.params[f"{name}.weight"] = weight.astype(np.float32)
        self.params[f"{name}.bias"] = np.zeros(outputs, dtype=np.float32)

    def norm(self, name: str, width: int) -> None:
        self.params[f"{name}.scale"] = np.ones(width, dtype=np.float32)
        self.params[f"{name}.shift"] = np.zeros(width, dtype=np.float32)
