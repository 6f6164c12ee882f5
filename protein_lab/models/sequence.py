"""Sequence operator: from the field of a backbone to distributions of amino acids along it.

An encoder sees the backbone alone; from it comes a first distribution at every residue at once. A
decoder sees, beside, the amino acids of those residues that come earlier in some order, whatever
the order is (as in Dauparas et al., *Science* 378, 2022); so residues may be given, and the rest
drawn around them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.constants import AMINO_ACIDS
from protein_lab.models.parameters import Initializer
from protein_lab.operators.embedding import neighbors_in_frame
from protein_lab.operators.kernel import dense, normalize
from protein_lab.operators.neighborhood import (
    ATOMS,
    BURIAL,
    PAIR_FEATURES,
    ball_weight,
    burial_densities,
    geometry_attention,
    pair_geometry,
    transition,
)

NUM_TYPES = 20
OFFSETS = (-3, -2, -1, 0, 1, 2, 3)
"""Residues along the chain whose atoms are seen from the own frame."""

NODE_FEATURES = 9 + len(OFFSETS) * ATOMS * 3 + 4 * len(BURIAL)
assert AMINO_ACIDS[NUM_TYPES] == "X"


class SequenceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the sequence operator.

    Attributes
    ----------
    channels, pair_channels, heads : int
        Width of residues and of pairs, attention heads.
    neighbors : int
        Residues in the ball around each.
    encoder_blocks, decoder_blocks : int
    pair_updates : tuple of int
        Encoder blocks that change the pair features.
    """

    channels: int = 128
    pair_channels: int = 64
    heads: int = 4
    neighbors: int = 20
    encoder_blocks: int = 4
    decoder_blocks: int = 2
    pair_updates: tuple[int, ...] = (1,)


class BackboneInputs(NamedTuple):
    """A batch of backbones, padded to the same number of residues.

    Attributes
    ----------
    atoms : Array, shape=(batch, point, ATOMS, 3)
        N, CA, C, O and the beginning of the side chain, angstrom.
    frame : Array, shape=(batch, point, 3, 3)
        Frames of the residues, rows are axes.
    torsion : Array, shape=(batch, point, 9)
        Sine and cosine of phi, psi, omega, zero where they do not exist, and whether they do.
    coordinate : Array, shape=(batch, point)
        Place on the chain, residues.
    weight : Array, shape=(batch, point)
        Quadrature weights in residues; zero where padded.
    partner : Array of int, shape=(batch, point, neighbor)
        Neighbors, as rows of the batch's points laid end to end.
    radius : Array, shape=(batch, point)
        Radius of the ball that holds the neighbors, angstrom.
    present : Array, shape=(batch, point, neighbor)
        One where there is a neighbor.
    """

    atoms: Array
    frame: Array
    torsion: Array
    coordinate: Array
    weight: Array
    partner: Array
    radius: Array
    present: Array


class Described(NamedTuple):
    """Features of backbones; they hold no parameters.

    Attributes
    ----------
    node : Array, shape=(batch, point, NODE_FEATURES)
    pair : Array, shape=(batch, point, neighbor, PAIR_FEATURES)
    log_weight : Array, shape=(batch, point, neighbor)
        Logarithm of quadrature weight times the cut-off of the ball.
    partner : Array of int, shape=(batch, point, neighbor)
    """

    node: Array
    pair: Array
    log_weight: Array
    partner: Array


class EncodedBackbone(NamedTuple):
    """What heads and decoder need of backbones.

    Attributes
    ----------
    node : Array, shape=(batch, point, channel)
    pair : Array, shape=(batch, point, neighbor, pair channel)
    log_weight : Array, shape=(batch, point, neighbor)
    partner : Array of int, shape=(batch, point, neighbor)
    """

    node: Array
    pair: Array
    log_weight: Array
    partner: Array


