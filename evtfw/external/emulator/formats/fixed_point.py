"""``ap_fixed<W,I,rounding,overflow>``: fixed-point numbers as Xilinx' HLS defines them (UG1399).

A value is ``k * 2**-(W - I)`` with an integer k of W bits. Numbers are float64 here, which holds all formats of up to
53 bits; rounding and overflow are exact for every finite float64.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evtfw.core.errors import ConfigurationError, nearest

Rounding: TypeAlias = Literal["RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV", "TRN", "TRN_ZERO"]
Overflow: TypeAlias = Literal["SAT", "SAT_ZERO", "SAT_SYM", "WRAP", "WRAP_SM"]

Floats: TypeAlias = NDArray[np.float64]

MOST_BITS: Final = 53
"""Width up to which float64 holds every value of a format."""

_ROUNDINGS: Final[tuple[str, ...]] = get_args(Rounding)
_OVERFLOWS: Final[tuple[str, ...]] = get_args(Overflow)
_DEFAULTS: Final = ("TRN", "WRAP")
_FORM: Final = re.compile(r"(?:ap_)?(?P<sign>u?)(?P<kind>fixed|int)\s*<(?P<arguments>[^<>]*)>")
_FORM_HELP: Final = "write e.g. ap_fixed<16,6> or ap_ufixed<8,0,RND_CONV,SAT>"


@dataclasses.dataclass(frozen=True, slots=True)
class FixedPoint:
    """A format: ``width`` bits, ``integer`` of them before the point, the sign included.

    Args:
        width: all bits.
        integer: bits before the point, the sign's included; may be negative or more than ``width``.
        is_signed: ``ap_fixed``, else ``ap_ufixed``.
        rounding: what happens to bits behind the last one.
        overflow: what happens to values beyond the ends.

    Raises:
        ConfigurationError: no such format, or one of more than 53 bits.
    """

    width: int
    integer: int
    is_signed: bool = True
    rounding: Rounding = "TRN"
    overflow: Overflow = "WRAP"

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MOST_BITS:
            raise ConfigurationError(f"{self} has {self.width} bits; the emulator knows formats of 1 to {MOST_BITS}")
        if self.rounding not in _ROUNDINGS:
            raise ConfigurationError(_unknown("rounding", self.rounding, _ROUNDINGS))
        if self.overflow not in _OVERFLOWS:
            raise ConfigurationError(_unknown("overflow", self.overflow, _OVERFLOWS))
        if self.overflow == "WRAP_SM" and not self.is_signed:
            raise ConfigurationError(f"{self}: WRAP_SM wraps sign and magnitude, so the format must be signed")

    @classmethod
    def parse(cls, text: str) -> FixedPoint:
        """Return the format that a text means, as HLS writes it (``AP_RND``) or as hls4ml does (``fixed``, ``RND``).

        Integers are formats too: ``ap_int<8>`` is ``ap_fixed<8,8>``.

        Raises:
            ConfigurationError: it means none; the message says what is wrong.

        >>> str(FixedPoint.parse("ap_fixed<16,6,AP_RND_CONV,AP_SAT>"))
        'ap_fixed<16,6,RND_CONV,SAT>'
        >>> FixedPoint.parse("ufixed<8,0>").highest
        0.99609375
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(f"'{text}' is no fixed-point format; {_FORM_HELP}")
        arguments = [argument.strip() for argument in match["arguments"].split(",")]
        if match["kind"] == "int":
            arguments = [arguments[0], *arguments] if len(arguments) == 1 else []
        counts, modes = arguments[:2], [argument.upper().removeprefix("AP_") for argument in arguments[2:4]]
        if len(counts) != 2 or len(arguments) > 5 or not all(re.fullmatch(r"-?\d+", count) for count in counts):
            raise ConfigurationError(f"'{text}' is no fixed-point format; {_FORM_HELP}")
        if len(arguments) == 5 and arguments[4] != "0":
            raise ConfigurationError(
                f"'{text}' keeps {arguments[4]} saturation bits when it wraps, which the emulator does not know; "
                f"leave them out, or let it saturate (SAT)"
            )
        given: Any = dict(zip(("rounding", "overflow"), modes, strict=False))
        return cls(int(counts[0]), int(counts[1]), match["sign"] == "", **given)

    def __str__(self) -> str:
        modes = (self.rounding, self.overflow)
        kept = modes if self.overflow != _DEFAULTS[1] else modes[:1] if self.rounding != _DEFAULTS[0] else ()
        return f"ap_{'' if self.is_signed else 'u'}fixed<{','.join([str(self.width), str(self.integer), *kept])}>"

    @property
    def fraction(self) -> int:
        """Bits behind the point."""
        return self.width - self.integer

    @property
    def step(self) -> float:
        """Distance of neighbouring values."""
        return 2.0**-self.fraction

    @property
    def lowest(self) -> float:
        """The least value; SAT_SYM leaves the most negative one out."""
        return float(self._ends()[0] * self.step)

    @property
    def highest(self) -> float:
        """The largest value."""
        return float(self._ends()[1] * self.step)

    def quantise(self, values: ArrayLike) -> Floats:
        """Return values in this format, float64.

        Infinities become the ends where the format saturates. There is no meaning to those that wrap, nor to NaN
        anywhere: the result is NaN.
        """
        lowest, highest = self._ends()
        scaled = np.ldexp(np.asarray(values, dtype=np.float64), self.fraction)
        integers = rounded(scaled, self.rounding)
        return _unscaled(overflowed(integers, lowest, highest, self.overflow, scaled), self.fraction)

    def with_modes(self, rounding: Rounding, overflow: Overflow) -> FixedPoint:
        """Return the format with other modes."""
        return dataclasses.replace(self, rounding=rounding, overflow=overflow)

    def _ends(self) -> tuple[float, float]:
        if not self.is_signed:
            return 0.0, 2.0**self.width - 1
        # ap_fixed's only bit is its sign at a width of 1: the negative value stays.
        is_symmetric = self.overflow == "SAT_SYM" and self.width > 1
        return -(2.0 ** (self.width - 1)) + is_symmetric, 2.0 ** (self.width - 1) - 1


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPointGrid:
    """A format for each value of a row, as HGQ2 learns them; arrays broadcast against the row's shape.

    Args:
        is_signed: boolean.
        integer: bits before the point, without the sign's.
        fraction: bits behind the point; a value with no bits at all is 0.
        rounding, overflow: of all.

    Raises:
        ConfigurationError: a format has more than 53 bits, or there is no such mode.
    """

    is_signed: NDArray[np.bool_]
    integer: NDArray[Any]
    fraction: NDArray[Any]
    rounding: Rounding = "TRN"
    overflow: Overflow = "WRAP"

    def __post_init__(self) -> None:
        arrays = np.broadcast_arrays(self.is_signed, self.integer, self.fraction)
        for name, array, dtype in zip(("is_signed", "integer", "fraction"), arrays, (bool, int, int), strict=True):
            object.__setattr__(self, name, np.array(array, dtype=dtype))
        if self.width.max(initial=0) > MOST_BITS:
            raise ConfigurationError(f"{self} has more bits than the {MOST_BITS} that the emulator knows")
        FixedPoint(1, 1, True, self.rounding, self.overflow)

    def __str__(self) -> str:
        same = self.uniform()
        if same is not None:
            return str(same)
        ends = sorted({int(self.width.min()), int(self.width.max())})
        modes = ",".join(mode for mode in (self.rounding, self.overflow))
        return f"ap_fixed<{'…'.join(map(str, ends))} bits each,{modes}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays."""
        return self.fraction.shape

    @property
    def width(self) -> NDArray[np.int64]:
        """All bits of each; at least 0."""
        return np.asarray(np.maximum(self.is_signed + self.integer + self.fraction, 0), dtype=np.int64)

    @property
    def step(self) -> Floats:
        """Distance of neighbouring values of each."""
        return np.asarray(np.ldexp(1.0, -self.fraction), dtype=np.float64)

    @property
    def lowest(self) -> Floats:
        """The least value of each."""
        return np.asarray(np.where(self.width > 0, self.ends()[0] * self.step, 0.0) + 0.0)

    @property
    def highest(self) -> Floats:
        """The largest value of each."""
        return np.asarray(np.where(self.width > 0, self.ends()[1] * self.step, 0.0))

    def quantise(self, values: ArrayLike) -> Floats:
        """Return values, [..., *shape], in their formats, float64; see `FixedPoint.quantise`."""
        array = np.asarray(values, dtype=np.float64)
        scaled = np.ldexp(array, self.fraction)
        kept = overflowed(rounded(scaled, self.rounding), *self.ends(), self.overflow, scaled)
        return np.asarray(np.where(self.width > 0, _unscaled(kept, self.fraction), 0.0))

    def uniform(self) -> FixedPoint | None:
        """Return the format of all values if they have one in common."""
        if self.fraction.size == 0 or self.width.min() == 0:
            return None
        if any(np.any(array != array.flat[0]) for array in (self.is_signed, self.integer, self.fraction)):
            return None
        width, sign = int(self.width.flat[0]), bool(self.is_signed.flat[0])
        return FixedPoint(width, int(self.integer.flat[0]) + sign, sign, self.rounding, self.overflow)

    def ends(self) -> tuple[Floats, Floats]:
        """Return the least and the largest integer of each, those without bits as if they had some."""
        top = np.ldexp(1.0, np.maximum(self.integer + self.fraction, 0))
        is_symmetric = (self.overflow == "SAT_SYM") & (self.width > 1)
        return np.where(self.is_signed, -top + is_symmetric, 0.0), top - 1


