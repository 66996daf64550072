"""What is known of a device: how fast it is and how it is fed. Data, validated; see ``presets/`` for examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Transfer(_Strict):
    """The link between the host's memory and a device; each device has one of its own, both ways at the same time."""

    fixed_s: NotNegative = Field(
        default=0.0, description="each way, whatever the size: driver, interrupt; holds nothing"
    )
    to_device_bytes_per_s: Positive | None = Field(default=None, description="none: takes no time")
    from_device_bytes_per_s: Positive | None = Field(default=None, description="none: takes no time")
    value_bytes: Positive | None = Field(
        default=None, description="of a number on the link; none: as in the request's arrays"
    )


class BatchBehaviour(_Strict):
    """How many rows a call of the device takes."""

    rows: Count | None = Field(
        default=None, description="of one call at most; more are several calls; none: any number"
    )
    fixed: bool = Field(
        default=False,
        description="each call is a full one, padded: it is transferred as such, and latency and initiation interval "
        "are those of a call. Otherwise rows follow one another in the pipeline, an initiation interval apart",
    )

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        if self.fixed and self.rows is None:
            raise ValueError("fixed calls need their number of rows: give batch.rows")
        return self


class Device(_Strict):
    """A device, or several of them that share the work, with one network on it.

    Latency and initiation interval are given in seconds, or in cycles of the clock.
    """

    title: str
    part: str = Field(default="", description="the chip; what it has is in evtfw/external/emulator/cost/fpgas.yaml")
    network: str = Field(
        default="", description="with which latency and interval were measured; another one has others"
    )
    clock_mhz: Positive | None = None
    latency_s: NotNegative | None = Field(
        default=None, description="from a row in the device's memory to its result there"
    )
    latency_cycles: NotNegative | None = None
    initiation_interval_s: Positive | None = Field(
        default=None, description="from the start of a row to that of the next one"
    )
    initiation_interval_cycles: Positive | None = None
    kernels: Count = Field(default=1, description="copies of the network on one device; they share its link")
    devices: Count = 1
    transfer: Transfer = Transfer()
    batch: BatchBehaviour = BatchBehaviour()
    source: str = Field(default="", description="where the figures come from")
    published: dict[str, str] = Field(default={}, description="figures that were published: where each can be read")
    assumed: dict[str, str] = Field(default={}, description="figures that were not: why each is what it is")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for name, what in (("latency", "latency"), ("initiation_interval", "initiation interval")):
            seconds, cycles = getattr(self, f"{name}_s"), getattr(self, f"{name}_cycles")
            if (seconds is None) == (cycles is None):
                raise ValueError(f"the {what} is given by either {name}_s or {name}_cycles")
            if cycles is not None and self.clock_mhz is None:
                raise ValueError(f"{name}_cycles needs clock_mhz")
        figures = set(self.figures())
        for notes in (self.published, self.assumed):
            unknown = [name for name in notes if name not in figures]
            if unknown:
                raise ValueError(f"there is a note on {unknown[0]}, which is not given")
        return self

    def figures(self) -> Iterator[str]:
        """Yield the names of all numbers that are given, such as ``transfer.fixed_s``."""
        for name, value in _leaves(self.model_dump(exclude_unset=True, exclude={"published", "assumed"})):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield name

    @property
    def latency_ns(self) -> float:
        """Of a row, or of a full call where calls are fixed; transfers not included."""
        return self._ns(self.latency_s, self.latency_cycles)

    @property
    def interval_ns(self) -> float:
        """The initiation interval: of rows, or of calls where these are fixed."""
        return self._ns(self.initiation_interval_s, self.initiation_interval_cycles)

    @property
    def rows_per_s(self) -> float:
        """Most rows that all kernels can take, if the links can bring them."""
        rows = self.batch.rows if self.batch.fixed else 1
        return (rows or 1) * self.kernels * self.devices * 1e9 / self.interval_ns

    def _ns(self, seconds: float | None, cycles: float | None) -> float:
        if seconds is not None:
            return seconds * 1e9
        return (cycles or 0.0) * 1e3 / (self.clock_mhz or 1.0)


def _leaves(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def field_names(model: type[BaseModel] = Device, before: str = "") -> list[str]:
    """Return the names of all numbers and switches that a description may have, such as ``transfer.fixed_s``."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += field_names(inner, f"{before}{name}.")
        elif inner not in (str, dict[str, str]):
            names.append(before + name)
    return names
