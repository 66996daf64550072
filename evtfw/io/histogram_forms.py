"""Histograms as others want them: ROOT's classes know no categories beside numbers and no whole-number storage."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np


def as_root(histogram: Any) -> Iterator[tuple[str, Any]]:
    """Split into histograms that ROOT has a class for, with the suffix of each one's name.

    Args:
        histogram: a `hist.Hist` of any storage. An axis of string categories is split off unless it is the only one.

    Raises:
        NotImplementedError: for more than three axes beside the categories.
    """
    for categories, part in _split(histogram):
        if len(part.axes) > 3:
            raise NotImplementedError(f"{len(part.axes)} axes, and ROOT has histograms of up to 3")
        suffix = "".join(f"_{_as_name(category)}" for category in categories)
        yield suffix, _in_doubles(part)


def overlaid(histogram: Any) -> dict[str, Any]:
    """The histogram of each category, by what a legend should say; ``{"": histogram}`` without categories."""
    return {", ".join(categories): part for categories, part in _split(histogram)}


def _split(histogram: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    import boost_histogram

    places = [i for i, axis in enumerate(histogram.axes) if isinstance(axis, boost_histogram.axis.StrCategory)]
    if not places or len(histogram.axes) == len(places) == 1:
        yield (), histogram
        return
    free = [i for i in range(len(histogram.axes)) if i not in places] or places[-1:]
    places = [i for i in places if i not in free]
    for numbers in itertools.product(*(range(len(histogram.axes[i])) for i in places)):
        chosen = dict(zip(places, numbers, strict=True))
        yield tuple(histogram.axes[i].value(n) for i, n in chosen.items()), histogram[chosen]


def _in_doubles(histogram: Any) -> Any:
    """A copy in double precision, if the storage is one that ROOT has no class for."""
    import boost_histogram
    import hist

    if histogram.storage_type not in (boost_histogram.storage.Int64, boost_histogram.storage.Unlimited,
                                      boost_histogram.storage.AtomicInt64):  # fmt: skip
        return histogram
    copy = hist.Hist(*histogram.axes, storage=hist.storage.Double(), name=histogram.name, label=histogram.label)
    copy.view(flow=True)[...] = np.asarray(histogram.values(flow=True), np.float64)
    return copy


def _as_name(category: str) -> str:
    return re.sub(r"\W+", "_", category).strip("_") or "other"
