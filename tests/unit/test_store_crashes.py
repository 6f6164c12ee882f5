"""Writers that are killed, disks that are full, places that are gone: nothing half or lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import LocalObjects, Objects, open_objects
from protein_lab.store.maintenance import gc, verify
from protein_lab.store.manifest import MANIFEST
from protein_lab.store.records import Records
from protein_lab.store.schema import encode_result
from protein_lab.testing.results import marked_result
from tests.servers import S3Server

_NURSERY = """
import dataclasses, json, os, sys
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import open_objects
from protein_lab.store.packing import pack_result
from protein_lab.store.records import Records
from protein_lab.testing.results import example_result

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def write(place, first, count, mark):
    records = Records(open_objects(StoreSettings(**place)))
    base = dataclasses.replace(example_result(), outcome=mark, provenance={"writer": mark})
    for number in range(first, first + count):
        won = records.put(dataclasses.replace(base, request_id=f"{number:064x}"))
        tell("put", number, int(won))

pack_result(example_result())  # what is slow the first time is done before the forks
tell("ready")
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            write(*json.loads(line))
        finally:
            os._exit(0)
    tell("child", child)
    os.waitpid(child, 0)
    tell("ended")
"""


class Nursery:
    """A process that forks writers, so that each starts at once and can be killed."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        assert self._say().startswith("ready")

    def run(self, order: list[Any], seconds: float | None = None, puts: int = 0) -> dict[int, bool]:
        """Let a writer write and kill it so long after so many puts; gives what it was told."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        child = int(self._say().removeprefix("child "))
        timer = threading.Timer(60 if seconds is None else seconds, os.kill, (child, 9))
        told: dict[int, bool] = {}
        try:
            while True:
                if len(told) == puts and not timer.is_alive():
                    timer.start()
                if (line := self._say()) == "ended":
                    return told
                _, number, won = line.split()
                told[int(number)] = won == "1"
        finally:
            timer.cancel()

    def end(self) -> None:
        """End it and its writer."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def _say(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@contextmanager
def nursery(**environment: str) -> Iterator[Nursery]:
    """Run a nursery and end it for sure."""
    running = Nursery(**environment)
    try:
        yield running
    finally:
        running.end()


def later() -> datetime:
    """Tell the time in two days."""
    return datetime.now(UTC) + timedelta(days=2)


def check(objects: Objects, told: dict[int, str]) -> list[int]:
    """See that everything visible is whole, of one writer, and that nothing told is missing."""
    records = Records(objects)
    found = sorted(int(name, 16) for name in records.ids())
    assert told.keys() <= set(found)
    gc(Records(objects, now=later))
    assert verify(records) == []
    for number in found:
        stored = records.get(f"{number:064x}")
        assert stored is not None
        wanted = told.get(number, stored.outcome)
        assert encode_result(stored) == encode_result(marked_result(number, wanted))
    listed = {info.path.split("/")[0] for info in objects.list()} - {"protein_lab_store.json"}
    assert listed == {f"{number:064x}" for number in found}
    for number in found:
        manifest = records.expect(f"{number:064x}")
        there = {info.path for info in objects.list(f"{number:064x}/")}
        named = {f"{number:064x}/{item.path}" for item in manifest.objects}
        assert there == named | {f"{number:064x}/{MANIFEST}"}
    return found


