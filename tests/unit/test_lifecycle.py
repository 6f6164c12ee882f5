"""Results grow old by age and access, keep their arrays to the bit, and are never lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protein_lab.errors import StoreError
from protein_lab.settings import StoreSettings
from protein_lab.store.base import LifecycleClass, RunRow
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.lifecycle import is_expired, migrate, target_class
from protein_lab.store.maintenance import gc, verify
from protein_lab.store.moves import MOVE_TIME, MovingError, class_of, move
from protein_lab.store.objects import load_result, verify_result
from protein_lab.store.packing import ARCHIVE, array_digests
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult, encode_result
from protein_lab.testing.results import example_result

SETTINGS = StoreSettings()
SECOND = timedelta(seconds=1)
START = datetime(2024, 2, 28, 12, 0, tzinfo=UTC)
FAR = datetime.now(UTC) + timedelta(days=1000)
ORDER: tuple[LifecycleClass, ...] = ("hot", "warm", "cold")


class Calendar:
    """A clock that a test moves."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.time


class Index:
    """What the index knows, in memory."""

    def __init__(self, *results: DesignResult, read: datetime = START) -> None:
        self.known = {item.request_id: _row(item, read) for item in results}

    def rows(self) -> list[RunRow]:
        """Give all rows."""
        return list(self.known.values())

    def set_lifecycle(self, request_id: str, lifecycle: LifecycleClass, size: int) -> None:
        """Note a class."""
        row = self.known[request_id]
        fields = {name: getattr(row, name) for name in RunRow.__struct_fields__}
        self.known[request_id] = RunRow(**{**fields, "lifecycle": lifecycle, "size": size})

    def remove(self, request_id: str) -> None:
        """Forget a row."""
        del self.known[request_id]


def _row(result: DesignResult, read: datetime) -> RunRow:
    return RunRow(
        request_id=result.request_id,
        name="example",
        created_at=START,
        accessed_at=read,
        num_designs=2,
        num_accepted=1,
        length=24,
        operator="deeponet",
        constraints=(),
        size=0,
    )


class KilledError(BaseException):
    """The process ended here."""


class DyingObjects(LocalObjects):
    """A folder whose process ends at a chosen change of it: nothing after that happens."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise KilledError

    def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write unless dead."""
        self._step()
        return super().write(path, data, if_absent=if_absent)

    def replace(self, path: str, data: bytes, expected: bytes) -> bool:
        """Replace unless dead."""
        self._step()
        return super().replace(path, data, expected)

    def delete(self, *paths: str) -> None:
        """Remove one after the other unless dead."""
        for path in paths:
            self._step()
            super().delete(path)


@pytest.fixture(scope="module")
def result() -> DesignResult:
    """Make one result for all tests."""
    return example_result()


def test_classes_change_at_the_second(result: DesignResult) -> None:
    """Thirty days, a year and seven years, over a leap day, to the second."""
    for days, before, after in ((30, "hot", "warm"), (365, "warm", "cold")):
        edge = START + timedelta(days=days)
        assert target_class(START, START, edge - SECOND, SETTINGS) == before
        assert target_class(START, START, edge, SETTINGS) == after
    end = START + timedelta(days=SETTINGS.cold_days)
    assert not is_expired(START, START, end - SECOND, SETTINGS)
    assert is_expired(START, START, end, SETTINGS)
    # 2024 has a 29th of February: 365 days after the 28th is the 27th.
    assert (START + timedelta(days=365)).date().isoformat() == "2025-02-27"
    read = START + timedelta(days=400)
    edge = read + timedelta(days=SETTINGS.idle_days)
    assert target_class(START, read, edge - SECOND, SETTINGS) == "hot"
    assert target_class(START, read, edge, SETTINGS) == "cold"
    late = end - timedelta(days=1)
    assert not is_expired(START, late, end, SETTINGS)


@given(
    age=st.integers(0, 4000 * 86400),
    more=st.integers(0, 400 * 86400),
    read=st.none() | st.integers(1, 4000 * 86400),
)
def test_without_a_read_nothing_gets_younger(age: int, more: int, read: int | None) -> None:
    """Time alone only moves towards cold; what was read lately is hot, and is never deleted."""
    now, later = START + age * SECOND, START + (age + more) * SECOND
    accessed = START if read is None or read > age else START + read * SECOND
    first = target_class(START, accessed, now, SETTINGS)
    second = target_class(START, accessed, later, SETTINGS)
    assert ORDER.index(first) <= ORDER.index(second)
    if accessed > START and now - accessed < timedelta(days=SETTINGS.idle_days):
        assert first == "hot"
        assert not is_expired(START, accessed, now, SETTINGS)


