"""Designs on Dask workers: processes of this machine, or of a cluster."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

import msgspec

from protein_lab.design.request import DesignRequest, request_id
from protein_lab.errors import ExecutionError, MissingExtraError
from protein_lab.execution.base import OnDesign, RuntimeSpec, ShouldStop
from protein_lab.execution.clusters import dask_limits, start_cluster
from protein_lab.execution.keeping import Keeping, keeping_of, open_parts
from protein_lab.execution.tasks import Work
from protein_lab.settings import ClusterSettings, StoreSettings

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 10
_WORKER_MODULE = "protein_lab.execution.worker_plugins"


class DaskExecutor:
    """Makes designs on Dask workers, one at a time each.

    Workers live as long as ``run`` works, or as the executor where it is used as a context
    manager: several runs, also from several threads, then share them.

    Parameters
    ----------
    workers : int
        Processes to start; ignored with a scheduler.
    scheduler : str or None
        Address of a running scheduler, as ``tcp://host:8786``. Whoever can reach a scheduler can
        run code on its workers, so it belongs in a closed network or behind TLS.
    cluster : ClusterSettings or None
        Where workers are started, and how work is placed; processes of this machine by default.
    store : StoreSettings or None
        Where workers keep each finished design themselves, so that only a summary travels; those
        that do not see that place send designs, which are then kept here. Without it designs
        travel, and the caller keeps them.

    Raises
    ------
    MissingExtraError
        When Dask is not installed.
    ExecutionError
        When ``workers`` is less than one.
    """

    def __init__(
        self,
        workers: int = 2,
        scheduler: str | None = None,
        cluster: ClusterSettings | None = None,
        store: StoreSettings | None = None,
    ) -> None:
        if scheduler is None and workers < 1:
            raise ExecutionError(f"Expected at least one worker, got {workers}.")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("distributed", "hpc") from error
        self.workers = workers
        self.scheduler = scheduler
        self.settings = cluster or ClusterSettings()
        self.keeps_designs = store is not None
        self._store = store
        self._keeping: Keeping | None = None
        self._client: Client | None = None
        self._open = ExitStack()
        self._plugins: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._client = stack.enter_context(self._connected(self.workers))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._client = None
        self._open.close()

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Make the designs of ``indices``; see :meth:`protein_lab.execution.base.Executor.run`.

        A design of which its workers die is handed over as a failed one; the others go on.
        """
        from protein_lab.execution.underway import Underway

        remaining = iter(indices)
        first = list(islice(remaining, max(self.workers, 1)))
        if not first or should_stop():
            return
        work = Work(
            request=request,
            request_id=request_id(request, runtime_spec.weights_digest, runtime_spec.corpus_digest),
            spec=runtime_spec,
            keeping=self._opened_store(),
        )
        parts = None if self._store is None else open_parts(self._store)
        with ExitStack() as stack:
            client = self._client
            if client is None:
                client = stack.enter_context(self._connected(len(first)))
            self._warm_up(client, runtime_spec)
            wanted = chain(first, remaining)
            Underway(client, work, wanted, self.settings, parts).run(on_design, should_stop)

    def _warm_up(self, client: Client, spec: RuntimeSpec) -> None:
        """Let workers load the model, those too that come later.

        Raises
        ------
        ExecutionError
            When a worker cannot load this package, or the scheduler is gone.
        """
        from protein_lab.execution.underway import scheduler_gone
        from protein_lab.execution.worker_plugins import WarmUp

        plugin = WarmUp(msgspec.json.encode(spec))
        if plugin.name in self._plugins:
            return
        try:
            _require_package(client)
            client.register_plugin(plugin)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise scheduler_gone() from error
        self._plugins.add(plugin.name)

    def _forget_plugins(self, client: Client) -> None:
        """Leave a cluster of others as it was."""
        names, self._plugins = self._plugins, set()
        for name in names if client.status == "running" else ():
            # ValueError: another run on the same cluster was faster
            with suppress(OSError, TimeoutError, RuntimeError, ValueError):
                client.unregister_worker_plugin(name)

    def _opened_store(self) -> Keeping | None:
        if self._store is not None and self._keeping is None:
            self._keeping = keeping_of(self._store)
        return self._keeping

    @contextmanager
    def _connected(self, num_tasks: int) -> Iterator[Client]:
        """Connect to the scheduler, or start workers; everything is closed at the end."""
        from dask import config
        from distributed import Client

        from protein_lab.execution.worker_plugins import LeaveInterrupts

        with ExitStack() as stack:
            stack.enter_context(config.set(dask_limits(self.settings)))
            stack.enter_context(_callbacks_unlogged())
            try:
                place: Any = self.scheduler
                if place is None:
                    with _interrupts_ignored():
                        cluster = start_cluster(self.settings, min(self.workers, num_tasks))
                        place = stack.enter_context(cluster)
                client = stack.enter_context(Client(place, timeout=_CONNECT_SECONDS))
                stack.callback(self._forget_plugins, client)
                if self.scheduler is None:
                    client.register_plugin(LeaveInterrupts())
                client.wait_for_workers(1, timeout=self.settings.no_workers_seconds)
            except (OSError, TimeoutError, ValueError, RuntimeError) as error:
                target = self.scheduler or f"{self.workers} of kind {self.settings.kind}"
                raise ExecutionError(
                    f"Expected Dask workers at {target}; got none: {error}.",
                    "Start the scheduler and its workers, or leave out --scheduler."
                    if self.scheduler
                    else "Where workers wait in a queue, raise "
                    "PROTEIN_LAB_CLUSTER_NO_WORKERS_SECONDS.",
                ) from error
            yield client


def _require_package(client: Client) -> None:
    """See that workers have this package, before they are sent what they could not read.

    Its version and assets are compared when a worker opens the runtime.
    """
    # by name, so that workers without it can answer
    found: Any = client.run(import_module, _WORKER_MODULE, on_error="return")
    faults = {place: error for place, error in found.items() if isinstance(error, Exception)}
    if faults:
        place, error = min(faults.items())
        raise ExecutionError(
            f"Expected this version of protein_lab on every worker; {len(faults)} of "
            f"{len(found)} cannot load it, as {place}: {error}.",
            "Install the same version on every worker.",
        )


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
