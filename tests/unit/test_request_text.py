"""Hostile text, and what is said of sequences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protein_lab.design.decoding import MAX_FAULTS, MAX_REQUEST_BYTES
from protein_lab.design.request import (
    check_request,
    decode_request,
    request_id,
)
from protein_lab.typing import Fault


def asking(*constraints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a request as JSON would hold it."""
    return {"constraints": list(constraints), **fields}


def ranges(*parts: tuple[int, int, str]) -> dict[str, Any]:
    """Write a secondary structure as ranges."""
    return {
        "kind": "secondary_structure",
        "ranges": [{"start": a, "stop": b, "state": state} for a, b, state in parts],
    }


def errors(data: Any) -> dict[str, Fault]:
    """Faults that stop a request, by path."""
    return {fault.path: fault for fault in check_request(data) if fault.severity == "error"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Expected JSON"),
        (b"\xff\xfe{}", "Expected UTF-8"),
        (b'{"length": NaN}', "NaN is not JSON"),
        (b'{"length": 64', "Expected JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"length": ' + b"9" * 5000 + b"}", "Expected JSON"),
        (b" " * (MAX_REQUEST_BYTES + 1), "at most"),
        (b"[]", "Expected an object"),
    ],
    ids=["empty", "utf-16", "nan", "torn", "nested", "digits", "huge", "list"],
)
def test_hostile_text(text: bytes, message: str) -> None:
    """Text that is no request gives one clear fault and nothing else happens."""
    (fault,) = check_request(text)
    assert fault.path == "$"
    assert message in fault.message


def test_keys_given_twice_are_refused() -> None:
    """JSON parsers keep the last of two equal keys in silence; a request must be plain."""
    assert list(errors(b'{"length": 64, "seed": 1, "seed": 2}')) == ["$.seed"]


def test_infinity_written_as_a_number_is_not_an_integer() -> None:
    """1e999 is legal JSON and becomes infinity."""
    assert list(errors(b'{"length": 64, "seed": 1e999}')) == ["$.seed"]


def test_control_characters_in_a_name() -> None:
    """Names go to file names, terminals and pages."""
    assert list(errors({"length": 64, "name": "a\x1b[31m"})) == ["$.name"]
    assert list(errors(b'{"length": 64, "name": "\\ud800"}')) == ["$.name"]
    assert list(errors({"length": 64, "name": "x" * 201})) == ["$.name"]


def test_the_list_of_faults_is_limited() -> None:
    """A hostile request does not earn a hostile answer; the last line says what was left out."""
    faults = check_request(json.dumps({"length": 64, **{f"key{n}": 1 for n in range(5000)}}))
    assert len(faults) <= MAX_FAULTS + 1
    parts = ranges(*[(1, 30, "H")] * 1900)
    faults = check_request(asking(parts, length=64, **{f"key{n}": 1 for n in range(900)}))
    assert len(faults) == MAX_FAULTS + 1
    assert "not listed" in faults[-1].message


def sequence(**content: object) -> dict:
    """Ask for a chain of one helix between loops with options for its sequences."""
    return {"length": 40, "constraints": [ranges((6, 25, "H"))], "sequence": content}


def test_sequences_are_asked_for_unless_turned_off() -> None:
    """Without a word every design gets some; 0 turns them off, and ids tell the difference."""
    plain = decode_request(b'{"length": 64}')
    assert plain.sequence.num_sequences > 0
    off = decode_request({"length": 64, "sequence": {"num_sequences": 0}})
    assert off.check() == []
    assert request_id(off, "w", "c") != request_id(plain, "w", "c")
    unused = sequence(num_sequences=0, excluded="C", fixed=[{"position": 1, "residue": "M"}])
    assert [(fault.severity, fault.path) for fault in check_request(unused)] == [
        ("warning", "$.sequence.fixed"),
        ("warning", "$.sequence.excluded"),
    ]


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ({"num_sequences": 65}, "$.sequence.num_sequences", "from 0 to 64"),
        ({"num_sequences": -1}, "$.sequence.num_sequences", "from 0 to 64"),
        ({"temperature": 0}, "$.sequence.temperature", "from 0.01 to 2"),
        ({"temperature": "warm"}, "$.sequence.temperature", "a number"),
        ({"temprature": 1.0}, "$.sequence.temprature", "unknown"),
        ({"fixed": [{"position": 41, "residue": "A"}]}, "$.sequence.fixed[0].position", "1 to 40"),
        ({"fixed": [{"position": 0, "residue": "A"}]}, "$.sequence.fixed[0].position", "least 1"),
        ({"fixed": [{"position": 4}]}, "$.sequence.fixed[0].residue", "missing"),
        ({"fixed": [{"position": 4, "residue": "AG"}]}, "$.sequence.fixed[0].residue", "at most 1"),
        ({"fixed": [{"position": 4, "residue": "k"}]}, "$.sequence.fixed[0].residue", "'k'"),
        ({"excluded": "CB"}, "$.sequence.excluded", "'B'"),
        ({"excluded": "ACDEFGHIKLMNPQRSTVWY"}, "$.sequence.excluded", "All twenty"),
    ],
)
def test_faults_of_sequences_have_paths(content: dict, path: str, message: str) -> None:
    """Each wrong option is named by its path, whatever else is asked."""
    (fault,) = check_request(sequence(**content))
    assert (fault.severity, fault.path) == ("error", path)
    assert message in fault.message


def test_a_residue_is_fixed_once_and_in_every_length() -> None:
    """Two types for one residue contradict each other; in a range the shortest chain counts."""
    twice = [{"position": 9, "residue": "A"}, {"position": 9, "residue": "G"}]
    (fault,) = check_request(sequence(fixed=twice))
    assert fault.path == "$.sequence.fixed[1].position"
    assert "$.sequence.fixed[0]" in fault.message
    open_length = {"length": [50, 70], "sequence": {"fixed": [{"position": 60, "residue": "A"}]}}
    assert "1 to 50" in errors(open_length)["$.sequence.fixed[0].position"].message
    assert list(errors({"length": 40, "sequence": 3})) == ["$.sequence"]
    assert list(errors({"sequence": {"excluded": "Z"}})) == ["$.length", "$.sequence.excluded"]


def test_a_proline_inside_a_helix_is_warned_of() -> None:
    """In the first turn there is room for it, behind it there is not."""
    fixed = [{"position": place, "residue": "P"} for place in (3, 6, 9, 10, 25, 26)]
    found = check_request(sequence(fixed=fixed))
    assert {fault.severity for fault in found} == {"warning"}
    assert [fault.path for fault in found] == ["$.sequence.fixed[3]", "$.sequence.fixed[4]"]
