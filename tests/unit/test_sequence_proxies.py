"""Proxies of stability and solubility: the published figures, named as what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.amino_acids import LETTERS
from protein_lab.constraints.base import Layout
from protein_lab.constraints.sequence_scores import (
    aliphatic_index,
    gravy,
    hydrophobic_surface,
    instability_index,
    net_charge_per_residue,
)
from protein_lab.constraints.solubility_proxy import SolubilityProxy
from protein_lab.constraints.stability_proxy import StabilityProxy
from protein_lab.design.request import check_request
from protein_lab.protein import Protein
from protein_lab.testing.results import ideal_helix_design
from protein_lab.training.corpus import CorpusChain

FGF1 = (
    "MAEGEITTFTALTEKFNLPPGNYKKPKLLYCSNGGHFLRILPDGTVDGTRDRSDQHIQLQLSAESVGEVYIKSTETGQYLAMDTSGLLYGSQ"
    "TPSEECLFLERLEENHYNTYTSKKHAEKNWFVGLKKNGSCKRGPRTHYGQKAILFLPLPV"
)
BACKBONE = ideal_helix_design(0, 40).backbone
LAYOUT = Layout(40, ())


def test_published_figures() -> None:
    """ProtParam's figures for human FGF-1, as Biopython's manual gives them, and simple cases."""
    assert instability_index(FGF1) == pytest.approx(41.98, abs=0.005)
    assert gravy(FGF1) == pytest.approx(-0.597, abs=0.001)
    assert aliphatic_index("AVIL") == pytest.approx((1 + 2.9 + 3.9 + 3.9) * 25.0)
    assert net_charge_per_residue("KRDEDA") == pytest.approx(-1 / 6)


def test_biopython_agrees() -> None:
    """Random sequences have the same figures as in Biopython, where it is installed."""
    module = pytest.importorskip("Bio.SeqUtils.ProtParam")
    rng = np.random.default_rng(0)
    for _ in range(20):
        sequence = "".join(rng.choice(list(LETTERS), 120))
        known = module.ProteinAnalysis(sequence)
        assert instability_index(sequence) == pytest.approx(known.instability_index())
        assert gravy(sequence) == pytest.approx(known.gravy())


def test_surfaces_of_real_chains(real_chains: list[CorpusChain]) -> None:
    """Exposed residues are hydrophobic less often than the whole chain."""
    surface, whole = [], []
    for chain in real_chains[:8]:
        protein = Protein.from_backbone(chain.backbone, chain.sequence)
        surface.append(hydrophobic_surface(protein))
        whole.append(np.isin(list(chain.sequence), list("AFILMVWY")).mean())
    assert np.mean(surface) < 0.75 * np.mean(whole)
    assert 0.1 < np.mean(surface) < 0.45


@pytest.mark.parametrize(
    ("constraint", "sequence", "verdict"),
    [
        (StabilityProxy(max=40.0), "A" * 40, "pass"),
        (StabilityProxy(max=40.0), "AC" * 20, "fail"),
        (StabilityProxy(measure="aliphatic_index", min=80.0), "ALGK" * 10, "pass"),
        (StabilityProxy(measure="aliphatic_index", min=80.0), "GK" * 20, "fail"),
        (SolubilityProxy(max=0.0), "ADEK" * 10, "pass"),
        (SolubilityProxy(max=0.0), "LIVA" * 10, "fail"),
        (SolubilityProxy(measure="net_charge_per_residue", min=0.1), "AAAAK" * 8, "pass"),
        (SolubilityProxy(measure="net_charge_per_residue", min=0.1), "AAAAE" * 8, "fail"),
        (SolubilityProxy(measure="hydrophobic_surface", max=0.3), "E" * 40, "pass"),
        (SolubilityProxy(measure="hydrophobic_surface", max=0.3), "L" * 40, "fail"),
    ],
)
def test_verdicts(
    constraint: StabilityProxy | SolubilityProxy, sequence: str, verdict: str
) -> None:
    """Bounds are judged, and the details say that it is a proxy."""
    found = constraint.evaluate(Protein.from_backbone(BACKBONE, sequence), LAYOUT)
    assert found.verdict == verdict
    assert "a proxy" in found.details
    bare = constraint.evaluate(Protein.from_backbone(BACKBONE), LAYOUT)
    assert (bare.verdict, bare.value) == ("not_run", None)


def test_biases_point_the_right_way() -> None:
    """What moves a figure as asked is preferred, and nothing where both sides are bounded."""
    leucine, lysine, glutamate = (LETTERS.index(letter) for letter in "LKE")
    low = SolubilityProxy(max=-0.3).residue_bias(LAYOUT)
    assert (low[:, lysine] > 0.0).all()
    assert (low[:, leucine] < 0.0).all()
    charged = SolubilityProxy(measure="net_charge_per_residue", max=-0.1).residue_bias(LAYOUT)
    assert (charged[:, glutamate] > 0.0).all()
    assert not SolubilityProxy(min=-1.0, max=0.0).residue_bias(LAYOUT).any()
    assert not StabilityProxy(max=40.0).residue_bias(LAYOUT).any()


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "stability_proxy"}, "", "neither"),
    ({"kind": "stability_proxy", "min": 50, "max": 40}, ".max", "at least 50"),
    ({"kind": "stability_proxy", "measure": "stability", "max": 40}, ".measure", "instability"),
    ({"kind": "solubility_proxy", "max": "low"}, ".max", "'low'"),
    ({"kind": "solubility_proxy", "min": 5.0}, ".min", "-4.5 to 4.5"),
    ({"kind": "solubility_proxy", "measure": "hydrophobic_surface", "max": -0.1},
     ".max", "0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "message"), BAD)
def test_bad_input_is_told_with_its_path(data: dict[str, Any], path: str, message: str) -> None:
    """Every fault names the place and what was expected."""
    faults = check_request({"length": 40, "constraints": [data]})
    assert any(
        item.path == f"$.constraints[0]{path}" and message in item.message for item in faults
    ), faults
