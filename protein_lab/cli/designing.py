"""Commands on requests and results: design, check, reproduce, report."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from protein_lab.cli.app import Backend, Json, app, print_json, say
from protein_lab.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INVALID_REQUEST,
    EXIT_TOO_FEW_ACCEPTED,
    ProteinLabError,
)


@app.command
def design(
    request: Path,
    *,
    out: Path | None = None,
    num_designs: int | None = None,
    until_accepted: int | None = None,
    max_samples: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    operator: str | None = None,
    backend: Backend | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    store: str | None = None,
    report: bool = True,
    as_json: Json = False,
) -> int:
    """Make the designs that a request asks for.

    Parameters
    ----------
    request
        JSON file with the request.
    out
        Output folder; unless given ``out/NAME`` of the request file, or none with --store.
    num_designs, seed, operator, backend
        Take the place of what the request says.
    until_accepted
        Make designs until so many pass every check and constraint.
    max_samples, seconds
        Where to end the search for them at the latest; one of the two is needed.
    workers
        Worker processes on this machine; 1 computes here.
    scheduler
        Address of a running Dask scheduler.
    store
        Store that keeps the result, and the designs of a run until it is finished: a folder,
        ``file://``, ``s3://BUCKET/PREFIX``. What is in it already is not made again.
    report
        Write ``report.html`` too, in the output folder.
    as_json
        Print the summary as JSON.
    """
    from protein_lab.design.request import decode_request, read_request_bytes
    from protein_lab.engine import Runtime
    from protein_lab.execution.run import run_request
    from protein_lab.store.output import OutputFolder

    content = _with_overrides(
        read_request_bytes(request), num_designs=num_designs, seed=seed, operator=operator,
        backend=backend,
        until={"accepted": until_accepted, "max_samples": max_samples, "seconds": seconds},
    )  # fmt: skip
    asked = decode_request(content, request.parent)
    if num_designs is not None and asked.until is not None:
        raise ProteinLabError(
            "--num-designs means nothing where designs are made until enough are accepted.",
            "Use --until-accepted, --max-samples and --seconds, or a request without until.",
        )
    folder = out if out is not None or store is not None else Path("out") / request.stem
    runtime = Runtime.open(asked)
    with ExitStack() as opened:
        output = None
        if folder is not None:
            output = opened.enter_context(OutputFolder(folder, asked, runtime.request_id(asked)))
        kept = None if store is None else opened.enter_context(_store(store))
        bar = opened.enter_context(_ProgressBar(asked, quiet=as_json))
        result = run_request(
            asked, runtime, executor=_executor(runtime, workers, scheduler, kept), output=output,
            store=kept, progress=bar.advance,
        )  # fmt: skip
    _tell_of_sequences(result)
    if folder is not None and report and not (folder / "report.html").exists():
        _write_report(folder)
    _show(result, folder, as_json)
    return EXIT_DONE if result.num_accepted >= asked.num_wanted else EXIT_TOO_FEW_ACCEPTED


def _store(uri: str) -> Any:
    from protein_lab.store.open import open_store

    return open_store(uri=uri)


def _show(result: Any, folder: Path | None, as_json: bool) -> None:
    """Print the summary, or the outcome and where to find more."""
    from protein_lab.store.summary import encode_summary, summarize

    if as_json:
        print(
            (folder / "summary.json").read_text(encoding="utf-8") if folder is not None
            else encode_summary(summarize(result)).decode()
        )  # fmt: skip
    elif folder is None:
        print(f"{result.outcome}\nStored as {result.request_id}")
    else:
        page = folder / "report.html"
        print(f"{result.outcome}\n{folder}/summary.json  {page if page.exists() else ''}".rstrip())


def _tell_of_sequences(result: Any) -> None:
    """Say that backbones came without the sequences that were asked for, and why."""
    reasons = [item.sequence_failed for item in result.designs if item.sequence_failed is not None]
    if reasons:
        say(f"{len(reasons)} of {len(result.designs)} designs have no sequences: {reasons[0]}")


def _with_overrides(content: bytes, **overrides: Any) -> bytes | dict[str, Any]:
    given = _given(overrides)
    if not given:
        return content
    try:
        fields = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content  # the decoder of requests says what is wrong
    if not isinstance(fields, dict):
        return content
    if "until" in given and isinstance(fields.get("until"), dict):
        given["until"] = {**fields["until"], **given["until"]}
    return {**fields, **given}


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    """Keep what was typed; of a group of options those that were."""
    parts = {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in overrides.items()
    }
    return {name: value for name, value in parts.items() if value not in (None, {})}


def _executor(runtime: Any, workers: int, scheduler: str | None, store: Any) -> Any:
    from protein_lab.settings import Settings

    if workers < 1:
        raise ProteinLabError(f"--workers must be at least 1, but it is {workers}.")
    settings = Settings.from_environment()
    here = settings.cluster.kind == "local" and not settings.cluster.gpus
    if workers == 1 and scheduler is None and here:
        from protein_lab.execution.local import LocalExecutor

        return LocalExecutor(runtime)
    from protein_lab.execution.dask import DaskExecutor

    place = None if store is None else msgspec.structs.replace(settings.store, objects=store.uri)
    return DaskExecutor(workers, scheduler, cluster=settings.cluster, store=place)


def _write_report(folder: Path) -> None:
    from protein_lab.errors import MissingExtraError
    from protein_lab.experiments.reporting import render_report

    try:
        render_report(folder)
    except MissingExtraError as error:
        say(f"No report was written. {error}")


class _ProgressBar:
    """Progress on a terminal, plain lines elsewhere."""

    def __init__(self, request: Any, quiet: bool) -> None:
        from protein_lab.execution.progress import DesignBar

        self._terminal = sys.stderr.isatty() and not quiet
        self._quiet, self._until = quiet, request.until
        self._total = request.num_wanted
        self._num_accepted = 0
        self._bar = DesignBar(request, is_shown=self._terminal)

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def advance(self, finished: Any, number: int) -> None:
        """Show one more finished design."""
        self._num_accepted += finished.accepted
        self._bar.advance(finished, number)
        if not self._terminal and not self._quiet:
            state = finished.failed or ("accepted" if finished.accepted else "made")
            reached = (
                f"{number} of {self._total}" if self._until is None
                else f"{self._num_accepted} of {self._total} accepted, {number} made"
            )  # fmt: skip
            say(f"design {finished.index}: {state} ({reached})")


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
    from protein_lab.design.cost import estimate_cost
    from protein_lab.design.request import check_request, decode_request, read_request_bytes

    data = read_request_bytes(request)
    faults = check_request(data, request.parent)
    is_invalid = any(fault.severity == "error" for fault in faults)
    if as_json:
        print_json(faults)
    else:
        for fault in faults:
            print(f"{fault.severity}: {fault.path}: {fault.message} {fault.remedy}".rstrip())
        if not faults:
            print("The request is valid.")
        cost = None if is_invalid else estimate_cost(decode_request(data, request.parent))
        if cost is not None:
            print(f"Cost: {cost}.")
    return EXIT_INVALID_REQUEST if is_invalid else EXIT_DONE


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
        print_json(outcome)
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
