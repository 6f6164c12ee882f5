"""Evolution: CMA-ES for one objective on real vectors, NSGA-II for several on anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from protein_lab.design.objective import Evaluation
from protein_lab.design.optimizers.base import Point, Problem, Progress, Record, State, begin
from protein_lab.errors import ProteinLabError
from protein_lab.typing import FloatArray


@dataclass(frozen=True, slots=True)
class Covariance:
    """CMA-ES (Hansen & Ostermeier, Evol. Comput. 9, 2001), as the library ``cmaes`` has it.

    Attributes
    ----------
    population : int
        Points a generation; 0 for the usual 4 + 3 ln(dimensions).
    sigma : float
        First step size, over the spread of the space.
    """

    kind: ClassVar[str] = "covariance"
    population: int = 0
    sigma: float = 1.0

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Evaluate one draw and set up the distribution around the center of the space.

        Raises
        ------
        ProteinLabError
            When the space is not one of real vectors.
        """
        from cmaes import CMA

        if not hasattr(problem.space, "center"):
            raise ProteinLabError(
                f"CMA-ES needs real vectors, which {problem.space.name!r} does not have.",
                "Search by NSGA-II or annealing.",
            )
        state, _, _ = begin(problem, self.kind, rng, 1)
        center = np.asarray(problem.space.center(state.stream()), dtype=np.float64)
        made = CMA(
            mean=center.ravel(),
            sigma=self.sigma * problem.space.spread,
            population_size=self.population or None,
        )
        arrays, numbers = _plain(made)
        return State(
            problem,
            self.kind,
            {**state.arrays, **arrays},
            {**state.numbers, "strategy": numbers, "shape": list(center.shape)},
        )

    def step(self, state: State) -> tuple[State, Record]:
        """Breed, evaluate and learn from one generation."""
        progress = Progress(state)
        strategy = _strategy(state)
        strategy.reseed_rng(int(state.stream().integers(2**32)))
        told: list[tuple[FloatArray, float]] = []
        for _ in range(strategy.population_size):
            vector = strategy.ask()
            point = vector.reshape(state.numbers["shape"])
            found = state.problem.evaluate(point)
            progress.met(point, found)
            told.append((vector, found.total))
        strategy.tell(told)
        arrays, numbers = _plain(strategy)
        sigma = float(numbers["_sigma"])
        finished = bool(strategy.should_stop())
        return progress.close(arrays, {"strategy": numbers}, {"sigma": sigma}, finished)


_PREFIX = "strategy."


