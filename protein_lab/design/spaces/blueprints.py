"""Blueprints: helices and strands of a chain, their order, lengths and pairs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.contacts import ORIENTATIONS
from protein_lab.design.blueprint import Blueprint, Pair, resize, sample_blueprint
from protein_lab.design.blueprint_moves import MOST_MOVES, recombine
from protein_lab.design.objective import Subject, Term
from protein_lab.errors import ProteinLabError
from protein_lab.training.corpus import Corpus

_LETTERS: Final = "LHE"
_MOST_PAIRS: Final = 60
_SHIFT: Final = 3


class Blueprints:
    """Blueprints of a length; a point holds the states, then the pairs, as integers.

    Plain sampling takes the blueprint of a real chain, as open requests do.

    Parameters
    ----------
    length : int
        Residues.
    corpus : Corpus
        Real chains.
    """

    name = "blueprints"

    def __init__(self, length: int, corpus: Corpus) -> None:
        self.length, self.corpus = length, corpus

    def draw(self, rng: np.random.Generator, count: int) -> list[NDArray[Any]]:
        """Draw blueprints of real chains."""
        return [_packed(sample_blueprint(self.length, rng, self.corpus)) for _ in range(count)]

    def subject(self, point: NDArray[Any]) -> Subject:
        """Read the blueprint."""
        return Subject(blueprint=unpacked(point, self.length))

    def move(self, point: NDArray[Any], size: float, rng: np.random.Generator) -> NDArray[Any]:
        """Give residues to one element or loop from another, or change the topology."""
        blueprint = unpacked(point, self.length)
        if rng.random() < 0.2 + 0.3 * min(size, 1.0):
            # one of the moves in four that novelty 1 makes
            changed = recombine(blueprint, 1.0 / MOST_MOVES, rng)
            return _packed(changed)
        shift = int(rng.integers(1, _SHIFT + 1))
        longer = rng.random() < 0.5
        first = self.length + (shift if longer else -shift)
        return _packed(resize(resize(blueprint, first, rng), self.length, rng))

    def cross(
        self, first: NDArray[Any], second: NDArray[Any], rng: np.random.Generator
    ) -> NDArray[Any]:
        """Put the beginning of one blueprint before the end of another, cut in loops."""
        one, other = (unpacked(item, self.length) for item in (first, second))
        cuts = [
            place
            for place in range(1, self.length)
            if {one.secondary_structure[place - 1], other.secondary_structure[place]} == {"L"}
        ]
        if not cuts:
            return first
        cut = int(rng.choice(cuts))
        states = one.secondary_structure[:cut] + other.secondary_structure[cut:]
        head = sum(item.stop <= cut for item in one.elements)
        gone = sum(item.stop <= cut for item in other.elements)
        cut_short = any(item.start < cut < item.stop for item in other.elements)
        pairs = [pair for pair in one.pairs if pair.second < head]
        if not cut_short:
            pairs += [
                Pair(pair.first - gone + head, pair.second - gone + head, pair.orientation)
                for pair in other.pairs
                if pair.first >= gone
            ]
        count = len(Blueprint(states).elements)
        return _packed(Blueprint(states, tuple(item for item in pairs if item.second < count)))


def _packed(blueprint: Blueprint) -> NDArray[np.int16]:
    """Write a blueprint as integers; pairs that are not there are -1."""
    if len(blueprint.pairs) > _MOST_PAIRS:
        raise ProteinLabError(f"A blueprint has more than {_MOST_PAIRS} pairs.")
    states = [_LETTERS.index(letter) for letter in blueprint.secondary_structure]
    pairs = np.full((_MOST_PAIRS, 3), -1, dtype=np.int16)
    for row, pair in zip(pairs, blueprint.pairs, strict=False):
        row[:] = pair.first, pair.second, ORIENTATIONS.index(pair.orientation)
    return np.concatenate([np.array(states, dtype=np.int16), pairs.ravel()])


def unpacked(point: NDArray[Any], length: int) -> Blueprint:
    """Read a blueprint from integers.

    Parameters
    ----------
    point : ndarray of int
        From :class:`Blueprints`.
    length : int
        Residues.
    """
    states = "".join(_LETTERS[int(code)] for code in point[:length])
    rows = np.asarray(point[length:]).reshape(-1, 3)
    pairs = tuple(
        Pair(int(first), int(second), ORIENTATIONS[int(code)])  # pyright: ignore
        for first, second, code in rows
        if first >= 0
    )
    return Blueprint(states, pairs)


def contact_order_term(target: float, weight: float = 1.0) -> Term:
    """Make a term of how far apart along the chain paired elements are, against a target.

    Parameters
    ----------
    target : float
        Mean distance of the middles of paired elements, over the length of the chain; that of
        all pairs of the blueprint, which stand for its contacts.
    weight : float
        What being off by the whole length counts.
    """

    def measure(subject: Subject) -> float:
        return abs(contact_order(subject.require_blueprint()) - target)

    return Term("contact order", "share of the length", measure, weight)


def contact_order(blueprint: Blueprint) -> float:
    """Mean distance along the chain of paired elements over the length; 0 without pairs.

    A coarse form of the relative contact order (Plaxco, Simons & Baker, J. Mol. Biol. 277, 1998).
    """
    middle = [(item.start + item.stop) / 2.0 for item in blueprint.elements]
    apart = [abs(middle[pair.second] - middle[pair.first]) for pair in blueprint.pairs]
    return float(np.mean(apart)) / blueprint.length if apart else 0.0
