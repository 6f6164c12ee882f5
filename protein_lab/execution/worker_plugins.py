"""What Dask workers do when they start."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from contextlib import suppress
from typing import Any

import msgspec
from distributed import WorkerPlugin

from protein_lab.errors import ProteinLabError
from protein_lab.execution.base import RuntimeSpec, open_runtime


class LeaveInterrupts(WorkerPlugin):
    """For workers that this process starts and ends.

    A terminal sends Ctrl-C to the workers too; they leave it to this process, which ends them in
    good order.
    """

    name = "protein-lab-leave-interrupts"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Ignore Ctrl-C."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class WarmUp(WorkerPlugin):
    """Loads the model once a worker, before its first design.

    Parameters
    ----------
    spec : bytes
        A :class:`~protein_lab.execution.base.RuntimeSpec` as JSON.
    """

    idempotent = True

    def __init__(self, spec: bytes) -> None:
        self.name = f"protein-lab-warm-up-{hashlib.sha256(spec).hexdigest()[:16]}"
        self._spec = spec

    async def setup(self, worker: Any) -> None:
        """Open the runtime, in a thread so that the worker goes on answering its scheduler."""
        spec = msgspec.json.decode(self._spec, type=RuntimeSpec)
        with suppress(ProteinLabError):  # the first design says what is the matter
            await asyncio.to_thread(open_runtime, spec)
