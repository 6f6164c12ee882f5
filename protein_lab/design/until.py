"""When a search for enough accepted designs ends, and what it has learned by then.

Designs are counted in the order of their indices, whatever the order in which they are finished,
so that where a search ends does not depend on the number of workers. Only ``seconds`` is a clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from protein_lab.typing import Fault, Measurement

MOST_SAMPLES: Final = 100_000
"""Designs after which every search ends, so that one with a clock alone ends on any machine."""

FEWEST_LOOKS: Final = 20
"""Designs that are made before a search may be called hopeless."""

HOPELESS_BELOW: Final = 0.05
"""A search is hopeless when it succeeds with less than this probability."""

_MOST_NAMED: Final = 2

StopReason = Literal["accepted", "max_samples", "seconds", "hopeless"]


class Until(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long designs are made; at least one of ``max_samples`` and ``seconds`` is needed.

    Attributes
    ----------
    accepted : int
        Enough designs that pass every check and constraint.
    max_samples : int or None
        Most designs that are made. With it a search also ends when it is hopeless: when, after at
        least 20 designs and with all acceptance rates equally likely beforehand, the probability
        of enough accepted ones among the rest is below 5 %.
    seconds : float or None
        Seconds on the wall clock after which no further design is counted. Where that ends a
        search depends on the machine.
    """

    accepted: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    max_samples: Annotated[int, msgspec.Meta(ge=1, le=MOST_SAMPLES)] | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=10_000_000.0)] | None = None

    @property
    def most(self) -> int:
        """Most designs that are made."""
        return MOST_SAMPLES if self.max_samples is None else self.max_samples

    def faults(self, path: str) -> list[Fault]:
        """Find a search that might never end, or cannot succeed.

        Parameters
        ----------
        path : str
            JSON path of these values.
        """
        if self.max_samples is None and self.seconds is None:
            message = "Expected max_samples, seconds or both, but got neither: it might never end."
            remedy = 'Add for example "max_samples": 200.'
            return [Fault(path=path, message=message, remedy=remedy)]
        if None not in (self.accepted, self.max_samples) and self.most < self.accepted:
            return [
                Fault(
                    path=f"{path}.max_samples",
                    message=f"Expected at least {self.accepted} samples, as many as shall be "
                    f"accepted, but got {self.max_samples}.",
                    remedy="Allow more samples, or ask for fewer accepted designs.",
                )
            ]
        return []


class Relaxation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one constraint costs.

    Attributes
    ----------
    path : str
        JSON path of the constraint.
    constraint : str
        Its kind.
    num_failed : int
        Designs that fail it.
    num_accepted_without : int
        Designs that would be accepted if it were not asked.
    median_miss : float or None
        By how much designs that fail it miss it, at the median; None where that has no number.
    unit : str
        Of ``median_miss``.
    """

    path: str
    constraint: str
    num_failed: int
    num_accepted_without: int
    median_miss: float | None
    unit: str


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a search for accepted designs went.

    Attributes
    ----------
    stopped_by : {"accepted", "max_samples", "seconds", "hopeless"}
        Why it ended.
    reason : str
        The same in words, with the figures.
    num_wanted : int
        Accepted designs that were asked for.
    num_made : int
        Designs that were made and counted: those with the indices 0 to ``num_made - 1``.
    num_accepted : int
        Accepted ones among them; all are kept.
    num_near_misses : int
        Best of the others; they are kept too, the rest is not.
    chance : float or None
        Probability, at the end, that enough would have been accepted within ``max_samples``.
    """

    stopped_by: StopReason
    reason: str
    num_wanted: int
    num_made: int
    num_accepted: int
    num_near_misses: int = 0
    chance: float | None = None


def chance_of_success(num_made: int, num_accepted: int, until: Until) -> float:
    """Probability that enough designs are accepted within the samples that are left.

    With all acceptance rates equally likely beforehand, the number of accepted designs among the
    rest has a beta-binomial distribution. This probability is a martingale, so looking at it after
    every design does not raise the share of searches that are given up wrongly.

    Parameters
    ----------
    num_made, num_accepted : int
        Designs so far.
    until : Until
        What is wanted; without ``max_samples`` the rest is that of :data:`MOST_SAMPLES`.
    """
    from scipy.stats import betabinom

    missing = until.accepted - num_accepted
    rest = until.most - num_made
    if missing <= 0:
        return 1.0
    if missing > rest:
        return 0.0
    rate = (num_accepted + 1, num_made - num_accepted + 1)
    return float(betabinom.sf(missing - 1, rest, *rate))


