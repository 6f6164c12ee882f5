"""Whatever rots, is lost or left over is found; what can be mended comes back to the bit."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protein_lab.errors import StoreError
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.maintenance import gc, repair, verify
from protein_lab.store.manifest import BLOCK, MANIFEST
from protein_lab.store.marker import MARKER
from protein_lab.store.moves import move
from protein_lab.store.packing import ARRAYS, RECORD
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult, encode_result
from protein_lab.testing.results import example_result, ideal_helix_design


@pytest.fixture(scope="module")
def result() -> DesignResult:
    """Make one result for all tests."""
    return example_result()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, result: DesignResult) -> Path:
    """Make a store with a hot, a warm and a cold result."""
    root = tmp_path_factory.mktemp("filled") / "store"
    records = Records(LocalObjects(root))
    for number, lifecycle in enumerate(("hot", "warm", "cold")):
        item = dataclasses.replace(result, request_id=f"{number:064x}")
        records.put(item)
        if lifecycle != "hot":
            move(records, item.request_id, lifecycle)  # type: ignore[arg-type]
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path) -> Path:
    """Copy that store, for a test to damage."""
    return Path(shutil.copytree(filled, tmp_path / "store"))


def files(root: Path) -> list[Path]:
    """List the files of all results."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.parent != root)


def test_three_hundred_flipped_bits_are_found(root: Path) -> None:
    """In chunks, metadata and manifests alike; the report names the file and the place in it."""
    records = Records(LocalObjects(root))
    assert verify(records) == []
    chance = random.Random(5)
    paths = files(root)
    manifests = [path for path in paths if path.name == MANIFEST]
    for _ in range(300):
        path = chance.choice(manifests if chance.random() < 0.15 else paths)
        original = path.read_bytes()
        place = chance.randrange(len(original))
        damaged = bytearray(original)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        name = path.relative_to(root).as_posix()
        (damage,) = verify(records, [name.split("/")[0]])
        assert damage.path == name
        if path.name != MANIFEST:
            ((start, stop),) = damage.regions
            assert start <= place < stop
            assert stop - start <= BLOCK
        path.write_bytes(original)
    assert verify(records) == []


def test_fifty_lost_or_cut_objects_are_found(root: Path) -> None:
    """Deleted or cut to any length, manifests too."""
    records = Records(LocalObjects(root))
    chance = random.Random(6)
    paths = files(root)
    for number in range(50):
        path = chance.choice(paths)
        original = path.read_bytes()
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(original[: chance.randrange(len(original))])
        name = path.relative_to(root).as_posix()
        damages = verify(records, [name.split("/")[0]])
        if path.name != MANIFEST or not number % 2:
            assert [damage.path for damage in damages] == [name]
        else:
            # Young generations without a manifest could be a writer at work.
            later = Records(LocalObjects(root), now=_tomorrow)
            damages = verify(later, [name.split("/")[0]])
            assert [damage.path for damage in damages] == [name]
        path.write_bytes(original)


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=2)


