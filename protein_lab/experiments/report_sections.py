"""The parts of the design report: what an output folder says, as HTML.

Everything comes from the files of the folder (``summary.json``, ``provenance.json`` and the
structures); nothing is computed again except what the pictures show. Every string of the folder
is escaped before it becomes HTML.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from protein_lab.experiments.report_data import ReportData, ShownDesign
from protein_lab.experiments.report_figures import picture
from protein_lab.experiments.report_html import (
    Section,
    column,
    facts,
    figure,
    number,
    pill,
    section,
    table,
    text,
    words,
)
from protein_lab.experiments.report_sequences import sequence_section
from protein_lab.store.summary import DesignSummary
from protein_lab.typing import Check, FloatArray, Measurement
from protein_lab.viewer import json_for_script, structure_record

_VERDICTS = {
    "pass": "passed", "fail": "failed", "not_run": "not run", "not_applicable": "not applicable",
}  # fmt: skip
_LABELS = {
    "score": "Score",
    "helix_obtained": "Helix obtained",
    "strand_obtained": "Strand obtained",
    "pairs_met": "Pairs met",
    "segment_overlap": "Segment overlap",
    "tm_to_source": "TM-score to source",
    "tm_to_nearest": "TM-score to nearest chain",
    "mean_uncertainty": "Uncertainty (Å)",
    "radius_of_gyration": "Rg (Å)",
    "radius_of_gyration_ratio": "Rg to expected",
    "clashes": "Clashes",
    "moved_rmsd": "Moved (Å)",
    "sequence_perplexity": "Perplexity",
}
"""Columns of the table of designs in their order; metrics not named here follow."""

_ROWS = 200


def heading(data: ReportData) -> Section:
    """Name of the request, its id and what came out."""
    summary, request = data.summary, data.manifest.request
    search = summary.search
    made = summary.num_designs if search is None else search.num_made
    wanted = summary.num_designs if search is None else search.num_wanted
    all_good = summary.num_accepted >= wanted
    verdict = f"{summary.num_accepted} of {made} designs accepted"
    failed = sum(entry.failed is not None for entry in summary.designs)
    known = [
        ("Length", _lengths(summary.designs)),
        ("Asked for", text(_asked(request))),
        ("Operator", text(request.get("operator", ""))),
        ("Seed", text(request.get("seed", ""))),
    ]
    if failed:
        known.append(("Without a backbone", str(failed)))
    return Section(
        '<header class="top"><p class="kind">Protein design report</p>'
        f"<h1>{text(summary.name or 'Unnamed request')}</h1>"
        f'<p class="id">Request <code>{text(summary.request_id)}</code></p>'
        f'<p class="verdict {"pass" if all_good else "warn"}">{text(verdict)}</p>'
        f'<p class="outcome">{text(summary.outcome)}</p>'
        f"{facts(known)}</header>"
    )


def table_of_designs(data: ReportData) -> Section:
    """Ranked designs with their metrics; a row of a detailed design selects it."""
    entries = data.summary.designs
    detailed = {shown.entry.rank: place for place, shown in enumerate(data.shown)}
    listed = entries[:_ROWS]
    names = _metric_names(listed)
    head = ["Rank", "Verdict", "Residues", *map(_metric_label, names), "Source"]
    figures = [column([entry.metrics.get(name) for entry in listed]) for name in names]
    rows = [
        [
            _choice(entry.rank, detailed),
            pill("pass" if entry.accepted else "fail", _verdict(entry)),
            str(entry.length),
            *(values[place] for values in figures),
            f"<code>{text(entry.source)}</code>",
        ]
        for place, entry in enumerate(listed)
    ]
    more = len(entries) - _ROWS
    note = f"<p>{more} more designs are in <code>summary.json</code>.</p>" if more > 0 else ""
    notes = [
        f"<li>Rank {entry.rank}: {text(entry.failed)}</li>"
        for entry in entries[:_ROWS]
        if entry.failed is not None
    ]
    reasons = f"<ul>{''.join(notes)}</ul>" if notes else ""
    return Section(section("designs", "Designs", table(head, rows) + note + reasons))


def structures(data: ReportData) -> Section:
    """3-D view of the detailed designs with buttons that select one."""
    if not data.shown:
        message = "<p>No design came out, so there is no structure to show.</p>"
        return Section(section("shown", "Structures", message))
    buttons = "".join(
        f'<button type="button" data-select="{place}">{shown.entry.rank}</button>'
        for place, shown in enumerate(data.shown)
    )
    records = [
        structure_record(
            shown.protein, shown.obtained, shown.uncertainty, shown.entry.sequence_confidence
        )
        for shown in data.shown
    ]
    best = data.shown[0]
    still = picture("ribbon", best.protein.backbone, best.obtained, form="png")
    stories = "".join(_story(place, shown) for place, shown in enumerate(data.shown))
    legend = "".join(
        f'<span><i style="background:{color}"></i>{name}</span>'
        for name, color in (("helix", "#d55e00"), ("strand", "#0072b2"), ("loop", "#8c96a0"))
    )
    body = (
        f'<div class="selector" role="group" aria-label="Design shown">Design {buttons}</div>'
        '<div class="stage"><div class="view" id="view">'
        f'<img class="still" alt="Cartoon of the best design" src="{still}"></div>'
        f'<div class="stories">{stories}<p class="legend">{legend}</p></div></div>'
        f'<script type="application/json" id="structures">{json_for_script(records)}</script>'
    )
    return Section(section("shown", "Structures", body))


def details(data: ReportData) -> Section:
    """Pictures and checks of every detailed design."""
    band = _band(data.shown)
    panels = "".join(_panel(place, shown, data, band) for place, shown in enumerate(data.shown))
    return Section(f'<div class="panels">{panels}</div>')


def provenance(data: ReportData) -> Section:
    """Where the result came from and the command that makes it again."""
    manifest = data.manifest
    rows = [[text(words(k)), f"<code>{text(v)}</code>"] for k, v in _flat(manifest.provenance)]
    request = msgspec.json.format(msgspec.json.encode(manifest.request), indent=2).decode()
    objects = [
        [f"<code>{text(item.path)}</code>", f"{item.size:,}", f"<code>{item.sha256}</code>"]
        for item in manifest.objects
        if not item.path.startswith("result.zarr/")
    ]
    command = f"protein-lab reproduce {shlex.quote(str(data.folder))}"
    body = (
        "<p>This command designs again from the request below and compares the result:</p>"
        f"<pre><code>{text(command)}</code></pre>"
        f"{table(['What', 'Value'], rows, 'plain')}"
        f"<details><summary>Request</summary><pre><code>{text(request)}</code></pre></details>"
        f"<details><summary>Files and their digests</summary>"
        f"{table(['File', 'Bytes', 'SHA-256'], objects, 'plain')}</details>"
    )
    return Section(section("provenance", "Provenance", body))


def _story(place: int, shown: ShownDesign) -> str:
    entry = shown.entry
    known = [("Residues", str(entry.length)), ("Source fold", text(entry.source))]
    names = _metric_names([entry])
    metrics = [(_metric_label(name), number(entry.metrics[name])) for name in names]
    sequence = ""
    if set(entry.sequence) - {"X"}:
        sequence = f'<p class="sequence"><code>{text(entry.sequence)}</code></p>'
    title = f"Design {entry.rank} {pill('pass' if entry.accepted else 'fail', _verdict(entry))}"
    link = f'<p><a href="{text(entry.file)}" download>mmCIF file</a>'
    if entry.assembly_file is not None:
        link += f', <a href="{text(entry.assembly_file)}" download>with its copies</a>'
    link += "</p>"
    return (
        f'<div data-design="{place}"><h3>{title}</h3>{facts(known + metrics)}{sequence}{link}</div>'
    )


def _panel(
    place: int,
    shown: ShownDesign,
    data: ReportData,
    band: tuple[FloatArray, FloatArray] | None,
) -> str:
    entry, backbone = shown.entry, shown.protein.backbone
    pairings = [item for item in entry.constraints if item.constraint == "pairing"]
    fitting = band if band is not None and len(band[0]) == entry.length else None
    wide = [
        figure(
            "Secondary structure, asked and obtained",
            picture("secondary_structure", entry.secondary_structure, shown.obtained),
            "Triangles mark residues whose state differs from the one asked for.",
            "wide",
        )
    ]
    if np.isfinite(shown.uncertainty).all() and len(shown.uncertainty):
        drawn = picture(
            "uncertainty", shown.uncertainty, shown.obtained, fitting, None, entry.half_width
        )
        said = _uncertainty_note(entry, fitting is not None)
        wide.append(figure("Uncertainty of every residue", drawn, said, "wide"))
    asked = _asked_ranges(entry.secondary_structure, data.manifest.request, pairings)
    square = [
        figure("Backbone torsions (Ramachandran)",
                picture("ramachandran", backbone, shown.obtained),
                "Shaded: regions that hold 90 % and 98 % of the residues of real proteins."),
        figure("Contact map", picture("contact_map", backbone, asked),
                "Dark: CB atoms close together." + (
                    " Frames: pairs that were asked for, dashed where not met." if asked else "")),
    ]  # fmt: skip
    tables = ""
    if entry.constraints:
        tables += f"<h3>Constraints</h3>{_measurements(entry.constraints)}"
    if entry.checks:
        tables += f"<h3>Checks</h3>{_checks(entry.checks)}"
    sequences = f'<div class="sequences">{sequence_section(shown)}</div>'
    figures = f'<div class="figures">{"".join(wide)}{"".join(square)}</div>'
    title = f"Design {entry.rank} in detail"
    return section(f"design-{entry.rank}", title, sequences + figures + tables, place)


def _uncertainty_note(entry: DesignSummary, shaded: bool) -> str:
    """Say what the curve of uncertainties means, and what it does not."""
    if entry.uncertainty_kind == "calibrated":
        said = (
            "Error expected of each CA atom, given the curve that the design was drawn around, "
            "measured on held-out chains; whether the fold is right is not part of it."
        )
        if entry.half_width:
            said += " Of such chains, 90 % lie below the dashed line at every residue."
    else:
        said = "Spread of the samples of this design, not calibrated."
    return f"{said} Shaded: lowest to highest of the designs shown." if shaded else said


def _measurements(items: Sequence[Measurement]) -> str:
    head = ["Constraint", "Details", "Obtained", "Asked", "Unit", "Verdict"]
    rows = [
        [text(words(item.constraint)), text(item.details), number(item.value),
         number(item.target), text(item.unit), pill(item.verdict, _VERDICTS[item.verdict])]
        for item in items
    ]  # fmt: skip
    return table(head, rows)


def _checks(checks: Sequence[Check]) -> str:
    head = ["Check", "Value", "Threshold", "Unit", "Verdict", "Details"]
    rows = [
        [text(words(check.name)), number(check.value), number(check.threshold),
         text(check.unit), pill(check.verdict, _VERDICTS[check.verdict]), text(check.details)]
        for check in checks
    ]  # fmt: skip
    return table(head, rows)


def _asked_ranges(
    states: str, request: dict[str, Any], measured: Sequence[Measurement]
) -> list[tuple[tuple[int, int], tuple[int, int], bool]]:
    """Residue ranges of the pairs in the request, and whether each was met."""
    from protein_lab.design.blueprint import elements_of

    asked = [item for item in request.get("constraints", ()) if item.get("kind") == "pairing"]
    elements = elements_of(states)
    if len(asked) != len(measured):
        return []
    ranges = []
    for pair, found in zip(asked, measured, strict=True):
        numbers = (pair["first"] - 1, pair["second"] - 1)
        if max(numbers) < len(elements):
            first, second = (elements[number] for number in numbers)
            met = found.verdict == "pass"
            ranges.append(((first.start, first.stop), (second.start, second.stop), met))
    return ranges


def _band(shown: Sequence[ShownDesign]) -> tuple[FloatArray, FloatArray] | None:
    """Lowest and highest uncertainty of each residue, when the designs have one length."""
    curves = [item.uncertainty for item in shown if np.isfinite(item.uncertainty).all()]
    if len(curves) < 2 or len({len(curve) for curve in curves}) != 1:
        return None
    stacked = np.stack(curves)
    return stacked.min(0), stacked.max(0)


def _asked(request: dict[str, Any]) -> str:
    kinds = [str(item.get("kind", "")) for item in request.get("constraints", ())]
    if not kinds:
        return "length only"
    named = []
    for kind in dict.fromkeys(kinds):
        count = kinds.count(kind)
        named.append(words(kind) if count == 1 else f"{words(kind)} ({count})")
    return ", ".join(named)


def _lengths(entries: Sequence[DesignSummary]) -> str:
    lengths = [entry.length for entry in entries if entry.failed is None]
    if not lengths:
        return "none"
    low, high = min(lengths), max(lengths)
    return f"{low} residues" if low == high else f"{low} to {high} residues"


def _flat(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", f"{item:.4g}" if isinstance(item, float) else str(item)


def _choice(rank: int, detailed: dict[int, int]) -> str:
    if rank not in detailed:
        return str(rank)
    place = detailed[rank]
    return f'<button type="button" data-select="{place}" title="Show this design">{rank}</button>'


def _verdict(entry: DesignSummary) -> str:
    if entry.failed is not None:
        return "failed"
    return "accepted" if entry.accepted else "not accepted"


def _metric_names(entries: Sequence[DesignSummary]) -> list[str]:
    """Metrics that are defined for at least one design."""
    found = dict.fromkeys(name for entry in entries for name in entry.metrics)
    ordered = [
        *(name for name in _LABELS if name in found),
        *(n for n in found if n not in _LABELS),
    ]
    return [name for name in ordered if any(e.metrics.get(name) is not None for e in entries)]


def _metric_label(name: str) -> str:
    return _LABELS.get(name, words(name))
