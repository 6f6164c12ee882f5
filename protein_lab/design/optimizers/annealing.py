"""Simulated annealing (Kirkpatrick, Gelatt & Vecchi, Science 220, 1983)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from protein_lab.design.optimizers.base import Problem, Progress, Record, State, begin
from protein_lab.errors import ProteinLabError


@dataclass(frozen=True, slots=True)
class Annealing:
    """A walk that takes steps uphill, ever more rarely.

    The temperature falls geometrically from ``hot`` to ``cold`` times the spread of the first
    draws over ``budget`` evaluations, and stays there. Moves shrink with it.

    Attributes
    ----------
    budget : int
        Evaluations over which to cool.
    hot, cold : float
        First and last temperature, over the standard deviation of the values of the first draws.
    starts : int
        First draws; the walk begins at the best.
    moves : int
        Proposals a step.
    """

    kind: ClassVar[str] = "annealing"
    budget: int = 500
    hot: float = 0.2
    cold: float = 0.002
    starts: int = 8
    moves: int = 20

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Draw points, take their spread as the unit of temperature, begin at the best.

        Raises
        ------
        ProteinLabError
            When the space has no moves.
        """
        if not hasattr(problem.space, "move"):
            raise ProteinLabError(f"There are no moves in the space {problem.space.name!r}.")
        state, _, found = begin(problem, self.kind, rng, max(self.starts, 2))
        unit = float(np.std([item.total for item in found]))
        numbers = {**state.numbers, "here": state.value, "unit": unit or 1.0}
        arrays = {**state.arrays, "point": np.array(state.best)}
        return State(problem, self.kind, arrays, numbers)

    def temperature(self, evaluations: int) -> float:
        """Temperature after so many evaluations, in units of the first draws' spread."""
        return self.hot * (self.cold / self.hot) ** min(evaluations / self.budget, 1.0)

    def step(self, state: State) -> tuple[State, Record]:
        """Propose :attr:`moves` changes, one after the other."""
        progress, rng, problem = Progress(state), state.stream(), state.problem
        point, here = state.arrays["point"], float(state.numbers["here"])
        spent, accepted, warmth = int(state.numbers["evaluations"]), 0, 0.0
        for _ in range(self.moves):
            warmth = self.temperature(spent + progress.cost)
            proposed = problem.space.move(point, (warmth / self.hot) ** 0.5, rng)
            found = problem.evaluate(proposed)
            progress.met(proposed, found)
            rise = found.total - here
            if rise <= 0.0 or rng.random() < np.exp(-rise / (warmth * state.numbers["unit"])):
                point, here, accepted = proposed, found.total, accepted + 1
        details = {
            "temperature": warmth * float(state.numbers["unit"]),
            "accepted": accepted / self.moves,
        }
        return progress.close({"point": point}, {"here": here}, details)
