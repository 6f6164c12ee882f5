"""Every optimizer against plain resampling at an equal number of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from protein_lab.design.optimizers.annealing import Annealing
from protein_lab.design.optimizers.base import Optimizer, Problem, State, run
from protein_lab.design.optimizers.evolutionary import Covariance, Pareto, hypervolume
from protein_lab.design.optimizers.gradient import Gradient
from protein_lab.design.optimizers.resampling import Resampling
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.optimizer_tasks import (
    FRONTS,
    LATENT_WISHES,
    WISHES,
    Case,
    Tools,
    blueprint_problem,
    cases,
    charge_problem,
    front_problem,
    latent_problem,
    likelihood_problem,
    torsion_problem,
)
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.models.weights import load_operator, load_sequence_operator
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

SEED: Final = 40
FLOOR: Final = 3
"""Tasks on which every strategy has to beat resampling, with an interval above 0."""

BATCH: Final = 8
_RESAMPLES: Final = 4000


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    chains : int
        Held-out chains, each of which makes every task anew.
    fewer : int
        The same where an evaluation takes an operator.
    turns, fields, letters, plans : int
        Evaluations for tasks on torsions, on latents, on sequences, and on blueprints.
    operator : str
        Operator whose latents are searched.
    """

    chains: int
    fewer: int
    turns: int
    fields: int
    letters: int
    plans: int
    operator: str


QUICK: Final = Size(6, 4, 250, 60, 48, 200, "deeponet")
FULL: Final = Size(16, 12, 1000, 160, 300, 800, "enhanced_deeponet")

MakeProblem = Callable[[Case], Problem]


@dataclass(frozen=True)
class Contest:
    """One strategy on one task.

    Attributes
    ----------
    strategy : Optimizer
    task : str
        Space and wish.
    make : callable
        Makes the problem of a chain.
    budget : int
        Evaluations.
    """

    strategy: Optimizer
    task: str
    make: MakeProblem
    budget: int


@dataclass(frozen=True)
class Figures:
    """What the benchmark found.

    Attributes
    ----------
    rows : list of Row
        Differences are positive where the optimizer is better.
    courses : mapping
        By task and strategy, for every chain the evaluations and best values on the way.
    """

    rows: list[Row]
    courses: dict[str, dict[str, list[list[tuple[int, float]]]]] = field(default_factory=dict)


def contests(size: Size) -> list[Contest]:
    """List who is measured on what.

    Parameters
    ----------
    size : Size
        Gives the budgets.
    """
    found: list[Contest] = []
    for wish in WISHES:
        make = partial(torsion_problem, wish)
        for strategy in (Gradient(), Covariance(), Annealing(size.turns)):
            found.append(Contest(strategy, f"torsions, {wish}", make, size.turns))
    for wish in LATENT_WISHES:
        for strategy in (Gradient(starts=4, block=8), Covariance()):
            whole = strategy.kind == Gradient.kind
            make = partial(latent_problem, wish, whole=whole)
            name = f"{'noise and curve' if whole else 'curve'}, {wish}"
            found.append(Contest(strategy, name, make, size.fields))
    walk = Annealing(size.letters)
    found += [
        Contest(walk, "sequences, likelihood", likelihood_problem, size.letters),
        Contest(walk, "sequences, likelihood and charge", charge_problem, size.letters),
        Contest(Annealing(size.plans), "blueprints, order and content", blueprint_problem,
                size.plans),
    ]  # fmt: skip
    budgets = (size.turns, size.turns, size.letters, size.plans)
    for name, budget in zip(FRONTS, budgets, strict=True):
        make = partial(front_problem, name)
        found.append(Contest(Pareto(population=20), f"{name}, front", make, budget))
    return found


def run_optimizers(
    quick: bool = True,
    progress: Callable[[str], None] | None = None,
    only: str = "",
    size: Size | None = None,
) -> Figures:
    """Measure all optimizers.

    Parameters
    ----------
    quick : bool
        Six chains, small budgets and the small operator, in place of sixteen and the flagship.
    progress : callable, optional
        Called with what is measured next.
    only : str
        Measure this strategy alone: ``gradient``, ``covariance``, ``annealing`` or ``pareto``.
    size : Size, optional
        Instead of what ``quick`` says.

    Returns
    -------
    Figures

    Raises
    ------
    ProteinLabError
        When there is no such strategy.
    """
    size = size or (QUICK if quick else FULL)
    known = sorted({item.strategy.kind for item in contests(size)})
    if only and only not in known:
        raise ProteinLabError(f"Expected one of {', '.join(known)}, but got {only!r}.")
    tools = Tools(
        Corpus.open(), load_operator(size.operator, "torch"), load_sequence_operator("torch")
    )
    tools.operator.backend.set_num_threads(1)
    chains = cases(tools, size.chains, SEED)
    figures = Figures([])
    plain: dict[tuple[str, int], _Plain] = {}
    won: dict[str, list[bool]] = {}
    for contest in contests(size):
        kind = contest.strategy.kind
        if only in ("", kind):
            if progress is not None:
                progress(f"{kind}: {contest.task}")
            slow = contest.task.startswith(("noise", "curve", "sequences"))
            row = _row(contest, chains[: size.fewer] if slow else chains, plain, figures)
            figures.rows.append(row)
            won.setdefault(kind, []).append(row.low is not None and row.low > 0.0)
    for kind, better in won.items():
        count = float(sum(better))
        note = f"Of {len(better)}, with the whole interval of the difference above 0; at least."
        figures.rows.append(
            Row(f"{kind}: tasks better than resampling", count, count, count, "tasks",
                float(FLOOR), count >= FLOOR, note)
        )  # fmt: skip
    figures.rows.append(machine_row())
    return figures


