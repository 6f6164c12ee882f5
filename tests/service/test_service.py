from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from litestar.testing import TestClient
from protein_lab_service import create_app

from protein_lab import engine
from protein_lab.design.request import decode_request, request_id
from protein_lab.errors import ProteinLabError
from protein_lab.execution.job_table import JobTable
from protein_lab.models.weights import weights_digest
from protein_lab.protein import Protein
from protein_lab.settings import Settings, StoreSettings
from protein_lab.store.database import Database
from protein_lab.store.objects import load_result
from protein_lab.store.schema import DesignResult
from protein_lab.store.summary import fasta
from protein_lab.training.corpus import Corpus

TOKEN = "a token of the tests 0123456789"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
REQUEST: dict[str, Any] = {
    "constraints": [
        {"kind": "secondary_structure", "string": "LL" + "H" * 15 + "LLLL" + "H" * 15 + "LLL"},
        {"kind": "pairing", "first": 1, "second": 2, "orientation": "antiparallel"},
    ],
    "num_designs": 1,
    "seed": 3,
    "steps": 4,
    "samples_per_design": 1,
    "backend": "numpy",
}


def _settings(folder: Path, token: str = TOKEN) -> Settings:
    return Settings(
        store=StoreSettings(objects=str(folder / "results")),
        service_token=token,
        backend="numpy",
    )


def _wait(client: TestClient[Any], path: str) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for _ in range(1200):
        state = client.get(path, headers=AUTH).json()
        if state["status"] in {"done", "failed"}:
            return state
        time.sleep(0.1)
    raise AssertionError(f"not finished: {state}")


