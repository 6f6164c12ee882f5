"""Pictures of the store and scale benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from protein_lab.experiments.report_figures import address
from protein_lab.experiments.report_html import figure
from protein_lab.experiments.rows import Row
from protein_lab.experiments.scale_model import Plan, full_at, hours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _OTHERS, _FLOORS = "#d55e00", "#0072b2", "#8c96a0"
"""Of Okabe and Ito (2008), as in all pictures."""
_HIT: Final = "hit: "


def store_pictures(rows: Sequence[Row]) -> str:
    """Draw how fast each tier answers, as HTML.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`protein_lab.experiments.store_benchmark.run_store`.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    return figure(
        "Time of a hit",
        address(draw_hits(rows)),
        "Median and 95 % interval of reading 8 designs of 100 residues; lines mark the floors.",
    )


def draw_hits(rows: Sequence[Row]) -> Figure:
    """Draw the time of a hit in each tier."""
    from protein_lab.plotting import new_axes

    shown = [row for row in rows if row.name.startswith(_HIT) and row.value is not None]
    drawing, axes = new_axes((5.6, 0.9 + 0.34 * len(shown)))
    for level, row in enumerate(shown):
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [-level, -level], "-", color=_OURS, linewidth=2)
        axes.plot([row.value], [-level], "o", color=_OURS, clip_on=False)
        if row.floor is not None:
            axes.plot([row.floor] * 2, [-level - 0.3, -level + 0.3], "-", color=_FLOORS)
    axes.set_yticks(
        [-level for level in range(len(shown))], [row.name.removeprefix(_HIT) for row in shown]
    )
    axes.set_ylim(0.6 - len(shown), 0.6)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    return drawing


def scale_pictures(rows: Sequence[Row]) -> str:
    """Draw how long very many designs take by the number of nodes, as HTML.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`protein_lab.experiments.scale_benchmark.run_scale`.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    return figure(
        "Ten million designs",
        address(draw_hours(rows)),
        "Worked out from what was measured on this machine. More nodes help until one scheduler "
        "is full.",
    )


def draw_hours(rows: Sequence[Row]) -> Figure:
    """Draw hours by nodes: of the workers, of one scheduler and of one index."""
    from protein_lab.experiments.scale_benchmark import constants_of
    from protein_lab.plotting import new_axes

    constants = constants_of(list(rows))
    plan = Plan()
    first = min(full_at(constants, plan).values())
    nodes = np.unique(np.geomspace(1, max(10 * first, 1000), 80).round())
    spent = [hours(constants, msgspec.structs.replace(plan, nodes=int(number))) for number in nodes]
    drawing, axes = new_axes((5.6, 3.4))
    parts = {"workers": (_OURS, "-"), "scheduler": (_OTHERS, "--"), "index": ("#009e73", ":")}
    for part, (color, style) in parts.items():
        axes.plot(nodes, [item[part] for item in spent], style, color=color, label=part)
    axes.axvline(first, color=_FLOORS, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"nodes of {plan.workers} workers")
    axes.set_ylabel(f"hours for {plan.designs // 1_000_000} million designs")
    axes.legend(frameon=False)
    return drawing
