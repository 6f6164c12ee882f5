"""Training batches: chains of like length with perturbed conditions, noise and flow times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.geometry import axis_curve
from protein_lab.operators.prior import ATOM_OFFSETS, backbone_noise, ornstein_uhlenbeck
from protein_lab.training.chains import BatchOptions, ChainSource
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import perturb_curve


class TrainingChain(NamedTuple):
    """One chain as the operator sees it, with its target and noise."""

    conditions: Conditions
    curve_error: float
    angle: float
    target: NDArray[np.float32]
    noise: NDArray[np.float32]
    time: float


class BatchSource(ChainSource):
    """Draws training chains from a corpus; every batch is a function of (seed, step) alone.

    Parameters
    ----------
    corpus : Corpus
    split : str
        ``train``, ``calibration`` or ``test``.
    options : BatchOptions
    seed : int
    prior_scale, prior_correlation : float
        Prior of the operator, angstrom and residues.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        options: BatchOptions,
        seed: int,
        prior_scale: float,
        prior_correlation: float,
    ) -> None:
        super().__init__(corpus, split, options, seed)
        self._prior = (prior_scale, prior_correlation)

    def batch(self, step: int) -> list[TrainingChain]:
        """Return the chains of batch number ``step``."""
        picked, rng = self.pick(step)
        chains = [self._chain(index, rng) for index in picked]
        density = self.density(step)
        return chains if density == 1 else [self._densify(c, density, rng) for c in chains]

    def batches(self, start: int = 0) -> Iterator[tuple[int, list[TrainingChain]]]:
        """Yield step numbers and batches without end, from ``start``."""
        step = start
        while True:
            yield step, self.batch(step)
            step += 1

    def _chain(self, index: int, rng: np.random.Generator) -> TrainingChain:
        options = self.options
        backbone = np.asarray(self.corpus.backbone(index), dtype=np.float64)
        states = self.corpus.secondary_structure(index)
        topology = self.topology_of(index, backbone, states)
        true_curve = axis_curve(backbone[:, 1])
        amplitude = 0.0
        if rng.random() >= options.exact_curve:
            amplitude = float(rng.uniform(0.0, options.max_curve_error))
        curve = perturb_curve(true_curve, topology.elements, rng, amplitude)
        pairs = self.ask_pairs(topology, rng)
        asked = self.ask(states, rng)
        start, stop = self._crop(len(states), rng)
        center = curve[start:stop].mean(axis=0)
        whole = compile_conditions(asked, topology.elements, pairs, curve - center)
        conditions = Conditions(
            whole.axis_curve[start:stop],
            whole.secondary_structure[start:stop],
            whole.pairing[start:stop, start:stop],
            whole.mask[start:stop],
        )
        return TrainingChain(
            conditions=conditions,
            curve_error=amplitude,
            angle=float(rng.uniform(0.0, 2.0 * np.pi)),
            target=(backbone[start:stop, :3] - center).astype(np.float32),
            noise=backbone_noise(rng, stop - start, 1, *self._prior)[0],
            time=_draw_time(rng),
        )

    def _densify(
        self, chain: TrainingChain, density: int, rng: np.random.Generator
    ) -> TrainingChain:
        """Sample the functions of a chain at several points a residue.

        Curve and field are splines through their values at residues, secondary structure and
        pairing are constant on the cell of each residue, and the noise is the same process.
        """
        known, length = chain.conditions, len(chain.target)
        residue = np.arange(length)
        places = (np.arange(length * density) + 0.5) / density - 0.5
        pairing = known.pairing.repeat(density, axis=0).repeat(density, axis=1)
        conditions = Conditions(
            np.asarray(CubicSpline(residue, known.axis_curve)(places), dtype=np.float32),
            known.secondary_structure.repeat(density, axis=0),
            pairing,
            known.mask.repeat(density),
            spacing=1.0 / density,
        )
        atoms, where = np.unique(
            np.round(places[:, None] + np.array(ATOM_OFFSETS), 6), return_inverse=True
        )
        noise = ornstein_uhlenbeck(rng, atoms, 1, *self._prior)[0]
        return chain._replace(
            conditions=conditions,
            target=np.asarray(CubicSpline(residue, chain.target)(places), dtype=np.float32),
            noise=noise[where].reshape(-1, 3, 3).astype(np.float32),
        )

    def _crop(self, length: int, rng: np.random.Generator) -> tuple[int, int]:
        if length <= self.options.max_length:
            return 0, length
        start = int(rng.integers(0, length - self.options.max_length + 1))
        return start, start + self.options.max_length


def _draw_time(rng: np.random.Generator) -> float:
    """Flow time, more often near the data, where local geometry is decided."""
    if rng.random() < 0.4:
        return float(rng.uniform(0.0, 1.0))
    return float(rng.beta(1.9, 1.0))
