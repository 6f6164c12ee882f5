"""One try at a design: a coarse curve, fields around it, the best of them refined."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from protein_lab.constraints.base import Starting
from protein_lab.design.adherence import follow_curve, trust_in_curve
from protein_lab.design.bending import bend_curve
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.curves import fold_curves
from protein_lab.design.drawing import Question
from protein_lab.design.fold_library import Hit
from protein_lab.design.optimizers.base import Record
from protein_lab.design.optimizing import optimize_backbone, optimize_start, searches
from protein_lab.design.request import DesignRequest
from protein_lab.design.sampling import bend_fold, complete_pairs, sample_fields
from protein_lab.design.selection import Candidate, refine_best, remeasured
from protein_lab.design.steering import Steering
from protein_lab.flow import FlowSample
from protein_lab.protein import Protein
from protein_lab.runtime import Runtime
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray
from protein_lab.validation import validate

POLYMER: Final = Hit(-1, 0.0, (), "assembled")
"""Stands for no fold at all: the curve was drawn from a random polymer."""

GIVEN: Final = Hit(-1, 0.0, (), "assembled")
"""Stands for a curve that a constraint gave."""

CURVES_BENT: Final = 4
"""Curves that are bent to the constraints of a design; the one with the least strain is used."""

_KEEPS_PAIRS: Final = 0.5
"""Novelty below which the pairs of a fold are asked for beside those of the request."""


class Clock:
    """Seconds spent in each stage.

    Parameters
    ----------
    before : mapping of str to float
        What another clock's :meth:`total` said, to go on from there.

    Attributes
    ----------
    timings : dict of str to float
        By name of the stage.
    """

    def __init__(self, before: Mapping[str, float] = MappingProxyType({})) -> None:
        self.timings = {stage: spent for stage, spent in before.items() if stage != "total"}
        self._last = time.perf_counter()
        self._start = self._last - before.get("total", 0.0)

    def lap(self, stage: str) -> None:
        """Book the time since the last lap."""
        now = time.perf_counter()
        self.timings[stage] = self.timings.get(stage, 0.0) + now - self._last
        self._last = now

    def total(self) -> dict[str, float]:
        """All timings and their total."""
        return self.timings | {"total": time.perf_counter() - self._start}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A design that is to be made.

    Attributes
    ----------
    request : DesignRequest
        What was asked.
    runtime : Runtime
        Operator, library and corpus.
    question : Question
        What is asked of this design.
    steering : Steering or None
        What its constraints pull at.
    clock : Clock
        Counts the time of all tries.
    """

    request: DesignRequest
    runtime: Runtime
    question: Question
    steering: Steering | None
    clock: Clock


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A backbone made from one fold.

    Attributes
    ----------
    hit : Hit
        The fold, or :data:`POLYMER`.
    curve : ndarray, shape=(residue, 3)
        Axis curve that fields were drawn around, angstrom.
    drawn : FlowSample
        The fields.
    candidate : Candidate
        The best of them, refined.
    searched : dict of str to float
        Figures of the optimizer; empty without one.
    """

    hit: Hit
    curve: FloatArray
    drawn: FlowSample
    candidate: Candidate
    searched: dict[str, float] = field(default_factory=dict)


def from_polymer(request: DesignRequest) -> bool:
    """Tell whether nothing of a real fold is used; of one that is dissolved nothing is left."""
    return request.prior == "polymer" or request.novelty >= 1.0


def without_fold(request: DesignRequest) -> tuple[Hit, ...]:
    """Give what stands for the folds of a request that needs none; empty when it needs some."""
    if any(isinstance(item, Starting) for item in request.constraints):
        return (GIVEN,)
    return (POLYMER,) if from_polymer(request) else ()


def source_of(hit: Hit, corpus: Corpus) -> str:
    """Name the chains that a hit takes its fold from."""
    if hit is POLYMER:
        return "polymer"
    if hit is GIVEN:
        return "constraint"
    if hit.chain_index >= 0:
        return corpus.ids[hit.chain_index]
    return "+".join(source_of(part.hit, corpus) for part in hit.parts) or "random coil"


def attempt(
    task: Task, hits: Sequence[Hit], rng: np.random.Generator, turn: tuple[int, int]
) -> Attempt:
    """Find a coarse curve, sample fields around it and refine them.

    Parameters
    ----------
    task : Task
        What is to be made.
    hits : sequence of Hit
        Folds in the order to try, or :data:`POLYMER`.
    rng : Generator
        The stream of the design.
    turn : (int, int)
        Index of the design and number of the try.
    """
    request, runtime, question = task.request, task.runtime, task.question
    hit, complete, curve = _chosen_curve(task, hits, rng, turn)
    task.clock.lap("fold")
    noise, searched = None, {}
    if searches(request, "latents"):
        found = optimize_start(request, runtime.operator, question.layout, complete, curve, rng)
        curve, noise, searched = found.curve, found.noise, _told(found.records)
        task.clock.lap("optimize")
    drawn = sample_fields(request, runtime.operator, complete, curve, rng, task.steering, noise)
    task.clock.lap("sample")

    def is_sound(backbone: FloatArray) -> bool:
        checks = validate(Protein.from_backbone(backbone), request.preset, quick=True)
        return all(check.verdict != "fail" for check in checks)

    # the uncertainty is that of what was drawn; only the refinement starts from moved fields
    trust = trust_in_curve(hit.score) if request.novelty == 0.0 else 0.0
    held = replace(drawn, field=follow_curve(drawn.field, curve, trust))
    best = refine_best(held, question.blueprint, complete, is_sound, task.steering)
    task.clock.lap("refine")
    if searches(request, "torsions"):
        states = question.blueprint.secondary_structure
        turned = optimize_backbone(request, question.layout, states, best.backbone, rng)
        best = remeasured(best, turned.backbone, question.blueprint, is_sound, task.steering)
        searched = _told(turned.records)
        task.clock.lap("optimize")
    return Attempt(hit, curve, drawn, best, searched)


def _told(records: Sequence[Record]) -> dict[str, float]:
    """Figures of a search for the metrics of its design; none where it could not begin."""
    if not records:
        return {}
    return {
        "optimizer_steps": float(records[-1].step),
        "optimizer_evaluations": float(records[-1].evaluations),
        "objective_first": records[0].best,
        "objective": records[-1].best,
    }


def _chosen_curve(
    task: Task, hits: Sequence[Hit], rng: np.random.Generator, turn: tuple[int, int]
) -> tuple[Hit, Blueprint, FloatArray]:
    """Give a curve, its fold, and the blueprint with the pairs of that fold.

    Where constraints pull at it, several curves are bent and the one with the least strain is
    taken.
    """
    steering = task.steering
    if steering is None or not steering.restraints:
        return next(_curves(task, hits, rng, turn, 1))
    bent: list[tuple[float, tuple[Hit, Blueprint, FloatArray]]] = []
    for hit, complete, curve in _curves(task, hits, rng, turn, CURVES_BENT):
        moved, strain = bend_curve(curve, complete, steering)
        bent.append((strain, (hit, complete, moved)))
    return min(bent, key=lambda item: item[0])[1]


def _curves(
    task: Task, hits: Sequence[Hit], rng: np.random.Generator, turn: tuple[int, int], count: int
) -> Iterator[tuple[Hit, Blueprint, FloatArray]]:
    """Give up to so many curves, the likeliest first."""
    request, runtime, question = task.request, task.runtime, task.question
    blueprint = question.blueprint
    starting = [item for item in request.constraints if isinstance(item, Starting)]
    if starting:
        for _ in range(count):
            yield GIVEN, blueprint, starting[0].start_curve(question.layout, rng)
        return
    if from_polymer(request) or hits[0] is POLYMER:
        if question.is_fixed and count == 1:
            yield POLYMER, blueprint, runtime.shared_curve(blueprint, request.seed, *turn)
            return
        for curve in fold_curves(runtime.curves, blueprint, rng, count):
            yield POLYMER, blueprint, curve
        return
    for first in range(min(count, len(hits))):
        order = [*hits[first:], *hits[:first]]
        hit, curve = bend_fold(runtime.library, order, blueprint, rng)
        complete = complete_pairs(blueprint, hit, runtime.corpus)
        if request.novelty > 0.0:
            # what is dissolved need not keep the pairs that nobody asked for
            wanted = complete if request.novelty < _KEEPS_PAIRS else blueprint
            (curve,) = fold_curves(
                runtime.curves, wanted, rng, known=curve, novelty=request.novelty
            )
            complete = wanted
        yield hit, complete, curve
