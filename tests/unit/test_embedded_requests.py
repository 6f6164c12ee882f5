"""A request made in Python may name files; its answer holds what stood in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab import engine
from protein_lab.constraints.motif import Motif
from protein_lab.constraints.structure_source import (
    StructureSource,
    has_outside_sources,
    structure_text,
)
from protein_lab.design.request import DesignRequest, embedded_request, request_id
from protein_lab.errors import InvalidRequestError
from protein_lab.execution.run import run_request
from protein_lab.geometry import backbone_from_internal
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.weights import save_weights
from protein_lab.protein import Protein
from protein_lab.settings import Settings
from protein_lab.store.output import OutputFolder

LENGTH = 24


def write_helix(path: Path, phi: float = -62.0) -> None:
    """Write one straight helix of alanines as PDB."""
    angles = [np.full(LENGTH, np.radians(angle)) for angle in (phi, -42.0, 180.0)]
    protein = Protein.from_backbone(backbone_from_internal(*angles), "A" * LENGTH)
    path.write_text(structure_text(protein), encoding="utf-8")


@pytest.fixture
def request_of_a_file(tmp_path: Path) -> DesignRequest:
    """Ask for a motif that stands in a file."""
    write_helix(tmp_path / "motif.pdb")
    source = StructureSource(file=str(tmp_path / "motif.pdb"))
    return DesignRequest(
        constraints=(Motif(source=source, contig="8/A5-14/8"),),
        num_designs=1,
        samples_per_design=1,
        steps=2,
    )


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> engine.Runtime:
    """Open a small operator with random weights: what is tested here does not need good ones."""
    folder = tmp_path_factory.mktemp("weights")
    config = EnhancedDeepONetConfig()
    params = EnhancedProteinDeepONet.initialize(config, np.random.default_rng(0))
    save_weights(params, folder, "enhanced_deeponet", config, {})
    return engine.Runtime.open(backend="numpy", settings=Settings(weights=folder))


def test_an_id_is_of_the_content(request_of_a_file: DesignRequest, tmp_path: Path) -> None:
    """Another content of the same file is another request."""
    before = request_id(request_of_a_file, "weights", "corpus")
    assert before == request_id(embedded_request(request_of_a_file), "weights", "corpus")
    write_helix(tmp_path / "motif.pdb", phi=-70.0)
    assert request_id(request_of_a_file, "weights", "corpus") != before


def test_a_result_needs_no_file(
    runtime: engine.Runtime, request_of_a_file: DesignRequest, tmp_path: Path
) -> None:
    """Plan, result and folder hold the structure itself, and both doors give the same id."""
    identity = runtime.request_id(request_of_a_file)
    planned = engine.plan(request_of_a_file, runtime)
    assert planned.request_id == identity
    result = engine.design(request_of_a_file, runtime)
    with OutputFolder(tmp_path / "out", request_of_a_file, identity) as output:
        again = run_request(request_of_a_file, runtime, output=output)
    for request in (planned.request, result.request, again.request):
        assert not has_outside_sources(request)
    assert result.request_id == again.request_id == identity
    assert result.request.canonical() == again.request.canonical()
    (tmp_path / "motif.pdb").unlink()
    with OutputFolder(tmp_path / "out", planned.request, identity) as output:
        assert output.load().request == result.request


def test_a_file_that_is_gone(request_of_a_file: DesignRequest, tmp_path: Path) -> None:
    """It is a fault with the path of the source."""
    (tmp_path / "motif.pdb").unlink()
    with pytest.raises(InvalidRequestError, match=r"constraints\[0\]\.source"):
        embedded_request(request_of_a_file)
