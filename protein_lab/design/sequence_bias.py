"""Which amino acids the constraints of a request want where, summed up for one design."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from protein_lab.constraints.amino_acids import FORBIDDEN, mask_of, no_bias
from protein_lab.constraints.base import Constraint, Layout, Placing, SequenceAsking, Tiling
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, IntArray

if TYPE_CHECKING:
    from protein_lab.design.request import DesignRequest
    from protein_lab.design.sequence_options import SequenceOptions


def sequence_bias(request: DesignRequest, layout: Layout) -> FloatArray | None:
    """Sum what the constraints of a request say of amino acids.

    Parameters
    ----------
    request : DesignRequest
        Free of errors.
    layout : Layout
        Of the design.

    Returns
    -------
    ndarray, shape=(residue, 20), or None
        Nats added to the log-probability of each amino acid, minus infinity where it may not
        stand; None when no constraint speaks of amino acids.

    Raises
    ------
    ProteinLabError
        When a constraint gives an array of another shape, or one with NaN or plus infinity.
    """
    asking = [item for item in request.constraints if isinstance(item, SequenceAsking)]
    if not asking:
        return None
    return sum((_bias_of(item, layout) for item in asking), start=no_bias(layout.length))


def equal_positions(request: DesignRequest, layout: Layout) -> IntArray | None:
    """Give numbers, equal where amino acids must be equal; None where nothing is repeated.

    Parameters
    ----------
    request : DesignRequest
        Free of errors.
    layout : Layout
        Of the design.
    """
    for item in request.constraints:
        if isinstance(item, Tiling):
            return item.equal_positions(layout)
    return None


def _bias_of(item: SequenceAsking, layout: Layout) -> FloatArray:
    bias = np.asarray(item.residue_bias(layout), dtype=np.float64)
    wanted = no_bias(layout.length).shape
    if bias.shape != wanted or np.isnan(bias).any() or (bias == np.inf).any():
        raise ProteinLabError(
            f"Expected a bias of shape {wanted}, finite or minus infinity, of the constraint "
            f"{type(item).__name__}, but got shape {bias.shape} or numbers that are neither.",
            "Give nats for each residue and each of the twenty amino acids.",
        )
    return bias


def bias_faults(
    constraints: Sequence[tuple[str, Constraint]], options: SequenceOptions | None, length: int
) -> Iterator[Fault]:
    """Yield residues for which constraints and sequence options together leave no amino acid.

    Parameters
    ----------
    constraints : sequence of (path, Constraint)
        Whole and free of errors by themselves; those that place their residues anew in every
        design are passed over, for nothing is known of them yet.
    options : SequenceOptions or None
        Of the request.
    length : int
        Residues that every design has; 0 when that is not known.
    """
    asking = [
        (path, item)
        for path, item in constraints
        if isinstance(item, SequenceAsking) and _is_placed(item)
    ]
    if not asking or not length:
        return
    if options is not None and options.num_sequences == 0:
        for path, item in asking:
            yield Fault(
                path=path,
                message=f"Without sequences what {item.kind} asks of amino acids has no effect.",
                remedy="Set $.sequence.num_sequences to 1 or more, or leave this out.",
                severity="warning",
            )
    bias = no_bias(length)
    owner = [""] * length
    empty = np.zeros(length, dtype=bool)
    for path, item in asking:
        added = _bias_of(item, Layout(length, ()))
        bias = bias + added
        now = ~np.isfinite(bias).any(axis=1)
        for place in np.flatnonzero(now & ~empty)[:1]:
            with_other = f"Together with {owner[place]} this" if owner[place] else "This"
            yield Fault(
                path=path,
                message=f"{with_other} leaves no amino acid for residue {place + 1}.",
                remedy="Let them agree on at least one amino acid.",
            )
        empty |= now
        for place in np.flatnonzero(np.isneginf(added).any(axis=1)):
            owner[place] = owner[place] or path
    if options is not None:
        yield from _option_faults(bias, owner, empty, options)


def _is_placed(item: SequenceAsking) -> bool:
    """Tell whether a constraint says already where its residues are."""
    return not isinstance(item, Placing) or bool(getattr(item, "is_placed", False))


def _option_faults(
    bias: FloatArray, owner: Sequence[str], empty: np.ndarray, options: SequenceOptions
) -> Iterator[Fault]:
    """Yield where the options fix or exclude what the constraints need."""
    fixed = np.zeros(len(bias), dtype=bool)
    for number, item in enumerate(options.fixed or ()):
        if item is None or None in (item.position, item.residue) or item.position > len(bias):
            continue
        place = item.position - 1
        fixed[place] = True
        forbidden = mask_of(item.residue) & (bias[place] == FORBIDDEN)
        if forbidden.any() and not empty[place]:
            yield Fault(
                path=f"$.sequence.fixed[{number}].residue",
                message=f"Residue {item.position} is fixed to {item.residue}, which "
                f"{owner[place]} forbids.",
                remedy="Keep one of them.",
            )
    excluded = mask_of(options.excluded or "")
    left = np.isfinite(bias) & ~excluded
    for place in np.flatnonzero(~left.any(axis=1) & ~fixed & ~empty)[:1]:
        yield Fault(
            path="$.sequence.excluded",
            message=f"Together with {owner[place]} it leaves no amino acid for residue "
            f"{place + 1}.",
            remedy="Exclude fewer amino acids.",
        )
