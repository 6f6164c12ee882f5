"""Self-contained HTML with a turnable 3-D picture; nothing is loaded from anywhere.

The drawing code is 3Dmol.js (Rego and Koes, *Bioinformatics* 31, 1322-1324, 2015) with a thin view
around it, bundled into ``assets/viewer/protein_view.js`` from the sources of the notebook widget.
"""

from __future__ import annotations

import functools
import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from protein_lab.settings import ASSETS

if TYPE_CHECKING:
    from protein_lab.protein import Protein
    from protein_lab.typing import FloatArray

BUNDLE = ASSETS / "viewer" / "protein_view.js"
CONTENT_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""Content-Security-Policy of our pages: the browser itself refuses every outside request."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>html, body {{ margin: 0; height: 100% }} #view {{ height: 100% }}</style>
</head>
<body>
<div id="view"><noscript>The 3-D view needs JavaScript.</noscript></div>
{script}
{mount}
</body>
</html>
"""


@functools.cache
def bundle() -> str:
    """JavaScript module of the view; it sets ``globalThis.proteinLabView``."""
    return BUNDLE.read_text(encoding="utf-8")


def script_element() -> str:
    """``<script>`` element with the view; put it once into a page."""
    return f'<script type="module">{bundle()}</script>'


def json_for_script(value: Any) -> str:
    """JSON that can stand inside a ``<script>`` element whatever strings it holds."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def structure_record(
    protein: Protein,
    states: str | None = None,
    uncertainty: Sequence[float] | FloatArray | None = None,
    confidence: Sequence[float] | FloatArray | None = None,
) -> dict[str, Any]:
    """Collect what the view needs to know about one protein, as JSON values.

    Parameters
    ----------
    protein : Protein
        The structure.
    states : str, optional
        ``H``, ``E`` or ``L`` for each residue; measured with DSSP when not given.
    uncertainty : sequence of float, optional
        Angstrom for each residue; left out when not finite everywhere.
    confidence : sequence of float, optional
        Probability of the amino acid of each residue; left out when not finite everywhere.

    Returns
    -------
    dict
        ``name``, ``pdb``, ``states``, ``uncertainty`` and ``confidence``.
    """
    from protein_lab.metrics import dssp

    return {
        "name": protein.name,
        "pdb": protein.to_pdb(),
        "states": dssp(protein.backbone, protein.chain_index) if states is None else states,
        "uncertainty": _one_a_residue(uncertainty, protein.num_residues),
        "confidence": _one_a_residue(confidence, protein.num_residues),
    }


def _one_a_residue(given: Sequence[float] | FloatArray | None, length: int) -> list[float]:
    """Round numbers of all residues; none where one of them is not known."""
    import numpy as np

    values = np.empty(0) if given is None else np.asarray(given, dtype=np.float64)
    known = len(values) == length and bool(np.isfinite(values).all())
    return [round(float(value), 3) for value in values] if known else []


def view_page(protein: Protein, states: str | None = None, color: str = "structure") -> str:
    """Make one HTML document that shows a protein and works without a network.

    Parameters
    ----------
    protein : Protein
        What to show.
    states : str, optional
        ``H``, ``E`` or ``L`` for each residue; measured with DSSP when not given.
    color : {"structure", "position"}
        What the colors say.
    """
    record = structure_record(protein, states)
    state = {"structures": [record], "selected": 0, "color": color, "spin": False}
    mount = (
        '<script type="module">globalThis.proteinLabView.mount('
        f'document.getElementById("view"), {json_for_script(state)});</script>'
    )
    return _PAGE.format(
        policy=CONTENT_POLICY,
        title=html.escape(protein.name or "Protein"),
        script=script_element(),
        mount=mount,
    )
