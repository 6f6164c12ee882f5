"""Sequences from a ProteinMPNN that the user has installed.

The program is Dauparas et al., *Science* 378, 49-56 (2022); it is not part of this package. It is
started as it is, with its documented options, and what it writes is checked before it is used.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from protein_lab.design.sequence_options import LETTERS, SequenceOptions
from protein_lab.errors import ProteinLabError
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray

TIME_LIMIT: Final = 600.0
"""Seconds that one backbone may take."""

_NAME: Final = "design"
_CHAIN: Final = "A"
_LARGEST_SEED: Final = 2**31 - 1
_SHOWN: Final = 300
_PROGRAM_ORDER: Final = "ACDEFGHIKLMNPQRSTVWY"
_NEVER: Final = -1e6
_SCORE: Final = re.compile(r"(?:^|[,\s])score=([-+.\deE]+|nan)")


class ExternalSequence(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence as a program gave it.

    Attributes
    ----------
    sequence : str
        One-letter codes.
    score : float
        Mean log p of the residues that were designed, nats, by the program's own account; not
        comparable between programs.
    """

    sequence: str
    score: float


class ExternalDraw(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking a program.

    Attributes
    ----------
    sequences : tuple of ExternalSequence
        Best score first; empty when it did not run.
    not_run : str or None
        Why there are none.
    """

    sequences: tuple[ExternalSequence, ...] = ()
    not_run: str | None = None


class _UnusableError(ProteinLabError):
    """The program did not do what it is for."""


def run_proteinmpnn(
    command: str,
    backbone: FloatArray,
    options: SequenceOptions,
    seed: int = 0,
    time_limit: float = TIME_LIMIT,
    bias: FloatArray | None = None,
) -> ExternalDraw:
    """Ask the user's ProteinMPNN for sequences of one backbone.

    Parameters
    ----------
    command : str
        How to start ``protein_mpnn_run.py``, interpreter first, as one types it in a shell.
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.
    options : SequenceOptions
        Number of sequences, temperature, fixed and excluded residues.
    seed : int
        The program gets ``1 + seed mod (2**31 - 1)``, since it takes 0 for no seed at all.
    time_limit : float
        Seconds.
    bias : ndarray, shape=(residue, 20), optional
        Nats added to the log-probability of each amino acid, minus infinity where it may not
        stand; the program gets it as ``--bias_by_res_jsonl``, and what it may not write there is
        looked for in what it wrote.

    Returns
    -------
    ExternalDraw
        ``not_run`` says why there is nothing; what the program wrote is never mended or guessed.
    """
    if not command.strip():
        reason = "No ProteinMPNN is known here; set PROTEIN_LAB_PROTEINMPNN to its command."
        return ExternalDraw(not_run=reason)
    here = tuple(item for item in options.fixed if item.position <= len(backbone))
    options = msgspec.structs.replace(options, fixed=here)
    try:
        words = shlex.split(command)
        with tempfile.TemporaryDirectory(prefix="protein_lab_") as place:
            folder = Path(place)
            arguments = _arguments(folder, backbone, options, seed)
            if bias is not None:
                arguments += _bias_arguments(folder, len(backbone), bias)
            _start([*words, *arguments], folder, time_limit)
            found = _read(folder / "seqs" / f"{_NAME}.fa", len(backbone), options)
            _refuse_forbidden(found, options, bias)
    except (ProteinLabError, OSError, ValueError) as error:
        return ExternalDraw(not_run=str(error))
    return ExternalDraw(sequences=tuple(sorted(found, key=lambda item: -item.score)))


def _arguments(
    folder: Path, backbone: FloatArray, options: SequenceOptions, seed: int
) -> list[str]:
    """Write the inputs and name them; open residues are glycines, as no CB is known for them."""
    given = {item.position: item.residue for item in options.fixed}
    letters = "".join(given.get(place + 1, "G") for place in range(len(backbone)))
    protein = Protein.from_backbone(backbone, letters, chain_id=_CHAIN, name=_NAME)
    structure = folder / f"{_NAME}.pdb"
    structure.write_text(protein.to_pdb(), encoding="ascii")
    arguments = [
        "--pdb_path", str(structure), "--pdb_path_chains", _CHAIN, "--out_folder", str(folder),
        "--num_seq_per_target", str(options.num_sequences), "--batch_size", "1",
        "--sampling_temp", f"{options.temperature:g}",
        "--seed", str(1 + seed % _LARGEST_SEED),
        "--omit_AAs", "".join(sorted({*options.excluded, "X"})),
    ]  # fmt: skip
    if given:
        fixed = folder / "fixed.jsonl"
        fixed.write_text(json.dumps({_NAME: {_CHAIN: sorted(given)}}) + "\n", encoding="ascii")
        arguments += ["--fixed_positions_jsonl", str(fixed)]
    return arguments


def _bias_arguments(folder: Path, length: int, bias: FloatArray) -> list[str]:
    """Write biases in the program's own order of amino acids, finite, as JSON has no infinity."""
    if bias.shape != (length, len(LETTERS)):
        raise _UnusableError(f"Expected a bias for {length} residues, but got {bias.shape}.")
    columns = [LETTERS.index(letter) for letter in _PROGRAM_ORDER]
    finite = np.maximum(bias[:, columns], _NEVER).tolist()
    table = folder / "bias.jsonl"
    rows = [[*row, 0.0] for row in finite]
    table.write_text(json.dumps({_NAME: {_CHAIN: rows}}) + "\n", encoding="ascii")
    return ["--bias_by_res_jsonl", str(table)]


def _refuse_forbidden(
    found: list[ExternalSequence], options: SequenceOptions, bias: FloatArray | None
) -> None:
    if bias is None:
        return
    fixed = {item.position for item in options.fixed}
    for item in found:
        for position, letter in enumerate(item.sequence, start=1):
            forbidden = bias[position - 1, LETTERS.index(letter)] == -np.inf
            if forbidden and position not in fixed:
                raise _UnusableError(
                    f"ProteinMPNN wrote {letter} at residue {position}, where it is forbidden."
                )


def _start(words: list[str], folder: Path, time_limit: float) -> None:
    """Run the program to its end.

    Raises
    ------
    _UnusableError
        When it cannot be started, takes too long, or ends with an error.
    """
    log = folder / "log"
    try:
        with log.open("wb") as stream:
            done = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                timeout=time_limit, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _UnusableError(f"ProteinMPNN took longer than {time_limit:g} s.") from error
    except OSError as error:
        reason = error.strerror or error
        raise _UnusableError(f"ProteinMPNN cannot be started as {words[0]!r}: {reason}.") from error
    if done.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_SHOWN:]
        raise _UnusableError(
            f"ProteinMPNN ended with {done.returncode}: {said or 'it said nothing'}"
        )


