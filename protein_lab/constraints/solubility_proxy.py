"""Figures of the sequence that go with solubility; solubility itself is not computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import CLASSES, LETTERS, no_bias
from protein_lab.constraints.base import Layout, require_length
from protein_lab.constraints.proxy_limits import bound_faults, has_sequence, measured
from protein_lab.constraints.sequence_scores import (
    CHARGE,
    HYDROPATHY,
    gravy,
    hydrophobic_surface,
    net_charge_per_residue,
)
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

_LARGEST: Final = 4.5
_UNITS: Final = {
    "gravy": "index",
    "net_charge_per_residue": "charge",
    "hydrophobic_surface": "fraction",
}

Bound = Annotated[float, msgspec.Meta(ge=-10.0, le=10.0)]


class SolubilityProxy(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="solubility_proxy",
):
    """Bound a figure of the sequence that goes with solubility, on average over many proteins.

    Low hydropathy (GRAVY; Kyte & Doolittle, *J. Mol. Biol.* 157, 105-132, 1982), a net charge, as
    in supercharged proteins (Lawrence et al., *J. Am. Chem. Soc.* 129, 10110-10112, 2007), and few
    hydrophobic side chains at the surface.

    Attributes
    ----------
    measure : {"gravy", "net_charge_per_residue", "hydrophobic_surface"}
        The figure.
    min, max : float or None
        Bounds; at least one.
    strength : float
        Nats by which amino acids that move the figure the right way are preferred.
    """

    kind: ClassVar[str] = "solubility_proxy"

    measure: Literal["gravy", "net_charge_per_residue", "hydrophobic_surface"] = "gravy"
    min: Bound | None = None
    max: Bound | None = None
    strength: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.5

    def faults(self, path: str) -> list[Fault]:
        """Find missing and contradicting bounds."""
        found = list(bound_faults(path, self.min, self.max))
        low, high = {
            "net_charge_per_residue": (-1.0, 1.0),
            "hydrophobic_surface": (0.0, 1.0),
        }.get(self.measure or "", (-_LARGEST, _LARGEST))
        for name, value, reached in (
            ("min", self.min, self.min is None or self.min <= high),
            ("max", self.max, self.max is None or self.max >= low),
        ):
            if not reached:
                found.append(
                    Fault(
                        path=f"{path}.{name}",
                        message=f"Expected a {name} from {low:g} to {high:g}, but got {value:g}.",
                        remedy="No sequence reaches this value.",
                    )
                )
        return found

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Prefer amino acids that move the figure where it is bounded on one side."""
        bias = no_bias(layout.length)
        if (self.min is None) == (self.max is None):
            return bias
        weight = {
            "gravy": {letter: value / _LARGEST for letter, value in HYDROPATHY.items()},
            "net_charge_per_residue": CHARGE,
            "hydrophobic_surface": dict.fromkeys(CLASSES["hydrophobic"], 1.0),
        }[self.measure]
        row = np.array([weight.get(letter, 0.0) for letter in LETTERS])
        return bias + (self.strength if self.max is None else -self.strength) * row

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Compute the figure; ``not_run`` where there is no sequence."""
        require_length(protein, layout)
        value = self._value(protein) if has_sequence(protein) else None
        name = self.measure.replace("_", " ")
        return measured(self.kind, name, value, self.min, self.max, _UNITS[self.measure])

    def _value(self, protein: Protein) -> float:
        if self.measure == "hydrophobic_surface":
            return hydrophobic_surface(protein)
        score = gravy if self.measure == "gravy" else net_charge_per_residue
        return score(protein.sequence)
