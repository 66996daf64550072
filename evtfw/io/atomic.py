"""A file that gets its name only when it is complete and on the disk.

It is written as ``NAME.<process>-<random>.part`` in the same folder; `AtomicFile.commit` flushes it to the disk,
renames it and flushes the folder. So a final name never stands for half a file, whatever happens before: a full disk,
an error of the disk, a signal or SIGKILL. What may remain of a killed process is its part file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from pathlib import Path

from evtfw.core.errors import OutputError

_ADVICE = {
    errno.ENOSPC: "free space on that disk or write to another",
    errno.EDQUOT: "your quota is used up: remove files or write to another disk",
    errno.EFBIG: "the file would be larger than the limit (see 'ulimit -f')",
    errno.EACCES: "you may not write there: choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EIO: "the disk reports an error, do not trust it: write to another",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def explain(error: BaseException) -> str:
    """Say in a half-sentence what went wrong and what to do about it."""
    if not isinstance(error, OSError) or error.errno is None:
        return f"{type(error).__name__}: {error}"
    what = f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    advice = _ADVICE.get(error.errno)
    return f"{what}; {advice}" if advice else what


class AtomicFile:
    """One output file on its way to its name.

    Args:
        path: the final name; ``~`` is expanded.
        owner: who writes, for messages: the module's label.
        overwrite: whether an existing file may be replaced (atomically, by `commit`).

    Raises:
        OutputError: if the folder does not exist or cannot be written, or the name is taken.
    """

    def __init__(self, path: str, owner: str, *, overwrite: bool = True) -> None:
        self.owner = owner
        self.final = _local_path(path, owner)
        self.overwrite = overwrite
        if self.final.exists() and not overwrite:
            raise OutputError(f"output '{owner}': '{self.final}' exists; remove it, or set overwrite=True")
        self.part = self.final.with_name(f"{self.final.name}.{os.getpid()}-{secrets.token_hex(3)}.part")
        try:
            # Kept open to the end: an error of the disk that the kernel meets in between is reported by fsync to
            # descriptors that were open when it happened.
            self._descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"output '{owner}': cannot create '{self.part}': {explain(error)}") from error

    @property
    def size_bytes(self) -> int:
        """Size so far."""
        return os.fstat(self._descriptor).st_size

    def commit(self, *, checksum: bool = False) -> None:
        """Make the file durable and give it its name.

        Args:
            checksum: write ``NAME.sha256`` beside it, for ``sha256sum --check``.

        Raises:
            OutputError: the final name is then what it was before, and the part file is removed.
        """
        sidecar = self.final.with_name(self.final.name + ".sha256")
        try:
            os.fsync(self._descriptor)
            digest = self._sha256() if checksum else ""
            # An older sidecar would belie the new file, so it goes first and a new one comes last.
            sidecar.unlink(missing_ok=True)
            if self.overwrite:
                self.part.replace(self.final)
            else:
                os.link(self.part, self.final)
                self.part.unlink()
            _sync_folder(self.final.parent)
        except OSError as error:
            self.discard()
            raise OutputError(
                f"output '{self.owner}': cannot complete '{self.final}': {explain(error)}; the part file was removed"
            ) from error
        self._close()
        if checksum:
            write_atomically(str(sidecar), f"{digest}  {self.final.name}\n".encode(), self.owner)

    def keep_part(self) -> Path:
        """Leave what was written as ``NAME.part`` (replacing an older one) and return that path."""
        kept = self.final.with_name(self.final.name + ".part")
        with contextlib.suppress(OSError):
            self.part.replace(kept)
        self._close()
        return kept if kept.exists() else self.part

    def discard(self) -> None:
        """Remove the part file."""
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)
        self._close()

    def _sha256(self) -> str:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def write_atomically(path: str, content: bytes, owner: str, *, overwrite: bool = True) -> None:
    """Write a small file at once.

    Raises:
        OutputError: nothing remains then, and an existing file is as it was.
    """
    file = AtomicFile(path, owner, overwrite=overwrite)
    try:
        file.part.write_bytes(content)
    except OSError as error:
        file.discard()
        raise OutputError(f"output '{owner}': cannot write '{file.final}': {explain(error)}") from error
    file.commit()


def _local_path(path: str, owner: str) -> Path:
    if "://" in path:
        raise OutputError(
            f"output '{owner}': '{path}' is remote, and outputs write local files only; write locally and copy the "
            "file afterwards (xrdcp, gfal-copy)"
        )
    final = Path(path).expanduser()
    if final.is_dir():
        raise OutputError(f"output '{owner}': '{final}' is a folder; give the name of a file")
    if not final.parent.is_dir():
        raise OutputError(f"output '{owner}': the folder '{final.parent}' does not exist; create it first")
    return final


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
