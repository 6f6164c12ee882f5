"""Which backbone hydrogen bonds a blueprint asks for.

Helices bond the amide of residue i + 4 to the carbonyl of residue i. In sheets the blueprint says
which strands lie side by side, but not which residue faces which (the *register*) and not whether
even or odd residues bond (the *parity*, which the pleat decides). Both are read off the current
coordinates: for every row of one strand each (register, parity) has a cost, and the cheapest path
through the rows is found by dynamic programming, in which a change of register, a beta bulge, is
penalized.

Patterns (Kabsch & Sander, Biopolymers 22, 1983; donor -> acceptor): antiparallel pairs i, j with
i + j fixed bond i -> j and j -> i at every second row; parallel pairs with i - j fixed bond
i -> j - 1 and j + 1 -> i at every second row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from protein_lab.design.virtual_atoms import ALPHA, HYDROGEN, NITROGEN, OXYGEN
from protein_lab.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from protein_lab.design.blueprint import Blueprint, Element, Pair

_BOND_REWARD = 2.0
_BOND_LENGTH = 2.9
_BOND_SPREAD = 1.8
_BOND_CEILING = 4.5
_ANGLE_COST = 1.2
_TAKEN_COST = 3.0
_PAIR_DISTANCE = 5.0
_PAIR_SPREAD = 1.5
_PAIR_WEIGHT = 1.0
_BONDED_NEAR = 0.5
_BULGE_COST = 6.0
_WISH = 0.7
"""Worth of one more strand residue in a ladder; more of it costs clashes."""
_MIN_LOOP = 3
_READY_COST = -1.5
_NEIGHBOR_REACH = 7.5
_NEIGHBOR_COST = -6.0
"""Path cost below which two strands that nothing is asked of count as neighbors."""


@dataclass(frozen=True, slots=True)
class _Ladder:
    """The cheapest bonding pattern of two strands."""

    cost: float
    bonds: tuple[tuple[int, int], ...]


def helix_bonds(secondary_structure: str) -> list[tuple[int, int]]:
    """Donor and acceptor residues of the bonds that make DSSP assign the asked helices.

    A helix a..b of DSSP needs the 4-turns that start at a - 1 to b - 3; runs shorter than four
    residues cannot be alpha-helices and get none.
    """
    bonds = []
    length = len(secondary_structure)
    for start, stop in _runs(secondary_structure, "H"):
        if stop - start < 4:
            continue
        for acceptor in range(max(start - 1, 0), min(stop - 3, length - 4)):
            bonds.append((acceptor + 4, acceptor))
    return bonds


def sheet_bonds(
    atoms: FloatArray, blueprint: Blueprint, taken: list[tuple[int, int]], reach: float
) -> list[tuple[int, int]]:
    """Donor and acceptor residues of the ladders that suit the coordinates best.

    Parameters
    ----------
    atoms : (residue, 6, 3) array
        Coordinates as made by :func:`protein_lab.design.restraints.expand`.
    blueprint : Blueprint
        Strands and their pairs. A strand in no pair is paired with strands that lie ready.
    taken : list of (donor, acceptor)
        Bonds whose donors and acceptors are no longer free.
    reach : float
        Highest cost of a bond that is still wanted, -2 where it lies ready, 2.5 where N and O are
        more than 6.7 angstrom apart.

    Returns
    -------
    list of (donor, acceptor)
        Every donor and every acceptor occurs at most once.
    """
    free_donor = np.ones(len(atoms), dtype=bool)
    free_donor[0] = False
    free_acceptor = np.ones(len(atoms), dtype=bool)
    free_acceptor[-1] = False
    _take(taken, free_donor, free_acceptor)
    costs = _bond_costs(atoms)
    wish = _wishes(blueprint)
    candidates = _candidates(atoms, blueprint)
    near = _pairing_costs(atoms)
    ranked = []
    for number, candidate in enumerate(candidates):
        ladder = _best_ladder(near, costs, wish, candidate, free_donor, free_acceptor, reach)
        if candidate.asked or ladder.cost < _NEIGHBOR_COST:
            ranked.append((not candidate.asked, ladder.cost, number, ladder))
    bonds: list[tuple[int, int]] = []
    for _, _, number, found in sorted(ranked, key=lambda item: item[:3]):
        candidate, ladder = candidates[number], found
        if not _all_free(ladder.bonds, free_donor, free_acceptor):
            ladder = _best_ladder(near, costs, wish, candidate, free_donor, free_acceptor, reach)
        if candidate.asked or ladder.cost < _NEIGHBOR_COST:
            fresh = [
                (donor, acceptor)
                for donor, acceptor in ladder.bonds
                if free_donor[donor] and free_acceptor[acceptor]
            ]
            _take(fresh, free_donor, free_acceptor)
            bonds.extend(fresh)
    strand = np.array([state == "E" for state in blueprint.secondary_structure])
    open_ends = np.outer(free_donor & strand, free_acceptor & strand)
    bonds.extend(_ready_bonds(np.where(open_ends, costs, np.inf)))
    return bonds


def _ready_bonds(costs: FloatArray) -> list[tuple[int, int]]:
    """Bonds that exist already, cheapest first: bulges and strands too short for a ladder."""
    donors, acceptors = np.nonzero(costs < _READY_COST)
    order = np.lexsort((acceptors, donors, costs[donors, acceptors]))
    bonds: list[tuple[int, int]] = []
    for donor, acceptor in zip(donors[order].tolist(), acceptors[order].tolist(), strict=True):
        used = any(donor == one or acceptor == other for one, other in bonds)
        if not used and abs(donor - acceptor) >= _MIN_LOOP:
            bonds.append((donor, acceptor))
    return bonds


def bond_energies(atoms: FloatArray, bonds: IntArray) -> FloatArray:
    """Kabsch-Sander energies, kcal/mol, of given donor and acceptor residues.

    Parameters
    ----------
    atoms : (residue, 6, 3) array
        Coordinates as made by :func:`protein_lab.design.restraints.expand`.
    bonds : (bond, 2) array
        Donor and acceptor residues.
    """
    donor, acceptor = atoms[bonds[:, 0]], atoms[bonds[:, 1]]

    def inverse(first: int, second: int) -> FloatArray:
        return 1.0 / np.linalg.norm(donor[:, first] - acceptor[:, second], axis=-1)

    carbon = 2
    return 27.9 * (
        inverse(NITROGEN, OXYGEN)
        + inverse(HYDROGEN, carbon)
        - inverse(HYDROGEN, OXYGEN)
        - inverse(NITROGEN, carbon)
    )


def _runs(secondary_structure: str, letter: str) -> list[tuple[int, int]]:
    """Half-open ranges of consecutive residues with one state."""
    inside = np.array([state == letter for state in f" {secondary_structure} "])
    edges = np.nonzero(inside[1:] != inside[:-1])[0]
    return [(int(a), int(b)) for a, b in zip(edges[0::2], edges[1::2], strict=True)]


def _take(bonds: list[tuple[int, int]], free_donor: BoolArray, free_acceptor: BoolArray) -> None:
    for donor, acceptor in bonds:
        free_donor[donor] = False
        free_acceptor[acceptor] = False


def _all_free(
    bonds: Iterable[tuple[int, int]], free_donor: BoolArray, free_acceptor: BoolArray
) -> bool:
    return all(free_donor[donor] and free_acceptor[acceptor] for donor, acceptor in bonds)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Two strands that may form a ladder; ``asked`` tells whether the blueprint pairs them."""

    first: Element
    second: Element
    parallel: bool
    asked: bool


