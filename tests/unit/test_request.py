"""Requests: everything that is wrong is named, at its place, before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import AskedElement, Range, SecondaryStructure
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.pairing_checks import contradictions
from protein_lab.design.request import (
    DesignRequest,
    check_request,
    decode_request,
    read_request,
    request_id,
)
from protein_lab.design.request_schema import request_schema
from protein_lab.errors import EXIT_INVALID_REQUEST, InvalidRequestError, ProteinLabError
from protein_lab.settings import ASSETS
from protein_lab.training.corpus import Corpus
from protein_lab.typing import Fault

HELIX_TURN_HELIX = "LL" + "H" * 14 + "LLLL" + "H" * 14 + "LL"


def asking(*constraints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a request as JSON would hold it."""
    return {"constraints": list(constraints), **fields}


def string(text: str) -> dict[str, Any]:
    """Write a secondary structure as a string."""
    return {"kind": "secondary_structure", "string": text}


def ranges(*parts: tuple[int, int, str]) -> dict[str, Any]:
    """Write a secondary structure as ranges."""
    return {
        "kind": "secondary_structure",
        "ranges": [{"start": a, "stop": b, "state": state} for a, b, state in parts],
    }


def pairing(first: Any, second: Any, orientation: Any = "antiparallel") -> dict[str, Any]:
    """Write a pairing."""
    return {"kind": "pairing", "first": first, "second": second, "orientation": orientation}


def errors(data: Any) -> dict[str, Fault]:
    """Faults that stop a request, by path."""
    return {fault.path: fault for fault in check_request(data) if fault.severity == "error"}


@pytest.mark.parametrize("path", sorted((ASSETS / "requests").glob("*.json")), ids=lambda p: p.stem)
def test_every_example_has_neither_fault_nor_warning(path: Path) -> None:
    """What we ship as an example must be exemplary, and come back from its canonical form."""
    request = read_request(path)
    assert request.check() == []
    assert decode_request(request.canonical()) == request


def test_the_three_helix_bundle_is_what_its_name_says() -> None:
    """The example that the README builds on has three helices and 60 to 70 residues."""
    request = read_request(ASSETS / "requests" / "three_helix_bundle.json")
    structure = request.constraints[0]
    assert isinstance(structure, SecondaryStructure)
    assert structure.string is not None
    assert [len(run) for run in structure.string.split("L") if run] == [17, 17, 17]
    assert 60 <= len(structure.string) <= 70


def test_all_faults_are_listed_at_their_paths() -> None:
    """One pass names every fault of every kind; a fault in one part hides none in another."""
    found = errors(
        asking(
            {"kind": "helix"},
            pairing(1, 2, "antiparalel"),
            {
                "kind": "secondary_structure",
                "ranges": [
                    {"start": 1, "stop": 200, "state": "h"},
                    {"start": 3, "stop": 9, "state": "H"},
                    {"start": 9, "stop": 8, "state": "E", "note": "?"},
                    {"start": 4, "stop": 20, "state": "E"},
                ],
            },
            length=60,
            seed=-1,
            steps="25",
            num_design=3,
            num_designs=10_001,
        )
    )
    assert set(found) == {
        "$.constraints[0].kind",
        "$.constraints[1].orientation",
        "$.constraints[2].ranges[0].state",
        "$.constraints[2].ranges[0].stop",
        "$.constraints[2].ranges[2].note",
        "$.constraints[2].ranges[2].stop",
        "$.constraints[2].ranges[3]",
        "$.seed",
        "$.steps",
        "$.num_design",
        "$.num_designs",
    }
    assert "Did you mean 'num_designs'?" in found["$.num_design"].remedy
    assert "Did you mean 'antiparallel'?" in found["$.constraints[1].orientation"].remedy
    assert "1 to 10000" in found["$.num_designs"].message


def test_invalid_requests_raise_with_the_documented_exit_code() -> None:
    """Decoding raises one error that carries all faults and prints their paths."""
    with pytest.raises(InvalidRequestError) as caught:
        decode_request(b'{"length": 5, "sed": 1}')
    assert caught.value.exit_code == EXIT_INVALID_REQUEST
    assert {fault.path for fault in caught.value.faults} == {"$.length", "$.sed"}
    assert "$.sed: Expected one of the fields" in str(caught.value)
    assert "Did you mean 'seed'?" in str(caught.value)


