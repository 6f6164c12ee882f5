"""Whether the check before computing finds planted faults, and leaves sound requests alone.

Faults of known kinds are planted into requests that real chains meet; each must be reported at
its place. The requests as they were must pass without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import numpy as np

from protein_lab.design.request import check_request
from protein_lab.experiments.compound_requests import compound_requests
from protein_lab.experiments.quality_measures import case_of, is_answerable
from protein_lab.experiments.rows import Row
from protein_lab.training.corpus import Corpus

FULL_PLANTS: Final = 200
QUICK_PLANTS: Final = 40
SEED: Final = 61

_LENGTHS: Final = (50, 128)
_FAR: Final = 3.8

Plant = Callable[[dict[str, Any], int, np.random.Generator], str | None]
"""Spoils a request of a length in place; gives the JSON path that must be named, if it can."""


def precheck_rows(corpus: Corpus, quick: bool) -> list[Row]:
    """Measure the shares of planted faults that are found and of sound requests that are refused.

    Parameters
    ----------
    corpus : Corpus
        Whose test chains give the requests.
    quick : bool
        40 of each in place of 200.
    """
    count = QUICK_PLANTS if quick else FULL_PLANTS
    sound = list(_sound_requests(corpus, count))
    false_alarms = [bool(check_request(request)) for request, _ in sound]
    missed: dict[str, int] = {}
    found = planted = 0
    rng = np.random.default_rng(SEED)
    for number in range(count * len(_PLANTS)):
        if planted == count:
            break
        request, length = sound[number % len(sound)]
        plant = _PLANTS[number % len(_PLANTS)]
        spoiled = msgspec.json.decode(msgspec.json.encode(request))
        path = plant(spoiled, length, rng)
        if path is None:
            continue
        planted += 1
        reported = any(fault.path.startswith(path) for fault in check_request(spoiled))
        found += reported
        if not reported:
            missed[plant.__name__] = missed.get(plant.__name__, 0) + 1
    return [
        _row("check: planted faults found", found, planted, True, _told(missed)),
        _row(
            "check: false alarms",
            sum(false_alarms),
            len(sound),
            False,
            "Requests that real chains meet with an error or a warning; at most the floor.",
        ),
    ]


def _told(missed: dict[str, int]) -> str:
    kinds = f"Of {len(_PLANTS)} kinds, reported at the place where they were planted."
    named = ", ".join(f"{name.strip('_')} ({count})" for name, count in missed.items())
    return f"{kinds} Missed: {named}." if missed else kinds


def _row(name: str, count: int, total: int, wants_all: bool, note: str) -> Row:
    """Share of a count with the exact (Clopper-Pearson) interval."""
    from scipy.stats import binomtest

    share = binomtest(count, total).proportion_ci()
    value, floor = 100.0 * count / total, 100.0 if wants_all else 0.0
    ok = count == total if wants_all else count == 0
    return Row(name, value, 100.0 * share.low, 100.0 * share.high, "%", floor, ok, note)


def _sound_requests(corpus: Corpus, count: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Give requests as JSON with their lengths; each chain serves with several draws of rules."""
    pool = corpus.indices("test", *_LENGTHS)
    order = np.random.default_rng(SEED).permutation(pool)
    cases = [case_of(corpus, int(index), 1, "enhanced_deeponet", SEED) for index in order[:count]]
    cases = [case for case in cases if is_answerable(case)]
    given = turn = 0
    while given < count and cases:
        for request in compound_requests(iter(cases), count - given, SEED + turn):
            given += 1
            plain = msgspec.json.decode(msgspec.json.encode(request))
            yield plain, len(plain["constraints"][0]["string"])
        turn += 1


