"""Differences between what was compared, blueprint by blueprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from protein_lab.experiments.quality_measures import Tally
from protein_lab.experiments.rows import Row
from protein_lab.typing import FloatArray

FIGURES: Final = {
    "tm mean": ("TM-score to the source, mean", "TM-score"),
    "helix": ("helix residues obtained", "%"),
    "strand": ("strand residues obtained", "%"),
    "pairings": ("pairings met", "%"),
    "raw helix_obtained": ("raw field: helix residues obtained", "%"),
    "raw strand_obtained": ("raw field: strand residues obtained", "%"),
}
AGAINST: Final = (
    "fno: ", "deeponet: ", "transformer: ", "energy only: ", "polymer: ", "nearest fold: ",
)  # fmt: skip
"""Groups of the same blueprints as the designs."""

_LEAST: Final = 3


def paired_rows(groups: Mapping[str, Sequence[Tally]]) -> list[Row]:
    """Compare the designs with every other group on the same blueprints.

    The difference of means over designs of a blueprint is taken for each blueprint; its mean comes
    with a 95 % t interval, and with the p-value of Wilcoxon's signed-rank test, adjusted over
    all comparisons of the table after Holm.

    Parameters
    ----------
    groups : mapping of str to sequence of Tally
        By prefix; blueprints in the same order.

    Returns
    -------
    list of Row
        None where a group, or the designs themselves, were not run.
    """
    from statsmodels.stats.multitest import multipletests

    ours = groups.get("", ())
    drafts: list[tuple[str, str, FloatArray]] = []
    for prefix in AGAINST:
        theirs = groups.get(prefix, ())
        if len(theirs) != len(ours):
            continue
        for key, (name, unit) in FIGURES.items():
            change = _differences(ours, theirs, key)
            if len(change) >= _LEAST:
                drafts.append((f"difference to {prefix}{name}", unit, change))
    if not drafts:
        return []
    found = [_signed_rank(change) for _, _, change in drafts]
    adjusted = np.asarray(multipletests(found, method="holm")[1])
    return [
        _row(name, unit, change, float(p))
        for (name, unit, change), p in zip(drafts, adjusted, strict=True)
    ]


def _differences(ours: Sequence[Tally], theirs: Sequence[Tally], key: str) -> FloatArray:
    """Differences of the blueprints of which both groups have the figure."""
    both = [
        (one.sums[key], other.sums[key])
        for one, other in zip(ours, theirs, strict=True)
        if one.sums.get(key, (0, 0))[1] > 0 and other.sums.get(key, (0, 0))[1] > 0
    ]
    return np.array([one[0] / one[1] - other[0] / other[1] for one, other in both])


def _signed_rank(change: FloatArray) -> float:
    from scipy.stats import wilcoxon

    if not np.any(change != 0.0):
        return 1.0
    found: Any = wilcoxon(change)
    return float(found.pvalue)


def _row(name: str, unit: str, change: FloatArray, p: float) -> Row:
    from statsmodels.stats.weightstats import DescrStatsW

    value = float(change.mean())
    low, high = value, value
    if np.ptp(change) > 0.0:
        low, high = (float(end) for end in DescrStatsW(change).tconfint_mean())
    note = f"Designs less the other, {len(change)} blueprints; signed-rank p {p:.2g} after Holm."
    return Row(name, value, low, high, unit, None, True, note)
