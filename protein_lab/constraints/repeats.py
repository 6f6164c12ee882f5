"""A chain of equal units, in a screw or closed to a ring."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, Placement, Restraint, Scope, require_length
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import superimpose
from protein_lab.typing import Fault, FloatArray, IntArray, Measurement

if TYPE_CHECKING:
    from protein_lab.geometry.motion import Array
    from protein_lab.protein import Protein

SHORTEST_UNIT: Final = 10
"""Residues; fewer hold no element with the loops around it."""

_LEAST: Final = {"H": 4, "E": 3}
_JUNCTION: Final = 2
"""Residues of loop at the end of a unit, where the chain was cut within an element."""

_LINEAR_FROM: Final = 2.0
"""Angstrom RMSD beyond which the pull no longer grows."""

Pairs = Sequence[tuple[int, int, str]]


class Repeats(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="repeats",
):
    """Ask that the chain consists of equal units, each led to the next by the same motion.

    Attributes
    ----------
    copies : int
        Number of units.
    unit : int or None
        Residues of a unit; by default the length of the chain says it.
    closed : bool
        Whether the last unit leads to the first again, so that the chain is a ring about an axis;
        otherwise it is a screw with any pitch.
    max_rmsd : float
        Most angstrom RMSD of CA atoms between units.
    """

    kind: ClassVar[str] = "repeats"

    copies: Annotated[int, msgspec.Meta(ge=2, le=40)]
    unit: Annotated[int, msgspec.Meta(ge=SHORTEST_UNIT, le=500)] | None = None
    closed: bool = False
    max_rmsd: Annotated[float, msgspec.Meta(ge=0.1, le=10.0)] = 1.0

    def faults(self, path: str) -> list[Fault]:
        """Find a ring of two units: half a turn about an axis that nothing tells from a screw."""
        if not self.closed or self.copies is None or self.copies > 2:
            return []
        return [
            Fault(
                path=f"{path}.closed",
                message="Two units that are closed to a ring are half a turn apart, a tight ring.",
                remedy="Ask for three units or more, or leave out closed.",
                severity="warning",
            )
        ]

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find a length that is no multiple, and units of which different things are asked."""
        if self.copies is None:
            return []
        if not scope.longest and self.unit is None:
            return [
                Fault(
                    path=f"{path}.unit",
                    message="Expected the residues of a unit, or the length of the chain.",
                    remedy='Add for example "unit": 30.',
                )
            ]
        if scope.longest and not self._lengths(scope.shortest, scope.longest):
            return [self._length_fault(path, scope)]
        return self._state_faults(path, scope.states)

    def place(self, shortest: int, longest: int, rng: np.random.Generator) -> Placement:
        """Draw a length that all units fit into."""
        if not longest and self.unit is not None:
            shortest = longest = self.copies * self.unit
        possible = self._lengths(shortest, longest)
        if not possible:
            raise ProteinLabError(
                f"No length from {shortest} to {longest} has {self.copies} equal units.",
                "Check the request first.",
            )
        length = int(possible[int(rng.integers(len(possible)))])
        return Placement(length, tuple(range(length)), "-" * length)

    def tile(self, states: str, pairs: Pairs) -> tuple[str, list[tuple[int, int, str]]]:
        """Make all units of a blueprint like the first one.

        Where the first unit ends within an element, what is left of it ends in two residues of
        loop, or is loop where it is too short. Pairs within the first unit, and from it to the
        second, are repeated in all others.

        Parameters
        ----------
        states : str
            One letter ``H``, ``E`` or ``L`` a residue.
        pairs : sequence of (first, second, orientation)
            Elements counted from 0 along ``states``.

        Returns
        -------
        states : str
            Of the same length.
        pairs : list of (first, second, orientation)
            Elements counted along the new states.
        """
        size = len(states) // self.copies
        own = states[:size]
        tiled = own * self.copies
        if tiled != states:
            tiled = _with_junction(own, states[size : size + 1]) * self.copies
        before, after = _elements(states), _elements(tiled)
        found: dict[tuple[int, int], str] = {}
        for first, second, orientation in pairs:
            starts = sorted((before[first][0], before[second][0]))
            if starts[0] >= size or starts[1] >= 2 * size:
                continue
            for shift in range(0, len(states), size):
                ends = [
                    _holding(after, sum(before[number]) // 2 + shift) for number in (first, second)
                ]
                if None not in ends and ends[0] != ends[1]:
                    low, high = sorted(number for number in ends if number is not None)
                    found.setdefault((low, high), orientation)
        return tiled, [(*key, found[key]) for key in sorted(found)]

    def equal_positions(self, layout: Layout) -> IntArray:
        """Give the place in its unit of each residue, ``(residue,)``."""
        return np.arange(layout.length) % (layout.length // self.copies)

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Find the largest RMSD in angstrom between units.

        It is the largest of: CA atoms of any two units after their own superposition, and all
        units against their successors under the one motion that leads best from each to the next
        (from the last to the first too, where the chain is closed).
        """
        require_length(protein, layout)
        if protein.num_residues % self.copies:
            raise ProteinLabError(
                f"Expected {self.copies} equal units, but the chain has {protein.num_residues} "
                "residues.",
                "Check the request before evaluating it.",
            )
        units = protein.ca.astype(np.float64).reshape(self.copies, -1, 3)
        alone = max(
            _rmsd(first, second)
            for number, first in enumerate(units)
            for second in units[number + 1 :]
        )
        here, there = self._steps(units)
        together = _rmsd(here.reshape(-1, 3), there.reshape(-1, 3))
        worst = max(alone, together)
        margin = self.max_rmsd - worst
        shape = "closed" if self.closed else "screw"
        return Measurement(
            constraint=self.kind,
            value=worst,
            unit="angstrom",
            target=self.max_rmsd,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details=f"{self.copies} units of {units.shape[1]} residues, {shape}; {alone:.2f} "
            f"between units, {together:.2f} under one motion",
        )

    def restraint(self, layout: Layout) -> Restraint:
        """Pull every unit to where the common motion leads the one before it."""
        if layout.length % self.copies:
            raise ProteinLabError(
                f"Expected {self.copies} equal units in {layout.length} residues.",
                "Check the request first.",
            )
        return RepeatRestraint(self)

    def _steps(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Units, and the unit that follows each; units come first in the shape."""
        if self.closed:
            return units, np.roll(units, -1, axis=0)
        return units[:-1], units[1:]

    def _lengths(self, shortest: int, longest: int) -> list[int]:
        """Lengths within bounds that have equal units."""
        if self.unit is not None:
            length = self.copies * self.unit
            return [length] if shortest <= length <= longest else []
        least = max(shortest, self.copies * SHORTEST_UNIT)
        first = -(-least // self.copies) * self.copies
        return list(range(first, longest + 1, self.copies))

    def _length_fault(self, path: str, scope: Scope) -> Fault:
        if self.unit is not None:
            length = self.copies * self.unit
            return Fault(
                path=f"{path}.unit",
                message=f"{self.copies} units of {self.unit} residues have {length}, but the chain "
                f"has {_range(scope)}.",
                remedy=f"Ask for the length {length}, or for units of another size.",
            )
        least = self.copies * SHORTEST_UNIT
        below = scope.longest // self.copies * self.copies
        near = [length for length in (below, below + self.copies) if length >= least] or [least]
        return Fault(
            path=f"{path}.copies",
            message=f"Expected a length that {self.copies} equal units of at least "
            f"{SHORTEST_UNIT} residues fit into, but the chain has {_range(scope)}.",
            remedy=f"Ask for the length {' or '.join(map(str, near))}.",
        )

    def _state_faults(self, path: str, states: str) -> list[Fault]:
        """Find units of which something else is asked than of the first one."""
        if not states or set(states) <= {"-"} or len(states) % self.copies:
            return []
        size = len(states) // self.copies
        for place, letter in enumerate(states):
            if letter not in ("-", states[place % size]):
                wanted = states[place % size]
                what = "nothing is asked" if wanted == "-" else f"{wanted} is asked"
                return [
                    Fault(
                        path=path,
                        message=f"Expected equal units, but {letter} is asked of residue "
                        f"{place + 1} and {what} of residue {place % size + 1} in the first unit.",
                        remedy="Ask for the states of the first unit; the others repeat them.",
                    )
                ]
        return []


class RepeatRestraint:
    """Energy of the deviation of units from where one common motion leads them.

    The motion is the best one for the chain as it is; by the envelope theorem the derivative is
    the partial one at that motion.

    Parameters
    ----------
    asked : Repeats
        The constraint.
    """

    def __init__(self, asked: Repeats) -> None:
        self._asked = asked

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of N, CA, C and CB, ``(residue, 4, 3)``, and its gradient."""
        return self._energy(np.asarray(atoms, dtype=np.float64))

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, ``(residue, 3)``, and its gradient."""
        energy, gradient = self._energy(np.asarray(curve, dtype=np.float64)[:, None])
        return energy, gradient[:, 0]

    def _energy(self, points: Array) -> tuple[float, Array]:
        copies = self._asked.copies
        residues, kinds, _ = points.shape
        here, there = self._asked._steps(points.reshape(copies, -1, 3))
        rotation, translation = superimpose(here.reshape(-1, 3), there.reshape(-1, 3))
        off = here @ rotation.T + translation - there
        rmsd = float(np.sqrt((off**2).sum(-1).mean() + 1e-12))
        # each residue counts once, however many of its atoms are seen
        count = residues * len(here) / copies
        slope = 2.0 * min(rmsd, _LINEAR_FROM)
        energy = count * (slope * rmsd - slope**2 / 4.0)
        force = count * slope / rmsd * off / (off.shape[0] * off.shape[1])
        gradient = np.zeros((copies, residues // copies * kinds, 3))
        gradient[: len(here)] += force @ rotation
        following = (np.arange(len(here)) + 1) % copies
        gradient[following] -= force
        return energy, gradient.reshape(points.shape)


def _rmsd(mobile: FloatArray, fixed: FloatArray) -> float:
    rotation, translation = superimpose(mobile, fixed)
    off = mobile @ rotation.T + translation - fixed
    return float(np.sqrt((off**2).sum(-1).mean()))


def _range(scope: Scope) -> str:
    if scope.shortest == scope.longest:
        return f"{scope.longest} residues"
    return f"{scope.shortest} to {scope.longest} residues"


def _elements(states: str) -> list[tuple[int, int]]:
    """Start and stop of all helices and strands along a chain."""
    found, start = [], 0
    for state, run in groupby(states):
        stop = start + len(list(run))
        if state in _LEAST:
            found.append((start, stop))
        start = stop
    return found


def _holding(elements: Sequence[tuple[int, int]], residue: int) -> int | None:
    """Find the element that holds a residue; None where there is none."""
    for number, (start, stop) in enumerate(elements):
        if start <= residue < stop:
            return number
    return None


def _with_junction(unit: str, following: str) -> str:
    """End a unit in loop where it was cut within an element."""
    last = unit[-1]
    if last == "L" or (last != following and last != unit[0]):
        return unit
    size = len(unit) - len(unit.rstrip(last))
    kept = size - _JUNCTION if size - _JUNCTION >= _LEAST[last] else 0
    return unit[: len(unit) - size] + last * kept + "L" * (size - kept)
