"""The parts of the quality benchmark: what is designed with what, to be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from protein_lab.experiments.quality_energy import energy_backbones
from protein_lab.experiments.quality_measures import (
    Case,
    Tally,
    measure_backbones,
    measure_case,
    measure_designs,
)
from protein_lab.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Part:
    """One part.

    Attributes
    ----------
    name : str
        What it is asked for by; its rows begin with it.
    operator : str or None
        Operator that makes the fine field; None for the one that the benchmark is run for.
    prior : {"library", "polymer"}
        Where coarse curves come from.
    novel_fold : bool
        Whether blueprints come from chains whose fold no chain of the library has.
    is_main : bool
        Whether it gets as many designs as asked; others get fewer, for they are many.
    """

    name: str
    operator: str | None = None
    prior: Literal["library", "polymer"] = "library"
    novel_fold: bool = False
    is_main: bool = False


PARTS: Final = {
    part.name: part
    for part in (
        Part("designs", is_main=True),
        Part("fno", "fno"),
        Part("deeponet", "deeponet"),
        Part("transformer", "transformer"),
        Part("energy only"),
        Part("polymer", prior="polymer", is_main=True),
        Part("novel folds", novel_fold=True, is_main=True),
    )
}
"""By name. ``designs`` also measures native chains, nearest folds and ideal elements joined."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One blueprint of one part."""

    part: str
    case: Case
    operator: str
    backend: str | None


def measure_job(job: Job, runtime: Runtime) -> dict[str, Tally]:
    """Design for one blueprint and measure.

    Parameters
    ----------
    job : Job
    runtime : Runtime
        With the operator of the job.

    Returns
    -------
    dict of str to Tally
        By prefix of the rows.
    """
    part = PARTS[job.part]
    if part.name == "designs":
        return measure_case(job.case, runtime)
    prefix = f"{part.name}: "
    if part.name == "energy only":
        backbones = energy_backbones(job.case.blueprint, job.case.request)
        return {prefix: measure_backbones(job.case, backbones, runtime)}
    request = msgspec.structs.replace(job.case.request, prior=part.prior)
    return {prefix: measure_designs(replace(job.case, request=request), runtime)}