def _row(
    contest: Contest,
    chains: Sequence[Case],
    plain: dict[tuple[str, int], _Plain],
    figures: Figures,
) -> Row:
    """Measure one strategy on one task over all chains."""
    is_front = contest.strategy.kind == Pareto.kind
    pairs: list[tuple[float, float]] = []
    courses = figures.courses.setdefault(contest.task, {})
    for case in chains:
        problem = contest.make(case)
        if is_front:
            pairs.append(_fronts(contest, problem, case))
            continue
        state = contest.strategy.init(problem, case.rng(8))
        course = [(int(state.numbers["evaluations"]), state.value)]
        found = run(contest.strategy, state, contest.budget)
        course += [(item.evaluations, item.best) for item in found.records]
        key = (contest.task, case.seed)
        if key not in plain:
            plain[key] = _Plain.of(problem, case)
        pairs.append((plain[key].after(course[-1][0]), course[-1][1]))
        courses.setdefault(contest.strategy.kind, []).append(course)
    if not is_front:
        courses[Resampling.kind] = [plain[contest.task, case.seed].course for case in chains]
    ours, theirs = (np.array([pair[side] for pair in pairs]) for side in (1, 0))
    change = (ours - theirs) if is_front else (theirs - ours)
    low, high = interval(change)
    note = (
        f"{len(chains)} chains, {contest.budget} evaluations: {ours.mean():.3g} against "
        f"{theirs.mean():.3g} by resampling."
    )
    unit = "volume" if is_front else "nats"
    name = f"{contest.strategy.kind}: {contest.task}"
    return Row(name, float(change.mean()), low, high, unit, None, True, note)


@dataclass(eq=False)
class _Plain:
    """Resampling of one problem, run as far as it is asked for."""

    state: State
    course: list[tuple[int, float]]

    @classmethod
    def of(cls, problem: Problem, case: Case) -> _Plain:
        state = Resampling(BATCH).init(problem, case.rng(9))
        return cls(state, [(int(state.numbers["evaluations"]), state.value)])

    def after(self, evaluations: int) -> float:
        """Best value after at least so many evaluations."""
        if self.course[-1][0] < evaluations:
            found = run(Resampling(BATCH), self.state, evaluations)
            self.course += [(item.evaluations, item.best) for item in found.records]
            self.state = found.state
        return next(best for spent, best in self.course if spent >= evaluations)


def _fronts(contest: Contest, problem: Problem, case: Case) -> tuple[float, float]:
    """Hypervolumes of resampling and of the strategy, by the worst and the range of the former."""
    state = contest.strategy.init(problem, case.rng(8))
    found = run(contest.strategy, state, contest.budget).state
    count = int(found.numbers["evaluations"])
    points = problem.space.draw(case.rng(9), count)
    totals = np.array([[item.total for item in problem.evaluate_all(point)] for point in points])
    reference, scale = totals.max(axis=0), np.maximum(np.ptp(totals, axis=0), 1e-12)
    ours = found.arrays["totals"]
    return hypervolume(totals, reference, scale), hypervolume(ours, reference, scale)


def interval(change: FloatArray) -> tuple[float, float]:
    """95 % bootstrap interval of a mean.

    Parameters
    ----------
    change : ndarray, shape=(chain,)
        Paired differences.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(change, (_RESAMPLES, len(change))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def shown_courses(
    courses: Mapping[str, list[list[tuple[int, float]]]], points: int = 60
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Average courses over chains at common numbers of evaluations.

    Parameters
    ----------
    courses : mapping of str to list
        Of one task, by strategy, for every chain.
    points : int
        Places on the axis.

    Returns
    -------
    dict
        Evaluations and the mean of the best so far, by strategy.
    """
    shown: dict[str, tuple[FloatArray, FloatArray]] = {}
    for kind, chains in courses.items():
        first = max(course[0][0] for course in chains)
        last = min(course[-1][0] for course in chains)
        place = np.linspace(first, last, points)
        values = []
        for course in chains:
            spent, best = (np.array(column, dtype=float) for column in zip(*course, strict=True))
            values.append(best[np.searchsorted(spent, place, side="right") - 1])
        shown[kind] = (place, np.mean(values, axis=0))
    return shown
