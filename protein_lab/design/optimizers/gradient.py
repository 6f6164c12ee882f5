"""Downhill along gradients, by blocks of L-BFGS-B, from the best of a few draws, with restarts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from protein_lab.design.optimizers.base import Problem, Progress, Record, State, begin
from protein_lab.errors import ProteinLabError
from protein_lab.typing import FloatArray

GRADIENT_COST: Final = 3
"""Evaluations that one with a gradient counts as: the way back takes about twice the way there."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """L-BFGS-B (Byrd et al., SIAM J. Sci. Comput. 16, 1995) as SciPy has it, block by block.

    Every step runs one block from where the last one ended. SciPy keeps its curvatures to itself,
    so a block begins without those of the block before; in return the state is the point alone.
    A search that no longer gets lower goes on from new draws.

    Attributes
    ----------
    starts : int
        Points drawn and evaluated, of which the best is followed, at first and at each restart.
    block : int
        Evaluations with a gradient that a step may take.
    progress : float
        Share of the value that a step has to gain, else the next one begins anew.
    """

    kind: ClassVar[str] = "gradient"
    starts: int = 8
    block: int = 10
    progress: float = 1e-3

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        """Draw points and begin at the best.

        Raises
        ------
        ProteinLabError
            When the space or a term has no gradient.
        """
        missing = problem.objective.without_slope()
        if missing or not hasattr(problem.space, "with_gradient"):
            what = f"The terms {', '.join(missing)} have" if missing else "The space has"
            raise ProteinLabError(
                f"{what} no gradient.", "Leave them out, or search by evolution or annealing."
            )
        state, _, _ = begin(problem, self.kind, rng, self.starts)
        arrays = {**state.arrays, "point": np.array(state.best, dtype=np.float64)}
        numbers = {**state.numbers, "here": state.value, "restarts": 0}
        return State(problem, self.kind, arrays, numbers)

    def step(self, state: State) -> tuple[State, Record]:
        """Run a block, or draw anew where the last one gained nothing."""
        progress = Progress(state)
        restarts, here = int(state.numbers["restarts"]), state.numbers["here"]
        point = state.arrays["point"]
        if here is None:
            restarts += 1
            points = state.problem.space.draw(state.stream(), self.starts)
            found = [state.problem.evaluate(item) for item in points]
            for item, value in zip(points, found, strict=True):
                progress.met(item, value)
            lowest = int(np.argmin([item.total for item in found]))
            point, here = points[lowest], found[lowest].total
        point, value, slope = self._block(progress, point)
        gained = float(here) - value
        stalled = not gained > self.progress * max(abs(float(here)), 1e-6)
        numbers = {"here": None if stalled else value, "restarts": restarts}
        details = {"gradient": slope, "restarts": float(restarts)}
        return progress.close({"point": point}, numbers, details)

    def _block(self, progress: Progress, start: FloatArray) -> tuple[FloatArray, float, float]:
        """Minimize for a while; give the point, its value and the length of its gradient."""
        from scipy.optimize import minimize

        problem, shape = progress.state.problem, start.shape
        lowest: list[tuple[float, FloatArray, float]] = []

        def evaluate(flat: FloatArray) -> tuple[float, FloatArray]:
            point = np.array(flat, dtype=np.float64).reshape(shape)
            found, gradient = problem.space.with_gradient(point, problem.objective)
            progress.met(point, found, GRADIENT_COST)
            slope = float(np.linalg.norm(gradient))
            if not lowest or found.total < lowest[0][0]:
                lowest[:] = [(found.total, point, slope)]
            if len(spent) >= self.block - 1:
                raise _BlockEnd
            spent.append(None)
            return found.total, gradient.ravel()

        spent: list[None] = []
        options: Any = {"maxiter": self.block, "maxls": 10}
        with contextlib.suppress(_BlockEnd):
            minimize(evaluate, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        value, point, slope = lowest[0]
        return point, value, slope


class _BlockEnd(Exception):  # noqa: N818 - not an error: the block has used its evaluations
    """Leaves the minimizer in the middle of a line search."""
