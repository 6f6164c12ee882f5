"""The pieces of real structures that a motif consists of, and how well a chain has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from protein_lab.constants import BACKBONE_INDICES
from protein_lab.constraints.contig import Segment
from protein_lab.constraints.structure_source import find_residue
from protein_lab.errors import ProteinLabError
from protein_lab.errors import StructureFileError as FileError
from protein_lab.geometry import axis_curve, backbone_dihedrals, superimpose, virtual_cb
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray, IntArray

AXIS_WIDTH: Final = 2.0
"""Standard deviation of the kernel of axis curves, residues."""

_BONDED: Final = 2.5
"""C and N farther apart than this are not bonded, angstrom."""

_SCREW: Final = 4
"""CA atoms from which a helix is continued beyond its end."""

_BEYOND: Final = 8
_SHORTEST_RUN: Final = {"H": 3, "E": 3}


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """One group of segments that keep their geometry, in order of the chain.

    Attributes
    ----------
    places : ndarray, shape=(residue,), dtype=int
        Which of the motif's residues these are.
    atoms : ndarray, shape=(residue, 5, 3)
        N, CA, C, O and CB, angstrom, in the frame of the source; CB is the ideal one.
    axis : ndarray, shape=(residue, 3)
        Axis curve of the segments, angstrom.
    axis_weight : ndarray, shape=(residue,)
        Part of the curve's kernel that lies on the segment, 0 to 1.
    """

    places: IntArray
    atoms: FloatArray
    axis: FloatArray
    axis_weight: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class MotifResidues:
    """All residues of a motif in order of the chain.

    Attributes
    ----------
    sequence : str
        One-letter codes, ``X`` where unknown.
    names : tuple of str
        As in papers: A181, A23A.
    states : str
        ``H``, ``E`` or ``L`` each.
    sizes : tuple of int
        Residues of each segment.
    reaches : tuple of float or None
        Distance in angstrom from the last CA of each segment to the first of the next; None where
        they may move against each other.
    torsions : ndarray, shape=(residue, 2)
        Phi and psi, radians; NaN at the ends of segments.
    fragments : tuple of Fragment
        One for each group.
    """

    sequence: str
    names: tuple[str, ...]
    states: str
    sizes: tuple[int, ...]
    reaches: tuple[float | None, ...]
    torsions: FloatArray
    fragments: tuple[Fragment, ...]


def segment_residues(protein: Protein, segment: Segment) -> IntArray:
    """Find the residues of a segment, and refuse one that is not complete.

    Raises
    ------
    StructureFileError
        When the chain, a residue or a backbone atom is not in the structure.
    """
    first = find_residue(protein, segment.chain, *segment.start)
    last = find_residue(protein, segment.chain, *segment.stop)
    if last < first:
        raise FileError(f"{segment} ends before it begins.", "Give the first residue first.")
    index = np.arange(first, last + 1)
    bare = index[~protein.has_backbone[index]]
    if bare.size:
        raise FileError(
            f"{segment}: residue {residue_name(protein, int(bare[0]))} has not all of N, CA, C "
            f"and O ({bare.size} such residues).",
            "Leave such residues out, or take another structure.",
        )
    backbone = protein.backbone[index].astype(np.float64)
    bond = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1)
    broken = np.flatnonzero(bond > _BONDED)
    if broken.size:
        before, after = (residue_name(protein, int(index[broken[0] + k])) for k in (0, 1))
        raise FileError(
            f"{segment}: residues are missing between {before} and {after}.",
            "Cut the segment in two there, with a designed stretch between the parts.",
        )
    return index


def residue_name(protein: Protein, index: int) -> str:
    """Name a residue as in papers: chain, author number, insertion code."""
    chain = protein.chain_ids[int(protein.chain_index[index])]
    return f"{chain}{int(protein.author_number[index])}{protein.insertion_code[index]}"


def gather(
    proteins: Sequence[Protein], segments: Sequence[Segment], groups: Sequence[int]
) -> MotifResidues:
    """Take the residues of a motif from its sources.

    Parameters
    ----------
    proteins : sequence of Protein
        The sources.
    segments : sequence of Segment
        In order of the chain.
    groups : sequence of int
        For each segment the group whose geometry it keeps.

    Raises
    ------
    ProteinLabError
        When a segment is not complete or a residue is used twice.
    """
    found = [segment_residues(proteins[part.source], part) for part in segments]
    seen: set[tuple[int, int]] = set()
    names: list[str] = []
    for part, index in zip(segments, found, strict=True):
        for residue in index.tolist():
            names.append(residue_name(proteins[part.source], residue))
            if (part.source, residue) in seen:
                raise ProteinLabError(
                    f"Residue {names[-1]} is used twice in the contig.", "Use each residue once."
                )
            seen.add((part.source, residue))
    backbones = [
        proteins[part.source].backbone[index].astype(np.float64)
        for part, index in zip(segments, found, strict=True)
    ]
    states = "".join(local_states(backbone) for backbone in backbones)
    sequence = "".join(
        proteins[part.source].sequence[index[0] : index[-1] + 1]
        for part, index in zip(segments, found, strict=True)
    )
    reaches = tuple(
        float(np.linalg.norm(after[0, 1] - before[-1, 1])) if one == two else None
        for before, after, one, two in zip(
            backbones[:-1], backbones[1:], groups[:-1], groups[1:], strict=True
        )
    )
    sizes = tuple(len(item) for item in backbones)
    return MotifResidues(
        sequence=sequence,
        names=tuple(names),
        states=states,
        sizes=sizes,
        reaches=reaches,
        torsions=np.concatenate([backbone_dihedrals(item)[:, :2] for item in backbones]),
        fragments=_fragments(backbones, states, groups),
    )


def _fragments(
    backbones: Sequence[FloatArray], states: str, groups: Sequence[int]
) -> tuple[Fragment, ...]:
    starts = np.concatenate([[0], np.cumsum([len(item) for item in backbones])])
    made: list[Fragment] = []
    for group in dict.fromkeys(groups):
        members = [number for number, other in enumerate(groups) if other == group]
        axes = [
            segment_axis(backbones[i][:, 1], states[starts[i] : starts[i + 1]]) for i in members
        ]
        atoms = np.concatenate([backbones[number] for number in members])
        made.append(
            Fragment(
                places=np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members]),
                atoms=np.concatenate([atoms, virtual_cb(atoms)[:, None]], axis=1),
                axis=np.concatenate([axis for axis, _ in axes]),
                axis_weight=np.concatenate([weight for _, weight in axes]),
            )
        )
    return tuple(made)


def local_states(backbone: FloatArray) -> str:
    """Assign helix, strand and loop from phi and psi alone.

    A fragment lacks the partners of its hydrogen bonds, so DSSP would call its strands and the
    ends of its helices loop.

    Parameters
    ----------
    backbone : ndarray, shape=(residue, 4, 3)
        One unbroken segment, angstrom.
    """
    phi, psi, _ = np.degrees(backbone_dihedrals(backbone)).T
    # the ends lack an angle, which then speaks neither for nor against a state
    phi, psi = np.where(np.isnan(phi), -80.0, phi), np.where(np.isnan(psi), -45.0, psi)
    helical = (phi > -110.0) & (phi < -30.0) & (psi > -80.0) & (psi < 0.0)
    extended = (phi < -60.0) & ((psi < -160.0) | (psi > 85.0))
    letters = np.where(helical, "H", np.where(extended, "E", "L"))
    if len(letters) > 1 and letters[-2] == "E":
        letters[-1] = "E"
    states = ""
    for state, run in groupby(letters.tolist()):
        size = len(list(run))
        keeps = state in _SHORTEST_RUN and size >= _SHORTEST_RUN[state]
        states += (state if keeps else "L") * size
    return states


def segment_axis(ca: FloatArray, states: str) -> tuple[FloatArray, FloatArray]:
    """Estimate the axis curve that a segment has inside a longer chain.

    The kernel of the curve reaches beyond the segment: helices are continued as the screw that
    they are, other ends are left away and count less.

    Parameters
    ----------
    ca : ndarray, shape=(residue, 3)
        CA of the segment, angstrom.
    states : str
        Of its residues.

    Returns
    -------
    axis : ndarray, shape=(residue, 3)
        Angstrom.
    weight : ndarray, shape=(residue,)
        Part of the kernel that is known.
    """
    before = _continued(ca[::-1])[::-1] if states[:_SCREW] == "H" * _SCREW else ca[:0]
    after = _continued(ca) if states[-_SCREW:] == "H" * _SCREW else ca[:0]
    chain = np.concatenate([before, ca, after])
    inside = slice(len(before), len(before) + len(ca))
    kernel = np.exp(-0.5 * (np.arange(-_BEYOND, _BEYOND + 1) / AXIS_WIDTH) ** 2)
    weight = np.convolve(np.ones(len(chain)), kernel / kernel.sum())[_BEYOND:-_BEYOND]
    axis: FloatArray = axis_curve(chain, AXIS_WIDTH)
    return axis[inside], np.asarray(weight[inside], dtype=np.float64)


def _continued(ca: FloatArray) -> FloatArray:
    """Points that follow when the last step of a screw goes on."""
    last = ca[-(_SCREW + 1) :] if len(ca) > _SCREW else ca[-_SCREW:]
    rotation, shift = superimpose(last[:-1], last[1:])
    points = [last[-1]]
    for _ in range(_BEYOND):
        points.append(points[-1] @ rotation.T + shift)
    return np.array(points[1:])


def motif_rmsd(
    backbone: FloatArray, residues: Sequence[int] | IntArray, motif: MotifResidues
) -> tuple[float, ...]:
    """Superimpose each group on a chain.

    Parameters
    ----------
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O of the whole chain, angstrom.
    residues : sequence of int
        Where the motif's residues lie in it.
    motif : MotifResidues

    Returns
    -------
    tuple of float
        RMSD of N, CA, C and O of each group, angstrom.
    """
    index = np.asarray(residues, dtype=np.int64)
    found: list[float] = []
    for part in motif.fragments:
        goal = backbone[index[part.places]].astype(np.float64).reshape(-1, 3)
        start = part.atoms[:, : len(BACKBONE_INDICES)].reshape(-1, 3)
        rotation, shift = superimpose(start, goal)
        off = start @ rotation.T + shift - goal
        found.append(float(np.sqrt((off**2).sum(-1).mean())))
    return tuple(found)
