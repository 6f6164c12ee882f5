"""Protein FNO: length-consistent Fourier layers with scalar and vector channels on the chain.

The layers convolve along the chain with kernels given in physical frequency, cycles per residue
(:mod:`protein_lab.operators.spectral`), so that one set of weights is one operator for every
length and sampling. Beside scalars the layers carry vectors in global coordinates; complex scalars
filter them, and the frames of the curve exchange them with the scalars. The pairing function
enters through integrals over its second argument, as sums over the points that are paired. No
array over all pairs of points exists: for a bounded number of partners the cost is O(n log n).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array
from protein_lab.models.base import BaseNeuralOperator, ChainInputs, Encoded, FieldPrediction
from protein_lab.models.parameters import Initializer, OperatorConfig
from protein_lab.operators.embedding import neighbors_in_frame, shift, time_features
from protein_lab.operators.kernel import dense, local_kernel, normalize
from protein_lab.operators.pairing import pairing_kernels, pairing_means
from protein_lab.operators.spectral import KNOTS, spectral_convolution, spectral_vectors

FIELD_OFFSETS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
CURVE_OFFSETS = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
KERNEL_OFFSETS = (-2, -1, 0, 1, 2)
NUM_PAIRINGS = 6
NUM_COMPONENTS = 9


class FNOConfig(OperatorConfig, frozen=True, kw_only=True):
    """Sizes of the protein FNO.

    Attributes
    ----------
    channels : int
        Width of the scalar features.
    spectral_channels, vector_channels, partner_channels : int
        Channels that the spectral layer convolves, vectors, and features averaged over partners.
    dilations : tuple of int
        One block per entry; spacing of its local kernel's taps, residues.
    """

    channels: int = 96
    spectral_channels: int = 48
    vector_channels: int = 16
    partner_channels: int = 12
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)


class ProteinFNO(BaseNeuralOperator[FNOConfig]):
    """Fourier neural operator on the chain; see the module's text."""

    name = "fno"
    sees_all_pairs = False

    @classmethod
    def initialize(cls, config: FNOConfig, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : FNOConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output), multipliers as (knot, input, output, 2).
        """
        make = Initializer(rng)
        width, time, vectors = config.channels, config.time_channels, config.vector_channels
        num_node = 4 + 3 * len(CURVE_OFFSETS) + 1 + len(CURVE_OFFSETS) + NUM_PAIRINGS
        make.dense("node.static", num_node, width)
        make.dense("node.field", len(FIELD_OFFSETS) * NUM_COMPONENTS, width)
        make.dense("node.partner", NUM_PAIRINGS * (NUM_COMPONENTS + 3), width)
        make.normal("vectors.in", (4, vectors), 0.5)
        make.dense("scalars.in", time + 2, time)
        make.dense("scalars.out", time, time)
        for index in range(len(config.dilations)):
            _initialize_block(make, config, f"blocks.{index}")
        make.norm("head.norm", width)
        make.dense("head.in", width, width)
        make.dense("head.out", width, NUM_COMPONENTS, gain=0.3)
        make.normal("vectors.out", (vectors, 3), 0.1 / math.sqrt(vectors))
        make.dense("sigma", width, 1, gain=0.1)
        return make.params

    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Encode curve, secondary structure and pairing; ``pair`` holds the pairing kernels."""
        xp, params = self.backend, self.params
        mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
        offsets = self.in_points(CURVE_OFFSETS)
        around = neighbors_in_frame(
            xp, inputs.curve[:, :, None, :], inputs.curve, inputs.frame, mask, offsets
        )
        spread = np.repeat([3.0 * math.sqrt(abs(k)) for k in CURVE_OFFSETS], 3)
        ends = xp.stack([shift(xp, mask, k) for k in offsets])
        length = xp.log(xp.sum(inputs.weight, axis=1)) - 4.6
        pairing = inputs.pairing if inputs.partner is None else inputs.partner_pairing
        kernel, amount = pairing_kernels(xp, pairing, inputs.curve, inputs.weight, inputs.partner)
        node = xp.concat(
            [
                inputs.secondary_structure,
                around / xp.like(spread, around),
                (mask * length[:, None])[..., None],
                ends,
                amount,
            ]
        )
        return Encoded(
            inputs=inputs,
            mask=mask,
            log_weight=xp.log(xp.maximum(inputs.weight, 1e-6)),
            node=dense(xp, params, "node.static", node),
            pair=kernel,
            scalars=xp.stack([length, inputs.curve_error]),
        )

    def encode_coordinates(
        self, field: Array, time: Array, encoded: Encoded
    ) -> tuple[Array, Array, Array]:
        """Encode the noisy field: node features, vectors in global coordinates, scalars."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        scale_in = self.preconditioning(time, inputs.curve_error)[0]
        embedded = xp.concat([time_features(xp, time, self.config.time_channels), encoded.scalars])
        hidden = xp.silu(dense(xp, params, "scalars.in", embedded))
        scalars = xp.silu(dense(xp, params, "scalars.out", hidden))
        offsets = self.in_points(FIELD_OFFSETS)
        near = neighbors_in_frame(xp, field, inputs.curve, inputs.frame, encoded.mask, offsets)
        relative = (field - self.center(inputs)) * scale_in[:, None, None, None]
        points = xp.concat([relative, self._centered_curve(inputs)[:, :, None] * 0.1], axis=2)
        node = (
            encoded.node
            + dense(xp, params, "node.field", near * scale_in[:, None, None])
            + dense(xp, params, "node.partner", self._partners(points, encoded))
        )
        present = encoded.mask[:, :, None, None]
        vectors = xp.einsum("bnai,av->bnvi", points, params["vectors.in"]) * present
        return node * encoded.mask[:, :, None], vectors, scalars

    def _centered_curve(self, inputs: ChainInputs) -> Array:
        """Curve relative to its mean over the chain, angstrom."""
        weight = inputs.weight[:, :, None]
        total = self.backend.sum(weight, axis=1, keepdims=True)
        mean = self.backend.sum(inputs.curve * weight, axis=1, keepdims=True) / total
        return inputs.curve - mean

    def _partners(self, points: Array, encoded: Encoded) -> Array:
        """Mean place of the partners, seen from each point's frame; zero without partners."""
        xp = self.backend
        batch, size, count = points.shape[:3]
        # a last channel of ones tells how much of a mean there is
        flat = xp.reshape(points, (batch, size, 3 * count))
        ones = encoded.mask[:, :, None]
        mean = pairing_means(xp, encoded.pair, xp.concat([flat, ones]), encoded.inputs.partner)
        place = xp.reshape(mean[..., :-1], (batch, size, NUM_PAIRINGS, count, 3))
        # curves are differences of two places, fields are relative to the curve already
        own = points[:, :, None, count - 1 :] * mean[..., -1][..., None, None]
        place = xp.concat([place[:, :, :, :-1], place[:, :, :, -1:] - own], axis=3)
        place = xp.reshape(place, (batch, size, NUM_PAIRINGS * count, 3))
        seen = xp.einsum("bnij,bnaj->bnai", encoded.inputs.frame, place)
        return xp.reshape(seen, (batch, size, NUM_PAIRINGS * count * 3))

    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field; see :class:`BaseNeuralOperator`."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        hidden, vectors, scalars = self.encode_coordinates(field, time, encoded)
        for index, dilation in enumerate(self.config.dilations):
            hidden, vectors = self._block(hidden, vectors, index, dilation, scalars, encoded)
        normal = normalize(xp, params, "head.norm", hidden)
        local = dense(xp, params, "head.out", xp.silu(dense(xp, params, "head.in", normal)))
        local = xp.reshape(local, (*hidden.shape[:2], 3, 3))
        update = xp.einsum("bnji,bnaj->bnai", inputs.frame, local)
        update = update + xp.einsum("bnvi,va->bnai", vectors, params["vectors.out"])
        relative = dense(xp, params, "sigma", normal)[..., 0]
        return self.assemble(field, time, inputs, update, relative)

    def _block(
        self,
        hidden: Array,
        vectors: Array,
        index: int,
        dilation: int,
        scalars: Array,
        encoded: Encoded,
    ) -> tuple[Array, Array]:
        """Convolve scalars and vectors, exchange them, average over partners, map pointwise."""
        xp, params, name = self.backend, self.params, f"blocks.{index}"
        weight, frame, points = encoded.inputs.weight, encoded.inputs.frame, self.points_per_residue
        mask, width = encoded.mask[..., None], self.config.channels
        batch, size = hidden.shape[:2]
        film = dense(xp, params, f"{name}.film", scalars)[:, None, :]
        value = normalize(xp, params, f"{name}.norm", hidden)
        value = (value * (1.0 + film[..., :width]) + film[..., width:]) * mask
        added = xp.reshape(dense(xp, params, f"{name}.lift", value), (batch, size, -1, 3))
        vectors = vectors + xp.einsum("bnji,bnvj->bnvi", frame, added) * mask[..., None]
        vectors = (
            vectors
            + spectral_vectors(xp, params, f"{name}.vectors", vectors, weight, points)
            * mask[..., None]
        )
        seen = xp.einsum("bnij,bnvj->bnvi", frame, vectors)
        offsets = self.in_points([dilation * k for k in KERNEL_OFFSETS])
        thin = dense(xp, params, f"{name}.thin", value) * mask
        partner = dense(xp, params, f"{name}.partner", value)
        partner = pairing_means(xp, encoded.pair, partner, encoded.inputs.partner)
        partner = xp.reshape(partner, (batch, size, -1))
        features = [
            xp.silu(local_kernel(xp, params, f"{name}.local", value, offsets)),
            xp.silu(spectral_convolution(xp, params, f"{name}.scalars", thin, weight, points)),
            xp.reshape(seen, (batch, size, 3 * self.config.vector_channels)),
            partner,
        ]
        hidden = hidden + dense(xp, params, f"{name}.out", xp.concat(features))
        value = normalize(xp, params, f"{name}.mlp.norm", hidden)
        value = xp.silu(dense(xp, params, f"{name}.mlp.in", value))
        return (hidden + dense(xp, params, f"{name}.mlp.out", value)) * mask, vectors


