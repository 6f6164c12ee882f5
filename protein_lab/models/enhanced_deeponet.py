"""Enhanced protein DeepONet: adaptive basis, geometric quadrature attention, uncertainty head.

The operator maps constraint functions on the chain (coarse axis curve, secondary structure,
pairing) and a noisy backbone field at flow time t to the clean field. It works in frames that
run along the smooth curve, so it turns and shifts with its input, and tells left from right.
Noise is scaled in and out as in Karras et al. (NeurIPS 2022), here for a straight flow path.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.models.base import BaseNeuralOperator, ChainInputs, Encoded, FieldPrediction
from protein_lab.models.parameters import Initializer, OperatorConfig
from protein_lab.operators.basis import adaptive_basis, branch_coefficients
from protein_lab.operators.embedding import (
    neighbors_in_frame,
    pair_distance,
    radial_basis,
    shift,
    time_features,
)
from protein_lab.operators.kernel import (
    by_rows,
    dense,
    local_kernel,
    normalize,
    quadrature_attention,
)

FIELD_OFFSETS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
CURVE_OFFSETS = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
KERNEL_OFFSETS = (-2, -1, 0, 1, 2)
NUM_CENTERS = 15
BOND_CENTERS = tuple(np.linspace(2.8, 7.0, 8).tolist())
_MASKED = -1e9


class EnhancedDeepONetConfig(OperatorConfig, frozen=True, kw_only=True):
    """Sizes of the enhanced DeepONet.

    Attributes
    ----------
    channels, heads, pair_channels, basis : int
        Width, attention heads, width of pair features, number of trunk functions.
    dilations : tuple of int
        One block per entry; spacing of its local kernel's taps, residues.
    pair_values : bool
        Whether attention averages pair features beside those of points.
    atoms : int
        Points of the field at every sample of the chain.
    spacing : float
        Residues between two samples of the chain that the operator is trained on.
    curve_reach, field_reach : tuple of float
        Smallest and largest distance that pairs of curve points and of field points resolve,
        angstrom.
    self_conditioning : bool
        Whether the operator looks at the clean field that it predicted one step before (Chen et
        al., ICLR 2023).
    """

    channels: int = 128
    heads: int = 8
    pair_channels: int = 32
    basis: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    pair_values: bool = False
    atoms: int = 3
    spacing: float = 1.0
    curve_reach: tuple[float, float] = (3.0, 24.0)
    field_reach: tuple[float, float] = (3.5, 14.0)
    self_conditioning: bool = False


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
        make = Initializer(rng)
        width, pair, time = config.channels, config.pair_channels, config.time_channels
        num_node = 4 + 3 * len(CURVE_OFFSETS) + 1 + len(CURVE_OFFSETS)
        make.dense("node.static", num_node, width)
        components = 3 * config.atoms
        make.dense("node.field", len(FIELD_OFFSETS) * components, width)
        num_static = NUM_CENTERS + 3 + 1 + config.separation_scales + 3 + 4
        make.dense("pair.static", num_static, pair)
        num_bonds = 2 * len(BOND_CENTERS) if config.atoms == 3 else 0
        make.dense("pair.field", NUM_CENTERS + num_bonds, pair)
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
            gathered = components + 3 + (pair if config.pair_values else 0)
            make.dense(f"{block}.attention.out", width + config.heads * gathered, width, gain=0.2)
            make.dense(f"{block}.mlp.in", width, 2 * width)
            make.dense(f"{block}.mlp.out", 2 * width, width, gain=0.2)
        make.norm("trunk.norm", width)
        make.dense("trunk.in", width, width)
        make.dense("trunk.out", width, config.basis)
        make.dense("branch.in", width + time, width)
        make.dense("branch.out", width, config.basis * components, gain=0.1)
        make.normal("branch.mean", (config.basis, components), 0.05)
        make.dense("sigma", width, 1, gain=0.1)
        if config.self_conditioning:
            make.dense("node.guess", len(FIELD_OFFSETS) * components, width, gain=0.5)
            make.dense("pair.guess", NUM_CENTERS + num_bonds, pair, gain=0.5)
        return make.params

    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Encode curve, secondary structure and pairing."""
        xp, params = self.backend, self.params
        mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
        log_weight = xp.where(
            inputs.weight > 0, xp.log(xp.maximum(inputs.weight, 1e-6)), inputs.weight + _MASKED
        )
        around = neighbors_in_frame(
            xp, inputs.curve[:, :, None, :], inputs.curve, inputs.frame, mask,
            self.in_points(CURVE_OFFSETS),
        )  # fmt: skip
        spacing = self.config.spacing
        spread = np.repeat([3.0 * math.sqrt(abs(k) * spacing) for k in CURVE_OFFSETS], 3)
        ends = xp.stack([shift(xp, mask, k) for k in self.in_points(CURVE_OFFSETS)])
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
            pair=by_rows(
                xp,
                mask.shape[0],
                mask.shape[1],
                lambda rows: dense(xp, params, "pair.static", self._pair_features(inputs, rows)),
            ),
            scalars=scalars,
        )

    def _pair_features(self, inputs: ChainInputs, rows: slice) -> Array:
        """Distances, directions and constraints of pairs of points, the first in ``rows``."""
        xp = self.backend
        frame = inputs.frame[:, rows]
        between = inputs.curve[:, None, :, :] - inputs.curve[:, rows, None, :]
        distance = xp.sqrt(xp.sum(between * between, axis=-1) + 0.01)
        direction = xp.einsum("bnij,bnmj->bnmi", frame, between) / (distance[..., None] + 1)
        along = xp.einsum("bni,bmi->bnm", frame[:, :, 0], inputs.frame[:, :, 0])[..., None]
        other = inputs.secondary_structure[:, None] + 0.0 * along
        return xp.concat(
            [
                _distance_features(xp, distance, self.config.curve_reach),
                direction,
                along,
                inputs.separation[:, rows],
                inputs.pairing[:, rows],
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
            xp, field, inputs.curve, inputs.frame, encoded.mask, self.in_points(FIELD_OFFSETS)
        )
        node = encoded.node + dense(xp, params, "node.field", near * scale_in[:, None, None])
        if encoded.guess is not None and self.config.self_conditioning:
            guessed = neighbors_in_frame(
                xp, encoded.guess, inputs.curve, inputs.frame, encoded.mask,
                self.in_points(FIELD_OFFSETS),
            )  # fmt: skip
            size = 1.0 / xp.sqrt(
                self.config.data_scale**2 + inputs.curve_error * inputs.curve_error
            )
            node = node + dense(xp, params, "node.guess", guessed * size[:, None, None])
        pair = by_rows(
            xp, encoded.mask.shape[0], encoded.mask.shape[1],
            lambda rows: self._pair_hidden(field, encoded, scalars, rows),
        )  # fmt: skip
        return node, pair, scalars

    def _pair_hidden(self, field: Array, encoded: Encoded, scalars: Array, rows: slice) -> Array:
        """Features of pairs of points with the noisy field in them, the first in ``rows``."""
        xp, params = self.backend, self.params
        pair = encoded.pair[:, rows] + dense(
            xp, params, "pair.field", self._field_pairs(field, rows)
        )
        if encoded.guess is not None and self.config.self_conditioning:
            pair = pair + dense(xp, params, "pair.guess", self._field_pairs(encoded.guess, rows))
        return xp.silu(pair + dense(xp, params, "pair.scalars", scalars)[:, None, None, :])

    def _field_pairs(self, field: Array, rows: slice) -> Array:
        """Distances of pairs of points of a field, the first in ``rows``."""
        xp = self.backend
        middle = field[:, :, self.config.atoms // 2]
        distance = pair_distance(xp, middle[:, rows], middle)
        features = [_distance_features(xp, distance, self.config.field_reach)]
        if self.config.atoms == 3:
            n, c = field[:, :, 0], field[:, :, 2]
            features += [
                radial_basis(xp, pair_distance(xp, n[:, rows], c), BOND_CENTERS, 0.6),
                radial_basis(xp, pair_distance(xp, c[:, rows], n), BOND_CENTERS, 0.6),
            ]
        return xp.concat(features)

    def _attention_biases(self, pair: Array) -> list[Array]:
        """Geometric part of the attention kernel, one (batch, head, point, point) per block."""
        xp, params = self.backend, self.params
        blocks, heads = len(self.config.dilations), self.config.heads
        batch, size = pair.shape[:2]

        def biases(rows: slice) -> Array:
            bias = dense(xp, params, "pair.bias", pair[:, rows])
            bias = xp.reshape(bias, (batch, bias.shape[1], size, blocks, heads))
            return xp.transpose(bias, (3, 0, 4, 1, 2))

        return xp.unstack(by_rows(xp, batch, size, biases, axis=3))

    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field; see :class:`BaseNeuralOperator`."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        node, pair, scalars = self.encode_coordinates(field, time, encoded)
        batch, size = node.shape[:2]
        atoms = self.config.atoms
        points = xp.concat([xp.reshape(field, (batch, size, 3 * atoms)), inputs.curve])
        hidden = node * encoded.mask[:, :, None]
        seen = pair if self.config.pair_values else None
        for index, bias in enumerate(self._attention_biases(pair)):
            hidden = self._block(hidden, index, scalars, encoded, (bias, seen), points)
        trunk = adaptive_basis(xp, params, "trunk", hidden)
        branch = branch_coefficients(
            xp, params, "branch", hidden, inputs.weight, scalars,
            (self.config.basis, 3 * atoms),
        )  # fmt: skip
        local = xp.reshape(trunk @ branch, (batch, size, atoms, 3))
        update = xp.einsum("bnji,bnaj->bnai", inputs.frame, local)
        relative = dense(xp, params, "sigma", normalize(xp, params, "trunk.norm", hidden))[..., 0]
        return self.assemble(field, time, inputs, update, relative)

    def _block(
        self,
        hidden: Array,
        index: int,
        scalars: Array,
        encoded: Encoded,
        kernel: tuple[Array, Array | None],
        points: Array,
    ) -> Array:
        """Local kernel, geometric attention and pointwise map, each added to its input."""
        xp, params, name = self.backend, self.params, f"blocks.{index}"
        width = self.config.channels
        film = dense(xp, params, f"{name}.film", scalars)[:, None, :]
        value = normalize(xp, params, f"{name}.local.norm", hidden)
        value = (value * (1.0 + film[..., :width]) + film[..., width:]) * encoded.mask[..., None]
        dilation, (bias, pair) = self.config.dilations[index], kernel
        offsets = self.in_points([dilation * k for k in KERNEL_OFFSETS])
        value = xp.silu(local_kernel(xp, params, f"{name}.local.kernel", value, offsets))
        hidden = hidden + dense(xp, params, f"{name}.local.out", value)
        value = normalize(xp, params, f"{name}.attention.norm", hidden)
        hidden = hidden + quadrature_attention(
            xp, params, f"{name}.attention", value,
            bias=bias, log_weight=encoded.log_weight, points=points,
            origin=encoded.inputs.curve, frame=encoded.inputs.frame,
            num_heads=self.config.heads, pair=pair,
        )  # fmt: skip
        value = normalize(xp, params, f"{name}.mlp.norm", hidden)
        value = xp.silu(dense(xp, params, f"{name}.mlp.in", value))
        return hidden + dense(xp, params, f"{name}.mlp.out", value)


def _distance_features(xp: Backend, distance: Array, reach: tuple[float, float]) -> Array:
    """Resolve distances in overlapping bumps over a range."""
    centers = np.linspace(*reach, NUM_CENTERS).tolist()
    return radial_basis(xp, distance, centers, centers[1] - centers[0])
