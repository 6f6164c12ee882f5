"""Contigs: the order and spacing of motif segments in a chain, as users of RFdiffusion write them.

``10-40/A163-181/10-40`` is a motif segment of chain A between two stretches of 10 to 40 residues
that are designed (Watson et al., Nature 620, 2023). Residues are named as in papers, insertion
codes included; ``2:A10-20`` takes chain A of the second source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constants import MAX_LENGTH, MIN_LENGTH
from protein_lab.errors import ProteinLabError
from protein_lab.typing import IntArray

MAX_PIECES: Final = 200

_GAP: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_SEGMENT: Final = re.compile(
    r"(?:(\d{1,3}):)?([A-Za-z]{1,4})(-?\d{1,6})([A-Za-z]?)(?:-([A-Za-z]{0,4})(-?\d{1,6})([A-Za-z]?))?"
)


@dataclass(frozen=True, slots=True)
class Gap:
    """Residues that are designed: fewest and most."""

    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Residues of a source, first to last, both included.

    Attributes
    ----------
    source : int
        Which source, counted from 0.
    chain : str
        Chain id of the authors.
    start, stop : (int, str)
        Residue numbers of the authors with insertion codes.
    """

    source: int
    chain: str
    start: tuple[int, str]
    stop: tuple[int, str]

    def __str__(self) -> str:
        first, last = (f"{number}{code}" for number, code in (self.start, self.stop))
        return f"{self.chain}{first}" if first == last else f"{self.chain}{first}-{last}"


def read_contig(text: str) -> tuple[Gap | Segment, ...]:
    """Read a contig.

    Raises
    ------
    ProteinLabError
        Says which piece cannot be read, and how pieces are written.
    """
    pieces = [piece.strip() for piece in re.split(r"[/,]", text.strip().strip("[]"))]
    if len(pieces) > MAX_PIECES:
        raise ProteinLabError(
            f"Expected at most {MAX_PIECES} pieces of a contig, but got {len(pieces)}."
        )
    return tuple(_piece(piece) for piece in pieces)


def _piece(text: str) -> Gap | Segment:
    gap = _GAP.fullmatch(text)
    if gap:
        low = int(gap[1])
        high = int(gap[2] or low)
        if not low <= high <= MAX_LENGTH:
            raise ProteinLabError(
                f"Expected the shorter length first and at most {MAX_LENGTH}, but got {text!r}.",
                f"Write {min(low, high)}-{min(max(low, high), MAX_LENGTH)}.",
            )
        return Gap(low, high)
    found = _SEGMENT.fullmatch(text)
    if found is None or (found[5] or found[2]) != found[2] or found[1] == "0":
        hint = "Chain breaks are not designed. " if text.startswith("0 ") else ""
        raise ProteinLabError(
            f"The piece {text[:40]!r} of the contig cannot be read.",
            f"{hint}Write lengths as 10-40 and motif residues as A163-181, with / between them.",
        )
    start = (int(found[3]), found[4].upper())
    stop = start if found[6] is None else (int(found[6]), found[7].upper())
    return Segment(int(found[1] or 1) - 1, found[2], start, stop)


@dataclass(frozen=True, slots=True)
class Spacing:
    """Stretches before, between and after segments of known lengths.

    Attributes
    ----------
    gaps : tuple of Gap
        One more than there are segments.
    sizes : tuple of int
        Residues of each segment.
    """

    gaps: tuple[Gap, ...]
    sizes: tuple[int, ...]

    @property
    def shortest(self) -> int:
        """Fewest residues of the chain."""
        return sum(self.sizes) + sum(gap.shortest for gap in self.gaps)

    @property
    def longest(self) -> int:
        """Most residues of the chain."""
        return sum(self.sizes) + sum(gap.longest for gap in self.gaps)

    def lengths(self, shortest: int, longest: int) -> range:
        """Lengths of the chain that are possible within bounds; 0 and 0 bound nothing."""
        low = max(self.shortest, shortest, MIN_LENGTH)
        high = min(self.longest, longest or self.longest, MAX_LENGTH)
        return range(low, high + 1)

    def draw(self, length: int, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw the lengths of the gaps, every combination equally likely.

        Parameters
        ----------
        length : int
            Of the chain, one of :meth:`lengths`.
        rng : Generator
            Draws the combination.
        """
        free = length - self.shortest
        ways = _ways([gap.longest - gap.shortest for gap in self.gaps], free)
        drawn: list[int] = []
        for number, gap in enumerate(self.gaps):
            spare = np.arange(min(gap.longest - gap.shortest, free) + 1)
            chance = ways[number + 1][free - spare]
            more = int(rng.choice(spare, p=chance / chance.sum()))
            drawn.append(gap.shortest + more)
            free -= more
        return tuple(drawn)

    def residues(self, gaps: Sequence[int]) -> IntArray:
        """Give the indices of all motif residues along the chain for given lengths of the gaps."""
        starts = np.cumsum(gaps[:-1]) + np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        parts = [start + np.arange(size) for start, size in zip(starts, self.sizes, strict=True)]
        return np.concatenate(parts).astype(np.int64)


def _ways(spans: Sequence[int], total: int) -> list[np.ndarray]:
    """Count in how many ways the stretches from each on can take up 0 ... total residues.

    Counts are scaled to at most 1, which keeps their ratios.
    """
    ways = [np.zeros(total + 1)]
    ways[0][0] = 1.0
    for span in reversed(spans):
        sums = np.concatenate([[0.0], np.cumsum(ways[0])])
        first = np.maximum(np.arange(total + 1) - span, 0)
        new = sums[1:] - sums[first]
        ways.insert(0, new / new.max())
    return ways


def spacing_of(pieces: Sequence[Gap | Segment], sizes: Sequence[int]) -> Spacing:
    """Join neighboring lengths, and put empty ones where segments follow one another.

    Parameters
    ----------
    pieces : sequence of Gap or Segment
        In order of the chain.
    sizes : sequence of int
        Residues of each segment.
    """
    gaps = [Gap(0, 0)]
    for piece in pieces:
        if isinstance(piece, Gap):
            last = gaps[-1]
            gaps[-1] = Gap(last.shortest + piece.shortest, last.longest + piece.longest)
        else:
            gaps.append(Gap(0, 0))
    return Spacing(tuple(gaps), tuple(sizes))