def _initialize_block(make: Initializer, config: FNOConfig, block: str) -> None:
    """Draw the parameters of one block."""
    width, vectors = config.channels, config.vector_channels
    thin, partner = config.spectral_channels, config.partner_channels
    make.dense(f"{block}.film", config.time_channels, 2 * width, gain=0.1)
    for norm in ("norm", "mlp.norm"):
        make.norm(f"{block}.{norm}", width)
    make.dense(f"{block}.lift", width, 3 * vectors, gain=0.3)
    shape = (len(KNOTS), vectors, vectors, 2)
    make.normal(f"{block}.vectors.multiplier", shape, 0.3 / math.sqrt(2 * vectors))
    make.dense(f"{block}.thin", width, thin)
    make.normal(f"{block}.scalars.multiplier", (len(KNOTS), thin, thin, 2), 1.0 / math.sqrt(thin))
    make.dense(f"{block}.local", len(KERNEL_OFFSETS) * width, width)
    make.dense(f"{block}.partner", width, partner)
    joined = width + thin + 3 * vectors + NUM_PAIRINGS * partner
    make.dense(f"{block}.out", joined, width, gain=0.3)
    make.dense(f"{block}.mlp.in", width, 2 * width)
    make.dense(f"{block}.mlp.out", 2 * width, width, gain=0.2)