class Tally:
    """Counts designs in the order of their indices and tells when there are enough.

    The clock of a search starts when its tally is made.

    Parameters
    ----------
    until : Until or None
        When to end; None where a fixed number is made.
    num_designs : int
        That number.
    exactly : int or None
        Of a search, take exactly this many, whatever else would end it: as an earlier run did.
    """

    def __init__(self, until: Until | None, num_designs: int, exactly: int | None = None) -> None:
        self.until = until
        self.num_made = 0
        self.num_accepted = 0
        self._most = num_designs if until is None else until.most
        self._exactly = None if until is None else exactly
        self._reason: StopReason | None = None
        self._waiting: dict[int, bool] = {}
        self._start = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether no further design counts."""
        return self._reason is not None

    def indices(self) -> range:
        """Give the indices of all designs that may be made."""
        return range(self._most if self._exactly is None else self._exactly)

    def take(self, index: int, accepted: bool) -> None:
        """Count one design, as soon as all with lower indices are there.

        Parameters
        ----------
        index : int
            Number of the design.
        accepted : bool
            Whether it passes every check and constraint.
        """
        self._waiting[index] = accepted
        while not self.is_over and self.num_made in self._waiting:
            self.num_accepted += self._waiting.pop(self.num_made)
            self.num_made += 1
            self._reason = self._reason_to_stop()

    def look_at_clock(self) -> None:
        """End a search whose time is over, but never before its first design."""
        until = self.until
        if until is None or until.seconds is None or self._exactly is not None or self.is_over:
            return
        if self.num_made and time.monotonic() - self._start >= until.seconds:
            self._reason = "seconds"

    def search(self) -> Search | None:
        """Tell how a search went; None where a fixed number was made."""
        if self.until is None:
            return None
        chance = None
        if self.until.max_samples is not None:
            chance = chance_of_success(self.num_made, self.num_accepted, self.until)
        return Search(
            stopped_by=self._reason or "seconds",
            reason=self._words(self.until, chance),
            num_wanted=self.until.accepted,
            num_made=self.num_made,
            num_accepted=self.num_accepted,
            chance=chance,
        )

    def _reason_to_stop(self) -> StopReason | None:
        found = self._reason_by_counts()
        if self._exactly is None:
            return found
        return (found or "seconds") if self.num_made >= self._exactly else None

    def _reason_by_counts(self) -> StopReason | None:
        if self.until is not None and self.num_accepted >= self.until.accepted:
            return "accepted"
        if self.num_made >= self._most:
            return "max_samples"
        if self.until is None or self.until.max_samples is None or self.num_made < FEWEST_LOOKS:
            return None
        chance = chance_of_success(self.num_made, self.num_accepted, self.until)
        return "hopeless" if chance < HOPELESS_BELOW else None

    def _words(self, until: Until, chance: float | None) -> str:
        counts = f"{self.num_accepted} of {self.num_made} designs made were accepted"
        match self._reason:
            case "accepted":
                return f"{counts}: as many as asked."
            case "max_samples":
                return f"{counts}; no more than {until.most} may be made."
            case "hopeless":
                return (
                    f"{counts}: the probability of {until.accepted} within "
                    f"{until.most} is {chance:.1%}, less than {HOPELESS_BELOW:.0%}."
                )
        return f"{counts}; the {until.seconds:g} seconds were over."


def relaxations(
    kinds: Sequence[str],
    measured: Sequence[Sequence[Measurement]],
    losses: Sequence[int],
) -> tuple[Relaxation, ...]:
    """Tell for each constraint that a design fails what it costs, the costliest first.

    Parameters
    ----------
    kinds : sequence of str
        Kinds of the constraints in the order of the request.
    measured : sequence of sequence of Measurement
        For each design with a backbone, one measurement a constraint in the same order.
    losses : sequence of int
        For each of these designs the number of checks and constraints that it fails.
    """
    found = []
    for number, kind in enumerate(kinds):
        items = [(own[number], lost) for own, lost in zip(measured, losses, strict=True)]
        failed = [item for item, _ in items if item.verdict in ("fail", "not_run")]
        if not failed:
            continue
        spared = sum(lost == 0 for lost in losses) + sum(
            lost == 1 and item.verdict in ("fail", "not_run") for item, lost in items
        )
        missed = sorted(-item.margin for item in failed if item.margin is not None)
        found.append(
            Relaxation(
                path=f"$.constraints[{number}]",
                constraint=kind,
                num_failed=len(failed),
                num_accepted_without=spared,
                median_miss=_median(missed),
                unit=failed[0].unit,
            )
        )
    return tuple(sorted(found, key=lambda item: (-item.num_accepted_without, -item.num_failed)))


def advice(found: Sequence[Relaxation], num_accepted: int) -> str:
    """Say which constraints to relax; nothing where that would not give more designs.

    Parameters
    ----------
    found : sequence of Relaxation
        The costliest first.
    num_accepted : int
        Designs that are accepted as it is.
    """
    sentences = []
    for item in found[:_MOST_NAMED]:
        if item.num_accepted_without <= num_accepted:
            continue
        missed = (
            "" if item.median_miss is None
            else f"; it is missed by {item.median_miss:.2g} {item.unit} at the median"
        )  # fmt: skip
        sentences.append(
            f"Without {item.path} ({item.constraint}) {item.num_accepted_without} would be "
            f"accepted{missed}."
        )
    return " ".join(sentences)


def _median(values: Sequence[float]) -> float | None:
    if not values:
        return None
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2.0
