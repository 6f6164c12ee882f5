"""Pictures of the quality benchmark: what was compared, with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from protein_lab.experiments.report_figures import address
from protein_lab.experiments.report_html import figure
from protein_lab.experiments.rows import Row

GROUPS: Final = {
    "native: ": "native chains",
    "nearest fold: ": "nearest known fold",
    "": "designs",
    "polymer: ": "designs, polymer prior",
    "novel folds: ": "designs, novel folds",
    "fno: ": "FNO",
    "deeponet: ": "DeepONet",
    "transformer: ": "plain transformer",
    "energy only: ": "energy only",
    "ideal joined: ": "ideal elements joined",
}
"""Prefixes of rows and what they are called, from top to bottom."""

FIGURES: Final = (
    "TM-score to the source, mean",
    "helix residues obtained",
    "strand residues obtained",
    "pairings met",
)
_OURS, _OTHERS, _BASELINES = "#d55e00", "#0072b2", "#8c96a0"
"""Of Okabe and Ito (2008), as in all pictures."""

_COLORS: Final[dict[str, str]] = {
    "": _OURS,
    "polymer: ": _OURS,
    "novel folds: ": _OURS,
    "fno: ": _OTHERS,
    "deeponet: ": _OTHERS,
    "transformer: ": _OTHERS,
}
_DIFFERENCE: Final = "difference to "


def quality_pictures(rows: Sequence[Row]) -> str:
    """Draw the main figures of all groups and the paired differences, as HTML.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`protein_lab.experiments.quality.run_quality`.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    known = {row.name: row for row in rows if row.value is not None}
    shown = [
        figure(
            name[0].upper() + name[1:],
            _intervals({text: known[prefix + name] for prefix, text in GROUPS.items()
                        if prefix + name in known},
                       [_COLORS.get(prefix, _BASELINES) for prefix in GROUPS
                        if prefix + name in known]),
            "Mean and 95 % interval by bootstrap over blueprints; a design that failed counts "
            "as a miss.",
        )
        for name in FIGURES
        if any(prefix + name in known for prefix in GROUPS)
    ]  # fmt: skip
    return "".join(shown + _differences(known))


def _differences(known: Mapping[str, Row]) -> list[str]:
    """Draw the differences of the mean TM-score, blueprint by blueprint."""
    name = FIGURES[0]
    found = {
        f"to {text}": known[f"{_DIFFERENCE}{prefix}{name}"]
        for prefix, text in GROUPS.items()
        if f"{_DIFFERENCE}{prefix}{name}" in known
    }
    if not found:
        return []
    return [
        figure(
            "Designs less the other, TM-score to the source",
            _intervals(found, [_OURS] * len(found), zero=True),
            "Differences on the same blueprints with their 95 % t interval; right of the line, "
            "the designs are closer to the source.",
        )
    ]


def _intervals(shown: Mapping[str, Row], colors: Sequence[str], zero: bool = False) -> str:
    """Draw values and intervals below each other; returns the address of the picture."""
    from protein_lab.plotting import new_axes

    drawing, axes = new_axes((5.6, 0.9 + 0.28 * len(shown)))
    place: Any = axes.get_position()
    axes.set_position((0.36, place.y0, 0.61, place.height))
    for level, ((text, row), color) in enumerate(zip(shown.items(), colors, strict=True)):
        del text
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [-level, -level], "-", color=color, linewidth=2)
        axes.plot([row.value], [-level], "o", color=color, clip_on=False)
    axes.set_yticks([-level for level in range(len(shown))], list(shown))
    axes.set_ylim(0.6 - len(shown), 0.6)
    axes.set_xlabel(next(iter(shown.values())).unit)
    if zero:
        axes.axvline(0.0, color=_BASELINES, linewidth=0.8)
    else:
        axes.set_xlim(left=0.0)
    return address(drawing)
