"""The command line: exit codes, messages, and the whole way from a request to files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from protein_lab.cli import main
from protein_lab.design.element_table import load_table, table_file
from protein_lab.protein import Protein
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus

REQUEST = {
    "constraints": [
        {"kind": "secondary_structure", "string": "LLHHHHHHHHHHHHHHLLLLHHHHHHHHHHHHHHLL"},
        {"kind": "pairing", "first": 1, "second": 2, "orientation": "antiparallel"},
    ],
    "num_designs": 1,
    "samples_per_design": 1,
    "steps": 10,
    "backend": "numpy",
}


def run(*words: object) -> int:
    """Run the command line and give its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """Write a small valid request."""
    path = tmp_path / "hairpin.json"
    path.write_text(json.dumps(REQUEST))
    return path


def test_design_validate_and_reproduce(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request becomes files that validate and reproduce; a flipped byte is named."""
    out = tmp_path / "out"
    assert run("design", request_file, "--out", out, "--no-report", "--json") in (0, 3)
    summary = json.loads(capsys.readouterr().out)
    assert (out / summary["designs"][0]["file"]).is_file()
    assert run("validate", *sorted((out / "designs").glob("*.cif"))) == 0
    assert "is nearest of" not in capsys.readouterr().out
    assert run("validate", "--novelty", next((out / "designs").glob("*.cif"))) == 0
    assert "is nearest of 12291 chains" in capsys.readouterr().out
    assert run("reproduce", out) == 0
    assert "bit for bit" in capsys.readouterr().out
    # the same command again reads what is there
    assert run("design", request_file, "--out", out, "--no-report") in (0, 3)
    broken = next((out / "designs").glob("*.cif"))
    data = bytearray(broken.read_bytes())
    data[100] ^= 1
    broken.write_bytes(data)
    assert run("reproduce", out) == 1
    assert broken.name in capsys.readouterr().err


def test_backbones_without_sequences_are_told(
    request_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there are no weights for sequences the backbones are kept and the reason is said."""
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("enhanced_deeponet.toml", "enhanced_deeponet.safetensors"):
        shutil.copy(Settings().weights / name, weights)
    monkeypatch.setenv("PROTEIN_LAB_WEIGHTS", str(weights))
    assert run("design", request_file, "--out", tmp_path / "out", "--no-report") in (0, 3)
    said = capsys.readouterr().err
    assert "1 of 1 designs have no sequences: The card" in said
    assert "sequence.toml" in said
    assert (tmp_path / "out" / "designs" / "001.cif").is_file()


def test_invalid_request_lists_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults come at once with their JSON paths, and nothing is computed."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**REQUEST, "num_designs": 0, "sed": 3}))
    assert run("check", path) == 2
    told = capsys.readouterr().out
    assert "$.num_designs" in told
    assert "$.sed" in told
    assert run("design", path, "--out", tmp_path / "out") == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_valid_request_is_said_to_be_valid(
    request_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request without faults exits 0, as text and as JSON."""
    assert run("check", request_file) == 0
    capsys.readouterr()
    assert run("check", request_file, "--json") == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["design", "absent.json"], 1, "absent.json"),
        (["design"], 2, ""),
        (["validate"], 1, "at least one"),
        (["validate", "absent.cif"], 1, "absent.cif"),
        (["train", "nothing"], 1, "enhanced_deeponet"),
        (["corpus", "build", "folder", "x.zarr"], 1, "--path"),
        (["serve"], 1, "PROTEIN_LAB_SERVICE_TOKEN"),
        (["corpus", "info", "absent.zarr"], 1, "absent.zarr"),
    ],
)
def test_bad_words_give_a_message_and_a_code(
    words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mistake is answered by a sentence, never by a traceback."""
    assert run(*words) == code
    output = capsys.readouterr()
    assert told in output.err + output.out
    assert "Traceback" not in output.err


def test_doctor_and_corpus_info(capsys: pytest.CaptureFixture[str]) -> None:
    """Both say what is here, as text and JSON."""
    assert run("doctor", "--json") == 0
    assert "numpy" in json.loads(capsys.readouterr().out)["backends"]
    assert run("corpus", "info", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_chains"] > 10_000
    assert {"num_residues", "splits", "digest"} <= set(told)


def test_overrides_take_the_place_of_the_request(
    request_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--num-designs and --seed change the request, on two worker processes too."""
    out = tmp_path / "out"
    words = ["design", request_file, "--out", out, "--num-designs", 2, "--seed", 5]
    assert run(*words, "--workers", 2, "--no-report", "--json") in (0, 3)
    assert len(json.loads(capsys.readouterr().out)["designs"]) == 2
    again = tmp_path / "again"
    words[3] = again
    assert run(*words, "--no-report") in (0, 3)
    capsys.readouterr()
    one, other = ((f / "designs" / "001.cif").read_bytes() for f in (out, again))
    assert one == other


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")
def test_a_corpus_of_ones_own_gives_the_folds(
    request_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Structure files become a corpus with its element table, and designs take folds from it."""
    shipped, files, own = Corpus.open(), tmp_path / "files", tmp_path / "own.zarr"
    files.mkdir()
    for index in shipped.indices("train", 60, 80)[:5]:
        protein = Protein.from_backbone(shipped.backbone(index), shipped.sequence(index))
        (files / f"{shipped.ids[index]}.cif").write_text(protein.to_mmcif())
    assert run("corpus", "build", "folder", own, "--path", files) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["num_chains"] == 5
    assert f"PROTEIN_LAB_CORPUS={own}" in told.err
    corpus = Corpus.open(own)
    assert table_file(corpus).is_file()
    assert len(load_table(corpus).length) == 5

    identities = []
    for place, source in ((own, corpus), (shipped.path, shipped)):
        monkeypatch.setenv("PROTEIN_LAB_CORPUS", str(place))
        out = tmp_path / place.stem
        assert run("design", request_file, "--out", out, "--no-report", "--json") in (0, 3)
        assert json.loads(capsys.readouterr().out)["designs"][0]["source"] in source.ids
        told = json.loads((out / "provenance.json").read_text())["provenance"]
        assert told["corpus_digest"] == source.digest
        identities.append(json.loads((out / "summary.json").read_text())["request_id"])
    assert identities[0] != identities[1]
    # a folder that holds designs from one corpus is not taken for an answer from another
    assert run("design", request_file, "--out", tmp_path / "own", "--no-report") == 1