def test_a_reader_never_sees_other_values(root: Path, result: DesignResult) -> None:
    """Whatever bit is flipped: the same result, or an error."""
    records = Records(LocalObjects(root))
    chance = random.Random(7)
    outcomes = {"same": 0, "refused": 0}
    for _ in range(60):
        path = chance.choice(files(root))
        original = path.read_bytes()
        damaged = bytearray(original)
        damaged[chance.randrange(len(original))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        identity = path.relative_to(root).parts[0]
        wanted = encode_result(dataclasses.replace(result, request_id=identity))
        try:
            found = records.get(identity)
            assert found is not None
            assert encode_result(found) == wanted
            outcomes["same"] += 1
        except StoreError:
            outcomes["refused"] += 1
        path.write_bytes(original)
    assert all(outcomes.values())


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("harm", ["chunks", "manifest", "everything"])
def test_repair_from_another_tier_gives_equal_digests(
    root: Path, result: DesignResult, number: int, harm: str
) -> None:
    """A hot, warm or cold result is mended from a tier or a copy, with the arrays it had."""
    identity = f"{number:064x}"
    tier = dataclasses.replace(result, request_id=identity)
    records = Records(LocalObjects(root))
    before = records.expect(identity)
    for path in [path for path in files(root) if identity in path.parts]:
        if harm == "everything" or (path.name == MANIFEST) == (harm == "manifest"):
            path.write_bytes(path.read_bytes()[:-1])
    if harm == "everything":
        with pytest.raises(StoreError, match="backup"):
            repair(records, identity)
    mended = repair(records, identity, sources=[lambda _: None, _broken, lambda _: tier])
    assert mended
    after = records.expect(identity)
    assert after.arrays == before.arrays
    assert verify(records) == []
    assert repair(records, identity) == []
    found = records.get(identity)
    assert found is not None
    assert encode_result(found) == encode_result(tier)


def _broken(_: str) -> DesignResult:
    raise StoreError("This tier does not answer.")


def test_repair_without_help_uses_what_is_intact(root: Path) -> None:
    """The record gives the arrays back, the arrays the record, the record the manifest."""
    identity = f"{0:064x}"
    folder = root / identity
    records = Records(LocalObjects(root))
    before = records.expect(identity)
    (folder / RECORD).unlink()
    assert repair(records, identity) == [f"{identity}/{RECORD}"]
    shutil.rmtree(folder / ARRAYS / "backbone")
    (folder / ARRAYS / "99").write_bytes(b"foreign")
    assert len(repair(records, identity)) == 3
    assert records.expect(identity) == before
    (folder / MANIFEST).unlink()
    assert repair(records, identity) == [f"{identity}/{MANIFEST}"]
    assert records.expect(identity).arrays == before.arrays
    assert verify(records) == []


def test_repair_from_a_second_place(root: Path, tmp_path: Path) -> None:
    """A copy of the store mends the first; another result under the same id does not."""
    copy = Records(LocalObjects(Path(shutil.copytree(root, tmp_path / "copy"))))
    records = Records(LocalObjects(root))
    identity = f"{2:064x}"
    archive = next(path for path in files(root / identity) if path.suffix == ".zip")
    archive.unlink()
    other = example_result([ideal_helix_design(0, 12)])
    wrong = dataclasses.replace(other, request_id=identity)
    with pytest.raises(StoreError, match="Nothing gives"):
        repair(records, identity, sources=[lambda _: wrong])
    assert repair(records, identity, copies=[copy]) == [archive.relative_to(root).as_posix()]
    assert verify(records) == []


def test_orphans_go_and_everything_else_stays(root: Path) -> None:
    """Unnamed generations, scratch, parts of finished runs; after a grace, and not before."""
    records = Records(LocalObjects(root))
    finished, unfinished, damaged = f"{0:064x}", "f" * 64, f"{1:064x}"
    orphans = [f"{finished}/g0123456789abcdef/{RECORD}", f"{'e' * 64}/g0123456789abcdef/{RECORD}"]
    orphans.append(".probe/0123456789abcdef")
    for path in orphans:
        records.objects.write(path, b"left over")
    scratch = root / f".{finished}.0123456789ab.writing"
    scratch.mkdir()
    (scratch / RECORD).write_bytes(b"half")
    for run in (finished, unfinished):
        records.parts.keep(run, ideal_helix_design(0, 10))
    records.objects.write("holds/" + "d" * 64 + ".json", b"{}")
    records.objects.write(f"{'d' * 64}/g0123456789abcdef/{RECORD}", b"under a hold")
    (root / damaged / MANIFEST).write_bytes(b"damaged")
    (root / "notes").mkdir()
    (root / "notes" / "mine.txt").write_text("text")
    with pytest.raises(StoreError, match="at least 3600 s"):
        gc(records, timedelta(minutes=1))
    part = f"parts/{finished}/design-000000.bin"
    assert [item.path for item in gc(records, dry_run=True)] == [part]
    later = Records(LocalObjects(root), now=_tomorrow)
    wanted = {*orphans, part, scratch.name}
    assert {item.path for item in gc(later, dry_run=True)} == wanted
    before = set(files(root))
    assert {item.path for item in gc(later)} == wanted
    gone = {path.relative_to(root).as_posix() for path in before - set(files(root))}
    assert gone == {*orphans, part, f"{scratch.name}/{RECORD}"}
    assert gc(later) == []


def test_verify_refuses_a_store_that_it_does_not_know(root: Path) -> None:
    """A damaged or newer mark is found before anything is judged by it."""
    (root / MARKER).write_bytes((root / MARKER).read_bytes().replace(b"@1", b"@7"))
    for act in (verify, gc):
        with pytest.raises(StoreError, match="layout 7"):
            act(Records(LocalObjects(root)))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_what_cannot_be_read_is_no_empty_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that refuses to be listed is an error, and never taken for empty."""
    real = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == f"{1:064x}":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreError, match="Cannot list"):
        verify(Records(LocalObjects(root)))
