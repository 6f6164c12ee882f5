"""How commands tell the rows of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protein_lab.cli.app import print_json
from protein_lab.errors import EXIT_DONE, EXIT_TOO_FEW_ACCEPTED

if TYPE_CHECKING:
    from protein_lab.experiments.rows import Row


def tell_rows(rows: Sequence[Row], as_json: bool) -> int:
    """Print rows and give the exit code: whether every floor is kept."""
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE if all(row.ok for row in rows) else EXIT_TOO_FEW_ACCEPTED


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as a table, with 95 % intervals and floors where there are any."""
    for row in rows:
        mark = "    " if row.floor is None else (" ok " if row.ok else "MISS")
        value = "none" if row.value is None else f"{row.value:.4g}"
        measured = row.low is not None and row.high is not None and row.low < row.high
        interval = f"[{row.low:.4g}, {row.high:.4g}]" if measured else ""
        floor = "" if row.floor is None else f"floor {row.floor:.4g}"
        print(
            f"{mark} {row.name:<52}{value:>10} {interval:<18} {row.unit:<12}{floor:<12}{row.note}"
        )
