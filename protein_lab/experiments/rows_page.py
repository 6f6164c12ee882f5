"""The figures of a benchmark as one HTML page, or in a page of the documentation."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protein_lab.errors import ReportError
from protein_lab.experiments.rows import Row
from protein_lab.models.weights import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST: Final = "<!-- figures -->"
LAST: Final = "<!-- end of figures -->"
"""Between these lines of a page its figures stand."""


def rows_page(rows: Sequence[Row], title: str, pictures: str = "") -> str:
    """Write the rows as one HTML page that needs no other file.

    Parameters
    ----------
    rows : sequence of Row
        Of a benchmark.
    title : str
    pictures : str
        HTML that stands before the table.
    """
    lines = [
        f'<tr class="{"" if row.ok else "miss"}"><td>{html.escape(row.name)}</td>'
        f"<td>{_number(row.value)}</td><td>{_number(row.low)} to {_number(row.high)}</td>"
        f"<td>{html.escape(row.unit)}</td><td>{_number(row.floor)}</td>"
        f"<td>{_verdict(row)}</td><td>{html.escape(row.note)}</td></tr>"
        for row in rows
    ]
    heads = ("Figure", "Value", "95 % interval", "Unit", "Floor", "Reached", "Note")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{html.escape(title)}</title><style>"
        "body{font:15px system-ui;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.25em .7em;border-bottom:1px solid #ccc;text-align:left}"
        ".miss{background:#fde2e2}figure{display:inline-block;max-width:32em;margin:0 2em 1em 0}"
        f"</style></head><body><h1>{html.escape(title)}</h1>{pictures}<table><thead>"
        f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></body></html>\n"
    )


def renew_page(page: Path, rows: Sequence[Row], picture: Figure) -> None:
    """Put new figures into a page of the documentation, and its picture beside it.

    Parameters
    ----------
    page : Path
        Markdown with the lines :data:`FIRST` and :data:`LAST`; the picture is written to
        ``pictures/`` beside it, under the page's name.
    rows : sequence of Row
        The figures.
    picture : Figure
        Drawn from them.

    Raises
    ------
    ReportError
        When the page has no place for figures.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(f"{FIRST}\n")
    _, ended, after = rest.partition(f"{LAST}\n")
    if not found or not ended:
        raise ReportError(
            f"Expected the lines {FIRST} and {LAST} in {page}.", "Add them where figures belong."
        )
    lines = ["| figure | value | 95 % interval | floor | |", "|---|---|---|---|---|"]
    for row in rows:
        span = "" if row.low is None else f"{_number(row.low)} to {_number(row.high)}"
        floor = "" if row.floor is None else _number(row.floor)
        value = "not run" if row.value is None else f"{_number(row.value)} {row.unit}"
        lines.append(f"| {row.name} | {value} | {span} | {floor} | {row.note} |")
    table = "\n".join(lines)
    write_atomically(page, f"{before}{FIRST}\n{table}\n{LAST}\n{after}".encode())
    target = page.parent / "pictures" / f"{page.stem}.png"
    target.parent.mkdir(exist_ok=True)
    picture.savefig(target, dpi=150, bbox_inches="tight")


def _number(value: float | None) -> str:
    return "-" if value is None else _plain(f"{value:.3g}")


def _verdict(row: Row) -> str:
    if row.floor is None:
        return ""
    return "yes" if row.ok else "no"


def _plain(text: str) -> str:
    """Write figures without an exponent where they are whole and not too long."""
    return f"{float(text):,.0f}" if "e+" in text and float(text) < 1e12 else text
