"""Where chains come from, and how they are split by sequence."""

from __future__ import annotations

import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from protein_lab.errors import CorpusError, OfflineError
from protein_lab.protein import Protein
from protein_lab.training import clustering
from protein_lab.training.corpus import Corpus
from protein_lab.training.sources import FolderSource, PdbSource, ProMod3Source


@pytest.fixture(scope="module")
def shipped() -> Corpus:
    """Open the corpus of the package once."""
    return Corpus.open()


def test_missing_mmseqs_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program the error names the package."""
    monkeypatch.setattr(clustering.shutil, "which", lambda name: None)
    with pytest.raises(clustering.MissingToolError, match="apt install mmseqs2"):
        clustering.cluster_sequences(["ACDE"])


def test_failure_of_mmseqs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails, or forgets a sequence, is an error and not a random split."""
    fake = tmp_path / "mmseqs"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(CorpusError, match="status 3: out of memory"):
        clustering.cluster_sequences(["ACDE", "ACDF"])
    fake.write_text('#!/bin/sh\nprintf "0\\t0\\n" > "$3_cluster.tsv"\n')
    with pytest.raises(CorpusError, match="1 of 2 sequences"):
        clustering.cluster_sequences(["ACDE", "ACDF"])


@pytest.mark.skipif(shutil.which("mmseqs") is None, reason="mmseqs is not installed")
def test_similar_sequences_fall_into_one_cluster(shipped: Corpus) -> None:
    """A sequence with a tenth of its residues replaced joins its parent, a stranger does not."""
    parent, stranger = shipped.sequence(10), shipped.sequence(2000)
    child = "".join("A" if place % 10 == 0 else letter for place, letter in enumerate(parent))
    clusters = clustering.cluster_sequences([parent, stranger, child])
    assert clusters[0] == clusters[2] != clusters[1]


def test_splits_follow_the_representative() -> None:
    """Members go where their representative goes, the same in every build."""
    ids = [f"{number}XYZ_A" for number in range(2000)]
    clusters = np.arange(2000) // 2 * 2
    shares = {"train": 0.6, "calibration": 0.2, "test": 0.2}
    split = clustering.assign_splits(ids, clusters, shares)
    assert (split[::2] == split[1::2]).all()
    assert np.bincount(split) / 2000 == pytest.approx([0.6, 0.2, 0.2], abs=0.05)
    alone = clustering.assign_splits(ids[1000:], clusters[1000:] - 1000, shares)
    np.testing.assert_array_equal(alone, split[1000:])
    with pytest.raises(CorpusError, match="add up to 1"):
        clustering.assign_splits(ids, clusters, {"train": 0.6, "calibration": 0.2, "test": 0.1})


def test_promod3_that_is_not_there(tmp_path: Path) -> None:
    """No interpreter, or one without ProMod3: the error says what to install."""
    with pytest.raises(CorpusError, match="python3-promod3"):
        list(ProMod3Source(python=str(tmp_path / "python")).chains())
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\necho \"No module named 'promod3'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(CorpusError, match="No module named 'promod3'"):
        list(ProMod3Source(python=str(fake)).chains())


def test_promod3_frames_become_chains(shipped: Corpus, tmp_path: Path) -> None:
    """What the export script writes comes back as chains, with DSSP's states reduced to three."""
    script = tmp_path / "python3"
    script.write_text(
        f"#!{sys.executable}\n"
        "import io, struct, sys\nimport numpy as np\n"
        "b = io.BytesIO()\n"
        "np.savez(b, ids=np.array(['1ABC_A', '2ABC_B']), sequences=np.array(['ACU', 'GG']),\n"
        "         states=np.array(['HGE', 'BT']), lengths=np.array([3, 2]),\n"
        "         backbone=np.arange(60, dtype=np.float32).reshape(5, 4, 3))\n"
        "p = b.getvalue()\n"
        "sys.stdout.buffer.write(struct.pack('<Q', len(p)) + p)\n"
    )
    script.chmod(0o755)
    first, second = ProMod3Source(python=str(script)).chains()
    assert (first.id, first.sequence, first.secondary_structure) == ("1ABC_A", "ACX", "HLE")
    assert (second.id, second.secondary_structure) == ("2ABC_B", "LL")
    np.testing.assert_array_equal(second.backbone.ravel(), np.arange(36, 60))


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves one file with ranges; may hang up half way, and counts what it sent."""

    content: ClassVar[bytes] = b""
    hang_ups: ClassVar[int] = 0
    requests: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        type(self).requests.append(self.headers.get("Range"))
        if not self.path.endswith("1ABC.cif"):
            self.send_error(404)
            return
        start = 0
        if ranged := self.headers.get("Range"):
            start = int(ranged.removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if type(self).hang_ups > 0:
            type(self).hang_ups -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests quiet."""


