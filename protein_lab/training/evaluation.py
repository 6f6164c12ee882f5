"""How good the averaged weights are while they are trained, on chains of the calibration split.

Losses do not tell what is drawn. So a few chains are drawn as designs are, in few steps, and
measured: cheap enough to be done while training, and too few to compare one run with another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends.base import Backend, Parameters
from protein_lab.constants import CA_CA_TRANS
from protein_lab.constraints.fields import compile_conditions
from protein_lab.curve_flow import coarsen, draw_polymer, refine_curve, sample_curves
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import axis_curve, place_oxygen
from protein_lab.metrics import dssp, hydrogen_bonds, tm_score
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.sequence import SequenceOperator
from protein_lab.training.chains import BatchOptions, ChainSource
from protein_lab.training.corpus import Corpus
from protein_lab.training.learning import Task
from protein_lab.training.perturbation import perturb_curve

CALIBRATION_SEED = 987_654_321
NUM_CHAINS = 8
STEPS = 12
LENGTHS = (50, 110)
CURVE_ERROR = 0.3
"""How far curves are perturbed, and said to be off, angstrom."""
_BONDED = 4.0
"""Distance of oxygen and nitrogen up to which a hydrogen bond counts as drawn, angstrom."""
_RIGHT = 0.2
"""Error of a right distance of consecutive alpha carbons, angstrom."""


class Evaluation:
    """Held-out loss and measures of samples.

    Parameters
    ----------
    kind : type
        Of the operator.
    config : msgspec.Struct
    backend : Backend
    corpus : Corpus
    task : Task
        On the calibration split.
    """

    def __init__(
        self, kind: type[Any], config: Any, backend: Backend, corpus: Corpus, task: Task
    ) -> None:
        self._kind, self._config, self._backend = kind, config, backend
        self._corpus, self._task = corpus, task
        self._source: ChainSource | None = None

    def held_out_loss(self, params: Parameters, num_batches: int = 4) -> float:
        """Mean loss on fixed batches of the calibration split."""
        losses = [
            float(self._task.loss(params, *self._task.batch(number, params))[0])
            for number in range(num_batches)
        ]
        return float(np.mean(losses))

    def samples(self, params: Parameters) -> dict[str, float]:
        """Measures of what the operator draws; see the functions for their names."""
        operator = self._kind(self._config, params, self._backend)
        if self._kind.name == SequenceOperator.name:
            return _recovery(operator, self._task.batch(0, params))
        measure: Callable[..., dict[str, float]] = _field_measures
        if self._kind.name == CurveDeepONet.name:
            measure = _curve_measures
        source = self._chains()
        found = [
            measure(operator, source, int(index), np.random.default_rng([CALIBRATION_SEED, row]))
            for row, index in enumerate(source.chains)
        ]
        return _mean(found)

    def _chains(self) -> ChainSource:
        """Pick the same few chains every time."""
        if self._source is None:
            self._source = ChainSource(
                self._corpus, "calibration", BatchOptions(), CALIBRATION_SEED
            )
            low, high = LENGTHS
            fitting = self._corpus.indices("calibration", low, high)
            rng = np.random.default_rng(CALIBRATION_SEED)
            self._source.chains = rng.permutation(fitting)[:NUM_CHAINS]
        return self._source


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every measure over the chains that have it."""
    names = dict.fromkeys(name for measures in found for name in measures)
    values = {n: [m[n] for m in found if n in m and np.isfinite(m[n])] for n in names}
    return {name: float(np.mean(list_)) for name, list_ in values.items() if list_}


def _field_measures(
    operator: BaseNeuralOperator[Any], source: ChainSource, index: int, rng: np.random.Generator
) -> dict[str, float]:
    """Shares of helix and strand residues that come out so, and of right CA-CA distances."""
    corpus, config = source.corpus, operator.config
    backbone = np.asarray(corpus.backbone(index), dtype=np.float64)
    states = corpus.secondary_structure(index)
    topology = source.topology_of(index, backbone, states)
    curve = perturb_curve(axis_curve(backbone[:, 1]), topology.elements, rng, CURVE_ERROR)
    conditions = compile_conditions(
        states, topology.elements, topology.pairs, curve - curve.mean(axis=0)
    )
    noise = draw_noise(
        rng, 1, len(states), scale=config.prior_scale, correlation=config.prior_correlation
    )
    field = sample(operator, conditions, noise, STEPS, curve_error=CURVE_ERROR).field[0]
    return field_measures(np.asarray(field, dtype=np.float64), backbone, states)


def field_measures(
    field: NDArray[np.float64], backbone: NDArray[np.float64], asked: str
) -> dict[str, float]:
    """Measure a drawn field.

    Parameters
    ----------
    field : ndarray, shape=(residue, 3, 3)
        N, CA, C in angstrom.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O of the chain that it was drawn for.
    asked : str
        ``H``, ``E`` or ``L`` for each residue.

    Returns
    -------
    dict of str to float
        ``helix`` and ``strand``: shares of the residues asked to be so that are, by DSSP;
        ``strand_bonds``: share of the hydrogen bonds of strands whose oxygen and nitrogen are
        within 4 angstrom; each left out where there is none; ``ca_ca``: share of consecutive CA
        atoms within 0.2 of 3.80 angstrom.
    """
    drawn = place_oxygen(field)
    obtained = np.array(list(dssp(drawn)))
    wanted = np.array(list(asked))
    step = np.linalg.norm(np.diff(field[:, 1], axis=0), axis=-1)
    found = {"ca_ca": float((np.abs(step - CA_CA_TRANS) < _RIGHT).mean())}
    for name, letter in (("helix", "H"), ("strand", "E")):
        if (wanted == letter).any():
            found[name] = float((obtained[wanted == letter] == letter).mean())
    donor, acceptor, _ = hydrogen_bonds(backbone)
    in_strands = (wanted[donor] == "E") & (wanted[acceptor] == "E")
    if in_strands.any():
        length = np.linalg.norm(drawn[donor, 0] - drawn[acceptor, 3], axis=-1)
        found["strand_bonds"] = float((length[in_strands] < _BONDED).mean())
    return found


def _curve_measures(
    operator: BaseNeuralOperator[Any], source: ChainSource, index: int, rng: np.random.Generator
) -> dict[str, float]:
    """TM-score of a drawn curve to that of the chain."""
    backbone = np.asarray(source.corpus.backbone(index), dtype=np.float64)
    states = source.corpus.secondary_structure(index)
    topology = source.topology_of(index, backbone, states)
    curve = axis_curve(backbone[:, 1])
    conditions = compile_conditions(states, topology.elements, topology.pairs, curve)
    coarse = coarsen(conditions, operator.config.spacing)
    noise = draw_polymer(rng, len(states), coarse.length, 1)
    drawn = sample_curves(operator, coarse, noise, STEPS).curve[0]
    return {"curve_tm": float(tm_score(refine_curve(drawn, len(states)), curve))}


def _recovery(operator: SequenceOperator, batch: tuple[Any, ...]) -> dict[str, float]:
    """Share of amino acids that the backbone alone gives back."""
    inputs, _, _, target = batch[:4]
    logits = operator.first_logits(operator.encode(operator.describe(inputs)))
    true, given = (operator.backend.to_numpy(value) for value in (target, logits))
    known = true.sum(axis=-1) > 0
    return {"recovery": float((true.argmax(-1) == given.argmax(-1))[known].mean())}
