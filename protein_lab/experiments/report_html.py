"""Pieces of HTML that sections are made of.

Parameters named ``markup`` are HTML already; all others are escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ABBREVIATIONS = {
    "ca": "CA",
    "cb": "CB",
    "dssp": "DSSP",
    "lddt": "lDDT",
    "rg": "Rg",
    "rmsd": "RMSD",
    "tm": "TM",
    "sha256": "SHA-256",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of HTML that notebooks show."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def text(value: object) -> str:
    """Escape anything for use as text or as an attribute's value."""
    return html.escape(str(value), quote=True)


def words(name: str) -> str:
    """Name of a field as words that start with a capital, abbreviations in their usual case."""
    parts = [_ABBREVIATIONS.get(part, part) for part in name.replace("_", " ").split()]
    spaced = " ".join(parts)
    return spaced[:1].upper() + spaced[1:]


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits; ``none`` where a figure is not defined."""
    if value is None:
        return '<span class="none">none</span>'
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}"


def column(values: Sequence[float | None]) -> list[str]:
    """Numbers that stand below each other, with as many decimals as their column needs."""
    known = [abs(value) for value in values if value is not None]
    whole = all(float(value).is_integer() for value in known)
    decimals = 0 if whole else 1 if max(known) >= 100 else 2
    return [number(value) if value is None else f"{value:.{decimals}f}" for value in values]


def pill(kind: str, label: str) -> str:
    """Colored label; ``kind`` is its CSS class."""
    return f'<span class="pill {text(kind)}">{text(label)}</span>'


def facts(markup: Iterable[tuple[str, str]]) -> str:
    """List of terms and their values (HTML)."""
    items = "".join(f"<div><dt>{text(term)}</dt><dd>{value}</dd></div>" for term, value in markup)
    return f'<dl class="facts">{items}</dl>'


def figure(title: str, image: str, caption: str, kind: str = "") -> str:
    """Picture (address) with its title and caption."""
    return (
        f'<figure class="{text(kind)}"><h3>{text(title)}</h3><div class="plot">'
        f'<img alt="{text(title)}" src="{text(image)}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def table(head: Sequence[str], markup: Iterable[Sequence[str]], kind: str = "") -> str:
    """Table with titles and rows of cells (HTML); it scrolls sideways where it is too wide."""
    titles = "".join(f'<th scope="col">{text(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in markup)
    return (
        f'<div class="scroll"><table class="{text(kind)}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def section(name: str, title: str, markup: str, design: int | None = None) -> str:
    """Section of the page; ``design`` makes it one that the selector shows and hides."""
    which = "" if design is None else f' data-design="{design}"'
    return f'<section id="{text(name)}"{which}><h2>{text(title)}</h2>{markup}</section>'
