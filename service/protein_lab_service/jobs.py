"""The thread that works on jobs, the one that tells the others so, and where results are.

Finished designs of a job are kept in the store until all are there, so that whoever goes on with
it does not make them again.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from protein_lab.design.request import DesignRequest, request_id
from protein_lab.engine import Runtime
from protein_lab.errors import (
    ExecutionError,
    IntegrityError,
    ProteinLabError,
    StoreError,
    TierError,
    WeightsError,
)
from protein_lab.execution.base import spec_of
from protein_lab.execution.job_table import Job, JobTable
from protein_lab.execution.run import run_request
from protein_lab.models.weights import load_operator, weights_digest
from protein_lab.settings import Settings
from protein_lab.store.database import Database
from protein_lab.store.open import open_store
from protein_lab.store.schema import Design, DesignResult
from protein_lab.training.corpus import Corpus
from protein_lab_service.workers import Workers

_LOGGER = logging.getLogger(__name__)
_IDLE_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 30.0
_BEATS: Final = 3


class Jobs:
    """Accepts requests, answers them in one background thread, and finds their results.

    Parameters
    ----------
    settings : Settings
        Places of database, store, weights and corpus.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = open_store(settings.store)
        self._workers = Workers(settings)
        self._runtimes: dict[tuple[str, str], Runtime] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._held: str | None = None
        self._threads: tuple[threading.Thread, ...] = ()
        self.table = JobTable(
            Database(settings.store.database_url, settings.store.database_timeout_seconds),
            max_attempts=settings.cluster.retries + 1,
        )

    def start(self) -> None:
        """Begin to work on what is queued or was cut off."""
        self._stopping.clear()
        self._ended.clear()
        self._threads = tuple(
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._work, "design-worker"), (self._hold, "job-lease"))
        )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the design in work be finished and kept, but wait for it only for a while."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def close(self) -> None:
        """Let go of store and database, unless a design is still in work."""
        if not any(thread.is_alive() for thread in self._threads):
            self._store.close()
            self.table.close()

    def submit(self, request: DesignRequest) -> Job:
        """Commit a request as a job.

        Raises
        ------
        WeightsError
            When its operator has no weights here.
        CorpusError
            When there is no corpus here.
        """
        digest = weights_digest(request.operator, self._settings.weights)
        corpus = Corpus.open(self._settings.corpus).digest
        priority = self._settings.cluster.priority
        job = self.table.add(request_id(request, digest, corpus), request, priority)
        if job.status == "done" and self._store.get(job.id) is None:
            job = self.table.reopen(job.id) or job
        self._wake.set()
        return job

    def cancel(self, identity: str) -> Job | None:
        """End a job that is not finished; one in work stops after the design in work."""
        job = self.table.cancel(identity)
        if job is not None and job.status == "cancelled" and self._held == identity:
            self._lost.set()
        return job

    def result(self, job: Job) -> DesignResult:
        """Read the result of a finished job.

        Raises
        ------
        StoreError
            When it is not in the store or damaged.
        """
        found = self._store.get(job.id)
        if found is None:
            raise StoreError(
                "The result of this request is not in the store any more.",
                "Post the request again to make it anew.",
            )
        return found

    def check(self) -> None:
        """See that requests can be accepted and answered.

        Raises
        ------
        TierError
            When the database does not answer.
        WeightsError
            When the weights are missing or damaged.
        """
        self.table.ping()
        if not self._runtimes:
            load_operator("enhanced_deeponet", "numpy", folder=self._settings.weights)

    def _work(self) -> None:
        """Answer one job after the other until told to stop."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                job = self.table.claim()
                if job is not None and self._answer(job):
                    continue
            except StoreError as error:
                _LOGGER.error("The worker waits for its database: %s", error)
            except Exception:
                # The thread must outlive any fault; the job stays and is tried again.
                _LOGGER.exception("The worker could not read or update its jobs.")
            finally:
                self._held = None
            if not self._stopping.is_set():
                self._wake.wait(_IDLE_SECONDS)
        self._workers.leave()
        self._ended.set()

    def _hold(self) -> None:
        """Tell that the job in work is still worked on, and watch those of others."""
        while not self._ended.wait(self.table.lease / _BEATS):
            held = self._held
            try:
                if held is not None and not self.table.renew(held) and held == self._held:
                    self._lost.set()
                self.table.abandoned()
            except Exception:
                # Work goes on: where another one takes over meanwhile, both make the same.
                _LOGGER.exception("The lease of job %s could not be renewed.", held)

    def _answer(self, job: Job) -> bool:
        """Make the designs of one job, or note why that cannot be done.

        Returns
        -------
        bool
            False when the store has to get well before anything can be done.
        """
        self._lost.clear()
        self._held = job.id
        try:
            self._design(job)
        except ProteinLabError as error:
            if isinstance(error, ExecutionError):
                self._workers.leave()
            if self._lost.is_set():
                _LOGGER.info("Job %s was cancelled or taken over.", job.id)
            elif self._stopping.is_set() and isinstance(error, ExecutionError):
                self.table.release(job.id)
            elif _may_pass(error) or (
                self._workers.are_elsewhere and isinstance(error, ExecutionError)
            ):
                _LOGGER.error("Job %s waits: %s", job.id, error)
                self.table.postpone(job.id, str(error))
                return False
            else:
                self.table.finish(job.id, "failed", error=str(error))
        except Exception:
            _LOGGER.exception("Job %s failed.", job.id)
            message = "An unexpected error stopped the job; the service's log has the details."
            self.table.finish(job.id, "failed", error=message)
        else:
            # of a search the last count stays: it ends before all that may be made
            count = job.request.num_designs if job.request.until is None else None
            self.table.finish(job.id, "done", finished=count)
        return True

    def _design(self, job: Job) -> None:
        """Make what is missing of a result, and keep it."""
        made = self._store.get(job.id)
        if made is not None:
            self._store.put(made)  # whoever made it may have ended before it was listed
            return
        runtime = self._runtime(job.request)
        if runtime.request_id(job.request) != job.id:
            raise WeightsError(
                "The weights or the corpus were replaced after this request was accepted.",
                "Post the request again; it gets a new id.",
            )

        def note(design: Design, num_finished: int) -> None:
            try:
                if not self.table.note(job.id, num_finished):
                    self._lost.set()
            except StoreError as error:
                _LOGGER.error("The progress of job %s was not noted: %s", job.id, error)

        run_request(
            job.request,
            runtime,
            executor=self._workers.executor(),
            spec=spec_of(runtime, self._settings),
            store=self._store,
            progress=note,
            should_stop=lambda: self._stopping.is_set() or self._lost.is_set(),
        )

    def _runtime(self, request: DesignRequest) -> Runtime:
        key = (request.operator, request.backend)
        if key not in self._runtimes:
            self._runtimes[key] = Runtime.open(request, settings=self._settings)
        return self._runtimes[key]


def _may_pass(error: ProteinLabError) -> bool:
    """Whether it lies at the store and not at the request, as a full disk or a dead server."""
    found: BaseException | None = error
    while isinstance(found, StoreError) and not isinstance(found, IntegrityError | TierError):
        found = found.__cause__
    return isinstance(found, TierError | OSError)