def _candidates(atoms: FloatArray, blueprint: Blueprint) -> list[_Candidate]:
    """Pairs of strands to try: those asked for, and strands in no pair with their neighbors."""
    elements = blueprint.elements
    found: list[_Candidate] = []
    paired = set()
    for pair in _strand_pairs(blueprint):
        first, second = elements[pair.first], elements[pair.second]
        found.append(_Candidate(first, second, pair.orientation == "parallel", True))
        paired.update((pair.first, pair.second))
    strands = [number for number, element in enumerate(elements) if element.kind == "E"]
    for place, one in enumerate(strands):
        for other in strands[place + 1 :]:
            if one in paired and other in paired:
                continue
            first, second = elements[one], elements[other]
            if _nearest(atoms, first, second) > _NEIGHBOR_REACH:
                continue
            parallel = _same_direction(atoms, first, second)
            found.append(_Candidate(first, second, parallel, False))
    return found


def _strand_pairs(blueprint: Blueprint) -> list[Pair]:
    """Pairs of the blueprint that are ladders."""
    elements = blueprint.elements
    return [
        pair
        for pair in blueprint.pairs
        if elements[pair.first].kind == elements[pair.second].kind == "E"
        and pair.orientation != "crossing"
    ]


def _wishes(blueprint: Blueprint) -> FloatArray:
    """How much a row of bonds at each residue is worth beside its bonds.

    A row assigns its own residue, and with the next row but one the residue between, so the row
    just outside a strand counts too. A strand with one neighbor needs its partner most.
    """
    elements = blueprint.elements
    partners = Counter(
        end for pair in _strand_pairs(blueprint) for end in (pair.first, pair.second)
    )
    wish = np.zeros(blueprint.length)
    for number, element in enumerate(elements):
        if element.kind == "E":
            wish[element.start : element.stop] = _WISH / max(partners[number], 1)
    wish[1:-1] += 0.5 * (wish[:-2] + wish[2:])
    return wish


