"""Bytes of record: written once, one generation at a time, alike in a folder and in a bucket."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import strategies as st

from protein_lab.design.request import embedded_request, read_request
from protein_lab.design.until import Relaxation, Search
from protein_lab.errors import IntegrityError, StoreError
from protein_lab.settings import ASSETS, StoreSettings
from protein_lab.store.blobs import LocalObjects, MissingObjectError, Objects, open_objects
from protein_lab.store.maintenance import gc, repair, verify
from protein_lab.store.manifest import MANIFEST, encode_manifest, sealed_manifest
from protein_lab.store.marker import MARKER
from protein_lab.store.moves import move
from protein_lab.store.objects import load_result, verify_result
from protein_lab.store.packing import ARRAYS, RECORD, pack_result, unpack_result
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult, encode_result
from protein_lab.testing.results import example_result, failed_design, ideal_helix_design
from tests.servers import S3Server

_NUMBERS = st.integers(0, 1)
_BASE = example_result()


@pytest.fixture(params=["folder", "bucket"])
def objects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    """Give an empty place of each kind."""
    if request.param == "folder":
        yield LocalObjects(tmp_path / "store")
        return
    server: S3Server = request.getfixturevalue("s3")
    for name, value in server.credentials().items():
        monkeypatch.setenv(name, value)
    yield open_objects(bucket_settings(server, server.make_bucket()))


def bucket_settings(server: S3Server, bucket: str, seconds: float = 20.0) -> StoreSettings:
    """Name a bucket of the test server."""
    return StoreSettings(
        objects=f"s3://{bucket}/some/prefix",
        s3_endpoint=server.endpoint,
        s3_region="us-east-1",
        objects_timeout_seconds=seconds,
    )


def same_result(first: DesignResult | None, second: DesignResult) -> None:
    """Compare two results to the last bit."""
    assert first is not None
    assert encode_result(first) == encode_result(second)


def test_objects_are_created_replaced_and_listed_alike(objects: Objects) -> None:
    """A folder and a bucket keep the same promises."""
    assert list(objects.list()) == []
    assert objects.write("a/b/one", b"1", if_absent=True)
    assert not objects.write("a/b/one", b"2", if_absent=True)
    assert objects.read("a/b/one") == b"1"
    assert not objects.replace("a/b/one", b"3", b"2")
    assert not objects.replace("a/b/none", b"3", b"2")
    assert objects.replace("a/b/one", b"3", b"1")
    objects.write("a/c", b"four")
    assert {item.path: item.size for item in objects.list()} == {"a/b/one": 1, "a/c": 4}
    assert [item.path for item in objects.list("a/b/")] == ["a/b/one"]
    objects.delete("a/b/one", "a/nothing")
    with pytest.raises(MissingObjectError):
        objects.read("a/b/one")
    assert [item.path for item in objects.list()] == ["a/c"]


def test_of_many_writers_at_once_exactly_one_wins(objects: Objects) -> None:
    """Creating and replacing is one step, whoever else writes at the same time."""
    with ThreadPoolExecutor(4) as pool:
        for path in ("first", "second", "third"):
            won = list(
                pool.map(lambda n, p=path: objects.write(p, b"%d" % n, if_absent=True), range(4))
            )
            assert won.count(True) == 1
            assert objects.read(path) == b"%d" % won.index(True)
            seen = objects.read(path)
            won = list(
                pool.map(lambda n, p=path, s=seen: objects.replace(p, b"new %d" % n, s), range(4))
            )
            assert won.count(True) == 1
            assert objects.read(path) == b"new %d" % won.index(True)


def test_a_result_comes_back_as_it_was(objects: Objects) -> None:
    """Order, lengths, NaN, failed designs and all, from a folder and from a bucket."""
    designs = [ideal_helix_design(2, 30, num_sequences=5), failed_design(1, "no fold")]
    result = example_result(designs)
    records = Records(objects)
    assert records.get(result.request_id) is None
    assert list(records.ids()) == []
    assert records.put(result)
    assert not records.put(dataclasses.replace(result, outcome="another"))
    same_result(Records(objects).get(result.request_id), result)
    assert list(records.ids()) == [result.request_id]
    records.delete(result.request_id)
    assert records.get(result.request_id) is None
    assert list(records.ids()) == []
    assert records.put(dataclasses.replace(result, outcome="another"))
    found = records.get(result.request_id)
    assert found is not None
    assert found.outcome == "another"


def test_xarray_opens_a_result_from_anywhere(objects: Objects) -> None:
    """Named dimensions and units; nothing but metadata is read until a value is used."""
    result = example_result()
    records = Records(objects)
    records.put(result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = records.open_arrays(result.request_id)
        assert data["backbone"].dims == ("design", "residue", "atom", "xyz")
        assert data["backbone"].attrs["units"] == "angstrom"
        assert not data["backbone"].variable._in_memory
        values = data["backbone"].sel(design=0, residue=slice(None, 16)).values
    wanted = next(item for item in result.designs if item.index == 0)
    assert values.tobytes() == np.ascontiguousarray(wanted.backbone).tobytes()
    # What was opened before a move says so, instead of giving missing values.
    move(records, result.request_id, "warm")
    with pytest.raises(IntegrityError, match=r"uncertainty/c.*gone"):
        _ = data["uncertainty"].values
    data = records.open_arrays(result.request_id)
    chunk = next(item for item in objects.list() if "/uncertainty/c/" in item.path)
    content = objects.read(chunk.path)
    objects.write(chunk.path, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="uncertainty/c"):
        _ = data["uncertainty"].values
    objects.delete(chunk.path)
    with pytest.raises(IntegrityError, match="uncertainty/c"):
        records.open_arrays(result.request_id)


def test_a_folder_has_the_layout_that_people_know(tmp_path: Path) -> None:
    """``ID/result.zarr`` and ``ID/manifest.json``, readable without this class."""
    result = example_result()
    Records(LocalObjects(tmp_path)).put(result)
    folder = tmp_path / result.request_id
    assert {path.name for path in folder.iterdir()} == {ARRAYS, MANIFEST, RECORD}
    assert verify_result(folder) == []
    same_result(load_result(folder), result)
    assert load_result(folder, verify=False).outcome == result.outcome


def test_a_damaged_record_is_read_from_the_arrays(tmp_path: Path) -> None:
    """The same result lies there twice; only when both are damaged is there an error."""
    result = example_result()
    records = Records(LocalObjects(tmp_path))
    records.put(result)
    place = tmp_path / result.request_id / RECORD
    place.write_bytes(place.read_bytes()[:-1])
    same_result(records.get(result.request_id), result)
    chunk = next((place.parent / ARRAYS / "length" / "c").iterdir())
    chunk.write_bytes(b"")
    with pytest.raises(IntegrityError, match="length/c"):
        records.get(result.request_id)


def test_a_result_without_valid_manifest_is_written_anew(objects: Objects) -> None:
    """What is left of an earlier writer, or damaged, does not stand in the way."""
    result = example_result()
    records = Records(objects)
    objects.write(f"{result.request_id}/{ARRAYS}/zarr.json", b"left over")
    assert records.get(result.request_id) is None
    assert records.put(result)
    same_result(records.get(result.request_id), result)
    path = f"{result.request_id}/{MANIFEST}"
    objects.write(path, objects.read(path)[:-2])
    with pytest.raises(IntegrityError, match="manifest"):
        records.get(result.request_id)
    assert records.put(result)
    same_result(records.get(result.request_id), result)


def test_designs_of_a_run_are_kept_until_they_are_forgotten(objects: Objects) -> None:
    """The first of each index stays; damaged ones are left out and can be made again."""
    parts = Records(objects).parts
    run = "a" * 64
    designs = {index: ideal_helix_design(index, 10) for index in (0, 3, 7)}
    assert parts.kept(run) == {}
    for design in designs.values():
        parts.keep(run, design)
        parts.keep(run, dataclasses.replace(design, timings={"total": 9.0}))
    parts.keep("b" * 64, designs[0])
    assert sorted(parts.kept(run)) == [0, 3, 7]
    assert sorted(parts.kept(run, [3, 4])) == [3]
    assert parts.kept(run)[3].timings == designs[3].timings
    path = f"parts/{run}/design-000003.bin"
    objects.write(path, objects.read(path)[:-1])
    assert sorted(parts.kept(run)) == [0, 7]
    parts.keep(run, designs[3])
    assert sorted(parts.kept(run)) == [0, 3, 7]
    parts.forget(run)
    assert parts.kept(run) == {}
    assert parts.runs() == ["b" * 64]


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    """Other people's files are no store; results from before there was a mark are."""
    result = example_result()
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(StoreError, match=r"thesis\.tex") as caught:
        Records(LocalObjects(tmp_path)).put(result)
    assert "Name another folder" in caught.value.remedy
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        Records(LocalObjects(tmp_path)).parts.keep("a" * 64, result.designs[0])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "thesis.tex").unlink()
    Records(LocalObjects(tmp_path)).put(result)
    (tmp_path / MARKER).unlink()
    (tmp_path / "index.sqlite").write_bytes(b"")
    shutil.copytree(tmp_path / result.request_id, tmp_path / "a_copy")
    other = dataclasses.replace(result, request_id="c" * 64)
    assert Records(LocalObjects(tmp_path)).put(other)
    assert (tmp_path / MARKER).exists()


