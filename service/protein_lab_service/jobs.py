"""The one thread that works on jobs, and where their results are.

Finished designs of a job lie in an output folder until all are there, so that a restart goes on
where the last process stopped.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Final

from protein_lab.design.request import DesignRequest, request_id
from protein_lab.engine import Runtime
from protein_lab.errors import ExecutionError, ProteinLabError, WeightsError
from protein_lab.execution.run import run_request
from protein_lab.models.weights import load_operator, weights_digest
from protein_lab.settings import Settings
from protein_lab.store.objects import load_result, save_result
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import Design, DesignResult
from protein_lab.training.corpus import Corpus
from protein_lab_service.job_table import Job, JobTable

_LOGGER = logging.getLogger(__name__)
_WORK: Final = ".work"
_IDLE_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 30.0


class Jobs:
    """Accepts requests, answers them in one background thread, and finds their results.

    Parameters
    ----------
    settings : Settings
        Places of database, store, weights and corpus.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Path(settings.store.objects)
        self._runtimes: dict[tuple[str, str], Runtime] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.table = JobTable(Path(settings.store.database_url.removeprefix("sqlite:///")))

    def start(self) -> None:
        """Begin to work on what is queued or was cut off."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="design-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the design in work be finished and kept, but wait for it only for a while."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

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
        job = self.table.add(request_id(request, digest, corpus), request)
        self._wake.set()
        return job

    def result(self, job: Job) -> DesignResult:
        """Read the result of a finished job.

        Raises
        ------
        StoreError
            When it is not in the store or damaged.
        """
        return load_result(self._store / job.id)

    def check(self) -> None:
        """See that requests can be accepted and answered.

        Raises
        ------
        sqlite3.Error
            When the database does not answer.
        WeightsError
            When the weights are missing or damaged.
        """
        self.table.ping()
        if not self._runtimes:
            load_operator("enhanced_deeponet", "numpy", folder=self._settings.weights)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                job = self.table.next()
                if job is not None:
                    self._answer(job)
                    continue
            except Exception:
                # The thread must outlive any fault; the job stays and is tried again.
                _LOGGER.exception("The worker could not read or update its jobs.")
            if not self._stopping.is_set():
                self._wake.wait(_IDLE_SECONDS)

    def _answer(self, job: Job) -> None:
        """Make the designs of one job, or note why that cannot be done."""
        self.table.update(job.id, "running")
        try:
            self._design(job)
        except sqlite3.Error:
            raise
        except ProteinLabError as error:
            if self._stopping.is_set() and isinstance(error, ExecutionError):
                return  # it stays "running", so that the next start goes on with it
            self.table.update(job.id, "failed", error=str(error))
        except Exception:
            _LOGGER.exception("Job %s failed.", job.id)
            message = "An unexpected error stopped the job; the service's log has the details."
            self.table.update(job.id, "failed", error=message)
        else:
            # of a search the last count stays: it ends before all that may be made
            count = job.request.num_designs if job.request.until is None else None
            self.table.update(job.id, "done", finished=count)

    def _design(self, job: Job) -> None:
        runtime = self._runtime(job.request)
        if runtime.request_id(job.request) != job.id:
            raise WeightsError(
                "The weights or the corpus were replaced after this request was accepted.",
                "Post the request again; it gets a new id.",
            )

        def note(design: Design, num_finished: int) -> None:
            self.table.update(job.id, "running", finished=num_finished)

        work = self._store / _WORK / job.id
        with OutputFolder(work, job.request, job.id) as folder:
            result = run_request(
                job.request,
                runtime,
                output=folder,
                progress=note,
                should_stop=self._stopping.is_set,
            )
        save_result(result, self._store)
        shutil.rmtree(work, ignore_errors=True)

    def _runtime(self, request: DesignRequest) -> Runtime:
        key = (request.operator, request.backend)
        if key not in self._runtimes:
            self._runtimes[key] = Runtime.open(request, settings=self._settings)
        return self._runtimes[key]
