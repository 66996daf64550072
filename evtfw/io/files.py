"""Names of input files: lists, globs and URLs; and whether a file is still the one that was opened."""

from __future__ import annotations

import dataclasses
import glob
import importlib.util
import stat
from collections.abc import Iterable
from pathlib import Path

from evtfw.core.errors import InputError, nearest

_EXTRAS = {
    "http": ("http", ("fsspec", "aiohttp")),
    "https": ("http", ("fsspec", "aiohttp")),
    "root": ("xrootd", ("fsspec_xrootd",)),
    "roots": ("xrootd", ("fsspec_xrootd",)),
}
"""By scheme of an URL: evtfw's extra that brings what is needed, and the packages that must be there."""
_WILDCARDS = frozenset("*?[")


def scheme_of(path: str) -> str:
    """Return the scheme of an URL, or an empty string for a path on this machine.

    >>> scheme_of("root://eospublic.cern.ch//eos/a.root"), scheme_of("data/a.root"), scheme_of("file:///tmp/a.root")
    ('root', '', 'file')
    """
    scheme, separator, _ = path.partition("://")
    return scheme if separator and scheme.isidentifier() else ""


def expand_files(patterns: str | Path | Iterable[str | Path], parameter: str = "files") -> tuple[str, ...]:
    """Return the files that paths, globs and URLs name: in the order given, each glob's own sorted.

    Args:
        patterns: one or many; ``**`` matches folders at any depth, ``~`` is the home folder. Plain paths and URLs are
            taken as they are: whether they can be opened shows when they are.
        parameter: the parameter's name, for messages.

    Raises:
        InputError: with all globs that match nothing, all files named twice, and schemes that need an extra.
    """
    given = [patterns] if isinstance(patterns, (str, Path)) else list(patterns)
    if not given:
        raise InputError(f"{parameter} is empty; give at least one file, e.g. {parameter}=['data/*.root']")
    files: list[str] = []
    problems: list[str] = []
    for pattern in map(str, given):
        try:
            files += _expand_one(pattern)
        except InputError as error:
            problems.append(str(error))
    twice = sorted({file for file in files if files.count(file) > 1}) if len(set(files)) < len(files) else []
    problems += [f"'{file}' is named more than once; its events would be counted twice" for file in twice]
    if problems:
        raise InputError(
            "\n".join([f"{parameter}: {problems[0]}", *(f"  also: {problem}" for problem in problems[1:])])
        )
    return tuple(files)


def _expand_one(pattern: str) -> list[str]:
    scheme = scheme_of(pattern)
    if scheme:
        return _expand_url(pattern, scheme)
    path = str(Path(pattern).expanduser())
    if not _WILDCARDS.intersection(path) or Path(path).exists():
        return [path]
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)
    if not found:
        raise InputError(f"'{pattern}' matches no file{near_files(path)}")
    return found


def _expand_url(url: str, scheme: str) -> list[str]:
    require_extra(scheme, url)
    if "*" not in url:  # a '?' in an URL starts its query
        return [url]
    import fsspec  # type: ignore[import-untyped]

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        found = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path))
    except Exception as error:
        raise InputError(f"'{url}' cannot be listed: {one_line(error)}") from error
    if not found:
        raise InputError(f"'{url}' matches no file")
    return found


def require_extra(scheme: str, url: str) -> None:
    """Raise an InputError that names the extra to install if URLs of this scheme cannot be read here."""
    extra, packages = _EXTRAS.get(scheme, ("", ("fsspec",)))
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        install = f"pip install 'evtfw[{extra}]'" if extra else f"pip install {' '.join(missing)}"
        raise InputError(f"'{url}' needs the package {' and '.join(missing)}; install it with: {install}")


def near_files(path: str) -> str:
    """Return a half-sentence with the files whose names come nearest, or where the path leaves what exists."""
    wanted = Path(path)
    folder = wanted.parent
    while not folder.is_dir() and folder != folder.parent:
        wanted, folder = folder, folder.parent
    if wanted != Path(path):
        folders = [entry.name for entry in _entries(folder) if entry.is_dir()]
        return f": there is no folder '{wanted}'{nearest(wanted.name, folders)}"
    names = [entry.name for entry in _entries(folder) if entry.is_file()]
    hint = nearest(wanted.name, names)
    return (
        f" in folder '{folder.absolute()}'{hint}" if hint or names else f": folder '{folder.absolute()}' has no files"
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return the type and the first lines of a library's error, for the end of a message of ours."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:limit]}{'…' if len(text) > limit else ''}" if text else type(error).__name__


@dataclasses.dataclass(frozen=True, slots=True)
class FileStamp:
    """What must stay the same about a local file while it is being read; all None for a remote one."""

    size_bytes: int | None = None
    modified_ns: int | None = None
    inode: int | None = None

    @classmethod
    def of(cls, path: str) -> FileStamp:
        """Take the stamp of a file.

        Raises:
            InputError: if a local file is missing or is not a file; the message has the nearest names.
        """
        if scheme_of(path):
            return cls()
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            raise InputError(f"there is no file '{path}'{near_files(path)}") from None
        except OSError as error:
            raise InputError(f"file '{path}' cannot be opened: {one_line(error)}") from error
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"'{path}' is not a file; for all files of a folder write '{path}/*'")
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    def change(self, path: str) -> str | None:
        """Return how the file differs now from this stamp, e.g. ``"its size went from 10 to 12 bytes"``, or None."""
        if self.size_bytes is None:
            return None
        try:
            now = FileStamp.of(path)
        except InputError:
            return "it was removed"
        if now.size_bytes != self.size_bytes:
            return f"its size went from {self.size_bytes} to {now.size_bytes} bytes"
        if now.inode != self.inode:
            return "another file took its name"
        return "it was written to" if now.modified_ns != self.modified_ns else None
