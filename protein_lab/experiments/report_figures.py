"""Pictures of the report as addresses that hold the picture itself (``data:`` URLs)."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

from protein_lab import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: Any = {
    "font.size": 9.0,
    "axes.edgecolor": plotting.INK,
    "axes.labelcolor": plotting.INK,
    "xtick.color": plotting.INK,
    "ytick.color": plotting.INK,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",
    "svg.hashsalt": "protein_lab",  # the same picture is the same bytes
}
_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def picture(name: str, *arguments: Any, form: str = "svg") -> str:
    """Draw with a function of :mod:`protein_lab.plotting`.

    Parameters
    ----------
    name : str
        Name of the function.
    *arguments
        What it is called with.
    form : {"svg", "png"}
        Lines as SVG, shaded surfaces as PNG.

    Returns
    -------
    str
        ``data:`` URL.
    """
    from matplotlib import rc_context

    with rc_context(_STYLE):
        return address(getattr(plotting, name)(*arguments), form)


def address(figure: Figure, form: str = "svg") -> str:
    """Encode a figure as a ``data:`` URL."""
    buffer = BytesIO()
    metadata = {"Date": None} if form == "svg" else {}
    figure.savefig(buffer, format=form, dpi=150, transparent=True, metadata=metadata)
    return f"data:{_TYPES[form]};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
