"""The page of the uncertainty benchmark: reliability curves and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from protein_lab.experiments.report_figures import address
from protein_lab.experiments.report_html import figure
from protein_lab.experiments.rows_page import rows_page
from protein_lab.experiments.uncertainty_benchmark import Judged, UncertaintyFigures
from protein_lab.metrics.uncertainty import LEVELS
from protein_lab.plotting import INK, new_axes

_BEFORE: Final = "#d55e00"
_AFTER: Final = "#0072b2"
_GROUPS: Final = 10


def uncertainty_page(figures: UncertaintyFigures) -> str:
    """Write curves and rows as one HTML page that needs no other file.

    Parameters
    ----------
    figures : UncertaintyFigures

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    pictures = (
        figure(
            "Found and predicted probabilities",
            address(draw_reliability(figures)),
            "Lines: share of residues whose error is no larger than what was predicted for each "
            "probability. Squares: share of chains that lie in their band at every residue. On "
            "the diagonal both are right.",
        ),
        figure(
            "Found and predicted errors",
            address(draw_errors(figures)),
            "Residues in ten groups by predicted error: root mean square of what was predicted "
            "and of what was found.",
        ),
    )
    return rows_page(figures.rows, "Uncertainty of designs", "".join(pictures))


def draw_reliability(figures: UncertaintyFigures) -> Any:
    """Draw found against predicted probabilities, before and after calibration."""
    drawing, axes = new_axes((4.6, 4.2))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for chains, color, label in _pairs(figures):
        probability = np.sort(np.concatenate([item.probability for item in chains]))
        found = np.searchsorted(probability, LEVELS, side="right") / len(probability)
        axes.plot(LEVELS, found, color=color, linewidth=1.6, label=f"residues, {label}")
        levels = list(chains[0].factors)
        inside = [np.mean([item.is_inside(level) for item in chains]) for level in levels]
        axes.plot(levels, inside, "s", color=color, markersize=6, label=f"chains, {label}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="predicted probability", ylabel="found share")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return drawing


def draw_errors(figures: UncertaintyFigures) -> Any:
    """Draw found against predicted errors of groups of residues."""
    drawing, axes = new_axes((4.6, 4.2))
    top = 0.0
    for chains, color, label in _pairs(figures):
        sigma = np.concatenate([item.sigma for item in chains])
        error = np.concatenate([item.errors.error for item in chains])
        groups = np.array_split(np.argsort(sigma, kind="stable"), _GROUPS)
        predicted = [float(np.sqrt((sigma[group] ** 2).mean())) for group in groups]
        found = [float(np.sqrt((error[group] ** 2).mean())) for group in groups]
        axes.plot(predicted, found, "o-", color=color, markersize=4, linewidth=1.2, label=label)
        top = max([top, *predicted, *found])
    axes.plot([0, 1.05 * top], [0, 1.05 * top], color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1.05 * top), ylim=(0, 1.05 * top))
    axes.set(xlabel="predicted error (Å)", ylabel="found error (Å)")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return drawing


def _pairs(figures: UncertaintyFigures) -> Sequence[tuple[list[Judged], str, str]]:
    return (
        (figures.before, _BEFORE, "spread of samples"),
        (figures.after, _AFTER, "calibrated"),
    )
