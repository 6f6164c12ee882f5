"""The page of the operator benchmark: its curves and its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protein_lab.experiments.operator_benchmark import REFERENCE, OperatorFigures
from protein_lab.experiments.report_figures import address
from protein_lab.experiments.report_html import figure
from protein_lab.experiments.rows_page import rows_page

COLORS = {"enhanced_deeponet": "#d55e00", "fno": "#0072b2", "deeponet": "#009e73"}
"""Of Okabe and Ito (2008), as in all pictures."""


def operator_page(figures: OperatorFigures) -> str:
    """Write curves and rows as one HTML page that needs no other file.

    Parameters
    ----------
    figures : OperatorFigures

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    sampling = figure(
        "Error by sampling",
        _picture(figures.errors, f"relative error against {REFERENCE} points a residue", True),
        "What the network gives at residues, mean over chains. Odd numbers of points are centers "
        "of cells and converge with second order (dotted); even ones have points at the ends of "
        "the chain, where neighbors begin, and converge with first order (dashed).",
    )
    losses = figure(
        "Loss by sampling",
        _picture(figures.losses, "loss at residues", False),
        "Operators trained at one point a residue, given more; real test chains.",
    )
    curves = sampling + (losses if figures.losses else "")
    return rows_page(figures.rows, "Operators as maps between functions", curves)


def _picture(curves: Mapping[str, Mapping[int, float]], label: str, orders: bool) -> str:
    """Draw values by points a residue on logarithmic axes; returns the address of the picture."""
    from protein_lab.plotting import new_axes

    drawing, axes = new_axes((5.0, 3.6))
    for name, values in curves.items():
        color = COLORS[name]
        # the two kinds of sampling converge at different speeds
        odd = {count: value for count, value in values.items() if count % 2 or not orders}
        even = {count: value for count, value in values.items() if count not in odd}
        axes.plot(list(odd), list(odd.values()), "o-", color=color, label=name)
        axes.plot(list(even), list(even.values()), "s--", color=color, markersize=4, alpha=0.7)
    axes.set_xscale("log")
    ticks = sorted({count for values in curves.values() for count in values})
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()
    if orders:
        _draw_orders(axes, curves)
    else:
        axes.set_ylim(bottom=0.0)
    axes.set_xlabel("points a residue")
    axes.set_ylabel(label)
    axes.legend(frameon=False)
    return address(drawing)


def _draw_orders(axes: Any, curves: Mapping[str, Mapping[int, float]]) -> None:
    """Draw lines of second and first order to compare slopes with."""
    axes.set_yscale("log")
    top = max(values[1] for values in curves.values())
    for power, style in ((2, ":"), (1, (0, (6, 4)))):
        ends = (1, max(max(values) for values in curves.values()))
        axes.plot(ends, [2 * top / end**power for end in ends], linestyle=style, color="#8c96a0")
