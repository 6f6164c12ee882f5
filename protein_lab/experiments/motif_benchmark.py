"""The motif benchmark: how many problems are solved, and in how many ways.

Success is geometric and says nothing of sequences: the backbone of every group of the motif
within 1 angstrom RMSD (N, CA, C and O), and all checks of the preset passed, clashes among them.
"""

from __future__ import annotations

import io
import multiprocessing
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.constraints.motif import Motif
from protein_lab.design.request import DesignRequest
from protein_lab.engine import design_one
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.motif_problems import MotifProblem, read_problems
from protein_lab.experiments.rows import Row
from protein_lab.metrics import num_clusters, pairwise_tm
from protein_lab.models.weights import write_atomically
from protein_lab.runtime import Runtime
from protein_lab.typing import FloatArray

SAMPLES: Final = 100
QUICK_SAMPLES: Final = 2
CLUSTER_TM: Final = 0.6
SEED: Final = 24

_SOLVED: Final = (23, 24)
"""So many of so many problems have at least one success."""

_TRIES_A_CLUSTER: Final = 10
"""Designs of the median problem for each unique cluster: 10 clusters of 100."""

_KEPT: Final = ("rmsd", "is_success", "ca")
_RESAMPLES: Final = 2000
_Z: Final = 1.96

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Try:
    """What came of one design.

    Attributes
    ----------
    rmsd : float
        Of the motif's backbone, angstrom, NaN where no backbone came out.
    is_success : bool
        Whether the motif is held and all checks are passed.
    ca : ndarray, shape=(residue, 3)
        CA atoms of a success, angstrom.
    """

    rmsd: float
    is_success: bool
    ca: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What came of one problem.

    Attributes
    ----------
    name : str
        Of the problem.
    tries : tuple of Try
        One a design.
    clusters : int
        Of the successes, complete linkage at a TM-score of 0.6.
    """

    name: str
    tries: tuple[Try, ...]
    clusters: int

    @property
    def successes(self) -> int:
        """Number of designs that are successes."""
        return sum(item.is_success for item in self.tries)


def run_motifs(
    folder: str | Path,
    quick: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
    num_samples: int | None = None,
    draws: str | Path | None = None,
) -> list[Row]:
    """Run the benchmark.

    Parameters
    ----------
    folder : path-like
        With problems; see :mod:`protein_lab.experiments.motif_problems`.
    quick : bool
        2 designs of each problem in place of 100.
    workers : int
        Processes; one runs in this process.
    progress : callable, optional
        Called with the numbers of finished and of all designs.
    num_samples : int, optional
        Designs of each problem in place of what ``quick`` says.
    draws : path-like, optional
        Folder that keeps what came of each design, so that an interrupted run goes on.

    Raises
    ------
    ProteinLabError
        If there is no worker, sample or problem, or what was kept is damaged.
    """
    samples = num_samples or (QUICK_SAMPLES if quick else SAMPLES)
    if min(workers, samples) < 1:
        raise ProteinLabError(
            f"Expected at least one worker and one sample, but got {workers} and {samples}.",
            "Give numbers of 1 or more.",
        )
    problems = read_problems(folder, samples, SEED)
    kept = None if draws is None else Path(draws)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        return motif_rows(_run(problems, samples, kept, None, progress))
    # a forked process may inherit locked threads
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return motif_rows(_run(problems, samples, kept, pool, progress))


_runtimes: list[Runtime] = []
"""Opened once in each process."""


def try_once(request: DesignRequest, index: int, draws: Path | None = None) -> Try:
    """Make one design of a problem and judge it, or read what came of it before.

    Parameters
    ----------
    request : DesignRequest
        With one or more motifs.
    index : int
        Number of the design.
    draws : Path, optional
        Folder that keeps it, under what it was asked for and made with.
    """
    if not _runtimes:
        _runtimes.append(Runtime.open(request))
    runtime = _runtimes[0]
    if draws is None:
        return _try(request, index, runtime)
    path = draws / f"{runtime.request_id(request)[:16]}_{index:03d}.npz"
    if path.is_file():
        return _read(path)
    made, stream = _try(request, index, runtime), io.BytesIO()
    np.savez(stream, **{name: getattr(made, name) for name in _KEPT})
    write_atomically(path, stream.getvalue())
    return made


def _read(path: Path) -> Try:
    try:
        with np.load(path, allow_pickle=False) as kept:
            rmsd, success, ca = (kept[name] for name in _KEPT)
            return Try(float(rmsd), bool(success), ca)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ProteinLabError(
            f"The kept design {path} cannot be read ({error}).", "Delete the file and run again."
        ) from error


def _try(request: DesignRequest, index: int, runtime: Runtime) -> Try:
    design = design_one(request, index, runtime)
    found = [item for item in design.measurements if item.constraint == Motif.kind]
    if design.failed is not None or not found:
        return Try(float("nan"), False, np.zeros((0, 3)))
    worst = max(float("nan") if item.value is None else item.value for item in found)
    success = design.accepted
    ca = design.backbone[:, 1] if success else np.zeros((0, 3))
    return Try(worst, success, np.asarray(ca, dtype=np.float64))


def count_clusters(cas: Sequence[FloatArray]) -> int:
    """Count clusters of complete linkage at a TM-score of 0.6.

    Parameters
    ----------
    cas : sequence of ndarray, shape=(residue, 3)
        CA atoms, angstrom.
    """
    return num_clusters(pairwise_tm(cas), CLUSTER_TM) if cas else 0


def _run(
    problems: Sequence[MotifProblem],
    samples: int,
    draws: Path | None,
    pool: ProcessPoolExecutor | None,
    progress: Progress | None,
) -> list[Solved]:
    """Make all designs, then cluster the successes of each problem."""
    jobs = [(number, index) for number in range(len(problems)) for index in range(samples)]
    requests = [problems[number].request for number, _ in jobs]
    indices = [index for _, index in jobs]
    made: dict[int, list[Try]] = {}
    tried = (pool.map if pool else map)(try_once, requests, indices, repeat(draws))
    for done, ((number, _), item) in enumerate(zip(jobs, tried, strict=True), start=1):
        made.setdefault(number, []).append(item)
        if progress is not None:
            progress(done, len(jobs))
    cas = [[item.ca for item in made[number] if item.is_success] for number in sorted(made)]
    counts = (pool.map if pool else map)(count_clusters, cas)
    return [
        Solved(problem.name, tuple(made[number]), count)
        for number, (problem, count) in enumerate(zip(problems, counts, strict=True))
    ]


def motif_rows(solved: Sequence[Solved]) -> list[Row]:
    """Turn what came of the problems into rows with intervals and floors.

    Parameters
    ----------
    solved : sequence of Solved
        At least one.
    """
    samples = len(solved[0].tries)
    rng = np.random.default_rng(SEED)
    hits = np.array([[item.is_success for item in one.tries] for one in solved])
    again = rng.integers(samples, size=(_RESAMPLES, samples))
    counts = hits[:, again].any(axis=2).sum(axis=0)
    low, high = np.quantile(counts, (0.025, 0.975))
    floor = float(-(-_SOLVED[0] * len(solved) // _SOLVED[1]))
    value = float(hits.any(axis=1).sum())
    rows = [
        Row(
            "motifs: problems with a success", value, float(low), float(high), "count", floor,
            value >= floor,
            f"Of {len(solved)}, {samples} designs each; geometric success: motif backbone within 1 "
            "angstrom, all checks passed. At least.",
        )
    ]  # fmt: skip
    clusters = np.array([item.clusters for item in solved], dtype=np.float64)
    picks = rng.integers(len(solved), size=(_RESAMPLES, len(solved)))
    low, high = np.quantile(np.median(clusters[picks], axis=1), (0.025, 0.975))
    value, floor = float(np.median(clusters)), samples / _TRIES_A_CLUSTER
    rows.append(
        Row(
            "motifs: median unique clusters", value, float(low), float(high), "count", floor,
            value >= floor,
            f"Of the successes of a problem; complete linkage at TM-score {CLUSTER_TM}. At least "
            "a tenth of the designs.",
        )
    )  # fmt: skip
    shares = 100.0 * hits.mean(axis=1)
    low, high = np.quantile(shares[picks].mean(axis=1), (0.025, 0.975))
    note = "Designs that are a success, mean over problems."
    rows.append(
        Row(
            "motifs: successes",
            float(shares.mean()),
            float(low),
            float(high),
            "%",
            None,
            True,
            note,
        )
    )
    return rows + [_problem_row(item) for item in solved]


def _problem_row(item: Solved) -> Row:
    """Successes of one problem with Wilson's interval."""
    count, total = item.successes, len(item.tries)
    share = count / total
    middle = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    half = _Z / (1 + _Z**2 / total) * np.sqrt(share * (1 - share) / total + (_Z / (2 * total)) ** 2)
    values = np.array([one.rmsd for one in item.tries])
    known = values[np.isfinite(values)]
    size = f"median RMSD {np.median(known):.2f} angstrom" if known.size else "no backbone"
    return Row(
        f"motif {item.name}: successes",
        100.0 * share,
        100.0 * max(middle - float(half), 0.0),
        100.0 * min(middle + float(half), 1.0),
        "%",
        None,
        True,
        f"{count} of {total} designs in {item.clusters} unique clusters; {size}.",
    )
