"""The diversity benchmark: how many folds an open request gives, and how many are new.

Two requests that say nothing but a length, one as it stands and one at novelty 1. Only accepted
designs count as samples.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from protein_lab.design.request import DesignRequest
from protein_lab.engine import Runtime, design_one
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.quality import Row
from protein_lab.metrics import num_clusters, pairwise_tm
from protein_lab.protein import Protein
from protein_lab.store.schema import Design
from protein_lab.typing import FloatArray
from protein_lab.validation.novelty import SAME_FOLD

LENGTH: Final = 80
FULL_SAMPLES: Final = 64
QUICK_SAMPLES: Final = 8
CLUSTER_TM: Final = 0.6
NUM_ALIGNED: Final = 60
"""Chains that TM-align compares with a design: three times as many as for a usual design."""

SEED: Final = 30
_RESAMPLES: Final = 2000
_HALVES: Final = 200
_TRIES: Final = 1.5
"""Designs made for each sample that is wanted, at most."""

_NEW_FOLDS: Final = 30.0
_Z: Final = 1.96

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What came of one of the two requests.

    Attributes
    ----------
    samples : tuple of Design
        Accepted designs, at most as many as were wanted.
    nearest : ndarray, shape=(sample,)
        TM-score of each to the nearest chain of the corpus.
    made : int
        Designs that were made.
    """

    samples: tuple[Design, ...]
    nearest: FloatArray = field(default_factory=lambda: np.zeros(0))
    made: int = 0


