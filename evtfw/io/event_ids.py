"""Run, luminosity block and event number of each event, from columns of the file or made up."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import InputError, nearest
from evtfw.core.source import Column
from evtfw.io.event_file import EventFile, type_name

DEFAULT_COLUMNS = ("run", "luminosityBlock", "event")
"""Where NanoAOD keeps run, luminosity block and event number."""
_PARTS = ("run", "luminosity block", "event")
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class EventIds:
    """Which columns identify events, and what stands in for those that a file lacks.

    Args:
        names: columns of run, luminosity block and event number.
    """

    names: tuple[str, str, str]
    _warned: bool = False

    def present(self, file: EventFile) -> list[str]:
        """Return those of the columns that the file has; warn once about those that it lacks.

        Raises:
            InputError: if one of them does not hold an integer per event, or one that is not a default is missing.
        """
        found, absent = [], []
        for name, default, part in zip(self.names, DEFAULT_COLUMNS, _PARTS, strict=True):
            if name in file.columns:
                _check_integer(file, name, part)
                found.append(name)
            elif name == default:
                absent.append(name)
            else:
                raise InputError(
                    f"{file.place}: no {file.column_word} '{name}' to take the {part} number from"
                    + nearest(name, file.columns)
                )
        if absent and not self._warned:
            self._warned = True
            _logger.warning(
                "%s has no %s %s; made up: run 1, luminosity block = number of the file, event = entry + 1",
                file.place,
                file.column_word,
                " or ".join(f"'{name}'" for name in absent),
            )
        return found

    def of(
        self, columns: Mapping[str, Column], first: int, last: int, file_number: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return runs, lumis and events of entries ``first`` to ``last`` - 1.

        Args:
            columns: what was read of them.
            file_number: from 1; the luminosity block of files that have none, so that no two events are named the same.
        """
        run, lumi, event = (columns.get(name) for name in self.names)
        return (
            np.ones(last - first, np.uint32) if run is None else np.asarray(run),
            np.full(last - first, file_number, np.uint32) if lumi is None else np.asarray(lumi),
            np.arange(first + 1, last + 1, dtype=np.uint64) if event is None else np.asarray(event),
        )


def _check_integer(file: EventFile, name: str, part: str) -> None:
    kind = file.columns[name].type
    if not (isinstance(kind, type) and issubclass(kind, np.integer)):
        raise InputError(
            f"{file.place}: {file.column_word} '{name}' cannot be the {part} number: it is {type_name(kind)}, "
            "it must be one integer per event"
        )
