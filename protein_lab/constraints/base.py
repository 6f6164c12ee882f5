"""What every family of constraints offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein


class ElementSpan(Protocol):
    """Span of a helix or strand: 0-based, half-open."""

    @property
    def kind(self) -> str:
        """``H`` or ``E``."""
        ...

    @property
    def start(self) -> int:
        """First residue."""
        ...

    @property
    def stop(self) -> int:
        """One past the last residue."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the things that constraints speak of lie in one design.

    A request may leave the length or parts of the secondary structure open, so the place of an
    element is known only once a design's blueprint is drawn.

    Attributes
    ----------
    length : int
        Number of residues of the design.
    elements : sequence of ElementSpan
        The elements the request asks for, in order of the chain; a pairing counts these from 1.
        Elements that were drawn to fill open stretches are not among them.
    """

    length: int
    elements: Sequence[ElementSpan]


@runtime_checkable
class Constraint(Protocol):
    """One thing that must hold in every design of a request."""

    kind: ClassVar[str]
    """Name of the family; the value of ``kind`` in JSON."""

    def faults(self, path: str) -> list[Fault]:
        """Find what is wrong in the constraint by itself.

        Parameters
        ----------
        path : str
            JSON path of the constraint.
        """
        ...

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure how well a structure meets the constraint.

        Parameters
        ----------
        protein : Protein
            One chain.
        layout : Layout
            Where the asked elements lie; its length must be the protein's.
        """
        ...


def require_length(protein: Protein, layout: Layout) -> None:
    """Make sure that a structure and a layout speak of the same chain.

    Raises
    ------
    ProteinLabError
        When their numbers of residues differ.
    """
    if protein.num_residues != layout.length:
        raise ProteinLabError(
            f"Expected a structure of {layout.length} residues, but got {protein.num_residues}.",
            "Evaluate a constraint on the chain it was asked for.",
        )
