"""Which chains are good enough to learn from."""

from __future__ import annotations

import msgspec
import numpy as np

from protein_lab import constants
from protein_lab.training.sources import RawChain

MAX_PEPTIDE_BOND = 2.0
"""Angstrom; a longer C-N distance is a chain break, whatever the CA-CA distance says."""


class CorpusOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which chains enter a corpus and how they are split.

    Attributes
    ----------
    min_length, max_length : int
        Bounds on the number of residues.
    min_ca_distance, max_ca_distance : float
        Bounds on the distance of successive CA atoms, in angstrom.
    max_rg_factor : float
        Largest ratio, either way, of the radius of gyration to 2.2 L^0.38 angstrom.
    fractions : dict
        Shares of the sequence clusters that the splits get.
    """

    min_length: int = 40
    max_length: int = 512
    min_ca_distance: float = 2.7
    max_ca_distance: float = 4.2
    max_rg_factor: float = 1.35
    fractions: dict[str, float] = msgspec.field(
        default_factory=lambda: {"train": 0.9, "calibration": 0.05, "test": 0.05}
    )


def rejection(chain: RawChain, options: CorpusOptions) -> str | None:
    """Why a chain does not enter the corpus; None when it does.

    Parameters
    ----------
    chain : RawChain
        Candidate.
    options : CorpusOptions
        Limits.
    """
    length = len(chain.sequence)
    if not options.min_length <= length <= options.max_length:
        return "length"
    backbone = np.asarray(chain.backbone, dtype=np.float64)
    if backbone.shape != (length, 4, 3) or not np.isfinite(backbone).all():
        return "missing backbone atoms"
    if np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1).max() > MAX_PEPTIDE_BOND:
        return "chain break"
    ca = backbone[:, 1]
    steps = np.linalg.norm(np.diff(ca, axis=0), axis=-1)
    if steps.min() < options.min_ca_distance or steps.max() > options.max_ca_distance:
        return "CA-CA distance"
    rg = np.sqrt(((ca - ca.mean(axis=0)) ** 2).sum(axis=-1).mean())
    expected = constants.RADIUS_OF_GYRATION_FACTOR * length**constants.RADIUS_OF_GYRATION_EXPONENT
    if max(rg / expected, expected / rg) > options.max_rg_factor:
        return "radius of gyration"
    return None
