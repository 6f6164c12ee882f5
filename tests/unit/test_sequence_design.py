"""Sequences drawn for backbones: what is given is kept, what is drawn depends on the seed alone."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.constants import MIN_LENGTH
from protein_lab.design.sequence_options import LETTERS, FixedResidue, SequenceOptions
from protein_lab.design.sequences import design_sequences, random_order, sequence_stream
from protein_lab.models.sequence import SequenceConfig, SequenceOperator
from protein_lab.models.weights import load_sequence_operator
from protein_lab.operators.neighborhood import find_neighbors
from protein_lab.testing.results import ideal_helix_design
from protein_lab.training.corpus import CorpusChain
from protein_lab.typing import FloatArray

SMALL = SequenceConfig(
    channels=16, pair_channels=8, heads=2, neighbors=12, encoder_blocks=1, decoder_blocks=2
)


def _operator(backend: str = "numpy") -> SequenceOperator:
    xp = get_backend(backend)
    arrays = SequenceOperator.initialize(SMALL, np.random.default_rng(4))
    arrays = {n: v * (10.0 if n.endswith("logits.weight") else 1.0) for n, v in arrays.items()}
    return SequenceOperator(SMALL, {n: xp.asarray(v) for n, v in arrays.items()}, xp)


@pytest.fixture(scope="module")
def backbone(real_chains: list[CorpusChain]) -> FloatArray:
    """Backbone of the shortest of the real chains."""
    return min(real_chains, key=lambda chain: len(chain.sequence)).backbone


def test_orders_put_neighbors_apart(backbone: FloatArray) -> None:
    """No two residues that see each other share a color; given residues come first."""
    partner = find_neighbors(backbone[:, 1], 12).partner
    first = np.zeros(len(backbone), dtype=bool)
    first[[3, 4, 20]] = True
    order = random_order(partner, first, np.random.default_rng(0))
    for residue, others in enumerate(partner):
        for other in set(others.tolist()) - {residue}:
            assert order[residue] != order[other]
    assert order[first].max() < order[~first].min()
    assert set(order.tolist()) == set(range(int(order.max()) + 1))
    assert order.max() < 36


def test_fixed_and_excluded_residues_are_kept(backbone: FloatArray) -> None:
    """Fixed residues stay, also where excluded; nothing else gets an excluded type."""
    options = SequenceOptions(
        num_sequences=3,
        temperature=1.0,
        fixed=(FixedResidue(position=1, residue="M"), FixedResidue(position=9, residue="C")),
        excluded="CMW",
    )
    for made in design_sequences(_operator(), backbone, options, np.random.default_rng(0)):
        assert len(made.sequence) == len(backbone)
        assert (made.sequence[0], made.sequence[8]) == ("M", "C")
        rest = made.sequence[1:8] + made.sequence[9:]
        assert not set(rest) & set("CMW")
        assert set(rest) <= set(LETTERS)


def test_everything_fixed_is_only_scored(backbone: FloatArray) -> None:
    """A sequence that is given whole comes back with its probabilities."""
    letters = "".join(np.random.default_rng(1).choice(list(LETTERS), len(backbone)))
    fixed = tuple(FixedResidue(position=n + 1, residue=x) for n, x in enumerate(letters))
    options = SequenceOptions(num_sequences=1, fixed=fixed)
    (made,) = design_sequences(_operator(), backbone, options, np.random.default_rng(0))
    assert made.sequence == letters
    assert made.score == pytest.approx(float(np.log(made.probability).mean()), abs=5e-3)


def test_score_and_confidence_fit_together(backbone: FloatArray) -> None:
    """Best score first; probabilities and entropies lie in their ranges."""
    options = SequenceOptions(num_sequences=4, temperature=1.0)
    made = design_sequences(_operator(), backbone, options, np.random.default_rng(3))
    assert all(one.score >= other.score for one, other in pairwise(made))
    for item in made:
        assert item.score == pytest.approx(float(np.log(item.probability).mean()), abs=5e-3)
        assert len(item.probability) == len(item.entropy) == len(backbone)
        assert all(0.0 <= p <= 1.0 for p in item.probability)
        assert all(0.0 <= h <= np.log(20) + 1e-4 for h in item.entropy)


def test_low_temperature_is_surer(backbone: FloatArray) -> None:
    """Cooling raises the score and takes away variety."""

    def draw(temperature: float) -> tuple[float, float]:
        options = SequenceOptions(num_sequences=6, temperature=temperature)
        made = design_sequences(_operator(), backbone, options, np.random.default_rng(0))
        letters = np.array([list(item.sequence) for item in made])
        agreement = np.mean([np.mean(a == b) for a, b in pairwise(letters)])
        return float(np.mean([item.score for item in made])), float(agreement)

    cold, warm = draw(0.05), draw(1.0)
    assert cold[0] > warm[0] + 0.1
    assert cold[1] > warm[1] + 0.1


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_seed_decides_on_every_backend(backend: str, backbone: FloatArray) -> None:
    """The same generator gives the same letters, whatever computes them; another gives others."""
    pytest.importorskip(backend)
    options = SequenceOptions(num_sequences=2, temperature=1.0)
    expected = design_sequences(_operator(), backbone, options, np.random.default_rng(5))
    found = design_sequences(_operator(backend), backbone, options, np.random.default_rng(5))
    other = design_sequences(_operator(), backbone, options, np.random.default_rng(6))
    assert [item.sequence for item in found] == [item.sequence for item in expected]
    assert [item.sequence for item in other] != [item.sequence for item in expected]
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_allclose(two.probability, one.probability, atol=2e-4)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_shipped_weights_draw_the_same_everywhere(backend: str, backbone: FloatArray) -> None:
    """With the weights that designs use, letters and probabilities agree with NumPy's."""
    pytest.importorskip(backend)
    options = SequenceOptions(num_sequences=2)
    expected, found = (
        design_sequences(load_sequence_operator(name), backbone, options, sequence_stream(3, 1))
        for name in ("numpy", backend)
    )
    assert [item.sequence for item in found] == [item.sequence for item in expected]
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_allclose(two.probability, one.probability, atol=5e-4)
        assert two.score == pytest.approx(one.score, abs=5e-4)