def _beyond_the_end(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = length + int(rng.integers(1, 20))
    return _add(request, {"kind": "distance", "first": 1, "second": place, "max": 20.0}, "second")


def _reversed_limits(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    low = float(rng.integers(10, 20))
    asked = {"kind": "distance", "first": 1, "second": length, "min": low, "max": low - 3.0}
    return _add(request, asked)


def _out_of_reach(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    first = int(rng.integers(1, length - 8))
    asked = {"kind": "distance", "first": first, "second": first + 4, "min": 6 * _FAR}
    return _add(request, asked)


def _inside_each_other(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    first = int(rng.integers(1, length - 20))
    return _add(request, {"kind": "distance", "first": first, "second": first + 15, "max": 1.0})


def _too_dense(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del length
    return _add(request, {"kind": "radius_of_gyration", "max": float(rng.integers(2, 6))})


def _too_long(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    asked = {"kind": "radius_of_gyration", "min": 2.0 * length + float(rng.integers(10))}
    return _add(request, asked)


def _more_than_all(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del length
    helix = int(rng.integers(60, 90))
    return _add(request, {"kind": "content", "helix": [helix, 100], "strand": [50, 100]})


def _no_such_element(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    number = length + int(rng.integers(10))
    asked = {"kind": "pairing", "first": 1, "second": number, "orientation": "parallel"}
    return _add(request, asked, "second")


def _pairs_with_itself(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del length, rng
    asked = {"kind": "pairing", "first": 1, "second": 1, "orientation": "parallel"}
    return _add(request, asked, "second")


def _another_length(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    request["length"] = length + int(rng.integers(1, 30))
    return "$.constraints[0].string"


def _unknown_letter(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = int(rng.integers(length))
    string = request["constraints"][0]["string"]
    request["constraints"][0]["string"] = f"{string[:place]}Q{string[place + 1 :]}"
    return f"$.constraints[0].string[{place}]"


def _contradiction(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = int(rng.integers(length))
    now = request["constraints"][0]["string"][place]
    other = {"H": "E", "E": "H", "L": "E"}[now]
    ranges = [{"start": place + 1, "stop": place + 1, "state": other}]
    return _add(request, {"kind": "secondary_structure", "ranges": ranges})


def _buried_and_exposed(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = int(rng.integers(1, length + 1))
    return _add(request, {"kind": "burial", "buried": [place], "exposed": [place]})


def _all_buried(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del rng
    return _add(request, {"kind": "burial", "buried": [[1, length]]})


def _too_many_contacts(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    pair = {"first": 1, "second": int(rng.integers(20, length))}
    return _add(request, {"kind": "contacts", "pairs": [pair], "at_least": 5}, "at_least")


def _unknown_field(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del length
    request["constraints"][0]["temprature"] = float(rng.integers(1, 300))
    return "$.constraints[0].temprature"


def _unknown_kind(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    del length, rng
    return _add(request, {"kind": "distnace", "first": 1, "second": 9}, "kind")


def _bridge_to_itself(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = int(rng.integers(1, length + 1))
    return _add(request, {"kind": "disulfide", "first": place, "second": place})


def _no_amino_acid(request: dict[str, Any], length: int, rng: np.random.Generator) -> str:
    place = int(rng.integers(1, length + 1))
    ranges = [
        {"start": place, "only": "A"},
        {"start": place, "excluded": "A"},
    ]
    return _add(request, {"kind": "residue_types", "ranges": ranges})


def _missing_residues(request: dict[str, Any], length: int, rng: np.random.Generator) -> str | None:
    del length
    for number, item in enumerate(request["constraints"]):
        if item["kind"] == "motif":
            item["contig"] = f"A{int(rng.integers(500, 900))}-950"
            return f"$.constraints[{number}].contig"
    return None


def _add(request: dict[str, Any], item: dict[str, Any], name: str = "") -> str:
    """Append a constraint; give its path, or that of one of its fields."""
    request["constraints"].append(item)
    path = f"$.constraints[{len(request['constraints']) - 1}]"
    return f"{path}.{name}" if name else path


_PLANTS: Final[tuple[Plant, ...]] = (
    _beyond_the_end, _reversed_limits, _out_of_reach, _inside_each_other, _too_dense, _too_long,
    _more_than_all, _no_such_element, _pairs_with_itself, _another_length, _unknown_letter,
    _contradiction, _buried_and_exposed, _all_buried, _too_many_contacts, _unknown_field,
    _unknown_kind, _bridge_to_itself, _no_amino_acid, _missing_residues,
)  # fmt: skip
