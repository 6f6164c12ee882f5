"""Renders the report of an output folder: a notebook, run by papermill, as one HTML page.

The page holds everything it shows and asks nothing of any network; its content policy makes the
browser enforce that.
"""

from __future__ import annotations

import html
import importlib.util
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protein_lab.errors import MissingExtraError, ReportError
from protein_lab.settings import ASSETS
from protein_lab.store.output import REPORT, attach
from protein_lab.viewer import CONTENT_POLICY, script_element

_TEMPLATE = "design_report.ipynb"
_TEMPLATES = (ASSETS / "report", ASSETS.parents[1] / "reports")
_NEEDED = ("papermill", "nbconvert", "ipykernel", "matplotlib")
_CELL_SECONDS = 300

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
<footer>Made with protein_lab {version}. This page works without a network.</footer>
</main>
{viewer}
<script type="module">{script}</script>
</body>
</html>
"""


def template_path(name: str = _TEMPLATE) -> Path:
    """Path of a report notebook, in an installed package or in a checkout.

    Raises
    ------
    ReportError
        When it is in neither place.
    """
    for folder in _TEMPLATES:
        if (folder / name).is_file():
            return folder / name
    raise ReportError(
        f"Expected the report notebook {name} in {' or '.join(map(str, _TEMPLATES))}.",
        "Install protein-lab again.",
    )


def render_report(out_dir: str | Path, parameters: Mapping[str, Any] | None = None) -> Path:
    """Write ``report.html`` into a finished output folder and list it in the provenance.

    Parameters
    ----------
    out_dir : str or Path
        Folder that ``protein-lab design`` wrote.
    parameters : mapping, optional
        Further parameters of the notebook, such as ``detailed``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MissingExtraError
        When the extra ``notebooks`` is not installed.
    ReportError
        When a cell of the notebook fails; the message names it.
    StoreError
        When the folder holds no finished result, or the page cannot be written.
    """
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "notebooks")
    folder = Path(out_dir).resolve()
    if not (folder / "provenance.json").is_file():
        raise ReportError(
            f"Expected a finished result in {folder}; it has no provenance.json.",
            "Give the folder that `protein-lab design --out` wrote.",
        )
    notebook = execute(template_path(), {"result": str(folder), **(parameters or {})})
    page = _page(notebook, folder.name)
    return attach(folder, REPORT, page.encode("utf-8"))


def execute(template: Path, parameters: Mapping[str, Any]) -> Any:
    """Run a notebook with parameters.

    Parameters
    ----------
    template : Path
        Notebook with a cell tagged ``parameters``.
    parameters : mapping
        Values for names that this cell sets.

    Returns
    -------
    notebook
        The executed notebook (:mod:`nbformat`).

    Raises
    ------
    ReportError
        When a parameter is unknown, or a cell fails or takes too long.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    with _quiet(), tempfile.TemporaryDirectory(prefix="protein_lab_") as scratch:
        known = papermill.inspect_notebook(str(template))
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ReportError(
                f"The report {template.name} has no parameter {', '.join(unknown)}.",
                f"Its parameters are {', '.join(sorted(known))}.",
            )
        try:
            return papermill.execute_notebook(
                str(template),
                str(Path(scratch, template.name)),
                parameters=dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                execution_timeout=_CELL_SECONDS,
                extra_arguments=["--log-level=CRITICAL"],
                config=Config({"KernelManager": _transport(scratch)}),
            )
        except papermill.PapermillExecutionError as error:
            raise _cell_failure(template, error) from error
        except (CellTimeoutError, DeadKernelError) as error:
            problem = str(error).strip().splitlines()[0]
            raise ReportError(f"The report {template.name} did not finish: {problem}") from error


def _transport(scratch: str) -> dict[str, Any]:
    """Sockets in a private folder instead of open ports, where the system has them."""
    if os.name == "nt":
        return {}
    return {"transport": "ipc", "connection_file": str(Path(scratch, "kernel.json"))}


def _cell_failure(template: Path, error: Any) -> ReportError:
    import nbformat

    cells = nbformat.read(template, as_version=4).cells
    named = next((cell.id for cell in cells if cell.source == error.source), "parameters")
    return ReportError(
        f"The cell {named!r} of the report {template.name} failed: {error.ename}: {error.evalue}",
        "Check the output folder with `protein-lab reproduce`, or open the notebook with it.",
    )


def _page(notebook: Any, name: str) -> str:
    from nbconvert import HTMLExporter

    from protein_lab import __version__

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    return _PAGE.format(
        policy=CONTENT_POLICY,
        title=html.escape(f"Protein design report: {name}"),
        style=_asset("report.css"),
        body=body,
        version=__version__,
        viewer=script_element(),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return (ASSETS / "report" / name).read_text(encoding="utf-8")


class _quiet:  # noqa: N801 (used as a function)
    """Keep papermill's running commentary out of the user's log."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("papermill")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
