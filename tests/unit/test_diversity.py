"""The diversity benchmark: clusters and new folds, with intervals and floors that can be missed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from protein_lab.design.blueprint import Blueprint
from protein_lab.errors import ProteinLabError
from protein_lab.experiments.diversity import Drawn, rows_of, run_diversity
from protein_lab.experiments.quality import Row
from protein_lab.metrics import diversity, num_clusters, pairwise_tm
from protein_lab.store.schema import Design
from protein_lab.training.corpus import Corpus


def by_name(rows: list[Row]) -> dict[str, Row]:
    """Rows by the end of their name."""
    return {row.name.split(": ")[1]: row for row in rows}


def sample(index: int, backbone: np.ndarray) -> Design:
    """Make a design of a real backbone."""
    return Design(
        index=index,
        backbone=backbone.astype(np.float32),
        uncertainty=np.zeros(len(backbone), dtype=np.float32),
        blueprint=Blueprint("L" * len(backbone)),
        metrics={"pairs_met": 1.0 if index % 2 else float("nan")},
    )


@pytest.fixture(scope="module")
def different() -> list[Design]:
    """Chains that differ from each other."""
    corpus = Corpus.open()
    drawn = np.random.default_rng(0).permutation(corpus.indices("train", 50, 60))[:6]
    return [sample(n, corpus.backbone(int(i))) for n, i in enumerate(drawn)]


def test_copies_are_one_cluster_and_strangers_many(different: list[Design]) -> None:
    """The count is that of folds, not of samples, and its interval holds it."""
    copies = by_name(rows_of(Drawn(tuple(different[:1] * 6), np.full(6, 0.9), 8), 6, 0.0))
    assert copies["clusters"].value == 1.0
    assert copies["clusters"].floor == 3.0
    assert not copies["clusters"].ok
    found = by_name(rows_of(Drawn(tuple(different), np.full(6, 0.9), 6), 6, 0.0))["clusters"]
    assert found.value is not None
    assert found.value >= 5.0
    assert found.ok
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    ca = [item.backbone[:, 1] for item in different]
    assert num_clusters(pairwise_tm(ca), 0.5) == diversity(ca) * len(ca)


def test_missing_samples_are_not_new(different: list[Design]) -> None:
    """Half of those there are new, but only a quarter of those wanted; refused ones count too."""
    drawn = Drawn(tuple(different[:4]), np.array([0.4, 0.45, 0.6, 0.7]), 10)
    found = rows_of(drawn, 8, 1.0)
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Row]) == found
    rows = by_name(found)
    assert rows["new folds"].value == 25.0
    assert not rows["new folds"].ok
    assert rows["clusters"].floor is None
    assert rows["accepted"].value == 40.0
    assert rows["pairings met"].value == 100.0
    assert by_name(rows_of(drawn, 4, 1.0))["new folds"].ok


def test_without_samples_floors_are_missed() -> None:
    """Nothing that was accepted is not diversity."""
    rows = by_name(rows_of(Drawn((), np.zeros(0), 3), 2, 0.0))
    assert rows["clusters"].value == 0.0
    assert not rows["clusters"].ok
    assert rows["nearest chain"].value is None


def test_the_benchmark_runs_through_the_engine() -> None:
    """Both requests are answered by real designs, whose nearest chains are searched."""
    told: list[tuple[int, int]] = []
    rows = {
        row.name: row
        for row in run_diversity(
            workers=1, num_samples=2, length=40,
            progress=lambda done, total: told.append((done, total)),
        )
    }  # fmt: skip
    assert told
    assert told[-1][1] == 6
    for novelty in (0, 1):
        nearest = rows[f"novelty {novelty}: nearest chain"].value
        assert nearest is None or 0.2 < nearest < 1.0
    assert rows["novelty 0: clusters"].floor == 1.0
    assert rows["novelty 1: new folds"].floor == 30.0
    with pytest.raises(ProteinLabError, match="two samples"):
        run_diversity(num_samples=1)
