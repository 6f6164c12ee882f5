"""What every family of constraints offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, IntArray, Measurement

if TYPE_CHECKING:
    import numpy as np

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
    states : str
        Secondary structure of the whole blueprint, one letter a residue, drawn parts included;
        empty where only a finished structure is measured.
    places : mapping of Constraint to tuple of int
        For constraints whose residues are placed anew in every design (a motif between segments
        of variable length): the 0-based residues, in the order in which the constraint has them.
    """

    length: int
    elements: Sequence[ElementSpan]
    states: str = ""
    places: Mapping[Any, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known of the chain while a request is checked, before anything is drawn.

    Attributes
    ----------
    shortest, longest : int
        Fewest and most residues of a design; 0 when that is not known.
    states : str
        Asked secondary structure, ``-`` where it is open; empty when it contradicts itself.
    """

    shortest: int
    longest: int
    states: str = ""


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


@runtime_checkable
class Scoped(Protocol):
    """A constraint with faults that show only together with the length of the chain."""

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find what does not fit the chain.

        Parameters
        ----------
        path : str
            JSON path of the constraint.
        scope : Scope
            What is known of the chain.
        """
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a constraint puts its residues in one design.

    Attributes
    ----------
    length : int
        Number of residues of the design.
    residues : tuple of int
        The 0-based residues of the constraint, in its own order.
    states : str
        Secondary structure that comes with them, ``-`` where the constraint leaves it open.
    """

    length: int
    residues: tuple[int, ...]
    states: str


@runtime_checkable
class Placing(Protocol):
    """A constraint that decides anew in every design which residues it holds."""

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Draw the residues of one design.

        Parameters
        ----------
        shortest, longest : int
            Lengths that the request allows; 0 and 0 when the constraint alone says it.
        rng : Generator
            The stream of the design.

        Raises
        ------
        ProteinLabError
            When no placement has an allowed length; a checked request never gets there.
        """
        ...


@runtime_checkable
class Restraining(Protocol):
    """A constraint that can pull a chain to where it holds."""

    def restraint(self, layout: Layout) -> Restraint:
        """Give the energy that is low where the constraint holds.

        Parameters
        ----------
        layout : Layout
            Of the design.
        """
        ...


@runtime_checkable
class Shaping(Protocol):
    """A constraint that gives the local shape of some residues."""

    def torsions(self, layout: Layout) -> FloatArray:
        """Give phi and psi that residues shall have.

        Parameters
        ----------
        layout : Layout
            Of the design.

        Returns
        -------
        ndarray, shape=(residue, 2)
            Radians; NaN where nothing is given.
        """
        ...


@runtime_checkable
class Starting(Protocol):
    """A constraint that knows the course of the chain, so that no fold has to be looked for."""

    def start_curve(self, layout: Layout, rng: np.random.Generator) -> FloatArray:
        """Draw a coarse curve.

        Parameters
        ----------
        layout : Layout
            Of the design.
        rng : Generator
            The stream of the design.

        Returns
        -------
        ndarray, shape=(residue, 3)
            Axis curve, angstrom.
        """
        ...


@runtime_checkable
class Assembling(Protocol):
    """A constraint by which a design is one part of something larger."""

    def assembly(self, protein: Protein) -> Protein:
        """Give the whole.

        Parameters
        ----------
        protein : Protein
            The design: one chain.

        Returns
        -------
        Protein
            Several chains.

        Raises
        ------
        ProteinLabError
            When the design cannot be a part of it.
        """
        ...


@runtime_checkable
class BlueprintAsking(Protocol):
    """A constraint on what is drawn to fill open stretches of a blueprint."""

    def blueprint_cost(self, states: str, pairs: Sequence[tuple[int, int, str]]) -> float:
        """Tell how far a blueprint is from what is asked; 0 where it is met.

        Parameters
        ----------
        states : str
            Secondary structure, one letter ``H``, ``E`` or ``L`` a residue.
        pairs : sequence of (first, second, orientation)
            Elements that lie beside each other, counted from 0 along the chain over all of
            ``states``.
        """
        ...


@runtime_checkable
class Tiling(Protocol):
    """A constraint by which parts of a blueprint are alike."""

    def tile(
        self, states: str, pairs: Sequence[tuple[int, int, str]]
    ) -> tuple[str, Sequence[tuple[int, int, str]]]:
        """Change a blueprint that was drawn so that they are.

        Parameters
        ----------
        states : str
            One letter ``H``, ``E`` or ``L`` a residue.
        pairs : sequence of (first, second, orientation)
            Elements counted from 0 along ``states``.

        Returns
        -------
        states : str
            Of the same length.
        pairs : sequence of (first, second, orientation)
            Elements counted along the new states.
        """
        ...

    def equal_positions(self, layout: Layout) -> IntArray:
        """Give numbers, ``(residue,)``: residues of equal number have equal amino acids."""
        ...


@runtime_checkable
class SequenceAsking(Protocol):
    """A constraint that says something of the amino acids of a design."""

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Say which amino acids are wanted where.

        Parameters
        ----------
        layout : Layout
            Of the design.

        Returns
        -------
        ndarray, shape=(residue, 20)
            Nats added to the log-probability of each amino acid, in the order of
            ``AMINO_ACIDS``; minus infinity forbids one. At least one a residue must be finite.
        """
        ...


class Restraint(Protocol):
    """Energy of a chain, with its gradient; low where a constraint holds.

    Energies are in nats, about 1 nat for the square of an angstrom that something is off, and
    grow no faster than linearly where much is off: a chain that starts far away must be pulled,
    not torn.
    """

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            N, CA, C and virtual CB, angstrom.

        Returns
        -------
        energy : float
            Nats.
        gradient : ndarray, shape=(residue, 4, 3)
            Nats per angstrom.
        """
        ...

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a coarse axis curve, before there are any atoms.

        Parameters
        ----------
        curve : ndarray, shape=(residue, 3)
            Axis curve, angstrom: CA smoothed along the chain.

        Returns
        -------
        energy : float
            Nats; 0 where the restraint says nothing of the curve.
        gradient : ndarray, shape=(residue, 3)
            Nats per angstrom.
        """
        ...


@runtime_checkable
class Judging(Protocol):
    """A restraint that tells for less than the constraint itself, which judges in the end."""

    def seems_met(self, atoms: FloatArray) -> bool:
        """Judge a backbone.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            N, CA, C and virtual CB, angstrom.
        """
        ...


def has_errors(faults: Sequence[Fault]) -> bool:
    """Tell whether one of some faults is more than a warning."""
    return any(fault.severity == "error" for fault in faults)


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
