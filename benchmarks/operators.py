"""Run the operator benchmark, print its rows as JSON, exit 3 when a floor is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from protein_lab.experiments.operator_benchmark import NAMES, run_operators
from protein_lab.experiments.operator_page import operator_page


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer chains")
    parser.add_argument("--operators", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--backend", choices=("numpy", "torch"), default=None)
    parser.add_argument("--page", type=Path, default=None, help="also write an HTML page here")
    options = parser.parse_args()
    figures = run_operators(options.quick, options.operators, options.backend, _tell)
    if options.page is not None:
        options.page.write_text(operator_page(figures), encoding="utf-8")
    found = {"rows": figures.rows, "errors": figures.errors, "losses": figures.losses}
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    return 0 if all(row.ok for row in figures.rows) else 3


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
