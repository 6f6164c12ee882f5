"""How far two residues, or two stretches of the chain, lie apart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf, radians, sin, sqrt
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import BOND_CA_CB, CA_CA_TRANS
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.limits import limit_faults, limits, margin, nearest_bound
from protein_lab.constraints.spans import Span, bounds, center, name, outside_faults, span_faults
from protein_lab.constraints.wells import ATOM_PLACES, PointEnergy, PointRestraint, distance, well
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

TOLERANCE: Final = 1.0
"""Angstrom about a target when no tolerance is given."""

CONTACT: Final = {"CA": 3.6, "CB": 3.5}
"""Angstrom; hardly any two residues that are not neighbors in the chain come nearer."""

PULL: Final = 3.0
"""Excess in angstrom beyond which the pull grows no more."""

FROM_AXIS: Final = {"CA": 2.0, "CB": 3.2}
"""Angstrom that an atom may lie off the axis curve of its chain."""

RISE: Final = {"H": 1.5, "E": 3.4}
"""Angstrom that one residue brings along a helix or strand at most."""

_HELIX_RADIUS: Final = {"CA": 2.3, "CB": 3.3}
_HELIX_TURN: Final = radians(100.0)
_SLACK: Final = 1.5
"""Angstrom by which the distance of two residues of one helix differs from the ideal one."""

Angstrom = Annotated[float, msgspec.Meta(ge=0.0, le=2000.0)]


class Distance(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="distance",
):
    """Ask how far two residues or ranges of residues lie apart, in angstrom.

    The distance restraint of structure determination by NMR (Havel & Wuthrich, Bull. Math. Biol.
    46, 1984), here between CB or CA atoms; of a range the mean position of its atoms is taken.

    Attributes
    ----------
    first, second : int or (int, int)
        Residue counted from 1, or first and last residue of a range.
    atom : {"CB", "CA"}
        Which atom; CB lies at its ideal place, for glycine too.
    min, max : float or None
        Bounds, angstrom.
    target : float or None
        Wanted distance, angstrom, in place of bounds.
    tolerance : float or None
        How far from the target is good enough; 1 angstrom when it is not given.
    """

    kind: ClassVar[str] = "distance"

    first: Span
    second: Span
    atom: Literal["CB", "CA"] = "CB"
    min: Angstrom | None = None
    max: Angstrom | None = None
    target: Angstrom | None = None
    tolerance: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest distance that is allowed, angstrom."""
        tolerance = TOLERANCE if self.tolerance is None else self.tolerance
        low, high = limits(self.min, self.max, self.target, tolerance)
        return max(low, 0.0), high

    def faults(self, path: str) -> list[Fault]:
        """Find bounds that say nothing or exclude each other, and a residue named twice."""
        found = [*span_faults(f"{path}.first", self.first)]
        found += span_faults(f"{path}.second", self.second)
        found += limit_faults(path, self.min, self.max, self.target, self.tolerance)
        if not found and self.first is not None and self.first == self.second:
            found.append(
                Fault(
                    path=f"{path}.second",
                    message=f"Expected two different places, but got {name(self.first)} twice.",
                    remedy="Name another residue.",
                )
            )
        return found

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues outside the chain and distances that no chain can have."""
        found = [*outside_faults(f"{path}.first", self.first, scope)]
        found += outside_faults(f"{path}.second", self.second, scope)
        if found or self.first is None or self.second is None or self.atom is None:
            return found
        found += self._reach_faults(path, scope)
        found += self._steric_faults(path)
        found += self._helix_faults(path, scope)
        return found

    def _reach_faults(self, path: str, scope: Scope) -> Iterator[Fault]:
        (a, b), (c, d) = sorted((bounds(self.first), bounds(self.second)))
        low = self.limits[0]
        reach = CA_CA_TRANS * abs(center(self.first) - center(self.second))
        reach += 2.0 * BOND_CA_CB if self.atom == "CB" else 0.0
        field = "min" if self.min is not None else "target"
        if b <= c and low > reach:
            yield Fault(
                path=f"{path}.{field}",
                message=f"Expected at most {reach:.1f} angstrom between {name(self.first)} and "
                f"{name(self.second)}, which is the stretched chain, but at least {low:g} is "
                "asked.",
                remedy="Ask for less, or for residues that are farther apart in the chain.",
            )
            return
        if not scope.states or (b - a, d - c) != (1, 1):
            return
        likely = _span_of_states(scope.states[a:d])
        likely += 2.0 * BOND_CA_CB if self.atom == "CB" else 0.0
        if low > likely + _SLACK:
            yield Fault(
                path=f"{path}.{field}",
                message=f"With the asked helices and strands {name(self.first)} and "
                f"{name(self.second)} reach about {likely:.1f} angstrom, but at least {low:g} is "
                "asked.",
                remedy="Ask for less, or for more loop between them.",
                severity="warning",
            )

    def _steric_faults(self, path: str) -> Iterator[Fault]:
        high = self.limits[1]
        single = isinstance(self.first, int) and isinstance(self.second, int)
        if not single or high >= CONTACT[self.atom]:
            return
        yield Fault(
            path=f"{path}.{'max' if self.max is not None else 'target'}",
            message=f"Expected at least {CONTACT[self.atom]:g} angstrom, for {self.atom} atoms "
            f"come no nearer, but got at most {high:g}.",
            remedy="A distance of 8 angstrom is a contact; ask for at least 4.",
        )

    def _helix_faults(self, path: str, scope: Scope) -> Iterator[Fault]:
        # the distance of two residues of one helix is given already
        if not (isinstance(self.first, int) and isinstance(self.second, int)):
            return
        start, stop = sorted((self.first - 1, self.second - 1))
        between = scope.states[start : stop + 1]
        if len(between) < stop - start + 1 or set(between) != {"H"}:
            return
        ideal = _in_helix(stop - start, self.atom)
        low, high = self.limits
        if low - _SLACK <= ideal <= high + _SLACK:
            return
        yield Fault(
            path=path,
            message=f"Residues {start + 1} and {stop + 1} are asked to be in one helix, where "
            f"they lie {ideal:.1f} angstrom apart; {_range_text(low, high)} is asked.",
            remedy="Ask for another distance, or for a loop between the two.",
        )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure the distance; the margin is how far inside the bounds it lies, angstrom."""
        from protein_lab.geometry import virtual_cb

        require_length(protein, layout)
        backbone = np.asarray(protein.backbone, dtype=np.float64)
        points = backbone[:, 1] if self.atom == "CA" else virtual_cb(backbone)
        (a, b), (c, d) = bounds(self.first), bounds(self.second)
        value = float(np.linalg.norm(points[a:b].mean(axis=0) - points[c:d].mean(axis=0)))
        low, high = self.limits
        inside = margin(value, low, high)
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom",
            target=nearest_bound(value, low, high) if self.target is None else self.target,
            margin=inside,
            verdict="pass" if inside >= 0.0 else "fail",
            details=f"{self.atom} of {name(self.first)} and {name(self.second)}: {value:.1f}, "
            f"asked {_range_text(low, high)}",
        )

    def restraint(self, layout: Layout) -> PointRestraint:
        """Give a well that is flat inside the bounds, a little narrower than they are."""
        del layout
        low, high = self.limits
        inward = min(0.5, 0.25 * (high - low))
        off = FROM_AXIS[self.atom]
        first, second = bounds(self.first), bounds(self.second)
        # Of a range the parts that lie off the axis cancel.
        off *= 1.0 / sqrt(first[1] - first[0]) + 1.0 / sqrt(second[1] - second[0])
        return PointRestraint(
            ATOM_PLACES[self.atom],
            _between(first, second, low + inward if low > 0.0 else -inf, high - inward),
            _between(first, second, low - off, high + off),
        )


