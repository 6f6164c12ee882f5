"""Partial redesign: a backbone moved by a known amount, some of it kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.constraints.base import Layout, Placing, Restraining, Scope, Shaping, Starting
from protein_lab.constraints.structure_source import (
    StructureSource,
    embed_sources,
    select_residues,
    structure_text,
)
from protein_lab.constraints.template import Template
from protein_lab.design.request import check_request
from protein_lab.geometry import axis_curve, virtual_cb
from protein_lab.metrics import dssp, rmsd
from protein_lab.protein import Protein
from protein_lab.training.corpus import CorpusChain


@pytest.fixture
def chain(real_chains: list[CorpusChain]) -> Protein:
    """Give a real chain."""
    return Protein.from_backbone(real_chains[3].backbone, real_chains[3].sequence)


@pytest.fixture
def template(chain: Protein) -> Template:
    """Ask for it anew, with some residues kept."""
    return Template(
        source=StructureSource(text=structure_text(chain)), noise=3.0, kept="A20-30/A60"
    )


def test_the_chain_comes_with_its_length_and_states(template: Template, chain: Protein) -> None:
    """Nothing is drawn but the curve."""
    assert isinstance(template, Placing)
    placed = template.place(0, 0, np.random.default_rng(0))
    assert placed.length == chain.num_residues
    assert placed.states == dssp(template.read().backbone)


def test_curves_move_by_the_noise_and_kept_parts_do_not(template: Template, chain: Protein) -> None:
    """The same stream gives the same curve; more noise moves more."""
    assert isinstance(template, Starting)
    layout = Layout(chain.num_residues, ())
    own = axis_curve(chain.ca.astype(float))
    curves = [template.start_curve(layout, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (curves[0] == curves[1]).all()
    assert rmsd(curves[0], curves[2]) > 0.5
    for curve in curves:
        assert 1.0 < rmsd(curve, own) < 3.0
        assert rmsd(curve[20:30], own[20:30]) < 0.5 * rmsd(curve, own)
    loud = msgspec.structs.replace(template, noise=8.0)
    assert rmsd(loud.start_curve(layout, np.random.default_rng(1)), own) > 4.0
    steps = np.linalg.norm(np.diff(curves[0], axis=0), axis=-1)
    assert steps.max() < 5.0


def test_its_gradient_is_right(template: Template, chain: Protein) -> None:
    """Zero inside the noise level; finite differences beyond it."""
    assert isinstance(template, Restraining)
    assert isinstance(template, Shaping)
    restraint = template.restraint(Layout(chain.num_residues, ()))
    backbone = chain.backbone.astype(float)
    atoms = np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)
    assert restraint(atoms)[0] == pytest.approx(0.0, abs=1e-3)
    rng = np.random.default_rng(0)
    for energy, start in ((restraint, atoms), (restraint.on_curve, axis_curve(atoms[:, 1]))):
        noisy = start + 3.0 * rng.normal(size=start.shape)
        value, gradient = energy(noisy)
        way = rng.normal(size=noisy.shape)
        slope = (energy(noisy + 1e-5 * way)[0] - energy(noisy - 1e-5 * way)[0]) / 2e-5
        assert value > 0.0
        assert (gradient * way).sum() == pytest.approx(slope, rel=1e-5)


def test_it_is_judged_by_what_moved(template: Template, chain: Protein) -> None:
    """Both the whole chain and the kept residues count."""
    layout = Layout(chain.num_residues, ())
    assert template.evaluate(chain, layout).verdict == "pass"
    rng = np.random.default_rng(0)
    atoms = chain.backbone.astype(float)
    far = Protein.from_backbone(atoms + 4.0 * rng.normal(size=(len(atoms), 1, 3)))
    found = template.evaluate(far, layout)
    assert found.verdict == "fail"
    assert found.value == pytest.approx(float(rmsd(far.ca, chain.ca)), abs=1e-3)
    spoiled = atoms.copy()
    spoiled[19:30] += 2.0 * rng.normal(size=(11, 1, 3))
    found = template.evaluate(Protein.from_backbone(spoiled), layout)
    assert (found.verdict, found.value is not None and found.value < 3.0) == ("fail", True)


def test_amino_acids_of_kept_residues_stay(template: Template, chain: Protein) -> None:
    """Only those; none where they are masked."""
    layout = Layout(chain.num_residues, ())
    fixed = np.isfinite(template.residue_bias(layout)).sum(axis=1) == 1
    assert np.flatnonzero(fixed).tolist() == [*range(19, 30), 59]
    assert not msgspec.structs.replace(template, sequence="mask").residue_bias(layout).any()
    assert np.isfinite(template.torsions(layout)[20:29]).all()


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"chain": "B"}, "chain", "no chain B"),
        ({"kept": "A900"}, "kept", "no residue 900"),
        ({"kept": "10-20"}, "kept", "Expected residues of the template"),
        ({"noise": 0}, "noise", "0.5"),
        ({"source": {"text": "x"}}, "source.text", "Expected a structure file"),
    ],
)
def test_faults_are_found(
    template: Template, change: dict[str, object], path: str, message: str
) -> None:
    """Each error names its place."""
    item = msgspec.to_builtins(template) | {"kind": "template"} | change
    errors = [f for f in check_request({"constraints": [item]}) if f.severity == "error"]
    assert errors
    assert errors[0].path == f"$.constraints[0].{path}"
    assert message in errors[0].message


def test_holes_and_other_lengths_are_faults(template: Template, chain: Protein) -> None:
    """A chain with missing residues has no course there."""
    assert template.faults("$") == []
    assert template.faults_in("$", Scope(chain.num_residues, chain.num_residues)) == []
    (fault,) = template.faults_in("$", Scope(20, 30))
    assert "the request asks for 20 to 30" in fault.message
    holed = select_residues(chain, [i for i in range(60) if not 14 <= i < 17])
    (fault,) = Template(source=StructureSource(text=structure_text(holed))).faults("$")
    assert "missing between A14 and A18" in fault.message


def test_only_the_chain_is_embedded(template: Template, chain: Protein, tmp_path: Path) -> None:
    """From a file with more than that."""
    chain.save(tmp_path / "a.pdb")
    asked = Template(source=StructureSource(file="a.pdb"), chain="A")
    assert embed_sources(asked, tmp_path).read().num_residues == chain.num_residues
    assert embed_sources(template) is template
