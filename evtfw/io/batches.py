"""Base of the outputs that write tables: events in, complete files out."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from evtfw.core.declare import InputList, Parameter
from evtfw.core.errors import ConfigurationError, InternalError, OutputError, nearest
from evtfw.core.event import Absent
from evtfw.core.module import SHARED, Concurrency, OutputModule, TriggerResults
from evtfw.io.atomic import AtomicFile, explain
from evtfw.io.output_columns import Block, joined
from evtfw.io.output_schema import Column
from evtfw.io.output_table import Table, total_bytes
from evtfw.io.row_queue import FIRST_ROWS, Row, RowQueue

if TYPE_CHECKING:
    from evtfw.core.event import Event

_log = logging.getLogger(__name__)


class TableFile(Protocol):
    """A file format: what stands between blocks of columns and the disk. Used by one thread."""

    def create(self, schema: tuple[Column, ...]) -> None:
        """Open the file for these columns."""

    def append(self, blocks: dict[str, Block]) -> None:
        """Write a batch of events."""

    def close(self, metadata: str) -> None:
        """Add the metadata (JSON) and complete the file."""

    def abandon(self) -> None:
        """Let go of the file as it is. Must not raise."""


class BatchedOutput(OutputModule):
    """Base of `RootOutput` and `ParquetOutput`: takes events from any thread and writes them in batches from its own.

    A worker's `write` only takes references to the (immutable) products. The writer's thread restores the order of
    input, copies values into columns, compresses and writes. When the disk cannot follow, `write` waits.

    The file is written as a part file beside its final name, which it gets when it is complete and on the disk:

    * The job ended well, or was stopped by a signal: the final name, replacing an older file in one step.
    * The job failed: what was written until then is completed as ``NAME.part`` and can be read. An older file under the
      final name stays as it was.
    * The output itself failed (disk full, error of the disk, a product that fits no column): the part file is removed,
      and the job fails with `OutputError`.

    Always included: ``run``, ``luminosityBlock``, ``event`` and, for each path, whether it accepted: ``path_NAME``.
    Names of the other columns: see `evtfw.io.output_schema`. Where a product is absent, its arrays are empty and its
    floating-point numbers NaN; for other numbers and strings, that is an error unless ``flag_absent`` is set.

    A subclass gives `make_file`.
    """

    concurrency: ClassVar[Concurrency] = SHARED

    path = Parameter[str]("file to write")
    keep = InputList[Any](
        "products to write: rules of which the last match wins, such as 'jets', 'source:Jet_*', '*', 'drop jets:cand*'",
        default=("*",),
    )
    order = Parameter[Literal["input", "any"]](
        "'input': events in the order of the input whatever the streams do; 'any': as they come", default="input"
    )
    overwrite = Parameter[bool]("replace an existing file (when the new one is complete)", default=True)
    checksum = Parameter[bool]("write PATH.sha256 too, for 'sha256sum --check'", default=False)
    flag_absent = Parameter[bool](
        "add a column NAME_present for each product, which tells where it is absent", default=False
    )
    batch_events = Parameter[int]("events written at once, at most", default=10_000, ge=1)
    batch_bytes = Parameter[int](
        "uncompressed bytes written at once, about", default=32 << 20, unit="B", ge=1, le=1 << 30
    )

    written: int = 0
    """Events on their way to the disk or there."""
    bytes_written: int = 0
    """Size of the file so far."""
    write_s: float = 0.0
    """Time that the writer's thread spent on columns, compression and writing."""
    final_path: Path | None = None
    """Where the file is, once it is complete (or was kept as a part)."""

    def make_file(self, part: Path) -> TableFile:
        """Return the format's writer for this path."""
        raise NotImplementedError

    @property
    def blocked_s(self) -> float:
        """Time that workers waited for the disk, summed over workers."""
        return self._queue.blocked_s if "_queue" in self.__dict__ else 0.0

    def begin_job(self) -> None:
        """Create the part file and start the writer.

        Raises:
            OutputError: if the folder cannot be written, or the name is taken.
        """
        kept = [info for info in self.keep if info.label != "TriggerResults"]
        products = [info for info in kept if info.label != "source"]
        self._table = Table(
            self.label,
            products,
            [info for info in kept if info.label == "source"],
            flag_absent=self.flag_absent,
            patience_bytes=self.batch_bytes,
        )
        # One call for all; the results of the paths come first, and twice so that there is always a tuple.
        self._products = itemgetter(self.trigger_results, self.trigger_results, *(info.token for info in products))
        self._names: tuple[str, ...] | None = None
        self._failure: BaseException | None = None
        self._batch: list[dict[str, Block]] = []
        self._batch_size = self._batch_size_bytes = 0
        self._rows_at_once = FIRST_ROWS
        self._target = AtomicFile(self.path, self.label, overwrite=self.overwrite)
        try:
            self._file = self.make_file(self._target.part)
        except BaseException:
            self._target.discard()
            raise
        self._queue = RowQueue(ordered=self.order == "input")
        self._put = self._queue.put
        self._thread = threading.Thread(target=self._run, name=f"output {self.label}", daemon=True)
        self._thread.start()

    def write(self, event: Event) -> bool:
        """Take the event if one of the selected paths wants it; return whether it is kept. From any thread.

        Raises:
            OutputError: if the writer failed.
            ConfigurationError: if a path to select by does not exist.
        """
        if self._failure is not None:
            raise self._error()
        products = self._products(event)
        results = products[0]
        if self._names is None:
            self._learn(results)
        if self.select and (results.__class__ is Absent or not results.any_of(self.select)):
            self._put((event.index, None, 0, ()))
            return False
        self._put((event.index, event.chunk, event.row, products))
        return True

    def skip(self, event: Event) -> None:
        """The event is not kept; later ones need not wait for it."""
        self._put((event.index, None, 0, ()))

    def end_job(self) -> None:
        """Write what is left and complete the file, or keep the part if the job failed.

        Raises:
            OutputError: if the file could not be completed; there is no final name then.
        """
        if "_thread" not in self.__dict__:
            return  # begin_job did not get so far
        self._queue.close()
        self._thread.join()
        if self._failure is not None:
            if not self.job_failed:
                raise self._error()
        elif self.job_failed:
            self.final_path = self._target.keep_part()
            _log.warning(
                "output '%s': the job failed; the %d events written until then are in '%s', not in '%s'",
                self.label, self.written, self.final_path, self._target.final,
            )  # fmt: skip
        else:
            self.bytes_written = self._target.size_bytes
            self._target.commit(checksum=self.checksum)
            self.final_path = self._target.final

    def _learn(self, results: TriggerResults | Absent) -> None:
        """Look at the paths' names: once, or in several threads at once with the same result."""
        if isinstance(results, Absent):
            return
        names = results.names
        unknown = [name for name in self.select if name.removeprefix("~") not in names]
        if unknown:
            raise ConfigurationError(
                f"output '{self.label}' selects by path '{name.removeprefix('~')}', which does not exist"
                f"{nearest(name.removeprefix('~'), names)}"
                for name in unknown
            )
        self._table.path_names = names
        self._names = names

    def _error(self) -> OutputError:
        cause = self._failure or InternalError("no reason given")
        if isinstance(cause, OutputError):
            message = f"{cause}; '{self._target.final}' was not written and its part file is removed"
        else:
            message = (
                f"output '{self.label}': cannot write '{self._target.part}': {explain(cause)}; it was removed, and "
                f"'{self._target.final}' was not written"
            )
        error = OutputError(message)
        error.__cause__ = cause
        return error

    # The writer's thread.

    def _run(self) -> None:
        try:
            for rows in self._queue.batches():
                started = time.perf_counter()
                self._take(self._table.admit(rows))
                del rows  # they hold chunks in memory, and the next may be long in coming
                self.write_s += time.perf_counter() - started
            started = time.perf_counter()
            self._finish()
            self.write_s += time.perf_counter() - started
        except BaseException as error:  # whatever it is, workers must learn of it and not wait for ever
            self._failure = error
            with contextlib.suppress(Exception):
                self._file.abandon()
            self._target.discard()
            self._queue.break_off()

    def _take(self, rows: list[Row]) -> None:
        while rows:
            room = min(self._rows_at_once, self.batch_events - self._batch_size)
            now, rows = rows[:room], rows[room:]
            blocks = self._table.encode(now)
            size_bytes = total_bytes(blocks)
            self._batch.append(blocks)
            self._batch_size += len(now)
            self._batch_size_bytes += size_bytes
            # Rows that wait may hold as many bytes as a batch, going by the size of events in the file.
            self._rows_at_once = max(1, min(self.batch_events, self.batch_bytes * len(now) // size_bytes))
            self._queue.resize(self._rows_at_once)
            if self._batch_size >= self.batch_events or self._batch_size_bytes >= self.batch_bytes:
                self._flush()

    def _flush(self) -> None:
        if self.written == 0:
            self._file.create(self._table.schema)
        names = [column.name for column in self._table.schema]
        self._file.append({name: joined([blocks[name] for blocks in self._batch]) for name in names})
        self.written += self._batch_size
        self._batch, self._batch_size, self._batch_size_bytes = [], 0, 0
        self.bytes_written = self._target.size_bytes

    def _finish(self) -> None:
        self._take(self._table.admit([], last=True))
        if self._batch:
            self._flush()
        if self.written == 0:
            self._file.create(self._table.schema)
        if self._table.unknown:
            _log.warning(
                "output '%s': no event had %s, and their types are not declared: they have no columns",
                self.label, ", ".join(self._table.unknown),
            )  # fmt: skip
        self._file.close(json.dumps(self._metadata(), indent=1))

    def _metadata(self) -> dict[str, Any]:
        from evtfw import __version__

        columns = {
            column.name: {
                "type": str(column.type),
                "doc": column.doc,
                **({"unit": column.unit} if column.unit else {}),
                **({"product": column.product} if column.product else {}),
                **({"inner_shape": column.type.inner} if column.type.inner else {}),
            }
            for column in self._table.schema
        }
        return {
            "created_by": f"evtfw {__version__}", "output": self.label, "events": self.written, "order": self.order,
            "select": list(self.select), "paths": list(self._table.path_names), "columns": columns,
        }  # fmt: skip