class SequenceOperator:
    """Maps backbones to distributions of amino acids.

    Parameters
    ----------
    config : SequenceConfig
    params : dict of str to array
        Flat parameters on ``backend``.
    backend : Backend
    digest : str
        SHA-256 of the weights file, empty for weights that come from no file.
    card : dict
        How the weights were trained and what they measure.
    """

    name = "sequence"

    def __init__(
        self,
        config: SequenceConfig,
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
    def initialize(
        cls, config: SequenceConfig, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : SequenceConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output).
        """
        make = Initializer(rng)
        width, pair = config.channels, config.pair_channels
        make.dense("node.in", NODE_FEATURES, width)
        make.dense("node.out", width, width)
        make.dense("pair.in", PAIR_FEATURES, width, gain=2.0)
        make.dense("pair.out", width, pair)
        make.norm("pair.norm", pair)
        for index in range(config.encoder_blocks):
            make_block(make, f"encoder.{index}", config)
            if index in config.pair_updates:
                make.dense(f"encoder.{index}.update", width, pair, gain=0.5)
                make.norm(f"encoder.{index}.update_norm", pair)
        for index in range(config.decoder_blocks):
            make_block(make, f"decoder.{index}", config)
            make.norm(f"decoder.{index}.hidden_norm", width)
            make.dense(f"decoder.{index}.hidden", width, width)
            make.normal(f"decoder.{index}.residue", (NUM_TYPES + 1, width), 0.5)
        for head in ("first", "final"):
            make.norm(f"{head}.norm", width)
            make.dense(f"{head}.logits", width, NUM_TYPES, gain=0.1)
        return make.params

    def describe(self, inputs: BackboneInputs) -> Described:
        """Compute the features of residues and pairs, once for each backbone."""
        return describe(self.backend, inputs)

    def encode(self, described: Described) -> EncodedBackbone:
        """Let residues see each other."""
        xp, params = self.backend, self.params
        node = xp.silu(dense(xp, params, "node.in", described.node))
        node = dense(xp, params, "node.out", node)
        pair = xp.silu(dense(xp, params, "pair.in", described.pair))
        pair = normalize(xp, params, "pair.norm", dense(xp, params, "pair.out", pair))
        for number in range(self.config.encoder_blocks):
            name = f"encoder.{number}"
            seen = normalize(xp, params, f"{name}.norm", node)
            sent = self._rows(dense(xp, params, f"{name}.sender", seen))
            received = dense(xp, params, f"{name}.receiver", seen)
            value, message = geometry_attention(
                xp,
                params,
                name,
                received,
                xp.take(sent, described.partner),
                pair,
                described.log_weight,
            )
            node = node + value
            node = node + transition(xp, params, f"{name}.mlp", node)
            if number in self.config.pair_updates:
                changed = pair + dense(xp, params, f"{name}.update", message)
                pair = normalize(xp, params, f"{name}.update_norm", changed)
        return EncodedBackbone(node, pair, described.log_weight, described.partner)

    def first_logits(self, encoded: EncodedBackbone) -> Array:
        """Logits from the backbone alone, shape (batch, point, 20)."""
        xp, params = self.backend, self.params
        seen = normalize(xp, params, "first.norm", encoded.node)
        return dense(xp, params, "first.logits", seen)

    def decode(self, encoded: EncodedBackbone, residues: Array, visible: Array) -> Array:
        """Logits from the backbone and amino acids that are known.

        Parameters
        ----------
        encoded : EncodedBackbone
        residues : Array of int, shape=(batch, point)
            Types of residues, 20 for one of unknown type; only visible ones matter.
        visible : Array of int, shape=(batch, point, neighbor)
            One where a residue sees the type of a neighbor. It must follow an order: nobody sees
            one that sees it, directly or through others.

        Returns
        -------
        Array, shape=(batch, point, 20)
        """
        xp, params = self.backend, self.params
        batch, size = residues.shape
        # rows of residues whose type shows, then rows of the same residues without
        row = encoded.partner + (1 - visible) * (batch * size)
        flat = xp.reshape(residues, (batch * size,))
        node = encoded.node
        for number in range(self.config.decoder_blocks):
            name = f"decoder.{number}"
            seen = normalize(xp, params, f"{name}.norm", node)
            bare = normalize(xp, params, f"{name}.hidden_norm", encoded.node)
            shown = self._rows(dense(xp, params, f"{name}.sender", seen))
            shown = shown + xp.take(params[f"{name}.residue"], flat)
            hidden = self._rows(dense(xp, params, f"{name}.hidden", bare))
            sent = xp.take(xp.concat([shown, hidden], axis=0), row)
            received = dense(xp, params, f"{name}.receiver", seen)
            value, _ = geometry_attention(
                xp, params, name, received, sent, encoded.pair, encoded.log_weight
            )
            node = node + value
            node = node + transition(xp, params, f"{name}.mlp", node)
        seen = normalize(xp, params, "final.norm", node)
        return dense(xp, params, "final.logits", seen)

    @cached_property
    def embed(self) -> Callable[[BackboneInputs], EncodedBackbone]:
        """:meth:`describe` and :meth:`encode`, compiled where the backend can."""

        def run(params: Parameters, inputs: BackboneInputs) -> EncodedBackbone:
            operator = SequenceOperator(self.config, params, self.backend)
            return operator.encode(operator.describe(inputs))

        return partial(self.backend.compile(run), self.params)

    @cached_property
    def predict(self) -> Callable[[EncodedBackbone, Array, Array], Array]:
        """:meth:`decode`, compiled where the backend can."""

        def run(
            params: Parameters, encoded: EncodedBackbone, residues: Array, visible: Array
        ) -> Array:
            operator = SequenceOperator(self.config, params, self.backend)
            return operator.decode(encoded, residues, visible)

        return partial(self.backend.compile(run), self.params)

    def _rows(self, value: Array) -> Array:
        """Lay the points of all chains end to end."""
        batch, size, channels = value.shape
        return self.backend.reshape(value, (batch * size, channels))


def describe(backend: Backend, inputs: BackboneInputs) -> Described:
    """Compute the features of residues and pairs of backbones; no parameter has a part in them."""
    xp = backend
    mask = xp.where(inputs.weight > 0, inputs.weight * 0.0 + 1.0, inputs.weight * 0.0)
    around = neighbors_in_frame(
        xp, inputs.atoms, inputs.atoms[:, :, 1], inputs.frame, mask, OFFSETS
    )
    burial = burial_densities(xp, inputs.atoms, inputs.frame, inputs.weight)
    node = xp.concat([inputs.torsion, around * 0.15, burial])
    pair, squared = pair_geometry(xp, inputs.atoms, inputs.frame, inputs.coordinate, inputs.partner)
    batch, size = inputs.weight.shape
    weight = xp.take(xp.reshape(inputs.weight, (batch * size, 1)), inputs.partner)[..., 0]
    log_weight = ball_weight(xp, squared, inputs.radius, weight, inputs.present)
    return Described(node, pair, log_weight, inputs.partner)


class BlockSizes(Protocol):
    """What the parameters of a block depend on."""

    @property
    def channels(self) -> int:
        """Width of residues."""
        ...

    @property
    def pair_channels(self) -> int:
        """Width of pairs."""
        ...

    @property
    def heads(self) -> int:
        """Attention heads."""
        ...


def make_block(make: Initializer, name: str, config: BlockSizes) -> None:
    """Draw the parameters of one block of attention over the ball and a transition."""
    width = config.channels
    make.norm(f"{name}.norm", width)
    make.dense(f"{name}.sender", width, width)
    make.dense(f"{name}.receiver", width, width)
    make.dense(f"{name}.pair", config.pair_channels, width)
    make.dense(f"{name}.logit", width, config.heads)
    make.dense(f"{name}.out", config.heads * width, width, gain=0.5)
    make.norm(f"{name}.mlp.norm", width)
    make.dense(f"{name}.mlp.in", width, 2 * width)
    make.dense(f"{name}.mlp.out", 2 * width, width, gain=0.5)
