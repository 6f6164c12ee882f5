"""Downloads that can be interrupted: resumed, checked, and moved into place when complete."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from protein_lab.errors import CorpusError, OfflineError

_BLOCK: Final = 1 << 16
_MAX_BYTES: Final = 256 * 1024 * 1024
_TIMEOUT_SECONDS: Final = 30.0
_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416
_SERVER_ERROR: Final = 500
_TOO_MANY_REQUESTS: Final = 429


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksum_of(checksums: Mapping[str, str]) -> str:
    """One SHA-256 over names and checksums, whatever their order."""
    lines = "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums))
    return hashlib.sha256(lines.encode()).hexdigest()


class _IncompleteError(Exception):
    """The connection ended early; another attempt can go on from here."""


class DownloadFolder:
    """A folder of downloaded files with a table of their SHA-256.

    Parameters
    ----------
    folder : Path
        Where files, ``checksums.json`` and unfinished ``.part`` files lie.
    retries : int
        Further attempts after one that failed.
    pause : float
        Seconds before the second attempt; doubled before each further one.
    """

    def __init__(self, folder: Path, retries: int = 3, pause: float = 1.0) -> None:
        self.folder = folder
        self.retries = retries
        self.pause = pause
        self._table = folder / "checksums.json"

    def fetch(self, url: str, name: str) -> tuple[Path, str]:
        """Return the file and its SHA-256, downloading it unless it is there undamaged.

        Parameters
        ----------
        url : str
            Address.
        name : str
            Name in the folder.

        Raises
        ------
        OfflineError
            The server cannot be reached or the connection broke in every attempt.
        CorpusError
            The server has no such file, or refuses, or the folder cannot be written.
        """
        try:
            return self._fetch(url, name)
        except CorpusError:
            raise
        except OSError as error:
            raise CorpusError(
                f"The folder of downloads {self.folder} cannot be used: {error}.",
                "Name a folder that can be written and has room.",
            ) from error

    def _fetch(self, url: str, name: str) -> tuple[Path, str]:
        path = self.folder / name
        known = self._read(self._table)
        if path.is_file() and name in known and file_checksum(path) == known[name]:
            return path, str(known[name])
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(name + ".part")
        for attempt in range(self.retries + 1):
            try:
                self._continue(url, part)
                break
            except _IncompleteError as error:
                if attempt == self.retries:
                    raise OfflineError(
                        f"Downloading {url} failed: {error}.",
                        "Check the network and run the same command again, which goes on where it "
                        "stopped; or give a folder of structure files instead.",
                    ) from error
                time.sleep(self.pause * 2**attempt)
        checksum = file_checksum(part)
        part.replace(path)
        self._state(part).unlink(missing_ok=True)
        self._write(self._table, {**self._read(self._table), name: checksum})
        return path, checksum

    def _continue(self, url: str, part: Path) -> None:
        """One attempt: append to what is there, if the server still has the same file."""
        start = part.stat().st_size if part.is_file() else 0
        tag = self._read(self._state(part)).get("etag")
        request = urllib.request.Request(url)
        if start and tag:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", str(tag))
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                self._receive(response, part, start)
        except urllib.error.HTTPError as error:
            if error.code == _RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
                raise _IncompleteError("the file on the server changed") from error
            if error.code >= _SERVER_ERROR or error.code == _TOO_MANY_REQUESTS:
                raise _IncompleteError(f"the server answered {error.code}") from error
            raise CorpusError(f"The server has no {url}: it answered {error.code}.") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            raise _IncompleteError(str(error) or type(error).__name__) from error
        except TimeoutError as error:
            raise _IncompleteError(f"no answer for {_TIMEOUT_SECONDS:g} seconds") from error

    def _receive(self, response: Any, part: Path, start: int) -> None:
        going_on = response.status == _PARTIAL_CONTENT
        received = start if going_on else 0
        length = response.headers.get("Content-Length")
        expected = received + int(length) if length is not None else None
        # Only a strong tag promises the same bytes; a weak one cannot be resumed from.
        tag = response.headers.get("ETag", "")
        self._write(self._state(part), {"etag": "" if tag.startswith("W/") else tag})
        with part.open("ab" if going_on else "wb") as stream:
            while block := response.read(_BLOCK):
                received += len(block)
                if received > _MAX_BYTES:
                    raise CorpusError(f"The download is larger than {_MAX_BYTES} bytes.")
                stream.write(block)
        if expected is not None and received != expected:
            raise _IncompleteError(f"{received} of {expected} bytes came")

    @staticmethod
    def _state(part: Path) -> Path:
        return part.with_name(part.name + ".json")

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @staticmethod
    def _write(path: Path, content: Mapping[str, Any]) -> None:
        work = path.with_name(path.name + ".new")
        work.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        work.replace(path)