def _plain(strategy: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Take a strategy apart into arrays and JSON values; the library's own state says how."""
    arrays: dict[str, NDArray[Any]] = {}
    numbers: dict[str, Any] = {}
    for name, value in strategy.__getstate__().items():
        if isinstance(value, np.ndarray):
            arrays[_PREFIX + name] = np.array(value)
        else:
            numbers[name] = value.item() if isinstance(value, np.generic) else value
    return arrays, numbers


def _strategy(state: State) -> Any:
    from cmaes import CMA

    strategy = CMA.__new__(CMA)
    arrays = {
        name.removeprefix(_PREFIX): np.array(value)
        for name, value in state.arrays.items()
        if name.startswith(_PREFIX)
    }
    strategy.__setstate__({**state.numbers["strategy"], **arrays})
    return strategy


@dataclass(frozen=True, slots=True)
class Pareto:
    """NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6, 2002); ``deap`` selects, the space breeds.

    ``best`` of the state is the point with the lowest sum of totals, scaled by the spread of
    the first population; the whole population, with the front, is in ``population`` and
    ``totals``.

    Attributes
    ----------
    population : int
        Points that survive a generation; as many are bred.
    crossed : float
        Share of children with two parents.
    size : float
        Size of the mutations, 0 to 1.
    """

    kind: ClassVar[str] = "pareto"
    population: int = 24
    crossed: float = 0.7
    size: float = 0.3

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Draw and evaluate the first population.

        Raises
        ------
        ProteinLabError
            When there are fewer than two objectives, or the space cannot breed.
        """
        if len(problem.objectives) < 2:
            raise ProteinLabError("A Pareto front needs at least two objectives.")
        if not hasattr(problem.space, "cross"):
            raise ProteinLabError(f"Points of {problem.space.name!r} cannot be crossed.")
        seed = int(rng.integers(2**62))
        points = problem.space.draw(np.random.default_rng([seed, 0]), self.population)
        found = [problem.evaluate_all(point) for point in points]
        totals = _totals(found)
        # what is far worse than any first point counts nothing for the volume
        reference = totals.max(axis=0)
        scale = np.maximum(np.ptp(totals, axis=0), 1e-12)
        arrays = {
            "population": np.stack(points),
            "totals": totals,
            "reference": reference,
            "scale": scale,
        }
        lowest = int(np.argmin((totals / scale).sum(axis=1)))
        numbers = {
            "seed": seed,
            "step": 1,
            "evaluations": self.population,
            "value": -hypervolume(totals, reference, scale),
            "terms": _terms(problem, totals[lowest]),
        }
        return State(problem, self.kind, {**arrays, "best": points[lowest]}, numbers)

    def step(self, state: State) -> tuple[State, Record]:
        """Breed, evaluate and select one generation."""
        progress, problem, rng = Progress(state), state.problem, state.stream()
        parents, totals = state.arrays["population"], state.arrays["totals"]
        children = [self._child(problem, parents, totals, rng) for _ in range(len(parents))]
        found = [problem.evaluate_all(child) for child in children]
        progress.cost = len(children)
        everyone = np.concatenate([parents, np.stack(children)])
        values = np.concatenate([totals, _totals(found)])
        kept = select(values, len(parents))
        everyone, values = everyone[kept], values[kept]
        reference, scale = state.arrays["reference"], state.arrays["scale"]
        volume = hypervolume(values, reference, scale)
        lowest = int(np.argmin((values / scale).sum(axis=1)))
        terms = _terms(problem, values[lowest])
        front = front_of(values)
        progress.lowest = -volume
        details = {"hypervolume": volume, "front": float(len(front))}
        arrays = {"population": everyone, "totals": values, "best": everyone[lowest]}
        numbers = {"value": -volume, "terms": terms}
        return progress.close(arrays, numbers, details)

    def _child(
        self, problem: Problem, parents: NDArray[Any], totals: FloatArray, rng: np.random.Generator
    ) -> Point:
        """Let winners of two duels have a child, and mutate it."""
        first, second = (_winner(totals, rng) for _ in range(2))
        child = parents[first]
        if rng.random() < self.crossed:
            child = problem.space.cross(child, parents[second], rng)
        return problem.space.move(child, self.size, rng)


def _winner(totals: FloatArray, rng: np.random.Generator) -> int:
    """Draw two; the one that is better in everything wins, else the one with the lower number.

    Survivors are sorted by front and crowding, so the lower number is the better one.
    """
    one, other = (int(item) for item in np.sort(rng.choice(len(totals), 2, replace=False)))
    return other if (totals[other] < totals[one]).all() else one


def _totals(found: Sequence[Sequence[Evaluation]]) -> FloatArray:
    return np.array([[item.total for item in row] for row in found])


def _terms(problem: Problem, totals: FloatArray) -> dict[str, float]:
    """Totals of several objectives by name."""
    return dict(zip((item.name for item in problem.objectives), totals.tolist(), strict=True))


def select(totals: FloatArray, count: int) -> NDArray[np.intp]:
    """Choose survivors by front, then by crowding.

    Parameters
    ----------
    totals : ndarray, shape=(point, objective)
        Lower is better.
    count : int
        Points to keep.

    Returns
    -------
    ndarray of int, shape=(count,)
        Better ones first.
    """
    from deap import tools

    points = [
        SimpleNamespace(
            number=number,
            fitness=_Fitness(tuple(-value for value in row.tolist())),
        )
        for number, row in enumerate(totals)
    ]
    chosen: list[Any] = tools.selNSGA2(points, count)
    return np.array([item.number for item in chosen], dtype=np.intp)


class _Fitness:
    """What DEAP compares points by, higher is better; it writes the crowding into it."""

    def __init__(self, values: tuple[float, ...]) -> None:
        self.values = self.wvalues = values
        self.crowding_dist = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fitness) and self.wvalues == other.wvalues

    def __hash__(self) -> int:
        return hash(self.wvalues)

    def dominates(self, other: _Fitness) -> bool:
        """Whether this is nowhere worse and somewhere better."""
        pairs = list(zip(self.wvalues, other.wvalues, strict=True))
        return all(own >= their for own, their in pairs) and self.wvalues != other.wvalues


def front_of(totals: FloatArray) -> NDArray[np.intp]:
    """Give the points that no other one beats.

    Parameters
    ----------
    totals : ndarray, shape=(point, objective)
        Lower is better.

    Returns
    -------
    ndarray of int
        One of several equal points, sorted by the first objective.
    """
    from moocore import is_nondominated

    kept = np.flatnonzero(is_nondominated(totals, keep_weakly=False))
    return kept[np.argsort(totals[kept, 0], kind="stable")]


def hypervolume(totals: FloatArray, reference: FloatArray, scale: FloatArray) -> float:
    """Volume between a front and a reference point, in units of a scale for each objective.

    Parameters
    ----------
    totals : ndarray, shape=(point, objective)
        Lower is better.
    reference : ndarray, shape=(objective,)
        Points beyond it count nothing.
    scale : ndarray, shape=(objective,)
        Unit of each objective.
    """
    from moocore import hypervolume as volume

    return float(volume(totals / scale, ref=reference / scale))