def _identity(settings: Settings, request: dict[str, Any]) -> str:
    digest = weights_digest("enhanced_deeponet", settings.weights)
    return request_id(decode_request(request), digest, Corpus.open().digest)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Make settings with a fresh store and database."""
    return _settings(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient[Any]]:
    """Connect to a running service."""
    with TestClient(create_app(settings)) as running:
        yield running


@pytest.fixture(scope="module")
def finished(client: TestClient[Any]) -> dict[str, Any]:
    """Wait until the service has answered the tiny request."""
    answer = client.post("/api/v1/design", json=REQUEST, headers=AUTH)
    assert answer.status_code == 202, answer.text
    return _wait(client, answer.json()["links"]["self"])


@pytest.fixture(scope="module")
def expected(settings: Settings) -> DesignResult:
    """Answer the same request in this process, without the service."""
    request = decode_request(REQUEST)
    return engine.design(request, engine.Runtime.open(request, settings=settings))


def _is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == status
    assert "Traceback" not in answer.text
    return answer.json()


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_refuses_to_start_with_a_weak_token(tmp_path: Path, token: str) -> None:
    """A service that anybody could use must not start; the error names the variable to set."""
    with pytest.raises(ProteinLabError, match="PROTEIN_LAB_SERVICE_TOKEN"):
        create_app(_settings(tmp_path, token))


@pytest.mark.parametrize(
    "header",
    [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x", b"Bearer \xff"],
)
def test_api_needs_the_token(client: TestClient[Any], header: Any) -> None:
    """Only the exact token behind the scheme Bearer opens any route of the API."""
    headers = {} if header is None else {"Authorization": header}
    refused = [
        client.post("/api/v1/design", json=REQUEST, headers=headers),
        client.get("/api/v1/designs/x", headers=headers),
        client.get("/api/v1/designs/x/structure", headers=headers),
        client.get("/api/v1/designs/x/sequences", headers=headers),
    ]
    for answer in refused:
        _is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"num_designs": 0}, "$.num_designs"),
        ({"num_desings": 1}, "$.num_desings"),
        ({"length": "long"}, "$.length"),
        ({"constraints": [{"kind": "magic"}]}, "$.constraints[0]"),
    ],
)
def test_faults_come_with_their_json_path(
    client: TestClient[Any], change: dict[str, Any], path: str
) -> None:
    """Wrong values and unknown fields are refused before anything is computed, each by path."""
    answer = client.post("/api/v1/design", json=REQUEST | change, headers=AUTH)
    faults = _is_problem(answer, 400)["faults"]
    assert any(fault["path"].startswith(path) for fault in faults)
    assert all(set(fault) == {"path", "message", "remedy", "severity"} for fault in faults)


@pytest.mark.parametrize("source", [{"file": "/etc/passwd"}, {"pdb": "1qjg"}])
def test_files_of_the_service_are_not_read(client: TestClient[Any], source: dict[str, str]) -> None:
    """Structures come as text; a path or an id is refused before it is looked at."""
    motif = {"kind": "motif", "source": source, "contig": "10-40/A1-9/10-40"}
    answer = client.post("/api/v1/design", json=REQUEST | {"constraints": [motif]}, headers=AUTH)
    (fault,) = _is_problem(answer, 400)["faults"]
    assert fault["path"] == f"$.constraints[0].source.{next(iter(source))}"
    assert "not read here" in fault["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"seed": 1e999}']
)
def test_a_body_that_is_no_request(client: TestClient[Any], body: bytes) -> None:
    """Broken text, wrong types and deep nesting are the sender's faults, never the service's."""
    answer = client.post("/api/v1/design", content=body, headers=AUTH)
    assert _is_problem(answer, 400)["faults"]


def test_a_body_that_is_too_large(client: TestClient[Any]) -> None:
    """More than one mebibyte is refused."""
    body = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    _is_problem(client.post("/api/v1/design", content=body, headers=AUTH), 413)


def test_unknown_places(client: TestClient[Any]) -> None:
    """Unknown ids, among them ones that look like paths, and unknown routes are not found."""
    for path in ("designs/" + "0" * 64, "designs/..%2F..", "designs/x/structure", "nothing"):
        _is_problem(client.get(f"/api/v1/{path}", headers=AUTH), 404)
    _is_problem(client.get("/api/v1/design", headers=AUTH), 405)


def test_a_finished_request_shows_its_designs(finished: dict[str, Any]) -> None:
    """The state of a finished request has every figure of every design."""
    assert finished["status"] == "done", finished["error"]
    assert finished["progress"] == {"finished": 1, "total": 1}
    (design,) = finished["designs"]
    assert design["rank"] == 1
    assert design["length"] == len(design["sequence"]) == len(design["uncertainty"]) == 39
    assert design["metrics"]
    assert design["checks"]
    assert [item["verdict"] for item in design["constraints"]]


def test_sequences_are_those_of_the_engine(
    client: TestClient[Any], finished: dict[str, Any], expected: DesignResult
) -> None:
    """State, structure and FASTA have the sequences that the engine draws."""
    (wanted,) = expected.designs
    assert len(wanted.sequences) == 4
    (design,) = finished["designs"]
    assert [item["sequence"] for item in design["sequences"]] == [
        item.sequence for item in wanted.sequences
    ]
    answer = client.get(finished["links"]["sequences"], headers=AUTH)
    assert answer.headers["content-type"].startswith("text/x-fasta")
    assert answer.text == fasta(expected)
    assert answer.text.splitlines()[1] == wanted.sequence


def test_coordinates_are_those_of_the_engine(
    client: TestClient[Any], settings: Settings, finished: dict[str, Any], expected: DesignResult
) -> None:
    """The way through the service changes no bit of a coordinate."""
    stored = load_result(Path(settings.store.objects) / finished["id"])
    (made,), (wanted,) = stored.designs, expected.designs
    assert wanted.failed is None
    assert made.backbone.dtype == wanted.backbone.dtype
    assert np.array_equal(made.backbone.view(np.uint32), wanted.backbone.view(np.uint32))
    answer = client.get(finished["links"]["structure"], headers=AUTH)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("chemical/x-mmcif")
    protein = Protein.from_backbone(
        wanted.backbone, wanted.sequence, b_factor=wanted.uncertainty, name="design_001"
    )
    assert answer.text == protein.to_mmcif()


def test_ranks_that_do_not_exist(client: TestClient[Any], finished: dict[str, Any]) -> None:
    """A rank beyond the last is not found; one that is no rank is a bad request."""
    path = finished["links"]["self"] + "/structure?rank="
    _is_problem(client.get(path + "2", headers=AUTH), 404)
    for rank in ("0", "-1", "first"):
        _is_problem(client.get(path + rank, headers=AUTH), 400)


def test_the_same_request_is_the_same_job(
    client: TestClient[Any], finished: dict[str, Any], settings: Settings
) -> None:
    """Posting again, with keys in another order, computes nothing anew."""
    turned = dict(reversed(REQUEST.items()))
    again = client.post("/api/v1/design", json=turned, headers=AUTH).json()
    assert (again["id"], again["status"]) == (finished["id"], "done")
    with sqlite3.connect(settings.store.database_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """Jobs that a killed process left queued or half done are answered by the next process.

    Neither a job for other weights nor one that cannot be read keeps the others waiting; posting
    a failed one again retries it.
    """
    settings = _settings(tmp_path)
    table = JobTable(Database(settings.store.database_url))
    cut_off = REQUEST | {"seed": 4}
    table.add(_identity(settings, cut_off), decode_request(cut_off))
    assert table.claim() is not None
    table.add(_identity(settings, REQUEST), decode_request(REQUEST))
    of_other_weights = "0" * 64
    table.add(of_other_weights, decode_request(REQUEST))
    table.add("unreadable", decode_request(REQUEST))
    with sqlite3.connect(settings.store.database_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE jobs SET request = '{}x' WHERE id = 'unreadable'")
    with TestClient(create_app(settings)) as restarted:
        for request in (cut_off, REQUEST):
            identity = _identity(settings, request)
            assert _wait(restarted, f"/api/v1/designs/{identity}")["status"] == "done"
            stored = load_result(Path(settings.store.objects) / identity)
            assert stored.request == decode_request(request)
        state = _wait(restarted, f"/api/v1/designs/{of_other_weights}")
    assert state["status"] == "failed"
    assert "Post the request again" in state["error"]
    assert table.claim() is None
    assert table.add(of_other_weights, decode_request(REQUEST)).status == "queued"


def test_accepted_means_committed(tmp_path: Path) -> None:
    """The answer 202 comes only after the job is in the database, and no structure before it."""
    settings = _settings(tmp_path)
    app = create_app(settings)
    waiting = TestClient(app)  # outside its context no worker runs
    answer = waiting.post("/api/v1/design", json=REQUEST, headers=AUTH).json()
    assert answer["status"] == "queued"
    job = JobTable(Database(settings.store.database_url)).find(answer["id"])
    assert job is not None
    assert job.request == decode_request(REQUEST)
    _is_problem(waiting.get(answer["links"]["structure"], headers=AUTH), 409)


def test_health_and_readiness(client: TestClient[Any], tmp_path: Path) -> None:
    """Both need no token; without weights the service is alive but not ready."""
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    bare = msgspec.structs.replace(_settings(tmp_path), weights=tmp_path)
    with TestClient(create_app(bare)) as broken:
        assert broken.get("/health").status_code == 200
        _is_problem(broken.get("/ready"), 503)
        _is_problem(broken.post("/api/v1/design", json=REQUEST, headers=AUTH), 503)


def test_the_interface_is_described(client: TestClient[Any]) -> None:
    """The OpenAPI document lists every route, the body and the bearer token."""
    document = client.get("/schema/openapi.json").json()
    assert {"/api/v1/design", "/health", "/ready"} <= set(document["paths"])
    operation = document["paths"]["/api/v1/design"]["post"]
    assert operation["security"] == [{"bearer": []}]
    assert "application/json" in operation["requestBody"]["content"]


@pytest.fixture(scope="module")
def body_schema(client: TestClient[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the body of a design request as the OpenAPI document describes it, and its schema."""
    document = client.get("/schema/openapi.json").json()
    body = document["paths"]["/api/v1/design"]["post"]["requestBody"]["content"]
    content = body["application/json"]
    return content, {**content["schema"], "components": document["components"]}


def test_described_examples_are_requests(
    body_schema: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """Each example of the document is valid by its schema and by the check of requests."""
    content, schema = body_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert len(content["examples"]) > 3
    for example in content["examples"].values():
        jsonschema.validate(example["value"], schema, jsonschema.Draft202012Validator)
        decode_request(example["value"])


@pytest.mark.parametrize(
    "change",
    [
        {"num_designs": 0},
        {"num_desings": 1},
        {"length": 9},
        {"length": [60, 2001]},
        {"length": [60]},
        {"novelty": 1.5},
        {"constraints": [{"kind": "magic"}]},
        {"constraints": [{"kind": "pairing", "first": 0, "second": 2, "orientation": "parallel"}]},
        {"constraints": [{"kind": "pairing", "first": 1, "second": 2, "orientation": "skew"}]},
    ],
)
def test_the_description_refuses_what_the_service_refuses(
    client: TestClient[Any],
    body_schema: tuple[dict[str, Any], dict[str, Any]],
    change: dict[str, Any],
) -> None:
    """A client that is made from the document notices wrong values by itself."""
    request = REQUEST | change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(request, body_schema[1], jsonschema.Draft202012Validator)
    _is_problem(client.post("/api/v1/design", json=request, headers=AUTH), 400)
