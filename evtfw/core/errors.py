"""The tree of errors and the exit codes that follow from them.

::

    EvtfwError
    ├── ConfigurationError      what is wrong in a configuration; carries all mistakes at once
    ├── InputError              a source cannot give what was asked
    ├── OutputError             an output cannot keep what it was given
    ├── ModuleError             a module's own code raised; the original is its ``__cause__``
    ├── ProductError            a product was read that is not there
    ├── ExternalError           external work did not end in a reply
    │   ├── CompletionDropped   a backend let go of a completion without resolving it
    │   ├── DeadlineExceeded    no reply before the deadline
    │   ├── Cancelled           the event was abandoned; the request is of no use any more
    │   ├── ServerUnavailable   no server took the request
    │   ├── BadRequest          the request does not fit the model
    │   └── BadReply            the reply does not fit the model
    └── InternalError           a mistake of the framework itself
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable


class ExitCode(enum.IntEnum):
    """What ``evtfw run`` returns to the shell. The numbers are stable."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIGURATION = 10
    INPUT = 20
    OUTPUT = 30
    MODULE = 40
    PRODUCT = 41
    EXTERNAL = 50
    OUT_OF_MEMORY = 60
    INTERRUPTED = 130
    TERMINATED = 143


class EvtfwError(Exception):
    """Base of all errors that the framework raises on purpose.

    The message says what happened, where, and what to do; it is shown to users without a traceback.
    """

    exit_code: ExitCode = ExitCode.INTERNAL


class ConfigurationError(EvtfwError):
    """Everything that is wrong with a configuration, reported together.

    Args:
        problems: one complete message each, with file and line where known.
    """

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        count = len(self.problems)
        head = "the configuration has a mistake" if count == 1 else f"the configuration has {count} mistakes"
        super().__init__("\n".join([f"{head}:", *(f"  * {problem}" for problem in self.problems)]))


class InputError(EvtfwError):
    """A source cannot open, find or decode something; the message names file, tree, branch and entries."""

    exit_code = ExitCode.INPUT


class OutputError(EvtfwError):
    """An output cannot write or complete its file."""

    exit_code = ExitCode.OUTPUT


class ModuleError(EvtfwError):
    """A module's code raised. The original exception is the ``__cause__``."""

    exit_code = ExitCode.MODULE


class ProductError(EvtfwError):
    """A product was read that its module did not put, or that was released already."""

    exit_code = ExitCode.PRODUCT


class ExternalError(EvtfwError):
    """External work ended without a usable reply."""

    exit_code = ExitCode.EXTERNAL


class CompletionDropped(ExternalError):
    """A backend let go of a completion without resolving or failing it."""


class DeadlineExceeded(ExternalError):
    """No reply came before the deadline of the request."""


class Cancelled(ExternalError):
    """The event was abandoned while the request was in flight."""


class ServerUnavailable(ExternalError):
    """No server could be reached, or all refused."""


class BadRequest(ExternalError):
    """The request's tensors do not fit the model (name, dtype or shape)."""


class BadReply(ExternalError):
    """The reply's tensors do not fit the model (name, dtype, shape or size)."""


class InternalError(EvtfwError):
    """A mistake of the framework; please report it."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return a half-sentence with the nearest valid names, or with all of them if they are few.

    >>> nearest("FatJet_pr", ["FatJet_pt", "FatJet_eta", "MET_pt"])
    "; did you mean 'FatJet_pt' or 'FatJet_eta'?"
    >>> nearest("x", [])
    ''
    """
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=count, cutoff=0.5)
    if close:
        quoted = [f"'{c}'" for c in close]
        return (
            "; did you mean " + (" or ".join([", ".join(quoted[:-1]), quoted[-1]]) if quoted[1:] else quoted[0]) + "?"
        )
    if 0 < len(names) <= 12:
        return "; known: " + ", ".join(sorted(names))
    return ""
