"""The command line ``protein-lab``: a thin door to the engine.

Exit codes: 0 done; 2 the request is invalid; 3 it ran, but fewer designs than asked were accepted;
130 interrupted; 1 anything else. Errors go to stderr and never show a traceback unless ``--debug``
stands first.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, CycloptsError, Parameter

from protein_lab.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID_REQUEST,
    EXIT_TOO_FEW_ACCEPTED,
    ProteinLabError,
)

app = App(name="protein-lab", help="Design proteins with neural operators.", result_action="return_value")
corpus_app = App(name="corpus", help="Build and inspect the corpus of real structures.")
benchmark_app = App(name="benchmark", help="Measure quality with one command.")
app.command(corpus_app)
app.command(benchmark_app)

Backend = Literal["auto", "numpy", "torch", "jax"]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words[:1]
    try:
        code = app(words[1:] if debug else words, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(EXIT_INVALID_REQUEST)
    except KeyboardInterrupt:
        _say("Interrupted. Finished designs are kept; run the same command again to continue.")
        sys.exit(EXIT_INTERRUPTED)
    except ProteinLabError as error:
        if debug:
            raise
        _say(f"{error.problem}\n{error.remedy}".strip())
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(EXIT_FAILED)
    except Exception as error:  # noqa: BLE001 (a user never sees a traceback by surprise)
        if debug:
            raise
        _say(f"Unexpected {type(error).__name__}: {error}\nRun `protein-lab --debug …` to see where.")
        sys.exit(EXIT_FAILED)
    sys.exit(code or EXIT_DONE)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_json(value: Any) -> None:
    print(json.dumps(msgspec.to_builtins(value), indent=2, sort_keys=True))


@app.command
def design(
    request: Path,
    *,
    out: Path | None = None,
    num_designs: int | None = None,
    seed: int | None = None,
    operator: str | None = None,
    backend: Backend | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    report: bool = True,
    as_json: Json = False,
) -> int:
    """Make the designs that a request asks for.

    Parameters
    ----------
    request
        JSON file with the request.
    out
        Output folder; ``out/NAME`` of the request file unless given.
    num_designs, seed, operator, backend
        Take the place of what the request says.
    workers
        Worker processes on this machine; 1 computes here.
    scheduler
        Address of a running Dask scheduler.
    report
        Write ``report.html`` too.
    as_json
        Print the summary as JSON.
    """
    from protein_lab.design.request import decode_request, read_request_bytes, request_id
    from protein_lab.engine import Runtime
    from protein_lab.execution.run import run_request
    from protein_lab.store.output import OutputFolder

    content = _with_overrides(
        read_request_bytes(request), num_designs=num_designs, seed=seed, operator=operator,
        backend=backend,
    )  # fmt: skip
    asked = decode_request(content)
    folder = out or Path("out") / request.stem
    runtime = Runtime.open(asked)
    bar = _ProgressBar(asked.num_designs, quiet=as_json)
    with OutputFolder(folder, asked, request_id(asked, runtime.operator.digest)) as output, bar:
        result = run_request(
            asked, runtime, executor=_executor(runtime, workers, scheduler), output=output,
            progress=bar.advance,
        )  # fmt: skip
    if report and not (folder / "report.html").exists():
        _write_report(folder)
    if as_json:
        print((folder / "summary.json").read_text(encoding="utf-8"))
    else:
        print(f"{result.outcome}\n{folder}/summary.json  {folder}/report.html")
    return EXIT_DONE if result.num_accepted >= asked.num_designs else EXIT_TOO_FEW_ACCEPTED


def _with_overrides(content: bytes, **overrides: object) -> bytes | dict[str, Any]:
    given = {name: value for name, value in overrides.items() if value is not None}
    if not given:
        return content
    try:
        fields = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content  # the decoder of requests says what is wrong
    return {**fields, **given} if isinstance(fields, dict) else content


def _executor(runtime: Any, workers: int, scheduler: str | None) -> Any:
    if workers < 1:
        raise ProteinLabError(f"--workers must be at least 1, but it is {workers}.")
    if workers == 1 and scheduler is None:
        from protein_lab.execution.local import LocalExecutor

        return LocalExecutor(runtime)
    from protein_lab.execution.dask import DaskExecutor

    return DaskExecutor(workers=workers, scheduler=scheduler)


def _write_report(folder: Path) -> None:
    from protein_lab.errors import MissingExtraError
    from protein_lab.experiments.reporting import render_report

    try:
        render_report(folder)
    except MissingExtraError as error:
        _say(f"No report was written. {error}")


class _ProgressBar:
    """Progress on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        self._terminal = sys.stderr.isatty() and not quiet
        self._quiet, self._total = quiet, total
        self._bar = tqdm(total=total, unit="design", disable=not self._terminal)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, finished: Any, number: int) -> None:
        """Show one more finished design."""
        self._bar.update(1)
        if not self._terminal and not self._quiet:
            state = finished.failed or ("accepted" if finished.accepted else "made")
            _say(f"design {finished.index}: {state} ({number} of {self._total})")


@app.command
def check(request: Path, *, as_json: Json = False) -> int:
    """List every fault and warning of a request with its JSON path.

    Parameters
    ----------
    request
        JSON file with the request.
    as_json
        Print the list as JSON.
    """
    from protein_lab.design.request import check_request, read_request_bytes

    faults = check_request(read_request_bytes(request))
    if as_json:
        _print_json(faults)
    else:
        for fault in faults:
            print(f"{fault.severity}: {fault.path}: {fault.message} {fault.remedy}".rstrip())
        if not faults:
            print("The request is valid.")
    is_invalid = any(fault.severity == "error" for fault in faults)
    return EXIT_INVALID_REQUEST if is_invalid else EXIT_DONE


