"""The port that everybody who keeps or looks for results goes through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from protein_lab.store.schema import Design, DesignResult

LifecycleClass = Literal["hot", "warm", "cold"]
"""How the bytes of record of a result are kept: as they were written, or packed."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stored result, as the index knows it.

    Attributes
    ----------
    request_id : str
        What it is found by.
    name : str
        The request's name.
    created_at, accessed_at : datetime
        UTC.
    num_designs, num_accepted : int
        How many it holds, and how many no check or constraint refuses.
    length : int
        Residues of the longest design.
    operator : str
        Name of the operator.
    constraints : tuple of str
        Kinds that were asked for.
    size : int
        Bytes of record.
    lifecycle : {"hot", "warm", "cold"}
        How they are kept.
    held : str
        Reason of a legal hold; empty without one.
    outcome : str
        What came out, in a sentence.
    """

    request_id: str
    name: str
    created_at: datetime
    accessed_at: datetime
    num_designs: int
    num_accepted: int
    length: int
    operator: str
    constraints: tuple[str, ...]
    size: int
    lifecycle: LifecycleClass = "hot"
    held: str = ""
    outcome: str = ""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which results are looked for; what is None does not matter.

    Attributes
    ----------
    text : str or None
        Part of the name or beginning of the request id.
    operator, constraint : str or None
        Name of the operator; a kind of constraint.
    lifecycle : str or None
        How the bytes are kept.
    min_accepted : int or None
        Accepted designs at least.
    since, until : datetime or None
        When the result was made.
    order : {"created_at", "accessed_at", "num_accepted", "size", "name"}
        Sorted by; times and numbers descend.
    limit, offset : int
        Page.
    """

    text: str | None = None
    operator: str | None = None
    constraint: str | None = None
    lifecycle: LifecycleClass | None = None
    min_accepted: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    order: Literal["created_at", "accessed_at", "num_accepted", "size", "name"] = "created_at"
    limit: int = 100
    offset: int = 0


class TierStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What happened at one tier since the store was opened.

    Attributes
    ----------
    name : str
        The tier.
    hits, misses, promotions, writes : int
        Promotions are copies that came up from a slower tier.
    errors, damaged : int
        Calls that failed or came too late, and values that were not what was written.
    is_open : bool
        Whether its circuit breaker keeps calls away just now.
    usage : int or None
        Bytes; None where it does not answer.
    """

    name: str
    hits: int
    misses: int
    promotions: int
    writes: int
    errors: int
    damaged: int
    is_open: bool
    usage: int | None


class ResultStore(Protocol):
    """Keeps results, and the designs of runs that are not finished."""

    def get(self, request_id: str) -> DesignResult | None:
        """Read a result from the fastest tier that has it, and copy it into the faster ones.

        Raises
        ------
        IntegrityError
            When every copy is damaged.
        StoreError
            When the bytes of record cannot be reached.
        """
        ...

    def put(self, result: DesignResult) -> None:
        """Keep a result for good; when this returns, no crash loses it.

        One that is there already under its id stays as it is.

        Raises
        ------
        StoreError
            When the bytes of record or the index cannot be written; nothing half is left.
        """
        ...

    def delete(self, request_id: str) -> None:
        """Remove a result from all tiers.

        Raises
        ------
        StoreError
            When it is under a legal hold.
        """
        ...

    def find(self, query: RunQuery | None = None) -> list[RunRow]:
        """List results."""
        ...

    def count(self, query: RunQuery | None = None) -> int:
        """Count results, whatever the page."""
        ...

    def keep_design(self, request_id: str, design: Design) -> None:
        """Keep a design of a run that is not finished; the same index again changes nothing."""
        ...

    def kept_designs(
        self, request_id: str, indices: Iterable[int] | None = None
    ) -> dict[int, Design]:
        """Read designs of a run that is not finished, by index; damaged ones are left out."""
        ...

    def forget_designs(self, request_id: str) -> None:
        """Remove the single designs of a run, as when its result is stored."""
        ...

    def preload(self, request_ids: Sequence[str]) -> None:
        """Copy results into the fast tiers in the background."""
        ...

    def statistics(self) -> list[TierStatistics]:
        """Tell what happened at each tier, the fastest first."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...
