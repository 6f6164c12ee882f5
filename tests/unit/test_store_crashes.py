"""Processes that are killed, disks that are full, places that are gone: nothing half, nothing lost."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protein_lab.errors import StoreError, TierError
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import LocalObjects, open_objects
from protein_lab.store.maintenance import gc, verify
from protein_lab.store.manifest import MANIFEST
from protein_lab.store.objects import stored_results, verify_result
from protein_lab.store.records import Records
from protein_lab.store.schema import encode_result
from protein_lab.testing.results import example_result
from tests.servers import S3Server, s3_server

_KILLS = 25
_WRITER = """
import dataclasses, sys
from protein_lab.store.blobs import open_objects
from protein_lab.store.records import Records
from protein_lab.settings import StoreSettings
from protein_lab.testing.results import example_result

root, first, mark = sys.argv[1], int(sys.argv[2]), sys.argv[3]
records = Records(open_objects(StoreSettings(objects=root, s3_endpoint=mark.partition(" ")[2])))
base = example_result()
print("ready", flush=True)
for number in range(first, first + 10_000):
    item = dataclasses.replace(
        base, request_id=f"{number:064x}", outcome=mark.split()[0], provenance={"n": mark.split()[0]}
    )
    won = records.put(item)
    print(number, int(won), flush=True)
"""


def _writer(root: str, first: int, mark: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, root, str(first), mark]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _killed(child: subprocess.Popen[str], seconds: float) -> dict[int, bool]:
    """Wait until a child writes, kill it a little later; gives what it was told is stored."""
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(seconds)
    finally:
        child.send_signal(signal.SIGKILL)
        said, _ = child.communicate(timeout=60)
    whole = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return {int(number): won == "1" for number, won in whole}


def test_a_killed_writer_tears_mixes_and_loses_nothing(tmp_path: Path) -> None:
    """After 25 kills at random times every acknowledged result is whole, and no orphan is left."""
    chance = random.Random(3)
    root = tmp_path / "store"
    records = Records(LocalObjects(root))
    acknowledged: set[int] = set()
    for number in range(_KILLS):
        said = _killed(_writer(str(root), max(acknowledged, default=-1) + 1, "one"), 0.7)
        acknowledged |= said.keys()
        time.sleep(chance.random() * 0.01 * (number % 2))
    assert acknowledged
    base = dataclasses.replace(example_result(), outcome="one", provenance={"n": "one"})
    found = [int(name, 16) for name in records.ids()]
    assert acknowledged <= set(found)
    assert verify(records) == []
    for number in found:
        wanted = dataclasses.replace(base, request_id=f"{number:064x}")
        stored = records.get(wanted.request_id)
        assert stored is not None
        assert encode_result(stored) == encode_result(wanted)
    later = Records(LocalObjects(root), now=lambda: datetime.now(UTC) + timedelta(days=2))
    gc(later)
    assert sorted(path.name for path in root.iterdir()) == sorted(
        [f"{number:064x}" for number in found] + [".lock"] * (root / ".lock").exists()
        + ["protein_lab_store.json"]
    )
    assert gc(later) == []