def run_diversity(
    quick: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
    num_samples: int | None = None,
    length: int = LENGTH,
    backend: str | None = None,
) -> list[Row]:
    """Run the benchmark.

    Parameters
    ----------
    quick : bool
        8 samples of each request instead of 64.
    workers : int
        Processes; one runs in this process.
    progress : callable, optional
        Called with the numbers of finished and of all designs, of which some may not be needed.
    num_samples : int, optional
        Samples instead of the number that ``quick`` says.
    length : int
        Residues of every design.
    backend : str, optional
        Array backend; by default as the settings say.

    Returns
    -------
    list of Row
        The floor of clusters is half the number of samples, that of new folds 30 %.

    Raises
    ------
    ProteinLabError
        If there is no worker or nothing to design.
    """
    wanted = num_samples or (QUICK_SAMPLES if quick else FULL_SAMPLES)
    if workers < 1 or wanted < 2:
        raise ProteinLabError(
            f"Expected at least one worker and two samples, but got {workers} and {wanted}.",
            "Give larger numbers.",
        )
    rows: list[Row] = []
    total = 2 * int(np.ceil(wanted * _TRIES))
    for number, novelty in enumerate((0.0, 1.0)):
        request = DesignRequest(length=length, num_designs=total // 2, seed=SEED, novelty=novelty)
        drawn = _draw(request, wanted, workers, backend, progress, number * total // 2, total)
        rows += rows_of(drawn, wanted, novelty)
    return rows


_worker_runtime: list[Runtime] = []
"""Opened once in each worker process."""


def _start_worker(backend: str | None) -> None:
    _worker_runtime.append(Runtime.open(backend=backend))


def _design_in_worker(request: DesignRequest, index: int) -> tuple[Design, float | None]:
    return _design(request, index, _worker_runtime[0])


def _design(request: DesignRequest, index: int, runtime: Runtime) -> tuple[Design, float | None]:
    """Make one design and, where it is accepted, look for its nearest chain thoroughly."""
    made = design_one(request, index, runtime)
    if not made.accepted:
        return made, None
    ca = np.asarray(Protein.from_backbone(made.backbone).ca, dtype=np.float64)
    states = made.blueprint.secondary_structure
    return made, runtime.relatives.nearest(ca, states, NUM_ALIGNED)[0].tm


def _designs(
    request: DesignRequest, workers: int, backend: str | None
) -> Iterator[tuple[Design, float | None]]:
    """Designs in order of their index; the rest is not made when no more are taken."""
    if workers == 1:
        runtime = Runtime.open(backend=backend)
        for index in range(request.num_designs):
            yield _design(request, index, runtime)
        return
    # a forked process may inherit locked threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, partial(_start_worker, backend)) as pool:
        waiting = [
            pool.submit(_design_in_worker, request, index) for index in range(request.num_designs)
        ]
        try:
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _draw(
    request: DesignRequest,
    wanted: int,
    workers: int,
    backend: str | None,
    progress: Progress | None,
    done: int,
    total: int,
) -> Drawn:
    """Make designs until there are enough samples."""
    samples: list[Design] = []
    nearest: list[float] = []
    made = 0
    for design, tm in _designs(request, workers, backend):
        made += 1
        if tm is not None:
            samples.append(design)
            nearest.append(tm)
        if progress is not None:
            progress(done + made, total)
        if len(samples) == wanted:
            break
    return Drawn(tuple(samples), np.array(nearest), made)


def rows_of(drawn: Drawn, wanted: int, novelty: float) -> list[Row]:
    """Turn the samples of one request into rows with intervals and floors.

    Parameters
    ----------
    drawn : Drawn
        What was made.
    wanted : int
        Samples that were wanted; missing ones count as found in no cluster and as not new.
    novelty : float
        Of the request: new folds are asked for at 1, many folds at 0.

    Returns
    -------
    list of Row
        Intervals of clusters by the delete-half jackknife (Shao & Wu, 1989), because samples
        drawn twice would share a cluster; the others by the bootstrap.
    """
    label = f"novelty {novelty:g}: "
    similarity = pairwise_tm([item.backbone[:, 1] for item in drawn.samples])
    count = num_clusters(similarity, CLUSTER_TM) if drawn.samples else 0
    spread = float(_Z * _half_sample_deviation(similarity))
    note = f"Of {len(drawn.samples)} samples; complete linkage at TM-score {CLUSTER_TM}. At least."
    floor = wanted / 2 if novelty == 0.0 else None
    clusters = Row(
        name=label + "clusters",
        value=float(count),
        low=max(count - spread, 1.0 if count else 0.0),
        high=min(count + spread, float(len(drawn.samples))),
        unit="count",
        floor=floor,
        ok=floor is None or count >= floor,
        note=note,
    )
    is_new = 100.0 * (drawn.nearest < SAME_FOLD)
    missing = np.zeros(wanted - len(is_new))
    accepted = [100.0] * len(drawn.samples) + [0.0] * (drawn.made - len(drawn.samples))
    pairs = [item.metrics["pairs_met"] for item in drawn.samples]
    met = 100.0 * np.array([value for value in pairs if np.isfinite(value)])
    new_floor = _NEW_FOLDS if novelty == 1.0 else None
    return [
        clusters,
        _mean_row(
            label + "new folds",
            np.concatenate([is_new, missing]),
            "%",
            f"TM-score below {SAME_FOLD} to the nearest chain that was found. At least.",
            new_floor,
        ),
        _mean_row(label + "nearest chain", drawn.nearest, "TM-score", "Mean; low is new."),
        _mean_row(label + "pairings met", met, "%", "Of the drawn ones, mean over samples."),
        _mean_row(label + "accepted", np.array(accepted), "%", "Designs that passed all checks."),
    ]


def _half_sample_deviation(similarity: FloatArray) -> float:
    """Deviation of the number of clusters, from halves of the samples."""
    count = len(similarity)
    half = count // 2
    if half < 1:
        return 0.0
    rng = np.random.default_rng(SEED)
    shares = []
    for _ in range(_HALVES):
        chosen = rng.choice(count, half, replace=False)
        shares.append(num_clusters(similarity[np.ix_(chosen, chosen)], CLUSTER_TM) / half)
    return float(np.std(shares)) * count * np.sqrt(half / (count - half))


def _mean_row(
    name: str, values: FloatArray, unit: str, note: str, floor: float | None = None
) -> Row:
    """Mean with its bootstrap interval."""
    if not len(values):
        return Row(name, None, None, None, unit, floor, floor is None, note)
    picks = np.random.default_rng(SEED).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), (0.025, 0.975))
    value = float(values.mean())
    met = floor is None or value >= floor - 1e-9
    return Row(name, value, float(low), float(high), unit, floor, met, note)
