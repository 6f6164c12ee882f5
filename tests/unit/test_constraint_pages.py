"""Every example on the pages of the constraints is one that a request takes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from protein_lab.constraints.kinds import AnyConstraint

FOLDER = Path(__file__).parents[2] / "docs" / "constraints"
BLOCK = re.compile(r"```json\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_examples_are_read(page: Path) -> None:
    """Fields and names are right, and the page shows the kind it is named after."""
    kinds = []
    for text in BLOCK.findall(page.read_text(encoding="utf-8")):
        data = msgspec.json.decode(text)
        items = data if isinstance(data, list) else data.get("constraints", [data])
        for item in items:
            kinds.append(msgspec.convert(item, AnyConstraint).kind)
    assert page.stem in kinds
