"""A body or a cloud of points that the chain shall fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.radius_of_gyration import (
    RESIDUE_VOLUME,
    packed_radius,
    stretched_radius,
)
from protein_lab.constraints.shape_fit import ShapeRestraint, two_sided_distance
from protein_lab.constraints.solids import Cylinder, Solid, Torus, fill
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

TOLERANCE: Final = 4.0
"""Angstrom; the middle of a range: real chains lie 3.3 from the ellipsoid of their own proportions,
3.9 from a ball of their volume, and 4.6 from a ring (medians over training chains)."""

MAX_CLOUD: Final = 400
"""Points that are compared; of larger clouds every second, third, ... one is taken."""

LEAST_POINTS: Final = 8
INWARD: Final = 0.3
FILLED: Final = (0.8, 2.5)
"""Volumes of a body, in volumes of the chain, that it cannot have and that it hardly fills."""

Coordinate = Annotated[float, msgspec.Meta(ge=-2000.0, le=2000.0)]


class Shape(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="shape",
):
    """Ask that the chain fills a shape, however that is turned and placed.

    As the conditioner ``ShapeConditioner`` of Chroma (Ingraham et al., Nature 623, 2023), here by
    a smooth two-sided nearest-point distance.

    Attributes
    ----------
    points : tuple of (float, float, float) or None
        Cloud of points that fills the shape, angstrom.
    solid : Ellipsoid, Cylinder, Box, Torus or None
        A body in place of points.
    size : {"fit", "given"}
        Whether a body is scaled to the volume of the chain, so that only its proportions count, or
        has the given measures in angstrom. Points are always taken as given.
    tolerance : float
        Mean of the two root mean square distances, of the chain to the shape and of the shape to
        the chain, that is good enough, angstrom.
    """

    kind: ClassVar[str] = "shape"

    points: (
        Annotated[
            tuple[tuple[Coordinate, Coordinate, Coordinate], ...], msgspec.Meta(max_length=5000)
        ]
        | None
    ) = None
    solid: Solid | None = None
    size: Literal["fit", "given"] = "fit"
    tolerance: Annotated[float, msgspec.Meta(ge=2.0, le=50.0)] = TOLERANCE

    def cloud(self, length: int) -> FloatArray:
        """Give the points that a chain of this length shall fill, shape (point, 3), angstrom."""
        if self.points is not None:
            points = np.array(self.points, dtype=np.float64)
            return points[:: -(-len(points) // MAX_CLOUD)]
        if self.solid is None:
            return np.zeros((0, 3))
        filling = fill(self.solid, min(max(length, 50), MAX_CLOUD))
        if self.size == "fit":
            filling *= (RESIDUE_VOLUME * length / self.solid.volume) ** (1.0 / 3.0)
        return filling

    def faults(self, path: str) -> list[Fault]:
        """Find no shape or two, flat clouds, and rings without a hole."""
        if (self.points is None) == (self.solid is None):
            return [
                Fault(
                    path=path,
                    message="Expected either 'points' or a 'solid'; got "
                    + ("both." if self.points is not None else "neither."),
                    remedy='Write for example "solid": {"form": "ellipsoid", "x": 1, "y": 1, '
                    '"z": 2}.',
                )
            ]
        if self.points is not None:
            return [*self._cloud_faults(f"{path}.points")]
        return [*self._solid_faults(f"{path}.solid")]

    def _cloud_faults(self, path: str) -> Iterator[Fault]:
        if self.points is None or None in self.points:
            return
        if len(self.points) < LEAST_POINTS:
            yield Fault(
                path=path,
                message=f"Expected at least {LEAST_POINTS} points, but got {len(self.points)}.",
                remedy="Fill the shape with points, about one for each residue.",
            )
        elif np.ptp(np.array(self.points), axis=0).max() < 1.0:
            yield Fault(
                path=path,
                message="Expected points in angstrom, but all lie within 1 angstrom.",
                remedy="Coordinates in nanometers must be multiplied by 10.",
            )

    def _solid_faults(self, path: str) -> Iterator[Fault]:
        solid = self.solid
        if solid is None or None in (getattr(solid, name) for name in solid.__struct_fields__):
            return
        if isinstance(solid, Torus) and solid.tube >= solid.radius:
            yield Fault(
                path=f"{path}.tube",
                message=f"Expected a tube thinner than the radius {solid.radius:g}, but got "
                f"{solid.tube:g}; the ring has no hole.",
                remedy="Make the tube thinner, or ask for an ellipsoid.",
            )
        if isinstance(solid, Cylinder) and solid.inner_radius >= solid.radius:
            yield Fault(
                path=f"{path}.inner_radius",
                message=f"Expected less than the radius {solid.radius:g}, but got "
                f"{solid.inner_radius:g}.",
                remedy="Make the hole narrower.",
            )

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find shapes that are too small for the chain, or that it cannot fill."""
        if not scope.shortest:
            return []
        if self.points is not None:
            return [] if None in self.points else [*self._spread_faults(f"{path}.points", scope)]
        solid = self.solid
        if self.size != "given" or solid is None:
            return []
        if any(getattr(solid, field) is None for field in solid.__struct_fields__):
            return []
        return [*self._volume_faults(f"{path}.solid", solid.volume, scope)]

    def _volume_faults(self, path: str, volume: float, scope: Scope) -> Iterator[Fault]:
        small, large = (RESIDUE_VOLUME * n for n in (scope.shortest, scope.longest))
        if volume < FILLED[0] * small:
            yield Fault(
                path=path,
                message=f"Expected room for {scope.shortest} residues, about {small:.0f} cubic "
                f"angstrom, but the {_form(self.solid)} has {volume:.0f}.",
                remedy='Make it larger, ask for fewer residues, or write "size": "fit".',
            )
        elif volume > FILLED[1] * large:
            yield Fault(
                path=path,
                message=f"The {_form(self.solid)} has {volume:.0f} cubic angstrom, which "
                f"{scope.longest} residues fill to {large / volume:.0%}.",
                remedy='Make it smaller, ask for more residues, or write "size": "fit".',
                severity="warning",
            )

    def _spread_faults(self, path: str, scope: Scope) -> Iterator[Fault]:
        points = np.array(self.points)
        radius = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=-1).mean()))
        low = packed_radius(scope.shortest) - self.tolerance
        high = stretched_radius(scope.longest) + self.tolerance
        if low <= radius <= high:
            return
        is_small = radius < low
        yield Fault(
            path=path,
            message=f"Expected a cloud with a radius of gyration of {low:.1f} to {high:.1f} "
            f"angstrom, which chains of {scope.shortest} to {scope.longest} residues can have, "
            f"but got {radius:.1f}.",
            remedy="Make the cloud larger." if is_small else "Make the cloud smaller.",
        )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure the two-sided distance of the CA atoms to the shape in its best pose."""
        require_length(protein, layout)
        out, empty = two_sided_distance(
            np.asarray(protein.backbone[:, 1], dtype=np.float64), self.cloud(layout.length)
        )
        value = 0.5 * (out + empty)
        return Measurement(
            constraint=self.kind,
            value=value,
            unit="angstrom",
            target=self.tolerance,
            margin=self.tolerance - value,
            verdict="pass" if value <= self.tolerance else "fail",
            details=f"CA atoms to the shape {out:.1f} angstrom, the shape to CA atoms {empty:.1f}",
        )

    def restraint(self, layout: Layout) -> ShapeRestraint:
        """Give an energy that lays the chain into the shape."""
        return ShapeRestraint(self.cloud(layout.length), self.tolerance - INWARD)


def _form(solid: Solid | None) -> str:
    return "shape" if solid is None else solid.form
