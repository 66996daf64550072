"""The files of one source: opened in order, bad ones refused or skipped, all events accounted for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from evtfw.core.errors import InputError
from evtfw.core.source import SkippedRange
from evtfw.io.event_file import EventFile, InputChanged
from evtfw.io.files import FileStamp, scheme_of

UNKNOWN = -1
"""Stands for the last entry of a skipped file that could not even be opened."""
_COUNTING_LIMIT_S = 1.0
_logger = logging.getLogger(__name__)


class InputSet:
    """Files by path, each opened at most once.

    Args:
        paths: in the order of reading.
        open_file: opens one; raises InputError.
        skip_bad: whether a file that cannot be read is skipped (with a warning) or ends the job.

    Raises:
        InputError: with all local files that do not exist, unless bad files are skipped.
    """

    def __init__(self, paths: Sequence[str], open_file: Callable[[str], EventFile], *, skip_bad: bool) -> None:
        self.paths = tuple(paths)
        self.skipped: list[SkippedRange] = []
        self._open_file = open_file
        self._skip_bad = skip_bad
        self._stamps: dict[str, FileStamp] = {}
        self._opened: dict[str, EventFile] = {}
        self._bad: dict[str, InputError] = {}
        self._take_stamps()

    def _take_stamps(self) -> None:
        problems = []
        for path in self.paths:
            try:
                self._stamps[path] = FileStamp.of(path)
            except InputError as error:
                problems.append(str(error))
                if self._skip_bad:
                    self._skip(path, 0, UNKNOWN, error)
        if problems and not self._skip_bad:
            raise InputError("\n".join([problems[0], *(f"  also: {problem}" for problem in problems[1:])]))

    def first(self) -> EventFile:
        """Return the first file that can be opened; it stays open and is given again by `each`.

        Raises:
            InputError: if there is none.
        """
        for path in self.paths:
            file = self._open(path)
            if file is not None:
                return file
        reasons = [f"  '{path}': {error}" for path, error in self._bad.items()]
        raise InputError("\n".join([f"none of the {len(self.paths)} input files can be read:", *reasons[:10]]))

    def each(self) -> Iterator[tuple[int, EventFile]]:
        """Yield the files that can be opened, with their numbers from 1; each is closed when the next is asked for."""
        for number, path in enumerate(self.paths, 1):
            file = self._open(path)
            if file is None:
                continue
            self._opened.pop(path, None)
            try:
                yield number, file
            finally:
                file.close()

    def count_events(self) -> int | None:
        """Return the number of events of all files, or None if that would take longer than a second to find out.

        Files opened on the way stay open until their turn comes. Skipped files count as empty.
        """
        end_s = time.monotonic() + _COUNTING_LIMIT_S
        total = 0
        for path in self.paths:
            if path not in self._opened and path not in self._bad and (time.monotonic() > end_s or scheme_of(path)):
                return None
            try:
                file = self._open(path)
            except InputError:
                return None  # told when its turn comes
            total += file.entries if file is not None else 0
        return total

    def check_unchanged(self, file: EventFile) -> None:
        """Check that a file is still the one that it was when the job began; does nothing for remote ones.

        Raises:
            InputChanged: if it is not.
        """
        change = self._stamps[file.path].change(file.path)
        if change is not None:
            raise InputChanged(
                f"{file.place}: the file changed during the job: {change}; run again when it is complete"
            )

    def bad(self, file: EventFile, first: int, error: InputError) -> None:
        """Skip a file from entry ``first`` on, or raise ``error`` if bad files are not to be skipped."""
        if not self._skip_bad or isinstance(error, InputChanged):
            raise error
        self._skip(file.path, first, file.entries, error)

    def _open(self, path: str) -> EventFile | None:
        if path in self._bad:
            return None
        file = self._opened.get(path)
        if file is not None:
            return file
        try:
            file = self._open_file(path)
            self._opened[path] = file
            self.check_unchanged(file)
        except InputError as error:
            if not self._skip_bad or isinstance(error, InputChanged):
                raise
            self._skip(path, 0, UNKNOWN, error)
            return None
        return file

    def _skip(self, path: str, first: int, last: int, error: InputError) -> None:
        self._bad[path] = error
        self.skipped.append(SkippedRange(path, first, last, str(error)))
        entries = "all its events" if last == UNKNOWN else f"entries {first}-{last - 1}"
        _logger.warning("skipped %s of '%s': %s", entries, path, error)
