"""A stored result comes back as it was, exists only when whole, and never lies after damage."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.files import is_scratch
from protein_lab.store.manifest import BLOCK, MANIFEST, read_manifest
from protein_lab.store.objects import (
    ARRAYS,
    load_result,
    save_result,
    stored_results,
    verify_result,
)
from protein_lab.store.schema import Design, decode_design, encode_design
from protein_lab.testing.results import example_result, failed_design, ideal_helix_design


@pytest.fixture(scope="module")
def first_stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save one result for all tests of this file."""
    return save_result(example_result(), tmp_path_factory.mktemp("store"))


@pytest.fixture
def stored(first_stored: Path, tmp_path: Path) -> Path:
    """Copy the stored result, for a test to damage."""
    return Path(shutil.copytree(first_stored, tmp_path / first_stored.name))


def same_design(first: Design, second: Design) -> None:
    """Compare all fields, arrays bit for bit."""
    for field in dataclasses.fields(Design):
        left, right = getattr(first, field.name), getattr(second, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype == np.float32
            assert left.tobytes() == right.tobytes()
            assert left.shape == right.shape
        else:
            assert repr(left) == repr(right)


def flip(path: Path, position: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    """What is loaded equals what was saved: order, lengths, NaN, failed designs and all."""
    without = dataclasses.replace(
        ideal_helix_design(0, 12, num_sequences=0), sequence_failed="no weights"
    )
    designs = [ideal_helix_design(2, 30, num_sequences=5), failed_design(1, "no fold"), without]
    result = example_result(designs)
    loaded = load_result(save_result(result, tmp_path))
    assert loaded.request == result.request
    assert loaded.request_id == result.request_id
    assert loaded.outcome == result.outcome
    assert loaded.provenance == result.provenance
    for before, after in zip(result.designs, loaded.designs, strict=True):
        same_design(before, after)
    assert [design.accepted for design in loaded.designs] == [True, False, True]


def test_xarray_opens_it_with_names_and_units(stored: Path) -> None:
    """A person with xarray and nothing of ours sees dimensions, units and padding."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xr.open_zarr(stored / ARRAYS, consolidated=False).load()
    assert data["backbone"].dims == ("design", "residue", "atom", "xyz")
    assert data["backbone"].attrs["units"] == data["uncertainty"].attrs["units"] == "angstrom"
    assert list(data["atom"].values) == ["N", "CA", "C", "O"]
    assert data["length"].sel(design=0) == 16
    assert np.isnan(data["backbone"].sel(design=0, residue=slice(17, None))).all()
    assert np.isfinite(data["backbone"].sel(design=0, residue=slice(None, 16))).all()
    meanings = data["check_verdict"].attrs["flag_meanings"].split()
    codes = dict(zip(meanings, data["check_verdict"].attrs["flag_values"], strict=True))
    assert data["check_verdict"].sel(design=0, check="clashes") == codes["fail"]
    assert data["check_verdict"].sel(design=1, check="novelty") == codes["not_run"]
    assert data["residue_probability"].dims == ("design", "draw", "residue")
    assert data["drawn_sequence"].sel(design=0, draw=1) == "AELKGAELKGAELKGA"
    assert data["sequence_score"].sel(design=1).values.tolist() == [-1.0, -1.25]
    assert np.isnan(data["residue_entropy"].sel(design=0, residue=slice(17, None))).all()
    assert data["constraint_value"].dims == ("design", "constraint")


def test_every_chunk_has_a_crc32c(stored: Path) -> None:
    """Also a reader without the manifest notices damage, because each array ends in crc32c."""
    group = zarr.open_group(stored / ARRAYS, mode="r", use_consolidated=False)
    arrays = dict(group.arrays())
    assert len(arrays) > 15
    for name, array in arrays.items():
        codecs = [codec.to_dict()["name"] for codec in array.compressors]
        assert codecs[-1] == "crc32c", name
        assert array.nchunks_initialized == array.nchunks, name


def test_a_flipped_bit_in_any_file_is_found_and_named(stored: Path) -> None:
    """Whichever file is damaged, in its first, middle or last byte, verify names exactly it."""
    assert verify_result(stored) == []
    files = [path for path in stored.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        original = path.read_bytes()
        for position in {0, len(original) // 2, len(original) - 1}:
            flip(path, position)
            name = path.relative_to(stored).as_posix()
            damages = verify_result(stored)
            assert [damage.path for damage in damages] == [name]
            if name != MANIFEST:
                ((start, stop),) = damages[0].regions
                assert start <= position < stop
                assert stop - start <= BLOCK
            with pytest.raises(IntegrityError, match=name.rsplit("/", 1)[-1]):
                load_result(stored)
            path.write_bytes(original)
    assert verify_result(stored) == []


def test_damage_in_a_chunk_is_noticed_without_the_manifest(stored: Path) -> None:
    """With verification off the chunk's own checksum still refuses, instead of wrong numbers."""
    chunk = next(path for path in (stored / ARRAYS / "backbone" / "c").rglob("*") if path.is_file())
    flip(chunk, chunk.stat().st_size // 2)
    with pytest.raises(IntegrityError, match="backbone"):
        load_result(stored, verify=False)


@pytest.mark.parametrize("change", ["missing", "longer", "added"])
def test_missing_longer_and_added_objects_are_found(stored: Path, change: str) -> None:
    """A deleted chunk would read as NaN and an added one as data; both are damage."""
    chunk = next(path for path in (stored / ARRAYS / "length" / "c").rglob("*") if path.is_file())
    if change == "missing":
        chunk.unlink()
    elif change == "longer":
        chunk.write_bytes(chunk.read_bytes() + b"\0")
    else:
        chunk = chunk.with_name("99")
        chunk.write_bytes(b"data")
    (damage,) = verify_result(stored)
    assert damage.path == chunk.relative_to(stored).as_posix()
    with pytest.raises(IntegrityError, match="length/c"):
        load_result(stored)


def test_without_a_manifest_there_is_no_result(stored: Path) -> None:
    """A folder without manifest is not listed, not loaded, and is replaced by the next writer."""
    result = example_result()
    assert stored_results(stored.parent) == [result.request_id]
    (stored / MANIFEST).unlink()
    assert stored_results(stored.parent) == []
    with pytest.raises(StoreError, match="finished result"):
        load_result(stored)
    assert save_result(result, stored.parent) == stored
    assert verify_result(stored) == []


def test_the_first_writer_of_an_id_wins(stored: Path) -> None:
    """A second result under the same id changes nothing, not even a byte."""
    first = load_result(stored)
    before = {path: path.stat().st_mtime_ns for path in stored.rglob("*")}
    other = dataclasses.replace(first, outcome="something else")
    assert save_result(other, stored.parent) == stored
    assert {path: path.stat().st_mtime_ns for path in stored.rglob("*")} == before
    assert load_result(stored).outcome == first.outcome


def test_two_writers_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    """When another writer is done between our first look and our rename, its result stands."""
    from concurrent.futures import ThreadPoolExecutor

    result = example_result()
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: save_result(result, tmp_path), range(4)))
    assert len(set(paths)) == 1
    assert verify_result(paths[0]) == []
    assert [path for path in tmp_path.iterdir() if is_scratch(path)] == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong before the rename, the store looks as before."""
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(StoreError, match="No space left") as caught:
        save_result(example_result(), tmp_path)
    assert "Free some space" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def _no_space(handle: int) -> None:
    raise OSError(28, "No space left on device")


def test_everything_is_synced_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power may fail right after save_result returns: each file was synced before it was named."""
    synced: set[int] = set()
    real_sync, real_rename = os.fsync, Path.rename
    pending: list[set[int]] = []

    def sync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        real_sync(handle)

    def rename(self: Path, target: Path) -> Path:
        everything = {path.stat().st_ino for path in [self, *self.rglob("*")]}
        pending.append(everything - synced)
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    path = save_result(example_result(), tmp_path)
    assert pending == [set()]
    assert path.parent.stat().st_ino in synced


def test_a_killed_writer_leaves_no_result(tmp_path: Path) -> None:
    """A process that dies in the middle of writing leaves no result, and the next one can write."""
    code = (
        "import os, pathlib, sys\n"
        "import protein_lab.store.objects as objects\n"
        "from protein_lab.testing.results import example_result\n"
        "pathlib.Path.rename = lambda *a, **k: os._exit(9)\n"
        "objects.save_result(example_result(), sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    assert stored_results(tmp_path) == []
    path = save_result(example_result(), tmp_path)
    assert stored_results(tmp_path) == [path.name]


def test_manifest_says_where_the_result_came_from(stored: Path) -> None:
    """Request, provenance and the list of all objects are in one readable file."""
    manifest = read_manifest(stored)
    assert manifest.request["seed"] == 7
    assert manifest.provenance["weights_digest"] == "0" * 64
    listed = {item.path for item in manifest.objects}
    there = {path.relative_to(stored).as_posix() for path in stored.rglob("*") if path.is_file()}
    assert there == listed | {MANIFEST}


def test_a_design_record_refuses_every_flipped_byte() -> None:
    """A record that travelled or rested is either exactly the design, or an error."""
    design = ideal_helix_design(3, 10)
    record = encode_design(design)
    same_design(decode_design(record), design)
    for position in range(0, len(record), 7):
        damaged = bytearray(record)
        damaged[position] ^= 0x10
        with pytest.raises(IntegrityError, match="digest"):
            decode_design(bytes(damaged))
    with pytest.raises(IntegrityError):
        decode_design(record[:-1])
    with pytest.raises(IntegrityError):
        decode_design(b"")
