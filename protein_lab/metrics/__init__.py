"""Measures of structures, each checked against an independent implementation in the tests.

Structures come as arrays in angstrom; backbone atoms are N, CA, C, O in this order.
"""

from __future__ import annotations

from protein_lab.metrics.adherence import (
    secondary_structure_adherence,
    segment_overlap,
    segments,
)
from protein_lab.metrics.comparison import (
    TmAlignment,
    diversity,
    lddt,
    num_clusters,
    pairwise_tm,
    rmsd,
    tm_align,
    tm_score,
)
from protein_lab.metrics.contacts import (
    NATIVE_CLASHES_PER_1000,
    backbone_clash_per_1000,
    chain_breaks,
    num_clashes,
    pairing_met,
)
from protein_lab.metrics.hydrogen_bonds import (
    Ladder,
    hydrogen_bonds,
    ladders,
)
from protein_lab.metrics.knots import Knot, find_knot
from protein_lab.metrics.secondary_structure import (
    dssp,
    helix_handedness,
)

__all__ = [
    "NATIVE_CLASHES_PER_1000",
    "Knot",
    "Ladder",
    "TmAlignment",
    "backbone_clash_per_1000",
    "chain_breaks",
    "diversity",
    "dssp",
    "find_knot",
    "helix_handedness",
    "hydrogen_bonds",
    "ladders",
    "lddt",
    "num_clashes",
    "num_clusters",
    "pairing_met",
    "pairwise_tm",
    "rmsd",
    "secondary_structure_adherence",
    "segment_overlap",
    "segments",
    "tm_align",
    "tm_score",
]
