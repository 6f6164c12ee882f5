"""All families of constraints, as one tagged union that a request is read into."""

from __future__ import annotations

from protein_lab.constraints.catalytic_site import CatalyticSite
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.residue_types import ResidueTypes
from protein_lab.constraints.secondary_structure import SecondaryStructure

AnyConstraint = (
    SecondaryStructure
    | CatalyticSite
    | Disulfide
    | Pairing
    | ResidueTypes
)  # fmt: skip
