"""Workers on Slurm, over SSH and on this machine give the same designs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protein_lab import engine
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.errors import ExecutionError, MissingExtraError, ProteinLabError
from protein_lab.execution.base import spec_of
from protein_lab.execution.clusters import dask_limits, start_cluster, worker_life
from protein_lab.execution.dask import DaskExecutor
from protein_lab.execution.keeping import open_parts
from protein_lab.execution.tasks import digest_of
from protein_lab.settings import ClusterSettings, StoreSettings
from protein_lab.store.schema import Design
from tests.batch_system import slurm, ssh_server

pytest.importorskip("distributed")

ROOT = str(Path(engine.__file__).parents[1])
REQUEST = DesignRequest(
    length=12,
    num_designs=6,
    steps=1,
    samples_per_design=1,
    seed=3,
    backend="numpy",
    sequence=SequenceOptions(num_sequences=0),
)


@pytest.fixture(scope="module")
def runtime() -> engine.Runtime:
    """Open the shipped operator once."""
    return engine.Runtime.open(REQUEST)


@pytest.fixture(scope="module")
def expected(runtime: engine.Runtime) -> dict[int, str]:
    """Make the designs here."""
    return {index: digest_of(engine.design_one(REQUEST, index, runtime)) for index in range(6)}


def check(
    settings: ClusterSettings,
    runtime: engine.Runtime,
    expected: dict[int, str],
    folder: Path,
) -> None:
    """Make the designs on two workers of a cluster, kept by these, and compare them."""
    store = StoreSettings(objects=str(folder / "store"))
    made: list[Design] = []
    with DaskExecutor(workers=2, cluster=settings, store=store) as executor:
        executor.run(REQUEST, spec_of(runtime), range(6), made.append)
    assert {design.index: digest_of(design) for design in made} == expected
    identity = runtime.request_id(REQUEST)
    assert open_parts(store).indices(identity) == list(range(6))


@pytest.mark.timeout(600)
def test_slurm_jobs_make_the_same_designs(
    runtime: engine.Runtime,
    expected: dict[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real Slurm of one node runs a job for each worker."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ROOT)
    settings = ClusterSettings(
        kind="slurm", queue="cpu", walltime="00:10:00", interface="lo", memory="1GiB"
    )
    with slurm() as configuration:
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        check(settings, runtime, expected, tmp_path)
    logs = [log.read_text() for log in (tmp_path / "worker_logs").iterdir()]
    assert any("Registered to" in log for log in logs)


@pytest.mark.timeout(600)
def test_workers_over_ssh_make_the_same_designs(
    runtime: engine.Runtime,
    expected: dict[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real SSH server starts scheduler and workers, found by the user's own configuration."""
    pytest.importorskip("asyncssh")
    settings = ClusterSettings(kind="ssh", hosts="node,node", interface="lo", memory="1GiB")
    with ssh_server(ROOT) as home:
        monkeypatch.setenv("HOME", str(home))
        check(settings, runtime, expected, tmp_path)


def test_slurm_jobs_ask_for_what_is_set() -> None:
    """One worker with one thread a job, a GPU where asked, and an end before the time limit."""
    pytest.importorskip("dask_jobqueue")
    settings = ClusterSettings(
        kind="slurm", queue="gpu", walltime="02:00:00", interface="lo", gpus=1, adaptive=True
    )
    from dask import config

    with config.set(dask_limits(settings)), start_cluster(settings, 1) as cluster:
        cluster.adapt(minimum=0, maximum=0)  # nothing is submitted here
        script = cluster.job_script()
    for part in ("--gres=gpu:1", "-p gpu", "-t 02:00:00", "--resources GPU=1", "--nthreads 1",
                 "--lifetime 6900s", "--lifetime-stagger 150s", "OMP_NUM_THREADS=1"):  # fmt: skip
        assert part in script


@pytest.mark.parametrize(
    ("walltime", "life"),
    [("02:00:00", 6900), ("00:10:00", 450), ("30", 1500), ("1-12", 129_300), ("10:00", 450)],
)
def test_workers_end_before_their_job(walltime: str, life: int) -> None:
    """A worker hands over what it holds before its job is ended."""
    assert worker_life(walltime)[0] == life


@pytest.mark.parametrize("walltime", ["", "soon", "00:01:00", "1:2:3:4", "-5"])
def test_time_limits_that_are_none_are_told(walltime: str) -> None:
    """Neither a wrong form nor a job that ends at once is passed on to Slurm."""
    with pytest.raises(ExecutionError, match="Expected a time limit"):
        worker_life(walltime)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ClusterSettings(kind="ssh", hosts="alone"), "at least one more"),
        (ClusterSettings(kind="ssh", hosts="a,b", gpus=4), "one GPU worker or none"),
        (ClusterSettings(gpus=1, adaptive=True), "adaptive was asked"),
        (ClusterSettings(kind="ssh", hosts="a,b", adaptive=True), "adaptive was asked"),
        (ClusterSettings(placement="gpu"), "there is none"),
        (ClusterSettings(kind="slurm", placement="pipeline", gpus=1), "two kinds"),
        (ClusterSettings(kind="kubernetes"), "k8s|need an image"),
    ],
)
def test_settings_that_contradict_themselves_are_told(
    settings: ClusterSettings, message: str
) -> None:
    """Before anything is started."""
    with (
        pytest.raises(ProteinLabError, match=message) as caught,
        start_cluster(settings, 2),
    ):
        pytest.fail("a cluster was started")
    assert caught.value.remedy


def test_gpus_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was given two GPUs of a machine takes no others."""
    psutil = pytest.importorskip("psutil")
    settings = ClusterSettings(placement="gpu", gpus=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with pytest.raises(ExecutionError, match="names 2"), start_cluster(settings, 1):
        pytest.fail("a cluster was started")
    from distributed import Client

    settings = ClusterSettings(placement="gpu", gpus=-1)
    monkeypatch.setattr("protein_lab.execution.clusters.count_gpus", lambda: 2)
    with start_cluster(settings, 1) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=120)
        found = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(found.values()) == ["2", "5"]
        here = psutil.Process()
        for process in [here, *here.children(recursive=True)]:
            for connection in process.net_connections():
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip == "127.0.0.1"


def test_kubernetes_names_its_extra() -> None:
    """The operator's client is an extra of its own."""
    try:
        import dask_kubernetes  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with (
            pytest.raises(MissingExtraError, match="k8s"),
            start_cluster(ClusterSettings(kind="kubernetes", image="x"), 1),
        ):
            pytest.fail("a cluster was started")
    else:
        pytest.skip("dask-kubernetes is installed; no cluster to try it on")


def test_an_adaptive_cluster_starts_workers_with_the_work(
    runtime: engine.Runtime, expected: dict[int, str], tmp_path: Path
) -> None:
    """None waits for work at first; as many as are allowed come, and the bits are the same."""
    check(ClusterSettings(adaptive=True), runtime, expected, tmp_path)
