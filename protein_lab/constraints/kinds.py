"""All families of constraints, as one tagged union that a request is read into."""

from __future__ import annotations

from protein_lab.constraints.burial import Burial
from protein_lab.constraints.contacts import Contacts
from protein_lab.constraints.content import Content
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration
from protein_lab.constraints.residue_types import ResidueTypes
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.constraints.segments import Segments
from protein_lab.constraints.shape import Shape
from protein_lab.constraints.topology import Topology

AnyConstraint = (
    SecondaryStructure
    | Pairing
    | Burial
    | Contacts
    | Content
    | Distance
    | Disulfide
    | Motif
    | RadiusOfGyration
    | ResidueTypes
    | Segments
    | Shape
    | Topology
)  # fmt: skip
