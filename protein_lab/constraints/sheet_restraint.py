"""Energy of strands side by side, and of the hand of the connections between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.base import ElementSpan
from protein_lab.constraints.wells import CA, distance, well
from protein_lab.typing import FloatArray

MIDDLE: Final = (4.2, 5.6)
"""Angstrom between the middles of two neighbors in a sheet."""

ENDS: Final = 7.0
"""Angstrom between their ends at most; sheets twist, and strands shift along each other."""

PULL: Final = 3.0

HAND: Final = 0.3
"""Least normalized volume of a crossover; 0.8 is usual, 1 that of a perfect corner."""

_HAND_PULL: Final = 0.5
_HAND_STRENGTH: Final = 30.0
"""Nats for the square of the normalized volume; to turn a connection over is to move it far."""

_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class StrandPair:
    """Two strands that lie side by side."""

    first: ElementSpan
    second: ElementSpan
    orientation: str

    def windows(self) -> tuple[slice, slice]:
        """Give equally long middle parts of both."""
        size = min(self.first.stop - self.first.start, self.second.stop - self.second.start)
        starts = [
            span.start + (span.stop - span.start - size) // 2 for span in (self.first, self.second)
        ]
        return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


@dataclass(frozen=True, slots=True)
class SheetRestraint:
    """Energy of a sheet.

    Attributes
    ----------
    pairs : tuple of StrandPair
        Neighbors.
    crossings : tuple of (ElementSpan, ElementSpan)
        Parallel strands whose connection must have a hand.
    sign : int
        1 for right-handed crossovers, -1 for left-handed ones.
    """

    pairs: tuple[StrandPair, ...]
    crossings: tuple[tuple[ElementSpan, ElementSpan], ...]
    sign: int

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone (residue, 4, 3), in nats, with its gradient."""
        gradient = np.zeros_like(atoms)
        energy, gradient[:, CA] = self.on_curve(atoms[:, CA])
        return energy, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of CA atoms or of an axis curve (residue, 3), with its gradient."""
        total, gradient = 0.0, np.zeros_like(curve)
        for pair in self.pairs:
            total += _beside(curve, gradient, pair)
        for first, second in self.crossings:
            volume, slope = _volume(curve, first, second)
            value, pull = well(np.array(self.sign * volume), HAND, np.inf, _HAND_PULL)
            total += _HAND_STRENGTH * float(value)
            gradient += _HAND_STRENGTH * float(pull) * self.sign * slope
        return total, gradient


def _beside(points: FloatArray, gradient: FloatArray, pair: StrandPair) -> float:
    """Add what holds two strands side by side."""
    one, other = pair.windows()
    ends = [slice(one.start, one.start + 2), slice(one.stop - 2, one.stop)]
    against = [slice(other.start, other.start + 2), slice(other.stop - 2, other.stop)]
    if pair.orientation == "antiparallel":
        against.reverse()
    total = 0.0
    for low, high, here, there in (
        (*MIDDLE, one, other),
        (-np.inf, ENDS, ends[0], against[0]),
        (-np.inf, ENDS, ends[1], against[1]),
    ):
        apart, direction = distance(points[here].mean(axis=0), points[there].mean(axis=0))
        value, slope = well(apart, low, high, PULL)
        total += float(value)
        gradient[here] += slope * direction / (here.stop - here.start)
        gradient[there] -= slope * direction / (there.stop - there.start)
    return total


def crossover_hand(points: FloatArray, first: ElementSpan, second: ElementSpan) -> float:
    """Measure the normalized volume of strand direction, connection and step to the next strand.

    Positive for a right-handed crossover: the chain turns like a right-handed screw while it moves
    from the first strand over the connection to the second (Richardson, PNAS 73, 1976).

    Parameters
    ----------
    points : ndarray, shape=(residue, 3)
        CA atoms or axis curve, angstrom.
    first, second : ElementSpan
        Parallel strands with at least one residue between them.
    """
    return _volume(points, first, second)[0]


def _volume(
    points: FloatArray, first: ElementSpan, second: ElementSpan
) -> tuple[float, FloatArray]:
    """Give the normalized triple product of three vectors, linear in the points, and its slope."""
    weights = np.zeros((3, len(points)))
    for span in (first, second):
        size = span.stop - span.start
        weights[0, span.stop - 2 : span.stop] += 0.5
        weights[0, span.start : span.start + 2] -= 0.5
        weights[1, span.start : span.stop] -= 0.5 / size
    weights[1, first.stop : second.start] += 1.0 / (second.start - first.stop)
    weights[2, second.start : second.stop] += 1.0 / (second.stop - second.start)
    weights[2, first.start : first.stop] -= 1.0 / (first.stop - first.start)
    along, out, step = vectors = weights @ points
    sizes = np.maximum(np.linalg.norm(vectors, axis=1), _TINY)
    scale = float(np.prod(sizes))
    crossed = np.stack([np.cross(out, step), np.cross(step, along), np.cross(along, out)])
    volume = float(along @ crossed[0]) / scale
    by_vector = crossed / scale - volume * vectors / sizes[:, None] ** 2
    return volume, weights.T @ by_vector