def _nearest(atoms: FloatArray, first: Element, second: Element) -> float:
    one, other = (atoms[e.start : e.stop, ALPHA] for e in (first, second))
    return float(np.linalg.norm(one[:, None] - other[None], axis=-1).min())


def _same_direction(atoms: FloatArray, first: Element, second: Element) -> bool:
    ends = [atoms[e.stop - 1, ALPHA] - atoms[e.start, ALPHA] for e in (first, second)]
    return bool(np.dot(ends[0], ends[1]) > 0.0)


def _bond_costs(atoms: FloatArray) -> FloatArray:
    """Cost ``(donor, acceptor)`` of each possible bond; negative where it lies ready."""
    nitrogen, oxygen = atoms[:, NITROGEN], atoms[:, OXYGEN]
    reach = oxygen[None] - nitrogen[:, None]
    distance = np.linalg.norm(reach, axis=-1) + 1e-9
    hydrogen = atoms[:, HYDROGEN] - nitrogen
    hydrogen = hydrogen / (np.linalg.norm(hydrogen, axis=-1, keepdims=True) + 1e-9)
    cosine = np.einsum("dax,dx->da", reach, hydrogen) / distance
    far = ((np.maximum(distance, _BOND_LENGTH) - _BOND_LENGTH) / _BOND_SPREAD) ** 2
    return np.minimum(far + _ANGLE_COST * (1.0 - cosine), _BOND_CEILING) - _BOND_REWARD


def _pairing_costs(atoms: FloatArray) -> FloatArray:
    """Cost of each two residues that face each other without a bond, by the distance of CA."""
    alpha = atoms[:, ALPHA]
    apart = np.linalg.norm(alpha[:, None] - alpha[None], axis=-1)
    far = (apart - _PAIR_DISTANCE) / _PAIR_SPREAD
    return _PAIR_WEIGHT * (np.sqrt(1.0 + far**2) - 1.0) - 0.3


