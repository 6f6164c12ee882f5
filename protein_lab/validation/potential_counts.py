"""Counting the statistical potentials in a corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.models.weights import write_atomically
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray
from protein_lab.validation.chains import Chain, read_chain
from protein_lab.validation.potentials import (
    EDGES,
    FOLDER,
    NAME,
    NUM_TYPES,
    PACKING_BINS,
    QUANTITIES,
    TORSION_BINS,
    UNKNOWN,
    Potentials,
    codes_of,
    energies,
    find_pairs,
    torsion_bins,
)

KNOTS: Final = 8
SIGMA: Final = 0.02
"""Weight of one observed pair against the reference state, after Sippl (1990)."""

_SMOOTHING: Final = 0.7
_PRIOR: Final = 200.0
_LARGEST: Final = 6.0

Progress = Callable[[int, int], None]


def chain_of(corpus: Corpus, index: int) -> Chain:
    """Take a chain of the corpus as the checks read it."""
    return read_chain(Protein.from_backbone(corpus.backbone(index), corpus.sequence(index)))


def count_potentials(
    corpus: Corpus,
    chains: Sequence[int] | None = None,
    natives: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Potentials:
    """Count potentials, and measure real chains with them.

    Parameters
    ----------
    corpus : Corpus
    chains : sequence of int, optional
        Chains to count in; all of the train split unless given.
    natives : sequence of int, optional
        Chains whose energies are measured; all of the calibration split unless given.
    progress : callable, optional
        Called with the numbers of finished and of all chains.
    """
    counted = list(map(int, corpus.indices("train") if chains is None else chains))
    measured = list(map(int, corpus.indices("calibration") if natives is None else natives))
    total = len(counted) + len(measured)

    def told(indices: Sequence[int], before: int) -> Iterator[Chain]:
        for number, index in enumerate(indices, start=before + 1):
            yield chain_of(corpus, index)
            if progress is not None:
                progress(number, total)

    torsion = np.zeros((NUM_TYPES + 1, TORSION_BINS, TORSION_BINS))
    contact = np.zeros((2, NUM_TYPES + 1, NUM_TYPES + 1, len(EDGES) - 1))
    burial = np.zeros((NUM_TYPES + 1, len(PACKING_BINS) + 1))
    for chain in told(counted, 0):
        types = codes_of(chain.sequence)
        rows, columns, have = torsion_bins(chain)
        np.add.at(torsion, (types[have], rows[have], columns[have]), 1.0)
        pairs = find_pairs(chain.atoms)
        one, two = types[pairs.first], types[pairs.second]
        np.add.at(contact, (pairs.far, one, two, pairs.distance), 1.0)
        np.add.at(burial, (types, np.searchsorted(PACKING_BINS, pairs.neighbors)), 1.0)
    tables = Potentials(
        torsion=_torsion_energy(torsion),
        contact=_contact_energy(contact[:, :NUM_TYPES, :NUM_TYPES]),
        burial=_burial_energy(burial[:NUM_TYPES]),
        lengths=np.ones(1),
        mean=np.zeros((len(QUANTITIES), 1)),
        spread=np.ones((len(QUANTITIES), 1)),
    )
    return _with_natives(tables, [_measured(c, tables) for c in told(measured, len(counted))])


def _torsion_energy(counts: FloatArray) -> FloatArray:
    """Energy against torsions that are all as likely; types with few residues lean on all."""
    from scipy.ndimage import gaussian_filter

    counts = counts.copy()
    counts[UNKNOWN] = counts.sum(axis=0)
    smooth = np.stack([gaussian_filter(part, _SMOOTHING, mode="wrap") for part in counts])
    anything = smooth[UNKNOWN] / max(smooth[UNKNOWN].sum(), 1.0)
    anything = 0.999 * anything + 0.001 / TORSION_BINS**2
    total = smooth.sum(axis=(1, 2), keepdims=True)
    density = (smooth + _PRIOR * anything) / (total + _PRIOR)
    return np.minimum(-np.log(density * TORSION_BINS**2), _LARGEST)


def _contact_energy(counts: FloatArray) -> FloatArray:
    """Energy of types at a distance against any types at that distance (Sippl, 1990)."""
    both = counts + np.swapaxes(counts, 1, 2)
    pairs = both.sum(axis=-1, keepdims=True)
    shares = both / np.maximum(pairs, 1.0)
    anything = counts.sum(axis=(1, 2), keepdims=True)
    reference = np.maximum(anything / np.maximum(anything.sum(-1, keepdims=True), 1.0), 1e-9)
    ratio = shares / reference
    return np.clip(
        np.log(1.0 + pairs * SIGMA) - np.log(1.0 + pairs * SIGMA * ratio), -_LARGEST, _LARGEST
    )


def _burial_energy(counts: FloatArray) -> FloatArray:
    """Energy of a type with so many neighbors against any type."""
    anything = counts.sum(axis=0) + 1.0
    reference = anything / anything.sum()
    shares = (counts + _PRIOR * reference) / (counts.sum(axis=1, keepdims=True) + _PRIOR)
    return -np.log(shares / reference)


def _measured(chain: Chain, tables: Potentials) -> tuple[int, dict[str, float]]:
    return len(chain.labels), energies(chain, tables)


def _with_natives(
    tables: Potentials, natives: Sequence[tuple[int, dict[str, float]]]
) -> Potentials:
    """Add the distributions of real chains by length, in groups of equal size."""
    order = sorted(range(len(natives)), key=lambda number: natives[number][0])
    groups = np.array_split(np.array(order), max(1, min(KNOTS, len(order) // 20)))
    lengths = np.array([np.exp(np.mean([np.log(natives[k][0]) for k in g])) for g in groups])
    mean, spread = np.zeros((2, len(QUANTITIES), len(groups)))
    for row, name in enumerate(QUANTITIES):
        for column, group in enumerate(groups):
            values = [natives[k][1][name] for k in group if name in natives[k][1]]
            mean[row, column] = np.mean(values) if values else 0.0
            spread[row, column] = np.std(values) if len(values) > 1 else 1.0
    spread = np.maximum(spread, 1e-6)
    return Potentials(tables.torsion, tables.contact, tables.burial, lengths, mean, spread)


def save_potentials(tables: Potentials, corpus: Corpus, folder: Path = FOLDER) -> Path:
    """Write the tables and their card.

    Parameters
    ----------
    tables : Potentials
    corpus : Corpus
        That they were counted in.
    folder : Path

    Returns
    -------
    Path
        The file of the tables.
    """
    import tomli_w
    from safetensors.numpy import save

    wide = {name: getattr(tables, name) for name in Potentials.__slots__}
    data = save({name: np.ascontiguousarray(value, np.float32) for name, value in wide.items()})
    card = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "command": "protein-lab corpus potentials",
        "corpus_digest": corpus.digest,
        "counted_in": "train",
        "natives": "calibration",
        "quantities": list(QUANTITIES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.safetensors"
    write_atomically(path, data)
    write_atomically(path.with_suffix(".toml"), tomli_w.dumps(card).encode())
    return path
