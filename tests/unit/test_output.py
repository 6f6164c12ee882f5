"""The output folder is complete or resumable, never half written, and never lies about itself."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from protein_lab.design.calibration import UncertaintyKind
from protein_lab.errors import StoreError
from protein_lab.protein import Protein
from protein_lab.settings import ASSETS
from protein_lab.store.manifest import PROVENANCE
from protein_lab.store.objects import load_result, verify_result
from protein_lab.store.output import FASTA, REPORT, SUMMARY, OutputFolder, attach
from protein_lab.store.schema import DesignResult, encode_design
from protein_lab.store.summary import summarize, summary_schema
from protein_lab.testing.results import example_result, failed_design, ideal_helix_design

NAMES = {"designs", FASTA, SUMMARY, PROVENANCE, "result.zarr"}


def opened(path: Path, result: DesignResult) -> OutputFolder:
    """Name the output folder of a result."""
    return OutputFolder(path, result.request, result.request_id)


def keep_all(folder: OutputFolder, result: DesignResult) -> None:
    """Keep the designs of a result one after the other."""
    for design in result.designs:
        folder.keep(design)


def publish(path: Path, result: DesignResult) -> Path:
    """Write a result the way a run does."""
    with opened(path, result) as folder:
        keep_all(folder, result)
        return folder.publish(result)


def test_a_finished_folder_holds_the_contract(tmp_path: Path) -> None:
    """All promised files are there and nothing else; a failed design has no structure file."""
    designs = [
        ideal_helix_design(1, 24),
        ideal_helix_design(0, 16, num_sequences=0),
        failed_design(2, "no fold"),
    ]
    result = example_result(designs)
    folder = publish(tmp_path / "out", result)
    assert {path.name for path in folder.iterdir()} == NAMES
    assert {path.name for path in (folder / "designs").iterdir()} == {"001.cif", "002.cif"}
    protein = Protein.from_file(folder / "designs" / "001.cif")
    np.testing.assert_allclose(protein.backbone, designs[0].backbone, atol=6e-4)
    np.testing.assert_allclose(protein.b_factor, designs[0].uncertainty, atol=6e-3)
    assert protein.sequence == designs[0].sequence == "AELKGAELKGAELKGAELKGAELK"
    assert Protein.from_file(folder / "designs" / "002.cif").sequence == "X" * 16


def test_every_sequence_has_an_entry_with_its_figures(tmp_path: Path) -> None:
    """Best first within each design; a design without sequences is there with X."""
    designs = [ideal_helix_design(1, 64), ideal_helix_design(0, 16, False, num_sequences=0)]
    text = (publish(tmp_path / "out", example_result(designs)) / FASTA).read_text()
    lines = text.splitlines()
    headers = [line for line in lines if line[0] == ">"]
    assert [header.split()[0] for header in headers] == [">001_1", ">001_2", ">002"]
    assert headers[1] == (
        ">001_2 design=001 sequence=2 score=-1.2500 perplexity=3.490 temperature=0.5 "
        "accepted=true length=64"
    )
    assert headers[2] == ">002 design=002 accepted=false length=16"
    assert lines[1] + lines[2] == designs[0].sequences[0].sequence
    assert (len(lines[1]), lines[-1]) == (60, "X" * 16)


def test_summary_follows_its_published_schema(tmp_path: Path) -> None:
    """The file fits the schema in the package, and the schema is the one of the types."""
    published = json.loads((ASSETS / "schemas" / "summary.schema.json").read_text())
    assert published == summary_schema()
    folder = publish(tmp_path / "out", example_result([*example_result().designs]))
    summary = json.loads((folder / SUMMARY).read_text())
    jsonschema.validate(summary, published)
    first = summary["designs"][0]
    assert first["file"] == "designs/001.cif"
    assert first["metrics"]["undefined"] is None
    assert [item["verdict"] for item in first["checks"]] == ["pass", "not_run"]
    assert len(first["uncertainty"]) == first["length"] == 24
    assert first["sequence"] == first["sequences"][0]["sequence"]
    assert [item["score"] for item in first["sequences"]] == [-1.0, -1.25]
    assert first["sequences"][0]["perplexity"] == 2.7183
    assert len(first["sequence_confidence"]) == 24
    assert first["sequence_failed"] is None
    assert [design["accepted"] for design in summary["designs"]] == [True, False]
    for broken in ({**summary, "extra": 1}, {key: summary[key] for key in ("schema", "designs")}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, published)


def test_summary_tells_the_band_of_calibrated_designs(tmp_path: Path) -> None:
    """Half-widths are there exactly where the provenance says what they were measured on."""
    plain = json.loads((publish(tmp_path / "plain", example_result()) / SUMMARY).read_bytes())
    assert {item["uncertainty_kind"] for item in plain["designs"]} == {"uncalibrated"}
    assert [item["half_width"] for item in plain["designs"]] == [[], []]

    kind = UncertaintyKind(kind="calibrated", lengths=(20, 40), band={"0.5": 1.0, "0.9": 2.5})
    made = example_result()
    made.provenance["uncertainty"] = msgspec.to_builtins(kind)
    folder = publish(tmp_path / "calibrated", made)
    told = json.loads((folder / SUMMARY).read_bytes())["designs"]
    assert [item["uncertainty_kind"] for item in told] == ["calibrated", "uncalibrated"]
    np.testing.assert_allclose(told[0]["half_width"], 2.5 * made.designs[0].uncertainty, atol=1e-4)
    assert told[1]["half_width"] == []
    again = summarize(load_result(folder)).designs[0]
    assert list(again.half_width) == told[0]["half_width"]


def test_the_result_inside_is_the_result(tmp_path: Path) -> None:
    """The folder itself can be loaded, and coordinates are bit for bit those of the run."""
    result = example_result()
    loaded = load_result(publish(tmp_path / "out", result))
    assert loaded.request_id == result.request_id
    for before, after in zip(result.designs, loaded.designs, strict=True):
        assert before.backbone.tobytes() == after.backbone.tobytes()


def test_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two folders of one result differ in no byte, so digests can be compared."""
    first = publish(tmp_path / "a", example_result())
    second = publish(tmp_path / "b", example_result())
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path