def _best_ladder(
    near: FloatArray,
    costs: FloatArray,
    wish: FloatArray,
    candidate: _Candidate,
    free_donor: BoolArray,
    free_acceptor: BoolArray,
    reach: float,
) -> _Ladder:
    """Cheapest path of (register, parity) states along the rows of the first strand."""
    length, parallel = len(costs), candidate.parallel
    first, second = candidate.first, candidate.second
    # One row beyond each end: the outermost residues are bridged by their neighbors' bonds.
    rows = np.arange(max(first.start - 1, 0), min(first.stop + 1, length))
    columns = np.arange(max(second.start - 1, 0), min(second.stop + 1, length))
    keys = _registers(rows, columns, parallel)
    facing = rows[:, None] - keys if parallel else keys - rows[:, None]
    beside = (facing >= columns[0]) & (facing <= columns[-1])
    facing = np.where(beside, facing, columns[0])
    bonds, exist = _row_bonds(
        np.broadcast_to(rows[:, None], facing.shape), facing, parallel, length
    )
    blocked = costs + _TAKEN_COST * ~(free_donor[:, None] & free_acceptor[None])
    price = blocked[bonds[..., 0], bonds[..., 1]]
    outside = (rows < first.start) | (rows >= first.stop)
    bonded = np.where(exist, price, 0.0).sum(axis=-1) * np.where(outside, 0.5, 1.0)[:, None]
    facing_cost = near[rows[:, None], facing]
    bonded += _BONDED_NEAR * facing_cost - wish[rows][:, None] - wish[facing]
    table = np.zeros((len(rows), 2 * len(keys) + 1))
    for parity in (0, 1):
        cost = np.where((rows % 2 == parity)[:, None], bonded, facing_cost)
        table[:, 1 + parity :: 2] = np.where(beside, cost, _BOND_REWARD)
    path, cost = _cheapest_path(table)
    chosen = []
    for place, state in enumerate(path):
        number, parity = divmod(state - 1, 2)
        if state == 0 or rows[place] % 2 != parity or not beside[place, number]:
            continue
        usable = exist[place, number] & (price[place, number] < reach - outside[place])
        chosen += [(int(d), int(a)) for d, a in bonds[place, number][usable]]
    return _Ladder(cost, tuple(chosen))


def _registers(rows: IntArray, columns: IntArray, parallel: bool) -> IntArray:
    """All i + j (antiparallel) or i - j (parallel) that overlap in two rows or more."""
    if parallel:
        return np.arange(rows[0] - columns[-1] + 1, rows[-1] - columns[0])
    return np.arange(rows[0] + columns[0] + 1, rows[-1] + columns[-1])


def _row_bonds(
    row: IntArray, column: IntArray, parallel: bool, length: int
) -> tuple[IntArray, BoolArray]:
    """Donors and acceptors ``(..., 2, 2)`` of the two bonds of bonding rows; which can exist."""
    ends = [[row, column - 1], [column + 1, row]] if parallel else [[row, column], [column, row]]
    bonds = np.stack([np.stack(pair, axis=-1) for pair in ends], axis=-2)
    donor, acceptor = bonds[..., 0], bonds[..., 1]
    exist = (donor > 0) & (donor < length) & (acceptor >= 0) & (acceptor < length - 1)
    exist &= np.abs(donor - acceptor) >= _MIN_LOOP
    return np.clip(bonds, 0, length - 1), exist


def _cheapest_path(table: FloatArray) -> tuple[list[int], float]:
    """Viterbi path; state 0 is *unpaired* and free, leaving a register costs a bulge."""
    count = table.shape[1]
    switch = np.full((count, count), _BULGE_COST)
    np.fill_diagonal(switch, 0.0)
    switch[0, :] = switch[:, 0] = 0.5 * _BULGE_COST
    switch[0, 0] = 0.0
    total = table[0].copy()
    back = np.zeros(table.shape, dtype=int)
    for place in range(1, len(table)):
        options = total[:, None] + switch
        back[place] = options.argmin(axis=0)
        total = options.min(axis=0) + table[place]
    state = int(total.argmin())
    path = [state]
    for place in range(len(table) - 1, 0, -1):
        state = int(back[place, state])
        path.append(state)
    return path[::-1], float(total.min())
