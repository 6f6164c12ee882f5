"""Potentials of mean force counted in the corpus: torsions, contacts, burial and packing.

An energy here is the negative logarithm of how much more often something is seen in real chains
than in a reference state (Sippl, *J. Mol. Biol.* 213, 1990), so it has no unit but nats. What is
reported is a z-score: how many standard deviations the mean over the residues lies above that of
real chains of the same length. Potentials are counted in the train split, the distributions over
real chains in the calibration split.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.constants import AMINO_ACIDS
from protein_lab.errors import ProteinLabError
from protein_lab.geometry import dihedral, virtual_cb
from protein_lab.protein import Protein
from protein_lab.settings import ASSETS
from protein_lab.typing import BoolArray, FloatArray, IntArray
from protein_lab.validation.base import Finding, Measure
from protein_lab.validation.chains import Chain, read_chain

FOLDER: Final = ASSETS / "potentials"
NAME: Final = "potentials"

NUM_TYPES: Final = 20
UNKNOWN: Final = 20
TORSION_BINS: Final = 36
EDGES: Final = (0.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0)
"""Distances of CB atoms between which contacts are counted, angstrom."""

NEAREST_SEPARATION: Final = 4
FAR_SEPARATION: Final = 9
"""Residues apart from which contacts count at all, and have a table of their own."""

PACKING_REACH: Final = 10.0
"""Distance of CB atoms up to which residues count as neighbors, angstrom."""

PACKING_BINS: Final = (3, 5, 7, 9, 11, 13, 15, 17, 19, 22, 25)
QUANTITIES: Final = ("torsion", "torsion_any", "contact", "burial", "packing")
"""``torsion_any`` is for residues of unknown type, ``packing`` the mean number of neighbors."""

MIN_LENGTH: Final = 30
_FEWEST_CONTACTS: Final = 20
_MOSTLY: Final = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Potentials:
    """Tables of energies, and what real chains have.

    Attributes
    ----------
    torsion : ndarray, shape=(21, phi, psi)
        By type of the residue, 20 for any; nats, from -180 degrees on.
    contact : ndarray, shape=(2, 20, 20, distance)
        By separation along the chain (near, far) and types; nats.
    burial : ndarray, shape=(20, neighbors)
        By type and number of neighbors; nats.
    lengths : ndarray, shape=(knot,)
        Lengths of chains at which distributions are known, residues.
    mean, spread : ndarray, shape=(quantity, knot)
        Of real chains, in the order of :data:`QUANTITIES`.
    """

    torsion: FloatArray
    contact: FloatArray
    burial: FloatArray
    lengths: FloatArray
    mean: FloatArray
    spread: FloatArray

    def zscore(self, quantity: str, value: float, length: int) -> float:
        """Give the distance from real chains of a length, in their standard deviations."""
        row = QUANTITIES.index(quantity)
        place = np.log(length)
        mean = np.interp(place, np.log(self.lengths), self.mean[row])
        return float((value - mean) / np.interp(place, np.log(self.lengths), self.spread[row]))


@cache
def load_potentials(folder: Path = FOLDER) -> Potentials:
    """Read the tables.

    Raises
    ------
    ProteinLabError
        If a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / f"{NAME}.safetensors"
    try:
        data = path.read_bytes()
        card = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
        arrays = load(data)
        if hashlib.sha256(data).hexdigest() != card["sha256"]:
            raise ValueError("its digest is not that of its card")
        fields = Potentials.__slots__
        return Potentials(**{name: arrays[name].astype(np.float64) for name in fields})
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ProteinLabError(
            f"The potentials {path} cannot be read ({error}).",
            "Install the package again, or build them with: protein-lab corpus potentials.",
        ) from error


def codes_of(sequence: str) -> IntArray:
    """Give types of residues, 20 where unknown."""
    return np.array([AMINO_ACIDS.index(letter) for letter in sequence], dtype=np.int64)


