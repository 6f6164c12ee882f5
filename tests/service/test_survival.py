"""Accepted requests reach their end, whatever happens to the processes that answer them."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from litestar.testing import TestClient
from protein_lab_service import create_app

from protein_lab import engine
from protein_lab.design.request import decode_request
from protein_lab.settings import ClusterSettings, Settings, StoreSettings
from protein_lab.store.database import Database
from protein_lab.store.objects import load_result
from tests.servers import MissingServerError, free_port, postgres_server, redis_server
from tests.service.processes import TOKEN, Service, begun, services

AUTH = {"Authorization": f"Bearer {TOKEN}"}
KILLS = 5
END_SECONDS = 60.0
# the cheapest designs that there are: no relatives are looked for, no sequences drawn
REQUEST: dict[str, Any] = {
    "length": 12,
    "samples_per_design": 1,
    "steps": 1,
    "sequence": {"num_sequences": 0},
    "backend": "numpy",
}


def _numbered(seed: int, num_designs: int = 2) -> dict[str, Any]:
    return REQUEST | {"seed": seed, "num_designs": num_designs}


def _expect_results(folder: Path, requests: dict[str, dict[str, Any]]) -> None:
    """Each request has one result, which is that of a run that nothing disturbed."""
    settings = Settings(store=StoreSettings(objects=str(folder / "protein_lab_results")))
    kept = Path(settings.store.objects)
    assert {path.name for path in kept.iterdir() if len(path.name) == 64} == set(requests)
    runtime = engine.Runtime.open(decode_request(REQUEST), settings=settings)
    for identity, asked in requests.items():
        stored = load_result(kept / identity)
        wanted = engine.design(decode_request(asked), runtime)
        assert len(stored.designs) == asked["num_designs"]
        for made, expected in zip(stored.designs, wanted.designs, strict=True):
            assert made.index == expected.index
            assert np.array_equal(made.backbone.view(np.uint32), expected.backbone.view(np.uint32))


@pytest.mark.timeout(600)
def test_a_killed_service_loses_nothing(tmp_path: Path) -> None:
    """Killed five times between accepting and finishing, it ends every request exactly once."""
    rng = random.Random(7)
    requests: dict[str, dict[str, Any]] = {}
    variables = {"PROTEIN_LAB_CLUSTER_RETRIES": str(KILLS)}
    for number in range(KILLS):
        with services(1, tmp_path, variables) as (service,):
            asked = _numbered(number)
            requests[service.post(asked)] = asked
            time.sleep(rng.uniform(0.0, 2.0))
    assert len(requests) == KILLS
    with services(1, tmp_path, variables) as (service,):
        ended = service.wait_for(requests, END_SECONDS)
        assert set(ended.values()) == {"done"}, ended
        again = {service.post(asked): asked for asked in requests.values()}
        assert again == requests
        assert set(service.wait_for(requests, 5.0).values()) == {"done"}
    _expect_results(tmp_path, requests)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_services_share_the_work(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each request is answered by one; what a killed one left, the other takes over."""
    variables = {}
    if database == "postgresql":
        url = request.getfixturevalue("postgres").make_database()
        variables["PROTEIN_LAB_STORE_DATABASE"] = url
    with services(2, tmp_path, variables) as pair:
        short = [_numbered(seed) for seed in range(4)]
        requests = {pair[k % 2].post(asked): asked for k, asked in enumerate(short)}
        assert set(pair[0].wait_for(requests, END_SECONDS).values()) == {"done"}
        assert set(Counter(identity for _, identity in begun(tmp_path)).values()) == {1}
        assert {pid for pid, _ in begun(tmp_path)} == {service.pid for service in pair}

        asked = _numbered(50, num_designs=8)
        long = pair[0].post(asked)
        requests[long] = asked
        holder = _holder(pair, tmp_path, long)
        other = next(service for service in pair if service is not holder)
        holder.kill()
        assert other.wait_for([long], END_SECONDS) == {long: "done"}
        assert [pid for pid, identity in begun(tmp_path) if identity == long] == [
            holder.pid, other.pid,
        ]  # fmt: skip
    _expect_results(tmp_path, requests)


