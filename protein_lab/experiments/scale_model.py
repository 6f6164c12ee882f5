"""What many designs on many nodes would cost, from what was measured on one machine.

The model is plain division. Compute and writing of objects go on in every worker and so shrink
with their number; one scheduler and one index are shared by all, and are what breaks first.
"""

from __future__ import annotations

from typing import Final

import msgspec

from protein_lab.experiments.rows import Row
from protein_lab.experiments.timing import plain_row

_HOUR: Final = 3600.0


class Constants(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes
    ----------
    design, overhead : float
        Seconds of a design on one core, and what the executor adds to each.
    tasks : float
        Tasks a second that one scheduler passes on.
    put, get : float
        Seconds to write and to read one object.
    rows : float
        Rows a second that one index takes.
    listed : float
        Objects a second that are listed.
    size : float
        Bytes of record of a design.
    objects : float
        Objects of a result.
    """

    design: float
    overhead: float
    tasks: float
    put: float
    get: float
    rows: float
    listed: float
    size: float
    objects: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the model.

    Attributes
    ----------
    nodes, workers : int
        Nodes, and workers of each.
    designs, designs_a_result : int
        Designs in all, and those of one request.
    """

    nodes: int = 100
    workers: int = 32
    designs: int = 10_000_000
    designs_a_result: int = 8

    @property
    def results(self) -> float:
        """Number of requests."""
        return self.designs / self.designs_a_result


def hours(constants: Constants, plan: Plan) -> dict[str, float]:
    """Tell how long each part would need if it had nothing to wait for.

    Parameters
    ----------
    constants : Constants
        Measured.
    plan : Plan
        Asked for.

    Returns
    -------
    dict of str to float
        Hours of ``workers``, of one ``scheduler`` and of one ``index``; the longest is that of
        the whole.
    """
    each = constants.design + constants.overhead + constants.put
    # a result is put together from its single designs, and written as its own objects
    each += constants.get + constants.objects * constants.put / plan.designs_a_result
    return {
        "workers": plan.designs * each / (plan.nodes * plan.workers) / _HOUR,
        "scheduler": plan.designs / constants.tasks / _HOUR,
        "index": plan.results / constants.rows / _HOUR,
    }


def full_at(constants: Constants, plan: Plan) -> dict[str, float]:
    """Tell at how many nodes what all share is full."""
    spent = hours(constants, plan)
    return {part: plan.nodes * spent["workers"] / spent[part] for part in ("scheduler", "index")}


def model_rows(constants: Constants, plan: Plan | None = None) -> list[Row]:
    """Give what the plan would cost, and where it would break first.

    Parameters
    ----------
    constants : Constants
        Measured.
    plan : Plan or None
        By default 10 million designs on 100 nodes of 32 workers.
    """
    plan = plan or Plan()
    return [
        *_hour_rows(constants, plan),
        *_size_rows(constants, plan),
        *_limit_rows(constants, plan),
    ]


def _hour_rows(constants: Constants, plan: Plan) -> list[Row]:
    spent = hours(constants, plan)
    slowest = max(spent, key=lambda part: spent[part])
    asked = f"{plan.designs:,} designs, {plan.nodes} nodes of {plan.workers} workers"
    alone = "If nothing else took time."
    busy = plan.designs * (constants.design + constants.overhead) / _HOUR
    return [
        plain_row("model: hours", spent[slowest], "h", f"{asked}; the {slowest} decides."),
        *(
            plain_row(f"model: hours of the {part}", value, "h", alone)
            for part, value in spent.items()
        ),
        plain_row("model: core hours", busy, "h", "Designs and what the executor adds."),
    ]


def _size_rows(constants: Constants, plan: Plan) -> list[Row]:
    objects = plan.results * constants.objects
    each = f"{constants.objects:.0f} each of {plan.results:,.0f} results."
    listing = objects / constants.listed / _HOUR
    writes = "Each design by itself when it is finished, and the objects of results."
    reads = "Single designs, to put results together."
    lists = "All objects one after the other, as to collect orphans or to build the index anew."
    size = plan.designs * constants.size / 1e9
    return [
        plain_row("model: bytes", size, "GB", "Of record, hot."),
        plain_row("model: objects", objects, "count", each),
        plain_row("model: writes of objects", plan.designs + objects, "count", writes),
        plain_row("model: reads of objects", float(plan.designs), "count", reads),
        plain_row("model: hours to list", listing, "h", lists),
    ]


def _limit_rows(constants: Constants, plan: Plan) -> list[Row]:
    full = full_at(constants, plan)
    first = min(full, key=lambda part: full[part])
    note = f"Of {plan.workers} workers; beyond, more nodes make nothing faster."
    return [
        *(
            plain_row(f"model: nodes that fill the {part}", nodes, "nodes", note)
            for part, nodes in full.items()
        ),
        plain_row("model: breaks first", full[first], "nodes", f"The {first}."),
    ]
