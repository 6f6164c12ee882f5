"""What a request says about the sequences of its designs, and what comes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from protein_lab.constants import AMINO_ACIDS, MAX_LENGTH
from protein_lab.typing import Fault

LETTERS: Final = AMINO_ACIDS[:20]
_KNOWN: Final = f"Use one-letter codes: {LETTERS}."


class FixedResidue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A residue whose type is given.

    Attributes
    ----------
    position : int
        Number of the residue, from 1.
    residue : str
        One-letter code.
    """

    position: Annotated[int, msgspec.Meta(ge=1)]
    residue: Annotated[str, msgspec.Meta(max_length=1)]


class SequenceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sequences are drawn for a backbone.

    Attributes
    ----------
    num_sequences : int
        Sequences for each design, 0 for none; the most probable one becomes the design's own.
    temperature : float
        Low values keep to the most probable residues, but repeat a few of them too often; at 1
        residues are drawn as probable as the operator holds them.
    fixed : tuple of FixedResidue
        Residues that are given.
    excluded : str
        One-letter codes that no residue gets unless it is fixed.
    """

    num_sequences: Annotated[int, msgspec.Meta(ge=0, le=64)] = 4
    temperature: Annotated[float, msgspec.Meta(ge=0.01, le=2.0)] = 0.5
    fixed: Annotated[tuple[FixedResidue, ...], msgspec.Meta(max_length=MAX_LENGTH)] = ()
    excluded: Annotated[str, msgspec.Meta(max_length=20)] = ""

    def faults(self, path: str, shortest: int) -> Iterator[Fault]:
        """Yield everything that contradicts itself.

        Parameters
        ----------
        path : str
            JSON path of these options.
        shortest : int
            Residues that every design has; 0 when that is not known.
        """
        yield from self._fixed_faults(f"{path}.fixed", shortest)
        yield from _excluded_faults(self.excluded, f"{path}.excluded")
        if self.num_sequences == 0:
            yield from self._unused_faults(path)

    def _unused_faults(self, path: str) -> Iterator[Fault]:
        for name in ("fixed", "excluded"):
            if getattr(self, name):
                yield Fault(
                    path=f"{path}.{name}",
                    message="Without sequences this has no effect.",
                    remedy=f"Set {path}.num_sequences to 1 or more, or leave this out.",
                    severity="warning",
                )

    def _fixed_faults(self, path: str, shortest: int) -> Iterator[Fault]:
        first: dict[int, int] = {}
        for number, item in enumerate(self.fixed or ()):
            if item is None:
                continue
            place = f"{path}[{number}]"
            if item.residue is not None and item.residue not in tuple(LETTERS):
                yield _letter_fault(f"{place}.residue", item.residue)
            if item.position is None:
                continue
            if shortest and item.position > shortest:
                yield Fault(
                    path=f"{place}.position",
                    message=f"Expected a residue that every design has, 1 to {shortest}, "
                    f"but got {item.position}.",
                    remedy="Ask for a longer chain, or leave this residue out.",
                )
            if item.position in first:
                yield Fault(
                    path=f"{place}.position",
                    message=f"Residue {item.position} is fixed already by "
                    f"{path}[{first[item.position]}].",
                    remedy="Keep one of them.",
                )
            first.setdefault(item.position, number)


class DesignedSequence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sequence for a backbone and how sure the operator is of it; figures have four decimals.

    Attributes
    ----------
    sequence : str
        One-letter codes.
    score : float
        Mean of log p of the drawn residues (of all, where all are fixed), nats; 0 is certainty.
    probability : tuple of float
        Probability of each residue, at temperature 1, given the backbone and the residues that
        came before it.
    entropy : tuple of float
        Entropy of the distribution that each residue comes from, nats; at most log 20.
    """

    sequence: str
    score: float
    probability: tuple[float, ...]
    entropy: tuple[float, ...]

    @property
    def perplexity(self) -> float:
        """Exponential of minus the score: 1 is certainty, 20 is blind guessing."""
        return math.exp(-self.score)


class SequenceDraw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sequences of one design, or why there are none.

    Attributes
    ----------
    drawn : tuple of DesignedSequence
        Best score first; empty when none were asked for or ``failed``.
    failed : str or None
        Reason when sequences were asked for and none came out.
    """

    drawn: tuple[DesignedSequence, ...] = ()
    failed: str | None = None

    @property
    def best(self) -> str | None:
        """One-letter codes of the sequence with the best score."""
        return self.drawn[0].sequence if self.drawn else None

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the best sequence for the metrics of its design; none without sequences."""
        return {"sequence_perplexity": self.drawn[0].perplexity} if self.drawn else {}


def _excluded_faults(excluded: str | None, path: str) -> Iterator[Fault]:
    letters = excluded or ""
    for letter in sorted(set(letters) - set(LETTERS)):
        yield _letter_fault(path, letter)
    repeated = "".join(letter for letter, count in Counter(letters).items() if count > 1)
    if repeated:
        yield Fault(
            path=path,
            message=f"Expected each letter once, but {repeated!r} is repeated.",
            remedy="Keep one of each.",
        )
    if set(LETTERS) <= set(letters):
        yield Fault(
            path=path,
            message="All twenty amino acids are excluded.",
            remedy="Leave at least one.",
        )


def _letter_fault(path: str, letter: str) -> Fault:
    upper = letter.upper()
    known = len(letter) == 1 and upper in LETTERS
    return Fault(
        path=path,
        message=f"Expected the code of an amino acid, but got {letter!r}.",
        remedy=f"Write {upper!r}." if known else _KNOWN,
    )