def test_25_kills_tear_mix_and_lose_nothing(tmp_path: Path) -> None:
    """Every acknowledged result is whole, every visible one of one writer, no orphan is left."""
    chance = random.Random(3)
    root = tmp_path / "store"
    told: dict[int, str] = {}
    first = 0
    with nursery() as writers:
        for number in range(25):
            # Every other time the place is taken by left-overs: then generations are written.
            if number % 2:
                for offset in range(8):
                    junk = root / f"{first + offset:064x}" / "left_over"
                    junk.parent.mkdir(parents=True, exist_ok=True)
                    junk.write_bytes(b"x")
            order = [{"objects": str(root)}, first, 1000, f"writer {number}"]
            done = writers.run(order, 0.8 * chance.random(), puts=number // 2 % 2)
            # One that is there already was stored by a writer that could not say so any more.
            told |= {item: f"writer {number}" for item, won in done.items() if won}
            first = max(done, default=first - 1) + 1
    assert len(told) >= 5
    objects = LocalObjects(root)
    check(objects, told)
    assert not list(root.rglob("*.writing"))


def test_kills_of_writers_to_a_bucket(s3: S3Server) -> None:
    """The same with a server: what is sent but not named is collected."""
    chance = random.Random(4)
    place: dict[str, Any] = {
        "objects": f"s3://{s3.make_bucket()}/store",
        "s3_endpoint": s3.endpoint,
        "s3_region": "us-east-1",
    }
    told: dict[int, str] = {}
    first = 0
    with pytest.MonkeyPatch.context() as patch, nursery(**s3.credentials()) as writers:
        for name, value in s3.credentials().items():
            patch.setenv(name, value)
        for number in range(5):
            order = [place, first, 1000, f"writer {number}"]
            # ever longer: on a slow machine the first are killed before they have written
            until = 0.8 * (1 + number) * chance.random()
            done = writers.run(order, until, puts=number % 2)
            told |= {item: f"writer {number}" for item, won in done.items() if won}
            first = max(done, default=first - 1) + 1
        assert told
        check(open_objects(StoreSettings(**place)), told)


def test_of_two_processes_with_one_id_exactly_one_wins(tmp_path: Path) -> None:
    """Both write the same ids at the same time; each id has one writer's result, and whole."""
    root = tmp_path / "store"
    for number in range(4, 8):  # half of them in places that are taken by left-overs
        (root / f"{number:064x}").mkdir(parents=True)
        (root / f"{number:064x}" / "left_over").write_bytes(b"x")
    told: list[dict[int, bool]] = [{}, {}]
    with nursery() as one, nursery() as two:

        def run(writer: Nursery, place: int) -> None:
            told[place] = writer.run([{"objects": str(root)}, 0, 8, f"writer {place}"])

        threads = [
            threading.Thread(target=run, args=(one, 0)),
            threading.Thread(target=run, args=(two, 1)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert sorted(told[0]) == sorted(told[1]) == list(range(8))
    winners = {number: f"writer {int(told[1][number])}" for number in range(8)}
    assert all(told[0][number] != told[1][number] for number in range(8))
    assert check(LocalObjects(root), winners) == list(range(8))


def test_files_are_durable_before_they_are_named(tmp_path: Path) -> None:
    """The system calls themselves: each file and folder is synced before the name that counts."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace, root = tmp_path / "trace", tmp_path / "store"
    for number in range(25, 50):
        (root / f"{number:064x}").mkdir(parents=True)
        (root / f"{number:064x}" / "left_over").write_bytes(b"x")
    (tmp_path / "order").write_text(json.dumps([{"objects": str(root)}, 0, 50, "one"]))
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat"
    command = ["strace", "-f", "-y", "-s", "4096", "-o", str(trace), "-e", calls]
    with (tmp_path / "order").open() as order:
        done = subprocess.run(
            [*command, sys.executable, "-c", _NURSERY],
            stdin=order,
            capture_output=True,
            text=True,
            timeout=200,
        )
    if "ptrace" in done.stderr:
        pytest.skip("tracing is not allowed here")
    events = _events(trace.read_text())
    for number in range(50):
        assert f"put {number} 1" in done.stdout
        check_order = _whole_is_durable if number < 25 else _generation_is_durable
        check_order(root / f"{number:064x}", events)


def _whole_is_durable(place: Path, events: list[tuple[str, str]]) -> None:
    """Look at a folder that is named as a whole: all in it first, its parent after."""
    at = events.index(("name", str(place)))
    synced = {path for kind, path in events[:at] if kind == "sync"}
    scratch = next(path for path in synced if f"/.{place.name}." in path)
    scratch = scratch[: scratch.index(".writing")] + ".writing"
    for path in [place, *place.rglob("*")]:
        assert str(path).replace(str(place), scratch) in synced, path
    assert ("sync", str(place.parent)) in events[at:]


def _generation_is_durable(place: Path, events: list[tuple[str, str]]) -> None:
    """Look at objects one by one: each, and every folder on its way, before the manifest."""
    at = events.index(("name", str(place / MANIFEST)))
    synced = {path for kind, path in events[:at] if kind == "sync"}
    named = {path for kind, path in events[:at] if kind == "name"}
    generation = next(path for path in place.iterdir() if path.name.startswith("g"))
    for path in [place, generation, *generation.rglob("*")]:
        if path.is_dir():
            assert str(path) in synced, path
        else:
            start = f"{path.parent}/.{path.name}."
            assert str(path) in named
            assert any(item.startswith(start) for item in synced), path
    assert any(item.startswith(f"{place}/.{MANIFEST}.") for item in synced)
    assert ("sync", str(place)) in events[at:]


def _events(trace: str) -> list[tuple[str, str]]:
    """Read syncs and namings in the order in which they ended."""
    events: list[tuple[str, str]] = []
    open_calls: dict[str, str] = {}
    for line in trace.splitlines():
        process, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            open_calls[process] = rest.removesuffix("<unfinished ...>")
            continue
        if rest.startswith("<..."):
            rest = open_calls.pop(process) + rest.split("resumed>", 1)[1]
        if not rest.endswith("= 0"):
            continue
        if found := re.match(r"(?:fsync|fdatasync)\(\d+<(.*)>\s*\)", rest):
            events.append(("sync", found[1]))
        elif found := re.match(r"(?:rename|link)\w*\(.*\"(.*?)\"", rest):
            events.append(("name", found[1]))
    return events