@app.command
def validate(*files: Path, preset: str = "geometry", as_json: Json = False) -> int:
    """Check structure files against a validation preset.

    Parameters
    ----------
    files
        mmCIF, BinaryCIF or PDB files.
    preset
        Name of the preset.
    as_json
        Print the checks as JSON.
    """
    from protein_lab.protein import Protein
    from protein_lab.validation import validate as run_validation

    if not files:
        raise ProteinLabError("validate needs at least one structure file, but none was named.")
    checks = {str(path): run_validation(Protein.from_file(path), preset) for path in files}
    if as_json:
        _print_json(checks)
    else:
        for path, found in checks.items():
            print(path)
            for item in found:
                value = "" if item.value is None else f"{item.value:.4g} {item.unit}"
                print(f"  {item.verdict:<15}{item.name:<28}{value} {item.details}".rstrip())
    failed = any(item.verdict == "fail" for found in checks.values() for item in found)
    return EXIT_FAILED if failed else EXIT_DONE


@app.command
def reproduce(folder: Path, *, as_json: Json = False) -> int:
    """Run a result again from its provenance and compare every number.

    Parameters
    ----------
    folder
        Output folder of ``protein-lab design``.
    as_json
        Print the comparison as JSON.
    """
    from protein_lab.execution.reproduction import reproduce as run_again

    outcome = run_again(folder)
    if as_json:
        _print_json(outcome)
    else:
        for note in outcome.notes:
            print(f"note: {note}")
        for difference in outcome.differences:
            print(f"differs: {difference.what}: {difference.message}")
        if not outcome.differences:
            how = "bit for bit" if outcome.exact else "within the stated tolerance"
            print(f"Reproduced: {outcome.num_designs} designs agree {how}.")
    return EXIT_FAILED if outcome.differences else EXIT_DONE


@app.command
def train(
    operator: str,
    *,
    hours: float = 1.0,
    steps: int = 0,
    out: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    seed: int = 0,
) -> int:
    """Train an operator on the corpus; leaves a checkpoint that --resume continues exactly.

    Parameters
    ----------
    operator
        Name of the operator.
    hours
        Time allowed; sets the number of steps unless ``--steps`` does.
    steps
        Number of steps of the whole run.
    out
        Folder for checkpoint, log and weights; ``runs/OPERATOR`` unless given.
    device
        ``cpu``, ``cuda`` or ``auto``.
    resume
        Continue the run in the folder.
    seed
        Seed of weights, batches and noise.
    """
    from protein_lab.models.weights import OPERATORS
    from protein_lab.training.corpus import Corpus
    from protein_lab.training.trainer import Trainer, TrainingOptions

    if operator not in OPERATORS:
        raise ProteinLabError(
            f"The operator must be one of {', '.join(OPERATORS)}, but it is {operator!r}."
        )
    folder = out or Path("runs") / operator
    options = TrainingOptions(total_steps=steps, seed=seed)
    trainer = Trainer(operator, folder, Corpus.open(), options, device=device, resume=resume)
    trainer.run(hours, report=lambda line: _say(_training_line(line)))
    digest = trainer.export(folder)
    print(f"Weights: {folder / operator}.safetensors (SHA-256 {digest[:16]}…)")
    return EXIT_DONE


def _training_line(line: Any) -> str:
    held_out = "" if line.held_out != line.held_out else f"  held-out {line.held_out:.3f}"
    left = line.seconds / max(line.step, 1) * (line.total_steps - line.step) / 60
    return f"{line.step}/{line.total_steps}  loss {line.loss:.3f}{held_out}  {left:.0f} min left"


@corpus_app.command
def build(
    source: Literal["promod3", "folder", "pdb"],
    destination: Path,
    *,
    path: Path | None = None,
    max_length: int = 512,
) -> int:
    """Build a corpus of real chains.

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
    made = build_corpus(
        chosen, destination, options, lambda stage, done: _say(f"{stage}: {done}")
    )
    _print_json(made.summary())
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
        _print_json(summary)
    else:
        for key, value in summary.items():
            print(f"{key}: {value}")
    return EXIT_DONE


@benchmark_app.command
def quality(*, quick: bool = False, workers: int = 2, as_json: Json = False) -> int:
    """Measure designs of held-out blueprints against floors and baselines.

    Parameters
    ----------
    quick
        Forty blueprints of 50 to 128 residues, four designs each.
    workers
        Processes.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.quality import run_quality

    rows = run_quality(quick=quick, workers=workers)
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            mark = "    " if row.floor is None else (" ok " if row.ok else "MISS")
            print(f"{mark} {row.name:<48}{row.value:>10.3f} {row.unit:<12}{row.note}")
    return EXIT_DONE if all(row.ok for row in rows) else EXIT_TOO_FEW_ACCEPTED


@app.command
def report(folder: Path) -> int:
    """Write ``report.html`` for an output folder.

    Parameters
    ----------
    folder
        Output folder of ``protein-lab design``.
    """
    from protein_lab.experiments.reporting import render_report

    print(render_report(folder))
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
    import importlib.util

    from protein_lab.errors import MissingExtraError
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
        _print_json(found)
    else:
        for key, value in found.items():
            print(f"{key}: {value}")
    return EXIT_DONE


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
