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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from protein_lab.design.restraints import ALPHA, HYDROGEN, NITROGEN, OXYGEN
from protein_lab.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from protein_lab.design.blueprint import Blueprint, Element

_BOND_REWARD = 2.0
_BOND_LENGTH = 2.9
_BOND_SPREAD = 1.8
_BOND_CEILING = 4.5
_ANGLE_COST = 1.2
_TAKEN_COST = 3.0
_PAIR_DISTANCE = 5.0
_BULGE_COST = 3.0
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
    atoms: FloatArray, blueprint: Blueprint, taken: list[tuple[int, int]]
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

    Returns
    -------
    list of (donor, acceptor)
        Every donor and every acceptor occurs at most once.
    """
    costs = _bond_costs(atoms)
    free_donor = np.ones(len(atoms), dtype=bool)
    free_donor[0] = False
    free_acceptor = np.ones(len(atoms), dtype=bool)
    free_acceptor[-1] = False
    _take(taken, free_donor, free_acceptor)
    candidates = _candidates(atoms, blueprint)
    ranked = []
    for number, (first, second, parallel, asked) in enumerate(candidates):
        ladder = _best_ladder(atoms, costs, first, second, parallel, free_donor, free_acceptor)
        if asked or ladder.cost < _NEIGHBOR_COST:
            ranked.append((not asked, ladder.cost, number))
    bonds: list[tuple[int, int]] = []
    for _, _, number in sorted(ranked):
        first, second, parallel, asked = candidates[number]
        ladder = _best_ladder(atoms, costs, first, second, parallel, free_donor, free_acceptor)
        if asked or ladder.cost < _NEIGHBOR_COST:
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


def _candidates(
    atoms: FloatArray, blueprint: Blueprint
) -> list[tuple[Element, Element, bool, bool]]:
    """Pairs of strands to try: first, second, parallel, asked for."""
    elements = blueprint.elements
    found: list[tuple[Element, Element, bool, bool]] = []
    paired = set()
    for pair in blueprint.pairs:
        first, second = elements[pair.first], elements[pair.second]
        if first.kind == second.kind == "E" and pair.orientation != "crossing":
            found.append((first, second, pair.orientation == "parallel", True))
            paired.update((pair.first, pair.second))
    strands = [number for number, element in enumerate(elements) if element.kind == "E"]
    for place, one in enumerate(strands):
        for other in strands[place + 1 :]:
            if one in paired and other in paired:
                continue
            first, second = elements[one], elements[other]
            if _nearest(atoms, first, second) > _NEIGHBOR_REACH:
                continue
            found.append((first, second, _same_direction(atoms, first, second), False))
    return found


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


def _best_ladder(
    atoms: FloatArray,
    costs: FloatArray,
    first: Element,
    second: Element,
    parallel: bool,
    free_donor: BoolArray,
    free_acceptor: BoolArray,
) -> _Ladder:
    """Cheapest path of (register, parity) states along the rows of the first strand."""
    length = len(atoms)
    # One row beyond each end: the outermost residues are bridged by their neighbors' bonds.
    rows = np.arange(max(first.start - 1, 0), min(first.stop + 1, length))
    columns = np.arange(max(second.start - 1, 0), min(second.stop + 1, length))
    keys = _registers(rows, columns, parallel)
    blocked = costs + _TAKEN_COST * ~(free_donor[:, None] & free_acceptor[None])
    near = np.linalg.norm(atoms[rows, None, ALPHA] - atoms[None, :, ALPHA], axis=-1)
    near = np.minimum(((near - _PAIR_DISTANCE) / 2.0) ** 2, 2.0) - 0.3
    table = np.zeros((len(rows), 2 * len(keys) + 1))
    partners: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for place, row in enumerate(rows):
        for number, key in enumerate(keys):
            column = row - key if parallel else key - row
            for parity in (0, 1):
                state = 2 * number + parity + 1
                if not columns[0] <= column <= columns[-1]:
                    table[place, state] = _BOND_REWARD
                elif row % 2 != parity:
                    table[place, state] = near[place, column]
                else:
                    bonds = _row_bonds(int(row), int(column), parallel, length)
                    partners[place, state] = bonds
                    outside = row < first.start or row >= first.stop
                    weight = 0.5 if outside else 1.0
                    table[place, state] = weight * sum(blocked[bond] for bond in bonds)
    path, cost = _cheapest_path(table)
    chosen = []
    for place, state in enumerate(path):
        outside = not first.start <= rows[place] < first.stop
        ceiling = 0.0 if outside else _BOND_REWARD
        chosen += [b for b in partners.get((place, state), []) if blocked[b] < ceiling]
    return _Ladder(cost, tuple(chosen))


def _registers(rows: IntArray, columns: IntArray, parallel: bool) -> IntArray:
    """All i + j (antiparallel) or i - j (parallel) that overlap in two rows or more."""
    if parallel:
        return np.arange(rows[0] - columns[-1] + 1, rows[-1] - columns[0])
    return np.arange(rows[0] + columns[0] + 1, rows[-1] + columns[-1])


def _row_bonds(row: int, column: int, parallel: bool, length: int) -> list[tuple[int, int]]:
    """Donor and acceptor of the two bonds of a bonding row that exist in the chain."""
    bonds = [(row, column - 1), (column + 1, row)] if parallel else [(row, column), (column, row)]
    return [
        (donor, acceptor)
        for donor, acceptor in bonds
        if 0 < donor < length and 0 <= acceptor < length - 1 and abs(donor - acceptor) >= _MIN_LOOP
    ]


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
