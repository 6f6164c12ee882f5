"""Checks of how a chain is folded: knots, crossovers, shape, contacts, and backbone clashes."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, CB_INDEX
from protein_lab.geometry import virtual_cb
from protein_lab.metrics import backbone_clash_per_1000, dssp, find_knot, ladders
from protein_lab.metrics.knots import UNKNOT
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.validation.base import Finding, Measure
from protein_lab.validation.chains import Chain, read_chain
from protein_lab.validation.potentials import split_chains

CB_DEVIATION: Final = 0.25
"""A CB atom farther from its ideal place is an outlier, angstrom (MolProbity)."""

MIN_FOLD_LENGTH: Final = 40
CONTACT: Final = 8.0
LONG_RANGE: Final = 12
"""Residues apart from which a contact ties distant parts of a chain together."""

_NEAR: Final = 3
_FEWEST_BETWEEN: Final = 8
_MOST_BETWEEN: Final = 60
_HELIX_BETWEEN: Final = 5
_FEWEST_BRIDGES: Final = 3
_CLEAR: Final = 3.0

_WHOLE: Final = "No residue has a whole backbone."


def _folded(protein: Protein) -> list[Chain]:
    """Take the chains that are long enough to have a fold."""
    parts = split_chains(read_chain(protein))
    return [part for part in parts if len(part.labels) >= MIN_FOLD_LENGTH]


def knots(protein: Protein) -> Finding:
    """Count chains with a knot, by the Alexander polynomial of their CA atoms."""
    parts = [part for part in split_chains(read_chain(protein)) if len(part.labels) > 4]
    if not parts:
        return Finding(None, _WHOLE)
    found = [find_knot(part.atoms[:, 1]) for part in parts]
    names = ", ".join(item.name for item in found if item.name != UNKNOT)
    return Finding(float(sum(item.name != UNKNOT for item in found)), names)


def backbone_clashes(protein: Protein) -> Finding:
    """Count pairs of backbone and CB atoms that overlap by 0.4 angstrom, in a thousand atoms."""
    chain = read_chain(protein)
    if not chain.labels:
        return Finding(None, _WHOLE)
    return Finding(float(backbone_clash_per_1000(chain.atoms)))


def closest_ca(protein: Protein) -> Finding:
    """Smallest distance of two CA atoms that are three or more residues apart, angstrom."""
    chain = read_chain(protein)
    ca = chain.atoms[:, 1]
    if len(ca) <= _NEAR:
        return Finding(None, "The chain is too short.")
    first, second = np.triu_indices(len(ca), _NEAR)
    distance = np.linalg.norm(ca[first] - ca[second], axis=-1)
    best = int(distance.argmin())
    where = f"Between {chain.labels[first[best]]} and {chain.labels[second[best]]}."
    return Finding(float(distance[best]), where)


def cb_deviations(protein: Protein) -> Finding:
    """Fraction of CB atoms more than 0.25 angstrom from their ideal place."""
    has_cb = np.asarray(protein.has_backbone) & protein.atom_mask[:, CB_INDEX]
    has_cb &= protein.aatype != AMINO_ACIDS.index("G")
    if not has_cb.any():
        return Finding(None, "No residue has a CB atom.")
    real = np.asarray(protein.atom_positions[has_cb, ATOM_NAMES.index("CB")], dtype=np.float64)
    ideal = virtual_cb(np.asarray(protein.backbone, dtype=np.float64)[has_cb])
    away = np.linalg.norm(real - ideal, axis=-1)
    return Finding(float((away > CB_DEVIATION).mean()), f"Largest {away.max():.2f} angstrom.")


def anisotropy(protein: Protein) -> Finding:
    """Relative shape anisotropy of the CA atoms: 0 for a ball, 1 for a line."""
    values = []
    for part in _folded(protein):
        centered = part.atoms[:, 1] - part.atoms[:, 1].mean(axis=0)
        moments = np.linalg.eigvalsh(centered.T @ centered / len(centered))
        values.append(1.0 - 3.0 * _products(moments) / max(float(moments.sum()) ** 2, 1e-12))
    return Finding(float(max(values))) if values else _too_short()


def _products(moments: FloatArray) -> float:
    one, two, three = moments
    return float(one * two + two * three + three * one)


def contact_order(protein: Protein) -> Finding:
    """Mean separation of residues in contact, over the length (Plaxco et al., 1998)."""
    values = []
    for part in _folded(protein):
        apart = _contacts(part)
        values.append(apart.mean() / len(part.labels) if apart.size else 0.0)
    return Finding(float(min(values))) if values else _too_short()


def long_range_contacts(protein: Protein) -> Finding:
    """Contacts between residues 12 or more apart along the chain, for each residue."""
    values = []
    for part in _folded(protein):
        values.append((_contacts(part) >= LONG_RANGE).sum() / len(part.labels))
    return Finding(float(min(values))) if values else _too_short()


def _contacts(chain: Chain) -> FloatArray:
    """Separations along the chain of residues whose CB atoms are in contact."""
    cb = virtual_cb(chain.atoms)
    first, second = np.triu_indices(len(cb), _NEAR)
    near = np.linalg.norm(cb[first] - cb[second], axis=-1) < CONTACT
    return (second - first)[near].astype(np.float64)


def _too_short() -> Finding:
    return Finding(None, f"No chain has {MIN_FOLD_LENGTH} residues with whole backbone.")


def loop_share(protein: Protein) -> Finding:
    """Fraction of residues in neither helix nor strand (DSSP)."""
    chain = read_chain(protein)
    if not chain.labels:
        return Finding(None, _WHOLE)
    states = dssp(chain.atoms, chain.chain_index)
    shares = {state: states.count(state) / len(states) for state in "HE"}
    loop = 1.0 - sum(shares.values())
    return Finding(loop, f"Helix {shares['H']:.2f}, strand {shares['E']:.2f}.")


def left_handed_crossovers(protein: Protein) -> Finding:
    """Count strand-helix-strand units that turn to the left.

    Two parallel neighbors in a sheet, joined through a helix beside the sheet, turn to the right
    in nearly all real proteins (Richardson, *PNAS* 73, 1976; Sternberg & Thornton, 1976).
    """
    found = [
        (hand, f"{part.labels[start]} to {part.labels[stop]}")
        for part in split_chains(read_chain(protein))
        for hand, start, stop in crossovers(part)
    ]
    if not found:
        return Finding(None, "There is no such unit.")
    left = [place for hand, place in found if hand < 0]
    where = f"From {', '.join(left[:5])}." if left else f"Of {len(found)}."
    return Finding(float(len(left)), where)


def crossovers(chain: Chain) -> list[tuple[int, int, int]]:
    """Find strand-helix-strand units of one chain.

    Parameters
    ----------
    chain : Chain

    Returns
    -------
    list of tuple of int
        Hand (1 right, -1 left), and the residues where the unit starts and stops, 0-based.
    """
    states = dssp(chain.atoms)
    ca = chain.atoms[:, 1]
    found = []
    for ladder in ladders(chain.atoms):
        if ladder.orientation != "parallel" or len(ladder.first) < _FEWEST_BRIDGES:
            continue
        one = (min(ladder.first), max(ladder.first) + 1)
        two = (min(ladder.second), max(ladder.second) + 1)
        between = slice(one[1], two[0])
        inner = states[between]
        size = two[0] - one[1]
        # a connection with a strand of its own may lie anywhere
        if not _FEWEST_BETWEEN <= size <= _MOST_BETWEEN or "E" in inner:
            continue
        if inner.count("H") < _HELIX_BETWEEN:
            continue
        helix = np.array([state == "H" for state in inner])
        along = (ca[one[1] - 1] - ca[one[0]]) + (ca[two[1] - 1] - ca[two[0]])
        first, second = ca[slice(*one)].mean(axis=0), ca[slice(*two)].mean(axis=0)
        beside = ca[between][helix].mean(axis=0) - 0.5 * (first + second)
        normal = np.cross(second - first, along)
        height = float(normal @ beside / max(float(np.linalg.norm(normal)), 1e-9))
        if abs(height) >= _CLEAR:
            found.append((1 if height > 0 else -1, one[0], two[1] - 1))
    return found


MEASURES: Final[dict[str, Measure]] = {
    "knots": knots,
    "backbone_clash_per_1000": backbone_clashes,
    "closest_ca": closest_ca,
    "cb_deviations": cb_deviations,
    "anisotropy": anisotropy,
    "contact_order": contact_order,
    "long_range_contacts": long_range_contacts,
    "loop_share": loop_share,
    "left_handed_crossovers": left_handed_crossovers,
}
"""What the checks of the fold measure, by name."""
