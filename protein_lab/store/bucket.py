"""Objects in a bucket of a server that speaks S3, through obstore.

Of several writers exactly one creates an object (``If-None-Match: *``) or replaces a known one
(``If-Match``), and its answer tells it so. AWS, MinIO, Ceph and SeaweedFS do both; a server that
ignored them would break the promise that a result is written once: it is found out, and refused,
when a store is made there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from protein_lab.errors import StoreError, TierError
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import MissingObjectError, ObjectInfo

if TYPE_CHECKING:
    from obstore.store import S3Store
    from zarr.abc.store import Store

_RETRIES = 2
_CREDENTIALS = re.compile(
    "InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken|InvalidToken"
    "|40[13] |169\\.254\\.169\\.254|redential"
)
_NO_ANSWER = re.compile("HTTP error|error sending request|timed? ?out|50[0-9] |dns error", re.I)
_CODE = re.compile("<Code>([A-Za-z]{1,60})</Code>")


def open_bucket(settings: StoreSettings) -> BucketObjects:
    """Open ``s3://BUCKET/PREFIX`` with the server, timeouts and retries of the settings.

    Credentials come from the usual ``AWS_`` variables. Nothing is sent yet.

    Raises
    ------
    StoreError
        When the address is not of this form.
    """
    from obstore.store import S3Store

    parts = urlsplit(settings.objects)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if not bucket or "@" in bucket or parts.query or parts.fragment:
        raise StoreError(
            "Expected s3://BUCKET/PREFIX for the store, without credentials.",
            "Credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    # Half of the time for one try, so that a repeated call ends in time as well.
    patience = timedelta(seconds=settings.objects_timeout_seconds / 2)
    place: dict[str, Any] = {
        "endpoint": settings.s3_endpoint or None,
        "region": settings.s3_region or None,
        "prefix": prefix or None,
    }
    store = S3Store(
        bucket,
        client_options={
            "timeout": patience,
            "connect_timeout": min(patience, timedelta(seconds=5)),
            "allow_http": settings.s3_endpoint.startswith("http://"),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": patience},
        **{name: value for name, value in place.items() if value is not None},
    )
    return BucketObjects(store, f"s3://{bucket}/{prefix}".rstrip("/"))


class BucketObjects:
    """Objects in a bucket.

    Parameters
    ----------
    store : S3Store
        Client of bucket and prefix.
    uri : str
        Its address, for messages.
    """

    def __init__(self, store: S3Store, uri: str) -> None:
        self.uri = uri
        self._store = store

    def read(self, path: str) -> bytes:
        """Read an object; see :meth:`protein_lab.store.blobs.Objects.read`."""
        return self._read(path)[0]

    def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object; see :meth:`protein_lab.store.blobs.Objects.write`."""
        return self._put(path, data, "create" if if_absent else "overwrite")

    def replace(self, path: str, data: bytes, expected: bytes) -> bool:
        """Write in the place of known content, if it is still the same one."""
        try:
            found, tag = self._read(path)
        except MissingObjectError:
            return False
        return found == expected and self._put(path, data, {"e_tag": tag})

    def write_folder(self, folder: str, objects: Mapping[str, bytes]) -> bool:
        """Say that a bucket has no folders that could be written in one step."""
        return False

    def delete(self, *paths: str) -> None:
        """Remove objects; one that is not there is no error."""
        import obstore

        with self._asking():
            for start in range(0, len(paths), 1000):  # what one request may name
                obstore.delete(self._store, list(paths[start : start + 1000]))

    def discard(self, path: str, expected: bytes) -> None:
        """Leave the object: a bucket cannot remove known content in one step."""

    def sweep(self, until: datetime, dry_run: bool = False) -> Iterator[ObjectInfo]:
        """Find nothing: an object that was not sent to its end does not exist."""
        return iter(())

    def arrays(self, folder: str) -> Store:
        """Give a folder as a store that Zarr reads from."""
        from obstore.store import S3Store
        from zarr.storage import ObjectStore

        ours = self._store
        prefix = "/".join(part for part in (ours.prefix, folder.strip("/")) if part)
        config = cast("dict[str, Any]", dict(ours.config))
        inner = S3Store(
            prefix=prefix,
            client_options=ours.client_options,
            retry_config=ours.retry_config,
            **config,
        )
        return ObjectStore(inner, read_only=True)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Give all objects below ``prefix``."""
        import obstore

        with self._asking():
            for batch in obstore.list(self._store, prefix or None):
                for item in batch:
                    yield ObjectInfo(
                        path=item["path"], size=item["size"], modified=item["last_modified"]
                    )

    def folders(self, prefix: str = "") -> list[str]:
        """Name the folders directly below ``prefix``."""
        import obstore

        with self._asking():
            found = obstore.list_with_delimiter(self._store, prefix or None)
        return sorted(path.strip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def _put(self, path: str, data: bytes, mode: Any) -> bool:
        """Write; whether the condition held."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._asking(path):
            try:
                obstore.put(self._store, path, data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def _read(self, path: str) -> tuple[bytes, str | None]:
        import obstore

        with self._asking(path):
            found = obstore.get(self._store, path)
            return bytes(found.bytes()), found.meta["e_tag"]

    @contextmanager
    def _asking(self, path: str = "") -> Iterator[None]:
        """Turn what the server says into what to do; its words may name keys and are left out."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError) as error:
            raise self._explained(path, error) from None

    def _explained(self, path: str, error: Exception) -> StoreError:
        text = str(error)
        code = _CODE.search(text)
        if "NoSuchBucket" in text:
            return StoreError(
                f"The bucket of {self.uri} does not exist.",
                "Make it, or name another one in PROTEIN_LAB_STORE_OBJECTS.",
            )
        if isinstance(error, FileNotFoundError):
            return MissingObjectError(f"Expected an object {path} in {self.uri}.")
        if isinstance(error, PermissionError) or _CREDENTIALS.search(text):
            reason = f" ({code[1]})" if code else ""
            return StoreError(
                f"The server of {self.uri} does not let us in{reason}.",
                "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do.",
            )
        if code is None and _NO_ANSWER.search(text):
            return TierError(
                f"The server of {self.uri} did not answer in time.",
                "Check PROTEIN_LAB_STORE_S3_ENDPOINT and the network, or try again later.",
            )
        reason = code[1] if code else type(error).__name__
        return StoreError(f"The server of {self.uri} refused: {reason}.", "Try again later.")
