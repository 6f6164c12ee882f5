"""What an optimizer lowers: a sum of weighted terms, each of which says what it is worth.

Lower is better throughout. A term looks at a :class:`Subject` (a backbone, a sequence, a
blueprint, or several of them); a term that also gives an energy with its gradient on atoms can be
followed downhill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.virtual_atoms import beta
from protein_lab.errors import ProteinLabError
from protein_lab.typing import FloatArray

Slope = Callable[[FloatArray], tuple[float, FloatArray]]
"""Maps N, CA, C and virtual CB, shape (residue, 4, 3), to a value and its gradient on them."""


class ObjectiveError(ProteinLabError):
    """A term raised, or gave a number that is not finite; the message names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What terms look at; parts that a search does not have are None.

    Attributes
    ----------
    backbone : ndarray, shape=(residue, >=3, 3), optional
        N, CA, C and perhaps O, angstrom.
    sequence : str, optional
        One letter a residue.
    blueprint : Blueprint, optional
        Secondary structure and pairs.
    """

    backbone: FloatArray | None = None
    sequence: str | None = None
    blueprint: Blueprint | None = None

    def require_backbone(self) -> FloatArray:
        """Return the backbone.

        Raises
        ------
        ProteinLabError
            When the search has none.
        """
        if self.backbone is None:
            raise ProteinLabError("This term needs a backbone.", "Search torsions or latents.")
        return self.backbone

    def require_sequence(self) -> str:
        """Return the sequence.

        Raises
        ------
        ProteinLabError
            When the search has none.
        """
        if self.sequence is None:
            raise ProteinLabError("This term needs a sequence.", "Search sequences.")
        return self.sequence

    def require_blueprint(self) -> Blueprint:
        """Return the blueprint.

        Raises
        ------
        ProteinLabError
            When the search has none.
        """
        if self.blueprint is None:
            raise ProteinLabError("This term needs a blueprint.", "Search blueprints.")
        return self.blueprint


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One part of an objective.

    Attributes
    ----------
    name : str
        Shown in records and messages.
    unit : str
        Of the value.
    measure : callable
        Maps a :class:`Subject` to the value, which is to become low.
    weight : float
        What one unit counts in the sum.
    slope : callable, optional
        The same value from atoms, with its gradient; without it the term cannot be followed
        downhill.
    """

    name: str
    unit: str
    measure: Callable[[Subject], float]
    weight: float = 1.0
    slope: Slope | None = None


def sloped(name: str, unit: str, slope: Slope, weight: float = 1.0) -> Term:
    """Make a term of a value with a gradient.

    Parameters
    ----------
    name, unit, slope, weight
        As for :class:`Term`.
    """
    return Term(
        name, unit, lambda subject: slope(with_beta(subject.require_backbone()))[0], weight, slope
    )


def with_beta(backbone: FloatArray) -> FloatArray:
    """Return N, CA, C and virtual CB of a backbone, shape (residue, 4, 3), float64."""
    atoms = np.asarray(backbone, dtype=np.float64)[:, :3]
    return np.concatenate([atoms, beta(atoms.reshape(-1, 3))[:, None]], axis=1)


class TermValue(msgspec.Struct, frozen=True):
    """What a term is worth.

    Attributes
    ----------
    name : str
    value : float
        In ``unit``.
    weight : float
        What one unit counts.
    unit : str
    """

    name: str
    value: float
    weight: float
    unit: str


class Evaluation(msgspec.Struct, frozen=True):
    """What an objective is worth.

    Attributes
    ----------
    total : float
        Weighted sum of the terms.
    terms : tuple of TermValue
    """

    total: float
    terms: tuple[TermValue, ...]


class Objective:
    """A weighted sum of terms, to be lowered.

    Parameters
    ----------
    terms : sequence of Term
        At least one, with different names.
    name : str
        Shown where there are several objectives.

    Raises
    ------
    ProteinLabError
        When there is no term, or two have the same name, or a weight is not finite.
    """

    def __init__(self, terms: Sequence[Term], name: str = "objective") -> None:
        names = [term.name for term in terms]
        if not names:
            raise ProteinLabError("An objective needs at least one term.")
        twice = sorted({item for item in names if names.count(item) > 1})
        if twice:
            raise ProteinLabError(
                f"Terms need different names, but there are several {', '.join(twice)}.",
                "Name each after what it is about.",
            )
        for term in terms:
            if not np.isfinite(term.weight):
                raise ProteinLabError(f"The weight of the term {term.name!r} is {term.weight}.")
        self.terms = tuple(terms)
        self.name = name

    def evaluate(self, subject: Subject) -> Evaluation:
        """Measure all terms.

        Raises
        ------
        ObjectiveError
            When a term raises or gives a number that is not finite.
        """
        values: list[TermValue] = []
        for term in self.terms:
            try:
                value = float(term.measure(subject))
            except Exception as error:
                raise _raised(term, error) from error
            values.append(TermValue(term.name, _finite(term, value), term.weight, term.unit))
        return _summed(values)

    def without_slope(self) -> tuple[str, ...]:
        """Names of terms that cannot be followed downhill."""
        return tuple(term.name for term in self.terms if term.slope is None)

    def with_gradient(self, atoms: FloatArray) -> tuple[Evaluation, FloatArray]:
        """Measure all terms and add up their gradients.

        Parameters
        ----------
        atoms : ndarray, shape=(residue, 4, 3)
            N, CA, C and virtual CB, angstrom.

        Returns
        -------
        evaluation : Evaluation
        gradient : ndarray, shape=(residue, 4, 3)
            Of the weighted sum.

        Raises
        ------
        ObjectiveError
            When a term has no gradient, raises, or gives numbers that are not finite.
        """
        values: list[TermValue] = []
        total = np.zeros(np.shape(atoms))
        for term in self.terms:
            if term.slope is None:
                raise ObjectiveError(
                    f"The term {term.name!r} has no gradient.",
                    "Leave it out, give it a slope, or use another optimizer.",
                )
            try:
                value, gradient = term.slope(atoms)
                value, gradient = float(value), np.asarray(gradient, dtype=np.float64)
            except Exception as error:
                raise _raised(term, error) from error
            if gradient.shape != total.shape or not np.isfinite(gradient).all():
                raise ObjectiveError(
                    f"The gradient of the term {term.name!r} must be finite and have the shape "
                    f"{total.shape}; it has {gradient.shape}.",
                    "Mend the term's slope.",
                )
            values.append(TermValue(term.name, _finite(term, value), term.weight, term.unit))
            total += term.weight * gradient
        return _summed(values), total


def _raised(term: Term, error: Exception) -> ObjectiveError:
    told = str(error) or type(error).__name__
    return ObjectiveError(
        f"The term {term.name!r} of the objective failed: {told}", "Mend it or leave it out."
    )


def _finite(term: Term, value: float) -> float:
    if not np.isfinite(value):
        raise ObjectiveError(
            f"The term {term.name!r} of the objective gave {value}, which is not finite.",
            "Mend it or leave it out.",
        )
    return value


def _summed(values: Sequence[TermValue]) -> Evaluation:
    total = float(sum(item.weight * item.value for item in values))
    return Evaluation(total, tuple(values))
