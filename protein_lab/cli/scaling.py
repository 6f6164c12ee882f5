"""Commands that measure the store and the work of many workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from protein_lab.cli.app import Json, benchmark_app, say
from protein_lab.cli.rows import tell_rows


@benchmark_app.command
def store(
    *,
    quick: bool = False,
    out: Path | None = None,
    page: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure how fast each tier of the store answers, and what it does when Redis fails.

    Parameters
    ----------
    quick
        Fewer repeats.
    out
        HTML page to write, with pictures.
    page
        Page of the documentation in which to renew figures and picture.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.store_benchmark import run_store
    from protein_lab.experiments.store_plots import draw_hits, store_pictures

    rows = run_store(quick, progress=say)
    _write_page(out, rows, "The store", store_pictures)
    _renew_page(page, rows, draw_hits)
    return tell_rows(rows, as_json)


@benchmark_app.command
def scale(
    *,
    quick: bool = False,
    out: Path | None = None,
    page: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure what workers and the store add to a design, and what many nodes would cost.

    Parameters
    ----------
    quick
        8 designs in place of 64, fewer repeats.
    out
        HTML page to write, with pictures.
    page
        Page of the documentation in which to renew figures and picture.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.scale_benchmark import run_scale
    from protein_lab.experiments.store_plots import draw_hours, scale_pictures

    rows = run_scale(quick, progress=say)
    _write_page(out, rows, "Many workers", scale_pictures)
    _renew_page(page, rows, draw_hours)
    return tell_rows(rows, as_json)


def _write_page(
    out: Path | None, rows: Sequence[Any], title: str, pictures: Callable[[Sequence[Any]], str]
) -> None:
    """Write rows and pictures as one HTML page, where one is wanted."""
    from protein_lab.experiments.rows_page import rows_page
    from protein_lab.models.weights import write_atomically

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, rows_page(rows, title, pictures(rows)).encode())


def _renew_page(
    page: Path | None, rows: Sequence[Any], draw: Callable[[Sequence[Any]], Any]
) -> None:
    from protein_lab.experiments.rows_page import renew_page

    if page is not None:
        renew_page(page, rows, draw(rows))
