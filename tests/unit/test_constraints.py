"""Constraints: what is asked, what is measured, and the fields that an operator sees."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.constraints.fields import (
    PAIRING_CHANNELS,
    compile_conditions,
    encode_secondary_structure,
)
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import (
    AskedElement,
    Range,
    SecondaryStructure,
    asked_elements,
    asked_states,
)
from protein_lab.contacts import ORIENTATIONS
from protein_lab.design.blueprint import blueprint_of
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import backbone_from_internal
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus


@pytest.fixture(scope="module")
def helix() -> Protein:
    """Build one straight helix of 24 residues."""
    angles = [np.full(24, np.radians(angle)) for angle in (-62.0, -42.0, 180.0)]
    return Protein.from_backbone(backbone_from_internal(*angles))


def test_what_came_is_compared_with_what_was_asked(helix: Protein) -> None:
    """The value counts residues, the margin is the distance from what each state demands."""
    obtained = dssp(helix.backbone)
    layout = Layout(24, ())
    met = SecondaryStructure(string=obtained).evaluate(helix, layout)
    assert (met.value, met.verdict) == (1.0, "pass")
    assert met.margin == pytest.approx(0.1)
    half = SecondaryStructure(ranges=(
        Range(start=3, stop=12, state="H"), Range(start=13, stop=22, state="E"),
    )).evaluate(helix, layout)  # fmt: skip
    assert half.value == pytest.approx(0.5)
    assert half.margin == pytest.approx(-0.6)
    assert half.verdict == "fail"
    assert half.details == "H: 100% of 10 residues; E: 0% of 10 residues"


def test_loops_count_when_nothing_else_is_asked(helix: Protein) -> None:
    """A request for loop alone is not met by a helix, and an open one is met by anything."""
    layout = Layout(24, ())
    assert SecondaryStructure(string="L" * 24).evaluate(helix, layout).verdict == "fail"
    nothing = SecondaryStructure(string="-" * 24).evaluate(helix, layout)
    assert (nothing.verdict, nothing.value) == ("not_applicable", None)


def test_pairings_of_real_chains_are_found_again() -> None:
    """What the blueprint of a real chain lists as paired, the constraint measures as met."""
    corpus = Corpus.open()
    met: list[bool] = []
    for index in corpus.indices(min_length=60, max_length=90)[:12]:
        chain = corpus.chain(int(index))
        blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
        layout = Layout(blueprint.length, blueprint.elements)
        protein = Protein.from_backbone(chain.backbone)
        for pair in blueprint.pairs:
            pairing = Pairing(
                first=pair.second + 1, second=pair.first + 1, orientation=pair.orientation
            )
            met.append(pairing.evaluate(protein, layout).verdict == "pass")
    assert len(met) > 20
    assert np.mean(met) > 0.9


def test_pairings_that_are_not_there(helix: Protein) -> None:
    """The two halves of a straight helix do not lie beside each other."""
    layout = Layout(24, (AskedElement("H", 0, 8), AskedElement("H", 16, 24)))
    found = Pairing(first=1, second=2, orientation="antiparallel").evaluate(helix, layout)
    assert (found.value, found.margin, found.verdict) == (0.0, -0.5, "fail")
    with pytest.raises(ProteinLabError, match="names element 3"):
        Pairing(first=1, second=3, orientation="parallel").evaluate(helix, layout)


def test_the_first_asker_owns_a_residue() -> None:
    """Merging keeps what came first and remembers where it was asked."""
    merged = asked_states(
        [
            ("a", SecondaryStructure(ranges=(Range(start=2, stop=4, state="H"),))),
            ("b", SecondaryStructure(string="-EEEEE")),
        ],
        6,
    )
    assert merged.states == "-HHHEE"
    assert merged.owners == ("", *["a.ranges[0]"] * 3, *["b.string"] * 2)
    (fault,) = merged.faults
    assert (fault.path, fault.severity) == ("b.string", "error")
    assert "Residue 2 is asked to be E here, but H in a.ranges[0]" in fault.message


def test_elements_are_the_runs_of_helix_and_strand() -> None:
    """Neighbors of different kind are two elements; open residues part them."""
    found = asked_elements("HHHHEEE--HHHH")
    assert [(item.kind, item.start, item.stop, item.length) for item in found] == [
        ("H", 0, 4, 4), ("E", 4, 7, 3), ("H", 9, 13, 4),
    ]  # fmt: skip
    assert [str(item) for item in found] == ["helix 1-4", "strand 5-7", "helix 10-13"]
    assert asked_elements("") == ()
    with pytest.raises(ProteinLabError, match="letters"):
        asked_elements("HHX")


def test_fields_say_what_was_asked() -> None:
    """One channel is on at each residue; a pair paints its block and the mirror image of it."""
    curve = np.arange(30, dtype=np.float64).reshape(10, 3)
    fields = compile_conditions("HHHHL-EEEL", [(0, 4), (6, 9)], [(0, 1, "crossing")], curve)
    assert fields.length == 10
    assert fields.secondary_structure.dtype == fields.axis_curve.dtype == np.float32
    assert [int(row.argmax()) for row in fields.secondary_structure] == [0] * 4 + [2, 3, 1, 1, 1, 2]
    assert (fields.secondary_structure.sum(-1) == 1.0).all()
    crossing = fields.pairing[..., PAIRING_CHANNELS.index("crossing")]
    assert crossing[:4, 6:9].all()
    assert (crossing == crossing.T).all()
    assert fields.pairing.sum() == 2 * 4 * 3
    assert fields.mask.tolist() == [1.0] * 10


def test_channels_have_one_order_everywhere() -> None:
    """Trained weights depend on the order of the channels."""
    assert PAIRING_CHANNELS == ORIENTATIONS
    assert encode_secondary_structure("HEL-").tolist() == np.eye(4).tolist()


def test_fields_refuse_what_does_not_fit() -> None:
    """A wrong shape or a name that is not known stops before an operator sees it."""
    curve = np.zeros((8, 3))
    with pytest.raises(GeometryError, match=r"shape \(8, 3\)"):
        compile_conditions("HHHHLLLL", [], [], np.zeros((7, 3)))
    with pytest.raises(GeometryError, match="not finite"):
        compile_conditions("HHHHLLLL", [], [], np.full((8, 3), np.nan))
    with pytest.raises(ValueError, match="letters"):
        compile_conditions("HHHHLLLC", [], [], curve)
    with pytest.raises(ValueError, match="Expected one of"):
        compile_conditions("HHHHLLLL", [(0, 4)], [(0, 0, "across")], curve)
    with pytest.raises(ValueError, match="there are 1"):
        compile_conditions("HHHHLLLL", [(0, 4)], [(0, 1, "parallel")], curve)
    with pytest.raises(ValueError, match="must lie in"):
        compile_conditions("HHHHLLLL", [(0, 4), (6, 9)], [(0, 1, "parallel")], curve)
