"""What can be wrong with the places of motif segments along a chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from protein_lab.constants import CA_CA_TRANS
from protein_lab.constraints.contig import Gap, Segment, read_contig
from protein_lab.constraints.motif_fragments import MotifResidues
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault


def least_gap(reach: float | None) -> int:
    """Fewest residues whose chain can be as long as a distance in angstrom."""
    return 0 if reach is None else max(0, int(np.ceil(reach / CA_CA_TRANS - 0.02)) - 1)


def reach_faults(
    path: str, segments: Sequence[Segment], gaps: Sequence[Gap], reaches: Sequence[float | None]
) -> Iterator[Fault]:
    """Find stretches that cannot span the distance between the ends they join.

    Parameters
    ----------
    path : str
        JSON path of the motif.
    segments : sequence of Segment
    gaps : sequence of Gap
        Between the segments, as the contig has them.
    reaches : sequence of float or None
        Distances to span, angstrom; None where the ends may move.
    """
    for number, (gap, reach) in enumerate(zip(gaps, reaches, strict=True)):
        least = least_gap(reach)
        if reach is None or gap.shortest >= least:
            continue
        hopeless = gap.longest < least
        size = gap.longest if hopeless else gap.shortest
        yield Fault(
            path=f"{path}.contig",
            message=f"{segments[number]} and {segments[number + 1]} lie {reach:.1f} angstrom "
            f"apart; {size} residues between them reach {CA_CA_TRANS * (size + 1):.1f}.",
            remedy=f"Leave at least {least} residues there"
            + ("." if hopeless else "; fewer are never drawn."),
            severity="error" if hopeless else "warning",
        )


def position_faults(path: str, starts: Sequence[int], motif: MotifResidues) -> Iterator[Fault]:
    """Find fixed segments that overlap or that no chain can join.

    Parameters
    ----------
    path : str
        JSON path of the motif.
    starts : sequence of int
        Residue of the design at which each segment begins, counted from 1.
    motif : MotifResidues
    """
    for number, reach in enumerate(motif.reaches):
        end = starts[number] + motif.sizes[number]
        gap, least = starts[number + 1] - end, least_gap(reach)
        if gap < least:
            yield Fault(
                path=f"{path}.positions[{number + 1}]",
                message="The segment begins before the one before it ends."
                if gap < 0
                else f"{gap} residues before it reach {CA_CA_TRANS * (gap + 1):.1f} angstrom, but "
                f"{reach or 0.0:.1f} are needed.",
                remedy=f"Let it begin at residue {end + least} or later.",
            )


def state_faults(
    path: str, residues: Sequence[int], motif: MotifResidues, states: str
) -> Iterator[Fault]:
    """Warn once where a secondary structure is asked that the motif does not have.

    Parameters
    ----------
    path : str
        JSON path of the motif.
    residues : sequence of int
        Where its residues lie, from 0.
    motif : MotifResidues
    states : str
        Asked states, ``-`` where open; may be empty.
    """
    for number, residue in enumerate(residues):
        asked = states[residue : residue + 1]
        if asked in ("H", "E") and motif.states[number] not in (asked, "L"):
            yield Fault(
                path=f"{path}.positions",
                message=f"Residue {residue + 1} is asked to be {asked}, but the motif has "
                f"{motif.states[number]} there ({motif.names[number]}).",
                remedy="Leave the residues of the motif open in the secondary structure.",
                severity="warning",
            )
            return


def masked_residues(mask: str, segments: Sequence[Segment], motif: MotifResidues) -> list[int]:
    """Find the residues of a motif whose amino acids are left open.

    Parameters
    ----------
    mask : str
        Residues and ranges as in a contig.
    segments : sequence of Segment
        Of the contig.
    motif : MotifResidues
        What the segments hold.

    Returns
    -------
    list of int
        Numbers of residues of the motif, from 0.

    Raises
    ------
    ProteinLabError
        When something is not a residue of the motif, or a range is reversed.
    """
    if not mask.strip():
        return []
    sources = [part.source for part in segments]
    known = list(zip(np.repeat(sources, motif.sizes).tolist(), motif.names, strict=True))
    free: list[int] = []
    for piece in read_contig(mask):
        if isinstance(piece, Gap):
            raise ProteinLabError(
                f"Expected residues of the motif, but got the length {piece.shortest}.",
                "Write for example A165/A170-172.",
            )
        ends = [(piece.source, f"{piece.chain}{n}{code}") for n, code in (piece.start, piece.stop)]
        unknown = [name for source, name in ends if (source, name) not in known]
        if unknown:
            raise ProteinLabError(
                f"{unknown[0]} is not a residue of the motif.",
                f"It has {', '.join(motif.names[:8])}{' ...' if len(motif.names) > 8 else ''}.",
            )
        first, last = (known.index(end) for end in ends)
        if last < first:
            raise ProteinLabError(
                f"Expected the first residue before the last, but got {piece}.",
                f"Write {piece.chain}{piece.stop[0]}-{piece.start[0]}.",
            )
        free += range(first, last + 1)
    return free
