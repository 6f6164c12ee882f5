"""Training batches of the coarse flow: whole chains as curves of a few residues' spacing."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.curve_flow import coarsen, draw_polymer
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.training.chains import BatchOptions, ChainSource
from protein_lab.training.corpus import Corpus

_GUESSED = 0.5
"""Share of steps in which the operator sees its own guess, as it does when it samples."""


class CurveChain(NamedTuple):
    """One chain as the operator sees it: the curve of its conditions is the noisy one."""

    conditions: Conditions
    target: NDArray[np.float32]
    time: float


class CurveBatchSource(ChainSource):
    """Draws training curves from a corpus; every batch is a function of (seed, step) alone.

    Parameters
    ----------
    corpus : Corpus
    split : str
    options : BatchOptions
        Chains longer than its ``max_length`` are left out.
    seed : int
    spacing : float
        Residues between two points of a curve.
    """

    def __init__(
        self, corpus: Corpus, split: str, options: BatchOptions, seed: int, spacing: float
    ) -> None:
        super().__init__(corpus, split, options, seed, whole=True)
        self._spacing = spacing

    def batch(self, step: int) -> tuple[list[CurveChain], bool]:
        """Return the chains of a step, and whether the operator shall guess first."""
        picked, rng = self.pick(step)
        guessed = bool(rng.random() < _GUESSED)
        spacing = self._spacing / self.density(step)
        return [self._chain(index, rng, spacing) for index in picked], guessed

    def _chain(self, index: int, rng: np.random.Generator, spacing: float) -> CurveChain:
        backbone = np.asarray(self.corpus.backbone(index), dtype=np.float64)
        states = self.corpus.secondary_structure(index)
        topology = self.topology_of(index, backbone, states)
        pairs = self.ask_pairs(topology, rng)
        asked = self.ask(states, rng)
        curve = axis_curve(backbone[:, 1])
        fine = compile_conditions(asked, topology.elements, pairs, curve)
        coarse = coarsen(fine, spacing)
        target = coarse.axis_curve
        noise = draw_polymer(rng, len(states), len(target), 1)[0]
        # the prior has no direction of its own; turned onto its target, paths are shorter
        rotation, _ = superimpose(noise, target)
        time = float(rng.uniform(0.0, 1.0))
        noisy = (1.0 - time) * (noise @ rotation.T) + time * target
        return CurveChain(replace(coarse, axis_curve=noisy.astype(np.float32)), target, time)
