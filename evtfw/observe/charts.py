"""Plots as SVG that takes its colours from the page around it, for light and dark."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from evtfw.observe.units import count, duration

_HEIGHT = 190.0
_NARROW, _WIDE = 500.0, 660.0  # in the units in which text is 12 high; two narrow ones stand beside each other
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 12.0, 34.0
_HEADROOM = 1.25  # above a histogram, for the names of its marks
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class _Frame:
    """Maps values to places in the drawing.

    Args:
        x_low, x_high: range of the horizontal axis, after a logarithm if it has one.
        y_high: upper end of the vertical axis, which starts at 0.
        width: of the whole drawing.
    """

    x_low: float
    x_high: float
    y_high: float
    width: float

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    def x(self, value: float) -> float:
        span = self.x_high - self.x_low or 1.0
        return _LEFT + (value - self.x_low) / span * (self.right - _LEFT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / (self.y_high or 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def nice_ticks(high: float, most: int = 4) -> list[float]:
    """Return round numbers from 0 to about ``high``, at most ``most`` steps; the last is not below ``high``.

    >>> nice_ticks(873), nice_ticks(1.7)
    ([0.0, 250.0, 500.0, 750.0, 1000.0], [0.0, 0.5, 1.0, 1.5, 2.0])
    """
    if high <= 0:
        return [0.0, 1.0]
    exponent = 10.0 ** math.floor(math.log10(high / most))
    step = next(m * exponent for m in (1, 2, 2.5, 5, 10, 20) if m * exponent * most >= high * (1 - 1e-9))
    return [round(step * number, 12) for number in range(math.ceil(high / step - 1e-9) + 1)]


def step_chart(edges_s: Floats, values: Floats, *, title: str, unit: str, style: str = "accent") -> str:
    """A filled curve of constant values between times.

    Args:
        edges_s: times in seconds [n+1].
        values: [n].
        unit: what the vertical axis counts.
        style: name of the colour: a CSS variable of the page.
    """
    ticks = nice_ticks(float(values.max(initial=0.0)))
    frame = _Frame(float(edges_s[0]), float(edges_s[-1]), ticks[-1], _NARROW)
    points = []
    for start, end, value in zip(edges_s, edges_s[1:], values, strict=False):
        points += [f"{frame.x(start):.1f},{frame.y(value):.1f}", f"{frame.x(end):.1f},{frame.y(value):.1f}"]
    floor = f"{frame.y(0):.1f}"
    outline = " ".join(points)
    area = f"{frame.x(frame.x_low):.1f},{floor} {outline} {frame.x(frame.x_high):.1f},{floor}"
    bands = "".join(
        f'<rect class="hit" x="{frame.x(a):.1f}" y="{_TOP}" width="{max(frame.x(b) - frame.x(a), 0.5):.1f}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"><title>{value:,.3g} {escape(unit)} at {duration(a)}</title></rect>'
        for a, b, value in zip(edges_s, edges_s[1:], values, strict=False)
    )
    body = f'<polygon class="area" points="{area}"/><polyline class="curve" points="{outline}"/>{bands}'
    return _chart(frame, title, style, _y_axis(frame, ticks, unit) + _time_axis(frame) + body)


def histogram_chart(edges_s: Floats, counts: Floats, marks: Sequence[tuple[str, float]], *, title: str) -> str:
    """A histogram of durations on a logarithmic axis.

    Args:
        edges_s: in seconds [n+1].
        counts: [n].
        marks: vertical lines with a name each, e.g. ``[("p50", 0.012)]``.
    """
    if not len(counts):
        return ""
    ticks = nice_ticks(_HEADROOM * float(counts.max()))
    logs = np.log10(edges_s)
    frame = _Frame(float(logs[0]), float(logs[-1]), ticks[-1], _WIDE)
    bars = []
    for number, value in enumerate(counts):
        left, right = frame.x(logs[number]), frame.x(logs[number + 1])
        span = f"{duration(edges_s[number])} to {duration(edges_s[number + 1])}"
        bars.append(
            f'<rect class="bar" x="{left + 0.7:.1f}" y="{frame.y(value):.1f}" '
            f'width="{max(right - left - 1.4, 0.5):.1f}" '
            f'height="{frame.y(0) - frame.y(value):.1f}" rx="1.5"><title>{count(value)}: {span}</title></rect>'
        )
    lines = [_mark(frame, name, value_s, number) for number, (name, value_s) in enumerate(marks) if value_s > 0]
    body = _y_axis(frame, ticks, "requests") + _log_axis(frame) + "".join(bars) + "".join(lines)
    return _chart(frame, title, "external", body)


def spark_histogram(edges_s: Floats, counts: Floats, low_s: float, high_s: float) -> str:
    """A small histogram without axes, on a logarithmic axis from ``low_s`` to ``high_s``."""
    if not len(counts) or high_s <= low_s:
        return ""
    low, span, tallest = math.log(low_s), math.log(high_s / low_s), float(counts.max())
    places = (np.log(edges_s) - low) / span * 120
    bars = "".join(
        f'<rect x="{places[n]:.1f}" y="{22 - 20 * value / tallest:.1f}" width="{places[n + 1] - places[n]:.1f}" '
        f'height="{20 * value / tallest:.1f}"/>'
        for n, value in enumerate(counts)
        if value
    )
    return f'<svg class="spark" viewBox="0 0 120 22" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'


def _chart(frame: _Frame, title: str, style: str, body: str) -> str:
    return (
        f'<svg class="chart" style="--curve: var(--{style})" viewBox="0 0 {frame.width:.0f} {_HEIGHT:.0f}" '
        f'role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def _y_axis(frame: _Frame, ticks: Sequence[float], unit: str) -> str:
    parts = []
    for tick in ticks:
        y = frame.y(tick)
        kind = "axis" if tick == 0 else "gridline"
        parts.append(f'<line class="{kind}" x1="{_LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 7}" y="{y + 4:.1f}">{_number(tick)}</text>')
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="unit" transform="translate(11 {middle:.0f}) rotate(-90)">{escape(unit)}</text>')
    return "".join(parts)


def _number(value: float) -> str:
    return count(value) if value >= 1000 else f"{value:g}"


_TIME_UNITS = ((3600.0, "h", 7200.0), (60.0, "min", 180.0), (1.0, "s", 0.5), (1e-3, "ms", 0.0))


def _time_axis(frame: _Frame) -> str:
    scale, unit = next((scale, unit) for scale, unit, least in _TIME_UNITS if frame.x_high >= least)
    ticks = [tick for tick in nice_ticks(frame.x_high / scale, 8) if tick * scale <= frame.x_high * 1.0001]
    return _x_labels(frame, [(tick * scale, f"{tick:g}") for tick in ticks], f"time in {unit}")


def _log_axis(frame: _Frame) -> str:
    decades = frame.x_high - frame.x_low
    factors: Sequence[float] = (1,) if decades > 3 else ((1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 7))
    exponents = range(math.floor(frame.x_low), math.ceil(frame.x_high) + 1)
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    inside = [value for value in values if frame.x_low - 1e-9 <= math.log10(value) <= frame.x_high + 1e-9]
    return _x_labels(frame, [(math.log10(value), _short(value)) for value in inside], "from submission to reply")


def _short(value_s: float) -> str:
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
    scale, unit = next(((scale, unit) for scale, unit in units if value_s >= scale * 0.999), (1e-9, "ns"))
    return f"{value_s / scale:.3g} {unit}"


def _x_labels(frame: _Frame, labels: Sequence[tuple[float, str]], unit: str) -> str:
    floor, parts = frame.y(0), []
    for value, text in labels:
        x = f"{frame.x(value):.1f}"
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{floor:.1f}" y2="{floor + 4:.1f}"/>')
        parts.append(f'<text class="x" x="{x}" y="{floor + 16:.1f}">{text}</text>')
    middle = (_LEFT + frame.right) / 2
    return "".join(parts) + f'<text class="unit" x="{middle:.0f}" y="{_HEIGHT - 2}">{unit}</text>'


def _mark(frame: _Frame, name: str, value_s: float, number: int) -> str:
    x = frame.x(math.log10(value_s))
    side, anchor = (-5, "end") if x > frame.right - 110 else (5, "start")
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{frame.y(0):.1f}"/>'
        f'<text class="mark" x="{x + side:.1f}" y="{_TOP + 9 + 13 * number:.1f}" text-anchor="{anchor}">'
        f"{escape(name)} {duration(value_s)}</text>"
    )


def spread_over_time(times_s: Floats, cumulative: Floats, end_s: float, most_bins: int = 90) -> tuple[Floats, Floats]:
    """Return edges [n+1] in seconds and rates per second [n] of a figure that was sampled as a running sum."""
    bins = min(most_bins, max(1, len(times_s)))
    edges = np.linspace(0.0, max(end_s, 1e-9), bins + 1)
    times, sums = np.concatenate([[0.0], times_s]), np.concatenate([[0.0], cumulative])
    return edges, np.diff(np.interp(edges, times, sums)) / np.diff(edges)


def mean_over_time(times_s: Floats, values: Floats, end_s: float, most_bins: int = 90) -> tuple[Floats, Floats]:
    """Return edges [n+1] in seconds and means [n] of a figure that was sampled; gaps keep the value before."""
    bins = min(most_bins, max(1, len(times_s)))
    edges = np.linspace(0.0, max(end_s, 1e-9), bins + 1)
    number = np.clip(np.searchsorted(edges, times_s, side="right") - 1, 0, bins - 1)
    sums, hits = np.bincount(number, values, minlength=bins), np.bincount(number, minlength=bins)
    means = np.divide(sums, hits, out=np.zeros(bins), where=hits > 0)
    for gap in np.flatnonzero(hits == 0):
        means[gap] = means[gap - 1] if gap else 0.0
    return edges, means
