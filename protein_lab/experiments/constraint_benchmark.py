"""The constraint benchmark: how often compound requests are met, and what holding them costs.

Requests are written from held-out chains (:mod:`protein_lab.experiments.compound_requests`), so
all can be met. A design that failed counts as one that meets nothing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from protein_lab.attempt import Clock, Task, attempt, without_fold
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.drawing import draw_question
from protein_lab.design.request import DesignRequest
from protein_lab.design.sampling import sample_fields
from protein_lab.design.steering import Steering
from protein_lab.engine import design_one
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.compound_requests import compound_requests
from protein_lab.experiments.precheck_benchmark import precheck_rows
from protein_lab.experiments.quality import LENGTHS
from protein_lab.experiments.quality_measures import Case, case_of, is_answerable
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.experiments.symmetry_benchmark import symmetry_rows
from protein_lab.models.weights import write_atomically
from protein_lab.runtime import Runtime, one_thread
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

FULL_REQUESTS: Final = 60
QUICK_REQUESTS: Final = 8
SAMPLES: Final = 8
QUICK_SAMPLES: Final = 2
SEED: Final = 60

_BEST: Final = 90.0
_MEAN: Final = 60.0
_LOST: Final = -3.0
_COST: Final = 5.0
_COST_LENGTH: Final = 100
_TIMED: Final = 5
_RESAMPLES: Final = 2000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came of one request.

    Attributes
    ----------
    met : tuple of bool
        For each design whether every constraint holds.
    by_kind : mapping of str to (int, int)
        Constraints of each family that hold, and all of them.
    states : mapping of str to (float, float)
        Shares of asked helix and strand residues that came out, while a motif is held and for
        the same request without it; empty where there is no motif.
    """

    met: tuple[bool, ...]
    by_kind: Mapping[str, tuple[int, int]]
    states: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def run_constraints(
    quick: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
    num_requests: int | None = None,
    num_samples: int | None = None,
    draws: str | Path | None = None,
) -> list[Row]:
    """Run the benchmark.

    Parameters
    ----------
    quick : bool
        8 requests of 2 designs in place of 60 of 8, fewer plants and timings.
    workers : int
        Processes; one runs in this process.
    progress : callable, optional
        Called with the numbers of finished and of all requests.
    num_requests, num_samples : int, optional
        In place of what ``quick`` says.
    draws : path-like, optional
        Folder that keeps what came of each request, so that an interrupted run goes on.

    Raises
    ------
    CorpusError
        If there is no corpus.
    ProteinLabError
        If there is no worker, request or sample, or what was kept is damaged.
    """
    count = num_requests or (QUICK_REQUESTS if quick else FULL_REQUESTS)
    samples = num_samples or (QUICK_SAMPLES if quick else SAMPLES)
    if min(workers, count, samples) < 1:
        raise ProteinLabError(
            f"Expected at least one worker, request and sample, but got {workers}, {count} and "
            f"{samples}.",
            "Give numbers of 1 or more.",
        )
    corpus = Corpus.open()
    requests = compound_requests(_cases(corpus, samples), count, SEED)
    kept = None if draws is None else Path(draws)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    answers: dict[int, Answer] = {}
    for number, answer in _answered(requests, workers, kept):
        answers[number] = answer
        if progress is not None:
            progress(len(answers), len(requests))
    ordered = [answers[number] for number in sorted(answers)]
    rows = [*_compound_rows(ordered), *_state_rows(ordered), _cost_row(quick)]
    rows += symmetry_rows(_runtime(), quick)
    return [*rows, *precheck_rows(corpus, quick), machine_row()]


def _cases(corpus: Corpus, num_samples: int) -> Iterator[Case]:
    """Give test chains in an order that is always the same."""
    pool = corpus.indices("test", *LENGTHS)
    for index in np.random.default_rng(SEED).permutation(pool):
        case = case_of(corpus, int(index), num_samples, "enhanced_deeponet", SEED)
        if is_answerable(case):
            yield case


_runtimes: list[Runtime] = []
"""Opened once in each process."""


def _runtime() -> Runtime:
    if not _runtimes:
        _runtimes.append(Runtime.open())
    return _runtimes[0]


def answer_request(request: DesignRequest, draws: Path | None = None) -> Answer:
    """Make the designs of a compound request and look at every constraint.

    Parameters
    ----------
    request : DesignRequest
        With constraints.
    draws : Path, optional
        Folder that keeps the answer, under what was asked and made it; one that is there is read.

    Raises
    ------
    ProteinLabError
        If a kept answer cannot be read.
    """
    if draws is None:
        return _answer(request)
    path = draws / f"{_runtime().request_id(request)[:16]}.msgpack"
    if not path.is_file():
        write_atomically(path, msgspec.msgpack.encode(_answer(request)))
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Answer)
    except (OSError, msgspec.DecodeError) as error:
        raise ProteinLabError(
            f"The kept answer {path} cannot be read ({error}).", "Delete the file and run again."
        ) from error


def _answer(request: DesignRequest) -> Answer:
    met: list[bool] = []
    by_kind: dict[str, tuple[int, int]] = {}
    for index in range(request.num_designs):
        design = design_one(request, index, _runtime())
        verdicts = {
            place: found.verdict == "pass" for place, found in enumerate(design.measurements)
        }
        met.append(design.failed is None and all(verdicts.values()))
        for place, item in enumerate(request.constraints):
            held, asked = by_kind.get(item.kind, (0, 0))
            by_kind[item.kind] = (held + verdicts.get(place, False), asked + 1)
    return Answer(tuple(met), by_kind, _with_and_without_motif(request))


