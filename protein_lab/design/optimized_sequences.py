"""An optimized sequence beside the drawn ones."""

from __future__ import annotations

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import FORBIDDEN, mask_of
from protein_lab.constraints.base import Layout
from protein_lab.design.objective import ObjectiveError
from protein_lab.design.optimizing import optimize_sequence
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_bias import sequence_bias
from protein_lab.design.sequence_options import (
    LETTERS,
    FixedResidue,
    SequenceDraw,
    SequenceOptions,
)
from protein_lab.design.sequences import design_sequences
from protein_lab.models.sequence import SequenceOperator
from protein_lab.typing import FloatArray


def add_optimized(
    draw: SequenceDraw,
    request: DesignRequest,
    operator: SequenceOperator,
    layout: Layout,
    backbone: FloatArray,
    rng: np.random.Generator,
) -> SequenceDraw:
    """Search a sequence and put it first, with what the operator holds of it.

    Parameters
    ----------
    draw : SequenceDraw
        Sequences that were drawn.
    request : DesignRequest
        Its ``optimizer`` must be over sequences.
    operator : SequenceOperator
        Says what is likely.
    layout : Layout
        Of the design.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    rng : Generator
        Stream of the sequences of the design.

    Returns
    -------
    SequenceDraw
        As it was where the search could not begin.
    """
    options = _with_forced(request, layout)
    try:
        sequence, _ = optimize_sequence(request, operator, layout, backbone, options, rng)
    except ObjectiveError as error:
        return draw if draw.drawn else SequenceDraw(failed=str(error))
    only = np.stack([np.where(mask_of(letter), 0.0, FORBIDDEN) for letter in sequence])
    alone = msgspec.structs.replace(request.sequence, num_sequences=1, excluded="", fixed=())
    scored = design_sequences(operator, backbone, alone, rng, only)
    return SequenceDraw(drawn=(*scored, *draw.drawn))


def _with_forced(request: DesignRequest, layout: Layout) -> SequenceOptions:
    """Fix residues for which the constraints leave one amino acid."""
    bias = sequence_bias(request, layout)
    if bias is None:
        return request.sequence
    known = {item.position for item in request.sequence.fixed}
    allowed = np.isfinite(bias)
    forced = [
        FixedResidue(position=int(place) + 1, residue=LETTERS[int(allowed[place].argmax())])
        for place in np.flatnonzero(allowed.sum(axis=1) == 1)
        if int(place) + 1 not in known
    ]
    return msgspec.structs.replace(request.sequence, fixed=(*request.sequence.fixed, *forced))
