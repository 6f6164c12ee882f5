"""The quality benchmark: designs for blueprints of held-out chains, beside three baselines."""

from __future__ import annotations

import html
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import msgspec
import numpy as np

from protein_lab.engine import Runtime
from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.quality_measures import (
    GROUPS,
    Case,
    Tally,
    case_of,
    is_answerable,
    measure_case,
)
from protein_lab.metrics import NATIVE_CLASHES_PER_1000
from protein_lab.training.corpus import Corpus

SEED: Final = 20
LENGTHS: Final = (50, 128)
QUICK_BLUEPRINTS: Final = 40
FULL_BLUEPRINTS: Final = 200
SAMPLES: Final = 4
_RESAMPLES: Final = 2000

Progress = Callable[[int, int], None]


class Row(msgspec.Struct, frozen=True):
    """One figure of the benchmark.

    Attributes
    ----------
    name : str
        What was measured; figures of baselines start with the name of the baseline.
    value, low, high : float or None
        The figure and its 95 % bootstrap interval over blueprints; None where nothing was asked.
    unit : str
        Unit of the three.
    floor : float or None
        What the figure has to reach or must not exceed, as the note says; None without demand.
    ok : bool
        Whether it does; true without a floor.
    note : str
        How to read the figure.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    floor: float | None
    ok: bool
    note: str


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
    _Figure("helix", "helix residues obtained", "%", "Of the asked ones, by DSSP.", 90.0),
    _Figure("strand", "strand residues obtained", "%", "Of the asked ones, by DSSP.", 60.0),
    _Figure("tm best", "TM-score to the source, best", "TM-score", "Best of each blueprint.", 0.6),
    _Figure("tm mean", "TM-score to the source, mean", "TM-score", "Over all designs."),
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
    _Figure("pairings", "pairings met", "%", "Of the asked ones."),
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


def run_quality(
    quick: bool = True,
    operator: str = "enhanced_deeponet",
    backend: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    num_blueprints: int | None = None,
    num_samples: int = SAMPLES,
) -> list[Row]:
    """Run the benchmark.

    Blueprints are read from test chains, of which the library of folds has none.

    Parameters
    ----------
    quick : bool
        40 blueprints instead of 200.
    operator : str
        Name of the operator.
    backend : str, optional
        Array backend; by default as the settings say.
    workers : int
        Processes; one runs in this process.
    progress : callable, optional
        Called with the numbers of finished and of all blueprints.
    num_blueprints : int, optional
        Blueprints instead of the number that ``quick`` says.
    num_samples : int
        Designs for each blueprint.

    Returns
    -------
    list of Row
        Designs first, then the baselines.

    Raises
    ------
    CorpusError
        If the corpus has no suitable test chain.
    ProteinLabError
        If there is no worker or nothing to design.
    """
    if workers < 1 or num_samples < 1 or (num_blueprints is not None and num_blueprints < 1):
        raise ProteinLabError(
            f"Expected at least one worker, blueprint and sample, but got {workers}, "
            f"{num_blueprints} and {num_samples}.",
            "Give numbers of 1 or more.",
        )
    wanted = num_blueprints or (QUICK_BLUEPRINTS if quick else FULL_BLUEPRINTS)
    runtime = Runtime.open(operator, backend)
    cases = held_out_cases(runtime.corpus, wanted, num_samples, operator)
    found: dict[int, dict[str, Tally]] = {}
    measured = (
        ((number, measure_case(case, runtime)) for number, case in enumerate(cases))
        if workers == 1
        else _in_processes(cases, operator, backend, workers)
    )
    for number, tallies in measured:
        found[number] = tallies
        if progress is not None:
            progress(len(found), len(cases))
    return rows_of([found[number] for number in range(len(cases))])


def held_out_cases(corpus: Corpus, count: int, num_samples: int, operator: str) -> list[Case]:
    """Choose test chains of 50 to 128 residues at random, always the same ones.

    Raises
    ------
    CorpusError
        If there is none.
    """
    pool = corpus.indices("test", *LENGTHS)
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


_worker_runtime: list[Runtime] = []
"""Opened once in each worker process; loading takes longer than a design."""


def _start_worker(operator: str, backend: str | None) -> None:
    _worker_runtime.append(Runtime.open(operator, backend))


def _measure_in_worker(case: Case) -> dict[str, Tally]:
    return measure_case(case, _worker_runtime[0])


def _in_processes(
    cases: Sequence[Case], operator: str, backend: str | None, workers: int
) -> Iterator[tuple[int, dict[str, Tally]]]:
    """Measure blueprints in fresh processes; a forked one may inherit locked threads."""
    with ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        partial(_start_worker, operator, backend),
    ) as pool:
        waiting = {pool.submit(_measure_in_worker, case): n for n, case in enumerate(cases)}
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
    picks = np.random.default_rng(SEED).integers(len(tallies), size=(_RESAMPLES, len(tallies)))
    rows: list[Row] = []
    for prefix in GROUPS:
        group = [item[prefix] for item in tallies]
        rows += [
            _row(prefix, figure, group, picks)
            for figure in _FIGURES
            if figure.kind == "median" or any(figure.key in item.sums for item in group)
        ]
    return rows


def _row(prefix: str, figure: _Figure, group: Sequence[Tally], picks: np.ndarray) -> Row:
    every = np.arange(len(group))[None]
    value = _values(figure, group, every)[0]
    drawn = _values(figure, group, picks)
    drawn = drawn[np.isfinite(drawn)]
    number = float(value) if np.isfinite(value) else None
    low, high = (float(x) for x in np.quantile(drawn, (0.025, 0.975))) if drawn.size else (0, 0)
    known = number is not None
    floor = None if prefix else figure.floor
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


def quality_page(rows: Sequence[Row], title: str = "Quality of designs", pictures: str = "") -> str:
    """Write the rows as one HTML page that needs no other file.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`run_quality`.
    title : str
    pictures : str
        HTML that stands before the table.
    """
    lines = [
        f'<tr class="{"" if row.ok else "miss"}"><td>{html.escape(row.name)}</td>'
        f"<td>{_number(row.value)}</td><td>{_number(row.low)} to {_number(row.high)}</td>"
        f"<td>{html.escape(row.unit)}</td><td>{_number(row.floor)}</td>"
        f"<td>{_verdict(row)}</td><td>{html.escape(row.note)}</td></tr>"
        for row in rows
    ]
    heads = ("Figure", "Value", "95 % interval", "Unit", "Floor", "Reached", "Note")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{html.escape(title)}</title><style>"
        "body{font:15px system-ui;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.25em .7em;border-bottom:1px solid #ccc;text-align:left}"
        ".miss{background:#fde2e2}figure{display:inline-block;max-width:32em;margin:0 2em 1em 0}"
        f"</style></head><body><h1>{html.escape(title)}</h1>{pictures}<table><thead>"
        f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></body></html>\n"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _verdict(row: Row) -> str:
    if row.floor is None:
        return ""
    return "yes" if row.ok else "no"
