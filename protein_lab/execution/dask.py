"""Designs on Dask workers: processes of this machine, or a cluster that is already there.

Defaults of Dask that do not fit are set here: the dashboard listens on the loopback interface
only, a cluster without workers is an error and no endless wait, and every task has a key made
from the request and the index, so that a repeated submission is the same task.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from protein_lab.design.request import DesignRequest, request_id
from protein_lab.errors import ExecutionError, MissingExtraError
from protein_lab.execution.base import (
    OnDesign,
    Reply,
    RuntimeSpec,
    ShouldStop,
    compute_design,
)
from protein_lab.store.schema import decode_design

if TYPE_CHECKING:
    from distributed import Client, Future, Worker, WorkerPlugin

RETRIES = 2
_AHEAD = 4
_FEWEST_UNDERWAY = 16
_POLL_SECONDS = 0.05
_WORKER_CHECK_SECONDS = 2.0
_CONNECT_SECONDS = 10


class DaskExecutor:
    """Makes designs on Dask workers, one at a time each.

    Parameters
    ----------
    workers : int
        Processes to start on this machine; ignored with a scheduler.
    scheduler : str or None
        Address of a running scheduler, as ``tcp://host:8786``. Whoever can reach a scheduler can
        run code on its workers, so it belongs in a closed network or behind TLS.
    no_workers_timeout : float
        Seconds to wait while the cluster has no worker before giving up.

    Raises
    ------
    MissingExtraError
        When Dask is not installed.
    ExecutionError
        When ``workers`` is less than one.
    """

    def __init__(
        self, workers: int = 2, scheduler: str | None = None, no_workers_timeout: float = 60.0
    ) -> None:
        if scheduler is None and workers < 1:
            raise ExecutionError(f"Expected at least one worker, got {workers}.")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("distributed", "hpc") from error
        self.workers = workers
        self.scheduler = scheduler
        self.no_workers_timeout = no_workers_timeout

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Make the designs of ``indices``; see :meth:`protein_lab.execution.base.Executor.run`."""
        remaining = iter(indices)
        first = list(islice(remaining, max(self.workers, 1)))
        if not first or should_stop():
            return
        wanted = chain(first, remaining)
        with self._client(len(first)) as client:
            identity = request_id(request, runtime_spec.weights_digest, runtime_spec.corpus_digest)
            question, place = request.canonical(), msgspec.json.encode(runtime_spec)
            underway: dict[str, Future] = {}

            def submit_next() -> Future | None:
                index = next(wanted, None)
                if index is None:
                    return None
                key = f"design-{identity[:16]}-{runtime_spec.backend}-{index}"
                underway[key] = client.submit(
                    compute_design, question, place, index, key=key, retries=RETRIES, pure=False
                )
                return underway[key]

            try:
                self._collect(client, submit_next, underway, on_design, should_stop)
            finally:
                client.cancel(list(underway.values()))

    def _collect(
        self,
        client: Client,
        submit_next: Callable[[], Future | None],
        underway: dict[str, Future],
        on_design: OnDesign,
        should_stop: ShouldStop,
    ) -> None:
        """Hand over designs as they come, watching for a stop and for a cluster that is gone.

        Only so many tasks are underway that no worker waits: nobody knows how many a search needs.
        """
        from distributed import as_completed

        finished = as_completed()
        watch = _WorkerWatch(client, self.no_workers_timeout)
        failure: ExecutionError | None = None

        def fill() -> None:
            room = max(_FEWEST_UNDERWAY, _AHEAD * _num_threads(client))
            while len(underway) < room and (task := submit_next()) is not None:
                finished.add(task)

        fill()
        while underway and not should_stop():
            ready = finished.next_batch(block=False)
            for future in ready:
                try:
                    design = _unpack(future)
                except ExecutionError as error:
                    failure = failure or error
                else:
                    on_design(design)
                del underway[future.key]
                future.release()
            if ready and failure is None and not should_stop():
                fill()
            if failure is not None and not ready:
                raise failure  # only when all that was finished has been handed over
            if not ready:
                watch.check()
                time.sleep(_POLL_SECONDS)
        if failure is not None:
            raise failure

    @contextmanager
    def _client(self, num_tasks: int) -> Iterator[Client]:
        """Connect to the scheduler, or start processes here; everything is closed at the end."""
        from dask import config
        from distributed import Client, LocalCluster

        limits = {
            "distributed.scheduler.no-workers-timeout": f"{self.no_workers_timeout}s",
            "distributed.comm.retry.count": 3,
        }
        with ExitStack() as stack:
            stack.enter_context(config.set(limits))
            stack.enter_context(_callbacks_unlogged())
            try:
                place: Any = self.scheduler
                if place is None:
                    with _interrupts_ignored():
                        cluster = LocalCluster(
                            n_workers=min(self.workers, num_tasks),
                            threads_per_worker=1,
                            processes=True,
                            dashboard_address="127.0.0.1:0",
                            memory_limit=0,
                            silence_logs=logging.CRITICAL,
                        )
                    place = stack.enter_context(cluster)
                client = stack.enter_context(Client(place, timeout=_CONNECT_SECONDS))
                if self.scheduler is None:
                    client.register_plugin(_own_worker_plugin())
                client.wait_for_workers(1, timeout=self.no_workers_timeout)
            except (OSError, TimeoutError, ValueError, RuntimeError) as error:
                target = self.scheduler or f"{self.workers} processes on this machine"
                raise ExecutionError(
                    f"Expected Dask workers at {target}; got none: {error}.",
                    "Start the scheduler and its workers, or leave out --scheduler.",
                ) from error
            yield client


