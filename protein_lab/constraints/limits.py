"""A quantity that shall lie between two bounds, or near a target."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from protein_lab.typing import Fault


def limits(
    least: float | None, most: float | None, target: float | None, tolerance: float
) -> tuple[float, float]:
    """Give the lowest and highest value that is allowed; infinite where nothing is said."""
    if target is not None:
        return target - tolerance, target + tolerance
    return (-inf if least is None else least), (inf if most is None else most)


def limit_faults(
    path: str,
    least: float | None,
    most: float | None,
    target: float | None,
    tolerance: float | None,
) -> Iterator[Fault]:
    """Find bounds that say nothing, say two things, or exclude each other.

    Parameters
    ----------
    path : str
        JSON path of what has the fields ``min``, ``max``, ``target`` and ``tolerance``.
    least, most, target, tolerance : float or None
        Their values.

    Yields
    ------
    Fault
    """
    if target is not None and (least is not None or most is not None):
        yield Fault(
            path=f"{path}.target",
            message="Expected either 'target' or 'min' and 'max'; got both.",
            remedy="Keep the target with its tolerance, or the bounds.",
        )
    elif target is None and least is None and most is None:
        yield Fault(
            path=path,
            message="Expected 'min', 'max' or 'target'; got none of them.",
            remedy='Write for example "max": 8.0, or "target": 12.0 with a "tolerance".',
        )
    elif least is not None and most is not None and least > most:
        yield Fault(
            path=f"{path}.max",
            message=f"Expected a max of at least {least:g}, but got {most:g}.",
            remedy="Give the smaller bound as min.",
        )
    if target is None and tolerance is not None and (least is not None or most is not None):
        yield Fault(
            path=f"{path}.tolerance",
            message="A tolerance is given without a target, so it means nothing.",
            remedy="Leave it out, or give a target.",
            severity="warning",
        )


def margin(value: float, low: float, high: float) -> float:
    """Distance of a value to the nearer bound, positive inside."""
    return min(value - low, high - value)


def nearest_bound(value: float, low: float, high: float) -> float:
    """Give the bound that a value is nearest to, of those that are finite."""
    return low if abs(value - low) < abs(value - high) else high
