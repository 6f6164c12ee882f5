"""The figures of a benchmark as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence

from protein_lab.experiments.rows import Row


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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _verdict(row: Row) -> str:
    if row.floor is None:
        return ""
    return "yes" if row.ok else "no"
