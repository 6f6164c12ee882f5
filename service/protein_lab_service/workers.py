"""Workers of a cluster, if the settings name one, kept from one request to the next."""

from __future__ import annotations

from contextlib import ExitStack

from protein_lab.execution.base import Executor
from protein_lab.settings import Settings


class Workers:
    """Who makes designs: workers that stay open, or the service's own process.

    Parameters
    ----------
    settings : Settings
        Name a scheduler, or say how many workers are started, if any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._executor: Executor | None = None
        self._open = ExitStack()

    @property
    def are_elsewhere(self) -> bool:
        """Whether designs are made by workers of a cluster."""
        return bool(self._settings.cluster.scheduler or self._settings.cluster.workers)

    def executor(self) -> Executor | None:
        """Give the executor, connected; None where designs are made in this process.

        Raises
        ------
        ExecutionError
            When there are no workers.
        MissingExtraError
            When Dask is not installed.
        """
        if self.are_elsewhere and self._executor is None:
            from protein_lab.execution.dask import DaskExecutor

            cluster, store = self._settings.cluster, self._settings.store
            executor = DaskExecutor(
                max(cluster.workers, 1), cluster.scheduler or None, cluster=cluster, store=store
            )
            self._executor = self._open.enter_context(executor)
        return self._executor

    def leave(self) -> None:
        """Let go of the workers, as when they are gone; the next call looks for them anew."""
        self._executor = None
        self._open.close()