@contextmanager
def _callbacks_unlogged() -> Iterator[None]:
    """Keep tracebacks of Dask's own timers, which run on while Ctrl-C ends it, off the terminal."""
    logger = logging.getLogger("tornado.application")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C from their first instruction.

    A worker that is interrupted while it starts is restarted by its nanny, which then does not
    end. Only the main thread can set signals; elsewhere nobody sends Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _own_worker_plugin() -> WorkerPlugin:
    """Make the plugin for workers that this process starts and ends.

    A terminal sends Ctrl-C to the workers too; they leave it to this process, which ends them in
    good order.
    """
    from distributed import WorkerPlugin

    class LeaveInterrupts(WorkerPlugin):
        name = "protein-lab-leave-interrupts"
        idempotent = True

        def setup(self, worker: Worker) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return LeaveInterrupts()


class _WorkerWatch:
    """Notices when a cluster has lost all its workers for too long."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._last_look = self._last_seen = time.monotonic()

    def check(self) -> None:
        """Look at the cluster now and then.

        Raises
        ------
        ExecutionError
            When the scheduler is gone, or no worker was there for the whole timeout.
        """
        now = time.monotonic()
        if now - self._last_look < _WORKER_CHECK_SECONDS:
            return
        self._last_look = now
        if self._client.status != "running":
            raise ExecutionError(
                "The Dask scheduler is gone.", "Start it again and repeat the command."
            )
        if self._client.scheduler_info(n_workers=1).get("workers"):
            self._last_seen = now
        elif now - self._last_seen > self._timeout:
            raise ExecutionError(
                f"The Dask cluster had no worker for {self._timeout:g} s.",
                "Start workers and repeat the command; finished designs are kept.",
            )


def _num_threads(client: Client) -> int:
    """Count the tasks that can run at once; none where the scheduler is gone."""
    try:
        found: Any = client.nthreads() if client.status == "running" else {}
        return sum(found.values())
    except OSError:
        return 0  # the watch says so, once it has waited long enough


def _unpack(future: Future) -> Any:
    """Read the design out of a finished task.

    Raises
    ------
    ExecutionError
        When the task did not finish, or a worker met something that a user has to mend.
    """
    if future.status != "finished":
        cause: Any = future.exception() if future.status == "error" else None
        reason = future.status if cause is None else f"{type(cause).__name__}: {cause}"
        raise ExecutionError(
            f"A worker did not finish {future.key} after {RETRIES + 1} tries ({reason}).",
            "Look at the worker's log; repeat the command to go on where it stopped.",
        ) from cause
    reply = msgspec.msgpack.decode(future.result(), type=Reply)
    if reply.design is None:
        raise ExecutionError(f"A worker could not work: {reply.problem}", reply.remedy)
    return decode_design(reply.design, f"the answer of a worker to {future.key}")
