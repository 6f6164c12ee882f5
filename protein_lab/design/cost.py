"""How long a request will take, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constants import SAMPLING_STEPS
from protein_lab.constraints.base import Placing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.request import DesignRequest

_LENGTHS: Final = (50, 100, 200, 400)
_ONCE: Final = (0.80, 1.65, 4.6, 8.0)
_SAMPLE: Final = (0.063, 0.165, 0.53, 1.42)
_REFINE: Final = (0.05, 0.39, 0.72, 1.30)
"""CPU seconds of one core of an Intel Xeon server, at these lengths: curve, sequences and measures
of a design; a quarter of the sampling and a quarter of the refinement of designs of four samples,
of which not all are always refined. Medians of three designs on a busy machine."""

_MOST_REFINED: Final = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """Time that a request takes on one core.

    Attributes
    ----------
    design_seconds : float
        Of one design, if its first backbone is sound; up to four times as much if none is.
    total_seconds : float
        Of all designs that may be made.
    """

    design_seconds: float
    total_seconds: float

    def __str__(self) -> str:
        return (
            f"about {_told(self.design_seconds)} a design, {_told(self.total_seconds)} in all, on "
            "one core"
        )


def estimate_cost(request: DesignRequest) -> Cost | None:
    """Estimate how long a request takes on one core.

    Machines differ by a factor of two or so; an optimizer comes on top.

    Parameters
    ----------
    request : DesignRequest
        Free of errors.

    Returns
    -------
    Cost or None
        None where only a constraint knows the length.
    """
    length = _length(request)
    if not length:
        return None
    once, sample, refine = (_at(length, table) for table in (_ONCE, _SAMPLE, _REFINE))
    samples = request.samples_per_design
    seconds = once + sample * samples * request.steps / SAMPLING_STEPS
    seconds += refine * min(samples, _MOST_REFINED)
    return Cost(seconds, seconds * request.most_designs)


def _length(request: DesignRequest) -> float:
    for item in request.constraints:
        if isinstance(item, SecondaryStructure) and item.string is not None:
            return float(len(item.string))
    if request.length is None:
        placed = [item for item in request.constraints if isinstance(item, Placing)]
        if not placed:
            return 0.0
        return float(placed[0].place(0, 0, np.random.default_rng(0)).length)
    return float(np.mean(request.length))


def _at(length: float, table: tuple[float, ...]) -> float:
    """Interpolate a power law, and go on with it beyond the ends."""
    known = np.log(_LENGTHS)
    place = int(np.clip(np.searchsorted(known, np.log(length)) - 1, 0, len(_LENGTHS) - 2))
    slope = np.log(table[place + 1] / table[place]) / (known[place + 1] - known[place])
    return float(table[place] * np.exp(slope * (np.log(length) - known[place])))


def _told(seconds: float) -> str:
    """Write a time in the unit a person would."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
