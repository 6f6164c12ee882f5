"""Two helices or strands that must lie beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from protein_lab.constraints.base import Layout, require_length
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

Orientation = Literal["parallel", "antiparallel", "crossing"]
ElementNumber = Annotated[int, msgspec.Meta(ge=1)]


class Pairing(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="pairing",
):
    """Ask that two elements touch, in one orientation.

    Attributes
    ----------
    first, second : int
        Numbers of the elements, counted from 1 along the chain over the helices and strands that
        the request asks for.
    orientation : {"parallel", "antiparallel", "crossing"}
        Angle between the axes: below 45 degrees, above 135 degrees, or between.
    """

    kind: ClassVar[str] = "pairing"

    first: ElementNumber
    second: ElementNumber
    orientation: Orientation

    def faults(self, path: str) -> list[Fault]:
        """Find an element that is paired with itself."""
        if self.first is None or self.first != self.second:
            return []
        return [
            Fault(
                path=f"{path}.second",
                message=f"Expected two different elements, but got element {self.first} twice.",
                remedy="Pair an element with another one.",
            )
        ]

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Find whether the two elements touch in the asked orientation.

        The value is 1 when they do and 0 when they do not; the margin is its distance from 1/2.
        """
        from protein_lab.metrics import pairing_met

        require_length(protein, layout)
        number = max(self.first, self.second)
        if number > len(layout.elements):
            raise ProteinLabError(
                f"The pairing names element {number}, but there are {len(layout.elements)}.",
                "Check the request before evaluating it.",
            )
        first, second = layout.elements[self.first - 1], layout.elements[self.second - 1]
        met = pairing_met(
            protein.backbone,
            (first.start, first.stop),
            (second.start, second.stop),
            self.orientation,
        )
        return Measurement(
            constraint=self.kind,
            value=float(met),
            unit="met",
            target=1.0,
            margin=0.5 if met else -0.5,
            verdict="pass" if met else "fail",
            details=f"elements {self.first} and {self.second}, {self.orientation}",
        )
