"""All families of constraints, as one tagged union that a request is read into."""

from __future__ import annotations

from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.constraints.symmetry import Symmetry

AnyConstraint = (
    SecondaryStructure
    | Pairing
    | Symmetry
)  # fmt: skip
