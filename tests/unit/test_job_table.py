"""Jobs in SQLite and in PostgreSQL: committed, done once, taken over, never lost."""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.errors import StoreError, TierError
from protein_lab.execution.job_table import Job, JobTable
from protein_lab.store.database import Database

REQUEST: DesignRequest = decode_request({"length": 60, "num_designs": 4})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'index.sqlite'}"
    return str(request.getfixturevalue("postgres").make_database())


class Watch:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.time


def _table(url: str, watch: Watch | None = None, max_attempts: int = 3) -> JobTable:
    return JobTable(Database(url), lease=10.0, max_attempts=max_attempts, clock=watch or Watch())


def _claimed(table: JobTable) -> Job:
    job = table.claim()
    assert job is not None
    return job


def test_a_job_is_there_for_all_once_it_is_added(url: str) -> None:
    """Another process finds it; adding it again changes nothing until it failed or was ended."""
    mine, other = _table(url), _table(url)
    added = mine.add("a", REQUEST)
    assert (added.status, added.finished, added.attempts) == ("queued", 0, 0)
    assert other.find("a") == added == other.add("a", REQUEST)
    assert other.find("b") is None
    assert _claimed(mine).id == "a"
    assert other.add("a", REQUEST).status == "running"
    assert mine.finish("a", "done", finished=4)
    assert other.add("a", REQUEST).status == "done"
    assert other.cancel("a") == other.find("a")
    again = other.reopen("a")
    assert again is not None
    assert again.status == "queued"
    assert _claimed(mine).id == "a"
    assert mine.finish("a", "failed", error="no such luck")
    assert (other.find("a") or added).error == "no such luck"
    assert other.add("a", REQUEST).status == "queued"
    assert (other.cancel("a") or added).status == "cancelled"
    assert other.add("a", REQUEST).status == "queued"


def test_priority_goes_before_age(url: str) -> None:
    """The first of the highest number is taken; one that has to wait goes behind the others."""
    table = _table(url)
    for name, priority in (("old", 0), ("new", 0), ("urgent", 2)):
        table.add(name, REQUEST, priority)
    assert _claimed(table).id == "urgent"
    assert table.finish("urgent", "done")
    assert _claimed(table).id == "old"
    assert table.postpone("old", "The disk is full.")
    waiting = table.find("old")
    assert waiting is not None
    assert (waiting.status, waiting.error) == ("queued", "The disk is full.")
    assert [_claimed(table).id, table.finish("new", "done"), _claimed(table).id] == [
        "new", True, "old",
    ]  # fmt: skip


def test_each_job_is_taken_once(url: str) -> None:
    """Four processes at one table never get the same job, and leave none."""
    names = {f"job {number}" for number in range(24)}
    _table(url)  # makes it
    first = _table(url)
    for name in sorted(names):
        first.add(name, REQUEST)

    def work() -> list[str]:
        table, taken, idle = _table(url), [], 0
        while idle < 5:  # somebody else may have been faster
            job = table.claim()
            idle = idle + 1 if job is None else 0
            if job is not None:
                taken.append(job.id)
                assert table.finish(job.id, "done", finished=4)
        table.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [job.result(120) for job in [pool.submit(work) for _ in range(4)]]
    assert sorted(itertools.chain(*taken)) == sorted(names)


def test_a_silent_holder_loses_its_job(url: str) -> None:
    """It is taken over a lease after the last sign of life, not before; the old holder is told."""
    watch = Watch()
    holder, other = _table(url), _table(url, watch)
    holder.add("a", REQUEST)
    _claimed(holder)
    for _ in range(5):
        assert other.claim() is None
        watch.time += 8.0  # less than a lease
        assert holder.renew("a")
    assert other.claim() is None
    watch.time += 9.9
    assert other.claim() is None
    watch.time += 0.2
    job = _claimed(other)
    assert (job.id, job.attempts, job.status) == ("a", 2, "running")
    assert not holder.renew("a")
    assert not holder.note("a", 3)
    assert not holder.finish("a", "failed", error="too late")
    assert not holder.release("a")
    assert other.finish("a", "done", finished=4)
    found = other.find("a")
    assert found is not None
    assert (found.status, found.finished, found.error) == ("done", 4, None)


