"""An optimized sequence beside the drawn ones."""

from __future__ import annotations

import msgspec
import numpy as np

from protein_lab.constraints.amino_acids import FORBIDDEN, mask_of
from protein_lab.constraints.base import Layout
from protein_lab.design.objective import ObjectiveError
from protein_lab.design.optimizing import optimize_sequence
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import SequenceDraw
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
    try:
        sequence, _ = optimize_sequence(request, operator, layout, backbone, request.sequence, rng)
    except ObjectiveError as error:
        return draw if draw.drawn else SequenceDraw(failed=str(error))
    only = np.stack([np.where(mask_of(letter), 0.0, FORBIDDEN) for letter in sequence])
    alone = msgspec.structs.replace(request.sequence, num_sequences=1, excluded="", fixed=())
    scored = design_sequences(operator, backbone, alone, rng, only)
    return SequenceDraw(drawn=(*scored, *draw.drawn))
