"""Widgets for Jupyter: a turnable 3-D view that follows Python, and Python that follows it."""

from protein_lab_widgets.protein_view import ProteinView

__all__ = ["ProteinView"]
