"""Designs one after the other in this process."""

from __future__ import annotations

from collections.abc import Iterable

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.execution.base import OnDesign, RuntimeSpec, ShouldStop, open_runtime


class LocalExecutor:
    """Makes designs here, in the order of their indices.

    Parameters
    ----------
    runtime : Runtime or None
        An open runtime to use; by default one is opened from the specification and kept.
    """

    keeps_designs = False

    def __init__(self, runtime: engine.Runtime | None = None) -> None:
        self._runtime = runtime

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Make the designs of ``indices``; see :meth:`protein_lab.execution.base.Executor.run`."""
        runtime = self._runtime or open_runtime(runtime_spec)
        for index in indices:
            if should_stop():
                return
            on_design(engine.design_one(request, index, runtime))
