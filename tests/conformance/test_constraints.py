"""What every family of constraints must do; a new family joins by adding one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy

import msgspec
import numpy as np
import pytest

from protein_lab.constraints.base import Constraint, Layout
from protein_lab.constraints.binding_site import BindingSite, PocketResidue
from protein_lab.constraints.burial import Burial
from protein_lab.constraints.catalytic_site import CatalyticResidue, CatalyticSite
from protein_lab.constraints.contacts import Contact, Contacts
from protein_lab.constraints.content import Content
from protein_lab.constraints.custom import Custom, register_constraint
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.hotspots import Hotspots
from protein_lab.constraints.kinds import AnyConstraint
from protein_lab.constraints.ligand import Ligand, LigandAtom
from protein_lab.constraints.metal_site import MetalLigand, MetalSite
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration
from protein_lab.constraints.repeats import Repeats
from protein_lab.constraints.residue_types import ResidueTypes, TypeRange
from protein_lab.constraints.secondary_structure import (
    AskedElement,
    Range,
    SecondaryStructure,
    asked_elements,
)
from protein_lab.constraints.segments import Segment, Segments
from protein_lab.constraints.shape import Shape
from protein_lab.constraints.solids import Cylinder
from protein_lab.constraints.solubility_proxy import SolubilityProxy
from protein_lab.constraints.stability_proxy import StabilityProxy
from protein_lab.constraints.structure_source import StructureSource, structure_text
from protein_lab.constraints.symmetry import Symmetry
from protein_lab.constraints.template import Template
from protein_lab.constraints.topology import Topology
from protein_lab.design.request import DesignRequest, check_request, decode_request
from protein_lab.errors import InvalidRequestError, ProteinLabError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein

LENGTH = 24


def helix(length: int = LENGTH) -> Protein:
    """Build one straight helix of alanines."""
    angles = [np.full(length, np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    return Protein.from_backbone(backbone_from_internal(*angles), "A" * length)


class Spans:
    """A user's own constraint: how far the chain reaches."""

    def __init__(self, parameters: Mapping[str, float]) -> None:
        self.most = parameters["most"]

    def evaluate(self, protein: Protein, layout: Layout) -> float:
        """Give the margin in whole angstrom."""
        del layout
        reach = np.linalg.norm(protein.ca[:, None] - protein.ca, axis=-1).max()
        return round(float(self.most - reach))


register_constraint("spans", Spans)
EXAMPLES: list[AnyConstraint] = [
    SecondaryStructure(string="L" + "H" * 22 + "L"),
    SecondaryStructure(ranges=(Range(start=4, stop=12, state="E"),)),
    Pairing(first=1, second=2, orientation="antiparallel"),
    BindingSite(
        ligand=Ligand(
            atoms=tuple(LigandAtom(element="C", x=1.4 * n, y=0.0, z=0.0) for n in range(3))
        ),
        residues=(PocketResidue(position=5), PocketResidue(position=9)),
    ),
    CatalyticSite(
        library="chymotrypsin",
        residues=tuple(CatalyticResidue(position=place) for place in (3, 11, 20)),
    ),
    Disulfide(first=3, second=20),
    Hotspots(target=StructureSource(text=structure_text(helix())), hotspots=("A9", "A13")),
    MetalSite(ligands=tuple(MetalLigand(position=place, residue="H") for place in (3, 7, 10))),
    SolubilityProxy(max=-0.2),
    StabilityProxy(max=40.0),
    ResidueTypes(ranges=(TypeRange(start=3, sequence="A-K"), TypeRange(start=9, excluded="CM"))),
    Distance(first=3, second=(20, 22), atom="CA", min=20.0, max=30.0),
    RadiusOfGyration(target=1.2, tolerance=0.1, unit="relative"),
    Contacts(pairs=(Contact(first=3, second=(6, 8)), Contact(first=4, second=20)), at_least=1),
    Burial(exposed=(3, (8, 12)), buried=(20,), at_least=6),
    Topology(order=(2, 1), crossovers="right"),
    Shape(solid=Cylinder(radius=1.0, height=6.0)),
    Motif(source=StructureSource(text=structure_text(helix())), contig="5/A3-9/4/A14-18/3"),
    Template(source=StructureSource(text=structure_text(helix())), noise=1.5, kept="A5-9"),
    Content(helix=(50, 100), strands=0),
    Segments(
        segments=(
            Segment(state="L", length=(0, 3)),
            Segment(state="H", length=(18, 24)),
            Segment(state="-", length=(0, 5)),
        )
    ),
    Symmetry(group="C2", contacts=4),
    Custom(name="spans", parameters={"most": 40.0}),
    Repeats(copies=2, max_rmsd=0.5),
]
LAYOUT = Layout(LENGTH, (AskedElement("H", 1, 11), AskedElement("H", 13, 23)))