def rounded(values: Floats, mode: Rounding) -> Floats:
    """Return values rounded to integers."""
    if mode == "TRN":
        return np.asarray(np.floor(values))
    if mode == "TRN_ZERO":
        return np.asarray(np.trunc(values))
    nearest_even = np.rint(values)
    if mode == "RND_CONV":
        return np.asarray(nearest_even)
    # The difference is exact, so that ties are told from their neighbours.
    with np.errstate(invalid="ignore"):
        behind = values - nearest_even
    is_tie_kept_down, is_tie_taken_up = behind == 0.5, behind == -0.5
    if mode == "RND":
        return np.asarray(nearest_even + is_tie_kept_down)
    if mode == "RND_MIN_INF":
        return np.asarray(nearest_even - is_tie_taken_up)
    is_upwards = (values > 0) == (mode == "RND_INF")
    return np.asarray(np.where(is_upwards, nearest_even + is_tie_kept_down, nearest_even - is_tie_taken_up))


def overflowed(integers: Floats, lowest: ArrayLike, highest: ArrayLike, mode: Overflow, unrounded: Floats) -> Floats:
    """Return integers brought between two ends.

    Args:
        integers: rounded.
        lowest, highest: ends.
        mode: what happens to integers beyond them.
        unrounded: what the integers were; WRAP_SM looks at it.
    """
    low, high = np.asarray(lowest, dtype=np.float64), np.asarray(highest, dtype=np.float64)
    if mode in ("SAT", "SAT_SYM"):
        return np.asarray(np.clip(integers, low, high))
    if mode == "SAT_ZERO":
        return np.asarray(np.where((integers < low) | (integers > high), 0.0, integers))
    values = high - low + 1
    wrapped = _wrapped(integers, low, values)
    if mode == "WRAP":
        return wrapped
    # The sign becomes the lowest bit cut off, as it was before rounding; where it differs, all bits are complemented.
    cut_off = np.fmod(np.floor(unrounded / values), 2) != 0
    is_complemented = (integers != wrapped) & (cut_off != (wrapped < 0))
    return np.asarray(np.where(is_complemented, -1 - wrapped, wrapped))


def _wrapped(integers: Floats, lowest: Floats, period: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        within = np.fmod(integers, period)
    return np.asarray(within - period * np.floor((within - lowest) / period))


def _unscaled(integers: Floats, fraction: ArrayLike) -> Floats:
    return np.asarray(np.ldexp(integers, -np.asarray(fraction)) + 0.0)


def _unknown(what: str, mode: str, known: tuple[str, ...]) -> str:
    return f"there is no {what} mode '{mode}'{nearest(mode, known)}; there are {', '.join(known)}"
