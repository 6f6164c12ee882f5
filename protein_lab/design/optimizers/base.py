"""What all optimizers share: problems, states that can be saved, records, and the loop.

A state is a flat dictionary of arrays and one of JSON values, and nothing else: a run that is
saved, loaded and continued gives bit by bit what the run would have given (on a CPU, with one
thread). Randomness comes from the seed in the state and the number of the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab.design.objective import Evaluation, Objective, ObjectiveError, Subject
from protein_lab.errors import ProteinLabError
from protein_lab.typing import FloatArray

Point = NDArray[Any]
"""A place in a search space: one array of numbers, whatever the space."""


class Space(Protocol):
    """What is searched."""

    name: str
    """Written into saved states."""

    def draw(self, rng: np.random.Generator, count: int) -> list[Point]:
        """Draw points as plain sampling does, without looking at an objective."""
        ...

    def subject(self, point: Point) -> Subject:
        """Make what terms look at."""
        ...


class Movable(Space, Protocol):
    """A space with neighbors, which annealing walks in and evolution mutates in."""

    def move(self, point: Point, size: float, rng: np.random.Generator) -> Point:
        """Change a point a little.

        Parameters
        ----------
        point : ndarray
        size : float
            0 for the smallest moves, 1 for the largest.
        rng : Generator
        """
        ...


class Crossable(Movable, Protocol):
    """A space in which two points can have a child."""

    def cross(self, first: Point, second: Point, rng: np.random.Generator) -> Point:
        """Mix two points."""
        ...


class Centered(Space, Protocol):
    """A space of real vectors, on which plain sampling is about a normal distribution."""

    def center(self, rng: np.random.Generator) -> Point:
        """Give the vector to begin around."""
        ...

    @property
    def spread(self) -> float:
        """Standard deviation to begin with."""
        ...


class Smooth(Space, Protocol):
    """A space in which atoms follow smoothly from the point."""

    def with_gradient(self, point: Point, objective: Objective) -> tuple[Evaluation, FloatArray]:
        """Evaluate a point and give the gradient of the total by it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A space and what is to be lowered in it.

    Attributes
    ----------
    space : Space
    objectives : tuple of Objective
        One; several where a Pareto front is wanted.
    """

    space: Any
    objectives: tuple[Objective, ...]

    @property
    def objective(self) -> Objective:
        """The only objective.

        Raises
        ------
        ProteinLabError
            When there are several.
        """
        if len(self.objectives) != 1:
            raise ProteinLabError(
                f"This optimizer takes one objective, but {len(self.objectives)} came.",
                "Add the terms up in one objective, or ask for a Pareto front.",
            )
        return self.objectives[0]

    def evaluate(self, point: Point) -> Evaluation:
        """Evaluate the only objective at a point."""
        return self.objective.evaluate(self.space.subject(point))

    def evaluate_all(self, point: Point) -> tuple[Evaluation, ...]:
        """Evaluate every objective at a point."""
        subject = self.space.subject(point)
        return tuple(objective.evaluate(subject) for objective in self.objectives)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did.

    Attributes
    ----------
    step : int
        Counted from 1.
    value : float
        Lowest total of this step; for several objectives minus the hypervolume of the front.
    best : float
        Lowest so far.
    terms : dict of str to float
        Terms of the best so far, each in its unit, without its weight.
    evaluations : int
        Evaluations so far; one with a gradient counts as
        :data:`~protein_lab.design.optimizers.gradient.GRADIENT_COST`.
    seconds : float
        Time that the step took.
    details : dict of str to float
        What else the strategy tells: temperature, share of accepted moves, length of the gradient.
    finished : bool
        Whether another step can do nothing.
    """

    step: int
    value: float
    best: float
    terms: dict[str, float]
    evaluations: int
    seconds: float
    details: dict[str, float] = {}
    finished: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a search is; everything but the problem is saved.

    Attributes
    ----------
    problem : Problem
    kind : str
        Strategy that it belongs to.
    arrays : mapping of str to ndarray
        ``best`` is the best point so far.
    numbers : mapping
        JSON values: ``seed``, ``step``, ``evaluations``, ``value`` and ``terms`` of the best.
    """

    problem: Problem
    kind: str
    arrays: Mapping[str, NDArray[Any]]
    numbers: Mapping[str, Any]

    @property
    def best(self) -> Point:
        """Best point so far."""
        return self.arrays["best"]

    @property
    def value(self) -> float:
        """Its total."""
        return float(self.numbers["value"])

    def stream(self) -> np.random.Generator:
        """Random stream of the coming step."""
        return np.random.default_rng([self.numbers["seed"], self.numbers["step"]])


class Optimizer(Protocol):
    """A strategy; its options are its own, its progress is in the state."""

    kind: ClassVar[str]
    """Written into states."""

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Begin a search."""
        ...

    def step(self, state: State) -> tuple[State, Record]:
        """Go one step; the given state stays as it is."""
        ...


