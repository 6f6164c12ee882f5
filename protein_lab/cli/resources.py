"""Commands on what designing rests on: corpus, benchmark, serve, doctor."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from protein_lab.cli.app import Json, app, benchmark_app, corpus_app, print_json, say
from protein_lab.errors import EXIT_DONE, EXIT_TOO_FEW_ACCEPTED, MissingExtraError, ProteinLabError


@corpus_app.command
def build(
    source: Literal["promod3", "folder", "pdb"],
    destination: Path,
    *,
    path: Path | None = None,
    max_length: int = 512,
) -> int:
    """Build a corpus of real chains, and the table of its elements that designing searches.

    Designs take their folds from it while PROTEIN_LAB_CORPUS names it.

    Parameters
    ----------
    source
        ``promod3``: ProMod3's structure database; ``folder``: PDB and mmCIF files under --path;
        ``pdb``: the entries whose ids stand in the file --path, downloaded.
    destination
        Zarr group to write.
    path
        Folder of structures, or file of PDB ids.
    max_length
        Longest chain, residues.
    """
    from protein_lab.design.element_table import save_table
    from protein_lab.training.corpus import build_corpus
    from protein_lab.training.filters import CorpusOptions
    from protein_lab.training.sources import FolderSource, PdbSource, ProMod3Source

    if source != "promod3" and path is None:
        raise ProteinLabError(f"The source {source!r} needs --path, but none was given.")
    if source == "promod3":
        chosen: Any = ProMod3Source()
    elif source == "folder":
        chosen = FolderSource(str(path))
    else:
        chosen = PdbSource.from_file(str(path), destination.with_suffix(".downloads"))
    options = CorpusOptions(max_length=max_length)
    made = build_corpus(chosen, destination, options, lambda stage, done: say(f"{stage}: {done}"))
    say(f"elements: {save_table(made)}")
    print_json(made.summary())
    say(f"To design with it: export PROTEIN_LAB_CORPUS={shlex.quote(str(destination.resolve()))}")
    return EXIT_DONE


@corpus_app.command
def info(path: Path | None = None, *, as_json: Json = False) -> int:
    """Say what the corpus holds.

    Parameters
    ----------
    path
        Corpus; the shipped one unless given.
    as_json
        Print JSON.
    """
    from protein_lab.training.corpus import Corpus

    summary = Corpus.open(path).summary()
    if as_json:
        print_json(summary)
    else:
        for key, value in summary.items():
            print(f"{key}: {value}")
    return EXIT_DONE


@benchmark_app.command
def quality(
    *,
    quick: bool = False,
    workers: int = 2,
    part: list[str] | None = None,
    out: Path | None = None,
    card: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure designs of held-out blueprints against floors and baselines.

    Parameters
    ----------
    quick
        Twelve blueprints of 50 to 128 residues instead of 200, fewer designs of baselines.
    workers
        Processes.
    part
        Run this part alone; may be given again. ``designs``, ``fno``, ``deeponet``,
        ``transformer``, ``energy only``, ``polymer``, ``novel folds``; all by default.
    out
        HTML page to write, with pictures.
    card
        Card (TOML) of the measured weights, to write the figures into.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.quality import run_quality
    from protein_lab.experiments.quality_parts import PARTS
    from protein_lab.experiments.quality_plots import quality_pictures
    from protein_lab.experiments.rows_page import rows_page
    from protein_lab.models.weights import read_card, write_atomically
    from protein_lab.settings import Settings
    from protein_lab.training.card import add_held_out, require_weights

    operator = "enhanced_deeponet"
    measured = read_card(Settings.from_environment().weights / f"{operator}.toml")["sha256"]
    if card is not None:
        require_weights(card, measured)  # now rather than after an hour
    parts = part or list(PARTS)
    rows = run_quality(quick=quick, workers=workers, operator=operator, parts=parts, progress=_told)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            out, rows_page(rows, "Quality of designs", quality_pictures(rows)).encode()
        )
    if card is not None:
        command = "protein-lab benchmark quality" + (" --quick" if quick else "")
        command += "".join(f" --part {shlex.quote(name)}" for name in part or ())
        add_held_out(card, measured, "quality", command, [msgspec.to_builtins(r) for r in rows])
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE if all(row.ok for row in rows) else EXIT_TOO_FEW_ACCEPTED


@benchmark_app.command
def diversity(*, quick: bool = False, workers: int = 2, as_json: Json = False) -> int:
    """Measure how many folds an open request of 80 residues gives, and how many are new.

    Parameters
    ----------
    quick
        8 samples of each request in place of 64.
    workers
        Processes.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.diversity import run_diversity

    rows = run_diversity(quick, workers, lambda done, total: say(f"{done}/{total} designs"))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE if all(row.ok for row in rows) else EXIT_TOO_FEW_ACCEPTED