def _between(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> PointEnergy:
    """Energy of the distance between the mean positions of two ranges."""
    one, other = slice(*first), slice(*second)
    share_one, share_other = 1.0 / (first[1] - first[0]), 1.0 / (second[1] - second[0])

    def energy(points: FloatArray) -> tuple[float, FloatArray]:
        apart, direction = distance(points[one].mean(axis=0), points[other].mean(axis=0))
        value, slope = well(apart, low, high, PULL)
        gradient = np.zeros_like(points)
        gradient[one] += share_one * slope * direction
        gradient[other] -= share_other * slope * direction
        return float(value), gradient

    return energy


def _in_helix(separation: int, atom: str) -> float:
    """Distance in angstrom of two residues of an ideal alpha helix."""
    chord = 2.0 * _HELIX_RADIUS[atom] * sin(0.5 * _HELIX_TURN * separation)
    return sqrt((RISE["H"] * separation) ** 2 + chord**2)


def _span_of_states(states: str) -> float:
    """Longest way in angstrom from the first to the last of these residues."""
    steps = (
        RISE[one] if one == other and one in RISE else CA_CA_TRANS
        for one, other in pairwise(states)
    )
    helices = sum(1 for one, other in pairwise("-" + states) if other == "H" != one)
    return sum(steps) + 2.0 * _HELIX_RADIUS["CB"] * min(helices, 2)


def _range_text(low: float, high: float) -> str:
    if high == inf:
        return f"at least {low:g}"
    return f"{low:g} to {high:g}" if low > 0.0 else f"at most {high:g}"
