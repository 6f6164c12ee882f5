"""Holds, collectors and movers that meet writers and deletions in the midst."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protein_lab.errors import StoreError
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.maintenance import gc, verify
from protein_lab.store.moves import MovingError, class_of, move
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult
from protein_lab.testing.results import example_result

FAR = datetime.now(UTC) + timedelta(days=1000)


@pytest.fixture(scope="module")
def result() -> DesignResult:
    """Make one result for all tests."""
    return example_result()


def test_a_hold_during_a_deletion_wins_or_comes_too_late(
    tmp_path: Path, result: DesignResult
) -> None:
    """A hold that was acknowledged stands, whatever a deletion had seen before."""

    class Holding(LocalObjects):
        """Somebody asks for a hold between the look and the deletion."""

        def replace(self, path: str, data: bytes, expected: bytes) -> bool:
            Records(LocalObjects(tmp_path)).hold(result.request_id, "case 12", "court")
            return super().replace(path, data, expected)

    Records(LocalObjects(tmp_path)).put(result)
    with pytest.raises(StoreError, match="changed meanwhile"):
        Records(Holding(tmp_path)).delete(result.request_id)
    assert Records(LocalObjects(tmp_path)).get(result.request_id) is not None


def test_a_collector_with_a_wrong_clock_costs_a_writer_nothing(
    tmp_path: Path, result: DesignResult
) -> None:
    """What it took before the manifest named it is written again before anybody is told."""
    collected: list[str] = []

    class Collected(LocalObjects):
        """Between the objects and the manifest, a collector whose clock is far ahead passes."""

        def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
            if path.endswith("manifest.json"):
                ahead = Records(LocalObjects(tmp_path), now=lambda: FAR)
                collected.extend(info.path for info in gc(ahead))
            return super().write(path, data, if_absent=if_absent)

    left_over = tmp_path / result.request_id / "left_over"
    left_over.parent.mkdir()
    left_over.touch()
    assert Records(Collected(tmp_path)).put(result)
    assert len(collected) > 30
    records = Records(LocalObjects(tmp_path))
    assert verify(records) == []
    assert records.get(result.request_id) is not None


def test_a_collector_never_takes_the_copy_of_a_slow_mover(
    tmp_path: Path, result: DesignResult
) -> None:
    """It ends the move first; the mover finds that out and deletes nothing."""

    class Collected(LocalObjects):
        """Just before the switch, a collector whose clock is far ahead passes."""

        def replace(self, path: str, data: bytes, expected: bytes) -> bool:
            if b"moving" in expected and b"moving" not in data:
                assert gc(Records(LocalObjects(tmp_path), now=lambda: FAR))
            return super().replace(path, data, expected)

    records = Records(LocalObjects(tmp_path))
    records.put(result)
    with pytest.raises(MovingError, match="changed meanwhile"):
        move(Records(Collected(tmp_path)), result.request_id, "cold")
    assert class_of(records.expect(result.request_id)) == "hot"
    assert verify(records) == []