@pytest.mark.parametrize(
    ("length", "path"),
    [
        (9, "$.length"),
        (2001, "$.length"),
        (10**40, "$.length"),
        (True, "$.length"),
        (64.5, "$.length"),
        ("64", "$.length"),
        ([60], "$.length"),
        ([80, 60], "$.length"),
        ([5, 60], "$.length[0]"),
        ([60, 2001], "$.length[1]"),
        ([60, "x"], "$.length[1]"),
        ({}, "$.length"),
    ],
)
def test_lengths_that_cannot_be(length: Any, path: str) -> None:
    """A length is 10 to 2000, or two such numbers in order, and nothing that looks like one."""
    assert list(errors({"length": length})) == [path]


@pytest.mark.parametrize("length", [10, 2000, [10, 2000], [64, 64]])
def test_lengths_at_the_limits(length: Any) -> None:
    """The limits themselves are allowed."""
    assert not errors({"length": length})


def test_a_length_is_needed_unless_a_string_gives_it() -> None:
    """Ranges do not say where the chain ends; a string does."""
    assert list(errors({})) == ["$.length"]
    assert list(errors(asking(ranges((1, 20, "H"))))) == ["$.length"]
    assert not errors(asking(string(HELIX_TURN_HELIX)))
    assert list(errors(asking(string("LHHHHL")))) == ["$.constraints[0].string"]


@pytest.mark.parametrize("length", [35, [20, 35], [37, 90]])
def test_a_string_must_fit_the_length(length: Any) -> None:
    """A string of 36 letters asks for 36 residues."""
    found = errors(asking(string(HELIX_TURN_HELIX), length=length))
    assert list(found) == ["$.constraints[0].string"]
    assert "36" in found["$.constraints[0].string"].message


def test_strings_must_be_equally_long() -> None:
    """Two strings describe the same chain."""
    found = errors(asking(string("-" * 36), string("-" * 40)))
    assert list(found) == ["$.constraints[1].string"]


@pytest.mark.parametrize(
    ("constraints", "path"),
    [
        ([ranges((1, 20, "H"), (20, 30, "H"))], "$.constraints[0].ranges[1]"),
        ([ranges((1, 20, "H"), (18, 30, "E"))], "$.constraints[0].ranges[1]"),
        ([string("-" * 10 + "E" * 26), ranges((5, 12, "H"))], "$.constraints[1].ranges[0]"),
        ([ranges((5, 12, "H")), string("-" * 10 + "E" * 26)], "$.constraints[1].string"),
        ([{**string("-" * 36), **ranges((1, 9, "H"), (9, 9, "L"))}], "$.constraints[0].ranges[1]"),
    ],
)
def test_overlapping_and_contradicting_states(constraints: list[Any], path: str) -> None:
    """Each residue has one state, asked once; the later of two places is named."""
    assert list(errors(asking(*constraints, length=36))) == [path]


def test_two_constraints_may_agree_but_are_told() -> None:
    """Asking the same twice is harmless, yet hardly meant."""
    faults = check_request(asking(ranges((1, 20, "H")), ranges((11, 30, "H")), length=46))
    assert [(fault.path, fault.severity) for fault in faults] == [
        ("$.constraints[1].ranges[0]", "warning")
    ]


def test_ranges_must_lie_in_the_shortest_chain() -> None:
    """With a range of lengths every design must have the residues that are named."""
    found = errors(asking(ranges((51, 70, "H")), length=[60, 80]))
    assert list(found) == ["$.constraints[0].ranges[0].stop"]
    assert "1 to 60" in found["$.constraints[0].ranges[0].stop"].message


@pytest.mark.parametrize(
    ("letter", "hint"), [("C", "Write L"), ("h", "'H'"), ("G", "Write H"), ("B", "Write E")]
)
def test_foreign_letters_get_the_right_one(letter: str, hint: str) -> None:
    """Letters of other conventions are not guessed, but the remedy names ours."""
    found = errors(asking(string("L" * 19 + letter)))
    assert hint in found["$.constraints[0].string[19]"].remedy


@pytest.mark.parametrize(
    ("part", "wrong"), [((5, 7, "H"), True), ((5, 8, "H"), False), ((5, 6, "E"), True)]
)
def test_elements_that_are_too_short(part: tuple[int, int, str], wrong: bool) -> None:
    """Three residues make no helix and two no strand."""
    found = errors(asking(ranges(part), length=40))
    assert list(found) == (["$.constraints[0].ranges[0]"] if wrong else [])


