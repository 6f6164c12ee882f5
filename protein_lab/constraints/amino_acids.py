"""Classes of amino acids, and biases that say which of them are wanted where."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

import msgspec
import numpy as np

from protein_lab.constants import AMINO_ACIDS, MAX_LENGTH
from protein_lab.typing import BoolArray, Fault, FloatArray

LETTERS: Final = AMINO_ACIDS[:20]

CLASSES: Final = {
    "aliphatic": "AILV",
    "aromatic": "FHWY",
    "charged": "DEKR",
    "hydrophobic": "AFILMVWY",
    "negative": "DE",
    "polar": "DEHKNQRST",
    "positive": "KR",
    "small": "ACGST",
    "uncharged_polar": "HNQST",
}
"""Amino acids that share a property of their side chain, by name."""

FORBIDDEN: Final = -np.inf

ResidueNumber = Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)]
"""Number of a residue, counted from 1."""

Types = Annotated[str, msgspec.Meta(max_length=20)]
"""One-letter codes such as ``"FWY"``, or the name of one of :data:`CLASSES`."""


def letters_of(types: str) -> str:
    """Write a class as its one-letter codes; codes stay as they are."""
    return CLASSES.get(types, types)


@lru_cache(maxsize=1024)
def _mask_of(types: str) -> BoolArray:
    named = set(letters_of(types))
    found = np.array([letter in named for letter in LETTERS])
    found.setflags(write=False)
    return found


def mask_of(types: str) -> BoolArray:
    """Tell for each of the twenty amino acids whether it is among ``types``."""
    return _mask_of(types)


def type_faults(types: str, path: str) -> list[Fault]:
    """Find what is neither a class nor one-letter codes."""
    if types in CLASSES:
        return []
    classes = f"Use one-letter codes {LETTERS}, or a class: {', '.join(CLASSES)}."
    if not types:
        return [Fault(path=path, message="Expected amino acids, but got none.", remedy=classes)]
    unknown = sorted(set(types) - set(LETTERS))
    if not unknown:
        return []
    lower = types.lower().replace(" ", "_").replace("-", "_")
    if lower in CLASSES:
        classes = f"Write {lower!r}."
    elif set(types.upper()) <= set(LETTERS) and not types.islower():
        classes = f"Write {types.upper()!r}."
    return [
        Fault(
            path=path,
            message=f"Expected amino acids or a class of them, but got {types!r}.",
            remedy=classes,
        )
    ]


def no_bias(length: int) -> FloatArray:
    """Zeros, shape (residue, 20)."""
    return np.zeros((length, len(LETTERS)))


def only(types: str) -> FloatArray:
    """Bias of one residue that forbids everything but ``types``, shape (20,)."""
    return np.where(mask_of(types), 0.0, FORBIDDEN)


def range_fault(path: str, number: int, shortest: int) -> Fault:
    """Say that a residue is not in every design."""
    return Fault(
        path=path,
        message=f"Expected a residue that every design has, 1 to {shortest}, but got {number}.",
        remedy="Make the chain longer, or name another residue.",
    )
