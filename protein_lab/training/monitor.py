"""What a run shows of itself: a log, and a picture of it where matplotlib is installed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protein_lab.models.weights import write_atomically
from protein_lab.training.log import Progress, TrainingLog

PICTURES = ("loss.png", "loss.svg")
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Of Okabe and Ito (2008), which readers with any color vision can tell apart."""


class Monitor:
    """Keeps the log of a run and its picture; neither can end the run.

    Parameters
    ----------
    folder : Path
    step : int
        Step at which the run goes on.
    say : callable
        Told once when nothing can be written.
    """

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        self._folder, self._step, self._say = folder, step, say
        self._log: TrainingLog | None = None
        self._told = False

    def record(self, line: Progress) -> None:
        """Add a line to the log."""
        try:
            self._opened().append(line.row())
        except OSError as error:
            self._complain("log", error)

    def draw(self) -> None:
        """Draw the log anew, where there are lines and matplotlib."""
        if importlib.util.find_spec("matplotlib") is None:
            return
        try:
            rows = self._opened().rows
            if rows:
                draw_log(rows, self._folder)
        except OSError as error:
            self._complain("picture", error)

    def _opened(self) -> TrainingLog:
        if self._log is None:
            self._log = TrainingLog(self._folder, self._step)
        return self._log

    def _complain(self, what: str, error: OSError) -> None:
        if not self._told:
            self._say(
                f"The {what} of the run cannot be written to {self._folder} "
                f"({error.strerror or error}); the run goes on."
            )
        self._told = True


def draw_log(rows: Sequence[dict[str, float]], folder: Path) -> None:
    """Draw losses over steps, and measures of samples where there are any.

    Parameters
    ----------
    rows : sequence of dict
        Lines of the log.
    folder : Path
        Gets ``loss.png`` and ``loss.svg``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    known = {name for row in rows for name in row}
    measures = [n for n in _LABELS if n in known]
    figure = Figure(figsize=(7.0, 5.6 if measures else 3.4), layout="constrained")
    axes = figure.subplots(2 if measures else 1, sharex=True, squeeze=False)[:, 0]
    steps, loss = _series(rows, "loss")
    axes[0].plot(steps, loss, color=_COLORS[0], alpha=0.25, linewidth=0.8)
    axes[0].plot(steps, _smooth(loss), color=_COLORS[0], label="training, smoothed")
    at, held_out = _series(rows, "held_out")
    if len(at):
        axes[0].plot(at, held_out, color=_COLORS[1], marker="o", markersize=3, label="held out")
    if loss.min() > 0:
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axes[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("loss")
    _name(axes[0], 2)
    for name, color in zip(measures, _COLORS, strict=False):
        at, values = _series(rows, name)
        axes[1].plot(at, values, color=color, marker="o", markersize=3, label=_LABELS[name])
    if measures:
        axes[1].set_ylim(0.0, 1.02)
        axes[1].set_ylabel("share, of few samples")
        _name(axes[1], len(measures))
    axes[-1].set_xlabel("step")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e3e7eb", linewidth=0.6)
    for picture in PICTURES:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=picture.rpartition(".")[2], dpi=150)
        write_atomically(folder / picture, buffer.getvalue())


_LABELS = {
    "helix": "helix obtained",
    "strand": "strand obtained",
    "strand_bonds": "strand bonds near",
    "ca_ca": "CA-CA right",
    "curve_tm": "TM-score of curves",
    "recovery": "sequence recovery",
}


def _name(axis: Any, columns: int) -> None:
    """Name the lines above the axes, where they hide nothing."""
    axis.legend(
        frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.0, fontsize="small",
    )  # fmt: skip


def _series(rows: Sequence[dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and finite values of a column."""
    pairs = [(row["step"], row[name]) for row in rows if np.isfinite(row.get(name, np.nan))]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a window that grows with the series, shorter at the ends."""
    half = len(values) // 20
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)
