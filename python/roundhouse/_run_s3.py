"""A run store in a bucket that speaks S3's protocol, by boto3, which finds credentials, region and endpoint as ever."""

from __future__ import annotations

from roundhouse.exceptions import HostError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_READ_BYTES = 1024 * 1024
# What a conditional write is answered with where the object is there, or is just being written.
_THERE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_MISSING = ("NoSuchKey", "404")


class Bucket:
    """Objects appear whole, and when they are there to stay. A claim is made with `If-None-Match: *`."""

    def __init__(self, place: str) -> None:
        try:
            import boto3
        except ImportError:
            raise Unsupported(
                f"the run store s3://{place} needs boto3, which this Python does not have. Try: pip install boto3 "
                "(on the node it is the interpreter that its functions were sent from)"
            ) from None
        self._bucket, _, prefix = place.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._place = place
        with _told(place):
            self._client = boto3.client("s3")

    def check(self) -> None:
        self.put("writable", b"")

    def put(self, key: str, content: bytes) -> None:
        with _told(self._place):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def put_new(self, key: str, content: bytes) -> bool:
        with _told(self._place):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content, IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _THERE:
                    return False
                raise
            return True

    def put_pieces(self, key: str, pieces: Iterator[Any]) -> None:
        with _told(self._place):
            self._client.upload_fileobj(_Readable(pieces), self._bucket, self._prefix + key)

    def get(self, key: str) -> bytes | None:
        answer = self._get(key)
        if answer is None:
            return None
        with _told(self._place):
            return answer["Body"].read()  # type: ignore[no-any-return]

    def get_large(self, key: str) -> memoryview | None:
        import mmap
        from tempfile import TemporaryFile

        answer = self._get(key)
        if answer is None:
            return None
        with _told(self._place), TemporaryFile() as file:
            for piece in answer["Body"].iter_chunks(_READ_BYTES):
                file.write(piece)
            file.flush()
            if file.tell() == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _get(self, key: str) -> Any:
        with _told(self._place):
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise

    def age(self, key: str) -> float | None:
        from email.utils import parsedate_to_datetime

        with _told(self._place):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            return max(0.0, float((now - answer["LastModified"]).total_seconds()))

    def keys(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        with _told(self._place):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [each["Key"][len(prefix) :] for page in pages for each in page.get("Contents", ())]

    def folders(self, limit: int) -> list[str]:
        newest: dict[str, Any] = {}
        with _told(self._place):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for each in page.get("Contents", ()):
                    folder, _, rest = each["Key"][len(self._prefix) :].partition("/")
                    if rest and (folder not in newest or newest[folder] < each["LastModified"]):
                        newest[folder] = each["LastModified"]
        return sorted(newest, key=newest.__getitem__, reverse=True)[:limit]

    def delete(self, key: str) -> None:
        with _told(self._place):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)


class _Readable:
    """Pieces as a file that boto3 reads, which never has more of them in memory than it asks for."""

    def __init__(self, pieces: Iterator[Any]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        taken = bytearray()
        while size < 0 or len(taken) < size:
            if not self._left:
                self._left = memoryview(next(self._pieces, b""))
                if not self._left:
                    break
            most = len(self._left) if size < 0 else size - len(taken)
            taken += self._left[:most]
            self._left = self._left[most:]
        return bytes(taken)


class _told:
    """What the bucket refuses, or that it cannot be reached, is told as ours."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if error is None or isinstance(error, HostError):
            return
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, (BotoCoreError, ClientError, Boto3Error, OSError)):
            raise HostError(
                f"the run store s3://{self._place}: {error}. Try: a bucket that the node can write to, with "
                "AWS_DEFAULT_REGION, AWS_ENDPOINT_URL and credentials as boto3 finds them",
                place=self._place,
            ) from None
