"""The examples on the pages of constraints are requests that can be made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from protein_lab.design.request import check_request

PAGES = Path(__file__).parents[2] / "docs" / "constraints"
STRANDS = "LEEEEELLLHHHHHHHHHHHHLLLEEEEELLLHHHHHHHHHHHHLLLEEEEEL"

# examples that name no file, and what they need beside themselves
NEEDED = {
    "burial": {"length": 80},
    "contacts": {"length": 80},
    "content": {"length": 80},
    "distance": {"length": 80},
    "radius_of_gyration": {"length": 100},
    "segments": {},
    "shape": {"length": 80},
    "topology": {"constraints": [{"kind": "secondary_structure", "string": STRANDS}]},
}


@pytest.mark.parametrize("name", NEEDED)
def test_examples_have_no_fault(name: str) -> None:
    """Every JSON block of a page is a constraint of its family, without error or warning."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        constraint = json.loads(block)
        assert constraint["kind"] == name
        request = dict(NEEDED[name])
        request["constraints"] = [*request.get("constraints", []), constraint]
        assert check_request(request) == []


@pytest.mark.parametrize("name", NEEDED)
def test_every_field_is_on_the_page(name: str) -> None:
    """A page speaks of all fields of its family."""
    from protein_lab.constraints.kinds import AnyConstraint

    (family,) = (item for item in AnyConstraint.__args__ if item.kind == name)
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert [field for field in family.__struct_fields__ if f"`{field}`" not in text] == []
