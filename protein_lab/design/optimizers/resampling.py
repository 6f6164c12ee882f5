"""Plain resampling: draw points, keep the best. What every strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from protein_lab.design.optimizers.base import Problem, Progress, Record, State, begin


@dataclass(frozen=True, slots=True)
class Resampling:
    """Draws new points in every step.

    Attributes
    ----------
    batch : int
        Points a step.
    """

    kind: ClassVar[str] = "resampling"
    batch: int = 8

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Draw and evaluate a first batch."""
        return begin(problem, self.kind, rng, self.batch)[0]

    def step(self, state: State) -> tuple[State, Record]:
        """Draw and evaluate another batch."""
        progress = Progress(state)
        for point in state.problem.space.draw(state.stream(), self.batch):
            progress.met(point, state.problem.evaluate(point))
        return progress.close({}, {}, {})