@pytest.mark.parametrize(
    ("pairings", "paths"),
    [
        ([pairing(1, 3)], ["$.constraints[1].second"]),
        ([pairing(0, 2)], ["$.constraints[1].first"]),
        ([pairing(2, 2)], ["$.constraints[1].second"]),
        ([pairing(1, 2), pairing(2, 1)], ["$.constraints[2]"]),
        ([pairing(1, 2), pairing(1, 2, "crossing")], ["$.constraints[2]"]),
        ([pairing(1, "b"), pairing(1, 2, None)],
         ["$.constraints[1].second", "$.constraints[2].orientation"]),
    ],
)  # fmt: skip
def test_pairings_of_what_is_not_there(pairings: list[Any], paths: list[str]) -> None:
    """Pairings name two different asked elements, once."""
    assert list(errors(asking(string(HELIX_TURN_HELIX), *pairings))) == paths


def test_pairing_without_elements() -> None:
    """With only a length there is nothing to pair yet."""
    found = errors(asking(pairing(1, 2), length=60))
    assert set(found) == {"$.constraints[0].first", "$.constraints[0].second"}


FOUR_STRANDS = "L" + "EEEEELLLLLLLL" * 4
FOUR_HELICES = "L" + "HHHHHHHHHHHHLLLLLLLL" * 4
TWO_OF_EACH = "L" + "EEEEEELLLLLLLL" * 2 + "HHHHHHHHHHHHLLLLLLLL" * 2


@pytest.mark.parametrize(
    ("text", "pairings", "found"),
    [
        # a sheet of four strands, and a barrel of them: both fine
        (FOUR_STRANDS, [pairing(1, 2), pairing(2, 3), pairing(3, 4)], []),
        (FOUR_STRANDS, [pairing(1, 2), pairing(2, 3), pairing(3, 4), pairing(4, 1)], []),
        (FOUR_HELICES, [pairing(1, 2), pairing(1, 3), pairing(1, 4)], []),
        (FOUR_HELICES, [pairing(1, 2), pairing(2, 3), pairing(1, 3, "parallel")], []),
        (FOUR_HELICES, [pairing(1, 2), pairing(2, 3), pairing(1, 3, "crossing")], []),
        (FOUR_STRANDS, [pairing(1, 2), pairing(2, 3), pairing(2, 4)],
         [("$.constraints[3]", "warning")]),
        (FOUR_STRANDS, [pairing(1, 2, "crossing")], [("$.constraints[1].orientation", "error")]),
        (TWO_OF_EACH, [pairing(2, 3, "crossing")], []),
        (FOUR_HELICES, [pairing(1, 2), pairing(2, 3), pairing(3, 1)],
         [("$.constraints[3]", "error")]),
        (FOUR_STRANDS, [pairing(1, 2), pairing(2, 3), pairing(3, 1)],
         [("$.constraints[3]", "warning")]),
        (TWO_OF_EACH, [pairing(1, 2), pairing(2, 3), pairing(3, 1)],
         [("$.constraints[3]", "error")]),
        (FOUR_HELICES, [pairing(1, 2), pairing(3, 4), pairing(4, 1), pairing(2, 3, "parallel")],
         [("$.constraints[4]", "error")]),
        # the second circle shares a pairing with the first, and both are told
        (FOUR_HELICES, [pairing(2, 1), pairing(3, 2), pairing(1, 3), pairing(3, 4), pairing(4, 2)],
         [("$.constraints[3]", "error"), ("$.constraints[5]", "error")]),
    ],
)  # fmt: skip
def test_pairings_that_contradict_each_other(
    text: str, pairings: list[Any], found: list[tuple[str, str]]
) -> None:
    """Impossible combinations stop a request, unusual ones are told; usual ones pass unmentioned.

    Axes of three helices cannot all be antiparallel: two of three directions always agree.
    """
    faults = [f for f in check_request(asking(string(text), *pairings)) if "reach" not in f.message]
    assert [(fault.path, fault.severity) for fault in faults] == found
    assert all(fault.remedy for fault in faults)


