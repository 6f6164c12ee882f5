"""What the proxies of stability and of solubility share: a figure of the sequence with bounds."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from protein_lab.constraints.amino_acids import LETTERS
from protein_lab.constraints.limits import margin
from protein_lab.protein import Protein
from protein_lab.typing import Fault, Measurement


def bound_faults(path: str, least: float | None, most: float | None) -> Iterator[Fault]:
    """Yield missing and contradicting bounds.

    Parameters
    ----------
    path : str
        JSON path of the constraint.
    least, most : float or None
        Its fields ``min`` and ``max``.
    """
    if least is None and most is None:
        yield Fault(
            path=path,
            message="Expected 'min' or 'max'; got neither.",
            remedy="Give the lowest or the highest value that will do.",
        )
    elif least is not None and most is not None and least > most:
        yield Fault(
            path=f"{path}.max",
            message=f"Expected a max of at least {least:g}, but got {most:g}.",
            remedy="Give the smaller bound as min.",
        )


def measured(
    kind: str, name: str, value: float | None, least: float | None, most: float | None, unit: str
) -> Measurement:
    """Judge a figure by its bounds.

    Parameters
    ----------
    kind, name : str
        Of the constraint and of the figure.
    value : float or None
        None where there is no sequence.
    least, most : float or None
        Bounds.
    unit : str
    """
    low, high = -inf if least is None else least, inf if most is None else most
    target = most if most is not None else least
    if value is None:
        return Measurement(
            constraint=kind, value=None, unit=unit, target=target, margin=None,
            verdict="not_run", details=f"{name} needs a sequence, and none was drawn",
        )  # fmt: skip
    found = margin(value, low, high)
    return Measurement(
        constraint=kind, value=value, unit=unit, target=target, margin=found,
        verdict="pass" if found >= 0.0 else "fail",
        details=f"{name} {value:.3g}; a proxy, not the property itself",
    )  # fmt: skip


def has_sequence(protein: Protein) -> bool:
    """Tell whether any residue has a known type."""
    return bool((protein.aatype != len(LETTERS)).any())