def _told(done: int, total: int) -> None:
    say(f"{done}/{total} blueprints")


@benchmark_app.command
def sequence(
    *,
    split: Literal["train", "calibration", "test"] = "test",
    chains: int | None = None,
    noise: float = 0.0,
    designs: int = 0,
    backend: str = "auto",
    as_json: Json = False,
) -> int:
    """Measure how well the amino acids of held-out chains are given back.

    Parameters
    ----------
    split
        Part of the corpus to measure on.
    chains
        So many chains, drawn at random, instead of all.
    noise
        Standard deviation of noise on every coordinate, angstrom.
    designs
        So many designs of each shipped request instead of chains: their composition beside that
        on native backbones.
    backend
        ``auto``, ``numpy``, ``torch`` or ``jax``.
    as_json
        Print JSON.
    """
    from protein_lab.experiments.designed_sequences import run_designed_sequences
    from protein_lab.experiments.sequence_recovery import run_sequence_recovery

    if designs:
        rows = run_designed_sequences(designs, backend, progress=say)
        if as_json:
            print_json(rows)
        else:
            print_rows(rows)
        return EXIT_DONE
    report = run_sequence_recovery(split, backend, num_chains=chains, noise=noise)
    if as_json:
        print_json({"rows": report.rows, "calibration": report.calibration})
    else:
        print_rows(report.rows)
        print("amino acid, percent:  observed  expected  given back  calibration error")
        for item in report.calibration:
            print(
                f"{item.residue:<20}{item.observed:>10.2f}{item.expected:>10.2f}"
                f"{item.recovery:>12.1f}{item.error:>19.2f}"
            )
    return EXIT_DONE if all(row.ok for row in report.rows) else EXIT_TOO_FEW_ACCEPTED


@benchmark_app.command
def operators(
    *names: str, quick: bool = False, out: Path | None = None, as_json: Json = False
) -> int:
    """Measure whether operators give the same answer at every sampling of the chain.

    Parameters
    ----------
    *names
        Operators; all three unless given.
    quick
        Two made-up and four real chains in place of 8 and 24.
    out
        HTML page to write, with the curves.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.operator_benchmark import NAMES, run_operators
    from protein_lab.experiments.operator_page import operator_page
    from protein_lab.models.weights import write_atomically

    figures = run_operators(quick, names or NAMES, progress=say)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, operator_page(figures).encode())
    if as_json:
        print_json(figures.rows)
    else:
        print_rows(figures.rows)
    return EXIT_DONE if all(row.ok for row in figures.rows) else EXIT_TOO_FEW_ACCEPTED


@benchmark_app.command
def speed(*, quick: bool = False, as_json: Json = False) -> int:
    """Measure time, memory, growth with the length, and how far the backends are apart.

    Parameters
    ----------
    quick
        Fewer requests, steps and repeats.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.speed import run_speed

    rows = run_speed(quick, progress=say)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE if all(row.ok for row in rows) else EXIT_TOO_FEW_ACCEPTED


def print_rows(rows: Sequence[Any]) -> None:
    """Print the rows of a benchmark as a table."""
    for row in rows:
        mark = "    " if row.floor is None else (" ok " if row.ok else "MISS")
        value = "none" if row.value is None else f"{row.value:.4g}"
        print(f"{mark} {row.name:<52}{value:>10} {row.unit:<12}{row.note}")


@app.command
def serve(*, host: str = "127.0.0.1", port: int = 8000) -> int:
    """Serve the engine over HTTP; needs PROTEIN_LAB_SERVICE_TOKEN.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on.
    """
    from protein_lab.settings import Settings

    if importlib.util.find_spec("litestar") is None:
        raise MissingExtraError("litestar", "service")
    # the service stands beside the command line, so it is looked up and not imported
    service = importlib.import_module("protein_lab_service")
    service.serve(host, port, Settings.from_environment())
    return EXIT_DONE


@app.command
def doctor(*, as_json: Json = False) -> int:
    """Say what is installed here and whether the assets are whole.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    from protein_lab.backends import available_backends
    from protein_lab.models.weights import available, load_operator
    from protein_lab.training.corpus import Corpus

    packages = ("numpy", "scipy", "zarr", "xarray", "torch", "jax", "dask", "litestar", "papermill")
    found: dict[str, Any] = {
        "protein_lab": importlib.metadata.version("protein-lab"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": available_backends(),
        "packages": {name: _version_of(name) for name in packages},
        "weights": {name: load_operator(name, "numpy").digest[:16] for name in available()},
        "corpus": Corpus.open(verify=True).digest[:16],
    }
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            print(f"{key}: {value}")
    return EXIT_DONE


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
