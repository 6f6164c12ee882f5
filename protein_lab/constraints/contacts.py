"""Which residues must touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constants import CA_CA_TRANS
from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.spans import Span, bounds, name, outside_faults, span_faults
from protein_lab.constraints.wells import (
    CB,
    PointEnergy,
    PointRestraint,
    best_of,
    distance,
    well,
)
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

DISTANCE: Final = 8.0
"""Two residues touch when their CB atoms are closer, angstrom (the definition of CASP)."""

NEAREST: Final = 4.0
PULL: Final = 3.0
INWARD: Final = 0.5
OFF_AXIS: Final = 5.0
"""Angstrom by which axis curves may be farther apart than the CB atoms of residues that touch."""

_SOFTNESS: Final = 1.0
"""Temperature in angstrom of the soft minimum over the residues of ranges."""


class Contact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two places that must touch.

    Attributes
    ----------
    first, second : int or (int, int)
        Residue counted from 1, or first and last residue of a range, of which any may touch.
    """

    first: Span
    second: Span


class Contacts(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="contacts",
):
    """Ask that pairs of residues, or of ranges, touch with their CB atoms.

    As the contacts that CASP assesses and the potential ``monomer_contacts`` of RFdiffusion, but
    between named residues.

    Attributes
    ----------
    pairs : tuple of Contact
        Who must touch whom.
    distance : float
        Two residues touch when their CB atoms are nearer, angstrom.
    at_least : int or None
        How many of the pairs must touch; all when it is not given.
    """

    kind: ClassVar[str] = "contacts"

    pairs: Annotated[tuple[Contact, ...], msgspec.Meta(max_length=500)]
    distance: Annotated[float, msgspec.Meta(ge=NEAREST, le=20.0)] = DISTANCE
    at_least: Annotated[int, msgspec.Meta(ge=1, le=500)] | None = None

    @property
    def needed(self) -> int:
        """Number of pairs that must touch."""
        return len(self.pairs) if self.at_least is None else self.at_least

    def faults(self, path: str) -> list[Fault]:
        """Find an empty list, more contacts than pairs, pairs twice and pairs with themselves."""
        if self.pairs is None:
            return []
        found: list[Fault] = []
        if not self.pairs:
            found.append(
                Fault(
                    path=f"{path}.pairs",
                    message="Expected at least one pair, but the list is empty.",
                    remedy='Write for example "pairs": [{"first": 5, "second": 40}].',
                )
            )
        elif self.needed > len(self.pairs):
            found.append(
                Fault(
                    path=f"{path}.at_least",
                    message=f"Expected at most {len(self.pairs)}, the number of pairs, but got "
                    f"{self.at_least}.",
                    remedy="Name more pairs, or ask for fewer contacts.",
                )
            )
        seen: dict[frozenset[Span], int] = {}
        for number, pair in enumerate(self.pairs):
            if pair is None or pair.first is None or pair.second is None:
                continue
            found += _pair_faults(f"{path}.pairs[{number}]", pair)
            key = frozenset((pair.first, pair.second))
            if key in seen:
                found.append(
                    Fault(
                        path=f"{path}.pairs[{number}]",
                        message=f"The same pair stands in {path}.pairs[{seen[key]}].",
                        remedy="Name every pair once.",
                    )
                )
            seen.setdefault(key, number)
        return found

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues outside the chain, and contacts inside one asked helix."""
        found: list[Fault] = []
        for number, pair in enumerate(self.pairs or ()):
            if pair is None or pair.first is None or pair.second is None:
                continue
            place = f"{path}.pairs[{number}]"
            outside = [*outside_faults(f"{place}.first", pair.first, scope)]
            outside += outside_faults(f"{place}.second", pair.second, scope)
            found += outside
            if not outside and self.distance is not None:
                found += self._helix_faults(place, pair, scope.states)
        return found

    def _helix_faults(self, path: str, pair: Contact, states: str) -> Iterator[Fault]:
        """Find residues that one asked helix or strand keeps apart."""
        (_, left), (right, _) = sorted((bounds(pair.first), bounds(pair.second)))
        between = states[left - 1 : right + 1]
        rise = {"H": 1.5, "E": 3.0}.get(between[:1])
        if rise is None or len(between) < right - left + 2 or len(set(between)) > 1:
            return
        least = rise * (len(between) - 1)
        if left <= right and least > self.distance:
            yield Fault(
                path=path,
                message=f"Expected places that can come within {self.distance:g} angstrom, but "
                f"{name(pair.first)} and {name(pair.second)} are asked to be in one "
                f"{'helix' if between[0] == 'H' else 'strand'}, {least:.0f} angstrom apart.",
                remedy="Name other residues, or ask for a loop between them.",
            )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Count the pairs that touch; the margin is how many more they are than must be."""
        from protein_lab.geometry import virtual_cb

        require_length(protein, layout)
        points = virtual_cb(np.asarray(protein.backbone, dtype=np.float64))
        nearest = []
        for pair in self.pairs:
            (a, b), (c, d) = bounds(pair.first), bounds(pair.second)
            apart = np.linalg.norm(points[a:b, None] - points[None, c:d], axis=-1)
            nearest.append(float(apart.min()))
        met = sum(value < self.distance for value in nearest)
        listed = ", ".join(
            f"{name(pair.first)} and {name(pair.second)} {value:.1f}"
            for pair, value in list(zip(self.pairs, nearest, strict=True))[:_SHOWN]
        )
        return Measurement(
            constraint=self.kind,
            value=float(met),
            unit="contacts",
            target=float(self.needed),
            margin=float(met - self.needed),
            verdict="pass" if met >= self.needed else "fail",
            details=f"{met} of {len(self.pairs)} pairs within {self.distance:g} angstrom: {listed}"
            + (" ..." if len(self.pairs) > _SHOWN else ""),
        )

    def restraint(self, layout: Layout) -> PointRestraint:
        """Give an energy that pulls the pairs together, and no more of them than must touch."""
        del layout
        spans = [(bounds(pair.first), bounds(pair.second)) for pair in self.pairs]
        return PointRestraint(
            CB,
            _touching(spans, self.distance - INWARD, self.needed),
            _touching(spans, self.distance + OFF_AXIS, self.needed),
        )


