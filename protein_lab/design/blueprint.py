"""Blueprints: which helices and strands a chain has, and which of them lie side by side.

A blueprint is all that a user needs to say about a fold. :func:`blueprint_of` reads it from a
structure, :func:`sample_blueprint` draws one from the statistics of real chains.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from protein_lab.contacts import ORIENTATIONS, STRAND, find_spans, measure_pairs
from protein_lab.errors import CorpusError, GeometryError
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.training.corpus import Corpus

MIN_HELIX: Final = 4
MIN_STRAND: Final = 3
Orientation = Literal["parallel", "antiparallel", "crossing"]

_TOLERANCE: Final = 0.15
_DOMAIN: Final = (90, 200)
"""Lengths of the parts that chains longer than any of the corpus are joined from, residues."""

_LINKER: Final = 6
_MOST_LOOP: Final = 0.6
_DRAWS: Final = 30
_LEAST: Final = {"H": MIN_HELIX, "E": MIN_STRAND, "L": 2}


class Element(msgspec.Struct, frozen=True):
    """A helix or a strand.

    Attributes
    ----------
    kind : {"H", "E"}
        Helix or strand.
    start, stop : int
        Its residues, 0-based and half-open.
    """

    kind: Literal["H", "E"]
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of residues."""
        return self.stop - self.start


class Pair(msgspec.Struct, frozen=True):
    """Two elements that lie side by side.

    Attributes
    ----------
    first, second : int
        0-based numbers of the elements in order of the chain, ``first < second``.
    orientation : {"parallel", "antiparallel", "crossing"}
        How the second lies to the first, both taken from their N-terminal end.
    """

    first: int
    second: int
    orientation: Orientation


class Blueprint(msgspec.Struct, frozen=True):
    """Secondary structure and pairing of a chain.

    Attributes
    ----------
    secondary_structure : str
        ``H``, ``E`` or ``L``, one letter a residue.
    pairs : tuple of Pair
        What lies next to what. Pairs that are not named may or may not form.
    """

    secondary_structure: str
    pairs: tuple[Pair, ...] = ()

    @property
    def elements(self) -> tuple[Element, ...]:
        """Helices of at least 4 and strands of at least 3 residues, in order of the chain."""
        return elements_of(self.secondary_structure)

    @property
    def length(self) -> int:
        """Number of residues."""
        return len(self.secondary_structure)


def elements_of(
    secondary_structure: str, min_helix: int = MIN_HELIX, min_strand: int = MIN_STRAND
) -> tuple[Element, ...]:
    """List the helices and strands of a chain.

    Parameters
    ----------
    secondary_structure : str
        One letter a residue; every letter but ``H`` and ``E`` counts as loop.
    min_helix, min_strand : int
        Least number of residues; shorter runs count as loop.

    Returns
    -------
    tuple of Element
        In order of the chain.
    """
    if not secondary_structure:
        return ()
    offsets = np.array([0, len(secondary_structure)])
    spans = find_spans(secondary_structure, offsets, min_helix, min_strand)
    return tuple(
        Element("E" if kind == STRAND else "H", int(start), int(stop))
        for kind, start, stop in zip(spans.kind, spans.start, spans.stop, strict=True)
    )


def blueprint_of(backbone: ArrayLike, secondary_structure: str) -> Blueprint:
    """Read the blueprint of a real or designed chain.

    Parameters
    ----------
    backbone : array_like, shape=(residue, >=3, 3)
        N, CA, C, angstrom.
    secondary_structure : str
        Its states, one letter a residue.

    Returns
    -------
    Blueprint
        With all pairs that :func:`protein_lab.contacts.measure_pairs` finds.

    Raises
    ------
    GeometryError
        If the numbers of residues differ.
    """
    atoms = np.asarray(backbone, dtype=np.float64)
    if atoms.shape[0] != len(secondary_structure):
        raise GeometryError(
            f"Expected {atoms.shape[0]} letters of secondary structure, one a residue, "
            f"but got {len(secondary_structure)}."
        )
    if not secondary_structure:
        return Blueprint("")
    offsets = np.array([0, len(secondary_structure)])
    spans = find_spans(secondary_structure, offsets, MIN_HELIX, MIN_STRAND)
    first, second, code = measure_pairs(spans, axis_curve(atoms[:, 1]), virtual_cb(atoms))
    order = np.lexsort((second, first))
    pairs = tuple(
        Pair(int(first[p]), int(second[p]), ORIENTATIONS[int(code[p]) - 1])  # pyright: ignore
        for p in order
    )
    return Blueprint(secondary_structure, pairs)


