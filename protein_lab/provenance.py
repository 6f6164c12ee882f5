"""Where a result comes from: versions, weights, corpus, seed, and seconds of each stage."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from protein_lab import __version__
from protein_lab.design.request import RESULTS_VERSION, DesignRequest
from protein_lab.runtime import Runtime
from protein_lab.store.schema import Design


def provenance(
    request: DesignRequest, runtime: Runtime, designs: Sequence[Design]
) -> dict[str, Any]:
    """Collect what a result came from and how long its stages took.

    Parameters
    ----------
    request : DesignRequest
        The question.
    runtime : Runtime
        What made the designs.
    designs : sequence of Design
        With their timings.
    """
    backend = runtime.operator.backend
    stages = sorted({stage for item in designs for stage in item.timings})
    return {
        "versions": {"python": platform.python_version()} | dict(package_versions(backend.name)),
        "platform": f"{platform.system()} {platform.machine()}",
        "results_version": RESULTS_VERSION,
        "operator": runtime.operator.name,
        "weights_digest": runtime.digest,
        "sequence_weights_digest": runtime.sequence_digest,
        "corpus_digest": runtime.corpus.digest,
        "backend": backend.name,
        "device": backend.device,
        "seed": request.seed,
        "uncertainty": msgspec.to_builtins(
            runtime.calibrator.kind(request.samples_per_design, request.steps)
        ),
        "timings": {
            stage: float(sum(item.timings.get(stage, 0.0) for item in designs)) for stage in stages
        },
    }


def package_versions(backend: str) -> tuple[tuple[str, str], ...]:
    """List the packages that have a part in the bits of a design, with their versions.

    Parameters
    ----------
    backend : str
        Name of the array backend.
    """
    names = ["numpy", "scipy", "biotite", "tmtools"]
    names += [backend] if backend != "numpy" else []
    return (("protein_lab", __version__), *((name, _version(name)) for name in names))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