def test_damage_in_any_output_is_found(tmp_path: Path) -> None:
    """The provenance covers structures, sequences, summary, report; a user's own file is fine."""
    folder = publish(tmp_path / "out", example_result())
    attach(folder, REPORT, b"<html>report</html>")
    (folder / "my_notes.txt").write_text("mine")
    assert verify_result(folder) == []
    for name in ("designs/002.cif", FASTA, SUMMARY, REPORT, PROVENANCE):
        path = folder / name
        original = path.read_bytes()
        damaged = bytearray(original)
        damaged[len(damaged) // 2] ^= 0x01
        path.write_bytes(bytes(damaged))
        assert [damage.path for damage in verify_result(folder)] == [name]
        path.write_bytes(original)


def test_attach_hides_no_damage(tmp_path: Path) -> None:
    """Adding a report lists the report; it does not declare a damaged file to be right."""
    folder = publish(tmp_path / "out", example_result())
    (folder / FASTA).write_text(">001\nAAAA\n")
    attach(folder, REPORT, b"<html>report</html>")
    assert [damage.path for damage in verify_result(folder)] == [FASTA]


def test_attach_keeps_the_outputs_names(tmp_path: Path) -> None:
    """A report may be replaced; an output or a place elsewhere may not."""
    folder = publish(tmp_path / "out", example_result())
    attach(folder, REPORT, b"first")
    attach(folder, REPORT, b"second")
    assert verify_result(folder) == []
    for name in (SUMMARY, "../escape", "designs", ""):
        with pytest.raises(StoreError, match="taken or no name"):
            attach(folder, name, b"x")


def test_a_cut_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Designs that were kept come back bit for bit; a torn record is left out, not trusted."""
    result = example_result([ideal_helix_design(index, 12) for index in range(3)])
    with opened(tmp_path / "out", result) as folder:
        keep_all(folder, result)
    torn = tmp_path / "out" / ".partial" / "design-000001.bin"
    torn.write_bytes(torn.read_bytes()[:-5])
    with opened(tmp_path / "out", result) as folder:
        assert not folder.is_complete
        finished = folder.finished()
        assert sorted(finished) == [0, 2]
        for index, design in finished.items():
            assert encode_design(design) == encode_design(result.designs[index])


def test_a_finished_folder_is_not_made_again(tmp_path: Path) -> None:
    """The same request finds its result; another one is refused and changes nothing."""
    result = example_result()
    folder = publish(tmp_path / "out", result)
    before = (folder / PROVENANCE).read_bytes()
    with opened(folder, result) as again:
        assert again.is_complete
        assert again.load().request == result.request
        again.publish(result)
    with pytest.raises(StoreError, match="another request"), opened(folder, example_result(seed=8)):
        pass
    assert (folder / PROVENANCE).read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """Files of the user are never touched, and the message says what is in the way."""
    (tmp_path / "thesis.tex").write_text("precious")
    with (
        pytest.raises(StoreError, match=r"thesis\.tex") as caught,
        opened(tmp_path, example_result()),
    ):
        pass
    assert "--out" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unfinished_run_of_another_request_is_refused(tmp_path: Path) -> None:
    """Half of one request and half of another must never make one result."""
    with opened(tmp_path / "out", example_result()) as folder:
        folder.keep(ideal_helix_design(0, 12))
    with pytest.raises(StoreError, match="another request"):
        opened(tmp_path / "out", example_result(seed=8)).__enter__()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second run is told, and may work once the first has left."""
    result = example_result()
    with opened(tmp_path / "out", result), pytest.raises(StoreError, match="Another run"):
        opened(tmp_path / "out", result).__enter__()
    with opened(tmp_path / "out", result) as folder:
        assert folder.finished() == {}


def test_an_interrupted_publication_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two renames leaves no finished result; the next run makes it whole."""
    result = example_result()
    real, calls = Path.replace, []

    def interrupt(self: Path, target: Path) -> Path:
        if self.parent.name == "staging":
            calls.append(self)
            if len(calls) == 3:
                raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "out", result)
    with pytest.raises(StoreError, match="finished result"):
        load_result(tmp_path / "out")
    with opened(tmp_path / "out", result) as folder:
        assert sorted(folder.finished()) == [0, 1]
        folder.publish(result)
    assert verify_result(tmp_path / "out") == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == NAMES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 96 KiB, where that is allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_no_finished_design(small_disk: Path) -> None:
    """Publication fails for want of space; what was kept is still there, and space mends it."""
    result = example_result([ideal_helix_design(index, 40) for index in range(3)])
    with pytest.raises(StoreError, match="No space left") as caught:
        publish(small_disk / "out", result)
    assert "Free some space" in caught.value.remedy
    with pytest.raises(StoreError, match="finished result"):
        load_result(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    with opened(small_disk / "out", result) as folder:
        assert sorted(folder.finished()) == [0, 1, 2]
        folder.publish(result)
    assert verify_result(small_disk / "out") == []


def test_a_design_that_does_not_fit_leaves_the_others(small_disk: Path) -> None:
    """The disk fills while designs come in: a clear error, and every earlier one is whole."""
    result = example_result([ideal_helix_design(index, 400) for index in range(20)])
    with opened(small_disk / "out", result) as folder:
        with pytest.raises(StoreError, match="No space left"):
            keep_all(folder, result)
        kept = sorted(folder.finished())
        assert 0 < len(kept) < 20
        assert kept == list(range(len(kept)))
        leftovers = [path for path in folder.path.rglob("*") if path.name.endswith(".writing")]
        assert leftovers == []


def test_a_file_size_limit_is_reported_like_a_full_disk(tmp_path: Path) -> None:
    """Quotas show as EFBIG; the message is the same and names the folder."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from protein_lab.errors import StoreError\n"
        "from protein_lab.store.output import OutputFolder\n"
        "from protein_lab.testing.results import example_result\n"
        "result = example_result()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "try:\n"
        "    with OutputFolder(sys.argv[1], result.request, result.request_id) as folder:\n"
        "        folder.keep(result.designs[0])\n"
        "except StoreError as error:\n"
        "    sys.exit(f'told: {error}')\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"told: Cannot write to {tmp_path / 'out'}")
    assert "Free some space" in done.stderr


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_place_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where nothing may be written the message says so before anything is computed."""

    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="Cannot write") as caught:
        opened(tmp_path / "out", example_result()).__enter__()
    assert "may write" in caught.value.remedy


def test_a_read_only_mount_is_told(small_disk: Path) -> None:
    """The same with a file system that really is read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="Read-only") as caught:
        opened(small_disk / "out", example_result()).__enter__()
    assert "may write" in caught.value.remedy


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """--out that names a file is an error with a remedy, not a traceback."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StoreError, match="Cannot write to"):
        opened(tmp_path / "out", example_result()).__enter__()
    assert (tmp_path / "out").read_text() == "a file"


def test_a_damaged_partial_request_is_told(tmp_path: Path) -> None:
    """When it cannot be known whose unfinished run this is, nothing is mixed."""
    with opened(tmp_path / "out", example_result()):
        pass
    for content in (b"{", b"[]", msgspec.json.encode({"request": {}})):
        (tmp_path / "out" / ".partial" / "request.json").write_bytes(content)
        with pytest.raises(StoreError, match="damaged"):
            opened(tmp_path / "out", example_result()).__enter__()
