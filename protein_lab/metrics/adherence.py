"""How well an obtained secondary structure matches what was asked."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from protein_lab.constants import SECONDARY_STRUCTURE_STATES, UNSPECIFIED
from protein_lab.errors import GeometryError


def _check_states(asked: str, obtained: str) -> None:
    if len(asked) != len(obtained):
        raise GeometryError(
            f"{len(asked)} states were asked and {len(obtained)} obtained.",
            "Compare secondary structures of the same chain.",
        )
    for states, allowed in (
        (asked, SECONDARY_STRUCTURE_STATES + UNSPECIFIED),
        (obtained, SECONDARY_STRUCTURE_STATES),
    ):
        if unknown := set(states) - set(allowed):
            raise GeometryError(
                f"States must be of {allowed!r}; {''.join(sorted(unknown))!r} came.",
                "Reduce other alphabets to three states first.",
            )


def segments(states: str) -> list[tuple[str, int, int]]:
    """Split states into runs of one letter: (letter, start, stop), 0-based and half-open."""
    found, start = [], 0
    for letter, run in groupby(states):
        stop = start + sum(1 for _ in run)
        found.append((letter, start, stop))
        start = stop
    return found


def secondary_structure_adherence(
    asked: str, obtained: str, tolerance: int = 0
) -> dict[str, float]:
    """Share of the residues asked to be helix, strand and loop that came out so.

    Parameters
    ----------
    asked : str
        ``H``, ``E``, ``L``, or ``-`` where nothing is asked.
    obtained : str
        ``H``, ``E`` or ``L``, for example from :func:`protein_lab.metrics.dssp`.
    tolerance : int
        So many residues at either end of each asked segment are left out of the count, because
        ends fray; the middle of a short segment always counts.

    Returns
    -------
    dict
        Keys ``H``, ``E``, ``L``; NaN for a state that was not asked anywhere.

    Raises
    ------
    GeometryError
        If the lengths differ, a letter is unknown or the tolerance is negative.
    """
    _check_states(asked, obtained)
    if tolerance < 0:
        raise GeometryError(f"tolerance must be 0 or more residues; {tolerance} came.")
    met: dict[str, list[bool]] = {state: [] for state in SECONDARY_STRUCTURE_STATES}
    for state, start, stop in segments(asked):
        if state != UNSPECIFIED:
            margin = min(tolerance, (stop - start - 1) // 2)
            core = obtained[start + margin : stop - margin]
            met[state].extend(letter == state for letter in core)
    return {state: float(np.mean(hits)) if hits else float("nan") for state, hits in met.items()}


def segment_overlap(asked: str, obtained: str) -> float:
    """Segment overlap measure SOV'99 (Zemla, Venclovas, Fidelis & Rost, 1999), all states.

    Fraying ends cost little, broken or missing segments cost much. Residues with nothing asked
    are cut out of both strings, so an obtained segment may go on there freely.

    Parameters
    ----------
    asked : str
        ``H``, ``E``, ``L``, or ``-`` where nothing is asked; the observed string of the paper.
    obtained : str
        ``H``, ``E`` or ``L``; the predicted string of the paper.

    Returns
    -------
    float
        Between 0 and 1 (the paper gives percent); NaN when nothing is asked.

    Raises
    ------
    GeometryError
        If the lengths differ or a letter is unknown.
    """
    _check_states(asked, obtained)
    visible = "".join(
        letter if wish != UNSPECIFIED else UNSPECIFIED
        for wish, letter in zip(asked, obtained, strict=True)
    )
    came = segments(visible)
    total, weight = 0.0, 0
    for state, start, stop in segments(asked):
        if state == UNSPECIFIED:
            continue
        length = stop - start
        partners = [s for s in came if s[0] == state and s[1] < stop and start < s[2]]
        # An asked segment counts once for each obtained one that it meets, as in the paper.
        weight += length * max(len(partners), 1)
        for _, other_start, other_stop in partners:
            shared = min(stop, other_stop) - max(start, other_start)
            extent = max(stop, other_stop) - min(start, other_start)
            half = min(length // 2, (other_stop - other_start) // 2)
            total += length * (shared + min(extent - shared, shared, half)) / extent
    return total / weight if weight else float("nan")
