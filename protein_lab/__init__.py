"""Design proteins with neural operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protein_lab.constraints.custom import register_constraint as register_constraint

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Look up what is offered here only when it is asked for: importing this stays cheap."""
    if name == "register_constraint":
        from protein_lab.constraints.custom import register_constraint

        return register_constraint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