_SHOWN: Final = 10


def _pair_faults(path: str, pair: Contact) -> Iterator[Fault]:
    own = [*span_faults(f"{path}.first", pair.first), *span_faults(f"{path}.second", pair.second)]
    yield from own
    if own:
        return
    (start, stop), (other, end) = sorted((bounds(pair.first), bounds(pair.second)))
    if other < stop:
        yield Fault(
            path=path,
            message=f"Expected places apart, but {name(pair.first)} and {name(pair.second)} "
            "share a residue.",
            remedy="Name two places that have no residue in common.",
        )
    elif CA_CA_TRANS * (end - 1 - start) < DISTANCE:
        yield Fault(
            path=path,
            message=f"{name(pair.first).capitalize()} and {name(pair.second)} are so near in the "
            "chain that they always touch.",
            remedy="Leave the pair out.",
            severity="warning",
        )


def _touching(
    spans: Sequence[tuple[tuple[int, int], tuple[int, int]]], reach: float, needed: int
) -> PointEnergy:
    """Energy of the nearest residues of pairs of ranges."""

    def energy(points: FloatArray) -> tuple[float, FloatArray]:
        energies = np.empty(len(spans))
        slopes = np.empty(len(spans))
        pulls: list[FloatArray] = []
        for number, ((a, b), (c, d)) in enumerate(spans):
            apart, direction = distance(points[a:b, None], points[None, c:d])
            least = apart.min()
            share = np.exp((least - apart) / _SOFTNESS)
            soft = (share * apart).sum() / share.sum()
            # derivative of the weighted mean of the distances
            share = share / share.sum() * (1.0 - (apart - soft) / _SOFTNESS)
            energies[number], slopes[number] = well(soft, -np.inf, reach, PULL)
            pulls.append(share[..., None] * direction)
        total, shares = best_of(energies, needed)
        gradient = np.zeros_like(points)
        for weight, pull, ((a, b), (c, d)) in zip(shares * slopes, pulls, spans, strict=True):
            gradient[a:b] += weight * pull.sum(axis=1)
            gradient[c:d] -= weight * pull.sum(axis=0)
        return total, gradient

    return energy
