"""What every executor does, and the one task that a worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

from protein_lab import engine
from protein_lab.constraints.custom import Custom
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ExecutionError, ProteinLabError
from protein_lab.settings import Settings
from protein_lab.store.schema import Design, encode_design

OnDesign = Callable[[Design], None]
ShouldStop = Callable[[], bool]


class RuntimeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to open the same runtime as everybody else.

    Paths are given only where they differ from the installed package, so that a worker on another
    machine uses its own copy of the assets; the digests make sure that it is the same copy.

    Attributes
    ----------
    operator, backend : str
        As in the request, with ``auto`` already resolved.
    weights_digest, corpus_digest : str
        What the worker must find; empty to take what is there.
    weights, corpus : str or None
        Places of the assets when they are not those of the package.
    """

    operator: str
    backend: str
    weights_digest: str = ""
    corpus_digest: str = ""
    weights: str | None = None
    corpus: str | None = None

    def settings(self) -> Settings:
        """Take this process's settings, with the given places of the assets."""
        places = {"weights": self.weights, "corpus": self.corpus}
        given = {name: Path(place) for name, place in places.items() if place is not None}
        return msgspec.structs.replace(Settings.from_environment(), **given)


class Executor(Protocol):
    """Makes designs somewhere."""

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Make the designs of ``indices`` and hand each over as soon as it is finished.

        Parameters
        ----------
        request : DesignRequest
            The question.
        runtime_spec : RuntimeSpec
            Operator, backend and assets.
        indices : iterable of int
            Designs to make, in any order.
        on_design : callable
            Called in this thread with every finished design, in the order of finishing.
        should_stop : callable
            Asked between designs; when it says yes, ``run`` returns without the rest.

        Raises
        ------
        ExecutionError
            When work cannot be distributed or a worker does not finish it.
        """
        ...


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker sends back: a design, or what a user has to mend."""

    design: bytes | None = None
    problem: str = ""
    remedy: str = ""


@lru_cache(maxsize=4)
def open_runtime(spec: RuntimeSpec) -> engine.Runtime:
    """Open a runtime once per process.

    Raises
    ------
    ExecutionError
        When the weights or the corpus here are not those of the specification.
    """
    runtime = engine.Runtime.open(spec.operator, backend=spec.backend, settings=spec.settings())
    found = spec_of(runtime)
    for asset in ("weights_digest", "corpus_digest"):
        wanted, here = getattr(spec, asset), getattr(found, asset)
        if wanted and wanted != here:
            raise ExecutionError(
                f"A worker expected {asset.replace('_', ' ')} {wanted[:12]}, but has {here[:12]}.",
                "Install the same version of protein_lab and its assets on every worker.",
            )
    return runtime


def spec_of(runtime: engine.Runtime, settings: Settings | None = None) -> RuntimeSpec:
    """Describe an open runtime so that other processes can open the same one."""
    used = settings if settings is not None else Settings()
    default = Settings()
    return RuntimeSpec(
        operator=runtime.operator.name,
        backend=runtime.operator.backend.name,
        weights_digest=runtime.digest,
        corpus_digest=runtime.corpus.digest,
        weights=None if used.weights == default.weights else str(used.weights.resolve()),
        corpus=None if used.corpus == default.corpus else str(used.corpus.resolve()),
    )


def _require_custom(request: DesignRequest) -> None:
    """Make sure that constraints which users wrote are known in this process too.

    Raises
    ------
    ExecutionError
        When one is not, or cannot be made.
    """
    for number, item in enumerate(request.constraints):
        for fault in item.faults(f"$.constraints[{number}]") if isinstance(item, Custom) else ():
            raise ExecutionError(
                f"{fault.path}: {fault.message}",
                "Install a package with the constraint as an entry point on every worker.",
            )


def compute_design(request: bytes, spec: bytes, index: int) -> bytes:
    """Make one design in this process; the task that travels to a worker.

    Only bytes go in and come out: a worker needs this package, not the caller's classes. Errors
    that a user can mend come back in the reply, since trying again would not help.
    """
    question = msgspec.json.decode(request, type=DesignRequest)
    try:
        _require_custom(question)
        runtime = open_runtime(msgspec.json.decode(spec, type=RuntimeSpec))
        reply = Reply(design=encode_design(engine.design_one(question, index, runtime)))
    except ProteinLabError as error:
        reply = Reply(problem=error.problem, remedy=error.remedy)
    return msgspec.msgpack.encode(reply)