def test_a_result_goes_through_all_classes_and_back(tmp_path: Path, result: DesignResult) -> None:
    """Each move happens once, saves what the dry run said, and keeps every array and value."""
    clock, index = Calendar(), Index(result)
    records = Records(LocalObjects(tmp_path), now=clock)
    records.put(result)
    identity = result.request_id
    digests = array_digests(records.content(identity, records.expect(identity)))
    assert records.expect(identity).arrays == digests
    path: list[tuple[timedelta, LifecycleClass]] = [
        (timedelta(days=30), "warm"),
        (timedelta(days=365), "cold"),
        (timedelta(days=366), "hot"),
    ]
    for age, wanted in path:
        clock.time = START + age
        if wanted == "hot":
            index = Index(result, read=clock.time - SECOND)
        before = records.expect(identity)
        foreseen = migrate(records, index, SETTINGS, dry_run=True)
        assert records.expect(identity) == before
        done = migrate(records, index, SETTINGS)
        assert done == foreseen
        assert [step.target for step in done.steps] == [wanted]
        manifest = records.expect(identity)
        assert class_of(manifest) == index.known[identity].lifecycle == wanted
        assert done.saved == before.size - manifest.size
        assert (done.saved > 0) == (wanted != "hot")
        _is_whole(records, result, digests)
        assert migrate(records, index, SETTINGS).steps == ()
        assert load_result(tmp_path / identity).outcome == result.outcome
        assert verify_result(tmp_path / identity) == []
        assert records.open_arrays(identity)["backbone"].dims[0] == "design"
        assert manifest.created_at == START


def _is_whole(records: Records, result: DesignResult, digests: Mapping[str, str]) -> None:
    """Compare with the original, and see that nothing else lies there."""
    found = records.get(result.request_id)
    assert found is not None
    assert encode_result(found) == encode_result(result)
    manifest = records.expect(result.request_id)
    assert array_digests(records.content(result.request_id, manifest)) == digests
    there = {info.path for info in records.objects.list(f"{result.request_id}/")}
    named = {f"{result.request_id}/{item.path}" for item in manifest.objects}
    assert there == named | {f"{result.request_id}/manifest.json"}
    assert verify(records) == []


def test_a_cold_result_is_one_object(tmp_path: Path, result: DesignResult) -> None:
    """Zarr itself opens it, also when nothing of ours is left."""
    import xarray as xr
    from zarr.storage import ZipStore

    records = Records(LocalObjects(tmp_path))
    records.put(result)
    manifest = move(records, result.request_id, "cold")
    assert [item.path for item in manifest.objects] == [f"{manifest.generation}/{ARCHIVE}"]
    store = ZipStore(tmp_path / result.request_id / manifest.objects[0].path, mode="r")
    data = xr.open_dataset(store, engine="zarr", chunks=None, consolidated=False)  # type: ignore[arg-type]
    assert data["uncertainty"].attrs["units"] == "angstrom"


@pytest.mark.parametrize("route", [("hot", "cold"), ("cold", "warm")])
def test_a_crash_at_any_step_of_a_move_loses_nothing(
    tmp_path: Path, result: DesignResult, route: tuple[LifecycleClass, LifecycleClass]
) -> None:
    """Between any two changes of the folder: at least one copy, at most two, and it goes on."""
    source, target = route
    clock = Calendar()
    records = Records(LocalObjects(tmp_path), now=clock)
    records.put(result)
    identity = result.request_id
    if source != "hot":
        move(records, identity, source)
    digests = array_digests(records.content(identity, records.expect(identity)))
    steps, ended = 0, False
    while not ended:
        dying = Records(DyingObjects(tmp_path, steps), now=clock)
        try:
            move(dying, identity, target)
            ended = True
        except KilledError:
            steps += 1 if steps < 4 else 17  # the many objects of a copy are all alike
        found = records.get(identity)
        assert found is not None
        assert encode_result(found) == encode_result(result)
        folders = {info.path.split("/")[1] for info in records.objects.list(f"{identity}/")}
        generations = {name for name in folders if name.startswith("g")}
        beside = {name for name in folders if name.startswith(("result", "record"))}
        assert 1 <= len(generations) + bool(beside) <= 2
        if class_of(records.expect(identity)) == target and not ended:
            move(records, identity, source)
        clock.time += MOVE_TIME
    assert steps > 5
    _is_whole(records, result, digests)


