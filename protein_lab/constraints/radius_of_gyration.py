"""How compact a chain is."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constants import (
    CA_CA_TRANS,
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
)
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.limits import limit_faults, limits, margin, nearest_bound
from protein_lab.constraints.wells import CA, PointEnergy, PointRestraint, well
from protein_lab.typing import Fault, FloatArray, Measurement, Severity

if TYPE_CHECKING:
    from protein_lab.protein import Protein

TOLERANCE: Final = {"angstrom": 0.5, "relative": 0.05}
"""About a target when no tolerance is given."""

RESIDUE_VOLUME: Final = 134.0
"""Cubic angstrom of a residue: 110 dalton at 1.35 gram a cubic centimeter."""

REAL: Final = (0.92, 1.33)
"""Percentiles 1 and 99 of the radius of gyration of training chains, in 2.2 L^0.38 angstrom."""

PULL: Final = 1.0
"""Excess in angstrom beyond which the pull on every residue grows no more."""

_OFF_AXIS: Final = (24.8, -10.8, 13.8)
"""Squared radius that smoothing to the axis curve takes away, square angstrom: constant, share of
helix, share of strand; least squares over training chains."""

_SHARES: Final = (0.4, 0.2)
"""Helix and strand in a chain of which nothing is known."""


def expected_radius(length: float) -> float:
    """Radius of gyration of a globular protein, 2.2 L^0.38 angstrom (Skolnick et al., 1997)."""
    return RADIUS_OF_GYRATION_FACTOR * length**RADIUS_OF_GYRATION_EXPONENT


def packed_radius(length: float) -> float:
    """Radius of gyration of a solid sphere of this many residues, angstrom."""
    return sqrt(0.6) * (3.0 * RESIDUE_VOLUME * length / (4.0 * pi)) ** (1.0 / 3.0)


def stretched_radius(length: float) -> float:
    """Radius of gyration of a chain drawn out to a straight line, angstrom."""
    return CA_CA_TRANS * sqrt((length**2 - 1.0) / 12.0)


_BOUNDS: Final[tuple[tuple[bool, Severity, float, Callable[[float], float], str], ...]] = (
    (True, "error", 0.95, packed_radius, "95 % of a solid sphere"),
    (False, "error", 1.0, stretched_radius, "a stretched chain"),
    (True, "warning", REAL[0], expected_radius, "in 99 % of real chains"),
    (False, "warning", REAL[1], expected_radius, "in 99 % of real chains"),
)
"""Whether it bounds the largest radius that is allowed, severity, factor, radius, its name."""


class RadiusOfGyration(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="radius_of_gyration",
):
    """Ask how compact the chain is: root mean square distance of CA atoms to their center.

    As the potential ``monomer_ROG`` of RFdiffusion and the conditioner ``Rg`` of Chroma.

    Attributes
    ----------
    min, max : float or None
        Bounds, in ``unit``.
    target : float or None
        Wanted radius in place of bounds, in ``unit``.
    tolerance : float or None
        How far from the target is good enough; 0.5 angstrom or 0.05 when it is not given.
    unit : {"angstrom", "relative"}
        ``relative`` counts in what globular proteins of the length have, 2.2 L^0.38 angstrom, so
        that one request suits many lengths: 1.0 is usual, 0.95 compact.
    """

    kind: ClassVar[str] = "radius_of_gyration"

    min: Annotated[float, msgspec.Meta(ge=0.0, le=2000.0)] | None = None
    max: Annotated[float, msgspec.Meta(ge=0.0, le=2000.0)] | None = None
    target: Annotated[float, msgspec.Meta(ge=0.0, le=2000.0)] | None = None
    tolerance: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] | None = None
    unit: Literal["angstrom", "relative"] = "angstrom"

    def limits(self, length: int) -> tuple[float, float]:
        """Lowest and highest radius that is allowed for a chain of this length, angstrom."""
        tolerance = TOLERANCE[self.unit] if self.tolerance is None else self.tolerance
        low, high = limits(self.min, self.max, self.target, tolerance)
        size = self._size(length)
        return max(low * size, 0.0), high * size

    def _size(self, length: float) -> float:
        return expected_radius(length) if self.unit == "relative" else 1.0

    def faults(self, path: str) -> list[Fault]:
        """Find bounds that say nothing or exclude each other."""
        return [*limit_faults(path, self.min, self.max, self.target, self.tolerance)]

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find radii below a solid sphere or above a stretched chain, and unusual ones."""
        if not scope.shortest or self.unit is None:
            return []
        lengths = (scope.shortest, max(scope.longest, scope.shortest))
        for is_upper, severity, factor, size, what in _BOUNDS:
            low_high = [self.limits(length) for length in lengths]
            radii = [factor * size(length) for length in lengths]
            if is_upper:
                excluded = all(high < r for (_, high), r in zip(low_high, radii, strict=True))
            else:
                excluded = all(low > r for (low, _), r in zip(low_high, radii, strict=True))
            if excluded:
                asked = low_high[0][1] if is_upper else low_high[-1][0]
                return [self._fault(path, is_upper, severity, (radii, lengths, asked), what)]
        return []

    def _fault(
        self,
        path: str,
        is_upper: bool,
        severity: Severity,
        figures: tuple[list[float], tuple[int, int], float],
        what: str,
    ) -> Fault:
        radii, lengths, asked = figures
        side, field = ("least", "max") if is_upper else ("most", "min")
        end, asks = (0, "most") if is_upper else (1, "least")
        wish = ("larger", "fewer") if is_upper else ("smaller", "more")
        return Fault(
            path=f"{path}.{field if self.target is None else 'target'}",
            message=f"Expected a radius of at {side} {radii[end]:.1f} angstrom, as {what} of "
            f"{lengths[end]} residues, but at {asks} {asked:.1f} is asked.",
            remedy=f"Allow a {wish[0]} radius, or ask for {wish[1]} residues.",
            severity=severity,
        )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure the radius; the margin is how far inside the bounds it lies, in ``unit``."""
        from protein_lab.geometry import radius_of_gyration

        require_length(protein, layout)
        radius = float(radius_of_gyration(protein.backbone[:, 1]))
        size = self._size(layout.length)
        low, high = (bound / size for bound in self.limits(layout.length))
        value = radius / size
        inside = margin(value, low, high)
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom" if self.unit == "angstrom" else "of 2.2 L^0.38 angstrom",
            target=nearest_bound(value, low, high) if self.target is None else self.target,
            margin=inside,
            verdict="pass" if inside >= 0.0 else "fail",
            details=f"radius of gyration {radius:.1f} angstrom, "
            f"{radius / expected_radius(layout.length):.2f} of 2.2 L^0.38",
        )

    def restraint(self, layout: Layout) -> PointRestraint:
        """Give an energy that swells or presses the chain as a whole."""
        low, high = self.limits(layout.length)
        inward = min(0.3, 0.25 * (high - low))
        shares = [layout.states.count(state) / layout.length for state in "HE"]
        helix, strand = shares if layout.states else _SHARES
        off = _OFF_AXIS[0] + _OFF_AXIS[1] * helix + _OFF_AXIS[2] * strand
        low, high = low + inward, high - inward
        return PointRestraint(
            CA,
            _of_radius(low, high),
            _of_radius(sqrt(max(low**2 - off, 0.0)), sqrt(max(high**2 - off, 0.0))),
        )


def _of_radius(low: float, high: float) -> PointEnergy:
    """Energy of the radius of gyration of points, about as large as if each had its own well."""

    def energy(points: FloatArray) -> tuple[float, FloatArray]:
        centered = points - points.mean(axis=0)
        radius = np.sqrt((centered**2).sum(axis=-1).mean())
        value, slope = well(radius, low, high, PULL)
        # d radius / d point = centered / (n radius); n of them move together.
        return len(points) * float(value), slope * centered / max(float(radius), 1e-9)

    return energy