def test_the_shortest_chain_gets_sequences() -> None:
    """Fewer residues than a ball of neighbors holds are enough."""
    helix = ideal_helix_design(0, MIN_LENGTH).backbone
    options = SequenceOptions(num_sequences=2)
    made = design_sequences(load_sequence_operator("numpy"), helix, options, sequence_stream(0, 0))
    assert [len(item.sequence) for item in made] == [MIN_LENGTH] * 2


def _faults(content: dict, shortest: int = 50) -> list[tuple[str, str, str]]:
    options = msgspec.convert(content, SequenceOptions)
    found = options.faults("$.sequence", shortest)
    return [(fault.path, fault.message, fault.remedy) for fault in found]


def test_faults_name_place_and_remedy() -> None:
    """Each fault has the JSON path of its value and says how to mend it."""
    assert _faults({"fixed": [{"position": 50, "residue": "A"}], "excluded": "CM"}) == []
    fixed = [
        {"position": 3, "residue": "a"},
        {"position": 3, "residue": "K"},
        {"position": 51, "residue": "X"},
        {"position": 4, "residue": ""},
    ]
    assert [fault[0] for fault in _faults({"fixed": fixed})] == [
        "$.sequence.fixed[0].residue",
        "$.sequence.fixed[1].position",
        "$.sequence.fixed[2].residue",
        "$.sequence.fixed[2].position",
        "$.sequence.fixed[3].residue",
    ]
    assert _faults({"fixed": fixed[:1]})[0][2] == "Write 'A'."
    assert "1 to 50" in _faults({"fixed": fixed[2:3]})[1][1]
    assert _faults({"fixed": fixed[2:3]}, shortest=0)[0][0] == "$.sequence.fixed[0].residue"
    assert [fault[0] for fault in _faults({"excluded": "CCZ"})] == ["$.sequence.excluded"] * 2
    assert "All twenty" in _faults({"excluded": LETTERS})[0][1]


def test_repeated_units_get_equal_amino_acids(backbone: FloatArray) -> None:
    """A residue that is fixed in one unit is the same in all."""
    size = len(backbone) // 3 * 3
    equal = np.arange(size) % (size // 3)
    options = SequenceOptions(num_sequences=3, fixed=(FixedResidue(position=2, residue="W"),))
    drawn = design_sequences(
        _operator(), backbone[:size], options, np.random.default_rng(0), equal=equal
    )
    for item in drawn:
        assert item.sequence[: size // 3] * 3 == item.sequence
        assert item.sequence[1] == "W"