def _with_and_without_motif(request: DesignRequest) -> dict[str, tuple[float, float]]:
    """Compare the states of one design each, with the motif alone and with nothing beside them."""
    motifs = tuple(item for item in request.constraints if isinstance(item, Motif))
    states = tuple(item for item in request.constraints if isinstance(item, SecondaryStructure))
    if not motifs:
        return {}
    found = []
    for asked in ((*states, *motifs), states):
        only = msgspec.structs.replace(request, constraints=asked)
        found.append(design_one(only, 0, _runtime()).metrics)
    names = {"helix": "helix_obtained", "strand": "strand_obtained"}
    return {
        name: (100.0 * found[0].get(key, 0.0), 100.0 * found[1].get(key, 0.0))
        for name, key in names.items()
    }


def _answered(
    requests: Sequence[DesignRequest], workers: int, draws: Path | None
) -> Iterator[tuple[int, Answer]]:
    if workers == 1:
        yield from ((number, answer_request(item, draws)) for number, item in enumerate(requests))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(answer_request, item, draws): n for n, item in enumerate(requests)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _interval(values: FloatArray) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over requests."""
    picks = np.random.default_rng(SEED).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def _share_row(name: str, values: FloatArray, floor: float | None, note: str) -> Row:
    value, (low, high) = float(values.mean()), _interval(values)
    return Row(name, value, low, high, "%", floor, floor is None or value >= floor, note)


def _compound_rows(answers: Sequence[Answer]) -> list[Row]:
    """Shares of requests and designs that meet every constraint, and of each family."""
    best = np.array([100.0 * any(item.met) for item in answers])
    mean = np.array([100.0 * np.mean(item.met) for item in answers])
    count = len(answers[0].met)
    rows = [
        _share_row(
            "compound: best", best, _BEST, f"Requests met in full by the best of {count} designs."
        ),
        _share_row("compound: mean", mean, _MEAN, "Designs that meet every constraint."),
    ]
    for kind in sorted({kind for item in answers for kind in item.by_kind}):
        asked = [item.by_kind[kind] for item in answers if kind in item.by_kind]
        shares = np.array([100.0 * held / total for held, total in asked])
        note = f"Of {len(asked)} requests that ask it."
        rows.append(_share_row(f"compound: {kind}", shares, None, note))
    return rows


def _state_rows(answers: Sequence[Answer]) -> list[Row]:
    """How much secondary structure is lost where a motif is held."""
    rows: list[Row] = []
    for name in ("helix", "strand"):
        pairs = np.array([item.states[name] for item in answers if name in item.states])
        pairs = pairs[np.isfinite(pairs).all(axis=1)] if len(pairs) else pairs
        label = f"motif: {name} residues obtained, change"
        if not len(pairs):
            note = "No request asks a motif and such residues."
            rows.append(Row(label, None, None, None, "%", _LOST, True, note))
            continue
        change = pairs[:, 0] - pairs[:, 1]
        value, (low, high) = float(change.mean()), _interval(change)
        note = f"With the motif less without it, over {len(pairs)} requests; at least the floor."
        rows.append(Row(label, value, low, high, "%", _LOST, value >= _LOST, note))
    return rows


def _cost_row(quick: bool) -> Row:
    """Time of guidance and refinement over that of a plain sample, alternating in one process."""
    runtime = _runtime()
    request = _timed_request()
    ratios: list[float] = []
    for index in range(1 + (2 if quick else _TIMED)):
        rng = np.random.default_rng([SEED, index])
        question = draw_question(request, rng, runtime.corpus)
        steering = Steering.of(request.constraints, question.layout)
        task = Task(request, runtime, question, steering, Clock())
        with one_thread(runtime):
            hits = without_fold(request) or runtime.hits(question.blueprint)
            made = attempt(task, hits, rng, (index, 0))
            start = time.perf_counter()
            sample_fields(request, runtime.operator, question.blueprint, made.curve, rng)
            plain = time.perf_counter() - start
        guided = task.clock.timings["sample"] + task.clock.timings["refine"]
        ratios.append(guided / plain)
    kept = np.array(ratios[1:])
    value, (low, high) = float(np.median(kept)), (float(kept.min()), float(kept.max()))
    note = (
        f"Sampling with guidance and refinement over sampling alone, {_COST_LENGTH} residues, one "
        f"sample; median of {len(kept)}, range; at most the floor."
    )
    return Row("cost of constraints", value, low, high, "times", _COST, value <= _COST, note)


def _timed_request() -> DesignRequest:
    """Ask for four helices, a distance and a size: constraints that act at every stage."""
    helix, loop = "H" * 20, "L" * 5
    return msgspec.convert(
        {
            "constraints": [
                {"kind": "secondary_structure", "string": (helix + loop) * 4},
                {"kind": "distance", "first": 10, "second": 60, "target": 12.0, "tolerance": 2.0},
                {"kind": "radius_of_gyration", "max": 14.0},
            ],
            "samples_per_design": 1,
        },
        DesignRequest,
    )