def _read(path: Path, length: int, options: SequenceOptions) -> list[ExternalSequence]:
    """Read its FASTA file, whose first entry is the sequence that it was given.

    Raises
    ------
    _UnusableError
        When the file is missing or holds anything but what was asked for.
    """
    if not path.is_file():
        raise _UnusableError(f"ProteinMPNN ended well but wrote no {path.name}.")
    entries = path.read_text(encoding="utf-8", errors="replace").split(">")[1:]
    made = entries[1:]
    if len(made) != options.num_sequences:
        raise _UnusableError(
            f"Expected {options.num_sequences} sequences of ProteinMPNN, but it wrote {len(made)}."
        )
    return [_entry(text, length, options) for text in made]


def _entry(text: str, length: int, options: SequenceOptions) -> ExternalSequence:
    header, _, rest = text.partition("\n")
    sequence = "".join(rest.split())
    if len(sequence) != length:
        raise _UnusableError(
            f"Expected {length} residues of ProteinMPNN, but it wrote {len(sequence)}."
        )
    strange = sorted(set(sequence) - set(LETTERS))
    if strange:
        raise _UnusableError(f"ProteinMPNN wrote residues of unknown type: {', '.join(strange)}.")
    lost = [item for item in options.fixed if sequence[item.position - 1] != item.residue]
    if lost:
        raise _UnusableError(f"ProteinMPNN changed residue {lost[0].position}, which is fixed.")
    found = _SCORE.search(header)
    score = -float(found[1]) if found else math.nan
    if not math.isfinite(score):
        raise _UnusableError(f"ProteinMPNN wrote no score for a sequence: {header[:_SHOWN]!r}.")
    return ExternalSequence(sequence=sequence, score=score)
