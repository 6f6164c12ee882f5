"""The command that draws sequences for structures that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from protein_lab.cli.app import Backend, Json, app, print_json, say
from protein_lab.errors import EXIT_DONE, EXIT_FAILED, InvalidRequestError, ProteinLabError

Program = Literal["operator", "proteinmpnn"]


@app.command
def sequences(
    *files: Path,
    number: int = 4,
    temperature: float = 0.5,
    exclude: str = "",
    seed: int = 0,
    program: Program = "operator",
    backend: Backend = "auto",
    as_json: Json = False,
) -> int:
    """Draw sequences for the backbones of structure files; writes FASTA, best first.

    Parameters
    ----------
    files
        mmCIF, BinaryCIF or PDB files of one chain each.
    number
        Sequences for each file.
    temperature
        Low values keep to the most probable residues.
    exclude
        One-letter codes that no residue gets.
    seed
        Same seed, same sequences.
    program
        ``operator``, or the ProteinMPNN that PROTEIN_LAB_PROTEINMPNN starts.
    backend
        Array library of the operator.
    as_json
        Print JSON instead, with the probability of each residue.
    """
    from protein_lab.design.sequence_options import SequenceOptions
    from protein_lab.store.summary import fasta_entry

    if not files:
        raise ProteinLabError("sequences needs at least one structure file, but none was named.")
    options = _checked(
        {"num_sequences": number, "temperature": temperature, "excluded": exclude}, SequenceOptions
    )
    draw = _program(program, backend, options, seed)
    all_drawn = True
    found = []
    for path in files:
        made, why = draw(_backbone(path))
        all_drawn &= bool(made)
        found.append(
            {"file": str(path), "program": program, "sequences": made, "not_run": why or None}
        )
        if not made:
            say(f"{path}: not run: {why}")
        for place, item in enumerate([] if as_json else made, start=1):
            header = f"{path.name.split('.')[0]}_{place} sequence={place} score={item.score:.4f}"
            header += f" temperature={temperature:g} program={program}"
            print(fasta_entry(header, item.sequence), end="")
    if as_json:
        print_json(found)
    return EXIT_DONE if all_drawn else EXIT_FAILED


def _checked(values: dict[str, Any], kind: Any) -> Any:
    """Read options and refuse all that is wrong with them."""
    from protein_lab.design.decoding import Reader

    reader = Reader()
    options = reader.read(values, msgspec.inspect.type_info(kind), "$")
    faults = [*reader.faults, *options.faults("$", 0)]
    if not reader.faults and options.num_sequences == 0:
        raise ProteinLabError("--number must be at least 1, but it is 0.")
    if faults:
        raise InvalidRequestError(faults)
    return options


def _program(program: Program, backend: str, options: Any, seed: int) -> Any:
    """Give a function from a backbone to sequences and the reason when there are none."""
    from protein_lab.design.proteinmpnn import run_proteinmpnn
    from protein_lab.design.sequences import draw_sequences, sequence_stream
    from protein_lab.models.weights import load_sequence_operator
    from protein_lab.settings import Settings

    settings = Settings.from_environment()
    if program == "proteinmpnn":

        def ask(backbone: Any) -> tuple[Any, str | None]:
            drawn = run_proteinmpnn(settings.proteinmpnn, backbone, options, seed)
            return drawn.sequences, drawn.not_run

        return ask
    chosen = settings.backend if backend == "auto" else backend
    operator = load_sequence_operator(chosen, folder=settings.weights)

    def draw(backbone: Any) -> tuple[Any, str | None]:
        drawn = draw_sequences(lambda: operator, backbone, options, sequence_stream(seed, 0))
        return drawn.drawn, drawn.failed

    return draw


def _backbone(path: Path) -> Any:
    from protein_lab.protein import Protein

    protein = Protein.from_file(path)
    if len(protein.chain_ids) != 1:
        raise ProteinLabError(
            f"Expected one chain in {path}, but it has {len(protein.chain_ids)}.",
            "Save each chain in a file of its own.",
        )
    missing = np.flatnonzero(~protein.has_backbone)
    if missing.size:
        raise ProteinLabError(
            f"Expected N, CA, C and O of every residue in {path}, but {missing.size} lack some, "
            f"the first is residue {protein.author_number[missing[0]]}.",
            "Model the missing atoms, or leave these residues out.",
        )
    return protein.backbone
