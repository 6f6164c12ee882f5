"""What a search of the library finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protein_lab.typing import FloatArray

HitKind = Literal["fold", "partial", "assembled"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chain of the library whose fold fits a blueprint.

    Attributes
    ----------
    chain_index : int
        Number of the chain in the corpus; -1 where several or none are used.
    score : float
        Expected TM-score of the bent fold; higher is better.
    element_map : tuple of int
        Element of the chain for each element of the blueprint; -1 for none.
    kind : {"fold", "partial", "assembled"}
        ``fold``: every element was aligned; ``partial``: some are placed beside the others;
        ``assembled``: no fold covers the blueprint, the curve is put together from parts.
    start, stop : int
        Residues of the chain that are used, half-open.
    parts : tuple of Part
        Of an assembled hit, in order of the chain; none for a chain without elements.
    relatives : tuple of Relative
        Other folds that agree with this one and are averaged with it when it is bent.
    """

    chain_index: int
    score: float
    element_map: tuple[int, ...]
    kind: HitKind
    start: int = 0
    stop: int = 0
    parts: tuple[Part, ...] = ()
    relatives: tuple[Relative, ...] = ()


@dataclass(frozen=True, slots=True)
class Relative:
    """A chain that the same blueprint finds and that resembles a hit.

    Attributes
    ----------
    chain_index : int
        Number of the chain in the corpus.
    element_map : tuple of int
        Element of the chain for each element of the blueprint; -1 for none.
    weight : float
        What it counts in a mean in which the hit itself counts 1.
    """

    chain_index: int
    element_map: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a blueprint and the fold that it takes.

    Attributes
    ----------
    start, stop : int
        Residues of the blueprint, half-open.
    hit : Hit
        For this stretch alone.
    """

    start: int
    stop: int
    hit: Hit


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Folds that may fit a blueprint, compared with each other.

    Attributes
    ----------
    hits : list of Hit
        Without relatives.
    guides : ndarray, shape=(candidate, residue, 3)
        Where each leads the residues, angstrom; NaN where it says nothing.
    close : ndarray, shape=(candidate, candidate)
        TM-scores between the guides.
    features : dict of str to ndarray, shape=(candidate,)
        What the ranking sees.
    """

    hits: list[Hit]
    guides: FloatArray
    close: FloatArray
    features: dict[str, FloatArray]
