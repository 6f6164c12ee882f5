"""Residues that two constraints place, each without knowing of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from protein_lab.constraints.base import Constraint
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.template import Template
from protein_lab.typing import Fault


def is_whole(item: Constraint) -> bool:
    """Tell whether every part of a constraint could be read; those that could not are None."""
    try:
        msgspec.convert(msgspec.to_builtins(item), type(item))
    except msgspec.ValidationError:
        return False
    return True


def placed_lengths(
    constraints: Sequence[Constraint], shortest: int, longest: int
) -> tuple[int, int]:
    """Narrow the lengths of the chain to those that a template or a contig makes.

    Parameters
    ----------
    constraints : sequence of Constraint
        Whole and free of errors by themselves.
    shortest, longest : int
        Lengths that the request allows; 0 and 0 where it says none.

    Returns
    -------
    shortest, longest : int
        As given where nothing is placed, or where what is placed does not fit.
    """
    for item in constraints:
        lengths = range(0)
        if isinstance(item, Template) and item.is_placed:
            size = item.read().num_residues
            lengths = range(max(size, shortest), min(size, longest or size) + 1)
        elif isinstance(item, Motif) and item.positions is None and not item.is_remote:
            lengths = item.spacing().lengths(shortest, longest)
        if lengths:
            return lengths[0], lengths[-1]
    return shortest, longest


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
