"""A run store in a folder, which many machines may share."""

from __future__ import annotations

import os

from roundhouse.exceptions import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class Folder:
    """Files come to be by a rename or a link, whole and on the disk before that: nobody ever sees half of one."""

    def __init__(self, path: str) -> None:
        self._path = path

    def check(self) -> None:
        with _told(self._path):
            os.makedirs(self._path, 0o700, exist_ok=True)
            os.unlink(self._draft("", []))

    def put(self, key: str, content: bytes) -> None:
        self.put_pieces(key, [content])

    def put_pieces(self, key: str, pieces: Iterable[Any]) -> None:
        with _told(self._path):
            draft = self._draft(key, pieces)
            os.replace(draft, self._file(key))
            _sync_folder(os.path.dirname(draft))

    def put_new(self, key: str, content: bytes) -> bool:
        with _told(self._path):
            draft = self._draft(key, [content])
            try:
                os.link(draft, self._file(key))
            except FileExistsError:
                return False
            finally:
                os.unlink(draft)
            _sync_folder(os.path.dirname(draft))
            return True

    def get(self, key: str) -> bytes | None:
        with _told(self._path):
            try:
                with open(self._file(key), "rb") as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def get_large(self, key: str) -> memoryview | None:
        import mmap

        with _told(self._path):
            try:
                with open(self._file(key), "rb") as file:
                    # An empty file cannot be mapped.
                    if os.fstat(file.fileno()).st_size == 0:
                        return memoryview(b"")
                    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def age(self, key: str) -> float | None:
        with _told(self._path):
            try:
                then = os.stat(self._file(key)).st_mtime
            except FileNotFoundError:
                return None
            # What the clock is there that set the other time, which may be a file server's.
            draft = self._draft(key, [b""])
            now = os.stat(draft).st_mtime
            os.unlink(draft)
            return max(0.0, now - then)

    def keys(self, folder: str) -> list[str]:
        with _told(self._path):
            try:
                return os.listdir(self._file(folder))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def folders(self, limit: int) -> list[str]:
        with _told(self._path):
            try:
                found = [entry for entry in os.scandir(self._path) if entry.is_dir() and len(entry.name) == 32]
            except FileNotFoundError:
                return []
            found.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
            return [entry.name for entry in found[:limit]]

    def delete(self, key: str) -> None:
        with _told(self._path):
            try:
                os.unlink(self._file(key))
            except FileNotFoundError:
                pass
            try:
                os.rmdir(os.path.dirname(self._file(key)))
            except OSError:  # Something else is in it.
                pass

    def _file(self, key: str) -> str:
        return os.path.join(self._path, key)

    def _draft(self, key: str, pieces: Iterable[Any]) -> str:
        """A file beside that one with that content, on the disk."""
        folder = os.path.dirname(self._file(key))
        draft = os.path.join(folder, f".{os.urandom(8).hex()}.draft")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            number = os.open(draft, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(folder, 0o700, exist_ok=True)
            _sync_folder(os.path.dirname(folder))
            number = os.open(draft, flags, 0o600)
        try:
            with open(number, "wb", buffering=0) as file:
                for piece in pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[file.write(left) :]
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(draft)
            raise
        return draft


def _sync_folder(path: str) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _told:
    """What the system refuses is told as ours."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, HostError):
            raise HostError(
                f"the run store {self._path}: {error.strerror} ({error.filename}). Try: a folder that the node can "
                "write to",
                errno=str(error.errno),
                path=self._path,
            ) from None
