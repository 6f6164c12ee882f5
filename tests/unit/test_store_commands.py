"""Commands on the store, from a request to a kept, listed, packed and mended result."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from datetime import timedelta
from pathlib import Path

import pytest

from protein_lab.cli import main
from protein_lab.settings import StoreSettings
from protein_lab.store.open import open_store
from protein_lab.testing.results import example_result

REQUEST = {"length": 26, "num_designs": 2, "steps": 2, "samples_per_design": 1, "name": "tiny"}


def run(*words: object) -> int:
    """Run the command line and give its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a store with three results."""
    folder = tmp_path / "store"
    with open_store(StoreSettings(), str(folder)) as store:
        for seed in range(3):
            store.put(example_result(seed=seed))
    return folder


def age(place: Path, days: int) -> None:
    """Make all results as old as they would be after so many days."""
    import msgspec

    with open_store(StoreSettings(), str(place)) as store:
        for row in store.find():
            made = row.created_at - timedelta(days=days)
            store.records.change(
                row.request_id,
                lambda found, made=made: msgspec.structs.replace(found, created_at=made),
            )
            store.index.upsert(msgspec.structs.replace(row, created_at=made, accessed_at=made))


def test_a_design_goes_to_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made once, needs no folder, and a folder can be had from the store at any time."""
    monkeypatch.chdir(tmp_path)
    request = tmp_path / "tiny.json"
    request.write_text(json.dumps(REQUEST))
    assert run("design", request, "--store", "kept") in (0, 3)
    told = capsys.readouterr()
    assert "Stored as" in told.out
    assert told.err.count("design ") == 2
    assert not (tmp_path / "out").exists()
    assert run("design", request, "--store", "kept", "--json") in (0, 3)
    told = capsys.readouterr()
    summary = json.loads(told.out)
    assert told.err == ""
    assert run("store", "ls", "--store", "kept", "--text", "TIN", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["request_id"] for row in rows] == [summary["request_id"]]
    assert run("design", request, "--store", "kept", "--out", "folder", "--no-report") in (0, 3)
    assert capsys.readouterr().err == ""
    written = json.loads((tmp_path / "folder" / "summary.json").read_text())
    assert written == summary
    assert run("reproduce", tmp_path / "folder") == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    assert run("design", request, "--store", "other") == 1
    assert "holds thesis.tex" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_results_are_listed_and_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table for people, as JSON for programs, a page at a time."""
    assert run("store", "ls", "--store", place, "--limit", 2) == 0
    table = capsys.readouterr().out
    assert "1 to 2 of 3" in table
    assert "1 of 2" in table
    assert "enhanced_deeponet" in table
    assert run("store", "ls", "--store", place, "--min-accepted", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("store", "ls", "--store", place, "--order", "name", "--json") == 0
    request_id = json.loads(capsys.readouterr().out)[0]["request_id"]
    assert run("store", "show", request_id[:12], "--store", place) == 0
    shown = capsys.readouterr().out
    assert request_id in shown
    assert "1 of 2 designs was accepted" in shown
    assert run("store", "show", request_id, "--store", place, "--json") == 0
    assert json.loads(capsys.readouterr().out)["request_id"] == request_id
    assert run("store", "warm", request_id[:9], request_id, "--store", place) == 0
    assert "2 of 2" in capsys.readouterr().out
    assert run("store", "stats", "--store", place) == 0
    assert "3 results (3 hot, 0 warm, 0 cold)" in capsys.readouterr().out
    assert run("store", "stats", "--store", place, "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"] == {"hot": 3, "warm": 0, "cold": 0}


def test_what_is_wrong_is_told_in_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and an exit code other than 0."""
    for words, message in (
        (["show", "zz", "--store", place], "there is none"),
        (["show", "", "--store", place], "there is none"),
        (["ls", "--store", tmp_path / "nowhere"], "there is none"),
        (["ls", "--store", "http://user:secret@host"], "Expected a folder"),
        (["ls", "--store", place, "--limit", "-1"], "limit"),
        (["warm", "--store", place], "at least one id"),
        (["hold", "zz", "--reason", "x", "--store", place], "there is none"),
        (["gc", "--grace-hours", "0", "--store", place], "grace"),
    ):
        assert run("store", *words) == 1, words
        told = capsys.readouterr().err
        assert message in told
        assert "Traceback" not in told
        assert "secret" not in told
    for words in (
        ["ls", "--limit", "many"],
        ["ls", "--order", "colour"],
        ["hold", "x"],
        ["gc", "x"],
    ):
        assert run("store", *words) == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_held_result_outlives_its_end(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old results are packed, then deleted, except those under a hold."""
    assert run("store", "ls", "--store", place, "--json") == 0
    ids = [row["request_id"] for row in json.loads(capsys.readouterr().out)]
    assert run("store", "hold", ids[0][:12], "--reason", "case 7", "--store", place) == 0
    age(place, 400)
    capsys.readouterr()
    assert run("store", "migrate", "--dry-run", "--store", place) == 0
    told = capsys.readouterr().out
    assert "3 hot to cold would change" in told
    assert "would be saved" in told
    assert run("store", "stats", "--store", place, "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"]["hot"] == 3
    assert run("store", "migrate", "--store", place, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["saved"] > 0
    assert run("store", "ls", "--store", place, "--json", "--lifecycle", "cold") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3
    assert sum(row["size"] for row in rows) == sum(
        step["new_size"] for step in made["migration"]["steps"]
    )
    assert run("store", "verify", "--store", place) == 0
    age(place, 2600)
    capsys.readouterr()
    assert run("store", "migrate", "--store", place) == 0
    assert "3 results are at the end of their life and kept" in capsys.readouterr().out
    assert run("store", "migrate", "--delete-expired", "--store", place) == 0
    assert "2 cold to deleted changed" in capsys.readouterr().out
    assert run("store", "ls", "--store", place, "--json") == 0
    assert [row["request_id"] for row in json.loads(capsys.readouterr().out)] == [ids[0]]
    assert run("store", "release", ids[0], "--store", place) == 0
    assert run("store", "migrate", "--delete-expired", "--store", place) == 0
    capsys.readouterr()
    assert run("store", "ls", "--store", place) == 0
    assert "0 to 0 of 0" in capsys.readouterr().out


def test_damage_is_found_and_mended(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the bytes of a result, and in the index; what nothing gives back is named."""
    assert run("store", "verify", "--store", place) == 0
    assert "All is intact" in capsys.readouterr().out
    ids = sorted(path.name for path in place.iterdir() if len(path.name) == 64)
    broken = place / ids[0] / "record.bin"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 4
    broken.write_bytes(data)
    with sqlite3.connect(place / "index.sqlite") as connection:
        connection.execute(
            "UPDATE protein_lab_runs SET num_accepted = 9 WHERE request_id = ?", [ids[1]]
        )
    connection.close()
    assert run("store", "verify", "--store", place) == 1
    told = capsys.readouterr().out
    assert f"damaged: {ids[0]}/record.bin" in told
    assert f"damaged: index: row {ids[1][:12]}" in told
    assert run("store", "verify", ids[2], "--store", place) == 0
    assert run("store", "ls", "--store", place) == 1
    assert "reindex" in capsys.readouterr().err
    assert run("store", "verify", "--repair", "--store", place) == 0
    assert f"mended: {ids[0]}/record.bin" in capsys.readouterr().out
    assert run("store", "ls", "--store", place) == 0
    with open_store(StoreSettings(), str(place)) as store:
        for key in list(store.tiers._copies[-1].keys()):
            store.tiers._copies[-1].delete(key)
    for path in (place / ids[2]).rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            path.unlink()
    capsys.readouterr()
    assert run("store", "verify", "--repair", "--json", "--store", place) == 1
    assert list(json.loads(capsys.readouterr().out)["hopeless"]) == [ids[2]]


def test_leftovers_are_collected(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Designs of finished runs and scratch of dead writers go; results stay."""
    result = example_result(seed=1)
    with open_store(StoreSettings(), str(place)) as store:
        store.keep_design(result.request_id, result.designs[0])
    scratch = place / ".manifest.json.0123456789ab.writing"
    scratch.write_bytes(b"half")
    old = time.time() - 3 * 86_400
    os.utime(scratch, (old, old))
    capsys.readouterr()
    assert run("store", "gc", "--dry-run", "--store", place) == 0
    assert "2 objects would go" in capsys.readouterr().out
    assert scratch.exists()
    assert run("store", "gc", "--store", place, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["removed"]) == 2
    assert not scratch.exists()
    assert run("store", "verify", "--store", place) == 0


def test_an_index_is_built_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After it was lost, and after it became unreadable and was moved away."""
    index = place / "index.sqlite"
    for path in place.glob("index.sqlite*"):
        path.unlink()
    index.write_bytes(b"this is no database " * 300)
    assert run("store", "ls", "--store", place) == 1
    assert "Move the file away" in capsys.readouterr().err
    index.unlink()
    assert run("store", "reindex", "--store", place, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_results"] == 3
    assert run("store", "ls", "--store", place) == 0
    assert "1 to 3 of 3" in capsys.readouterr().out
