"""Where designs are optimized: what fields start from, refined backbones, sequences.

An objective is made of the constraints of the request and of what keeps a chain a chain. Every
function takes the random stream of the design and nothing else that is random, so a design stays
a function of seed and index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from protein_lab.constraints.base import Constraint, Layout, Restraining
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.objective import Objective, ObjectiveError, Subject, Term
from protein_lab.design.optimizer_options import (
    AnyOptimizer,
    EvolutionaryOptions,
    GradientOptions,
)
from protein_lab.design.optimizers.annealing import Annealing
from protein_lab.design.optimizers.base import (
    Optimizer,
    Problem,
    Record,
    Space,
    State,
    run,
)
from protein_lab.design.optimizers.evolutionary import Covariance
from protein_lab.design.optimizers.gradient import GRADIENT_COST, Gradient
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_bias import sequence_bias
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.design.spaces.latents import Latents
from protein_lab.design.spaces.sequences import Sequences, bias_term
from protein_lab.design.spaces.torsions import Torsions
from protein_lab.design.terms import (
    chain_term,
    checks_term,
    clash_term,
    compactness_term,
    constraint_term,
    near_term,
    torsion_term,
)
from protein_lab.flow import draw_noise
from protein_lab.geometry import backbone_dihedrals, superimpose
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.sequence import SequenceOperator
from protein_lab.typing import FloatArray

_STARTS: Final = 4
_ENOUGH: Final = 0.1
"""Nats; a field that is refined afterwards need not be better."""

_MARGIN_WEIGHT: Final = 10.0
"""Nats that a unit of a margin counts; most margins without an energy are fractions."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What fields are to be sampled from.

    Attributes
    ----------
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    noise : ndarray, shape=(sample, residue, 3, 3), dtype=float32
        The optimized one first, where noise is optimized; the others are plain draws.
    records : tuple of Record
        One a step.
    stopped : str
        Why the search ended early; empty where it did not.
    """

    curve: FloatArray
    noise: FloatArray
    records: tuple[Record, ...]
    stopped: str


def searches(request: DesignRequest, over: str) -> bool:
    """Whether a request asks for an optimizer of this (``latents``, ``torsions``, ...)."""
    return request.optimizer is not None and request.optimizer.over == over


def constraint_terms(
    constraints: Sequence[Constraint], layout: Layout, *, smooth: bool
) -> Iterator[Term]:
    """Make terms of constraints, named after their numbers where a kind comes several times.

    Parameters
    ----------
    constraints : sequence of Constraint
        Of the request.
    layout : Layout
        Of the design.
    smooth : bool
        Whether to leave out constraints without an energy.
    """
    kinds = [item.kind for item in constraints]
    for number, item in enumerate(constraints):
        has_energy = isinstance(item, Restraining)
        if smooth and not has_energy:
            continue
        term = constraint_term(item, layout, 1.0 if has_energy else _MARGIN_WEIGHT)
        if kinds.count(item.kind) > 1:
            term = replace(term, name=f"{item.kind} [{number}]")
        yield term


def optimize_start(
    request: DesignRequest,
    operator: BaseNeuralOperator[Any],
    layout: Layout,
    blueprint: Blueprint,
    curve: FloatArray,
    rng: np.random.Generator,
) -> Start:
    """Search the curve and the noise from which the fields of a design are sampled.

    Parameters
    ----------
    request : DesignRequest
        Its ``optimizer`` must be over latents.
    operator : BaseNeuralOperator
        Makes the fields.
    layout : Layout
        Of the design.
    blueprint : Blueprint
        States and pairs that the operator is told.
    curve : ndarray, shape=(residue, 3)
        Axis curve to begin from, angstrom.
    rng : Generator
        The stream of the design.

    Returns
    -------
    Start
        Where a term fails, the best so far; where it fails at once, the plain start.

    Raises
    ------
    BackendError
        When a gradient is asked for on NumPy.
    """
    options = _required(request)
    noise = draw_noise(rng, request.samples_per_design, blueprint.length)
    smooth = isinstance(options, GradientOptions)
    kept = None if smooth else noise[0]
    space = Latents(operator, blueprint, curve, request.steps, kept)
    terms = [
        *constraint_terms(request.constraints, layout, smooth=smooth),
        chain_term(2.0),
        clash_term(0.2),
        compactness_term(blueprint.length),
    ]
    found = _search(options, space, terms, rng, _ENOUGH)
    if isinstance(found, str):
        return Start(curve, noise, (), found)
    state, records, stopped = found
    if smooth:
        noise = np.concatenate([space.noise_at(state.best)[None], noise[1:]])
    return Start(space.curve_at(state.best), noise, records, stopped)


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """A backbone whose loops were turned.

    Attributes
    ----------
    backbone : ndarray, shape=(residue, 4, 3), dtype=float32
        N, CA, C, O, angstrom; the given one where nothing better was found.
    records : tuple of Record
    stopped : str
        Why the search ended early, or why its result was not taken.
    """

    backbone: FloatArray
    records: tuple[Record, ...]
    stopped: str


def optimize_backbone(
    request: DesignRequest,
    layout: Layout,
    states: str,
    backbone: FloatArray,
    rng: np.random.Generator,
) -> Turned:
    """Turn the loops of a refined backbone to where the constraints hold.

    Bonds and angles stay exact, helices and strands stay as they are inside. The result is taken
    if it lowers the objective and fails no more checks than the given backbone.

    Parameters
    ----------
    request : DesignRequest
        Its ``optimizer`` must be over torsions.
    layout : Layout
        Of the design.
    states : str
        Secondary structure, one letter a residue.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    rng : Generator
        The stream of the design.
    """
    options = _required(request)
    atoms = np.asarray(backbone, dtype=np.float64)
    smooth = isinstance(options, GradientOptions)
    terms = [
        *constraint_terms(request.constraints, layout, smooth=smooth),
        clash_term(1.0),
        torsion_term(states, 2.0),
        near_term(atoms[:, 1], 0.5),
    ]
    space = near_torsions(states, atoms)
    found = _search(options, space, terms, rng)
    if isinstance(found, str):
        return Turned(backbone, (), found)
    state, records, stopped = found
    turned = space.subject(state.best).require_backbone()
    objective, checks = Objective(terms), checks_term(request.preset)
    before, after = Subject(backbone=atoms), Subject(backbone=turned)
    if objective.evaluate(after).total >= objective.evaluate(before).total:
        return Turned(backbone, records, stopped or "Nothing better was found.")
    if checks.measure(after) > checks.measure(before):
        return Turned(backbone, records, "What was found fails a check.")
    rotation, shift = superimpose(turned[:, 1], atoms[:, 1])
    turned = turned @ rotation.T + shift
    return Turned(turned.astype(np.float32), records, stopped)


class NearTorsions(Torsions):
    """Torsions near those of a given backbone: draws differ from it a little."""

    def draw(self, rng: np.random.Generator, count: int) -> list[FloatArray]:
        """Give the backbone as it is, then draws around it."""
        rest = [self.move(self.center(rng), 0.2, rng) for _ in range(count - 1)]
        return [self.center(rng), *rest]

    @property
    def spread(self) -> float:
        """First step of evolution, radians."""
        return 0.05

    def center(self, rng: np.random.Generator) -> FloatArray:
        """Begin at the backbone as it is."""
        return self.start[self.places]


def near_torsions(states: str, backbone: FloatArray) -> NearTorsions:
    """Search loops around an exact backbone.

    Parameters
    ----------
    states : str
        Secondary structure, one letter a residue.
    backbone : ndarray, shape=(residue, >=3, 3)
        N, CA, C, angstrom, with ideal bonds.
    """
    angles = np.nan_to_num(backbone_dihedrals(backbone))
    sides = (backbone[:, 0] - backbone[:, 1], backbone[:, 2] - backbone[:, 1])
    cosine = (sides[0] * sides[1]).sum(-1) / np.prod(np.linalg.norm(sides, axis=-1), axis=0)
    return NearTorsions(
        states, start=angles[:, :2], omega=angles[:, 2], tau=np.arccos(np.clip(cosine, -1, 1))
    )


def optimize_sequence(
    request: DesignRequest,
    operator: SequenceOperator,
    layout: Layout,
    backbone: FloatArray,
    options: SequenceOptions,
    rng: np.random.Generator,
) -> tuple[str, tuple[Record, ...]]:
    """Search amino acids by annealing: likely ones that also meet what constraints ask of them.

    Parameters
    ----------
    request : DesignRequest
        Its ``optimizer`` must be over sequences.
    operator : SequenceOperator
        Says what is likely.
    layout : Layout
        Of the design.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    options : SequenceOptions
        Of the request, with what constraints fix and exclude.
    rng : Generator
        Stream of the sequences of the design.

    Returns
    -------
    sequence : str
    records : tuple of Record

    Raises
    ------
    ObjectiveError
        When a term fails at once.
    """
    bias = sequence_bias(request, layout)
    space = Sequences(operator, backbone, options, rng, bias)
    terms = [space.likelihood_term()]
    if bias is not None:
        terms.append(bias_term(bias, "constraints"))
    found = _search(_required(request), space, terms, rng)
    if isinstance(found, str):
        raise ObjectiveError(found)
    state, records, _ = found
    return space.subject(state.best).require_sequence(), records


def _required(request: DesignRequest) -> AnyOptimizer:
    if request.optimizer is None:
        raise ObjectiveError("The request asks for no optimizer.", "Set its field optimizer.")
    return request.optimizer


def strategy_of(options: AnyOptimizer) -> Optimizer:
    """Make the strategy that a request asks for.

    Parameters
    ----------
    options : GradientOptions, EvolutionaryOptions or AnnealingOptions
    """
    if isinstance(options, GradientOptions):
        block = max(2, (options.budget - _STARTS) // (2 * GRADIENT_COST))
        return Gradient(starts=_STARTS, block=min(block, 12))
    if isinstance(options, EvolutionaryOptions):
        return Covariance(population=options.population)
    moves = max(1, min(20, options.budget // 10))
    return Annealing(
        options.budget, options.hot, options.cold, starts=min(_STARTS, options.budget), moves=moves
    )


def _search(
    options: AnyOptimizer,
    space: Space,
    terms: Sequence[Term],
    rng: np.random.Generator,
    target: float = -np.inf,
) -> tuple[State, tuple[Record, ...], str] | str:
    """Run the asked search; a string where it could not even begin."""
    strategy = strategy_of(options)
    try:
        state = strategy.init(Problem(space, (Objective(terms),)), rng)
    except ObjectiveError as error:
        return str(error)
    found = run(strategy, state, options.budget, target=target)
    return found.state, found.records, found.stopped
