"""Commands on what designing rests on: corpus, serve, doctor."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shlex
from pathlib import Path
from typing import Any, Literal

from protein_lab.cli.app import Json, app, corpus_app, print_json, say
from protein_lab.errors import EXIT_DONE, MissingExtraError, ProteinLabError


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
def potentials(path: Path | None = None, *, out: Path | None = None) -> int:
    """Count the statistical potentials of validation in a corpus; takes a minute or two.

    Parameters
    ----------
    path
        Corpus; the shipped one unless given.
    out
        Folder to write to; the place in the package unless given.
    """
    from protein_lab.training.corpus import Corpus
    from protein_lab.validation.potential_counts import count_potentials, save_potentials
    from protein_lab.validation.potentials import FOLDER

    def tell(done: int, total: int) -> None:
        if done % 1000 == 0 or done == total:
            say(f"counted: {done} of {total} chains")

    corpus = Corpus.open(path)
    made = count_potentials(corpus, progress=tell)
    print(save_potentials(made, corpus, out or FOLDER))
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
