"""How much is asked of a chain, against how much it can still choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from protein_lab.constraints.base import Constraint
from protein_lab.constraints.burial import Burial
from protein_lab.constraints.contacts import Contacts
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.spans import bounds
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault

TORSIONS: Final = 2
"""Phi and psi: all that a chain with ideal geometry can choose at a residue."""

MOST_HELD: Final = 0.8
"""Share of residues that motifs may hold before next to nothing is left to design."""


def density_faults(constraints: Sequence[tuple[str, Constraint]], length: int) -> Iterator[Fault]:
    """Warn where constraints ask more numbers of a chain than it has torsions, or hold most of it.

    Parameters
    ----------
    constraints : sequence of (path, Constraint)
        Free of errors by themselves.
    length : int
        Most residues of a design; 0 when that is not known.
    """
    if not length:
        return
    asked = sum(_num_conditions(item) for _, item in constraints)
    if asked > TORSIONS * length:
        yield Fault(
            path="$.constraints",
            message=f"{asked} numbers are asked of a chain that can choose {TORSIONS * length} "
            f"torsions, {TORSIONS} a residue.",
            remedy="Keep the constraints that matter most, or make the chain longer.",
            severity="warning",
        )
    for path, item in constraints:
        held = _num_held(item)
        if held > MOST_HELD * length:
            yield Fault(
                path=f"{path}.contig",
                message=f"The motif holds {held} of {length} residues.",
                remedy=f"Hold at most {int(MOST_HELD * length)}, or make the chain longer.",
                severity="warning",
            )


def _num_conditions(item: Constraint) -> int:
    """Count the numbers that a constraint asks for."""
    match item:
        case Distance() | Disulfide():
            return 1
        case Contacts():
            return len(item.pairs)
        case Burial():
            spans = (bounds(span) for span in (*item.buried, *item.exposed))
            return sum(stop - start for start, stop in spans)
    return TORSIONS * _num_held(item)


def _num_held(item: Constraint) -> int:
    """Count the residues whose coordinates a motif gives."""
    if not isinstance(item, Motif):
        return 0
    try:
        return len(item.residues().names)
    except ProteinLabError:
        return 0
