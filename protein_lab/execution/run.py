"""From a request to its result, wherever the designs are made and wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ExecutionError
from protein_lab.execution.base import Executor, RuntimeSpec, ShouldStop, spec_of
from protein_lab.execution.local import LocalExecutor
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import Design, DesignResult

Progress = Callable[[Design, int], None]


def run_request(
    request: DesignRequest,
    runtime: engine.Runtime,
    *,
    executor: Executor | None = None,
    spec: RuntimeSpec | None = None,
    output: OutputFolder | None = None,
    progress: Progress = lambda design, num_finished: None,
    should_stop: ShouldStop = lambda: False,
) -> DesignResult:
    """Make all designs of a request and rank them.

    Parameters
    ----------
    request : DesignRequest
        The question.
    runtime : Runtime
        Ranks the designs here, and makes them unless an executor is given.
    executor : Executor or None
        Where the designs are made.
    spec : RuntimeSpec or None
        How workers open the same runtime; by default from ``runtime``.
    output : OutputFolder or None
        An opened folder: designs that are in it already are not made again, each new one is kept
        as soon as it is finished, and the result is published there.
    progress : callable
        Called with each finished design and their number so far, kept ones included.
    should_stop : callable
        Asked between designs.

    Returns
    -------
    DesignResult
        Ranked, best first.

    Raises
    ------
    ExecutionError
        When it was stopped before all designs were made, or work could not be distributed.
    StoreError
        When the folder cannot be written; finished designs are kept.
    """
    if output is not None and output.is_complete:
        return output.load()
    designs = output.finished() if output is not None else {}
    designs = {index: made for index, made in designs.items() if index < request.num_designs}
    for number, design in enumerate(designs.values(), start=1):
        progress(design, number)

    def take(design: Design) -> None:
        if output is not None:
            output.keep(design)
        designs[design.index] = design
        progress(design, len(designs))

    missing = [index for index in range(request.num_designs) if index not in designs]
    runner = executor or LocalExecutor(runtime)
    runner.run(request, spec or spec_of(runtime), missing, take, should_stop)
    if len(designs) < request.num_designs:
        raise ExecutionError(
            f"Stopped after {len(designs)} of {request.num_designs} designs.",
            "Repeat the same command to go on; finished designs are kept.",
        )
    result = engine.assemble(request, [designs[index] for index in sorted(designs)], runtime)
    if output is not None:
        output.publish(result)
    return result
