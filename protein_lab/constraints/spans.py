"""Residues as a user names them: a number, or the first and the last of a range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protein_lab.constants import MAX_LENGTH
from protein_lab.constraints.base import Scope
from protein_lab.typing import Fault

Span = int | tuple[int, int]
"""A residue counted from 1, or the first and last residue of a range, both included."""

# A constrained integer beside a fixed-length tuple in one union makes msgspec 0.22 read outside
# its memory, so the limits of residue numbers are checked here and not by the type.

_FIRST: Final = 1


def bounds(span: Span) -> tuple[int, int]:
    """Give the residues of a span 0-based and half-open."""
    first, last = span if isinstance(span, tuple) else (span, span)
    return first - 1, last


def center(span: Span) -> float:
    """Give the middle of a span, 0-based; a half where its number of residues is even."""
    start, stop = bounds(span)
    return 0.5 * (start + stop - 1)


def name(span: Span) -> str:
    """Name a span in a message: ``residue 7`` or ``residues 7-12``."""
    return f"residue {span}" if isinstance(span, int) else f"residues {span[0]}-{span[1]}"


def span_faults(path: str, span: Span | None) -> Iterator[Fault]:
    """Find numbers that no residue has, and reversed ranges; None is passed over.

    Yields
    ------
    Fault
    """
    if span is None:
        return
    for number in (span,) if isinstance(span, int) else span:
        if not _FIRST <= number <= MAX_LENGTH:
            yield Fault(
                path=path,
                message=f"Expected a residue from 1 to {MAX_LENGTH}, but got {number}.",
                remedy="Residues are counted from 1 along the chain.",
            )
            return
    if not isinstance(span, int) and span[0] > span[1]:
        yield Fault(
            path=path,
            message=f"Expected the first residue before the last, but got [{span[0]}, {span[1]}].",
            remedy=f"Write [{span[1]}, {span[0]}].",
        )


def outside_faults(path: str, span: Span | None, scope: Scope) -> Iterator[Fault]:
    """Find a span that does not lie in every chain that the request allows.

    Yields
    ------
    Fault
    """
    if span is None or not scope.shortest:
        return
    last = bounds(span)[1]
    if last <= scope.shortest:
        return
    is_sometimes = last <= scope.longest
    yield Fault(
        path=path,
        message=f"Expected a residue from 1 to {scope.shortest}, but got {last}."
        if not is_sometimes
        else f"Residue {last} is named, but chains of {scope.shortest} residues are allowed.",
        remedy="Make the chain longer, or name another residue."
        if not is_sometimes
        else f"Ask for at least {last} residues, or name another residue.",
    )
