"""Rows of figures that were measured many times."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.stats import binomtest

from protein_lab.experiments.rows import Row
from protein_lab.typing import FloatArray

_BOOTSTRAPS: Final = 1000
_SEED: Final = 5


def median_row(
    name: str,
    values: FloatArray,
    unit: str,
    floor: float | None,
    note: str,
    *,
    at_most: bool = True,
) -> Row:
    """Give the median with its bootstrap interval.

    Parameters
    ----------
    name, unit, note : str
        As in :class:`~protein_lab.experiments.rows.Row`.
    values : array, shape (n,)
        Measurements.
    floor : float or None
        Demand on the median.
    at_most : bool
        Whether it may not exceed the floor, rather than not fall short of it.
    """
    median = float(np.median(values))
    picks = np.random.default_rng(_SEED).integers(len(values), size=(_BOOTSTRAPS, len(values)))
    low, high = np.quantile(np.median(np.asarray(values)[picks], axis=1), (0.025, 0.975))
    ok = floor is None or (median <= floor if at_most else median >= floor)
    return Row(name, median, float(low), float(high), unit, floor, ok, note)


def share_row(name: str, found: int, total: int, floor: float, note: str) -> Row:
    """Give a share in percent, which has to reach a floor, with its exact binomial interval."""
    interval = binomtest(found, total).proportion_ci()
    share = 100.0 * found / total
    low, high = 100.0 * interval.low, 100.0 * interval.high
    return Row(name, share, low, high, "%", floor, share >= floor, f"{found} of {total}. {note}")


def plain_row(name: str, value: float, unit: str, note: str) -> Row:
    """Give a figure of one measurement, without a demand."""
    return Row(name, float(value), None, None, unit, None, True, note)


def count_row(name: str, value: int, floor: int, note: str) -> Row:
    """Give a number that must not exceed a floor."""
    return Row(name, float(value), None, None, "count", float(floor), value <= floor, note)


def not_run(name: str, unit: str, floor: float | None, reason: str) -> Row:
    """Say why there is no figure."""
    return Row(name, None, None, None, unit, floor, True, f"not_run: {reason}")
