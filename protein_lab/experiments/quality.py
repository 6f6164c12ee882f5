"""The quality benchmark: designs for blueprints of held-out chains, beside their baselines."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.quality_measures import (
    GROUPS,
    Case,
    Tally,
    case_of,
    is_answerable,
)
from protein_lab.experiments.quality_paired import paired_rows
from protein_lab.experiments.quality_parts import PARTS, Job, Part, measure_job
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.metrics import NATIVE_CLASHES_PER_1000
from protein_lab.models.weights import available, read_card
from protein_lab.runtime import Runtime
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus

SEED: Final = 20
LENGTHS: Final = (50, 128)
QUICK_BLUEPRINTS: Final = 8
FULL_BLUEPRINTS: Final = 200
SAMPLES: Final = 8
QUICK_BASELINE_SAMPLES, FULL_BASELINE_SAMPLES = 1, 2
"""Designs a blueprint of everything that is only compared with."""

_RESAMPLES: Final = 2000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Figure:
    key: str
    name: str
    unit: str
    note: str = ""
    floor: float | None = None
    limit: Literal["at_least", "at_most", "within"] = "at_least"
    kind: Literal["ratio", "sum", "median"] = "ratio"

    def reaches(self, value: float | None) -> bool:
        """Tell whether the floor is kept; what nothing was asked of cannot miss it."""
        if self.floor is None or value is None:
            return True
        if self.limit == "at_least":
            # Sums of percentages may miss a whole number in their last bit.
            return value >= self.floor - 1e-9
        return (abs(value) if self.limit == "within" else value) <= self.floor


_FIGURES: Final = (
    _Figure("geometry", "geometry checks passed", "%", "Designs without a failed check.", 100.0),
    _Figure("helix", "helix residues obtained", "%", "Of the asked ones, by DSSP.", 95.0),
    _Figure("strand", "strand residues obtained", "%", "Of the asked ones, by DSSP.", 80.0),
    _Figure("tm best", "TM-score to the source, best", "TM-score", "Best of each blueprint.", 0.75),
    _Figure("tm mean", "TM-score to the source, mean", "TM-score", "Over all designs.", 0.62),
    _Figure("left", "left-handed helices", "count", "At most.", 0.0, "at_most", "sum"),
    _Figure("knots", "knotted chains", "count", "At most.", 0.0, "at_most", "sum"),
    _Figure("breaks", "chain breaks", "count", "At most.", 0.0, "at_most", "sum"),
    _Figure("favored", "Ramachandran favored", "%", "Of our own corpus; glycine as any.", 97.0),
    _Figure(
        "backbone clashes",
        "backbone clashes",
        "per 1000 atoms",
        "At most the 95 % of natives.",
        NATIVE_CLASHES_PER_1000,
        "at_most",
    ),
    _Figure("left turns", "left-handed turns in helices", "count", "Kinks.", kind="sum"),
    _Figure("size", "median Rg deviation", "%", "From 2.2 L^0.38.", 15.0, "within", "median"),
    _Figure("pairings", "pairings met", "%", "Of the asked ones.", 75.0),
    _Figure("clashes", "clashes", "per 100 residues", "Failed designs have none to count."),
    _Figure(
        "novelty", "novelty", "1 - TM-score", "To the nearest of the library folds that were found."
    ),
    _Figure("diversity", "diversity", "1 - TM-score", "Mean over pairs inside a blueprint."),
    _Figure("raw helix_obtained", "raw field: helix residues obtained", "%", "Before refinement."),
    _Figure(
        "raw strand_obtained", "raw field: strand residues obtained", "%", "Before refinement."
    ),
    _Figure("failed", "failed designs", "%", "They count as misses in the other figures."),
    _Figure("seconds", "seconds per design", "s", "One thread."),
)


_PART_FLOORS: Final = {
    ("polymer: ", "tm best"): 0.60,
    ("polymer: ", "tm mean"): 0.45,
    ("novel folds: ", "tm best"): 0.55,
}
"""Floors of parts that answer a harder question than the default; baselines have none."""


def run_quality(
    quick: bool = True,
    operator: str = "enhanced_deeponet",
    backend: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    num_blueprints: int | None = None,
    num_samples: int = SAMPLES,
    parts: Sequence[str] = tuple(PARTS),
) -> list[Row]:
    """Run the benchmark.

    Blueprints are read from test chains, of which the library of folds has none.

    Parameters
    ----------
    quick : bool
        8 blueprints instead of 200, and fewer designs of what is compared with.
    operator : str
        Name of the operator that makes the designs.
    backend : str, optional
        Array backend; by default as the settings say.
    workers : int
        Processes; one runs in this process.
    progress : callable, optional
        Called with the numbers of finished and of all blueprints, over all parts.
    num_blueprints : int, optional
        Blueprints instead of the number that ``quick`` says.
    num_samples : int
        Designs for each blueprint.
    parts : sequence of str
        What to run, of :data:`protein_lab.experiments.quality_parts.PARTS`.

    Returns
    -------
    list of Row
        Designs first, then the baselines, paired differences, and the machine.

    Raises
    ------
    CorpusError
        If the corpus has no suitable test chain.
    ProteinLabError
        If there is no worker, nothing to design, or a part is unknown.
    """
    if workers < 1 or num_samples < 1 or (num_blueprints is not None and num_blueprints < 1):
        raise ProteinLabError(
            f"Expected at least one worker, blueprint and sample, but got {workers}, "
            f"{num_blueprints} and {num_samples}.",
            "Give numbers of 1 or more.",
        )
    unknown = [name for name in parts if name not in PARTS]
    if unknown or not parts:
        raise ProteinLabError(
            f"Expected parts of {', '.join(PARTS)}, but got {', '.join(unknown) or 'none'}."
        )
    wanted = num_blueprints or (QUICK_BLUEPRINTS if quick else FULL_BLUEPRINTS)
    fewer = min(num_samples, QUICK_BASELINE_SAMPLES if quick else FULL_BASELINE_SAMPLES)
    corpus = Corpus.open()
    chosen = [PARTS[name] for name in PARTS if name in parts]
    runnable = [part for part in chosen if part.operator is None or part.operator in available()]
    jobs = [
        Job(part.name, case, part.operator or operator, backend)
        for part in runnable
        for case in held_out_cases(
            corpus, wanted, num_samples if part.is_main else fewer, operator,
            novel_fold=True if part.novel_fold else None,
        )
    ]  # fmt: skip
    found: dict[int, dict[str, Tally]] = {}
    for number, tallies in _measured(jobs, workers):
        found[number] = tallies
        if progress is not None:
            progress(len(found), len(jobs))
    groups = _by_group(jobs, found)
    rows = [row for prefix, group in groups.items() for row in group_rows(prefix, group)]
    rows += [_not_run(part) for part in chosen if part not in runnable]
    rows += [_training_row(name) for name in dict.fromkeys(job.operator for job in jobs)]
    return [*rows, *paired_rows(groups), machine_row()]


def _by_group(
    jobs: Sequence[Job], found: Mapping[int, Mapping[str, Tally]]
) -> dict[str, list[Tally]]:
    """Collect the tallies of all blueprints by prefix; the order of blueprints is kept."""
    groups: dict[str, list[Tally]] = {}
    for number in range(len(jobs)):
        for prefix, tally in found[number].items():
            groups.setdefault(prefix, []).append(tally)
    return groups


def _not_run(part: Part) -> Row:
    note = f"Not run: there are no weights of {part.operator}."
    return Row(f"{part.name}: not run", None, None, None, "", None, True, note)


def _training_row(operator: str) -> Row:
    """Say how long an operator was trained: unequal training makes differences say less."""
    card = read_card(Settings.from_environment().weights / f"{operator}.toml")
    steps, loss = card.get("training", {}).get("steps"), card.get("held_out", {}).get("loss")
    known = None if steps is None else float(steps)
    note = f"Held-out loss of the flow: {loss}." if loss is not None else "Its card has no loss."
    name = f"{operator}: training steps"
    return Row(name, known, known, known, "count", None, True, note)


def held_out_cases(
    corpus: Corpus,
    count: int,
    num_samples: int,
    operator: str,
    novel_fold: bool | None = None,
) -> list[Case]:
    """Choose test chains of 50 to 128 residues at random, always the same ones.

    Parameters
    ----------
    corpus : Corpus
    count : int
        Blueprints; fewer come where there are no more.
    num_samples : int
        Designs of each.
    operator : str
        Name of the operator that is asked for.
    novel_fold : bool, optional
        Only chains whose fold no chain of the library has.

    Raises
    ------
    CorpusError
        If there is none.
    """
    pool = corpus.indices("test", *LENGTHS, novel_fold=novel_fold)
    cases: list[Case] = []
    for index in np.random.default_rng(SEED).permutation(pool):
        case = case_of(corpus, int(index), num_samples, operator, SEED)
        if is_answerable(case):
            cases.append(case)
        if len(cases) == count:
            break
    if not cases:
        raise CorpusError(
            f"The corpus at {corpus.path} has no test chain of {LENGTHS[0]} to {LENGTHS[1]} "
            "residues.",
            "Build a corpus with a test split.",
        )
    return cases


_worker_runtimes: dict[tuple[str, str | None], Runtime] = {}
"""Opened once in each process; loading takes longer than a design."""


def _measure(job: Job) -> dict[str, Tally]:
    """Measure a job with the runtime of this process."""
    key = (job.operator, job.backend)
    if key not in _worker_runtimes:
        _worker_runtimes[key] = Runtime.open(*key)
    return measure_job(job, _worker_runtimes[key])


def _measured(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, dict[str, Tally]]]:
    """Measure jobs here or in fresh processes; a forked one may inherit locked threads."""
    if workers == 1:
        yield from ((number, _measure(job)) for number, job in enumerate(jobs))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_measure, job): number for number, job in enumerate(jobs)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def rows_of(tallies: Sequence[Mapping[str, Tally]]) -> list[Row]:
    """Turn the figures of all blueprints into rows with intervals and floors.

    Parameters
    ----------
    tallies : sequence of mapping
        For each blueprint the tallies by prefix of the group.

    Returns
    -------
    list of Row
        A row for every figure that a group has.
    """
    return [row for prefix in GROUPS for row in group_rows(prefix, [t[prefix] for t in tallies])]


def group_rows(prefix: str, group: Sequence[Tally]) -> list[Row]:
    """Turn the figures of one group into rows.

    Parameters
    ----------
    prefix : str
        What names begin with; the group without a prefix has all floors, baselines have none.
    group : sequence of Tally
        One a blueprint.
    """
    picks = np.random.default_rng(SEED).integers(len(group), size=(_RESAMPLES, len(group)))
    return [
        _row(prefix, figure, group, picks)
        for figure in _FIGURES
        if figure.kind == "median" or any(figure.key in item.sums for item in group)
    ]


def _row(prefix: str, figure: _Figure, group: Sequence[Tally], picks: np.ndarray) -> Row:
    every = np.arange(len(group))[None]
    value = _values(figure, group, every)[0]
    drawn = _values(figure, group, picks)
    drawn = drawn[np.isfinite(drawn)]
    number = float(value) if np.isfinite(value) else None
    low, high = (float(x) for x in np.quantile(drawn, (0.025, 0.975))) if drawn.size else (0, 0)
    known = number is not None
    figure = replace(figure, floor=_PART_FLOORS.get((prefix, figure.key))) if prefix else figure
    floor = figure.floor
    return Row(
        name=prefix + figure.name,
        value=number,
        low=low if known else None,
        high=high if known else None,
        unit=figure.unit,
        floor=floor,
        ok=floor is None or figure.reaches(number),
        note=figure.note if known else "Nothing was asked or came out.",
    )


def _values(figure: _Figure, group: Sequence[Tally], picks: np.ndarray) -> np.ndarray:
    """Figure of each selection of blueprints, NaN where there is nothing to divide by."""
    if figure.kind == "median":
        sizes = [np.array(item.sizes) for item in group]
        ratios = [np.median(np.concatenate([sizes[n] for n in pick])) for pick in picks]
        return 100.0 * (np.array(ratios) - 1.0)
    sums = np.array([item.sums.get(figure.key, (0.0, 0.0)) for item in group])[picks].sum(axis=1)
    if figure.kind == "sum":
        return sums[:, 0]
    known = sums[:, 1] > 0
    return np.where(known, sums[:, 0] / np.where(known, sums[:, 1], 1.0), np.nan)