def test_a_store_of_a_newer_version_is_left_alone(objects: Objects) -> None:
    """Neither read nor written; a damaged mark is no reason to guess."""
    result = example_result()
    Records(objects).put(result)
    objects.write(MARKER, objects.read(MARKER).replace(b"@1", b"@2"))
    for act in (Records(objects).put, lambda item: Records(objects).get(item.request_id)):
        with pytest.raises(StoreError, match="layout 2") as caught:
            act(result)
        assert "Update protein_lab" in caught.value.remedy
    objects.write(MARKER, b"{}")
    with pytest.raises(StoreError, match="damaged"):
        Records(objects).get(result.request_id)


def test_a_result_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """One with another layout, or with more in its manifest, is refused and never overwritten."""
    result = example_result()
    records = Records(LocalObjects(tmp_path))
    records.put(result)
    path = tmp_path / result.request_id / MANIFEST
    manifest = records.expect(result.request_id)
    newer = msgspec.structs.replace(manifest, schema="protein_lab/result@2")
    more = {**msgspec.to_builtins(manifest), "proof": 1, "digest": ""}
    plain = msgspec.json.format(msgspec.json.encode(more, order="sorted"), indent=2) + b"\n"
    more["digest"] = hashlib.sha256(plain).hexdigest()
    contents = [
        encode_manifest(sealed_manifest(newer)),
        msgspec.json.format(msgspec.json.encode(more, order="sorted"), indent=2) + b"\n",
    ]
    for content in contents:
        path.write_bytes(content)
        for act in (
            lambda: records.get(result.request_id),
            lambda: records.put(result),
            lambda: load_result(path.parent),
            lambda: move(records, result.request_id, "cold"),
            lambda: repair(records, result.request_id, [lambda _: result]),
        ):
            with pytest.raises(StoreError, match=r"result@2|newer version") as caught:
                act()
            assert "version" in caught.value.remedy
        assert [damage.path for damage in verify(records)] == [f"{result.request_id}/{MANIFEST}"]
        assert gc(records) == []
        assert path.read_bytes() == content


