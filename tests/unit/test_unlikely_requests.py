"""Requests that nobody means, but somebody sends: each is answered by faults."""

from __future__ import annotations

from typing import Any

import pytest

from protein_lab.constraints.structure_source import structure_text
from protein_lab.design.request import check_request, decode_request
from protein_lab.errors import InvalidRequestError
from protein_lab.geometry import backbone_from_internal
from protein_lab.protein import Protein

LENGTH = 24


@pytest.fixture(scope="module")
def helix() -> str:
    """Write one straight helix of alanines as PDB."""
    angles = [[angle * 3.14159265 / 180.0] * LENGTH for angle in (-62.0, -42.0, 180.0)]
    backbone = backbone_from_internal(*angles)
    return structure_text(Protein.from_backbone(backbone, "A" * LENGTH))


def errors(request: dict[str, Any]) -> list[str]:
    """Paths of all errors; decoding must agree with them."""
    found = [fault.path for fault in check_request(request) if fault.severity == "error"]
    if found:
        with pytest.raises(InvalidRequestError):
            decode_request(request)
    else:
        decode_request(request)
    return found


@pytest.mark.parametrize("field", ["hot", "cold"])
def test_a_limit_that_is_excluded(field: str) -> None:
    """A temperature must be above 0, not only not below."""
    request = {"length": 60, "optimizer": {"kind": "annealing", field: 0.0}}
    assert errors(request) == [f"$.optimizer.{field}"]
    (fault,) = [item for item in check_request(request) if item.severity == "error"]
    assert "a number above 0 and at most 100" in fault.message


def test_an_integer_that_no_file_holds() -> None:
    """Integers beyond 64 bits cannot be written again."""
    custom = {"kind": "custom", "name": "none", "parameters": {"a": 10**30}}
    assert "$.constraints[0].parameters.a" in errors({"length": 60, "constraints": [custom]})


def test_a_length_below_zero() -> None:
    """Constraints that ask how much room there is are not asked of such a chain."""
    burial = {"kind": "burial", "buried": [20], "exposed": [3]}
    assert errors({"length": -24, "constraints": [burial]})[0] == "$.length"


@pytest.mark.parametrize(
    ("constraint", "field"),
    [
        ({"kind": "catalytic_site", "residues": [{"position": 3, "source": "A999"}]}, "template"),
        ({"kind": "hotspots", "hotspots": ["A999"]}, "target"),
        ({"kind": "binding_site", "residues": [{"position": 3, "source": "A999"}]}, "template"),
    ],
)
def test_a_warning_hides_no_error(helix: str, constraint: dict[str, Any], field: str) -> None:
    """That a structure has two models does not keep a missing residue from being found."""
    model = helix.replace("END\n", "")
    text = f"MODEL        1\n{model}ENDMDL\nMODEL        2\n{model}ENDMDL\nEND\n"
    asked = constraint | {field: {"text": text}}
    if "residues" in asked:
        asked["residues"] = [*asked["residues"], {"position": 12, "source": "A12"}]
    if asked["kind"] == "binding_site":
        asked["ligand"] = {"atoms": [{"element": "C", "x": 0.0, "y": 0.0, "z": 0.0}]}
    request = {"length": 60, "constraints": [asked]}
    (warning, *_) = check_request(request)
    assert warning.severity == "warning"
    assert errors(request)


@pytest.mark.parametrize("length", [None, [20, 60], 24])
def test_a_template_says_how_long_the_chain_is(helix: str, length: object) -> None:
    """Other constraints are checked against the template, whatever lengths the request allows."""
    template = {"kind": "template", "source": {"text": helix}, "kept": "A18-22"}
    distance = {"kind": "distance", "first": 3, "second": 24, "max": 40.0}
    beyond = distance | {"second": 25}
    request = {"length": length, "constraints": [template, distance]}
    assert errors(request) == []
    request["constraints"] = [template, beyond]
    assert errors(request) == ["$.constraints[1].second"]


def test_a_contig_says_how_long_the_chain_is(helix: str) -> None:
    """Without a length the shortest chain of the contig bounds what others may name."""
    motif = {"kind": "motif", "source": {"text": helix}, "contig": "10-20/A5-14/20-30"}
    near = {"kind": "distance", "first": 3, "second": 40, "max": 40.0}
    assert errors({"constraints": [motif, near]}) == []
    assert errors({"constraints": [motif, near | {"second": 61}]}) == ["$.constraints[1].second"]
