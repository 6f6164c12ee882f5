"""What every executor does, and what it needs to know of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol

import msgspec

from protein_lab import engine
from protein_lab.design.request import RESULTS_VERSION, DesignRequest
from protein_lab.errors import ExecutionError
from protein_lab.provenance import package_versions
from protein_lab.settings import Settings
from protein_lab.store.schema import Design

_OPENING = Lock()
"""Two threads that open the same runtime at once would both load it."""

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
    versions : tuple of (str, str)
        Packages, with their versions, that the worker must have.
    weights, corpus : str or None
        Places of the assets when they are not those of the package.
    """

    operator: str
    backend: str
    weights_digest: str = ""
    corpus_digest: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    weights: str | None = None
    corpus: str | None = None

    def settings(self) -> Settings:
        """Take this process's settings, with the given places of the assets."""
        places = {"weights": self.weights, "corpus": self.corpus}
        given = {name: Path(place) for name, place in places.items() if place is not None}
        return msgspec.structs.replace(Settings.from_environment(), **given)


class Executor(Protocol):
    """Makes designs somewhere."""

    keeps_designs: bool
    """Whether designs are in the store already when they are handed over."""

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


def open_runtime(spec: RuntimeSpec) -> engine.Runtime:
    """Open a runtime once per process.

    Raises
    ------
    ExecutionError
        When packages, weights or corpus here are not those of the specification.
    """
    with _OPENING:
        return _open_runtime(spec)


@lru_cache(maxsize=4)
def _open_runtime(spec: RuntimeSpec) -> engine.Runtime:
    here = dict(_versions(spec.backend))
    other = [
        f"{name} {version}, but has {here.get(name, 'none')}"
        for name, version in spec.versions
        if here.get(name) != version
    ]
    if other:
        raise ExecutionError(
            f"A worker expected {'; '.join(other)}.",
            "Install the same versions on every worker; others might give other designs.",
        )
    runtime = engine.Runtime.open(spec.operator, backend=spec.backend, settings=spec.settings())
    found = spec_of(runtime)
    for asset in ("weights_digest", "corpus_digest"):
        wanted, here_too = getattr(spec, asset), getattr(found, asset)
        if wanted and wanted != here_too:
            raise ExecutionError(
                f"A worker expected {asset.replace('_', ' ')} {wanted[:12]}, but has "
                f"{here_too[:12]}.",
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
        versions=_versions(runtime.operator.backend.name),
        weights=None if used.weights == default.weights else str(used.weights.resolve()),
        corpus=None if used.corpus == default.corpus else str(used.corpus.resolve()),
    )


def _versions(backend: str) -> tuple[tuple[str, str], ...]:
    """List what must agree: packages, and the number that says when designs changed."""
    return (*package_versions(backend), ("results", str(RESULTS_VERSION)))
