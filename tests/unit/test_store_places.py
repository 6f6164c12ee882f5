"""Places that are full, read-only, gone, closed, or do not answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from protein_lab.errors import StoreError, TierError
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import LocalObjects, open_objects
from protein_lab.store.maintenance import verify
from protein_lab.store.moves import class_of, move
from protein_lab.store.records import Records
from protein_lab.testing.results import example_result, ideal_helix_design, marked_result
from tests.servers import S3Server, s3_server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 640 KiB, where that is allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_shows_nothing_half(small_disk: Path) -> None:
    """A clear error, no part of the result is visible, and it works when there is space again."""
    records = Records(LocalObjects(small_disk / "store"))
    results = [marked_result(number, "one") for number in range(6)]
    with pytest.raises(StoreError, match="No space left") as caught:
        all(map(records.put, results))
    assert "Free some space" in caught.value.remedy
    stored = len(list(records.ids()))
    assert 0 < stored < len(results)
    assert verify(records) == []
    assert not list(small_disk.rglob("*.writing"))
    (small_disk / "store" / results[stored].request_id).mkdir()
    (small_disk / "store" / results[stored].request_id / "left_over").touch()
    with pytest.raises(StoreError, match="No space left"):
        records.put(results[stored])
    designs = [ideal_helix_design(index, 400) for index in range(60)]
    with pytest.raises(StoreError, match="No space left"):
        list(map(records.parts.keep, ["a" * 64] * len(designs), designs))
    kept = sorted(records.parts.kept("a" * 64))
    assert kept == list(range(len(kept)))
    with pytest.raises(StoreError, match="No space left"):
        move(records, results[0].request_id, "warm")
    assert len(list(records.ids())) == stored
    assert verify(records, [item.request_id for item in results[:stored]]) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert all(records.put(item) for item in results[stored:])
    assert class_of(move(records, results[0].request_id, "warm")) == "warm"
    assert verify(records) == []


def test_a_read_only_place_is_told(small_disk: Path) -> None:
    """Reading goes on; writing says that it may not."""
    records = Records(LocalObjects(small_disk / "store"))
    records.put(marked_result(0, "one"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert Records(LocalObjects(small_disk / "store")).get(f"{0:064x}") is not None
    for act in (
        lambda: records.put(marked_result(1, "one")),
        lambda: records.delete(f"{0:064x}"),
        lambda: records.parts.keep("a" * 64, ideal_helix_design(0, 10)),
    ):
        with pytest.raises(StoreError, match="Read-only file system") as caught:
            act()
        assert "may write" in caught.value.remedy
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_a_bucket_that_is_gone_or_closed_is_told(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and what to do, and never a key."""
    secret = "canary-0123456789"
    given = s3.credentials()
    keys = {**given, "AWS_SECRET_ACCESS_KEY": secret}
    bucket = s3.make_bucket()
    cases = [
        (f"s3://{bucket}/x", keys, "does not let us in", "AWS_ACCESS_KEY_ID"),
        (f"s3://{bucket}/x", {**keys, "AWS_ACCESS_KEY_ID": secret}, "let us in", "AWS_"),
        ("s3://no-such-bucket/x", given, "does not exist", "PROTEIN_LAB_STORE_OBJECTS"),
    ]
    for uri, credentials, problem, remedy in cases:
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        settings = StoreSettings(objects=uri, s3_endpoint=s3.endpoint, s3_region="us-east-1")
        records = Records(open_objects(settings))
        for act in (
            lambda r=records: r.put(example_result()),
            lambda r=records: r.get("a" * 64),
            lambda r=records: list(r.ids()),
            lambda r=records: r.parts.kept("a" * 64),
        ):
            with pytest.raises(StoreError, match=problem) as caught:
                act()
            assert remedy in caught.value.remedy
            assert secret not in str(caught.value) + repr(caught.value.__context__)
            assert given["AWS_ACCESS_KEY_ID"] not in str(caught.value)
    for uri in (f"s3://key:{secret}@{bucket}/x", "s3://", f"gs://{secret}/x"):
        with pytest.raises(StoreError, match="s3://BUCKET/PREFIX") as caught:
            open_objects(StoreSettings(objects=uri))
        assert secret not in str(caught.value)


def test_a_server_that_hangs_or_is_dead_costs_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call ends in time and says so; when the server is back, everything works."""
    with s3_server() as server:
        for name, value in server.credentials().items():
            monkeypatch.setenv(name, value)
        patient = StoreSettings(
            objects=f"s3://{server.make_bucket()}/x",
            s3_endpoint=server.endpoint,
            s3_region="us-east-1",
        )
        open_objects(patient).write("one", b"1")
        objects = open_objects(msgspec.structs.replace(patient, objects_timeout_seconds=2.0))
        server.pause()
        for act in (
            lambda: objects.read("one"),
            lambda: objects.write("two", b"2", if_absent=True),
            lambda: list(objects.list()),
        ):
            began = time.monotonic()
            with pytest.raises(TierError, match="did not answer in time"):
                act()
            assert time.monotonic() - began < 20
        server.resume()
        assert open_objects(patient).read("one") == b"1"
        server.kill()
        with pytest.raises(TierError, match="did not answer"):
            objects.read("one")
