"""Run the quality benchmark, print its rows as JSON, exit 3 when a floor is missed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from protein_lab.experiments.quality import run_quality
from protein_lab.experiments.quality_parts import PARTS
from protein_lab.experiments.quality_plots import quality_pictures
from protein_lab.experiments.rows_page import rows_page


def _report(done: int, total: int) -> None:
    sys.stderr.write(f"{done}/{total} blueprints\n")
    sys.stderr.flush()


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 blueprints instead of 200")
    parser.add_argument("--operator", default="enhanced_deeponet")
    parser.add_argument("--backend", default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blueprints", type=int, default=None, help="another number of them")
    parser.add_argument("--samples", type=int, default=4, help="designs for each blueprint")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="this part alone")
    parser.add_argument("--page", type=Path, default=None, help="also write an HTML page here")
    options = parser.parse_args()
    rows = run_quality(
        options.quick,
        options.operator,
        options.backend,
        options.workers,
        _report,
        options.blueprints,
        options.samples,
        options.part or list(PARTS),
    )
    if options.page is not None:
        page = rows_page(rows, "Quality of designs", quality_pictures(rows))
        options.page.write_text(page, encoding="utf-8")
    text = msgspec.json.format(msgspec.json.encode(rows), indent=1)
    sys.stdout.write(text.decode() + "\n")
    return 0 if all(row.ok for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main())
