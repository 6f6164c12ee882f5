"""A result can be run again from its own folder, and every change of it is noticed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab import engine
from protein_lab.constants import AMINO_ACIDS, CB_INDEX
from protein_lab.design.request import DesignRequest
from protein_lab.errors import ExecutionError, IntegrityError, StoreError
from protein_lab.execution.base import OnDesign, RuntimeSpec, ShouldStop
from protein_lab.execution.local import LocalExecutor
from protein_lab.execution.reproduction import TOLERANCE, reproduce
from protein_lab.execution.run import run_request
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.store.manifest import BLOCK
from protein_lab.store.objects import load_result, save_result
from protein_lab.store.output import OutputFolder
from protein_lab.store.schema import DesignResult
from protein_lab.validation import validate
from protein_lab.validation.novelty import measure_novelty

REQUEST = DesignRequest(length=(24, 30), num_designs=2, steps=2, samples_per_design=1, seed=5)


@pytest.fixture(scope="module")
def runtime() -> engine.Runtime:
    """Open the shipped operator once."""
    return engine.Runtime.open(REQUEST.operator, backend="numpy")


@pytest.fixture(scope="module")
def first_folder(runtime: engine.Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the request into a folder, once for all tests of this file."""
    path = tmp_path_factory.mktemp("run") / "out"
    with OutputFolder(path, REQUEST, runtime.request_id(REQUEST)) as output:
        run_request(REQUEST, runtime, output=output)
    return path


@pytest.fixture
def folder(first_folder: Path, tmp_path: Path) -> Path:
    """Copy the folder, for a test to change."""
    return Path(shutil.copytree(first_folder, tmp_path / "out"))