def begin(
    problem: Problem, kind: str, rng: np.random.Generator, starts: int
) -> tuple[State, list[Point], list[Evaluation]]:
    """Draw and evaluate the first points of a search for one objective.

    Parameters
    ----------
    problem : Problem
    kind : str
        The strategy.
    rng : Generator
        Gives the seed of the search.
    starts : int
        Points to draw, at least 1.

    Returns
    -------
    state : State
        With the best of them.
    points : list of ndarray
    evaluations : list of Evaluation
    """
    seed = int(rng.integers(2**62))
    points = problem.space.draw(np.random.default_rng([seed, 0]), starts)
    found = [problem.evaluate(point) for point in points]
    lowest = int(np.argmin([item.total for item in found]))
    numbers = {
        "seed": seed,
        "step": 1,
        "evaluations": starts,
        "value": found[lowest].total,
        "terms": {item.name: item.value for item in found[lowest].terms},
    }
    return State(problem, kind, {"best": points[lowest]}, numbers), points, found


@dataclass(slots=True)
class Progress:
    """Collects what a step meets and makes the next state and the record of it."""

    state: State
    cost: int = 0
    lowest: float = float("inf")
    best: tuple[Point, Evaluation] | None = None
    started: float = field(default_factory=time.perf_counter)

    def met(self, point: Point, found: Evaluation, cost: int = 1) -> None:
        """Note an evaluation."""
        self.cost += cost
        self.lowest = min(self.lowest, found.total)
        known = self.state.value if self.best is None else self.best[1].total
        if found.total < known:
            self.best = (np.array(point), found)

    def close(
        self,
        arrays: Mapping[str, NDArray[Any]],
        numbers: Mapping[str, Any],
        details: Mapping[str, float],
        finished: bool = False,
    ) -> tuple[State, Record]:
        """Make the next state with these arrays and numbers beside the usual ones."""
        old = self.state
        shown = {
            "step": old.numbers["step"] + 1,
            "evaluations": old.numbers["evaluations"] + self.cost,
        }
        held: dict[str, NDArray[Any]] = {}
        if self.best is not None:
            held["best"] = self.best[0]
            shown["value"] = self.best[1].total
            shown["terms"] = {item.name: item.value for item in self.best[1].terms}
        state = replace(
            old,
            arrays={**old.arrays, **arrays, **held},
            numbers={**old.numbers, **numbers, **shown},
        )
        record = Record(
            step=old.numbers["step"],
            value=self.lowest,
            best=state.value,
            terms=dict(state.numbers["terms"]),
            evaluations=state.numbers["evaluations"],
            seconds=time.perf_counter() - self.started,
            details=dict(details),
            finished=finished,
        )
        return state, record


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a search ended.

    Attributes
    ----------
    state : State
        The last whole step, with the best point so far.
    records : tuple of Record
        One a step.
    stopped : str
        Why it ended before its budget was spent; empty where it was spent.
    """

    state: State
    records: tuple[Record, ...]
    stopped: str = ""


def run(
    optimizer: Optimizer,
    state: State,
    budget: int,
    told: Callable[[Record], None] | None = None,
    target: float = -np.inf,
) -> Outcome:
    """Step until a number of evaluations is spent, or the value is low enough.

    Parameters
    ----------
    optimizer : Optimizer
    state : State
        From ``optimizer.init``, or loaded.
    budget : int
        Evaluations after which no further step begins.
    told : callable, optional
        Called with every record.
    target : float
        Value at which the search ends.

    Returns
    -------
    Outcome
        Where a term fails on the way, the search ends there, says so, and keeps its best.
    """
    records: list[Record] = []
    while state.numbers["evaluations"] < budget:
        if state.value <= target:
            return Outcome(state, tuple(records), f"The value is at most {target:g}.")
        try:
            state, record = optimizer.step(state)
        except ObjectiveError as error:
            return Outcome(state, tuple(records), str(error))
        records.append(record)
        if told is not None:
            told(record)
        if record.finished:
            return Outcome(state, tuple(records), "The search has converged.")
    return Outcome(state, tuple(records))
