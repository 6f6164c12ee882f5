"""The speed benchmark: one CPU core, no rival's word for it but its own size run beside ours.

All times are processor time of one thread, which other work on the machine changes little.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from protein_lab.backends import available_backends
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.request import DesignRequest
from protein_lab.engine import design_one
from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.rows import Row, machine_row
from protein_lab.experiments.speed_arrays import square_arrays
from protein_lab.experiments.speed_baseline import LAYERS, STEPS, WIDTH, seconds_of_a_backbone
from protein_lab.experiments.speed_inputs import forward_inputs
from protein_lab.experiments.speed_parity import compare_backends_in_process
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import available, load_operator
from protein_lab.runtime import Runtime, one_thread
from protein_lab.training.corpus import Corpus

SEED: Final = 20
RESIDUES: Final = 100
LENGTHS: Final = (64, 128, 256, 512, 1024)
LONGEST: Final = 1024
QUICK: Final = (4, 50, 3)
FULL: Final = (20, 200, 7)
"""Requests, steps of the baseline that are measured, and repeats of a forward pass."""

EXPONENTS: Final = {"fno": 1.3, "enhanced_deeponet": 2.0, "deeponet": 2.0}
"""Largest powers of the length that the time of a forward pass may grow with."""

_RESAMPLES: Final = 2000
_MEBIBYTE: Final = 1 << 20

Progress = Callable[[str], None]


def run_speed(quick: bool = True, progress: Progress | None = None) -> list[Row]:
    """Measure time, memory, growth with the length, and how far the backends are apart.

    Parameters
    ----------
    quick : bool
        Fewer requests, steps and repeats.
    progress : callable, optional
        Called with what is measured next.

    Returns
    -------
    list of Row

    Raises
    ------
    CorpusError
        If the corpus has no suitable chain.
    WeightsError
        If the flagship's weights are missing.
    """
    requests, steps, repeats = QUICK if quick else FULL
    tell = progress or (lambda text: None)
    tell("designs of 100 residues")
    rows = _request_rows(requests, steps)
    for name in (name for name in EXPONENTS if name in available()):
        tell(f"{name}: time by length")
        rows.append(_exponent_row(name, repeats))
    tell("memory")
    rows.append(_memory_row())
    tell("arrays")
    rows += [_arrays_row(name) for name in ("fno",) if name in available()]
    tell("backends (compiling takes a minute)")
    rows += _parity_rows([name for name in EXPONENTS if name in available()])
    return [*rows, machine_row()]


_GEOMETRY: Final = ("fold", "sample", "refine")
"""Stages of a design from the request to exact geometry; sequences and measures come after."""


def held_out_requests(corpus: Corpus, count: int) -> list[DesignRequest]:
    """Ask for what calibration chains of 100 residues have; drawn at random, always the same.

    Raises
    ------
    CorpusError
        If there is none.
    """
    pool = corpus.indices("calibration", RESIDUES - 2, RESIDUES + 2)
    asked: list[DesignRequest] = []
    for index in np.random.default_rng(SEED).permutation(pool):
        chain = corpus.chain(int(index))
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        pairs = [
            Pairing(first=pair.first + 1, second=pair.second + 1, orientation=pair.orientation)
            for pair in blueprint.pairs
        ]
        states = SecondaryStructure(string=chain.secondary_structure)
        request = DesignRequest(constraints=(states, *pairs), num_designs=1, seed=SEED)
        if not any(fault.severity == "error" for fault in request.check()):
            asked.append(request)
        if len(asked) == count:
            return asked
    if not asked:
        raise CorpusError(
            f"The corpus at {corpus.path} has no calibration chain of about {RESIDUES} residues.",
            "Build a larger corpus.",
        )
    return asked


def _request_rows(count: int, steps: int) -> list[Row]:
    """Rows on whole requests, and on a denoising transformer in the same process."""
    runtime = Runtime.open()
    first, *requests = held_out_requests(runtime.corpus, 2 * count + 1)
    _design_seconds(first, runtime, 1)  # nobody measures the first: things are loaded
    # a blueprint is asked for once, so that the search for its folds is part of the time
    half = max(len(requests) // 2, 1)
    single = [_design_seconds(request, runtime, 1).geometry for request in requests[:half]]
    usual = [_design_seconds(request, runtime, 4).whole for request in requests[-half:]]
    with one_thread(runtime):
        rival, size = seconds_of_a_backbone(runtime.operator.backend, RESIDUES, steps)
    ratios = [rival / seconds for seconds in single]
    backend = runtime.operator.backend.name
    note = f"{half} held-out blueprints, one each; {backend}, one thread, warm."
    rival_note = (
        f"Same size as FoldingDiff: {LAYERS} layers, {WIDTH} wide, {size / 1e6:.1f} M random "
        f"weights, {STEPS} steps, of which {steps} were run and the others follow from them."
    )
    return [
        _median_row("backbone of 100 residues", single, "s",
                    f"From the request to exact geometry, one sample; median. {note}", 1.0),
        _median_row("the usual request, 100 residues", usual, "s",
                    f"Four samples, sequences, nearest chain. {note}"),
        Row("denoising transformer: backbone of 100 residues", rival, rival, rival, "s", None, True,
            rival_note),
        _median_row("times faster than the denoising transformer", ratios, "ratio",
                    "At least; median over blueprints, both in this process.", 20.0, least=True),
    ]  # fmt: skip


class _Seconds(NamedTuple):
    """Processor time of a design, up to exact geometry and in all."""

    geometry: float
    whole: float


def _design_seconds(request: DesignRequest, runtime: Runtime, samples: int) -> _Seconds:
    """Time a design; one that fails raises, for it would be fast for nothing."""
    asked = msgspec.structs.replace(request, samples_per_design=samples)
    start = time.process_time()
    made = design_one(asked, 0, runtime)
    seconds = time.process_time() - start
    if made.failed is not None:
        raise ProteinLabError(f"A design that was to be timed failed: {made.failed}")
    share = sum(made.timings[stage] for stage in _GEOMETRY) / made.timings["total"]
    return _Seconds(seconds * share, seconds)


def _median_row(
    name: str,
    values: Sequence[float],
    unit: str,
    note: str,
    floor: float | None = None,
    least: bool = False,
) -> Row:
    """Median with its bootstrap interval."""
    array = np.array(values)
    picks = np.random.default_rng(SEED).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(np.median(array[picks], axis=1), (0.025, 0.975))
    value = float(np.median(array))
    reached = floor is None or (value >= floor if least else value <= floor)
    return Row(name, value, float(low), float(high), unit, floor, bool(reached), note)


def _exponent_row(name: str, repeats: int) -> Row:
    """Power of the length that the time of a forward pass grows with."""
    operator = load_operator(name)
    operator.backend.set_num_threads(1)
    lengths, seconds = [], []
    for length in LENGTHS:
        lengths += [length] * repeats
        seconds += _forward_seconds(operator, length, repeats)
    power, low, high = fit_power(lengths, seconds)
    median = [
        1000 * float(np.median(seconds[k * repeats : (k + 1) * repeats]))
        for k in range(len(LENGTHS))
    ]
    times = ", ".join(f"{value:.3g}" for value in median)
    floor = EXPONENTS[name]
    return Row(
        f"{name}: growth of time with the length", power, low, high, "power", floor, power <= floor,
        f"At most; log-log fit from {LENGTHS[0]} to {LENGTHS[-1]} residues ({times} ms).",
    )  # fmt: skip


def _forward_seconds(operator: BaseNeuralOperator[Any], length: int, repeats: int) -> list[float]:
    """Processor time of forward passes after a first one."""
    inputs, field = forward_inputs(operator, length)
    encoded = operator.encode(inputs)
    moment = operator.backend.asarray(np.full(1, 0.5))
    found = []
    for _ in range(repeats + 1):
        start = time.process_time()
        operator.backend.to_numpy(operator.predict(field, moment, encoded).mean)
        found.append(time.process_time() - start)
    return found[1:]


def fit_power(lengths: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Fit a power law by least squares of logarithms.

    Parameters
    ----------
    lengths, seconds : sequence of float
        Positive.

    Returns
    -------
    power, low, high : float
        With its 95 % interval.
    """
    import statsmodels.api as sm

    fitted = sm.OLS(np.log(seconds), sm.add_constant(np.log(lengths))).fit()
    low, high = fitted.conf_int()[1]
    return float(fitted.params[1]), float(low), float(high)