def sample_blueprint(length: int, rng: np.random.Generator, corpus: Corpus) -> Blueprint:
    """Draw the blueprint of a real chain of about this length and fit it to the length.

    Parameters
    ----------
    length : int
        Residues.
    rng : Generator
        Draws the chain and the elements and loops that grow or shrink.
    corpus : Corpus
        Real chains; only the training part is used.

    Returns
    -------
    Blueprint
        Of exactly this length. Longer than any chain of the corpus: several joined by loops.

    Raises
    ------
    ValueError
        If the length is not positive.
    CorpusError
        If the corpus has no training chain.
    """
    if length < 1:
        raise ValueError(f"Expected a length of at least 1 residue, but got {length}.")
    train = corpus.indices("train")
    if train.size == 0:
        raise CorpusError("The corpus has no training chain to draw a blueprint from.")
    longest = int(corpus.lengths[train].max())
    if length <= longest:
        return _single(length, rng, corpus)
    parts = int(np.ceil(length / rng.uniform(*_DOMAIN)))
    parts = max(parts, int(np.ceil((length + _LINKER) / longest)))
    sizes = _shares(length - _LINKER * (parts - 1), parts, rng, longest)
    return join([_single(size, rng, corpus) for size in sizes], "L" * _LINKER)


def _shares(total: int, parts: int, rng: np.random.Generator, most: int) -> list[int]:
    """Split a length into parts of similar size."""
    even = np.full(parts, total // parts)
    even[: total % parts] += 1
    for _ in range(parts):
        give, take = rng.integers(parts, size=2)
        move = min(int(rng.integers(0, 20)), most - int(even[take]), int(even[give]) - _DOMAIN[0])
        if move > 0 and give != take:
            even[give] -= move
            even[take] += move
    return [int(size) for size in even]


def _single(length: int, rng: np.random.Generator, corpus: Corpus) -> Blueprint:
    """Blueprint of one chain, fitted to the length."""
    low, high = int(np.floor(length / (1 + _TOLERANCE))), int(np.ceil(length / (1 - _TOLERANCE)))
    pool = corpus.indices("train", low, high)
    if pool.size == 0:
        pool = corpus.indices("train")
        gap = np.abs(corpus.lengths[pool] - length)
        pool = pool[gap <= max(gap.min(), 20)]
    blueprint = Blueprint("L" * length)
    for _ in range(_DRAWS):
        blueprint = _cut(int(rng.choice(pool)), length, rng, corpus)
        loop = blueprint.secondary_structure.count("L") / blueprint.length
        if len(blueprint.elements) > 1 and loop < _MOST_LOOP:
            break
    return resize(blueprint, length, rng)


def _cut(chain: int, length: int, rng: np.random.Generator, corpus: Corpus) -> Blueprint:
    """Blueprint of a chain, or of a stretch of it where the chain is much longer."""
    states = corpus.secondary_structure(chain)
    backbone = corpus.backbone(chain)
    spare = len(states) - int(length * (1 + 2 * _TOLERANCE))
    if spare <= 0:
        return blueprint_of(backbone, states)
    start = int(rng.integers(len(states) - length + 1))
    return blueprint_of(backbone[start : start + length], states[start : start + length])


def resize(blueprint: Blueprint, length: int, rng: np.random.Generator) -> Blueprint:
    """Lengthen or shorten elements and loops, each in proportion to its length, at random.

    Parameters
    ----------
    blueprint : Blueprint
        With at least one residue.
    length : int
        Residues wanted.
    rng : Generator
        Draws which elements and loops change.

    Returns
    -------
    Blueprint
        With the same elements in the same order and the same pairs; elements are lost only where
        the length leaves no room for them.
    """
    runs = [(state, len(list(group))) for state, group in groupby(blueprint.secondary_structure)]
    states = [state for state, _ in runs]
    sizes = np.array([size for _, size in runs])
    least = np.array([min(size, _LEAST.get(state, 1)) for state, size in runs])
    while (change := length - int(sizes.sum())) != 0:
        room = sizes if change > 0 else sizes - least
        if room.sum() == 0:
            break
        sizes[rng.choice(sizes.size, p=room / room.sum())] += int(np.sign(change))
    text = "".join(state * int(size) for state, size in zip(states, sizes, strict=True))
    resized = Blueprint(text[:length], blueprint.pairs)
    count = len(resized.elements)
    return Blueprint(text[:length], tuple(p for p in blueprint.pairs if p.second < count))


def join(blueprints: list[Blueprint], linker: str) -> Blueprint:
    """Put blueprints one after the other with a linker in between.

    Parameters
    ----------
    blueprints : list of Blueprint
        At least one.
    linker : str
        States between two of them.

    Returns
    -------
    Blueprint
        With the pairs of all.
    """
    pairs: list[Pair] = []
    count = 0
    for part in blueprints:
        pairs += [Pair(p.first + count, p.second + count, p.orientation) for p in part.pairs]
        count += len(part.elements)
    return Blueprint(linker.join(p.secondary_structure for p in blueprints), tuple(pairs))
