"""Knots in open chains: Alexander polynomial of the chain closed far away, over many directions.

A chain with free ends is no closed curve, so it has no knot of its own. As usual (Sulkowska et
al., PNAS 2012) both ends are led to infinity in one direction and joined there; of the knots for
many directions the most frequent one counts. Seen along that direction, the closure is one
straight segment over everything else, so that no auxiliary points are needed.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.errors import GeometryError
from protein_lab.geometry import coordinates
from protein_lab.typing import BoolArray, FloatArray, IntArray

UNKNOT: Final = "0_1"
DIRECTIONS: Final = 12
"""Closures that are compared; deep knots show in all, shallow ones in some."""

_TURN: Final = complex(-0.5, np.sqrt(3.0) / 2.0)
_KNOTS: Final = {
    (1, 1): UNKNOT, (3, 2): "3_1", (5, 4): "4_1", (5, 1): "5_1", (7, 5): "5_2", (9, 7): "6_1",
    (11, 5): "6_2", (13, 7): "6_3", (7, 1): "7_1", (9, 4): "3_1#3_1",
}  # fmt: skip
"""Alexander-Briggs names by the absolute values of the polynomial at -1 and at exp(2 pi i / 3)."""


class Knot(NamedTuple):
    """The knot of a chain.

    Attributes
    ----------
    name : str
        Alexander-Briggs name of the most frequent knot, ``0_1`` without one; knots beyond six
        crossings that are not 7_1 come as ``knot with determinant N``. Mirror images have one name.
    share : float
        Share of the closures with this knot.
    """

    name: str
    share: float


def find_knot(ca: ArrayLike, directions: int = DIRECTIONS) -> Knot:
    """Tell which knot a chain has.

    Parameters
    ----------
    ca : array_like
        CA atoms of one chain ``(residue, 3)``, angstrom.
    directions : int
        Closures, spread evenly over the sphere, always the same ones.

    Returns
    -------
    Knot

    Raises
    ------
    GeometryError
        If the shape is wrong, a coordinate is not finite, or there is no direction.
    """
    points = coordinates(ca, "ca")
    if points.ndim != 2 or directions < 1:
        raise GeometryError(
            f"Expected one chain (residue, 3) and a direction, got {points.shape}, {directions}."
        )
    if len(points) < 5:
        return Knot(UNKNOT, 1.0)
    found = Counter(_knot_along(points, axis) for axis in _spread(directions))
    # of equally frequent knots the simpler one: its name comes first
    name, count = min(found.items(), key=lambda item: (-item[1], item[0]))
    return Knot(name, count / directions)


def _spread(count: int) -> FloatArray:
    """Directions on a Fibonacci lattice; no axis of the coordinate system is among them."""
    number = np.arange(count) + 0.5
    height = 1.0 - 2.0 * number / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * number
    radius = np.sqrt(1.0 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _knot_along(points: FloatArray, axis: FloatArray) -> str:
    """Name the knot of a chain whose ends are joined at infinity along ``axis``."""
    helper = np.eye(3)[int(np.abs(axis).argmin())]
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    view = points @ np.stack([first, np.cross(axis, first), axis], axis=1)
    crossings = _crossings(view)
    if len(crossings.over) < 3:
        return UNKNOT
    values = [abs(_alexander(crossings, at)) for at in (-1.0 + 0.0j, _TURN)]
    at_minus_one, at_turn = (round(value) for value in values)
    return _KNOTS.get((at_minus_one, at_turn), f"knot with determinant {at_minus_one}")


class _Crossings(NamedTuple):
    """Crossings of a closed curve in projection.

    ``over`` and ``under`` say where along the curve the two strands of each crossing lie;
    ``positive`` whether the lower one passes from right to left under the upper one.
    """

    over: FloatArray
    under: FloatArray
    positive: BoolArray


def _crossings(view: FloatArray) -> _Crossings:
    """Find the crossings of a closed curve.

    Parameters
    ----------
    view : (point, 3) array
        The third coordinate points at the viewer. The closing segment, last, is over all others.
    """
    ends = np.roll(view, -1, axis=0)
    count = len(view)
    one, two = np.triu_indices(count, 2)
    apart = ~((one == 0) & (two == count - 1))
    one, two = one[apart], two[apart]
    step, other = (ends - view)[one], (ends - view)[two]
    gap = view[two] - view[one]
    area = step[:, 0] * other[:, 1] - step[:, 1] * other[:, 0]
    parallel = np.abs(area) < 1e-12
    area = np.where(parallel, 1.0, area)
    at_one = (gap[:, 0] * other[:, 1] - gap[:, 1] * other[:, 0]) / area
    at_two = (gap[:, 0] * step[:, 1] - gap[:, 1] * step[:, 0]) / area
    met = ~parallel & (at_one >= 0) & (at_one < 1) & (at_two >= 0) & (at_two < 1)
    one, two, at_one, at_two = one[met], two[met], at_one[met], at_two[met]
    height = gap[met, 2] + at_two * other[met, 2] - at_one * step[met, 2]
    first_over = (height < 0) & (two != count - 1)
    place_one, place_two = one + at_one, two + at_two
    return _Crossings(
        over=np.where(first_over, place_one, place_two),
        under=np.where(first_over, place_two, place_one),
        positive=(area[met] > 0) == first_over,
    )


def _alexander(crossings: _Crossings, at: complex) -> complex:
    """Alexander polynomial at ``at``, up to a factor of absolute value one (Alexander, 1928).

    Each stretch from one under-crossing to the next is an unknown; each crossing says how the
    stretches that end and begin at it and the one over it are related.
    """
    starts = np.sort(crossings.under)
    row: IntArray = np.searchsorted(starts, crossings.under)
    count = len(starts)
    ending, beginning = row, (row + 1) % count
    above = np.searchsorted(starts, crossings.over) % count
    matrix = np.zeros((count, count), dtype=np.complex128)
    np.add.at(matrix, (row, above), 1.0 - at)
    np.add.at(matrix, (row, np.where(crossings.positive, ending, beginning)), at)
    np.add.at(matrix, (row, np.where(crossings.positive, beginning, ending)), -1.0)
    return complex(np.linalg.det(matrix[:-1, :-1]))
