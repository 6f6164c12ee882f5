"""Reference densities of phi and psi, counted in the corpus.

The table in the package holds, for every bin of 5 degrees, which share of real residues lies in
denser bins. So *favored* and *outlier* are shares of our own real chains; they are near to, but
not the same as, the contours of MolProbity.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from protein_lab.geometry import dihedral
from protein_lab.settings import ASSETS
from protein_lab.training.corpus import Corpus
from protein_lab.training.corpus_format import RESOLUTION, SPLITS
from protein_lab.typing import FloatArray, IntArray

TABLE: Final = ASSETS / "plotting" / "ramachandran.npy"
STEPS: Final = 250
"""The table holds shares as whole numbers of 1 / 250."""

FAVORED: Final = 0.98
ALLOWED: Final = 0.998
"""Shares of real residues in the favored and in the allowed region."""

_BINS: Final = 72
_SMOOTHING: Final = 1.0
_LINKED: Final = 2.0
_SPECIAL: Final = b"GPX"
"""Glycine, proline and unknown residues have regions of their own and are not counted."""


@cache
def _table() -> FloatArray:
    return np.load(TABLE) / STEPS


def ramachandran_share(phi: FloatArray, psi: FloatArray) -> FloatArray:
    """Look up how far out of the populated regions torsions lie.

    Parameters
    ----------
    phi, psi : ndarray, shape=(residue,)
        Radians.

    Returns
    -------
    ndarray, shape=(residue,)
        0 in the densest bin, 1 where hardly any real residue is; the share of real residues
        (glycine and proline left out) that lie in denser bins.
    """
    row, column = _bin(phi), _bin(psi)
    return _table()[row, column]


def _bin(angle: FloatArray) -> IntArray:
    return np.floor((np.degrees(angle) + 180.0) / 360.0 * _BINS).astype(np.int64) % _BINS


def count_torsions(corpus: Corpus, split: str = "train") -> IntArray:
    """Count phi and psi of real residues in bins of 5 degrees.

    Residues at chain ends and breaks, glycine, proline and unknown ones are left out.

    Returns
    -------
    ndarray, shape=(phi, psi)
        From -180 degrees on.
    """
    arrays = corpus.arrays
    position = arrays.positions * RESOLUTION
    nitrogen, alpha, carbon = position[:, 0], position[:, 1], position[:, 2]
    linked = np.linalg.norm(nitrogen[1:] - carbon[:-1], axis=-1) < _LINKED
    linked[arrays.offsets[1:-1] - 1] = False
    in_split = np.repeat(arrays.split == SPLITS.index(split), np.diff(arrays.offsets))
    special = np.isin(arrays.sequence, np.frombuffer(_SPECIAL, dtype=np.uint8))
    counted = (in_split & ~special)[1:-1] & linked[:-1] & linked[1:]
    middle = np.flatnonzero(counted) + 1
    phi = dihedral(carbon[middle - 1], nitrogen[middle], alpha[middle], carbon[middle])
    psi = dihedral(nitrogen[middle], alpha[middle], carbon[middle], nitrogen[middle + 1])
    counts = np.zeros((_BINS, _BINS), dtype=np.int64)
    np.add.at(counts, (_bin(phi), _bin(psi)), 1)
    return counts


def density_table(counts: IntArray) -> IntArray:
    """Turn counts into the table of the package.

    Bins are ordered by their count after smoothing with a Gaussian of one bin, which settles the
    order of bins with few residues; the shares themselves are counted.

    Parameters
    ----------
    counts : ndarray, shape=(phi, psi)
        From :func:`count_torsions`.

    Returns
    -------
    ndarray of uint8, shape=(phi, psi)
        Share of residues in bins at least as dense, in steps of 1 / 250.
    """
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(counts.astype(np.float64), _SMOOTHING, mode="wrap")
    order = np.argsort(-smooth, axis=None, kind="stable")
    share = np.empty(counts.size)
    share[order] = np.cumsum(counts.ravel()[order]) / counts.sum()
    return np.round(STEPS * share).reshape(counts.shape).astype(np.uint8)