class Remembering(LocalExecutor):
    """Notes which designs were asked for."""

    def __init__(self, runtime: engine.Runtime) -> None:
        super().__init__(runtime)
        self.asked: list[int] = []

    def run(
        self,
        request: DesignRequest,
        runtime_spec: RuntimeSpec,
        indices: Iterable[int],
        on_design: OnDesign,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        """Note and run."""
        self.asked = list(indices)
        super().run(request, runtime_spec, self.asked, on_design, should_stop)


def tampered(folder: Path, root: Path, **changes: object) -> Path:
    """Store the folder's result with other provenance, properly sealed."""
    result = load_result(folder)
    return save_result(dataclasses.replace(result, **changes), root)  # type: ignore[arg-type]


def test_a_result_is_reproduced_bit_for_bit(folder: Path) -> None:
    """Here and now everything is the same, so not one bit may differ."""
    outcome = reproduce(folder)
    assert outcome.differences == ()
    assert outcome.exact
    assert outcome.num_designs == 2


def test_files_say_what_the_summary_says(runtime: engine.Runtime, folder: Path) -> None:
    """Read back with their residue names, structures get the same verdicts and relatives."""
    for rank, design in enumerate(load_result(folder).designs, start=1):
        protein = Protein.from_file(folder / "designs" / f"{rank:03d}.cif")
        assert protein.sequence == design.sequence
        found = {check.name: check.verdict for check in validate(protein, REQUEST.preset)}
        assert found.items() <= {check.name: check.verdict for check in design.checks}.items()
        assert dssp(protein.backbone) == dssp(design.backbone)
        assert not protein.atom_mask[protein.aatype == AMINO_ACIDS.index("G"), CB_INDEX].any()
        bare = Protein.from_backbone(design.backbone)
        near, same = (measure_novelty(item, runtime.relatives) for item in (protein, bare))
        assert near.value == pytest.approx(same.value, abs=1e-3)


def test_a_flipped_byte_is_named_before_anything_is_run(folder: Path) -> None:
    """The message names the file and the region in it."""
    path = folder / "designs" / "001.cif"
    data = bytearray(path.read_bytes())
    position = len(data) - 3
    data[position] ^= 0x01
    path.write_bytes(bytes(data))
    start = position // BLOCK * BLOCK
    with pytest.raises(IntegrityError, match=rf"designs/001\.cif.*{start}-{len(data) - 1}"):
        reproduce(folder)


def test_other_coordinates_are_a_difference(folder: Path, tmp_path: Path) -> None:
    """A sealed result that its request does not give is found out, to the last bit."""
    result = load_result(folder)
    moved = result.designs[0].backbone.copy()
    moved[3, 1, 2] = np.nextafter(moved[3, 1, 2], np.float32(np.inf))
    designs = (dataclasses.replace(result.designs[0], backbone=moved), *result.designs[1:])
    outcome = reproduce(tampered(folder, tmp_path, designs=designs))
    assert outcome.exact
    (difference,) = outcome.differences
    assert difference.what.endswith("backbone")
    assert "1 of" in difference.message
    assert "at residue 4" in difference.message


def test_another_sequence_is_a_difference(folder: Path, tmp_path: Path) -> None:
    """Letters count as coordinates do; with other surroundings only number and score must agree."""
    result = load_result(folder)
    best = result.designs[0]
    (first, *others) = best.sequences
    letters = first.sequence.replace(first.sequence[3], "W")
    changed = msgspec.structs.replace(first, sequence=letters)
    provenance = {**result.provenance, "versions": {"numpy": "1.0"}}
    worse = tuple(msgspec.structs.replace(s, score=s.score - 1.0) for s in best.sequences)
    cases = (
        ("letters", (changed, *others), result.provenance, "1 of 4 differ, first 1"),
        ("elsewhere", (changed, *others), provenance, None),
        ("score", worse, provenance, "mean score"),
        ("fewer", best.sequences[1:], provenance, "stored 3 sequences, now 4"),
    )
    for name, sequences, place, message in cases:
        other = dataclasses.replace(best, sequences=sequences)
        designs = (other, *result.designs[1:])
        outcome = reproduce(tampered(folder, tmp_path / name, designs=designs, provenance=place))
        found = [(item.what.rsplit(": ")[-1], item.message) for item in outcome.differences]
        assert [what for what, _ in found] == ([] if message is None else ["sequences"])
        assert message is None or message in found[0][1]


def test_other_surroundings_are_compared_within_the_tolerance(folder: Path, tmp_path: Path) -> None:
    """With other versions bits may differ by a hair, which is noted; more is still a difference."""
    result = load_result(folder)
    provenance = {**result.provenance, "versions": {"numpy": "1.0"}}
    near = result.designs[0].backbone + np.float32(TOLERANCE / 4)
    designs = (dataclasses.replace(result.designs[0], backbone=near), *result.designs[1:])
    outcome = reproduce(tampered(folder, tmp_path / "a", designs=designs, provenance=provenance))
    assert not outcome.exact
    assert outcome.differences == ()
    assert any("numpy 1.0 ->" in note for note in outcome.notes)
    far = result.designs[0].backbone + np.float32(TOLERANCE * 4)
    designs = (dataclasses.replace(result.designs[0], backbone=far), *result.designs[1:])
    outcome = reproduce(tampered(folder, tmp_path / "b", designs=designs, provenance=provenance))
    assert [item.what.rsplit(": ")[-1] for item in outcome.differences] == ["backbone"]


def test_another_ranking_and_another_verdict_are_differences(folder: Path, tmp_path: Path) -> None:
    """Not only coordinates count: order and verdicts are part of the answer."""
    result = load_result(folder)
    turned = tampered(folder, tmp_path / "a", designs=result.designs[::-1])
    assert [item.what for item in reproduce(turned).differences] == ["ranking"]
    check = msgspec.structs.replace(result.designs[0].checks[0], verdict="not_run")
    lying = dataclasses.replace(result.designs[0], checks=(check, *result.designs[0].checks[1:]))
    outcome = reproduce(tampered(folder, tmp_path / "b", designs=(lying, *result.designs[1:])))
    assert [item.what.rsplit(": ")[-1] for item in outcome.differences] == [f"check {check.name}"]


def test_other_weights_are_told_without_running(folder: Path, tmp_path: Path) -> None:
    """With other weights another answer is right, so there is nothing to compare."""
    result = load_result(folder)
    for name in ("weights", "corpus"):
        provenance = {**result.provenance, f"{name}_digest": "f" * 64}
        outcome = reproduce(tampered(folder, tmp_path / name, provenance=provenance))
        assert outcome.num_designs == 0
        assert [item.what for item in outcome.differences] == [f"{name} digest"]


def test_a_backend_that_is_not_here_gives_a_note(folder: Path, tmp_path: Path) -> None:
    """The nearest backend that works is taken, and the comparison is no longer bit for bit."""
    provenance = {**load_result(folder).provenance, "backend": "abacus"}
    outcome = reproduce(tampered(folder, tmp_path, provenance=provenance))
    assert not outcome.exact
    assert any("abacus" in note for note in outcome.notes)
    assert outcome.differences == ()


def test_nothing_to_reproduce_is_told(tmp_path: Path) -> None:
    """An empty folder is an error that says what was expected."""
    with pytest.raises(StoreError, match="finished result"):
        reproduce(tmp_path)


def test_a_run_that_was_cut_off_goes_on_bit_for_bit(
    runtime: engine.Runtime, first_folder: Path, tmp_path: Path
) -> None:
    """Stop after one design; the second run makes only the other and the result is the same."""
    identity = runtime.request_id(REQUEST)
    seen: list[int] = []
    stopped = pytest.raises(ExecutionError, match="Stopped after 1 of 2")
    with OutputFolder(tmp_path / "out", REQUEST, identity) as output, stopped:
        run_request(
            REQUEST,
            runtime,
            output=output,
            progress=lambda design, number: seen.append(number),
            should_stop=lambda: bool(seen),
        )
    executor = Remembering(runtime)
    with OutputFolder(tmp_path / "out", REQUEST, identity) as output:
        result = run_request(REQUEST, runtime, output=output, executor=executor)
    assert executor.asked == [1]
    whole = load_result(first_folder)
    same_bits(whole, result)
    same_bits(whole, load_result(tmp_path / "out"))
    for name in ("designs.fasta", "summary.json", "designs/001.cif"):
        assert (tmp_path / "out" / name).read_bytes() == (first_folder / name).read_bytes()


def test_a_finished_folder_is_read_and_not_run(runtime: engine.Runtime, folder: Path) -> None:
    """The same command a second time gives the stored result and makes no design."""
    executor = Remembering(runtime)
    with OutputFolder(folder, REQUEST, runtime.request_id(REQUEST)) as output:
        result = run_request(REQUEST, runtime, output=output, executor=executor)
    assert executor.asked == []
    same_bits(result, load_result(folder))


def same_bits(first: DesignResult, second: DesignResult) -> None:
    """Compare ranking and coordinates exactly."""
    assert [d.index for d in first.designs] == [d.index for d in second.designs]
    for left, right in zip(first.designs, second.designs, strict=True):
        assert left.backbone.tobytes() == right.backbone.tobytes()
        assert left.uncertainty.tobytes() == right.uncertainty.tobytes()
        assert left.sequences == right.sequences
