"""Write the chains of ProMod3's StructureDB to standard output.

Runs under the Python that has ProMod3 (usually the system's), never under ours, and therefore
imports nothing but NumPy and ProMod3. The output is a series of frames: eight bytes with the
length (unsigned, little endian), then that many bytes of an ``.npz`` archive without pickles.
An archive holds ``ids``, ``sequences`` and ``states`` (one string a chain), ``lengths`` and
``backbone`` (all residues of the archive after each other, N CA C O, xyz, angstrom).

Usage: ``python3 promod3_export.py MIN_LENGTH MAX_LENGTH LIMIT`` (limit 0: all chains).
"""

from __future__ import annotations

import io
import struct
import sys
from collections import Counter
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

CHAINS_PER_FRAME = 500

Chain = tuple[str, str, str, NDArray[np.float64]]
"""Id, sequence, DSSP states, coordinates."""


def _write_frame(stream: BinaryIO, chains: list[Chain]) -> None:
    ids, sequences, states, coordinates = zip(*chains, strict=True)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        ids=np.array(ids),
        sequences=np.array(sequences),
        states=np.array(states),
        lengths=np.array([len(item) for item in sequences], dtype=np.int64),
        backbone=np.concatenate(coordinates).astype(np.float32),
    )
    payload = buffer.getvalue()
    stream.write(struct.pack("<Q", len(payload)) + payload)
    stream.flush()


def _coordinates(backbone: Any, length: int) -> NDArray[np.float64]:
    positions = np.empty((length, 4, 3), dtype=np.float64)
    getters = (backbone.GetN, backbone.GetCA, backbone.GetC, backbone.GetO)
    for residue in range(length):
        for atom, getter in enumerate(getters):
            position = getter(residue)
            positions[residue, atom] = (position[0], position[1], position[2])
    return positions


def main() -> None:
    """Load the database and write every chain whose length is asked for."""
    from promod3 import loop  # pyright: ignore[reportMissingImports]

    minimum, maximum, limit = (int(value) for value in sys.argv[1:4])
    stream = sys.stdout.buffer
    database = loop.LoadStructureDB()
    entries = [database.GetCoordInfo(index) for index in range(database.GetNumCoords())]
    segments = Counter((entry.id, entry.chain_name) for entry in entries)
    pending: list[Chain] = []
    written = 0
    for index, entry in enumerate(entries):
        if not minimum <= entry.size <= maximum:
            continue
        fragment = loop.FragmentInfo(index, 0, entry.size)
        name = entry.id + "_" + entry.chain_name
        if segments[entry.id, entry.chain_name] > 1:
            name += "@" + str(entry.start_resnum)
        pending.append(
            (
                name,
                database.GetSequence(fragment),
                database.GetDSSPStates(fragment),
                _coordinates(database.GetBackboneList(fragment), entry.size),
            )
        )
        written += 1
        if len(pending) == CHAINS_PER_FRAME:
            _write_frame(stream, pending)
            pending = []
        if written == limit:
            break
    if pending:
        _write_frame(stream, pending)


if __name__ == "__main__":
    main()
