"""What sources of files have in common: many files as one sequence of chunks, with ids, checks and the skip policy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from evtfw.core.declare import Parameter
from evtfw.core.errors import InputError
from evtfw.core.source import Chunk, Column, ColumnInfo, SkippedRange, Source
from evtfw.io.chunking import Pace
from evtfw.io.columns import size_bytes
from evtfw.io.event_file import EventFile, check_columns
from evtfw.io.event_ids import DEFAULT_COLUMNS, EventIds
from evtfw.io.files import expand_files
from evtfw.io.input_set import InputSet

_logger = logging.getLogger(__name__)


class FileSource(Source):
    """Base of sources that read files. A subclass gives `open_file`."""

    files = Parameter[str | Path | tuple[str | Path, ...]]("input files: paths, globs or URLs, read in this order")
    run_column = Parameter[str]("column of the run number", default=DEFAULT_COLUMNS[0])
    lumi_column = Parameter[str]("column of the luminosity block number", default=DEFAULT_COLUMNS[1])
    event_column = Parameter[str]("column of the event number", default=DEFAULT_COLUMNS[2])
    chunk_events = Parameter[int]("events read at once, about; the first chunk is smaller", default=10_000, gt=0)
    chunk_bytes = Parameter[int]("memory of the events read at once, about", default=32 << 20, unit="byte", gt=0)
    on_bad_file = Parameter[str](
        "what to do with a file that cannot be read: end the job, or skip the rest of it with a warning and list what "
        "was skipped in the job report",
        default="error",
        choices=("error", "skip"),
    )

    def open_file(self, path: str) -> EventFile:
        """Open one file.

        Raises:
            InputError: if it cannot be opened or does not hold what is looked for.
        """
        raise NotImplementedError

    @cached_property
    def _inputs(self) -> InputSet:
        return InputSet(expand_files(self.files), self.open_file, skip_bad=self.on_bad_file == "skip")

    @property
    def skipped(self) -> tuple[SkippedRange, ...]:
        """Ranges skipped so far: the rest of each bad file; ``last`` is -1 for one that could not be opened at all."""
        return tuple(self._inputs.skipped)

    def columns(self) -> Mapping[str, ColumnInfo]:
        """See `Source.columns`: those of the first file; later files are checked against it when their turn comes."""
        file = self._inputs.first()
        self._ids.present(file)
        return file.columns

    def event_count(self) -> int | None:
        """See `Source.event_count`. Opens further local files for a second at most; None if that does not do."""
        return self._inputs.count_events()

    def chunks(self, columns: Sequence[str], first: int, count: int | None) -> Iterator[Chunk]:
        """See `Source.chunks`. ``first`` and ``count`` count events that can be read, not those of skipped files."""
        pace = Pace(self.chunk_events, self.chunk_bytes)
        reference = self._inputs.first()
        read_names = list(dict.fromkeys([*columns, *self._ids.present(reference)]))
        check_columns(reference, read_names)
        for number, file in self._inputs.each():
            if count is not None and count <= 0:
                return
            if not file.entries:
                _logger.warning("%s has 0 events", file.place)
            start = min(first, file.entries)
            first -= start
            stop = file.entries if count is None else min(file.entries, start + count)
            entry = start
            for columns_read, begin, end in self._read(file, reference, read_names, range(start, stop), pace):
                runs, lumis, events = self._ids.of(columns_read, begin, end, number)
                kept = {name: columns_read[name] for name in columns}
                yield Chunk(runs, lumis, events, kept, file.path, begin, sum(map(size_bytes, columns_read.values())))
                entry = end
            count = None if count is None else count - (entry - start)

    @cached_property
    def _ids(self) -> EventIds:
        return EventIds((self.run_column, self.lumi_column, self.event_column))

    def _read(
        self, file: EventFile, reference: EventFile, names: list[str], entries: range, pace: Pace
    ) -> Iterator[tuple[dict[str, Column], int, int]]:
        """Yield columns, their first entry and the one after the last; what cannot be read is an error or skipped."""
        first = entries.start
        try:
            if not entries:
                return
            check_columns(file, names, reference)
            boundaries = file.prepare(names)
            while first < entries.stop:
                last = pace.end_of_chunk(boundaries, first, entries.stop)
                columns = file.read(names, first, last)
                self._inputs.check_unchanged(file)
                pace.learn(last - first, sum(map(size_bytes, columns.values())))
                yield columns, first, last
                first = last
        except InputError as error:
            self._inputs.bad(file, first, error)
