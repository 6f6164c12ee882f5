"""All families of constraints, as one tagged union that a request is read into."""

from __future__ import annotations

from protein_lab.constraints.binding_site import BindingSite
from protein_lab.constraints.burial import Burial
from protein_lab.constraints.catalytic_site import CatalyticSite
from protein_lab.constraints.contacts import Contacts
from protein_lab.constraints.content import Content
from protein_lab.constraints.custom import Custom
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.hotspots import Hotspots
from protein_lab.constraints.metal_site import MetalSite
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration
from protein_lab.constraints.repeats import Repeats
from protein_lab.constraints.residue_types import ResidueTypes
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.constraints.segments import Segments
from protein_lab.constraints.shape import Shape
from protein_lab.constraints.solubility_proxy import SolubilityProxy
from protein_lab.constraints.stability_proxy import StabilityProxy
from protein_lab.constraints.symmetry import Symmetry
from protein_lab.constraints.template import Template
from protein_lab.constraints.topology import Topology

AnyConstraint = (
    SecondaryStructure
    | Pairing
    | BindingSite
    | Burial
    | CatalyticSite
    | Contacts
    | Content
    | Custom
    | Distance
    | Disulfide
    | Hotspots
    | MetalSite
    | Motif
    | RadiusOfGyration
    | Repeats
    | ResidueTypes
    | Segments
    | Shape
    | SolubilityProxy
    | StabilityProxy
    | Symmetry
    | Template
    | Topology
)  # fmt: skip