def test_elements_of_an_unread_constraint_are_not_guessed_at() -> None:
    """Numbers of elements mean nothing while a part of the secondary structure is unknown."""
    faults = errors(asking(string(FOUR_STRANDS), {"kind": "helix"}, pairing(1, 2, "crossing")))
    assert set(faults) == {"$.constraints[1].kind"}


def test_real_chains_hardly_ever_contradict_themselves() -> None:
    """What is called an error occurs in no chain of the corpus, and warnings are rare."""
    corpus = Corpus.open()
    warned = 0
    chains = corpus.indices(min_length=60, max_length=200)[::40]
    for index in chains:
        blueprint = blueprint_of(
            corpus.backbone(int(index)), corpus.secondary_structure(int(index))
        )
        elements = [AskedElement(e.kind, e.start, e.stop) for e in blueprint.elements]
        pairs = [
            (f"$.constraints[{n}]",
             Pairing(first=p.first + 1, second=p.second + 1, orientation=p.orientation))
            for n, p in enumerate(blueprint.pairs)
        ]  # fmt: skip
        faults = list(contradictions(elements, pairs))
        assert all(fault.severity == "warning" for fault in faults), corpus.ids[int(index)]
        warned += bool(faults)
    assert len(chains) > 150
    assert 0 < warned < 0.25 * len(chains)


def test_many_circles_are_not_all_listed() -> None:
    """A request full of contradictions gets a few of them, at once."""
    text = "L" + "HHHHLL" * 60
    pairings = [pairing(a, b) for a in range(1, 61) for b in range(a + 1, 61)]
    faults = check_request(asking(string(text), *pairings))
    assert sum("circle" in fault.message for fault in faults) == 20


def test_loops_that_cannot_reach_are_warned_of() -> None:
    """A parallel pair needs a loop along the whole element; the request still runs."""
    data = asking(string(HELIX_TURN_HELIX), pairing(1, 2, "parallel"))
    short, fault = check_request(data)
    assert (fault.severity, fault.path) == ("warning", "$.constraints[0].string")
    assert "trained on" in short.message
    assert "reach 19.0 angstrom" in fault.message
    assert decode_request(data).constraints[1].kind == "pairing"


def test_a_request_made_in_python_is_checked_alike() -> None:
    """Structs do not check their values when they are built; check() does."""
    request = DesignRequest(
        length=(60, 50),
        num_designs=0,
        constraints=(
            SecondaryStructure(ranges=(Range(start=3, stop=9, state="H"),)),
            Pairing(first=1, second=4, orientation="parallel"),
        ),
    )
    paths = {fault.path for fault in request.check()}
    assert paths == {"$.length", "$.num_designs", "$.constraints[1].second"}


def test_equal_requests_have_equal_ids() -> None:
    """The id looks through key order and defaults, and sees everything that changes the answer."""
    one = decode_request(b'{"length": 64, "seed": 3}')
    two = decode_request(b'{"seed": 3, "num_designs": 8, "length": 64, "constraints": []}')
    assert request_id(one, "weights", "corpus") == request_id(two, "weights", "corpus")
    changed = {
        request_id(one, "weights", "corpus"),
        request_id(one, "other weights", "corpus"),
        request_id(one, "weights", "other corpus"),
        request_id(one, "weights", "corpus", results_version=99),
        request_id(msgspec.structs.replace(one, seed=4), "weights", "corpus"),
        request_id(msgspec.structs.replace(one, length=(64, 64)), "weights", "corpus"),
    }
    assert len(changed) == 6
    assert all(len(digest) == 64 for digest in changed)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and a folder are told apart from an invalid request."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ProteinLabError, match="Expected a request in JSON"):
            read_request(path)


def test_the_published_schema_is_that_of_the_types() -> None:
    """The schema file is generated; it describes every field, and its examples are valid."""
    schema = request_schema()
    assert json.loads((ASSETS / "schemas" / "request.schema.json").read_text()) == schema
    for part in schema["$defs"].values():
        described = {name for name, field in part["properties"].items() if "description" in field}
        assert (
            set(part["properties"]) - described - {"kind", "form", "start", "stop", "state"}
            == set()
        )
        assert "\n" not in part["description"]
    assert len(schema["examples"]) == len(list((ASSETS / "requests").glob("*.json")))
    for example in schema["examples"]:
        jsonschema.validate(example, schema, jsonschema.Draft202012Validator)
