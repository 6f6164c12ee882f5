"""From a request to its result, wherever the designs are made and wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Final

from protein_lab import engine
from protein_lab.design.request import DesignRequest, embedded_request
from protein_lab.design.until import Tally
from protein_lab.errors import ExecutionError, ProteinLabError
from protein_lab.execution.base import Executor, RuntimeSpec, ShouldStop, spec_of
from protein_lab.execution.local import LocalExecutor
from protein_lab.store.base import ResultStore
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import Design, DesignResult

Progress = Callable[[Design, int], None]

AT_ONCE: Final = 4
"""Requests that share workers at the same time: more than one, so that none waits at their ends."""


def run_request(
    request: DesignRequest,
    runtime: engine.Runtime,
    *,
    executor: Executor | None = None,
    spec: RuntimeSpec | None = None,
    output: OutputFolder | None = None,
    store: ResultStore | None = None,
    progress: Progress = lambda design, num_finished: None,
    should_stop: ShouldStop = lambda: False,
    num_made: int | None = None,
) -> DesignResult:
    """Make the designs of a request and rank them.

    Where the request says until when, designs count in the order of their indices; what workers
    have made beyond the end is dropped.

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
    store : ResultStore or None
        A result that is in it is not made again, nor are designs of an earlier run; each new one
        is kept as soon as it is finished, by its worker where the executor can do that, and the
        result is stored.
    progress : callable
        Called with each finished design and their number so far, kept ones included.
    should_stop : callable
        Asked between designs.
    num_made : int or None
        Of a request that says until when, make exactly so many, as an earlier run did.

    Returns
    -------
    DesignResult
        Ranked, best first.

    Raises
    ------
    ExecutionError
        When it was stopped before all designs were made, or work could not be distributed.
    StoreError
        When the folder or the store cannot be written; finished designs are kept.
    """
    request = embedded_request(request)
    request_id = runtime.request_id(request)
    known = _known(request_id, output, store)
    if known is not None:
        return known
    tally = Tally(request.until, request.num_designs, num_made)
    found = output.finished() if output is not None else {}
    if store is not None:
        found = store.kept_designs(request_id) | found
    designs = {index: found[index] for index in sorted(found) if index in tally.indices()}
    for number, design in enumerate(designs.values(), start=1):
        tally.take(design.index, design.accepted)
        progress(design, number)
    runner = executor or LocalExecutor(runtime)

    def take(design: Design) -> None:
        if output is not None:
            output.keep(design)
        if store is not None and not runner.keeps_designs:
            store.keep_design(request_id, design)
        designs[design.index] = design
        tally.take(design.index, design.accepted)
        progress(design, len(designs))

    def is_enough() -> bool:
        tally.look_at_clock()
        return tally.is_over or should_stop()

    kept = frozenset(designs)
    missing = (index for index in tally.indices() if index not in kept)
    if not tally.is_over:
        runner.run(request, spec or spec_of(runtime), missing, take, is_enough)
    if not tally.is_over:
        raise ExecutionError(
            f"Stopped after {len(designs)} of {tally.indices().stop} designs.",
            "Repeat the same command to go on; finished designs are kept.",
        )
    counted = [designs[index] for index in range(tally.num_made)]
    result = engine.assemble(request, counted, runtime, tally.search())
    _publish(result, output, store)
    return result


def _known(
    request_id: str, output: OutputFolder | None, store: ResultStore | None
) -> DesignResult | None:
    """Look for the finished result, and put it where it is asked for and not yet."""
    result = output.load() if output is not None and output.is_complete else None
    if result is None and store is not None:
        result = store.get(request_id)
    if result is not None:
        _publish(result, output, store)
    return result


def _publish(result: DesignResult, output: OutputFolder | None, store: ResultStore | None) -> None:
    """Keep a result for good; then its single designs are no longer needed."""
    if store is not None:
        store.put(result)
    if output is not None:
        output.publish(result)
    if store is not None:
        store.forget_designs(result.request_id)


def run_requests(
    requests: Sequence[tuple[DesignRequest, engine.Runtime]],
    executor: Executor,
    *,
    store: ResultStore | None = None,
    progress: Callable[[int, Design, int], None] = lambda number, design, num_finished: None,
    should_stop: ShouldStop = lambda: False,
    at_once: int = AT_ONCE,
) -> list[DesignResult | ProteinLabError]:
    """Answer several requests on the same workers, which go from one to the next without a pause.

    Parameters
    ----------
    requests : sequence of (DesignRequest, Runtime)
        Each as for :func:`run_request`.
    executor : Executor
        An opened :class:`~protein_lab.execution.dask.DaskExecutor`, so that its workers are
        shared; one in this process answers one request after the other.
    store : ResultStore or None
        As for :func:`run_request`.
    progress : callable
        Called with the place of the request in ``requests``, a finished design and the number of
        finished ones; one call at a time.
    should_stop : callable
        Asked between designs.
    at_once : int
        Requests that are worked on at the same time.

    Returns
    -------
    list of DesignResult or ProteinLabError
        In the order of the requests; an error ends its own request alone.
    """
    telling, ending = Lock(), Event()

    def answer(number: int) -> DesignResult | ProteinLabError:
        request, runtime = requests[number]

        def tell(design: Design, num_finished: int) -> None:
            with telling:
                progress(number, design, num_finished)

        try:
            return run_request(
                request, runtime, executor=executor, store=store, progress=tell,
                should_stop=lambda: ending.is_set() or should_stop(),
            )  # fmt: skip
        except ProteinLabError as error:
            return error

    threads = 1 if isinstance(executor, LocalExecutor) else at_once
    with ThreadPoolExecutor(threads, thread_name_prefix="request") as pool:
        try:
            return list(pool.map(answer, range(len(requests))))
        except BaseException:
            ending.set()  # as after Ctrl-C: every thread ends after the design in hand
            raise
