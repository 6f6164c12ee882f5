"""The command that measures optimizers."""

from __future__ import annotations

from pathlib import Path

from protein_lab.cli.app import Json, benchmark_app, say
from protein_lab.cli.rows import tell_rows


@benchmark_app.command
def optimizers(
    *, quick: bool = False, only: str = "", out: Path | None = None, as_json: Json = False
) -> int:
    """Measure every optimizer against plain resampling at an equal number of evaluations.

    Parameters
    ----------
    quick
        Six chains, small budgets and the small operator, in place of sixteen and the flagship.
    only
        Measure ``gradient``, ``covariance``, ``annealing`` or ``pareto`` alone.
    out
        HTML page to write, with pictures.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.optimizer_benchmark import run_optimizers
    from protein_lab.experiments.optimizer_plots import optimizer_pictures
    from protein_lab.experiments.rows_page import rows_page
    from protein_lab.models.weights import write_atomically

    figures = run_optimizers(quick, say, only)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        page = rows_page(figures.rows, "Optimizers", optimizer_pictures(figures))
        write_atomically(out, page.encode())
    return tell_rows(figures.rows, as_json)
