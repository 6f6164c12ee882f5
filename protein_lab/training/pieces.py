"""Pieces of batches, for devices whose memory does not hold a whole one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np


def rows_of(value: Any, rows: slice) -> Any:
    """Take rows of every array of a nested tuple; what is None stays so."""
    if isinstance(value, tuple):
        taken = [rows_of(part, rows) for part in value]
        # named tuples are made of their fields, others of one sequence
        return type(value)(*taken) if hasattr(value, "_fields") else tuple(taken)
    return None if value is None else value[rows]


def row_ranges(count: int, pieces: int) -> list[slice]:
    """Cut so many rows into pieces of nearly equal size; none is empty."""
    edges = np.linspace(0, count, min(pieces, count) + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
