"""The only door: from a request to ranked, measured and validated designs.

A design depends on the request's seed and its own index alone, and is computed with one thread,
so that neither the number of workers nor the order of work changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from protein_lab.attempt import (
    POLYMER,
    Attempt,
    Clock,
    Task,
    attempt,
    from_polymer,
    source_of,
    without_fold,
)
from protein_lab.constraints.base import Layout
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.drawing import Question, draw_question
from protein_lab.design.optimized_sequences import add_optimized
from protein_lab.design.optimizing import searches
from protein_lab.design.request import DesignRequest, embedded_request
from protein_lab.design.sequence_bias import equal_positions, sequence_bias
from protein_lab.design.sequence_options import SequenceDraw
from protein_lab.design.sequences import sequence_stream
from protein_lab.design.steering import Steering
from protein_lab.design.until import Search, Tally
from protein_lab.draft import Draft, failed_design
from protein_lab.errors import GeometryError, InvalidRequestError, ProteinLabError
from protein_lab.metrics import tm_align
from protein_lab.protein import Protein
from protein_lab.provenance import provenance
from protein_lab.runtime import Runtime, one_thread
from protein_lab.store.conclusion import conclude
from protein_lab.store.schema import Design, DesignResult
from protein_lab.typing import Fault, FloatArray
from protein_lab.validation import ValidationOptions, measure_novelty, validate

__all__ = [
    "Design",
    "DesignResult",
    "Plan",
    "Runtime",
    "assemble",
    "design",
    "design_one",
    "draft_one",
    "finish_one",
    "plan",
]

MAX_ATTEMPTS: Final = 4
"""Curves that a design tries until a backbone passes the checks of its preset."""

_EXPECTED_FAILURES: Final = (
    ProteinLabError,
    ArithmeticError,
    LookupError,
    ValueError,
    np.linalg.LinAlgError,
)
"""What one unlucky design can raise without the others being affected."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What will be done for a request.

    Attributes
    ----------
    request : DesignRequest
        The question, free of errors, with the structures it names put in.
    request_id : str
        Identity of the answer.
    blueprint : Blueprint or None
        What every design gets; None when designs draw their own.
    sources : tuple of str
        Chains whose folds will be used, best first; empty when designs draw their own, or none
        is used.
    warnings : tuple of Fault
        What may go wrong.
    """

    request: DesignRequest
    request_id: str
    blueprint: Blueprint | None
    sources: tuple[str, ...]
    warnings: tuple[Fault, ...]


def plan(request: DesignRequest, runtime: Runtime) -> Plan:
    """Check a request and look up what it will start from, without computing designs.

    Raises
    ------
    InvalidRequestError
        With all faults of the request.
    WeightsError
        When the request needs weights that are not there.
    """
    faults = request.check()
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise InvalidRequestError(errors)
    request = embedded_request(request)
    faults += runtime.sequence_warnings(request)
    identity = runtime.request_id(request)
    _ = runtime.calibrator
    question = draw_question(request, _stream(request, 0), runtime.corpus)
    if from_polymer(request) or request.novelty > 0.0:
        _ = runtime.curves
    if not question.is_fixed:
        return Plan(request, identity, None, (), tuple(faults))
    if from_polymer(request):
        return Plan(request, identity, question.blueprint, (), tuple(faults))
    with one_thread(runtime):
        hits = runtime.hits(question.blueprint)
    sources = tuple(dict.fromkeys(source_of(hit, runtime.corpus) for hit in hits))
    return Plan(request, identity, question.blueprint, sources, tuple(faults))


def _stream(request: DesignRequest, index: int) -> np.random.Generator:
    """Random stream of one design, whatever else is computed before or beside it."""
    return np.random.default_rng(np.random.SeedSequence([request.seed, index]))


def design_one(request: DesignRequest, index: int, runtime: Runtime) -> Design:
    """Make one design.

    Parameters
    ----------
    request : DesignRequest
        A request without errors.
    index : int
        Number of the design; with the seed it fixes everything random.
    runtime : Runtime
        Operator, library and corpus.

    Returns
    -------
    Design
        Its ``failed`` says why when no backbone came out.
    """
    drafted = draft_one(request, index, runtime)
    return drafted if isinstance(drafted, Design) else finish_one(request, drafted, runtime)


def draft_one(request: DesignRequest, index: int, runtime: Runtime) -> Draft | Design:
    """Sample and refine one backbone, the part of :func:`design_one` that a GPU can speed up.

    Parameters
    ----------
    request, index, runtime
        As for :func:`design_one`.

    Returns
    -------
    Draft or Design
        What :func:`finish_one` goes on with, or a failed design.
    """
    clock, blueprint = Clock(), Blueprint("")
    try:
        with one_thread(runtime):
            rng = _stream(request, index)
            question = draw_question(request, rng, runtime.corpus)
            blueprint = question.blueprint
            made = _best_attempt(request, index, runtime, question, rng, clock)
            spread = runtime.calibrator.uncertainty(
                made.drawn,
                request.steps,
                made.candidate.backbone[:, 1],
                blueprint.secondary_structure,
                made.curve,
            )
            return Draft(
                index=index,
                backbone=made.candidate.backbone,
                uncertainty=spread,
                source=source_of(made.hit, runtime.corpus),
                chain_index=made.hit.chain_index,
                metrics=made.candidate.metrics | made.searched,
                field_metrics=made.candidate.field_metrics,
                timings=clock.total(),
            )
    except _EXPECTED_FAILURES as error:
        return failed_design(index, _reason(error), clock.total(), blueprint)


def finish_one(request: DesignRequest, draft: Draft, runtime: Runtime) -> Design:
    """Draw sequences for a drafted backbone, measure and validate it.

    Parameters
    ----------
    request : DesignRequest
        The one that the draft was made for.
    draft : Draft
        From :func:`draft_one`.
    runtime : Runtime
        As the draft was made with, on this or another machine.
    """
    clock, blueprint = Clock(draft.timings), Blueprint("")
    try:
        with one_thread(runtime):
            question = draw_question(request, _stream(request, draft.index), runtime.corpus)
            blueprint = question.blueprint
            return _measure(request, draft, runtime, question, clock)
    except _EXPECTED_FAILURES as error:
        return failed_design(draft.index, _reason(error), clock.total(), blueprint, draft.source)


def _best_attempt(
    request: DesignRequest,
    index: int,
    runtime: Runtime,
    question: Question,
    rng: np.random.Generator,
    clock: Clock,
) -> Attempt:
    """Try folds until a backbone is acceptable, and give the best.

    Raises
    ------
    GeometryError
        When every one is knotted.
    """
    hits = without_fold(request) or runtime.hits(question.blueprint)
    first = index % len(hits) if question.is_fixed else 0
    # likely folds come several times; another try takes another one
    order = tuple(dict.fromkeys(hits[first:] + hits[:first]))
    steering = Steering.of(request.constraints, question.layout)
    task = Task(request, runtime, question, steering, clock)
    made = attempt(task, order, rng, (index, 0))
    for following in range(1, MAX_ATTEMPTS):
        if made.candidate.is_acceptable:
            break
        cut = following % len(order)
        again = order[cut:] + order[:cut]
        if following == MAX_ATTEMPTS - 1 and runtime.has_curves:
            # no fold that was tried suits the blueprint: the operator folds it alone
            again = (POLYMER,)
        made = max(
            made,
            attempt(task, again, rng, (index, following)),
            key=lambda item: item.candidate.rank,
        )
    if made.candidate.is_knotted:
        raise GeometryError(
            f"Each of the {MAX_ATTEMPTS} folds that were tried gave a knotted chain.",
            "Ask for more designs, or for another seed.",
        )
    return made


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _draw(
    request: DesignRequest, index: int, runtime: Runtime, layout: Layout, backbone: FloatArray
) -> SequenceDraw:
    """Draw sequences as the constraints want them, and optimize one where that is asked."""
    bias, equal = sequence_bias(request, layout), equal_positions(request, layout)
    draw = runtime.draw_sequences(request, index, backbone, bias, equal)
    if searches(request, "sequences") and draw.failed is None:
        stream = sequence_stream(request.seed, index)
        draw = add_optimized(draw, request, runtime.sequences, layout, backbone, stream)
    return draw


def _measure(
    request: DesignRequest, draft: Draft, runtime: Runtime, question: Question, clock: Clock
) -> Design:
    """Measure and validate one design."""
    index, spread = draft.index, draft.uncertainty
    draw = _draw(request, index, runtime, question.layout, draft.backbone)
    clock.lap("sequence")
    protein = Protein.from_backbone(draft.backbone, draw.best, spread, name=f"design_{index}")
    novelty = measure_novelty(protein, runtime.relatives)
    options = ValidationOptions(
        backend=runtime.operator.backend.name, weights=runtime.weights, seed=request.seed
    )
    checks = (*validate(protein, request.preset, options), novelty)
    measurements = tuple(item.evaluate(protein, question.layout) for item in request.constraints)
    metrics = draft.metrics | {"mean_uncertainty": float(spread.mean())} | draw.metrics
    if draft.chain_index >= 0:
        chain = runtime.corpus.chain(draft.chain_index)
        found = tm_align(protein.ca, protein.sequence, chain.backbone[:, 1], chain.sequence)
        metrics["tm_to_source"] = found.tm_a
    if novelty.value is not None:
        metrics["tm_to_nearest"] = novelty.value
    clock.lap("measure")
    return Design(
        index=index,
        backbone=draft.backbone,
        uncertainty=spread,
        blueprint=question.blueprint,
        source=draft.source,
        sequences=draw.drawn,
        sequence_failed=draw.failed,
        measurements=measurements,
        checks=checks,
        metrics=metrics,
        field_metrics=draft.field_metrics,
        timings=clock.total(),
    )


def assemble(
    request: DesignRequest,
    designs: Sequence[Design],
    runtime: Runtime,
    search: Search | None = None,
) -> DesignResult:
    """Rank finished designs and put the answer together.

    Parameters
    ----------
    request : DesignRequest
        The question.
    designs : sequence of Design
        In any order; failed ones stay in the result.
    runtime : Runtime
        What made them.
    search : Search or None
        How they came about, where the request says until when; then all accepted ones are kept,
        and as many of the best others as were wanted.
    """
    request = embedded_request(request)
    found = conclude(request, designs, search)
    origin = provenance(request, runtime, designs)
    if found.search is not None:
        origin |= {"search": msgspec.to_builtins(found.search)}
    return DesignResult(
        request=request,
        request_id=runtime.request_id(request),
        designs=found.designs,
        outcome=found.outcome,
        provenance=origin,
        search=found.search,
        relaxations=found.relaxations,
    )


def design(
    request: DesignRequest,
    runtime: Runtime,
    progress: Callable[[Design, int], None] | None = None,
) -> DesignResult:
    """Answer a request in this process.

    Parameters
    ----------
    request : DesignRequest
        The question.
    runtime : Runtime
        From :meth:`Runtime.open`.
    progress : callable, optional
        Called with each finished design and the number of finished ones.

    Returns
    -------
    DesignResult
        Ranked, best first.

    Raises
    ------
    InvalidRequestError
        With all faults of the request.
    """
    request = plan(request, runtime).request
    tally = Tally(request.until, request.num_designs)
    designs: list[Design] = []
    for index in tally.indices():
        designs.append(design_one(request, index, runtime))
        if progress is not None:
            progress(designs[-1], len(designs))
        tally.take(index, designs[-1].accepted)
        tally.look_at_clock()
        if tally.is_over:
            break
    return assemble(request, designs, runtime, tally.search())