@pytest.fixture
def server(shipped: Corpus) -> Iterator[str]:
    """Serve one structure on this machine; gives the address with its placeholder."""
    protein = Protein.from_backbone(shipped.backbone(10), shipped.sequence(10))
    _Server.content, _Server.hang_ups, _Server.requests = protein.to_mmcif().encode(), 0, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{{id}}.cif"
        running.shutdown()


def test_download_resumes_and_is_kept(server: str, tmp_path: Path, shipped: Corpus) -> None:
    """After a broken connection the rest is asked for; the second run asks for nothing."""
    _Server.hang_ups = 1
    source = PdbSource(["1abc_A"], tmp_path, url=server)
    source._downloads.pause = 0.0
    (chain,) = source.chains()
    assert chain.id == "1ABC_A"
    assert chain.sequence == shipped.sequence(10)
    assert _Server.requests == [None, f"bytes={len(_Server.content) // 2}-"]
    assert list(source.describe()["sha256"]) == ["1ABC"]
    assert len(list(PdbSource(["1abc"], tmp_path, url=server).chains())) == 1
    assert len(_Server.requests) == 2
    assert not list(tmp_path.glob("*.part*"))


def test_damaged_download_is_fetched_again(server: str, tmp_path: Path) -> None:
    """A kept file that no longer fits its checksum is not trusted."""
    list(PdbSource(["1ABC"], tmp_path, url=server).chains())
    (tmp_path / "1ABC.cif").write_bytes(b"rubbish")
    assert len(list(PdbSource(["1ABC"], tmp_path, url=server).chains())) == 1
    assert len(_Server.requests) == 2


def test_unknown_entry_is_skipped_and_named(server: str, tmp_path: Path) -> None:
    """One entry that does not exist does not stop the others."""
    source = PdbSource(["9ZZZ", "1ABC"], tmp_path, url=server)
    assert [chain.id for chain in source.chains()] == ["1ABC_A"]
    assert "404" in source.describe()["skipped"]["9ZZZ"]
    with pytest.raises(CorpusError, match="9ZZZ"):
        list(PdbSource(["9ZZZ"], tmp_path, url=server).chains())


def test_offline_is_said_plainly(tmp_path: Path) -> None:
    """Nobody listens: the error is about the network and says what to do."""
    source = PdbSource(["1ABC"], tmp_path, url="http://127.0.0.1:9/{id}.cif", retries=0)
    with pytest.raises(OfflineError, match="Check the network"):
        list(source.chains())


def test_list_of_ids_is_checked(tmp_path: Path) -> None:
    """Comments and commas are fine; anything that is no PDB id is an error before any download."""
    listed = tmp_path / "ids.txt"
    listed.write_text("# mine\n1ubq, 1abc_B  # two\n")
    assert PdbSource.from_file(listed, tmp_path).entries == (("1UBQ", ""), ("1ABC", "B"))
    listed.write_text("../../etc/passwd\n")
    with pytest.raises(CorpusError, match="passwd"):
        PdbSource.from_file(listed, tmp_path)
    with pytest.raises(CorpusError, match="cannot be read"):
        PdbSource.from_file(tmp_path / "none.txt", tmp_path)


def test_folders_without_structures(tmp_path: Path) -> None:
    """A folder that is missing, empty or full of rubbish gives three different messages."""
    with pytest.raises(CorpusError, match="is none"):
        list(FolderSource(tmp_path / "missing").chains())
    with pytest.raises(CorpusError, match="No structure file"):
        list(FolderSource(tmp_path).chains())
    (tmp_path / "x.pdb").write_text("rubbish\n")
    with pytest.raises(CorpusError, match=r"x\.pdb"):
        list(FolderSource(tmp_path).chains())
