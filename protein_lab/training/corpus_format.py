"""How a corpus lies on disk: fixed-point coordinates, Zarr layout and digests.

Coordinates are integers in units of 0.01 angstrom relative to the chain's centroid. On disk they
are differences along the chain (N to CA to C, C to O, C to the next N), whose high and low bytes
lie apart: a difference is a bond vector, so the high byte is almost free and zstd gets the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from protein_lab.constants import AMINO_ACIDS
from protein_lab.errors import CorpusError
from protein_lab.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import zarr

FORMAT: Final = "protein_lab.corpus"
VERSION: Final = 1
RESOLUTION: Final = 0.01
"""Angstrom per stored unit."""

SPLITS: Final = ("train", "calibration", "test")
REBUILD: Final = (
    "Mend it by reinstalling the package, or build a corpus with: protein-lab corpus build"
)
_RESIDUES_PER_CHUNK: Final = 1 << 18
_CHAINS_PER_CHUNK: Final = 1 << 16
_INT16_LIMIT: Final = np.iinfo(np.int16).max


@dataclass(frozen=True, slots=True, eq=False)
class CorpusArrays:
    """All arrays of a corpus; residues of all chains lie after each other.

    Attributes
    ----------
    ids : tuple of str
        Source id of each chain, such as ``1UBQ_A``.
    offsets : ndarray, shape (chain + 1,)
        Chain ``i`` owns the residues ``offsets[i]:offsets[i + 1]``.
    positions : ndarray of int16, shape (residue, 4, 3)
        N, CA, C, O in units of 0.01 angstrom, relative to the CA centroid of the chain.
    sequence, secondary_structure : ndarray of uint8, shape (residue,)
        ASCII codes of amino acids and of H, E, L.
    split : ndarray of uint8, shape (chain,)
        Index into :data:`SPLITS`.
    cluster : ndarray of int32, shape (chain,)
        Index of the chain that represents the sequence cluster.
    novel_fold : ndarray of bool, shape (chain,)
        Verified to have TM-score below 0.5 to every training chain.
    """

    ids: tuple[str, ...]
    offsets: IntArray
    positions: IntArray
    sequence: IntArray
    secondary_structure: IntArray
    split: IntArray
    cluster: IntArray
    novel_fold: BoolArray


def quantize(backbone: FloatArray) -> IntArray:
    """Turn coordinates into integers of 0.01 angstrom around the CA centroid.

    Parameters
    ----------
    backbone : ndarray, shape (residue, 4, 3)
        N, CA, C, O in angstrom.

    Returns
    -------
    ndarray of int16, shape (residue, 4, 3)

    Raises
    ------
    CorpusError
        A coordinate is not finite or over 327 angstrom away from the centroid.
    """
    scaled = np.asarray(backbone, dtype=np.float64) / RESOLUTION
    if not np.isfinite(scaled).all():
        raise CorpusError("Coordinates must be finite; NaN or infinity came.")
    units = np.rint(scaled).astype(np.int64)
    units -= np.rint(units[:, 1].mean(axis=0)).astype(np.int64)
    if np.abs(units).max(initial=0) > _INT16_LIMIT:
        raise CorpusError("A chain must lie within 327 angstrom of its centroid; a larger came.")
    return units.astype(np.int16)


def encode(positions: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    """Differences along the chain as low and high bytes, each of shape (12, residue)."""
    units = positions.astype(np.int32)
    deltas = np.empty_like(units)
    deltas[:, 1] = units[:, 1] - units[:, 0]
    deltas[:, 2] = units[:, 2] - units[:, 1]
    deltas[:, 3] = units[:, 3] - units[:, 2]
    deltas[1:, 0] = units[1:, 0] - units[:-1, 2]
    starts = offsets[:-1]
    deltas[starts, 0] = units[starts, 0]
    flat = deltas.astype("<i2").reshape(len(units), 12).T
    words = np.ascontiguousarray(flat).view(np.uint8).reshape(12, len(units), 2)
    return np.ascontiguousarray(words[..., 0]), np.ascontiguousarray(words[..., 1])


def decode(low: IntArray, high: IntArray, offsets: IntArray) -> IntArray:
    """Positions of shape (residue, 4, 3) from what :func:`encode` returned."""
    words = np.stack([low, high], axis=-1).view("<i2")[..., 0]
    deltas = words.T.reshape(-1, 4, 3)
    path = deltas[:, :3].reshape(-1, 3).astype(np.int64)
    trace = np.cumsum(path, axis=0)
    starts = 3 * offsets[:-1]
    before = trace[starts] - path[starts]
    trace -= np.repeat(before, 3 * np.diff(offsets), axis=0)
    positions = np.empty(deltas.shape, dtype=np.int16)
    positions[:, :3] = trace.reshape(-1, 3, 3)
    positions[:, 3] = positions[:, 2] + deltas[:, 3]
    return positions


def content_digest(arrays: CorpusArrays) -> str:
    """SHA-256 over ids, lengths, splits, sequences, states and coordinates.

    It depends neither on compression nor on the novel-fold flags, which have their own digest.
    """
    digest = hashlib.sha256(f"{FORMAT} {VERSION}\n".encode())
    digest.update("\n".join(arrays.ids).encode() + b"\n")
    digest.update(np.diff(arrays.offsets).astype("<i4").tobytes())
    digest.update(arrays.split.astype(np.uint8).tobytes())
    digest.update(arrays.sequence.astype(np.uint8).tobytes())
    digest.update(arrays.secondary_structure.astype(np.uint8).tobytes())
    digest.update(np.ascontiguousarray(arrays.positions.astype("<i2")).tobytes())
    return digest.hexdigest()


def novel_fold_digest(arrays: CorpusArrays) -> str:
    """SHA-256 over the ids of the chains that are flagged as novel folds."""
    flagged = [name for name, flag in zip(arrays.ids, arrays.novel_fold, strict=True) if flag]
    return hashlib.sha256("\n".join(flagged).encode()).hexdigest()


def write(folder: Path, arrays: CorpusArrays, provenance: dict[str, Any]) -> None:
    """Write a Zarr v3 group with a checksum on every chunk.

    Parameters
    ----------
    folder : Path
        New folder.
    arrays : CorpusArrays
        What to write.
    provenance : dict
        JSON-ready facts on where the chains come from, stored as an attribute.
    """
    import zarr

    low, high = encode(arrays.positions, arrays.offsets)
    names = np.frombuffer("\n".join(arrays.ids).encode(), dtype=np.uint8)
    members: dict[str, tuple[IntArray, tuple[str, ...], str]] = {
        "backbone_low": (low, ("coordinate", "residue"), "0.01 angstrom, low byte"),
        "backbone_high": (high, ("coordinate", "residue"), "0.01 angstrom, high byte"),
        "sequence": (arrays.sequence, ("residue",), "ASCII"),
        "secondary_structure": (arrays.secondary_structure, ("residue",), "ASCII"),
        "offsets": (arrays.offsets.astype(np.int64), ("boundary",), "residues"),
        "split": (arrays.split, ("chain",), "index into attribute splits"),
        "cluster": (arrays.cluster.astype(np.int32), ("chain",), "chain index"),
        "novel_fold": (arrays.novel_fold.astype(np.uint8), ("chain",), "1 is true"),
        "ids": (names, ("character",), "ASCII, one id a line"),
    }
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    group.attrs.update(
        {
            "format": FORMAT,
            "version": VERSION,
            "splits": list(SPLITS),
            "num_chains": len(arrays.ids),
            "num_residues": int(arrays.offsets[-1]),
            "digest": content_digest(arrays),
            "novel_fold_digest": novel_fold_digest(arrays),
            "provenance": provenance,
        }
    )
    for name, (values, dimensions, unit) in members.items():
        _write_array(group, name, np.ascontiguousarray(values), dimensions, unit)


def _write_array(
    group: zarr.Group, name: str, values: IntArray, dimensions: tuple[str, ...], unit: str
) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    size = _RESIDUES_PER_CHUNK if "residue" in dimensions else _CHAINS_PER_CHUNK
    chunks = (*values.shape[:-1], max(1, min(size, values.shape[-1])))
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        dimension_names=dimensions,
        compressors=[ZstdCodec(level=19, checksum=True), Crc32cCodec()],
        attributes={"units": unit},
        # A chunk that is not there must mean loss, never "all zero".
        config={"write_empty_chunks": True},
    )
    array[...] = values


def open_group(folder: Path) -> zarr.Group:
    """Open a corpus and check that it is one.

    Raises
    ------
    CorpusError
        Nothing is there, or it is not a corpus of this version.
    """
    import zarr

    if not (folder / "zarr.json").is_file():
        raise CorpusError(f"Expected a corpus at {folder}; nothing readable is there.", REBUILD)
    try:
        group = zarr.open_group(folder, mode="r", zarr_format=3, use_consolidated=False)
        found = group.attrs.get("format"), group.attrs.get("version")
    except Exception as error:
        raise CorpusError(f"The corpus at {folder} cannot be read: {error}", REBUILD) from error
    if found != (FORMAT, VERSION):
        raise CorpusError(
            f"Expected {FORMAT} version {VERSION} at {folder}; found {found[0]} {found[1]}.",
            REBUILD,
        )
    return group


def _read_array(group: zarr.Group, name: str) -> Any:
    import zarr

    try:
        array = group[name]
        if not isinstance(array, zarr.Array):
            raise CorpusError(f"{name!r} is not an array.")
        if array.nchunks_initialized < array.nchunks:
            lost = array.nchunks - array.nchunks_initialized
            raise CorpusError(f"{lost} of {array.nchunks} chunks of {name!r} are missing.")
        return np.asarray(array[...])
    except Exception as error:
        raise CorpusError(
            f"The array {name!r} of the corpus at {group.store_path} is damaged: {error}", REBUILD
        ) from error


def read(group: zarr.Group) -> CorpusArrays:
    """Read and decode all arrays.

    Raises
    ------
    CorpusError
        A chunk is missing or fails its checksum; the message names the array.
    """
    offsets = _read_array(group, "offsets").astype(np.int64)
    low, high = _read_array(group, "backbone_low"), _read_array(group, "backbone_high")
    ids = tuple(_read_array(group, "ids").tobytes().decode("ascii", "replace").split("\n"))
    arrays = CorpusArrays(
        ids=ids,
        offsets=offsets,
        positions=decode(low, high, offsets),
        sequence=_read_array(group, "sequence"),
        secondary_structure=_read_array(group, "secondary_structure"),
        split=_read_array(group, "split"),
        cluster=_read_array(group, "cluster"),
        novel_fold=_read_array(group, "novel_fold").astype(bool),
    )
    if not len(ids) == len(arrays.split) == len(arrays.novel_fold) == len(offsets) - 1:
        raise CorpusError("The arrays of the corpus disagree on the number of chains.", REBUILD)
    return arrays


def letters(text: Sequence[str]) -> IntArray:
    """ASCII codes of strings joined together."""
    return np.frombuffer("".join(text).encode("ascii"), dtype=np.uint8)


def clean_sequence(sequence: str) -> str:
    """Replace every letter that is not one of the twenty amino acids with ``X``."""
    return "".join(letter if letter in AMINO_ACIDS else "X" for letter in sequence.upper())
