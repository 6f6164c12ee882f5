"""How fast optimizers get lower than plain resampling, as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from protein_lab.experiments.optimizer_benchmark import Figures, shown_courses
from protein_lab.experiments.report_figures import address
from protein_lab.experiments.report_html import figure
from protein_lab.typing import FloatArray

STYLES: Final = {
    "resampling": ("plain resampling", "#8c96a0", "--"),
    "gradient": ("gradient", "#d55e00", "-"),
    "covariance": ("CMA-ES", "#0072b2", "-"),
    "annealing": ("annealing", "#009e73", "-"),
}
"""Names, colors of Okabe and Ito (2008), and lines."""


def course_drawing(courses: Mapping[str, tuple[FloatArray, FloatArray]]) -> Any:
    """Draw the best value so far over evaluations, the mean over chains.

    Parameters
    ----------
    courses : mapping of str to (ndarray, ndarray)
        From :func:`~protein_lab.experiments.optimizer_benchmark.shown_courses`.

    Returns
    -------
    Figure
        Of matplotlib.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    from protein_lab.plotting import new_axes

    drawing, axes = new_axes((5.6, 3.4))
    for kind, (name, color, line) in STYLES.items():
        if kind in courses:
            spent, best = courses[kind]
            axes.plot(spent, best, line, color=color, label=name)
    axes.set_xlabel("evaluations (one with a gradient counts as three)")
    axes.set_ylabel("objective, nats")
    axes.set_yscale("log")
    axes.legend(frameon=False)
    return drawing


def optimizer_pictures(figures: Figures) -> str:
    """Draw the course of every task with one objective, as HTML.

    Parameters
    ----------
    figures : Figures
        Of the benchmark.
    """
    shown = [
        figure(
            task[0].upper() + task[1:],
            address(course_drawing(shown_courses(courses))),
            "Best value so far, mean over held-out chains; lower is better.",
        )
        for task, courses in figures.courses.items()
        if courses
    ]
    return "".join(shown)
