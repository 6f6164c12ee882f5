"""The sequences of a design in the report: the best one residue by residue, then all of them."""

from __future__ import annotations

from itertools import groupby

from protein_lab.experiments.report_data import ShownDesign
from protein_lab.experiments.report_html import number, table, text
from protein_lab.store.summary import DesignSummary, SequenceSummary

_ROW, _BLOCK = 50, 10
_LEVELS = (0.2, 0.4, 0.6, 0.8)
"""Limits of the classes of confidence that have a color each."""

_STATES = {"H": "helix", "E": "strand", "L": "loop"}


def sequence_section(shown: ShownDesign) -> str:
    """Sequences of one design as HTML.

    Parameters
    ----------
    shown : ShownDesign
        A design of the summary with its measured secondary structure.

    Returns
    -------
    str
        A heading with the sequences, or with the reason why there are none.
    """
    entry = shown.entry
    if not entry.sequences:
        why = entry.sequence_failed or "None were asked for."
        return f"<h3>Sequences</h3><p>{text(why)}</p>"
    count = len(entry.sequences)
    others = f"<details><summary>{_counted(count)}</summary>{_all(entry)}</details>"
    return (
        "<h3>Best sequence and how sure the operator is of each residue</h3>"
        f"{_best(entry, shown.obtained)}{_legend()}{others}"
    )


def _best(entry: DesignSummary, obtained: str) -> str:
    rows = "".join(
        f'<div class="line"><span class="at">{start + 1}</span>'
        f"{''.join(_block(entry, obtained, at) for at in _blocks(start, entry.length))}</div>"
        for start in range(0, entry.length, _ROW)
    )
    return f'<div class="residues">{rows}</div>'


def _blocks(start: int, length: int) -> range:
    return range(start, min(start + _ROW, length), _BLOCK)


def _block(entry: DesignSummary, obtained: str, start: int) -> str:
    """Ten residues; below each letter a line in the color of its secondary structure."""
    parts = []
    for place in range(start, min(start + _BLOCK, entry.length)):
        letter, sure, state = entry.sequence[place], entry.sequence_confidence[place], "L"
        state = obtained[place] if obtained[place] in _STATES else state
        said = f"{letter}{place + 1}, {_STATES[state]}, probability {sure:.2f}"
        classes = f"q{sum(sure >= level for level in _LEVELS)} {state.lower()}"
        parts.append(f'<i class="{classes}" title="{text(said)}">{text(letter)}</i>')
    return f'<span class="block">{"".join(parts)}</span>'


def _legend() -> str:
    limits = (0.0, *_LEVELS, 1.0)
    spans = "".join(
        f'<span><i class="q{level}"></i>{limits[level]:.1f} to {limits[level + 1]:.1f}</span>'
        for level in range(len(limits) - 1)
    )
    return (
        f'<p class="legend residues">Probability of the residue: {spans}</p>'
        '<p class="note">Line below a letter: orange helix, blue strand, gray loop. The '
        "probability is the operator's own, given backbone and residues drawn before; it does not "
        "say that the sequence folds.</p>"
    )


def _counted(count: int) -> str:
    return "The sequence and its figures" if count == 1 else f"All {count} sequences"


def _all(entry: DesignSummary) -> str:
    best = entry.sequence
    rows = [
        [str(place), number(item.score), number(item.perplexity),
         f"{_identity(item, best):.0f} %", f'<code class="letters">{_marked(item, best)}</code>']
        for place, item in enumerate(entry.sequences, start=1)
    ]  # fmt: skip
    head = ["Number", "Score (nats)", "Perplexity", "Same as best", "Sequence"]
    return table(head, rows, "sequences") + (
        '<p class="note">Letters that differ from the best sequence are bold. '
        "All are in <code>designs.fasta</code>.</p>"
    )


def _identity(item: SequenceSummary, best: str) -> float:
    pairs = zip(item.sequence, best, strict=True)
    return 100.0 * sum(one == two for one, two in pairs) / len(best)


def _marked(item: SequenceSummary, best: str) -> str:
    """Letters, those that differ from the best sequence in bold."""
    pairs = zip(item.sequence, best, strict=True)
    parts = []
    for differs, run in groupby(pairs, key=lambda pair: pair[0] != pair[1]):
        letters = text("".join(one for one, _ in run))
        parts.append(f"<b>{letters}</b>" if differs else letters)
    return "".join(parts)