def test_a_released_job_goes_on_at_once(url: str) -> None:
    """A process that ends in order leaves its job to the next one, and that is no failed try."""
    holder, other = _table(url), _table(url)
    holder.add("a", REQUEST)
    _claimed(holder)
    assert holder.note("a", 2)
    assert holder.release("a")
    job = _claimed(other)
    assert (job.finished, job.attempts) == (2, 1)


def test_a_job_that_ends_its_processes_is_given_up(url: str) -> None:
    """Three processes in a row die over it; it fails with that reason and the next one is done."""
    first = _table(url)
    first.add("poison", REQUEST)
    for number in range(3):
        watch = Watch()
        process = _table(url, watch)
        assert process.claim() is None or number == 0
        watch.time += 11.0
        assert (process.find("poison") or process.claim()) is not None
        if number:
            assert _claimed(process).attempts == number + 1
    first.add("good", REQUEST)
    watch = Watch()
    last = _table(url, watch)
    last.abandoned()
    watch.time += 11.0
    assert _claimed(last).id == "good"
    poison = last.find("poison")
    assert poison is not None
    assert poison.status == "failed"
    assert "3 processes in a row ended" in (poison.error or "")
    assert first.add("poison", REQUEST).attempts == 0


def test_progress_makes_attempts_count_anew(url: str) -> None:
    """A job that gets on by a design each time is never given up; kept designs are no progress."""
    _table(url).add("long", REQUEST)
    for number in range(6):
        watch = Watch()
        process = _table(url, watch)
        process.abandoned()
        watch.time += 11.0
        assert _claimed(process).attempts == 1
        for kept in range(1, number + 1):
            assert process.note("long", kept)
        assert (process.find("long") or _claimed(process)).attempts == 1
        assert process.note("long", number + 1)
    assert (_table(url).find("long") or _claimed(_table(url))).attempts == 0


def test_a_job_that_cannot_be_read_keeps_nobody_waiting(url: str) -> None:
    """What another version wrote fails with its faults; the job behind it is taken."""
    table = _table(url)
    table.add("strange", REQUEST)
    with Database(url).writing() as connection:
        strange = {"request": json.dumps({"length": 60, "colour": "red"})}
        connection.execute(sa.text("UPDATE jobs SET request = :request"), strange)
    table.add("good", REQUEST)
    assert _claimed(table).id == "good"
    with Database(url).reading() as connection:
        found = connection.execute(sa.text("SELECT status, error FROM jobs WHERE id = 'strange'"))
        status, error = found.one()
    assert status == "failed"
    assert "colour" in error


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_clocks_that_jump_take_no_job_away(url: str, jump: str) -> None:
    """A process whose clock is an hour off leaves a held job alone, and its own are not torn."""
    holder = _table(url)
    holder.add("held", REQUEST)
    _claimed(holder)
    holder.add("free", REQUEST)
    script = (
        "import sys, time\n"
        "from protein_lab.execution.job_table import JobTable\n"
        "from protein_lab.store.database import Database\n"
        "table = JobTable(Database(sys.argv[1]))\n"
        "taken = [table.claim().id, table.finish('free', 'done'), table.claim()]\n"
        "print(taken, table.find('free').updated_at > table.find('held').updated_at)\n"
    )
    command = ["faketime", "-f", jump, sys.executable, "-c", script, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["['free',", "True,", "None]", str(jump == "+1h")]
    assert holder.renew("held")


@contextmanager
def _full_disk() -> Iterator[None]:
    """Let no file of this process grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    """Nothing is accepted that is not on the disk; with space everything works again."""
    table = _table(f"sqlite:///{tmp_path / 'index.sqlite'}")
    table.add("before", REQUEST)
    with _full_disk():
        with pytest.raises(TierError, match=r"index\.sqlite failed"):
            table.add("while", REQUEST)
        with pytest.raises(TierError):
            table.claim()
        assert (table.find("before") or table.add("x", REQUEST)).status == "queued"
    assert table.find("while") is None
    assert table.add("while", REQUEST).status == "queued"
    assert _claimed(table).id == "before"


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """SQLite answers a commit only when it is on the disk."""
    table = _table(f"sqlite:///{tmp_path / 'index.sqlite'}")
    with table._database.writing() as connection:
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


def test_a_table_of_a_newer_version_is_left_alone(url: str) -> None:
    """The message names the versions."""
    _table(url)
    with Database(url).writing() as connection:
        connection.execute(sa.text("UPDATE protein_lab_schema SET version = 99"))
    with pytest.raises(StoreError, match="newer"):
        _table(url)