def test_two_movers_do_not_meet(tmp_path: Path, result: DesignResult) -> None:
    """The second waits; one that was taken over finds that out and changes nothing."""
    clock = Calendar()
    records = Records(LocalObjects(tmp_path), now=clock)
    records.put(result)
    with pytest.raises(KilledError):
        move(Records(DyingObjects(tmp_path, 1), now=clock), result.request_id, "cold")
    done = migrate(records, Index(result), SETTINGS)
    assert done.steps == ()
    with pytest.raises(MovingError, match="being moved since"):
        move(records, result.request_id, "warm")

    class Slow(LocalObjects):
        """Is overtaken while it writes its copy."""

        def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
            if "/g" in path and ARCHIVE in path:
                clock.time += MOVE_TIME
                move(records, result.request_id, "warm")
            return super().write(path, data, if_absent=if_absent)

    clock.time += MOVE_TIME
    with pytest.raises(MovingError, match="changed meanwhile"):
        move(Records(Slow(tmp_path), now=clock), result.request_id, "cold")
    assert class_of(records.expect(result.request_id)) == "warm"
    digests = records.expect(result.request_id).arrays
    assert isinstance(digests, dict)
    _is_whole(records, result, digests)


def test_a_held_result_is_never_deleted(tmp_path: Path, result: DesignResult) -> None:
    """Not by hand, not at the end of its life, not with a damaged manifest, until released."""
    clock, index = Calendar(), Index(result)
    records = Records(LocalObjects(tmp_path), now=clock)
    records.put(result)
    identity = result.request_id
    with pytest.raises(StoreError, match="reason"):
        records.hold(identity, " ", "court")
    records.hold(identity, "case 12", "court")
    clock.time = START + timedelta(days=SETTINGS.cold_days)
    done = migrate(records, index, SETTINGS, delete_expired=True)
    assert [step.target for step in done.steps] == ["cold"]
    assert done.expired == (identity,)
    with pytest.raises(StoreError, match=r"case 12 \(court\)") as caught:
        records.delete(identity)
    assert "Release" in caught.value.remedy
    path = tmp_path / identity / "manifest.json"
    content = path.read_bytes()
    path.unlink()
    clock.time = datetime.now(UTC) + timedelta(days=400)
    assert gc(records) == []
    path.write_bytes(content[:-2])
    with pytest.raises(StoreError, match="case 12"):
        records.delete(identity)
    path.write_bytes(content)
    records.release(identity)
    clock.time = START + timedelta(days=SETTINGS.cold_days)
    foreseen = migrate(records, index, SETTINGS, delete_expired=True, dry_run=True)
    assert records.get(identity) is not None
    assert migrate(records, index, SETTINGS, delete_expired=True) == foreseen
    assert index.known == {}
    assert records.get(identity) is None
    assert [info.path for info in records.objects.list()] == ["protein_lab_store.json"]


def test_the_end_of_life_alone_deletes_nothing(tmp_path: Path, result: DesignResult) -> None:
    """Without being told so, a migration only says what it could delete."""
    clock, index = Calendar(), Index(result)
    records = Records(LocalObjects(tmp_path), now=clock)
    records.put(result)
    clock.time = START + timedelta(days=SETTINGS.cold_days)
    assert migrate(records, index, SETTINGS).expired == (result.request_id,)
    assert records.get(result.request_id) is not None


def test_one_damaged_result_does_not_stop_the_others(tmp_path: Path, result: DesignResult) -> None:
    """It stays as it was and is named; a lost index costs only the times of reading."""
    clock = Calendar()
    records = Records(LocalObjects(tmp_path), now=clock)
    other = dataclasses.replace(result, request_id="0" * 64)
    for item in (result, other):
        records.put(item)
    next((tmp_path / other.request_id / "result.zarr" / "length" / "c").iterdir()).unlink()
    clock.time = START + timedelta(days=30)
    empty = Index(result)
    done = migrate(records, empty, SETTINGS)
    assert [step.request_id for step in done.steps] == [result.request_id]
    assert list(done.problems) == [other.request_id]
    assert "length/c" in done.problems[other.request_id]
    assert records.get(other.request_id) is not None
    assert not records.expect(other.request_id).moving


def test_a_deletion_that_was_cut_off_is_ended_by_the_collector(
    tmp_path: Path, result: DesignResult
) -> None:
    """Deleted is deleted from its first step on; what is left goes after the grace."""
    records = Records(LocalObjects(tmp_path))
    records.put(result)
    with pytest.raises(KilledError):
        Records(DyingObjects(tmp_path, 5)).delete(result.request_id)
    assert records.get(result.request_id) is None
    assert list(records.ids()) == []
    records.delete(result.request_id)
    assert gc(records) == []
    assert gc(Records(LocalObjects(tmp_path), now=lambda: FAR))
    assert [info.path for info in records.objects.list()] == ["protein_lab_store.json"]
    assert records.put(result)
