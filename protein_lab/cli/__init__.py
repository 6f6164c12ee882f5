"""The command line ``protein-lab``: a thin door to the engine.

Exit codes: 0 done; 2 the request is invalid; 3 it ran, but fewer designs than asked were accepted;
130 interrupted; 1 anything else. Errors go to stderr and never show a traceback unless ``--debug``
stands first.
"""

from protein_lab.cli import (
    benchmarking,
    calibrating,
    designing,
    resources,
    scaling,
    searching,
    sequences,
    storing,
    tending,
    training,
    validating,
)
from protein_lab.cli.app import app, main

__all__ = [
    "app",
    "benchmarking",
    "calibrating",
    "designing",
    "main",
    "resources",
    "scaling",
    "searching",
    "sequences",
    "storing",
    "tending",
    "training",
    "validating",
]