def _memory_row() -> Row:
    """Most memory of a fresh process that draws four samples of 1,024 residues."""
    words = ["enhanced_deeponet", available_backends()[0], str(LONGEST), "4", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "protein_lab.experiments.speed_inputs", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ProteinLabError(
            f"Drawing {LONGEST} residues failed: {done.stderr.decode(errors='replace')[-300:]}"
        )
    peak = int(done.stdout) / _MEBIBYTE
    return Row(
        f"memory at {LONGEST} residues", peak, peak, peak, "MiB", 1536.0, peak <= 1536.0,
        f"At most; peak of a process of its own, libraries included, four samples, {words[1]}.",
    )  # fmt: skip


def _arrays_row(name: str) -> Row:
    """Count arrays whose size is that of all pairs of residues."""
    found = square_arrays(name)
    shapes, count = ", ".join(str(shape) for shape in found[:3]), float(len(found))
    return Row(
        f"{name}: arrays of pairs of residues", count, count, count, "count", 0.0,
        not found, f"At most; shapes met while encoding and predicting. {shapes}".strip(),
    )  # fmt: skip


def _parity_rows(names: Sequence[str]) -> list[Row]:
    """Rows on the distance of the backends."""
    compared = ", ".join(available_backends())
    texts = {
        "float64": ("predictions, 64 bits", "relative", 1e-10),
        "float32": ("predictions, 32 bits", "relative", 1e-5),
        "gradients": ("gradients, torch and JAX", "relative", 1e-4),
        "sampling": ("atoms after 20 steps", "angstrom", 1e-3),
    }
    rows = []
    for name, figures in compare_backends_in_process(names).items():
        for key, (text, unit, floor) in texts.items():
            value = figures.get(key)
            note = f"At most; largest difference between {compared}."
            rows.append(
                Row(f"{name}: {text}", value, value, value, unit, floor,
                    value is None or value <= floor,
                    note if value is not None else "Not run: needs a backend that is not here.")
            )  # fmt: skip
    return rows
