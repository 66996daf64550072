"""Histograms, summed over all streams, to a ROOT file, pictures and JSON."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from evtfw.core.declare import Parameter
from evtfw.core.errors import OutputError
from evtfw.core.module import SHARED, Concurrency, OutputModule
from evtfw.io.atomic import AtomicFile, explain, write_atomically
from evtfw.io.histogram_forms import as_root, overlaid

if TYPE_CHECKING:
    from evtfw.core.event import Event

_log = logging.getLogger(__name__)


_PICTURES = (".png", ".pdf", ".svg")


def _check_pattern(plots: str | None) -> str | None:
    """Return ``plots`` if it is a folder or a pattern that gives each picture a name of its own."""
    if not plots or ("{" not in plots and Path(plots).suffix not in _PICTURES):
        return plots
    try:
        one, other = (plots.format(label="label", name=name) for name in ("one", "other"))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"a mistake in the pattern ({error}); placeholders are {{label}} and {{name}}") from None
    if one == other:
        raise ValueError("all pictures would have one name; add {name}")
    if Path(plots).suffix not in _PICTURES:
        raise ValueError(f"pictures are {', '.join(_PICTURES)}")
    return plots


class HistogramOutput(OutputModule):
    """Writes accumulators at the end of the job: histograms to ROOT and pictures, numbers to JSON.

    A histogram ``NAME`` of module ``LABEL`` becomes ``LABEL/NAME`` in the ROOT file: TH1D, TH2D or TH3D (with the sums
    of squared weights where the histogram has weights), or TProfile. One with an axis of categories becomes one per
    category, ``LABEL/NAME_CATEGORY``; in the picture the categories are drawn over each other. Numbers, arrays and
    dicts of numbers go to a JSON file beside it: ``hists.json`` for ``hists.root``.

    It takes no events: they end as ``written`` only if another output keeps them.

    All files appear under their names when they are complete. After a failed job, the histograms filled until then are
    in ``PATH.part``, and there are no pictures.
    """

    concurrency: ClassVar[Concurrency] = SHARED
    keeps_events: ClassVar[bool] = False

    path = Parameter[str]("ROOT file to write", default="histograms.root")
    plots = Parameter[Annotated[str | None, AfterValidator(_check_pattern)]](
        "pictures: a folder (made if need be), or a pattern such as 'plots/{label}_{name}.pdf'; None: no pictures",
        default=None,
    )
    keep = Parameter[tuple[str, ...]](
        "accumulators to write: rules of which the last match wins, such as 'tops', 'tops:mass', '*', 'drop tops:*'",
        default=("*",),
    )
    log_scale = Parameter[tuple[str, ...]]("rules for pictures with a logarithmic vertical axis", default=())
    overwrite = Parameter[bool]("replace existing files (when the new ones are complete)", default=True)

    written: int = 0
    bytes_written: int = 0
    final_path: Path | None = None
    """Where the ROOT file is, once it is complete (or was kept as a part)."""

    def begin_job(self) -> None:
        """Create the part file and the folder for pictures.

        Raises:
            OutputError: if they cannot be written.
        """
        self._sums: dict[str, dict[str, Any]] = {}
        self._pattern = self._picture_pattern()
        self._target = AtomicFile(self.path, self.label, overwrite=self.overwrite)
        try:
            if self._pattern is not None:
                Path(self._pattern).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._target.discard()
            raise OutputError(
                f"output '{self.label}': cannot make the folder '{Path(self._pattern or '').parent}': {explain(error)}"
            ) from error

    def write(self, event: Event) -> bool:
        """Nothing is kept of an event."""
        return False

    def skip(self, event: Event) -> None:
        """Nothing is kept of an event."""

    def collect(self, accumulators: dict[str, dict[str, Any]]) -> None:
        """Take the sums of all accumulators, ``{label: {name: value}}``."""
        self._sums = {
            label: {name: value for name, value in sums.items() if matches(self.keep, label, name)}
            for label, sums in accumulators.items()
        }

    def end_job(self) -> None:
        """Write all files.

        Raises:
            OutputError: if one cannot be completed; it has no final name then.
        """
        if "_target" not in self.__dict__:
            return  # begin_job did not get so far
        histograms, numbers, others = self._sorted()
        for name, value in others.items():
            _log.warning(
                "output '%s': accumulator '%s' is a %s, neither a histogram nor a number: it is not written",
                self.label, name, type(value).__name__,
            )  # fmt: skip
        self._write_root(histograms)
        if self.job_failed:
            self.final_path = self._target.keep_part()
            _log.warning(
                "output '%s': the job failed; the histograms until then are in '%s'", self.label, self.final_path
            )
            return
        self.bytes_written = self._target.size_bytes
        self._target.commit()
        self.final_path = self._target.final
        if numbers:
            content = json.dumps(numbers, indent=2, default=_as_json) + "\n"
            write_atomically(
                str(self.final_path.with_suffix(".json")), content.encode(), self.label, overwrite=self.overwrite
            )
        if self._pattern is not None:
            self._draw(histograms, self._pattern)

    def _picture_pattern(self) -> str | None:
        if not self.plots:
            return None
        path = Path(self.plots).expanduser()
        is_pattern = "{" in self.plots or path.suffix.lower() in _PICTURES
        return str(path) if is_pattern else str(path / "{label}_{name}.png")

    def _sorted(self) -> tuple[dict[tuple[str, str], Any], dict[str, dict[str, Any]], dict[str, Any]]:
        """Histograms, numbers, and what is neither."""
        histograms: dict[tuple[str, str], Any] = {}
        numbers: dict[str, dict[str, Any]] = {}
        others: dict[str, Any] = {}
        for label, sums in self._sums.items():
            for name, value in sums.items():
                if hasattr(value, "axes") and hasattr(value, "storage_type"):
                    histograms[label, name] = value
                elif _is_numbers(value):
                    numbers.setdefault(label, {})[name] = value
                else:
                    others[f"{label}:{name}"] = value
        return histograms, numbers, others

    def _write_root(self, histograms: Mapping[tuple[str, str], Any]) -> None:
        import uproot

        try:
            with uproot.recreate(self._target.part, compression=uproot.ZLIB(1)) as file:
                for (label, name), histogram in histograms.items():
                    for suffix, form in as_root(histogram):
                        file[f"{label}/{name}{suffix}"] = form
                    self.written += 1
        except NotImplementedError as error:
            self._target.discard()
            raise OutputError(
                f"output '{self.label}': histogram '{label}:{name}' has no place in a ROOT file ({error}); leave it "
                f"out with keep=[…, 'drop {label}:{name}']"
            ) from error
        except OSError as error:
            with contextlib.suppress(OSError):
                self._target.discard()
            raise OutputError(
                f"output '{self.label}': cannot write '{self._target.final}': {explain(error)}"
            ) from error

    def _draw(self, histograms: Mapping[tuple[str, str], Any], pattern: str) -> None:
        from evtfw.io.histogram_plots import draw

        for label, name, categories in _drawable(histograms):
            path = Path(pattern.format(label=label, name=name))
            file = draw(
                categories, title=f"{label}: {name}", log=matches(self.log_scale, label, name), format=path.suffix[1:]
            )
            write_atomically(str(path), file, self.label, overwrite=self.overwrite)


def matches(rules: tuple[str, ...], label: str, name: str) -> bool:
    """Whether the last of the rules that match an accumulator keeps it.

    >>> matches(("*", "drop tops:mass"), "tops", "mass")
    False
    """
    kept = False
    for rule in rules:
        pattern = rule.removeprefix("drop ").strip()
        if fnmatchcase(f"{label}:{name}", pattern if ":" in pattern else f"{pattern}:*"):
            kept = not rule.startswith("drop ")
    return kept


def _drawable(histograms: Mapping[tuple[str, str], Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for (label, name), histogram in histograms.items():
        categories = overlaid(histogram)
        dimensions = {len(h.axes) for h in categories.values()}
        if dimensions <= {1} or (dimensions == {2} and len(categories) == 1):
            yield label, name, categories
        else:
            _log.info("no picture of '%s:%s': it has %d dimensions", label, name, len(histogram.axes))


def _is_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_numbers(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_numbers, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _as_json(value: Any) -> Any:
    return value.tolist()
