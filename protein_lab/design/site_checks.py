"""Residues that two constraints need for different bonds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protein_lab.constraints.base import Constraint
from protein_lab.constraints.disulfide import Disulfide
from protein_lab.constraints.metal_site import MetalSite
from protein_lab.typing import Fault


def shared_residue_faults(constraints: Sequence[tuple[str, Constraint]]) -> Iterator[Fault]:
    """Yield side chains that would have to bond twice: a sulfur has one partner.

    Parameters
    ----------
    constraints : sequence of (path, Constraint)
        Free of errors by themselves.
    """
    taken: dict[int, str] = {}
    for path, item in constraints:
        for place, residue in _bonded(path, item):
            if residue in taken:
                yield Fault(
                    path=place,
                    message=f"The side chain of residue {residue} is bonded already by "
                    f"{taken[residue]}.",
                    remedy="Let each residue bond once.",
                )
            taken.setdefault(residue, place)


def _bonded(path: str, item: Constraint) -> Iterator[tuple[str, int]]:
    """Residues whose side chain bonds, counted from 1, with their JSON paths."""
    found: list[tuple[str, int | None]] = []
    if isinstance(item, Disulfide):
        found = [(f"{path}.first", item.first), (f"{path}.second", item.second)]
    elif isinstance(item, MetalSite):
        found = [
            (f"{path}.ligands[{number}].position", ligand.position)
            for number, ligand in enumerate(item.ligands or ())
            if ligand is not None
        ]
    # what could not be read is None, and its fault is known already
    yield from ((place, residue) for place, residue in found if residue is not None)