def test_no_path_leads_out_of_the_store(objects: Objects) -> None:
    """An id is no path."""
    for name in ("", "../x", "a/b", "/etc", ".", "a" * 200):
        with pytest.raises(StoreError, match="id of a request"):
            Records(objects).get(name)


@pytest.mark.parametrize("path", sorted((ASSETS / "requests").glob("*.json")), ids=lambda p: p.stem)
def test_record_and_arrays_say_the_same(path: Path) -> None:
    """Whatever was asked, and however often it was tried, both copies of a result are equal."""
    search = Search(
        stopped_by="accepted",
        reason="Enough.",
        num_wanted=2,
        num_made=9,
        num_accepted=2,
        chance=0.2,
    )
    relaxation = Relaxation(
        path="$.constraints[0]",
        constraint="motif",
        num_failed=7,
        num_accepted_without=5,
        median_miss=None,
        unit="angstrom",
    )
    result = dataclasses.replace(
        example_result(),
        request=embedded_request(read_request(path)),
        provenance={"nothing": float("nan"), "folder": Path("here"), "number": np.float32(1.5)},
        search=search,
        relaxations=(relaxation,),
    )
    objects = pack_result(result)
    record = unpack_result({RECORD: objects.pop(RECORD)}, "record")
    assert record.request == result.request
    assert record.search == search
    assert record.relaxations == (relaxation,)
    assert record.provenance == {"nothing": None, "folder": "here", "number": 1.5}
    same_result(unpack_result(objects, "arrays"), record)


def test_results_move_and_end_alike(objects: Objects) -> None:
    """Cold and hot again, held and deleted; a deleted one can be stored anew."""
    result = example_result()
    records = Records(objects)
    records.put(result)
    arrays = records.expect(result.request_id).arrays
    for lifecycle in ("cold", "warm", "hot"):
        manifest = move(records, result.request_id, lifecycle)  # type: ignore[arg-type]
        assert manifest.arrays == arrays
        same_result(records.get(result.request_id), result)
        assert verify(records) == []
        there = {info.path for info in objects.list(f"{result.request_id}/")}
        assert len(there) == len(manifest.objects) + 1
        assert records.open_arrays(result.request_id).sizes["design"] == 2
    records.hold(result.request_id, "case 12", "court")
    with pytest.raises(StoreError, match="case 12"):
        records.delete(result.request_id)
    records.release(result.request_id)
    records.delete(result.request_id)
    assert list(records.ids()) == []
    assert verify(records) == []
    assert records.put(result)
    assert list(records.ids()) == [result.request_id]


def test_a_place_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    """Where two writers could both win, no store is made."""

    class Careless(LocalObjects):
        """Writes whether something is there or not, as some servers do."""

        def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
            return super().write(path, data)

    with pytest.raises(StoreError, match="more than one would win") as caught:
        Records(Careless(tmp_path)).put(example_result())
    assert "If-None-Match" in caught.value.remedy
    assert list(LocalObjects(tmp_path).list()) == []