def torsion_bins(chain: Chain) -> tuple[IntArray, IntArray, BoolArray]:
    """Give the bins of phi and psi of each residue, and which residues have both."""
    n, ca, c, _ = np.moveaxis(chain.atoms, 1, 0)
    size = len(chain.labels)
    phi, psi, known = np.zeros(size), np.zeros(size), np.zeros(size, dtype=bool)
    if size >= 3:
        phi[1:-1] = dihedral(c[:-2], n[1:-1], ca[1:-1], c[1:-1])
        psi[1:-1] = dihedral(n[1:-1], ca[1:-1], c[1:-1], n[2:])
        known[1:-1] = chain.linked[:-1] & chain.linked[1:]
    width = 2 * np.pi / TORSION_BINS
    rows, columns = (np.floor((x + np.pi) / width).astype(int) % TORSION_BINS for x in (phi, psi))
    return rows, columns, known


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of residues whose CB atoms are near.

    Attributes
    ----------
    first, second : ndarray of int, shape=(pair,)
    distance : ndarray of int, shape=(pair,)
        Bin of :data:`EDGES`.
    far : ndarray of int, shape=(pair,)
        One where they are far apart along the chain.
    neighbors : ndarray of int, shape=(residue,)
        Within :data:`PACKING_REACH`, bonded ones left out.
    """

    first: IntArray
    second: IntArray
    distance: IntArray
    far: IntArray
    neighbors: IntArray


def find_pairs(atoms: FloatArray) -> Pairs:
    """Find near residues of one chain.

    Parameters
    ----------
    atoms : ndarray, shape=(residue, 4, 3)
        Angstrom.
    """
    from scipy.spatial import KDTree

    cb = virtual_cb(atoms)
    pairs = KDTree(cb).query_pairs(EDGES[-1], output_type="ndarray")
    pairs = pairs[np.lexsort(pairs.T[::-1])] if len(pairs) else np.zeros((0, 2), dtype=int)
    distance = np.linalg.norm(cb[pairs[:, 0]] - cb[pairs[:, 1]], axis=-1)
    apart = pairs[:, 1] - pairs[:, 0]
    close = pairs[(distance < PACKING_REACH) & (apart > 1)]
    neighbors = np.bincount(close.ravel(), minlength=len(cb))
    kept = apart >= NEAREST_SEPARATION
    bins = np.clip(np.searchsorted(EDGES, distance[kept], side="right") - 1, 0, len(EDGES) - 2)
    return Pairs(
        first=pairs[kept, 0],
        second=pairs[kept, 1],
        distance=bins,
        far=(apart[kept] >= FAR_SEPARATION).astype(int),
        neighbors=neighbors,
    )


@dataclass(frozen=True, slots=True, eq=False)
class ResidueEnergies:
    """Energies of every residue of one chain, nats; zero where there is nothing to count.

    Attributes
    ----------
    known : ndarray of bool, shape=(residue,)
        Whether its type is known.
    inner : ndarray of bool, shape=(residue,)
        Whether it has phi and psi.
    torsion, torsion_any : ndarray, shape=(residue,)
        Of its type, and of any type.
    contact : ndarray, shape=(2, residue)
        Half the energy of its near and of its far pairs along the chain.
    burial : ndarray, shape=(residue,)
    neighbors : ndarray of int, shape=(residue,)
    num_contacts : int
        Pairs of known types in the chain.
    """

    known: BoolArray
    inner: BoolArray
    torsion: FloatArray
    torsion_any: FloatArray
    contact: FloatArray
    burial: FloatArray
    neighbors: IntArray
    num_contacts: int


def residue_energies(chain: Chain, tables: Potentials) -> ResidueEnergies:
    """Look up the energies of the residues of one chain."""
    types = codes_of(chain.sequence)
    size, known = len(types), types < NUM_TYPES
    rows, columns, inner = torsion_bins(chain)
    pairs = find_pairs(chain.atoms)
    torsion, torsion_any, burial = np.zeros((3, size))
    torsion_any[inner] = tables.torsion[UNKNOWN, rows[inner], columns[inner]]
    both = inner & known
    torsion[both] = tables.torsion[types[both], rows[both], columns[both]]
    bins = np.searchsorted(PACKING_BINS, pairs.neighbors)
    burial[known] = tables.burial[types[known], bins[known]]
    contact = np.zeros((2, size))
    seen = known[pairs.first] & known[pairs.second]
    first, second, far = pairs.first[seen], pairs.second[seen], pairs.far[seen]
    values = 0.5 * tables.contact[far, types[first], types[second], pairs.distance[seen]]
    np.add.at(contact, (far, first), values)
    np.add.at(contact, (far, second), values)
    return ResidueEnergies(
        known, inner, torsion, torsion_any, contact, burial, pairs.neighbors, int(seen.sum())
    )


def energies(chain: Chain, tables: Potentials) -> dict[str, float]:
    """Mean energy of the residues of one chain, by quantity.

    Parameters
    ----------
    chain : Chain
    tables : Potentials

    Returns
    -------
    dict of str to float
        Nats a residue; ``packing`` is a number of neighbors. Quantities that need to know the
        residues are left out where more than a tenth is unknown.
    """
    return energies_of(residue_energies(chain, tables))


def energies_of(given: ResidueEnergies) -> dict[str, float]:
    """Average over the residues of a chain; see :func:`energies`."""
    found = {"packing": float(given.neighbors.mean())}
    if given.inner.any():
        found["torsion_any"] = float(given.torsion_any[given.inner].mean())
    if given.known.mean() < _MOSTLY:
        return found
    both = given.inner & given.known
    if both.any():
        found["torsion"] = float(given.torsion[both].mean())
    if given.num_contacts >= _FEWEST_CONTACTS:
        found["contact"] = float(given.contact.sum() / given.known.sum())
    found["burial"] = float(given.burial[given.known].mean())
    return found


def split_chains(chain: Chain) -> list[Chain]:
    """Take the chains of a structure one by one."""
    parts = []
    for number in np.unique(chain.chain_index):
        mine = np.flatnonzero(chain.chain_index == number)
        inner = mine[:-1]
        parts.append(
            Chain(
                atoms=chain.atoms[mine],
                linked=chain.linked[inner],
                expected=chain.expected[inner],
                chain_index=chain.chain_index[mine],
                labels=tuple(chain.labels[i] for i in mine),
                sequence="".join(chain.sequence[i] for i in mine),
                num_missing=0,
                num_chains=1,
            )
        )
    return parts


def _zscores(*quantities: str, sign: float = 1.0) -> Callable[[Protein], Finding]:
    """Measure the first quantity that there is; of several chains the worst counts."""

    def measure(protein: Protein) -> Finding:
        tables = load_potentials()
        worst: tuple[float, str] | None = None
        reason = f"No chain has {MIN_LENGTH} residues with whole backbone."
        for part in split_chains(read_chain(protein)):
            if len(part.labels) < MIN_LENGTH:
                continue
            found = energies(part, tables)
            name = next((item for item in quantities if item in found), None)
            if name is None:
                reason = "The sequence is not known."
                continue
            score = tables.zscore(name, found[name], len(part.labels))
            unit = "neighbors" if name == "packing" else "nats"
            known = "" if name == quantities[0] else ", residues taken as unknown"
            text = f"Mean {found[name]:.3g} {unit} a residue{known}."
            if worst is None or sign * score > sign * worst[0]:
                worst = (score, text)
        return Finding(None, reason) if worst is None else Finding(*worst)

    return measure


MEASURES: Final[dict[str, Measure]] = {
    "torsion_potential": _zscores("torsion", "torsion_any"),
    "contact_potential": _zscores("contact"),
    "burial_potential": _zscores("burial"),
    "packing_density": _zscores("packing", sign=-1.0),
}
"""What the statistical checks measure, by name."""