def _holder(pair: list[Service], folder: Path, identity: str) -> Service:
    """Wait until a service has made a design of a request, and tell which."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if pair[0].state(identity)["progress"]["finished"]:
            pid = next(pid for pid, name in begun(folder) if name == identity)
            return next(service for service in pair if service.pid == pid)
        time.sleep(0.05)
    raise AssertionError("nobody took it")


@contextmanager
def _scheduler(port: int, folder: Path) -> Iterator[None]:
    """Run a Dask scheduler with one worker, both killed at the end."""
    address = f"tcp://127.0.0.1:{port}"
    here = ["--host", "127.0.0.1", "--no-dashboard"]
    commands = [
        ["scheduler", "--port", str(port), *here],
        ["worker", address, "--nthreads", "1", "--no-nanny", *here],
    ]
    with (folder / f"dask-{port}").open("ab") as log:
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                cwd=folder, stdout=log, stderr=log, start_new_session=True,
            )
            for command in commands
        ]  # fmt: skip
        try:
            yield
        finally:
            for process in running:
                process.kill()
                process.wait(30)


@pytest.mark.timeout(600)
def test_a_killed_scheduler_loses_nothing(tmp_path: Path) -> None:
    """A request waits until there is a scheduler again, and goes on with the designs it has."""
    pytest.importorskip("distributed")
    port = free_port()
    asked = _numbered(1, 8)
    settings = Settings(
        store=StoreSettings(objects=str(tmp_path / "protein_lab_results")),
        cluster=ClusterSettings(scheduler=f"tcp://127.0.0.1:{port}"),
        service_token=TOKEN,
    )
    with TestClient(create_app(settings)) as client:
        with _scheduler(port, tmp_path):
            accepted = client.post("/api/v1/design", json=asked, headers=AUTH).json()["id"]
            for _ in range(1200):
                state = client.get(f"/api/v1/designs/{accepted}", headers=AUTH).json()
                if state["progress"]["finished"] or state["status"] == "failed":
                    break
                time.sleep(0.1)
        waiting = _wait(client, accepted, "queued")
        assert "scheduler" in waiting["error"]
        assert 0 < waiting["progress"]["finished"] < 8
        with _scheduler(port, tmp_path):
            assert _wait(client, accepted, "done")["error"] is None
            other = client.post("/api/v1/design", json=_numbered(2), headers=AUTH).json()["id"]
            _wait(client, other, "done")
    _expect_results(tmp_path, {accepted: asked, other: _numbered(2)})


def _is_problem(answer: Any) -> str:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    return str(answer.json()["detail"])


def _wait(client: TestClient[Any], identity: str, wanted: str) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for _ in range(1200):
        state = client.get(f"/api/v1/designs/{identity}", headers=AUTH).json()
        if state["status"] in {wanted, "failed"}:
            break
        time.sleep(0.1)
    assert state["status"] == wanted, state
    return state


def test_a_full_disk_is_said_and_passes(tmp_path: Path) -> None:
    """What cannot be committed is refused with what to do; accepted requests wait for space."""
    settings = Settings(store=StoreSettings(objects=str(tmp_path / "results")), service_token=TOKEN)
    with TestClient(create_app(settings)) as client:
        accepted = client.post("/api/v1/design", json=_numbered(1, 8), headers=AUTH).json()["id"]
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            refused = client.post("/api/v1/design", json=_numbered(2), headers=AUTH)
            assert "index.sqlite" in _is_problem(refused)
            assert client.get(f"/api/v1/designs/{accepted}", headers=AUTH).status_code == 200
            assert client.get("/health").status_code == 200
            time.sleep(2.0)  # the worker meets the full disk, too
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        _wait(client, accepted, "done")
        later = client.post("/api/v1/design", json=_numbered(2), headers=AUTH)
        assert later.status_code == 202
        _wait(client, later.json()["id"], "done")


@pytest.mark.timeout(600)
def test_a_database_that_dies_or_hangs(tmp_path: Path) -> None:
    """Requests are refused in time with what to do; when it is back, all goes on."""
    try:
        with postgres_server() as server:
            store = StoreSettings(
                objects=str(tmp_path / "results"),
                database=server.make_database(),
                database_timeout_seconds=2.0,
            )
            settings = Settings(store=store, service_token=TOKEN)
            with TestClient(create_app(settings)) as client:
                asked = _numbered(1, 8)
                accepted = client.post("/api/v1/design", json=asked, headers=AUTH).json()["id"]
                server.pause()
                _refuses(client, server.password)
                server.resume()
                _wait(client, accepted, "running")
                server.kill()
                _refuses(client, server.password)
                server.start()
                _wait(client, accepted, "done")
                again = client.post("/api/v1/design", json=asked, headers=AUTH).json()
                assert (again["id"], again["status"]) == (accepted, "done")
    except MissingServerError as error:
        pytest.skip(str(error))


def test_redis_that_dies_or_hangs(tmp_path: Path) -> None:
    """Nobody who asks notices more than a moment: results are read and made all the same."""
    try:
        with redis_server() as server:
            store = StoreSettings(objects=str(tmp_path / "results"), redis=server.url)
            settings = Settings(store=store, service_token=TOKEN)
            with TestClient(create_app(settings)) as client:
                for seed, fail in enumerate((server.pause, server.kill)):
                    fail()
                    answer = client.post("/api/v1/design", json=_numbered(seed), headers=AUTH)
                    assert answer.status_code == 202, answer.text
                    state = _wait(client, answer.json()["id"], "done")
                    assert len(state["designs"]) == 2
                    for place in ("structure", "sequences"):
                        shown = client.get(state["links"][place], headers=AUTH)
                        assert shown.status_code == 200, shown.text
                    server.resume()
    except MissingServerError as error:
        pytest.skip(str(error))


def _refuses(client: TestClient[Any], password: str) -> None:
    before = time.monotonic()
    answer = client.post("/api/v1/design", json=_numbered(2), headers=AUTH)
    assert "database" in _is_problem(answer)
    assert password not in answer.text
    assert time.monotonic() - before < 30


def test_a_request_can_be_cancelled(tmp_path: Path) -> None:
    """It ends, keeps nobody waiting, and can be posted again; a finished one stays as it is."""
    settings = Settings(store=StoreSettings(objects=str(tmp_path / "results")), service_token=TOKEN)
    with TestClient(create_app(settings)) as client:
        long = client.post("/api/v1/design", json=_numbered(1, 500), headers=AUTH).json()["id"]
        _wait(client, long, "running")
        ended = client.delete(f"/api/v1/designs/{long}", headers=AUTH)
        assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
        short = client.post("/api/v1/design", json=_numbered(2), headers=AUTH).json()["id"]
        _wait(client, short, "done")
        assert client.get(f"/api/v1/designs/{long}", headers=AUTH).json()["status"] == "cancelled"
        assert client.delete(f"/api/v1/designs/{short}", headers=AUTH).json()["status"] == "done"
        assert client.delete("/api/v1/designs/" + "0" * 64, headers=AUTH).status_code == 404
        assert client.delete(f"/api/v1/designs/{long}").status_code == 401
    with Database(settings.store.database_url).reading() as connection:
        counted = connection.exec_driver_sql("SELECT status, count(*) FROM jobs GROUP BY status")
        assert dict(counted.tuples().all()) == {"cancelled": 1, "done": 1}
