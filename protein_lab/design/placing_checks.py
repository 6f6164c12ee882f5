"""Residues that two constraints place, each without knowing of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protein_lab.constraints.base import Constraint
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.template import Template
from protein_lab.typing import Fault


def placing_faults(constraints: Sequence[tuple[str, Constraint]]) -> Iterator[Fault]:
    """Yield motifs and templates that cannot be held together.

    Parameters
    ----------
    constraints : sequence of (path, Constraint)
        Free of errors by themselves.
    """
    holders = [(path, item) for path, item in constraints if isinstance(item, Motif | Template)]
    drawn = [path for path, item in holders if isinstance(item, Motif) and item.positions is None]
    templates = [path for path, item in holders if isinstance(item, Template)]
    for path in templates[1:]:
        yield Fault(
            path=path,
            message=f"Expected one template, but {templates[0]} is one too.",
            remedy="Keep the one that is to be designed anew.",
        )
    others = [path for path, _ in holders if path not in drawn]
    for path in drawn:
        before = others[0] if others else drawn[0]
        if before != path:
            yield Fault(
                path=path,
                message=f"The contig places its segments without knowing of {before}.",
                remedy="Put all segments into one contig, with a group for each motif, or give "
                "each motif positions.",
            )
    yield from _overlaps(holders)


def _overlaps(holders: Sequence[tuple[str, Motif | Template]]) -> Iterator[Fault]:
    """Yield fixed motifs that share a residue."""
    taken: dict[int, str] = {}
    for path, item in holders:
        if not isinstance(item, Motif) or not item.is_placed:
            continue
        residues = item.fixed_residues()
        shared = [residue for residue in residues if residue in taken]
        if shared:
            yield Fault(
                path=f"{path}.positions",
                message=f"Residue {shared[0] + 1} belongs to {taken[shared[0]]} already.",
                remedy="Move one of the motifs along the chain.",
            )
        taken.update(dict.fromkeys(residues, path))
