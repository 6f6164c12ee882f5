"""Results whose every number is known, for tests of everything that reads or writes results."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.request import DesignRequest, request_id
from protein_lab.design.sequence_options import DesignedSequence
from protein_lab.geometry import backbone_from_internal
from protein_lab.store.schema import Design, DesignResult
from protein_lab.typing import Check, Measurement

_HELIX_PHI, _HELIX_PSI = math.radians(-60.0), math.radians(-45.0)


def ideal_helix_design(
    index: int, length: int, passes: bool = True, num_sequences: int = 2
) -> Design:
    """Make a design that is one ideal helix, bent a little so that every index differs.

    Parameters
    ----------
    index : int
        Number of the design.
    length : int
        Residues.
    passes : bool
        Verdict of its check.
    num_sequences : int
        Sequences that it carries, best first.
    """
    phi = np.full(length, _HELIX_PHI + 0.001 * index)
    psi = np.full(length, _HELIX_PSI)
    backbone = backbone_from_internal(phi, psi, np.full(length, math.pi))
    verdict = "pass" if passes else "fail"
    return Design(
        index=index,
        backbone=backbone.astype(np.float32),
        uncertainty=np.linspace(0.2, 1.4, length, dtype=np.float32),
        blueprint=Blueprint("L" + "H" * (length - 2) + "L"),
        source="1abcA",
        sequences=tuple(_sequence(number, length) for number in range(num_sequences)),
        measurements=(
            Measurement(
                constraint="secondary_structure",
                value=0.95,
                unit="fraction",
                target=0.9,
                margin=0.05,
                verdict="pass",
            ),
        ),
        checks=(
            Check(name="clashes", value=0.0, unit="1", threshold=0.0, verdict=verdict),
            Check(name="novelty", value=None, unit="1", threshold=None, verdict="not_run"),
        ),
        metrics={"radius_of_gyration": 10.0 + index, "undefined": math.nan},
        field_metrics={"radius_of_gyration": 9.5 + index},
        timings={"total": 0.25},
    )


def _sequence(number: int, length: int) -> DesignedSequence:
    """Make a sequence; a higher number gives other letters and a worse score."""
    probability = tuple(round(0.9 / (1 + number + place % 3), 4) for place in range(length))
    return DesignedSequence(
        sequence=("AELKG"[number % 5 :] * length)[:length],
        score=round(-1.0 - 0.25 * number, 4),
        probability=probability,
        entropy=tuple(round(1.0 - p, 4) for p in probability),
    )


def failed_design(index: int, reason: str) -> Design:
    """Make a design without a backbone."""
    return Design(
        index=index,
        backbone=np.zeros((0, 4, 3), dtype=np.float32),
        uncertainty=np.zeros(0, dtype=np.float32),
        blueprint=Blueprint("LHHHHHHHHL"),
        failed=reason,
    )


def example_result(designs: Sequence[Design] | None = None, seed: int = 7) -> DesignResult:
    """Make a result of two helices of different length, or of the given designs."""
    chosen = (ideal_helix_design(1, 24), ideal_helix_design(0, 16, passes=False))
    answer = chosen if designs is None else tuple(designs)
    request = DesignRequest(length=(16, 24), num_designs=len(answer), seed=seed, name="example")
    return DesignResult(
        request=request,
        request_id=request_id(request, "0" * 64, "0" * 64),
        designs=answer,
        outcome="1 of 2 designs was accepted; ask for more designs.",
        provenance={"versions": {"protein_lab": "0.1.0"}, "weights_digest": "0" * 64, "seed": seed},
    )


def marked_result(number: int, mark: str) -> DesignResult:
    """Give a result under an id that is a number, which says who wrote it.

    Parameters
    ----------
    number : int
        Its id, as hexadecimal.
    mark : str
        Stands in its outcome and its provenance.
    """
    identity = f"{number:064x}"
    changes: dict[str, Any] = {
        "outcome": mark, "provenance": {"writer": mark}, "request_id": identity
    }  # fmt: skip
    return dataclasses.replace(example_result(), **changes)
