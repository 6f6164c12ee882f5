"""What is known of lengths that the operators were not trained on."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Final

from protein_lab.settings import ASSETS
from protein_lab.typing import Fault

TRAINED: Final = (40, 256)
"""Shortest and longest chains in training, residues; the fine flow saw them in stretches of 128."""

BINS: Final = ((40, 64), (65, 128), (129, 192), (193, 256), (257, 512), (513, 768))
"""Ranges of lengths that errors are measured in."""

TABLE: Final = ASSETS / "lengths.toml"


@cache
def measured_errors() -> tuple[tuple[int, int, float], ...]:
    """Read the error of the flagship by length: shortest, longest, RMSD in angstrom.

    The table is written by ``protein-lab benchmark lengths``; without one there are no figures.
    """
    try:
        content = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    except OSError:
        return ()
    return tuple((int(row["low"]), int(row["high"]), row["rmsd"]) for row in content["error"])


def length_warning(path: str, length: int) -> Fault | None:
    """Warn of a length outside the trained range, with the measured errors.

    Parameters
    ----------
    path : str
        JSON path of what says the length.
    length : int
        Residues.

    Returns
    -------
    Fault or None
        A warning; none inside the range.
    """
    low, high = TRAINED
    if low <= length <= high:
        return None
    curve = ", ".join(f"{a}-{b}: {error:.2f}" for a, b, error in measured_errors())
    known = f" Error by residues, angstrom RMSD: {curve}." if curve else ""
    beyond = [row for row in measured_errors() if row[0] <= length <= row[1]]
    return Fault(
        path=path,
        message=f"The operators were trained on {low} to {high} residues, and {length} were asked."
        + known
        + ("" if beyond else " Nothing was measured at this length."),
        remedy="Look at the validation report with care, or ask for one domain at a time.",
        severity="warning",
    )
