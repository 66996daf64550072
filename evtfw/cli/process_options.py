"""The options of a process on the command line; they have the last word over the configuration's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from evtfw.core.process import Process, ProcessOptions

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


if TYPE_CHECKING:
    _SizeType = click.ParamType[int]
else:
    _SizeType = click.ParamType  # generic only from click 8.4 on


class Size(_SizeType):
    """A number of bytes with an optional unit: ``500M``, ``2Gi``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        text = str(value).strip().removesuffix("B")
        number = text.rstrip("kKMGTi")
        try:
            return int(float(number) * _UNITS[text[len(number) :].replace("K", "k").replace("ki", "Ki")])
        except (ValueError, KeyError, OverflowError):
            self.fail(f"'{value}' is no size in bytes; write for example 500M or 2Gi", param, ctx)


_DECLARED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "threads": (("-t", "--threads"), {"type": click.IntRange(0), "metavar": "N"}),
    "streams": (("-s", "--streams"), {"type": click.IntRange(0), "metavar": "N"}),
    "max_events": (("-n", "--max-events"), {"type": click.IntRange(-1), "metavar": "N"}),
    "skip_events": (("--skip-events",), {"type": click.IntRange(0), "metavar": "N"}),
    "events": (("--events",), {"multiple": True, "metavar": "EVENTS"}),
    "lumi_mask": (("--lumi-mask",), {"metavar": "FILE"}),
    "on_error": (("--on-error",), {"type": click.Choice(["rethrow", "continue"])}),
    "continue_on": (("--continue-on",), {"multiple": True, "metavar": "EXCEPTION"}),
    "rethrow_on": (("--rethrow-on",), {"multiple": True, "metavar": "EXCEPTION"}),
    "max_bytes_in_flight": (("--max-bytes-in-flight",), {"type": Size(), "metavar": "SIZE"}),
    "bulk_events": (("--bulk-events",), {"type": click.IntRange(0), "metavar": "N"}),
    "switch_interval_s": (("--switch-interval",), {"type": click.FloatRange(0), "metavar": "SECONDS"}),
    "check_products": (("--check-products/--no-check-products",), {}),
}
_ADDED_HELP = {
    "max_events": "; -1: all",
    "events": "; may be repeated, or separated by commas",
    "continue_on": "; may be repeated",
    "rethrow_on": "; may be repeated",
    "max_bytes_in_flight": ", e.g. 500M or 2Gi",
}
_OTHER_HELP = {"switch_interval_s": "interpreter switch interval in seconds; 0 leaves it as it is"}
_NO_VALUE = {"max_events": -1, "switch_interval_s": 0.0}
"""What stands for None on the command line."""


def process_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of `ProcessOptions`; those not given stay None, or empty."""
    for name, (flags, settings) in reversed(_DECLARED.items()):
        described = ProcessOptions.model_fields[name].description or ""
        text = _OTHER_HELP.get(name, described + _ADDED_HELP.get(name, ""))
        function = click.option(*flags, name, default=None, help=text, **settings)(function)
    return function


def apply_options(process: Process, given: Mapping[str, Any]) -> None:
    """Change the options of a process by those given on the command line.

    Raises:
        ConfigurationError: for values that do not fit.
    """
    changes = {name: value for name, value in given.items() if value is not None and value != ()}
    for name, none in _NO_VALUE.items():
        if changes.get(name) == none:
            changes[name] = None
    for name in ("events", "continue_on", "rethrow_on"):
        if name in changes:
            changes[name] = tuple(part.strip() for text in changes[name] for part in text.split(",") if part.strip())
    process.set_options(**changes)
