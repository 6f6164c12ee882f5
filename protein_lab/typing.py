"""Names for the arrays and small records that all layers share.

Shapes in docstrings use these words: ``residue`` (positions along the chain), ``atom`` (the
37 atom names of :data:`protein_lab.constants.ATOM_NAMES`, or the four backbone atoms N, CA, C, O
where a docstring says *backbone*), ``xyz`` (three Cartesian coordinates). Lengths are angstrom;
angles are radians inside the library and degrees at the user's boundary.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

SecondaryStructure = str
"""Per-residue states: ``H`` helix, ``E`` strand, ``L`` loop; ``-`` where nothing is asked."""

Verdict = Literal["pass", "fail", "not_applicable", "not_run"]
Severity = Literal["error", "warning"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong or doubtful in a request.

    Attributes
    ----------
    path : str
        JSON path of the offending value, ``$`` for the whole request.
    message : str
        What was expected and what came.
    remedy : str
        How to mend it.
    severity : {"error", "warning"}
        Errors stop the request before anything is computed; warnings do not.
    """

    path: str
    message: str
    remedy: str = ""
    severity: Severity = "error"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one validation check: a number, its unit, its threshold and a verdict.

    A check that did not run has the verdict ``not_run`` and says why in ``details``; it never
    counts as passed.
    """

    name: str
    value: float | None
    unit: str
    threshold: float | None
    verdict: Verdict
    details: str = ""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """How well one constraint was met.

    ``margin`` is positive when the constraint holds and says by how much, in ``unit``.
    """

    constraint: str
    value: float | None
    unit: str
    target: float | None
    margin: float | None
    verdict: Verdict
    details: str = ""
