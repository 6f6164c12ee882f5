"""From aligned elements to aligned residues.

Where a helix or strand of the blueprint differs in length from its counterpart, or loops differ,
the counterpart may be laid a little earlier or later. One shift an element is chosen for all
elements together: few insertions and deletions in loops, ends of elements on ends of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from protein_lab.typing import IntArray

Span = tuple[int, int]

_INDEL: Final = 0.2
_INDEL_RESIDUE: Final = 0.15
_OVERHANG: Final = 0.6
_OFF_CENTER: Final = 0.005
"""Costs, fitted on 506 aligned training folds so that aligned residues superimpose best."""


def residue_shifts(asked: Sequence[Span], found: Sequence[Span]) -> IntArray:
    """Choose, for every aligned element, what to add to its residues to get those of the chain.

    Parameters
    ----------
    asked, found : sequence of (start, stop)
        Residue ranges of the aligned elements in the blueprint and in the chain, in order.

    Returns
    -------
    ndarray, shape=(element,)
        Shifts; equal shifts on both sides of a loop mean that it keeps its length.
    """
    options = [_options(a, f) for a, f in zip(asked, found, strict=True)]
    total = _own_cost(asked[0], found[0], options[0])
    choices = []
    for k in range(1, len(asked)):
        change = np.abs(options[k][:, None] - options[k - 1][None, :])
        step = np.where(change > 0, _INDEL + _INDEL_RESIDUE * change, 0.0)
        # A loop of the chain cannot have fewer than no residues.
        loop = (asked[k][0] + options[k])[:, None] - (asked[k - 1][1] + options[k - 1])[None, :]
        table = total[None, :] + step + np.where(loop < 0, 1e3, 0.0)
        choices.append(table.argmin(axis=1))
        total = table.min(axis=1) + _own_cost(asked[k], found[k], options[k])
    picked = [int(total.argmin())]
    for choice in reversed(choices):
        picked.append(int(choice[picked[-1]]))
    return np.array([option[p] for option, p in zip(options, reversed(picked), strict=True)])


def _options(asked: Span, found: Span) -> IntArray:
    """Shifts that lay the shorter element on the longer."""
    at_start, at_stop = found[0] - asked[0], found[1] - asked[1]
    low, high = sorted((at_start, at_stop))
    return np.arange(low, high + 1)


def _own_cost(asked: Span, found: Span, shifts: IntArray) -> np.ndarray:
    """Cost of every shift of one element: ends that do not meet, and a place off the center."""
    at_start = np.abs(asked[0] + shifts - found[0])
    at_stop = np.abs(asked[1] + shifts - found[1])
    least = abs((asked[1] - asked[0]) - (found[1] - found[0]))
    return _OVERHANG * (at_start + at_stop - least) / 2 + _OFF_CENTER * np.abs(at_start - at_stop)