pytestmark = pytest.mark.parametrize("constraint", EXAMPLES, ids=lambda item: item.kind)


def test_it_has_the_interface(constraint: AnyConstraint) -> None:
    """The port is a protocol that every family meets."""
    assert isinstance(constraint, Constraint)


def test_it_survives_json(constraint: AnyConstraint) -> None:
    """A constraint is data: it comes back equal from JSON, with its kind as the tag."""
    text = msgspec.json.encode(constraint)
    assert msgspec.json.decode(text)["kind"] == constraint.kind
    assert msgspec.json.decode(text, type=AnyConstraint) == constraint


def test_it_refuses_unknown_fields(constraint: AnyConstraint) -> None:
    """A mistyped field is never dropped in silence."""
    data = msgspec.to_builtins(constraint) | {"strenght": 1}
    with pytest.raises(ProteinLabError, match="strenght"):
        decode_request({"length": LENGTH, "constraints": [data]})


def test_it_finds_no_fault_in_a_good_example(constraint: AnyConstraint) -> None:
    """The examples here are right."""
    assert constraint.faults("$.constraints[0]") == []


def test_its_measurement_is_consistent(constraint: AnyConstraint) -> None:
    """A margin is not negative exactly when the constraint holds, and numbers are finite."""
    found = constraint.evaluate(helix(), LAYOUT)
    assert found.constraint == constraint.kind
    assert found.value is not None
    assert found.margin is not None
    assert np.isfinite([found.value, found.margin]).all()
    assert found.verdict == ("pass" if found.margin >= 0.0 else "fail")
    assert found.unit
    assert found.details


def test_it_is_unmoved_by_rigid_motion(constraint: AnyConstraint) -> None:
    """Where a protein lies in space means nothing."""
    protein = helix()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = Protein.from_backbone(protein.backbone @ turn.T + 50.0, protein.sequence)
    here, there = (constraint.evaluate(item, LAYOUT) for item in (protein, moved))
    assert (there.verdict, there.details) == (here.verdict, here.details)
    # coordinates are rounded to single precision, which differs from place to place
    assert (there.value, there.margin) == pytest.approx((here.value, here.margin), abs=1e-4)


def test_it_refuses_another_chain(constraint: AnyConstraint) -> None:
    """A structure of another length cannot be what was asked."""
    with pytest.raises(ProteinLabError, match="24 residues, but got 20"):
        constraint.evaluate(helix(20), LAYOUT)


def test_it_is_hashable_and_part_of_a_request(constraint: AnyConstraint) -> None:
    """Requests are frozen all the way down, so they can be keys."""
    assert hash(DesignRequest(length=LENGTH, constraints=(constraint,)))


def test_the_elements_of_the_layout_are_those_asked(constraint: AnyConstraint) -> None:
    """The layout here is what a string with two helices gives."""
    del constraint
    assert asked_elements("L" + "H" * 10 + "LL" + "H" * 10 + "L") == LAYOUT.elements


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where something stands in JSON."""
    if path:
        yield path
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in list(keys):
            yield from _places(value[key], (*path, key))


@pytest.mark.parametrize("wrong", [None, True, -1, 10**30, 1e-9, "\ud800", [], [None], {"a": 1}])
def test_parts_that_cannot_be_read_are_only_faults(
    constraint: AnyConstraint, wrong: object
) -> None:
    """Whatever stands in place of a part, the answer is a list of faults or a request."""
    data = json.loads(msgspec.json.encode(constraint))
    for place in _places(data):
        changed = deepcopy(data)
        *outer, last = place
        holder = changed
        for key in outer:
            holder = holder[key]
        holder[last] = wrong
        request = {"length": LENGTH, "constraints": [changed]}
        if any(fault.severity == "error" for fault in check_request(request)):
            with pytest.raises(InvalidRequestError):
                decode_request(request)
        else:
            assert decode_request(request).canonical()
