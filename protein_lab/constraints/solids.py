"""Simple bodies that a chain may be asked to fill."""

from __future__ import annotations

from math import pi, prod
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from protein_lab.typing import BoolArray, FloatArray

Extent = Annotated[float, msgspec.Meta(ge=0.1, le=2000.0)]


class Ellipsoid(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="form",
    tag="ellipsoid",
):
    """Ellipsoid.

    Attributes
    ----------
    x, y, z : float
        Half axes, angstrom.
    """

    form: ClassVar[str] = "ellipsoid"
    x: Extent
    y: Extent
    z: Extent

    @property
    def volume(self) -> float:
        """Cubic angstrom."""
        return 4.0 / 3.0 * pi * self.x * self.y * self.z

    @property
    def half_extents(self) -> tuple[float, float, float]:
        """Half the sides of the box around it."""
        return self.x, self.y, self.z

    def holds(self, points: FloatArray) -> BoolArray:
        """Tell which points lie inside."""
        return ((points / self.half_extents) ** 2).sum(axis=-1) <= 1.0


class Cylinder(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="form",
    tag="cylinder",
):
    """Cylinder; with an inner radius it is a tube.

    Attributes
    ----------
    radius : float
        Angstrom.
    height : float
        Angstrom.
    inner_radius : float
        Of the hole along its axis, angstrom.
    """

    form: ClassVar[str] = "cylinder"
    radius: Extent
    height: Extent
    inner_radius: Annotated[float, msgspec.Meta(ge=0.0, le=2000.0)] = 0.0

    @property
    def volume(self) -> float:
        """Cubic angstrom."""
        return pi * (self.radius**2 - self.inner_radius**2) * self.height

    @property
    def half_extents(self) -> tuple[float, float, float]:
        """Half the sides of the box around it."""
        return self.radius, self.radius, 0.5 * self.height

    def holds(self, points: FloatArray) -> BoolArray:
        """Tell which points lie inside."""
        away = np.hypot(points[..., 0], points[..., 1])
        is_level = np.abs(points[..., 2]) <= 0.5 * self.height
        return is_level & (away <= self.radius) & (away >= self.inner_radius)


class Box(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="form",
    tag="box",
):
    """Box.

    Attributes
    ----------
    x, y, z : float
        Whole sides, angstrom.
    """

    form: ClassVar[str] = "box"
    x: Extent
    y: Extent
    z: Extent

    @property
    def volume(self) -> float:
        """Cubic angstrom."""
        return self.x * self.y * self.z

    @property
    def half_extents(self) -> tuple[float, float, float]:
        """Half of its sides."""
        return 0.5 * self.x, 0.5 * self.y, 0.5 * self.z

    def holds(self, points: FloatArray) -> BoolArray:
        """Tell which points lie inside."""
        return np.all(np.abs(points) <= self.half_extents, axis=-1)


class Torus(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="form",
    tag="torus",
):
    """Ring: a tube whose middle runs around a circle.

    Attributes
    ----------
    radius : float
        Of the circle, angstrom.
    tube : float
        Radius of the tube, angstrom.
    """

    form: ClassVar[str] = "torus"
    radius: Extent
    tube: Extent

    @property
    def volume(self) -> float:
        """Cubic angstrom."""
        return 2.0 * pi**2 * self.radius * self.tube**2

    @property
    def half_extents(self) -> tuple[float, float, float]:
        """Half the sides of the box around it."""
        return self.radius + self.tube, self.radius + self.tube, self.tube

    def holds(self, points: FloatArray) -> BoolArray:
        """Tell which points lie inside."""
        from_circle = np.hypot(points[..., 0], points[..., 1]) - self.radius
        return from_circle**2 + points[..., 2] ** 2 <= self.tube**2


Solid = Ellipsoid | Cylinder | Box | Torus


def fill(solid: Solid, count: int) -> FloatArray:
    """Spread points evenly inside a body.

    Parameters
    ----------
    solid : Solid
        Body.
    count : int
        Number of points.

    Returns
    -------
    ndarray, shape=(count, 3)
        The same ones every time (a Halton sequence).
    """
    from scipy.stats.qmc import Halton

    half = np.array(solid.half_extents)
    share = solid.volume / prod(2.0 * half)
    found = np.zeros((0, 3))
    tries = int(1.2 * count / share) + 20
    while len(found) < count:
        trial = (2.0 * Halton(3, scramble=False).random(tries) - 1.0) * half
        found = trial[solid.holds(trial)]
        tries *= 2
    return found[:count]
