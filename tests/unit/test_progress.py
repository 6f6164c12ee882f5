"""The bar that shows how many designs are there."""

from __future__ import annotations

import io
from dataclasses import replace

from protein_lab.design.request import DesignRequest
from protein_lab.design.until import Until
from protein_lab.draft import failed_design
from protein_lab.execution.progress import DesignBar


def test_a_bar_counts_designs_and_estimates_the_rest() -> None:
    """Failed designs are designs too; the time that is left stands beside."""
    told = io.StringIO()
    with DesignBar(DesignRequest(length=40, num_designs=2), file=told) as bar:
        for index in range(2):
            bar.advance(failed_design(index, "knotted"), index + 1)
    assert "2/2" in told.getvalue()
    assert "design/s" in told.getvalue() or "s/design" in told.getvalue()


def test_of_a_search_accepted_designs_count() -> None:
    """One that is not accepted moves the number made alone."""
    told = io.StringIO()
    request = DesignRequest(length=40, until=Until(accepted=2, max_samples=9))
    good = replace(failed_design(1, ""), failed=None)
    with DesignBar(request, file=told) as bar:
        bar.advance(failed_design(0, "knotted"), 1)
        bar.advance(good, 2)
    assert "1/2" in told.getvalue()
    assert "made=2" in told.getvalue()
    with DesignBar(request, is_shown=False, file=(silent := io.StringIO())) as bar:
        bar.advance(good, 1)
    assert silent.getvalue() == ""
