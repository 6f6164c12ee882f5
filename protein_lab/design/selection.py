"""Which sample becomes the design, and in which order designs are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constants import (
    CA_CA_TRANS,
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
)
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.refinement import refine
from protein_lab.design.steering import Steering
from protein_lab.flow import FlowSample
from protein_lab.geometry import place_oxygen, radius_of_gyration
from protein_lab.metrics import (
    dssp,
    find_knot,
    num_clashes,
    pairing_met,
    secondary_structure_adherence,
    segment_overlap,
)
from protein_lab.metrics.knots import UNKNOT
from protein_lab.typing import Check, FloatArray, Measurement

_MOST_REFINED: Final = 4
"""Samples that are refined when the last of them is sound; the others promise less."""

_ENOUGH_HELIX: Final = 0.95
_ENOUGH_STRAND: Final = 0.85

_CA_CA_OK = 0.2
_LOOSE = 1.15


def field_metrics(field: FloatArray, blueprint: Blueprint) -> dict[str, float]:
    """Measure a raw field of the operator, before anything is mended.

    Parameters
    ----------
    field : ndarray, shape=(residue, 3, 3)
        N, CA, C, angstrom.
    blueprint : Blueprint
        What was asked.

    Returns
    -------
    dict of str to float
        ``helix_obtained`` and ``strand_obtained``: fractions of the asked residues, NaN where
        none is asked; ``ca_ca_ok``: fraction of CA steps within 0.2 of 3.80 angstrom.
    """
    atoms = np.asarray(field, dtype=np.float64)
    obtained = secondary_structure_adherence(
        blueprint.secondary_structure, dssp(place_oxygen(atoms))
    )
    step = np.linalg.norm(np.diff(atoms[:, 1], axis=0), axis=-1)
    return {
        "helix_obtained": obtained["H"],
        "strand_obtained": obtained["E"],
        "ca_ca_ok": float((np.abs(step - CA_CA_TRANS) < _CA_CA_OK).mean()),
    }


def field_score(metrics: dict[str, float]) -> float:
    """Order raw fields, higher is better; cheap, to choose which ones are refined."""
    obtained = [metrics["helix_obtained"], metrics["strand_obtained"]]
    known = [value for value in obtained if not np.isnan(value)]
    return (float(np.mean(known)) if known else 0.0) + metrics["ca_ca_ok"]


def backbone_metrics(backbone: FloatArray, blueprint: Blueprint) -> dict[str, float]:
    """Measure a backbone against its blueprint.

    Parameters
    ----------
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    blueprint : Blueprint
        What was asked.

    Returns
    -------
    dict of str to float
        ``helix_obtained``, ``strand_obtained`` and ``pairs_met``: fractions, NaN where nothing is
        asked; ``segment_overlap`` (SOV'99, 0 to 1); ``clashes``: atom pairs;
        ``radius_of_gyration``: angstrom; ``radius_of_gyration_ratio``: over 2.2 L^0.38;
        ``score``: see :func:`score`.
    """
    states = blueprint.secondary_structure
    obtained = dssp(backbone)
    adherence = secondary_structure_adherence(states, obtained)
    elements = blueprint.elements
    spans = [(element.start, element.stop) for element in elements]
    met = [
        pairing_met(backbone, spans[pair.first], spans[pair.second], pair.orientation)
        for pair in blueprint.pairs
    ]
    size = float(radius_of_gyration(backbone[:, 1]))
    expected = RADIUS_OF_GYRATION_FACTOR * len(backbone) ** RADIUS_OF_GYRATION_EXPONENT
    metrics = {
        "helix_obtained": adherence["H"],
        "strand_obtained": adherence["E"],
        "segment_overlap": segment_overlap(states, obtained),
        "pairs_met": float(np.mean(met)) if met else float("nan"),
        "clashes": float(num_clashes(backbone)),
        "radius_of_gyration": size,
        "radius_of_gyration_ratio": size / expected,
    }
    return metrics | {"score": score(metrics)}


def score(metrics: dict[str, float]) -> float:
    """Order refined backbones of one blueprint, higher is better.

    One point each for helices, strands and pairs as asked; clashes and a chain that is not
    compact cost.
    """
    wanted = (metrics["helix_obtained"], metrics["strand_obtained"], metrics["pairs_met"])
    gained = sum(value for value in wanted if not np.isnan(value))
    loose = max(metrics["radius_of_gyration_ratio"] - _LOOSE, 0.0)
    return gained - 0.5 * min(metrics["clashes"], 4.0) - 2.0 * loose


def rank_key(
    failed: str | None,
    checks: Sequence[Check],
    measurements: Sequence[Measurement],
    metrics: dict[str, float],
    index: int,
) -> tuple[bool, int, float, float, int]:
    """Sort key of a design; the best comes first.

    A backbone before none, then fewer failed checks, then the larger margin of the constraint
    that is met least, then the higher score, then the lower index.
    """
    num_failed = sum(check.verdict == "fail" for check in checks)
    margins = [item.margin for item in measurements if item.margin is not None]
    own = metrics.get("score", 0.0)
    return (failed is not None, num_failed, -min(margins, default=0.0), -own, index)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A refined sample with its figures, those of its raw field, and whether it may be shown.

    A knotted chain is never sound: hardly any protein has a knot, and none that was drawn was
    asked for.
    """

    backbone: FloatArray
    metrics: dict[str, float]
    field_metrics: dict[str, float]
    is_sound: bool
    is_knotted: bool = False
    num_missed: int = 0

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """Order of candidates, higher is better: no score makes up for broken geometry."""
        return (not self.is_knotted, self.is_sound, -self.num_missed, self.metrics["score"])

    @property
    def is_acceptable(self) -> bool:
        """Whether the backbone passes its checks and every constraint on more than elements."""
        return self.is_sound and not self.num_missed

    @property
    def is_enough(self) -> bool:
        """Whether another sample could hardly be better; what is not asked is NaN."""
        metrics = self.metrics
        return (
            self.is_acceptable
            and not metrics["helix_obtained"] < _ENOUGH_HELIX
            and not metrics["strand_obtained"] < _ENOUGH_STRAND
            and not metrics["pairs_met"] < 1.0
        )


def _measured(
    backbone: FloatArray,
    asked: Blueprint,
    more: dict[str, float],
    raw: dict[str, float],
    is_sound: Callable[[FloatArray], bool],
    steering: Steering | None,
) -> Candidate:
    knotted = find_knot(backbone[:, 1]).name != UNKNOT
    sound = not knotted and is_sound(backbone)
    missed = 0 if steering is None else steering.num_missed(backbone)
    metrics = backbone_metrics(backbone, asked) | more
    return Candidate(backbone, metrics, raw, sound, knotted, missed)


def remeasured(
    candidate: Candidate,
    backbone: FloatArray,
    asked: Blueprint,
    is_sound: Callable[[FloatArray], bool],
    steering: Steering | None,
) -> Candidate:
    """Take another backbone in place of that of a candidate, if it is no worse.

    Parameters
    ----------
    candidate : Candidate
        What was refined.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O of what came of it, angstrom.
    asked, is_sound, steering
        As for :func:`refine_best`.
    """
    if backbone is candidate.backbone:
        return candidate
    moved = {"moved_rmsd": candidate.metrics["moved_rmsd"]}
    other = _measured(backbone, asked, moved, candidate.field_metrics, is_sound, steering)
    # what a search gained shows in the margins, so a small loss of score does not undo it
    return other if other.rank[:3] >= candidate.rank[:3] else candidate


def refine_best(
    drawn: FlowSample,
    asked: Blueprint,
    complete: Blueprint,
    is_sound: Callable[[FloatArray], bool],
    steering: Steering | None = None,
) -> Candidate:
    """Refine samples, the most promising first, until one is good enough; keep the best.

    Parameters
    ----------
    drawn : FlowSample
        Fields of one chain.
    asked : Blueprint
        What counts.
    complete : Blueprint
        The same with all pairs that the refinement shall build.
    is_sound : callable
        Whether a backbone passes the checks that every design has to pass; knots are looked for
        in any case.
    steering : Steering, optional
        What the constraints of the request pull at, beside the blueprint.
    """
    raw = [field_metrics(sample, asked) for sample in drawn.field]
    order = sorted(range(len(raw)), key=lambda number: (-field_score(raw[number]), number))
    candidates: list[Candidate] = []
    for number in order:
        refined = refine(drawn.field[number], complete, drawn.sigma[number], steering=steering)
        moved = {"moved_rmsd": refined.moved_rmsd}
        made = _measured(refined.backbone, asked, moved, raw[number], is_sound, steering)
        candidates.append(made)
        if made.is_enough or (made.is_acceptable and len(candidates) == _MOST_REFINED):
            break
    return max(candidates, key=lambda candidate: candidate.rank)


def outcome(losses: Sequence[AbstractSet[str]], wanted: int) -> str:
    """Say in a sentence what came out and, where less than asked, what to do.

    Parameters
    ----------
    losses : sequence of set of str
        For each design the checks and constraints that it fails.
    wanted : int
        Number of designs asked for.
    """
    accepted = sum(not names for names in losses)
    said = f"{accepted} of {wanted} designs pass every check and constraint."
    if accepted >= wanted:
        return said
    lost = Counter(name for names in losses for name in names)
    most = sorted(lost, key=lambda name: (-lost[name], name))[:3]
    reasons = ", ".join(f"{name} ({lost[name]})" for name in most)
    return (
        f"{said} The others miss: {reasons}. Ask for more designs or samples, or loosen the "
        "constraint that is missed most."
    )
