"""Design proteins with neural operators."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protein_lab.constraints.custom import register_constraint as register_constraint
    from protein_lab.store.open import open_store as open_store
    from protein_lab.store.table import open_run as open_run
    from protein_lab.store.table import open_run_arrays as open_run_arrays
    from protein_lab.store.table import runs as runs

__version__ = "0.1.0"

_PLACES = {
    "register_constraint": "protein_lab.constraints.custom",
    "open_store": "protein_lab.store.open",
    "runs": "protein_lab.store.table",
    "open_run": "protein_lab.store.table",
    "open_run_arrays": "protein_lab.store.table",
}


def __getattr__(name: str) -> Any:
    """Look up what is offered here only when it is asked for: importing this stays cheap."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
