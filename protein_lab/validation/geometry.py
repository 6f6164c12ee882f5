"""Checks of covalent geometry, clashes and folding that need nothing but the coordinates."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.constants import (
    ANGLE_C_N_CA,
    ANGLE_CA_C_N,
    ANGLE_CA_C_O,
    ANGLE_N_CA_C,
    ATOM_NAMES,
    BOND_C_N,
    BOND_C_O,
    BOND_CA_C,
    BOND_N_CA,
    CA_CA_TRANS,
    CB_INDEX,
    RADIUS_OF_GYRATION_EXPONENT,
    RADIUS_OF_GYRATION_FACTOR,
)
from protein_lab.geometry import dihedral, radius_of_gyration
from protein_lab.metrics import dssp, helix_handedness, num_clashes, segments
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.validation.base import Finding, Measure
from protein_lab.validation.chains import Chain, read_chain
from protein_lab.validation.ramachandran import ALLOWED, FAVORED, ramachandran_share

CA_CA_CIS: Final = 2.95
"""Distance of consecutive CA atoms across a cis peptide bond, angstrom."""

MIN_FOLD_LENGTH: Final = 40
"""Chains below need not be compact; the law of the radius of gyration is one of domains."""

_N, _CA, _C, _O = range(4)


def _worst(deviation: FloatArray, labels: tuple[str, ...], what: str) -> Finding:
    """Report the largest of deviations, one a residue; NaN where there is none."""
    if not np.isfinite(deviation).any():
        return Finding(None, "There is nothing to measure.")
    place = int(np.nanargmax(deviation))
    return Finding(float(deviation[place]), f"Largest at {labels[place]}{what}.")


def _joined(chain: Chain, values: FloatArray) -> FloatArray:
    """Bring values of the links to residues; NaN where a residue has no bond to the next."""
    padded = np.full(len(chain.labels), np.nan)
    padded[:-1][chain.linked] = values[chain.linked]
    return padded


def _distance(first: FloatArray, second: FloatArray) -> FloatArray:
    return np.linalg.norm(first - second, axis=-1)


def _angle(first: FloatArray, middle: FloatArray, last: FloatArray) -> FloatArray:
    one, two = first - middle, last - middle
    sine = np.linalg.norm(np.cross(one, two), axis=-1)
    return np.degrees(np.arctan2(sine, (one * two).sum(-1)))


def _largest(kinds: dict[str, FloatArray], labels: tuple[str, ...]) -> Finding:
    """Find the kind and the residue with the largest deviation."""
    if not labels:
        return Finding(None, "No residue has a whole backbone.")
    tops = {name: np.nanmax(values, initial=-1.0) for name, values in kinds.items()}
    name = max(tops, key=lambda key: tops[key])
    return _worst(kinds[name], labels, f", {name}")


def bond_lengths(protein: Protein) -> Finding:
    """Largest deviation of a backbone bond from its ideal length, angstrom."""
    chain = read_chain(protein)
    n, ca, c, o = np.moveaxis(chain.atoms, 1, 0)
    kinds = {
        "N-CA": np.abs(_distance(n, ca) - BOND_N_CA),
        "CA-C": np.abs(_distance(ca, c) - BOND_CA_C),
        "C-O": np.abs(_distance(c, o) - BOND_C_O),
        "C-N": _joined(chain, np.abs(_distance(c[:-1], n[1:]) - BOND_C_N)),
    }
    return _largest(kinds, chain.labels)


def bond_angles(protein: Protein) -> Finding:
    """Largest deviation of a backbone bond angle from its ideal, degrees."""
    chain = read_chain(protein)
    n, ca, c, o = np.moveaxis(chain.atoms, 1, 0)
    kinds = {
        "N-CA-C": np.abs(_angle(n, ca, c) - ANGLE_N_CA_C),
        "CA-C-O": np.abs(_angle(ca, c, o) - ANGLE_CA_C_O),
        "CA-C-N": _joined(chain, np.abs(_angle(ca[:-1], c[:-1], n[1:]) - ANGLE_CA_C_N)),
        "C-N-CA": _joined(chain, np.abs(_angle(c[:-1], n[1:], ca[1:]) - ANGLE_C_N_CA)),
    }
    return _largest(kinds, chain.labels)


def _omega(chain: Chain) -> FloatArray:
    """Torsion about each peptide bond in degrees, absolute, at the residue before it."""
    _, ca, c, _ = np.moveaxis(chain.atoms, 1, 0)
    n = chain.atoms[:, _N]
    return _joined(chain, np.abs(np.degrees(dihedral(ca[:-1], c[:-1], n[1:], ca[1:]))))


def peptide_planarity(protein: Protein) -> Finding:
    """Largest distance of a peptide torsion omega from trans (180) or cis (0), degrees."""
    chain = read_chain(protein)
    omega = _omega(chain)
    return _worst(np.minimum(180.0 - omega, omega), chain.labels, "")


def cis_peptides(protein: Protein) -> Finding:
    """Fraction of cis peptide bonds, those before a proline left out."""
    chain = read_chain(protein)
    omega = _omega(chain)[:-1]
    counted = np.isfinite(omega) & (np.array(list(chain.sequence[1:])) != "P")
    if not counted.any():
        return Finding(None, "There is no peptide bond to measure.")
    cis = counted & (omega < 90.0)
    places = ", ".join(chain.labels[i] for i in np.flatnonzero(cis)[:5])
    return Finding(float(cis.sum() / counted.sum()), f"After {places}." if places else "")


def chirality(protein: Protein) -> Finding:
    """Count CA atoms with the hand of a D amino acid, from the CB atoms that are there.

    Designs get an ideal CB, whose hand is right by construction; what can be wrong in them shows
    in :func:`left_handed_helices`.
    """
    has_cb = np.asarray(protein.has_backbone) & protein.atom_mask[:, CB_INDEX]
    if not has_cb.any():
        return Finding(None, "No residue has a CB atom.")
    positions = np.asarray(protein.atom_positions, dtype=np.float64)[has_cb]
    n, ca, c, cb = (positions[:, ATOM_NAMES.index(name)] for name in ("N", "CA", "C", "CB"))
    volume = ((n - ca) * np.cross(c - ca, cb - ca)).sum(-1)
    return Finding(float((volume <= 0.0).sum()))


def ca_distances(protein: Protein) -> Finding:
    """Largest deviation of bonded CA atoms from their trans or cis distance, angstrom."""
    chain = read_chain(protein)
    step = _distance(chain.atoms[1:, _CA], chain.atoms[:-1, _CA])
    deviation = np.minimum(np.abs(step - CA_CA_TRANS), np.abs(step - CA_CA_CIS))
    return _worst(_joined(chain, deviation), chain.labels, "")


def chain_breaks(protein: Protein) -> Finding:
    """Count consecutive residues of one chain that no peptide bond joins."""
    chain = read_chain(protein)
    broken = np.flatnonzero(chain.expected & ~chain.linked)
    places = ", ".join(chain.labels[i] for i in broken[:5])
    return Finding(float(broken.size), f"After {places}." if places else "")


def missing_atoms(protein: Protein) -> Finding:
    """Count residues without all of N, CA, C and O."""
    return Finding(float(read_chain(protein).num_missing))


def clashes(protein: Protein) -> Finding:
    """Count pairs of backbone and CB atoms that overlap by more than 1.5 angstrom."""
    chain = read_chain(protein)
    if not chain.labels:
        return Finding(None, "No residue has a whole backbone.")
    return Finding(float(num_clashes(chain.atoms, tolerance=1.5)))


def left_handed_helices(protein: Protein) -> Finding:
    """Count helices with more turns to the left than to the right, from the CA atoms.

    A kink can turn one CA torsion of a real helix the other way, so whole helices are counted.
    """
    chain = read_chain(protein)
    if not chain.labels:
        return Finding(None, "No residue has a whole backbone.")
    states = dssp(chain.atoms, chain.chain_index)
    left: list[str] = []
    num_helices = 0
    for state, start, stop in segments(states):
        if state != "H":
            continue
        turns = helix_handedness(chain.atoms[start:stop], states[start:stop])
        num_helices += 1
        if turns[1] > turns[0]:
            left.append(f"{chain.labels[start]} to {chain.labels[stop - 1]}")
    if not num_helices:
        return Finding(None, "There is no helix.")
    return Finding(float(len(left)), f"From {', '.join(left[:5])}." if left else "")


def _outside(protein: Protein, share: float) -> Finding:
    chain = read_chain(protein)
    if len(chain.labels) < 3:
        return Finding(None, "The chain is too short.")
    n, ca, c, _ = np.moveaxis(chain.atoms, 1, 0)
    phi = dihedral(c[:-2], n[1:-1], ca[1:-1], c[1:-1])
    psi = dihedral(n[1:-1], ca[1:-1], c[1:-1], n[2:])
    special = np.isin(np.array(list(chain.sequence[1:-1])), ("G", "P"))
    counted = chain.linked[:-1] & chain.linked[1:] & ~special
    if not counted.any():
        return Finding(None, "No residue has neighbors on both sides.")
    out = counted & (ramachandran_share(phi, psi) >= share)
    places = ", ".join(chain.labels[i + 1] for i in np.flatnonzero(out)[:8])
    return Finding(float(out.sum() / counted.sum()), f"At {places}." if places else "")


def ramachandran_outliers(protein: Protein) -> Finding:
    """Fraction of residues outside the regions that hold 99.8 % of real ones."""
    return _outside(protein, ALLOWED)


def ramachandran_favored(protein: Protein) -> Finding:
    """Fraction of residues inside the regions that hold 98 % of real ones."""
    outside = _outside(protein, FAVORED)
    return outside if outside.value is None else Finding(1.0 - outside.value)


def compactness(protein: Protein) -> Finding:
    """Radius of gyration over the 2.2 L^0.38 angstrom of globular chains."""
    chain = read_chain(protein)
    length = len(chain.labels)
    if chain.num_chains > 1 or length < MIN_FOLD_LENGTH:
        return Finding(None, f"For one chain of at least {MIN_FOLD_LENGTH} residues.")
    expected = RADIUS_OF_GYRATION_FACTOR * length**RADIUS_OF_GYRATION_EXPONENT
    return Finding(float(radius_of_gyration(chain.atoms[:, _CA])) / expected)


MEASURES: Final[dict[str, Measure]] = {
    "missing_atoms": missing_atoms,
    "chain_breaks": chain_breaks,
    "bond_lengths": bond_lengths,
    "bond_angles": bond_angles,
    "peptide_planarity": peptide_planarity,
    "cis_peptides": cis_peptides,
    "chirality": chirality,
    "ca_distances": ca_distances,
    "clashes": clashes,
    "left_handed_helices": left_handed_helices,
    "ramachandran_outliers": ramachandran_outliers,
    "ramachandran_favored": ramachandran_favored,
    "compactness": compactness,
}
"""What the checks of the geometry preset measure, by name."""
