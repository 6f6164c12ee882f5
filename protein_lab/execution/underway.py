"""The designs of one run that are on their way through a Dask cluster."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from distributed import KilledWorker, as_completed
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from protein_lab.draft import failed_design
from protein_lab.errors import ExecutionError
from protein_lab.execution.base import OnDesign, ShouldStop
from protein_lab.execution.clusters import CPU, GPU
from protein_lab.execution.tasks import (
    Reply,
    Work,
    digest_of,
    draft_design,
    finish_design,
    make_design,
)
from protein_lab.settings import ClusterSettings
from protein_lab.store.parts import Parts
from protein_lab.store.schema import Design, decode_design

if TYPE_CHECKING:
    from distributed import Client, Future

_AHEAD: Final = 4
_FEWEST_UNDERWAY: Final = 16
_POLL_SECONDS: Final = 0.05
_CHECK_SECONDS: Final = 2.0
_LOGGER = logging.getLogger(__name__)


class Underway:
    """Submits designs, a bounded number at once, and hands them over as they come.

    When workers die, Dask blames every task that waited at them. A design that was blamed too
    often is tried once more with no other design of this run underway; only when workers die of
    it again is it given up, as a failed design with the reason.

    Parameters
    ----------
    client : Client
        Connected.
    work : Work
        What the designs have in common.
    indices : iterator of int
        Designs to make.
    settings : ClusterSettings
        Placement, priority and limits.
    parts : Parts or None
        Where workers keep designs, as this process sees it.
    """

    def __init__(
        self,
        client: Client,
        work: Work,
        indices: Iterator[int],
        settings: ClusterSettings,
        parts: Parts | None,
    ) -> None:
        self._client, self._settings, self._parts = client, settings, parts
        self._indices = indices
        self._request_id = work.request_id
        self._work = msgspec.json.encode(work)
        # equal work has equal keys, so that a repeated submission is the same task
        self._name = hashlib.sha256(self._work).hexdigest()[:16]
        self._tasks: dict[Any, tuple[int, Future]] = {}
        self._suspects: list[int] = []
        self._alone: Any = None
        self._finished = as_completed()
        self._watch = WorkerWatch(client, settings)

    def run(self, on_design: OnDesign, should_stop: ShouldStop) -> None:
        """Hand over all designs, or those that are finished when told to stop.

        Raises
        ------
        ExecutionError
            When the cluster is gone or cannot work; what was finished was handed over before.
        """
        failure: ExecutionError | None = None
        try:
            self._fill()
            while self._tasks and not should_stop():
                ready = self._finished.next_batch(block=False)
                for future in ready:
                    index, _ = self._tasks.pop(future.key)
                    try:
                        design = self._design(index, future)
                    except ExecutionError as error:
                        failure = failure or error
                    else:
                        if design is not None:
                            on_design(design)
                    future.release()
                if failure is not None and not ready:
                    break  # only when all that was finished has been handed over
                if ready and failure is None and not should_stop():
                    self._fill()
                if not ready:
                    self._watch.check()
                    time.sleep(_POLL_SECONDS)
        finally:
            self._cancel()
        if failure is not None:
            raise failure

    def _fill(self) -> None:
        """Submit so many that no worker waits: nobody knows how many a search needs.

        Raises
        ------
        ExecutionError
            When the scheduler is gone.
        """
        if self._client.status != "running":
            raise scheduler_gone()
        if self._suspects:
            if not self._tasks:
                self._alone = self._submit(self._suspects.pop(), "alone-")
            return
        room = max(_FEWEST_UNDERWAY, _AHEAD * self._watch.num_threads())
        while len(self._tasks) < room:
            index = next(self._indices, None)
            if index is None:
                return
            self._submit(index)

    def _submit(self, index: int, prefix: str = "") -> Any:
        settings, name = self._settings, f"{self._name}-{index}"
        common = {"retries": settings.retries, "pure": False}
        if settings.placement == "pipeline":
            half = self._client.submit(
                draft_design, self._work, index, key=f"{prefix}draft-{name}",
                resources={GPU: 1}, priority=settings.priority, **common,
            )  # fmt: skip
            # what is begun is finished first, so that drafts do not pile up
            future = self._client.submit(
                finish_design, self._work, index, half, key=f"{prefix}design-{name}",
                resources={CPU: 1}, priority=settings.priority + 1, **common,
            )  # fmt: skip
        else:
            future = self._client.submit(
                make_design, self._work, index, key=f"{prefix}design-{name}",
                resources={GPU: 1} if settings.placement == "gpu" else None,
                priority=settings.priority, **common,
            )  # fmt: skip
        self._tasks[future.key] = (index, future)
        self._finished.add(future)
        return future.key

    def _design(self, index: int, future: Future) -> Design | None:
        """Read the design of a finished task; None where it is to be tried alone.

        Raises
        ------
        ExecutionError
            When the task did not finish, or a worker met something that a user has to mend.
        """
        if future.status != "finished":
            return self._design_of_error(index, future)
        reply = msgspec.msgpack.decode(future.result(), type=Reply)
        if reply.problem:
            raise ExecutionError(f"A worker could not work: {reply.problem}", reply.remedy)
        if reply.design is not None:
            design = decode_design(reply.design, f"the answer of a worker to {future.key}")
            if self._parts is not None:
                self._parts.keep(self._request_id, design)
            return design
        return self._kept(reply)

    def _kept(self, reply: Reply) -> Design:
        """Read what a worker kept."""
        found = {} if self._parts is None else self._parts.kept(self._request_id, [reply.index])
        if reply.index not in found:
            raise ExecutionError(
                f"A worker kept design {reply.index}, but it cannot be read from the store.",
                "Look whether the store is still there; repeat the command to go on.",
            )
        design = found[reply.index]
        if digest_of(design) != reply.digest:
            # as on processors that round differently; one of them was first, and stays
            _LOGGER.warning("Design %d was made twice, with different numbers.", reply.index)
        return design

    def _design_of_error(self, index: int, future: Future) -> Design | None:
        error: Any = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            if future.key != self._alone:
                self._suspects.append(index)
                return None
            design = failed_design(
                index,
                "Every worker that made this design died, also with no other design underway: it "
                f"may need more memory than a worker may use ({self._settings.memory}), or crash "
                "a library. Look at the workers' logs.",
            )
            if self._parts is not None:
                self._parts.keep(self._request_id, design)
            return design
        if error is None and self._client.status != "running":
            raise scheduler_gone()
        if isinstance(error, NoValidWorkerError | NoWorkerError):
            raise ExecutionError(
                f"No worker was there for design {index}: {error}".rstrip(".") + ".",
                "Start workers, or choose another PROTEIN_LAB_CLUSTER_PLACEMENT; repeat the "
                "command to go on.",
            ) from error
        reason = future.status if error is None else f"{type(error).__name__}: {error}"
        raise ExecutionError(
            f"A worker did not finish design {index} after {self._settings.retries + 1} tries "
            f"({reason}).",
            "Look at the worker's log; repeat the command to go on where it stopped.",
        ) from error

    def _cancel(self) -> None:
        """Give up what waits; a design that is just being made is finished by its worker."""
        futures = [future for _, future in self._tasks.values()]
        if futures and self._client.status == "running":
            self._client.cancel(futures)
        self._tasks.clear()


class WorkerWatch:
    """Notices when a cluster has lost its workers, or the kind that is needed, for too long."""

    def __init__(self, client: Client, settings: ClusterSettings) -> None:
        self._client = client
        self._timeout = settings.no_workers_seconds
        self._needed = {"spread": (), "gpu": (GPU,), "pipeline": (GPU, CPU)}[settings.placement]
        self._last_look = self._last_seen = time.monotonic()
        self._num_threads = 0
        self._look()

    def num_threads(self) -> int:
        """Count the tasks that could run at once at the last look."""
        return self._num_threads

    def check(self) -> None:
        """Look at the cluster now and then.

        Raises
        ------
        ExecutionError
            When the scheduler is gone, or no worker could work for the whole timeout.
        """
        now = time.monotonic()
        if self._client.status != "running":
            raise scheduler_gone()
        if now - self._last_look < _CHECK_SECONDS:
            return
        self._last_look = now
        missing = self._look()
        if not missing:
            self._last_seen = now
        elif now - self._last_seen > self._timeout:
            raise ExecutionError(
                f"The Dask cluster had {missing} for {self._timeout:g} s.",
                "Start workers and repeat the command; finished designs are kept.",
            )

    def _look(self) -> str:
        """Say what is missing; nothing where designs can be made."""
        try:
            found: Any = self._client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, TimeoutError):
            return "no scheduler that answers"
        running = [worker for worker in found if worker.get("status", "running") == "running"]
        self._num_threads = sum(worker["nthreads"] for worker in running)
        for name in self._needed:
            if not any(worker["resources"].get(name, 0) >= 1 for worker in running):
                return f"no worker with the resource {name}"
        if not running:
            # one that has used up its memory is paused, and may stay so
            return "only workers that are paused" if found else "no worker"
        return ""


def scheduler_gone() -> ExecutionError:
    """Make the error of a scheduler that died or cannot be reached any more."""
    return ExecutionError(
        "The Dask scheduler is gone.",
        "Start it again and repeat the command; finished designs are kept.",
    )
