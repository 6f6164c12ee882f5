"""Quality operator: from the field of a backbone to how far each residue can be trusted.

It sees a backbone as the sequence operator does, in balls around its residues, beside it the
residue types where they are known, and what statistical potentials say of each residue. From these
it predicts the lDDT that each residue would have to the real structure (Mariani et al.,
*Bioinformatics* 29, 2013). Averages over the chain carry quadrature weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.models.parameters import Initializer
from protein_lab.models.sequence import (
    NODE_FEATURES,
    NUM_TYPES,
    BackboneInputs,
    describe,
    make_block,
)
from protein_lab.operators.kernel import dense, normalize
from protein_lab.operators.neighborhood import PAIR_FEATURES, geometry_attention, transition

EVIDENCE = NUM_TYPES + 18
"""Type of the residue, whether it is known, its energies and number of neighbors, the same of its
stretch of the chain, and the five z-scores of the chain."""

CENTER, SPREAD = 0.65, 0.2
"""About the mean and the standard deviation of lDDT over decoys."""


class QualityConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the quality operator.

    Attributes
    ----------
    channels, pair_channels, heads : int
        Width of residues and of pairs, attention heads.
    neighbors : int
        Residues in the ball around each.
    blocks : int
    """

    channels: int = 64
    pair_channels: int = 32
    heads: int = 4
    neighbors: int = 16
    blocks: int = 2


class QualityInputs(NamedTuple):
    """A batch of backbones and what else is known of their residues.

    Attributes
    ----------
    backbone : BackboneInputs
    evidence : Array, shape=(batch, point, EVIDENCE)
        From :func:`~protein_lab.validation.evidence.evidence_of`.
    """

    backbone: BackboneInputs
    evidence: Array


class QualityOperator:
    """Maps backbones to predicted lDDT along the chain.

    Parameters
    ----------
    config : QualityConfig
    params : dict of str to array
        Flat parameters on ``backend``.
    backend : Backend
    digest : str
        SHA-256 of the weights file, empty for weights that come from no file.
    card : dict
        How the weights were trained, what they measure, and their calibration.
    """

    name = "quality"

    def __init__(
        self,
        config: QualityConfig,
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
    def initialize(cls, config: QualityConfig, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Draw untrained parameters.

        Parameters
        ----------
        config : QualityConfig
        rng : Generator

        Returns
        -------
        dict of str to ndarray
            Dense weights are stored as (input, output).
        """
        make = Initializer(rng)
        width, pair = config.channels, config.pair_channels
        make.dense("node.in", NODE_FEATURES + EVIDENCE, width)
        make.dense("node.out", width, width)
        make.dense("pair.in", PAIR_FEATURES, width, gain=2.0)
        make.dense("pair.out", width, pair)
        make.norm("pair.norm", pair)
        for index in range(config.blocks):
            make_block(make, f"block.{index}", config)
            make.norm(f"block.{index}.chain_norm", width)
            make.dense(f"block.{index}.chain", width, width, gain=0.5)
        make.norm("head.norm", width)
        make.dense("head.hidden", width, width)
        make.dense("head.out", width, 1, gain=0.1)
        return make.params

    def forward(self, inputs: QualityInputs) -> Array:
        """Predict the lDDT of every residue, uncalibrated.

        Parameters
        ----------
        inputs : QualityInputs

        Returns
        -------
        Array, shape=(batch, point)
            Not held between 0 and 1, which is left to the calibration; meaningless where padded.
        """
        xp, params = self.backend, self.params
        described = describe(xp, inputs.backbone)
        node = xp.concat([described.node, inputs.evidence])
        node = dense(xp, params, "node.out", xp.silu(dense(xp, params, "node.in", node)))
        pair = xp.silu(dense(xp, params, "pair.in", described.pair))
        pair = normalize(xp, params, "pair.norm", dense(xp, params, "pair.out", pair))
        weight = inputs.backbone.weight[..., None]
        share = weight / xp.sum(weight, axis=1, keepdims=True)
        batch, size, width = node.shape
        for number in range(self.config.blocks):
            name = f"block.{number}"
            seen = normalize(xp, params, f"{name}.norm", node)
            rows = xp.reshape(dense(xp, params, f"{name}.sender", seen), (batch * size, width))
            value, _ = geometry_attention(
                xp,
                params,
                name,
                dense(xp, params, f"{name}.receiver", seen),
                xp.take(rows, described.partner),
                pair,
                described.log_weight,
            )
            node = node + value
            node = node + transition(xp, params, f"{name}.mlp", node)
            whole = normalize(xp, params, f"{name}.chain_norm", node)
            mean = xp.sum(whole * share, axis=1, keepdims=True)
            node = node + dense(xp, params, f"{name}.chain", mean)
        seen = normalize(xp, params, "head.norm", node)
        seen = xp.silu(dense(xp, params, "head.hidden", seen))
        return CENTER + SPREAD * dense(xp, params, "head.out", seen)[..., 0]

    @cached_property
    def predict(self) -> Callable[[QualityInputs], Array]:
        """:meth:`forward`, compiled where the backend can."""

        def run(params: Parameters, inputs: QualityInputs) -> Array:
            return QualityOperator(self.config, params, self.backend).forward(inputs)

        return partial(self.backend.compile(run), self.params)
