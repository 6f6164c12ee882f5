"""Compound requests that are known to be satisfiable, for a real protein meets them.

Rules read constraints of several families from a held-out chain: its states, pairs, some of its
distances and contacts, its core, its size, a stretch of its backbone as a motif, some amino acids.
Only what the chain itself passes, judged by the same code as a design, is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.base import Constraint, Layout
from protein_lab.constraints.burial import Burial
from protein_lab.constraints.contacts import Contact, Contacts
from protein_lab.constraints.content import Content
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.kinds import AnyConstraint
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration
from protein_lab.constraints.residue_types import ResidueTypes, TypeRange
from protein_lab.constraints.secondary_structure import asked_elements
from protein_lab.constraints.structure_source import StructureSource
from protein_lab.design.request import DesignRequest
from protein_lab.experiments.quality_measures import Case
from protein_lab.geometry import radius_of_gyration
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray

MORE_KINDS: Final = (2, 4)
"""Fewest and most families beside the secondary structure."""

_FAR: Final = 12
"""Residues along the chain between the two ends of a distance."""

_TOLERANCE: Final = 2.0
_CONTACT: Final = 8.0
_MOTIF: Final = (8, 16)
_PAIRS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Native:
    """A real chain and what rules read from it."""

    protein: Protein
    states: str
    pairings: tuple[Pairing, ...]
    alpha: FloatArray
    beta: FloatArray


Rule = Callable[[_Native, np.random.Generator], AnyConstraint | None]


def compound_requests(cases: Iterator[Case], count: int, seed: int) -> list[DesignRequest]:
    """Write compound requests from held-out chains.

    Parameters
    ----------
    cases : iterator of Case
        Held-out chains with requests for their states and pairs.
    count : int
        Requests that are wanted; fewer come where the cases do not suffice.
    seed : int
        Fixes which families are asked of which chain.

    Returns
    -------
    list of DesignRequest
        Each with at least three families of constraints, free of errors, and met by its chain.
    """
    found: list[DesignRequest] = []
    for number, case in enumerate(cases):
        rng = np.random.default_rng([seed, number])
        request = _compound(case, rng)
        if request is not None:
            found.append(request)
        if len(found) == count:
            break
    return found


def _compound(case: Case, rng: np.random.Generator) -> DesignRequest | None:
    native = _native(case)
    wanted = int(rng.integers(MORE_KINDS[0], MORE_KINDS[1] + 1))
    chosen: list[AnyConstraint] = [case.request.constraints[0]]
    kinds = {chosen[0].kind}
    for number in rng.permutation(len(_RULES)):
        if len(kinds) > wanted:
            break
        item = _met(_RULES[number], native, rng)
        if item is not None:
            chosen.append(item)
            kinds.add(item.kind)
    request = DesignRequest(
        constraints=tuple(chosen),
        num_designs=case.request.num_designs,
        seed=case.request.seed,
        operator=case.request.operator,
        name=case.chain.id,
    )
    errors = [fault for fault in request.check() if fault.severity == "error"]
    return request if len(kinds) > MORE_KINDS[0] and not errors else None


def _native(case: Case) -> _Native:
    chain = case.chain
    protein = Protein.from_backbone(chain.backbone, chain.sequence)
    pairings = tuple(item for item in case.request.constraints if isinstance(item, Pairing))
    return _Native(
        protein,
        case.blueprint.secondary_structure,
        pairings,
        np.asarray(chain.backbone[:, 1], dtype=np.float64),
        np.asarray(protein.cb, dtype=np.float64),
    )


def _met(rule: Rule, native: _Native, rng: np.random.Generator) -> AnyConstraint | None:
    """Apply a rule; give what it asks if the chain itself has it."""
    item = rule(native, rng)
    if item is None or not passes(item, native.protein, native.states):
        return None
    return item


def passes(item: Constraint, protein: Protein, states: str) -> bool:
    """Tell whether a chain meets a constraint.

    Parameters
    ----------
    item : Constraint
        What is asked.
    protein : Protein
        The chain.
    states : str
        Its states, one letter a residue.
    """
    places: dict[Constraint, tuple[int, ...]] = {}
    if isinstance(item, Motif):
        drawn = item.place(len(states), len(states), np.random.default_rng(0))
        places[item] = drawn.residues
    layout = Layout(len(states), asked_elements(states), states, places)
    return item.evaluate(protein, layout).verdict == "pass"


def _distances(points: FloatArray) -> FloatArray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def _pairing(native: _Native, rng: np.random.Generator) -> Pairing | None:
    if not native.pairings:
        return None
    return native.pairings[int(rng.integers(len(native.pairings)))]


def _distance(native: _Native, rng: np.random.Generator) -> Distance:
    length = len(native.states)
    first = int(rng.integers(0, length - _FAR))
    second = int(rng.integers(first + _FAR, length))
    found = float(np.linalg.norm(native.beta[first] - native.beta[second]))
    return Distance(
        first=first + 1, second=second + 1, target=round(found, 1), tolerance=_TOLERANCE
    )


def _contacts(native: _Native, rng: np.random.Generator) -> Contacts | None:
    near = _distances(native.beta) < _CONTACT
    first, second = np.nonzero(np.triu(near, _FAR))
    if len(first) < _PAIRS:
        return None
    picks = rng.choice(len(first), _PAIRS, replace=False)
    pairs = tuple(Contact(first=int(first[k]) + 1, second=int(second[k]) + 1) for k in picks)
    return Contacts(pairs=pairs, at_least=_PAIRS - 1)


def _burial(native: _Native, rng: np.random.Generator) -> Burial | None:
    length = len(native.states)
    states = native.states
    inside = [
        place
        for place in range(length)
        if states[place] in "HE" and passes(Burial(buried=(place + 1,)), native.protein, states)
    ]
    if len(inside) < _PAIRS:
        return None
    picks = rng.choice(inside, _PAIRS, replace=False)
    return Burial(buried=tuple(int(place) + 1 for place in sorted(picks)))


def _size(native: _Native, rng: np.random.Generator) -> RadiusOfGyration:
    del rng
    found = float(radius_of_gyration(native.alpha))
    return RadiusOfGyration(target=round(found, 1), tolerance=1.0)


def _content(native: _Native, rng: np.random.Generator) -> Content:
    del rng
    share = {state: 100.0 * native.states.count(state) / len(native.states) for state in "HE"}
    low, high = (
        {state: int(np.clip(share[state] + off, 0, 100)) for state in "HE"} for off in (-15, 15)
    )
    return Content(helix=(low["H"], high["H"]), strand=(low["E"], high["E"]))


def _residue_types(native: _Native, rng: np.random.Generator) -> ResidueTypes:
    length = len(native.states)
    size = int(rng.integers(3, 8))
    start = int(rng.integers(0, length - size))
    given = native.protein.sequence[start : start + size].replace("X", "-")
    return ResidueTypes(ranges=(TypeRange(start=start + 1, sequence=given),))


def _disulfide(native: _Native, rng: np.random.Generator) -> Disulfide | None:
    first, second = np.nonzero(np.triu(_distances(native.beta) < 4.5, _FAR))
    fitting = [
        (int(a), int(b))
        for a, b in zip(first, second, strict=True)
        if native.protein.sequence[a] == native.protein.sequence[b] == "C"
    ]
    if not fitting:
        return None
    a, b = fitting[int(rng.integers(len(fitting)))]
    return Disulfide(first=a + 1, second=b + 1)


def _motif(native: _Native, rng: np.random.Generator) -> Motif | None:
    length = len(native.states)
    size = int(rng.integers(_MOTIF[0], _MOTIF[1] + 1))
    start = int(rng.integers(1, length - size))
    wanted = Protein.from_backbone(
        native.protein.backbone[start : start + size],
        native.protein.sequence[start : start + size],
    )
    if "X" in wanted.sequence:
        return None
    return Motif(
        source=StructureSource(text=wanted.to_pdb()),
        contig=f"A1-{size}",
        positions=(start + 1,),
    )


_RULES: Final[tuple[Rule, ...]] = (
    _pairing,
    _distance,
    _contacts,
    _burial,
    _size,
    _content,
    _residue_types,
    _disulfide,
    _motif,
)
