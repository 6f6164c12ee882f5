"""A plain transformer over residues: the baseline without the structure of an operator.

Pre-norm self-attention and pointwise maps (Vaswani et al., NeurIPS 2017; Xiong et al., ICML 2020)
with rotary positions (Su et al., arXiv:2104.09864) and time that scales and shifts the normalized
features (Peebles and Xie, ICCV 2023). It sees what the operators see: the same features of every
residue, and pairing as a bias of the attention; places in space come as coordinates. What it lacks
is what makes an operator: sums over residues carry no quadrature weights, offsets are indices, no
kernel sees distances in space or along the chain, and turning the input does not turn the output.
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
from protein_lab.operators.kernel import dense, normalize

FIELD_OFFSETS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
CURVE_OFFSETS = (-8, -6, -4, -3, -2, -1, 1, 2, 3, 4, 6, 8)
NUM_COMPONENTS = 9
NUM_PAIRINGS = 3
_PLACES = 0.1
"""Scale of coordinates in space, per angstrom."""

_MASKED = -1e9


class TransformerConfig(OperatorConfig, frozen=True, kw_only=True):
    """Sizes of the transformer; about as many parameters as the enhanced DeepONet.

    Attributes
    ----------
    channels, heads, blocks : int
        Width, attention heads and number of blocks.
    expansion : int
        Width of the pointwise map inside a block, in widths.
    """

    channels: int = 144
    heads: int = 8
    blocks: int = 6
    expansion: int = 4


class ProteinTransformer(BaseNeuralOperator[TransformerConfig]):
    """The plain transformer; see the module's text."""

    name = "transformer"

    @classmethod
    def initialize(
        cls, config: TransformerConfig, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : TransformerConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output).
        """
        make = Initializer(rng)
        width, time = config.channels, config.time_channels
        num_node = 4 + 3 * len(CURVE_OFFSETS) + 1 + len(CURVE_OFFSETS)
        make.dense("node.static", num_node, width)
        make.dense("node.field", len(FIELD_OFFSETS) * NUM_COMPONENTS, width)
        make.dense("node.places", 3 + NUM_COMPONENTS + 9, width)
        make.dense("pairing.bias", NUM_PAIRINGS, config.blocks * config.heads)
        make.dense("scalars.in", time + 2, time)
        make.dense("scalars.out", time, time)
        for index in range(config.blocks):
            block = f"blocks.{index}"
            make.dense(f"{block}.film", time, 4 * width, gain=0.1)
            for norm in ("attention.norm", "mlp.norm"):
                make.norm(f"{block}.{norm}", width)
            for part in ("query", "key", "value"):
                make.dense(f"{block}.attention.{part}", width, width)
            make.dense(f"{block}.attention.out", width, width, gain=0.2)
            make.dense(f"{block}.mlp.in", width, config.expansion * width)
            make.dense(f"{block}.mlp.out", config.expansion * width, width, gain=0.2)
        make.norm("head.norm", width)
        make.dense("head.out", width, NUM_COMPONENTS, gain=0.3)
        make.dense("sigma", width, 1, gain=0.1)
        return make.params

    def encode_constraints(self, inputs: ChainInputs) -> Encoded:
        """Encode curve and secondary structure; ``pair`` holds the biases of all blocks."""
        xp, params = self.backend, self.params
        mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
        around = neighbors_in_frame(
            xp, inputs.curve[:, :, None, :], inputs.curve, inputs.frame, mask, CURVE_OFFSETS
        )
        spread = np.repeat([3.0 * math.sqrt(abs(k)) for k in CURVE_OFFSETS], 3)
        ends = xp.stack([shift(xp, mask, k) for k in CURVE_OFFSETS])
        length = xp.log(xp.sum(mask, axis=1)) - 4.6
        node = xp.concat(
            [
                inputs.secondary_structure,
                around / xp.like(spread, around),
                (mask * length[:, None])[..., None],
                ends,
            ]
        )
        return Encoded(
            inputs=inputs,
            mask=mask,
            log_weight=xp.where(mask > 0, mask * 0.0, mask + _MASKED),
            node=dense(xp, params, "node.static", node),
            pair=xp.transpose(dense(xp, params, "pairing.bias", inputs.pairing), (0, 3, 1, 2)),
            scalars=xp.stack([length, inputs.curve_error]),
        )

    def encode_coordinates(
        self, field: Array, time: Array, encoded: Encoded
    ) -> tuple[Array, Array, Array]:
        """Encode the noisy field: node features, biases of the attention, embedded scalars."""
        xp, params, inputs = self.backend, self.params, encoded.inputs
        scale_in = self.preconditioning(time, inputs.curve_error)[0]
        embedded = xp.concat([time_features(xp, time, self.config.time_channels), encoded.scalars])
        hidden = xp.silu(dense(xp, params, "scalars.in", embedded))
        scalars = xp.silu(dense(xp, params, "scalars.out", hidden))
        near = neighbors_in_frame(
            xp, field, inputs.curve, inputs.frame, encoded.mask, FIELD_OFFSETS
        )
        node = (
            encoded.node
            + dense(xp, params, "node.field", near * scale_in[:, None, None])
            + dense(xp, params, "node.places", self._places(field, encoded))
        )
        return node * encoded.mask[:, :, None], encoded.pair, scalars

    def _places(self, field: Array, encoded: Encoded) -> Array:
        """Curve, field and frame of every residue in global coordinates."""
        xp, inputs = self.backend, encoded.inputs
        batch, size = inputs.curve.shape[:2]
        present = encoded.mask[:, :, None]
        total = xp.sum(present, axis=1, keepdims=True)
        mean = xp.sum(inputs.curve * present, axis=1, keepdims=True) / total
        atoms = xp.reshape(field - mean[:, :, None, :], (batch, size, NUM_COMPONENTS))
        frame = xp.reshape(inputs.frame, (batch, size, 9))
        return xp.concat([(inputs.curve - mean) * _PLACES, atoms * _PLACES, frame])

    def forward_with_uncertainty(
        self, field: Array, time: Array, encoded: Encoded
    ) -> FieldPrediction:
        """Predict the clean field; see :class:`BaseNeuralOperator`."""
        xp, params, config = self.backend, self.params, self.config
        hidden, bias, scalars = self.encode_coordinates(field, time, encoded)
        rotation = self._rotation(encoded)
        for index in range(config.blocks):
            film = dense(xp, params, f"blocks.{index}.film", scalars)[:, None, :]
            own = bias[:, index * config.heads : (index + 1) * config.heads]
            own = own + encoded.log_weight[:, None, None, :]
            hidden = hidden + self._attention(hidden, index, film, own, rotation)
            hidden = hidden + self._pointwise(hidden, index, film)
        normal = normalize(xp, params, "head.norm", hidden)
        local = dense(xp, params, "head.out", normal)
        local = xp.reshape(local, (*hidden.shape[:2], 3, 3))
        update = xp.einsum("bnji,bnaj->bnai", encoded.inputs.frame, local)
        relative = dense(xp, params, "sigma", normal)[..., 0]
        return self.assemble(field, time, encoded.inputs, update, relative)

    def _rotation(self, encoded: Encoded) -> tuple[Array, Array]:
        """Cosine and sine of the angles that turn queries and keys, by number of the residue."""
        xp, size = self.backend, encoded.mask.shape[1]
        half = self.config.channels // self.config.heads // 2
        angles = np.arange(size)[:, None] / np.geomspace(1.0, 100.0, half)[None, :]
        return xp.like(np.cos(angles), encoded.mask), xp.like(np.sin(angles), encoded.mask)

    def _attention(
        self, hidden: Array, index: int, film: Array, bias: Array, rotation: tuple[Array, Array]
    ) -> Array:
        """Self-attention over the residues of a chain."""
        xp, params, name = self.backend, self.params, f"blocks.{index}.attention"
        width, heads = self.config.channels, self.config.heads
        batch, size = hidden.shape[:2]
        value = normalize(xp, params, f"{name}.norm", hidden)
        value = value * (1.0 + film[..., :width]) + film[..., width : 2 * width]

        def split(part: str) -> Array:
            found = dense(xp, params, f"{name}.{part}", value)
            found = xp.reshape(found, (batch, size, heads, width // heads))
            return xp.transpose(found, (0, 2, 1, 3))

        def turned(part: str) -> Array:
            cosine, sine = rotation
            found, half = split(part), width // heads // 2
            first, second = found[..., :half], found[..., half:]
            return xp.concat([first * cosine - second * sine, first * sine + second * cosine])

        key = xp.transpose(turned("key"), (0, 1, 3, 2))
        logits = (turned("query") @ key) * (1.0 / math.sqrt(width // heads)) + bias
        mixed = xp.transpose(xp.softmax(logits) @ split("value"), (0, 2, 1, 3))
        return dense(xp, params, f"{name}.out", xp.reshape(mixed, (batch, size, width)))

    def _pointwise(self, hidden: Array, index: int, film: Array) -> Array:
        """Map every residue by itself."""
        xp, params, name = self.backend, self.params, f"blocks.{index}.mlp"
        width = self.config.channels
        value = normalize(xp, params, f"{name}.norm", hidden)
        value = value * (1.0 + film[..., 2 * width : 3 * width]) + film[..., 3 * width :]
        return dense(xp, params, f"{name}.out", xp.silu(dense(xp, params, f"{name}.in", value)))
