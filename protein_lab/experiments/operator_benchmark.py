"""The operator benchmark: does refining the sampling change the answer, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from protein_lab.backends import available_backends, get_backend
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.operator_measures import (
    Operator,
    flow_difference,
    in_precision,
    layer_length_differences,
    length_difference,
    mirror_difference,
    observed_order,
    real_chains,
    resolution_losses,
    rotation_error,
    sampling_errors,
)
from protein_lab.experiments.operator_sampling import residue_chain, smooth_chain
from protein_lab.experiments.rows import Row
from protein_lab.models.weights import OPERATORS, available, load_operator
from protein_lab.training.batches import TrainingChain
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import smooth_noise

NAMES: Final = ("enhanced_deeponet", "fno", "deeponet")
SEED: Final = 20
COUNTS: Final = (1, 2, 3, 4, 5)
"""Points a residue that are compared with ``REFERENCE`` points."""

REFERENCE: Final = 9
RESOLUTIONS: Final = (1, 2, 3, 4)
TIMES: Final = (0.3, 0.7, 0.95)
LENGTH: Final = 40
LONG: Final = 256
LONGEST_REAL: Final = 60
QUICK: Final = (2, 4)
FULL: Final = (8, 24)
"""Made-up chains and real chains."""

_RESAMPLES = 2000
_NOISE_RANGE = 3.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class OperatorFigures:
    """What the benchmark found.

    Attributes
    ----------
    rows : list of Row
        ``low`` and ``high`` bound the mean over chains, 95 % by bootstrap.
    errors : mapping
        For each operator the relative error by number of points a residue.
    losses : mapping
        For each operator with weights the loss at residues by number of points a residue.
    """

    rows: list[Row]
    errors: Mapping[str, Mapping[int, float]]
    losses: Mapping[str, Mapping[int, float]]


def run_operators(
    quick: bool = True,
    names: Sequence[str] = NAMES,
    backend: str | None = None,
    progress: Progress | None = None,
    counts: tuple[int, int] | None = None,
) -> OperatorFigures:
    """Measure operators as maps between functions.

    Parameters
    ----------
    quick : bool
        Few chains.
    names : sequence of str
        Operators; those without weights are measured untrained, which their notes say.
    backend : str, optional
        ``numpy`` or ``torch``; the first of torch and NumPy that is installed by default.
    progress : callable, optional
        Called with what is measured next.
    counts : tuple of int, optional
        Numbers of made-up and of real chains, instead of those that ``quick`` says.

    Raises
    ------
    ProteinLabError
        If an operator is unknown or the backend is JAX.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ProteinLabError(
            f"The operators must be among {', '.join(NAMES)}, but {', '.join(unknown)} came."
        )
    chosen = backend or ("torch" if "torch" in available_backends() else "numpy")
    if chosen not in ("numpy", "torch"):
        raise ProteinLabError(
            f"Small errors need 64 bits, which the backend {chosen} does not offer here.",
            "Choose numpy or torch.",
        )
    made_up, real = counts or (QUICK if quick else FULL)
    tell = progress or (lambda text: None)
    rows, errors, losses = _layer_rows(), {}, {}
    for name in names:
        trained = name in available()
        operator = load_operator(name, chosen) if trained else _untrained(name, chosen)
        note = "" if trained else "Untrained."
        tell(f"{name}: made-up chains")
        measured = [_measure(operator, seed) for seed in range(made_up)]
        errors[name] = _curve([item.errors for item in measured])
        rows += _map_rows(name, measured, note)
        if trained:
            tell(f"{name}: real chains")
            chains = real_chains(Corpus.open(), real, LONGEST_REAL)
            table = np.stack(
                [resolution_losses(operator, chain, RESOLUTIONS, TIMES) for chain in chains]
            )
            losses[name] = dict(zip(RESOLUTIONS, table.mean(axis=0).tolist(), strict=True))
            rows += _resolution_rows(name, table)
            tell(f"{name}: flow")
            rows += _flow_rows(name, operator, chains[: max(2, real // 4)])
    return OperatorFigures(rows, errors, losses)


def _untrained(name: str, backend: str) -> Operator:
    kind, config_kind = OPERATORS[name]
    config: Any = config_kind()
    xp = get_backend(backend)
    params = kind.initialize(config, np.random.default_rng(SEED))
    return kind(config, {key: xp.asarray(value) for key, value in params.items()}, xp)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """Figures of one made-up chain."""

    errors: dict[int, float]
    rotation: float
    mirror: float
    length: float


def _measure(operator: Operator, seed: int) -> _Measured:
    wide = in_precision(operator, "float64")
    short = smooth_chain(np.random.default_rng([SEED, seed]), LENGTH, 4)
    long = smooth_chain(np.random.default_rng([SEED, seed]), LONG, 16)
    errors = sampling_errors(wide, short, COUNTS, REFERENCE)
    return _Measured(
        errors=dict(zip(COUNTS, errors, strict=True)),
        rotation=rotation_error(operator, short, "float32"),
        mirror=mirror_difference(operator, short, "float32"),
        length=length_difference(wide, long),
    )


def _curve(chains: Sequence[Mapping[int, float]]) -> dict[int, float]:
    return {count: float(np.mean([chain[count] for chain in chains])) for count in chains[0]}


def _map_rows(name: str, measured: Sequence[_Measured], note: str) -> list[Row]:
    """Rows on sampling, motion, hand and length of one operator."""

    def row(
        what: str,
        values: Sequence[float],
        unit: str,
        text: str,
        floor: float | None = None,
        limit: Literal["at_least", "at_most"] = "at_most",
    ) -> Row:
        return _row(f"{name}: {what}", values, unit, f"{text} {note}".strip(), floor, limit)

    orders = [observed_order(item.errors, 1, 3) for item in measured]
    edges = [observed_order(item.errors, 2, 4) for item in measured]
    return [
        row("sampling error at L points", [100 * item.errors[1] for item in measured],
            "%", "Of what the network gives at residues, against 9 L points."),
        row("sampling error at 3 L points", [100 * item.errors[3] for item in measured],
            "%", "At most.", 0.5),
        row("observed order, cell centers", orders, "power", "From L to 3 L points.",
            1.0, "at_least"),
        row("observed order, points at the ends", edges, "power",
            "From 2 L to 4 L points; neighbors past the end begin at a point, which costs one."),
        row("rotation and shift error", [item.rotation for item in measured],
            "relative", "At most; float32.", 1e-5),
        row("mirror difference", [item.mirror for item in measured], "relative",
            "At least: left is not right.", 1e-3, "at_least"),
        row("length difference", [100 * item.length for item in measured], "%",
            "Middle of 256 residues as a chain of 128; the rest of a chain may count."),
    ]  # fmt: skip


def _layer_rows() -> list[Row]:
    drawn = [layer_length_differences(np.random.default_rng([SEED, k])) for k in range(8)]
    ours, integer_modes = (100.0 * np.array(drawn).T).tolist()
    return [
        _row("spectral layer: length difference", ours, "%",
             "The same packet in 128 and 256 residues. Untrained.", 2.0),
        _row("whole cycles per chain: length difference", integer_modes, "%",
             "Baseline: the usual Fourier layer. Untrained."),
    ]  # fmt: skip


def _resolution_rows(name: str, table: np.ndarray) -> list[Row]:
    """Rows on the loss of a trained operator at denser samplings than it was trained on."""
    picks = np.random.default_rng(SEED).integers(len(table), size=(_RESAMPLES, len(table)))
    drawn = table[picks].mean(axis=1)
    rows = []
    for column, count in enumerate(RESOLUTIONS[1:], start=1):
        ratio = float(table[:, column].mean() / table[:, 0].mean())
        low, high = np.quantile(drawn[:, column] / drawn[:, 0], (0.025, 0.975))
        floor = 1.2 if count == 2 else None
        rows.append(
            Row(
                f"{name}: loss at {count} L points", ratio, float(low), float(high), "ratio",
                floor, floor is None or ratio <= floor,
                "At residues, over the loss at L points, which it was trained on."
                + (" At most." if floor else ""),
            )
        )  # fmt: skip
    return rows


def _flow_rows(name: str, operator: Operator, chains: Sequence[TrainingChain]) -> list[Row]:
    """Rows on where the flow ends when the same noise is sampled more densely."""
    rng = np.random.default_rng(SEED)
    found: dict[tuple[int, int], list[float]] = {(1, 3): [], (3, 5): []}
    for chain in chains:
        conditions = chain.conditions
        noise = smooth_noise(rng, conditions.length, _NOISE_RANGE, 9).reshape(-1, 3, 3)
        start = conditions.axis_curve[:, None] + operator.config.prior_scale * noise
        functions = residue_chain(conditions, start)
        for pair, values in found.items():
            values.append(flow_difference(operator, functions, *pair))
    return [
        _row(f"{name}: flow, L and 3 L points", found[1, 3], "angstrom",
             "Distance of atoms after 20 steps from the same smooth noise."),
        _row(f"{name}: flow, 3 L and 5 L points", found[3, 5], "angstrom", "At most.", 0.1),
    ]  # fmt: skip


def _row(
    name: str,
    values: Sequence[float],
    unit: str,
    note: str,
    floor: float | None = None,
    limit: Literal["at_least", "at_most"] = "at_most",
) -> Row:
    """Mean over chains with its bootstrap interval."""
    array = np.array(values)
    picks = np.random.default_rng(SEED).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), (0.025, 0.975))
    value = float(array.mean())
    reached = floor is None or (value >= floor if limit == "at_least" else value <= floor)
    return Row(name, value, float(low), float(high), unit, floor, bool(reached), note)
