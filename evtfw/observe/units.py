"""Durations, counts and sizes as people read them."""

from __future__ import annotations

_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration(seconds: float | None) -> str:
    """Three digits and the unit that suits; hours and days spelt out.

    >>> duration(0.0123456), duration(4.2e-8), duration(75), duration(90061), duration(0), duration(None)
    ('12.3 ms', '42 ns', '1 min 15 s', '1 d 1 h', '0 s', '-')
    """
    if seconds is None:
        return "-"
    if seconds >= 59.95:
        return _long_duration(round(seconds))
    for scale, unit in _SCALES:
        value = seconds / scale
        if value >= 0.9995:
            digits = 0 if value >= 99.95 or unit == "ns" else (1 if value >= 9.995 else 2)
            return f"{value:.{digits}f} {unit}"
    return "0 s" if seconds <= 0 else f"{seconds * 1e9:.2f} ns"


def _long_duration(seconds: int) -> str:
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    first = next(number for number, (value, _) in enumerate(parts) if value)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value)


def count(number: float) -> str:
    """An integer with its thousands apart.

    >>> count(1234567)
    '1 234 567'
    """
    return f"{number:,.0f}".replace(",", " ")


def rate(per_second: float) -> str:
    """Three digits of a rate.

    >>> rate(3.14159), rate(812.6), rate(12345.0)
    ('3.14', '813', '12 345')
    """
    if per_second >= 99.95:
        return count(per_second)
    return f"{per_second:.{1 if per_second >= 9.995 else 2}f}"


def ratio(times: float) -> str:
    """How many times as large, with two or three digits however small.

    >>> ratio(12.34), ratio(1500.0), ratio(0.000123), ratio(0)
    ('12.3', '1 500', '0.00012', '0.00')
    """
    return f"{times:.2g}" if 0 < times < 0.01 else rate(times)


def percent(fraction: float) -> str:
    """A share without false precision.

    >>> percent(0.4567), percent(0.0123), percent(0.00001), percent(0)
    ('46%', '1.2%', '<0.1%', '0%')
    """
    if fraction <= 0:
        return "0%"
    if fraction < 0.001:
        return "<0.1%"
    return f"{100 * fraction:.0f}%" if fraction >= 0.0995 else f"{100 * fraction:.1f}%"


def size(size_bytes: float) -> str:
    """Decimal multiples of bytes.

    >>> size(1_234_567), size(12), size(2.5e9)
    ('1.2 MB', '12 B', '2.5 GB')
    """
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(size_bytes) >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes:.0f} B"
