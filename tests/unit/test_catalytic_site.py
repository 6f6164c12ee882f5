"""Catalytic sites: real triads are recognized, others are not, and templates are read with care."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Placing, Restraining
from protein_lab.constraints.catalytic_site import CatalyticResidue, CatalyticSite
from protein_lab.constraints.rigid import superposition_rmsd
from protein_lab.constraints.structure_source import StructureSource, structure_text
from protein_lab.design.request import check_request
from protein_lab.errors import ProteinLabError
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.training.corpus import Corpus

TRIADS = [
    ("chymotrypsin", "1GVZ_A", (188, 40, 95)),
    ("chymotrypsin", "1P3C_A", (170, 46, 96)),
    ("alpha_beta_hydrolase", "1AUO_B", (113, 198, 167)),
    ("alpha_beta_hydrolase", "6AVX_A", (102, 188, 156)),
]


def real(name: str) -> Protein:
    """Take one chain of the corpus."""
    corpus = Corpus.open()
    chain = corpus.chain(corpus.ids.index(name))
    return Protein.from_backbone(chain.backbone, chain.sequence)


def triad(library: Any, places: tuple[int, ...] | None = None) -> CatalyticSite:
    """Ask for a triad of the library, at 0-based places or anywhere."""
    residues = [
        CatalyticResidue(position=None if places is None else places[site] + 1) for site in range(3)
    ]
    return CatalyticSite(library=library, residues=tuple(residues))


@pytest.mark.parametrize(("library", "name", "places"), TRIADS)
def test_real_triads_are_found(library: str, name: str, places: tuple[int, ...]) -> None:
    """They hold where they are known to be, and are the best that is found anywhere."""
    protein = real(name)
    layout = Layout(protein.num_residues, ())
    known = triad(library, places).evaluate(protein, layout)
    assert known.verdict == "pass"
    assert known.value is not None
    assert known.value < 0.6
    found = triad(library).evaluate(protein, layout)
    assert found == msgspec.structs.replace(known, details=found.details)
    assert ", ".join(str(place + 1) for place in places) in found.details


def test_other_places_and_amino_acids_fail() -> None:
    """Neither residues beside the triad nor the right ones of another kind will do."""
    library, name, places = TRIADS[0]
    protein = real(name)
    layout = Layout(protein.num_residues, ())
    beside = triad(library, (places[0] + 1, places[1], places[2])).evaluate(protein, layout)
    assert beside.verdict == "fail"
    letters = list(protein.sequence)
    letters[places[0]] = "A"
    other = Protein.from_backbone(protein.backbone, "".join(letters))
    found = triad(library, places).evaluate(other, layout)
    assert found.verdict == "fail"
    assert "is A" in found.details
    bare = Protein.from_backbone(protein.backbone)
    assert triad(library, places).evaluate(bare, layout).verdict == "pass"


def template_of(protein: Protein) -> StructureSource:
    """Write a structure into a request."""
    return StructureSource(text=structure_text(protein))


def test_a_template_is_as_good_as_its_file() -> None:
    """A site that is asked of the structure it was taken from has an RMSD of zero."""
    protein = real("1GVZ_A")
    site = CatalyticSite(
        template=template_of(protein),
        residues=(
            CatalyticResidue(position=189, source="A189"),
            CatalyticResidue(position=41, source="A41"),
            CatalyticResidue(position=96, source="A96", types="DE"),
        ),
    )
    assert site.faults("$") == []
    found = site.evaluate(protein, Layout(protein.num_residues, ()))
    assert found.value == pytest.approx(0.0, abs=1e-3)
    assert isinstance(site, Restraining)
    bias = site.residue_bias(Layout(protein.num_residues, ()))
    assert np.isfinite(bias[[188, 40, 95]]).sum(axis=1).tolist() == [1, 1, 2]
    assert list(site.needed_residues(StructureSource(), protein)) == [40, 95, 188]


def test_gradients_are_exact_and_lead_to_the_template() -> None:
    """Following the energy brings a random chain to the geometry."""
    site = triad("chymotrypsin", (1, 4, 7))
    restraint = site.restraint(Layout(9, ()))
    rng = np.random.default_rng(1)
    atoms = rng.normal(0, 4, (9, 4, 3))
    assert worst_gradient_error(restraint, atoms) < 1e-5
    assert worst_gradient_error(restraint.on_curve, rng.normal(0, 8, (9, 3))) < 1e-5
    before = superposition_rmsd(atoms[[1, 4, 7]], restraint.goal)
    for _ in range(800):
        atoms = atoms - 0.15 * restraint(atoms)[1]
    assert superposition_rmsd(atoms[[1, 4, 7]], restraint.goal) < 0.05 * before


def test_a_mirror_image_does_not_fit() -> None:
    """Left and right hands differ."""
    restraint = triad("chymotrypsin", (0, 1, 2)).restraint(Layout(3, ()))
    assert superposition_rmsd(restraint.goal, restraint.goal) < 1e-6
    assert superposition_rmsd(-restraint.goal, restraint.goal) > 1.5


def test_open_places_are_drawn_apart_and_by_the_stream_alone() -> None:
    """Given places stay, open ones differ between designs and can be reached."""
    site = CatalyticSite(
        library="chymotrypsin",
        residues=(CatalyticResidue(position=30), CatalyticResidue(), CatalyticResidue()),
    )
    assert isinstance(site, Placing)
    drawn = [site.place(60, 80, np.random.default_rng(seed)) for seed in range(20)]
    assert drawn[3] == site.place(60, 80, np.random.default_rng(3))
    assert len({item.residues for item in drawn}) > 15
    for item in drawn:
        assert 60 <= item.length == len(item.states) <= 80
        assert item.residues[0] == 29
        assert max(item.residues) < item.length
        assert np.diff(sorted(item.residues)).min() >= 8
    layout = Layout(drawn[0].length, (), places={site: drawn[0].residues})
    assert site.restraint(layout).residues.tolist() == list(drawn[0].residues)
    with pytest.raises(ProteinLabError, match="longer chain"):
        site.place(10, 20, np.random.default_rng(0))
    with pytest.raises(ProteinLabError, match="Give 'length'"):
        site.place(0, 0, np.random.default_rng(0))


LIBRARY = [{"position": place} for place in (3, 20, 35)]
NAMED = [{"position": 3, "source": "A189"}, {"position": 20, "source": "A41"}]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"residues": LIBRARY}, "", "neither"),
    ({"residues": LIBRARY[:2], "library": "chymotrypsin"}, ".residues", "S, H, D"),
    ({"residues": LIBRARY[:1], "library": "chymotrypsin"}, ".residues", "at least two"),
    ({"residues": NAMED, "library": "chymotrypsin"}, ".residues[0].source", "library"),
    ({"residues": LIBRARY, "library": "trypsin"}, ".library", "'chymotrypsin'"),
    ({"residues": [*LIBRARY[:2], {"position": 3}], "library": "chymotrypsin"},
     ".residues[2].position", "taken by"),
    ({"residues": [*LIBRARY[:2], {"position": 41}], "library": "chymotrypsin"},
     ".residues[2].position", "1 to 40"),
    ({"residues": [*LIBRARY[:2], {"position": 21}], "library": "chymotrypsin"},
     ".residues[2].position", "reach 3.8"),
    ({"residues": [*LIBRARY[:2], {"types": "acid"}], "library": "chymotrypsin"},
     ".residues[2].types", "class"),
    ({"residues": LIBRARY, "library": "chymotrypsin", "max_rmsd": 0.0}, ".max_rmsd", "0.1"),
    ({"residues": LIBRARY, "template": {"text": "ATOM"}}, ".template.text", ""),
    ({"residues": LIBRARY, "template": {"text": "ATOM"}}, ".residues[0].source", "None"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(data: dict[str, Any], path: str, message: str) -> None:
    """Every fault names the place and what was expected."""
    request = {"length": 40, "constraints": [{"kind": "catalytic_site", **data}]}
    faults = [item for item in check_request(request) if item.severity == "error"]
    assert any(
        item.path == f"$.constraints[0]{path}" and message in item.message for item in faults
    ), faults


def test_a_residue_that_is_not_in_the_template_is_told() -> None:
    """The message says what the structure has."""
    protein = real("1GVZ_A")
    data = {
        "kind": "catalytic_site",
        "template": {"text": structure_text(protein)},
        "residues": [NAMED[0], {"position": 20, "source": "B41"}],
    }
    (fault,) = check_request({"length": 40, "constraints": [data]})
    assert fault.path == "$.constraints[0].template"
    assert "no chain B" in fault.message
