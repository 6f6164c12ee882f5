"""The sequence operator: what must not change its answer, what must, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.backends.base import Backend
from protein_lab.models.sequence import NUM_TYPES, SequenceConfig, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.operators.neighborhood import LARGEST_BALL, find_neighbors
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus, CorpusChain
from protein_lab.training.sequence_task import SequenceTask, cross_entropy
from protein_lab.training.trainer import Trainer, TrainingOptions

SMALL = SequenceConfig(
    channels=16, pair_channels=8, heads=2, neighbors=12, encoder_blocks=2, decoder_blocks=2
)


def _operator(backend: Backend | None = None) -> SequenceOperator:
    """Make an untrained operator whose last layers are not small, so that differences show."""
    xp = backend or get_backend("numpy")
    arrays = SequenceOperator.initialize(SMALL, np.random.default_rng(4))
    arrays = {n: v * (10.0 if n.endswith("logits.weight") else 1.0) for n, v in arrays.items()}
    return SequenceOperator(SMALL, {n: xp.asarray(v) for n, v in arrays.items()}, xp)


def _answers(
    operator: SequenceOperator, backbones: list[NDArray[np.floating]], seed: int = 0
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Give the logits of both heads, the second with residues shown in an order of each chain."""
    xp = operator.backend
    inputs = collate_backbones(xp, backbones, SMALL.neighbors)
    shape = tuple(inputs.weight.shape)
    residues, order = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int64)
    for row, backbone in enumerate(backbones):
        rng = np.random.default_rng([seed, len(backbone)])
        residues[row, : len(backbone)] = rng.integers(0, NUM_TYPES, len(backbone))
        order[row, : len(backbone)] = rng.permutation(len(backbone))
    encoded = operator.embed(inputs)
    visible = xp.asarray(visibility(order, xp.to_numpy(inputs.partner)), "int32")
    final = operator.predict(encoded, xp.asarray(residues, "int32"), visible)
    return xp.to_numpy(operator.first_logits(encoded)), xp.to_numpy(final)


@pytest.fixture(scope="module")
def backbones(real_chains: list[CorpusChain]) -> list[NDArray[np.floating]]:
    """Three short real backbones of different lengths."""
    return [chain.backbone for chain in sorted(real_chains, key=lambda c: len(c.sequence))[:3]]


def test_moving_changes_nothing_and_mirroring_does(
    backbones: list[NDArray[np.floating]],
) -> None:
    """The answer belongs to the shape: a rigid motion keeps it, a reflection does not."""
    operator, backbone = _operator(), np.asarray(backbones[0], dtype=np.float64)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    still = _answers(operator, [backbone])
    moved = _answers(operator, [backbone @ rotation.T + np.array([30.0, -20.0, 5.0])])
    mirrored = _answers(operator, [backbone * np.array([1.0, 1.0, -1.0])])
    for before, after, other in zip(still, moved, mirrored, strict=True):
        scale = np.abs(before).max()
        np.testing.assert_allclose(after, before, atol=1e-5 * scale)
        assert np.abs(other - before).max() > 0.02 * scale


def test_chains_in_a_batch_do_not_touch(backbones: list[NDArray[np.floating]]) -> None:
    """A chain alone, padded beside longer ones, or in another row has one answer."""
    operator = _operator()
    together = _answers(operator, backbones)
    turned = _answers(operator, backbones[::-1])
    for row, backbone in enumerate(backbones):
        alone = _answers(operator, [backbone])
        for single, batch, other in zip(alone, together, turned, strict=True):
            size = len(backbone)
            np.testing.assert_allclose(batch[row, :size], single[0], atol=2e-5)
            np.testing.assert_allclose(other[-1 - row, :size], single[0], atol=2e-5)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_backends_agree(name: str, backbones: list[NDArray[np.floating]]) -> None:
    """The same weights and backbones give the same logits to 1e-4 on every backend."""
    pytest.importorskip(name)
    expected = _answers(_operator(), backbones[:1])
    found = _answers(_operator(get_backend(name)), backbones[:1])
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4)


def test_later_residues_do_not_show(backbones: list[NDArray[np.floating]]) -> None:
    """Changing a residue's type changes answers after it in the order, and none before or at it."""
    operator, backbone = _operator(), backbones[0]
    xp, size = operator.backend, len(backbone)
    inputs = collate_backbones(xp, [backbone], SMALL.neighbors)
    encoded = operator.embed(inputs)
    order = np.random.default_rng(2).permutation(size)[None]
    visible = visibility(order, inputs.partner)
    residues = np.zeros((1, size), dtype=np.int32)
    middle = int(np.flatnonzero(order[0] == size // 2)[0])
    changed = residues.copy()
    changed[0, middle] = 7
    before = operator.predict(encoded, residues, visible)[0]
    after = operator.predict(encoded, changed, visible)[0]
    moved = np.abs(after - before).max(axis=-1) > 0
    assert moved.any()
    assert (order[0][moved] > size // 2).all()


def test_neighbors_leave_the_ball_smoothly(backbones: list[NDArray[np.floating]]) -> None:
    """When two residues change places in the order of distance, the answer hardly moves."""
    operator = _operator()
    backbone = np.asarray(backbones[1], dtype=np.float64)
    place = backbone[:, 1]
    count = SMALL.neighbors
    swapped = 0
    for residue in range(0, len(backbone), 7):
        distance = np.linalg.norm(place - place[residue], axis=-1)
        ranked = np.argsort(distance)
        inner, outer = ranked[count], ranked[count + 1]
        # move the first residue outside to just inside, and just outside the last one in the ball
        toward = (place[residue] - place[outer]) / distance[outer]
        answers = []
        for gap in (-1e-3, 1e-3):
            trial = backbone.copy()
            trial[outer] += toward * (distance[outer] - distance[inner] + gap)
            answers.append(_answers(operator, [trial])[0][0, residue])
            near = find_neighbors(trial[:, 1], count).partner[residue]
            swapped += int(outer in near) * (1 if gap > 0 else 0)
        assert np.abs(answers[1] - answers[0]).max() < 0.01 * np.abs(answers[0]).max()
    assert swapped > 0


def test_short_chains_have_few_neighbors() -> None:
    """A chain shorter than the ball holds works; what is missing is marked."""
    place = np.arange(5.0)[:, None] * np.array([[3.8, 0.0, 0.0]])
    found = find_neighbors(place, 12)
    assert found.present.sum(axis=1).tolist() == [4] * 5
    assert (found.radius == LARGEST_BALL).all()
    assert sorted(found.partner[0][:4].tolist()) == [1, 2, 3, 4]
    assert (found.partner[0][4:] == 0).all()


def test_unknown_residues_do_not_count() -> None:
    """The loss is the mean over known residues; letters outside the twenty are unknown."""
    assert residue_types("AXBu").tolist() == [0, 20, 20, 20]
    xp = get_backend("numpy")
    logits = np.log(np.array([[[0.5] + [0.5 / 19] * 19, [1 / 20] * 20]]))
    target = np.zeros((1, 2, NUM_TYPES))
    target[0, 0, 0] = 1.0
    assert float(cross_entropy(xp, logits, target)) == pytest.approx(np.log(2.0))


def test_every_parameter_learns(backbones: list[NDArray[np.floating]]) -> None:
    """A training batch gives every parameter a finite gradient that is not zero."""
    xp = get_backend("torch")
    task = SequenceTask(
        SequenceOperator, SMALL, xp, Corpus.open(), "train",
        BatchOptions(residues=256, max_length=128), 0,
    )  # fmt: skip
    params = _operator(xp).params
    _, parts, gradients = xp.value_and_grad(task.loss)(params, *task.batch(0, params))
    assert set(parts) == {"first", "final"}
    for name, gradient in gradients.items():
        values = xp.to_numpy(gradient)
        assert np.isfinite(values).all(), name
        assert np.abs(values).max() > 0, name


def test_training_lowers_the_loss_and_resumes_exactly(tmp_path: Path) -> None:
    """Forty steps learn; a run cut in two ends in the same weights as one in one piece."""
    options = TrainingOptions(
        total_steps=40, warmup=5, learning_rate=3e-3,
        batches=BatchOptions(residues=256, max_length=128),
    )  # fmt: skip
    corpus = Corpus.open()
    whole = Trainer("sequence", tmp_path / "whole", corpus, options, config=SMALL)
    losses = [whole.advance()[0] for _ in range(40)]
    assert np.mean(losses[-8:]) < np.mean(losses[:4]) - 0.2
    cut = Trainer("sequence", tmp_path / "cut", corpus, options, config=SMALL)
    for _ in range(20):
        cut.advance()
    cut.save()
    resumed = Trainer("sequence", tmp_path / "cut", corpus, resume=True)
    for _ in range(20):
        resumed.advance()
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(resumed.weights()[name], value, err_msg=name)
