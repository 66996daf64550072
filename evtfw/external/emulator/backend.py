"""``fpga:MODEL?device=…``: what an FPGA would answer, computed here, and when it would."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import BadRequest, ConfigurationError, ExternalError
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.contract import (
    Backend,
    ModelDescription,
    Provenance,
    Reply,
    Request,
    Tensors,
    TensorSpec,
    inputs_of,
)
from evtfw.external.delivery import deliver
from evtfw.external.embedded import EmbeddedBackend, EmbeddedSettings
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.device.clock import DeviceClock
from evtfw.external.emulator.device.description import field_names
from evtfw.external.emulator.device.pacing import Pacer
from evtfw.external.emulator.device.presets import NamedDevice, default_device, load_device
from evtfw.external.emulator.finding import find_emulated, read_card
from evtfw.external.urls import OptionReader, parse_url
from evtfw.external.validate import Validator, nonfinite_names

Pace: TypeAlias = Literal["asap", "device"]
PACES: Final[tuple[Pace, ...]] = get_args(Pace)


@dataclasses.dataclass(frozen=True, slots=True)
class FpgaStatistics:
    """Counts since `FpgaBackend.open`.

    Args:
        requests: taken and, as far as they go, answered.
        rows: of these.
        late: replies that came after the device would have answered, because computing here took longer; none unless
            replies keep the device's pace.
        busy_s: modelled: for how long the device's kernels would have been held, summed over them.
    """

    requests: int = 0
    rows: int = 0
    late: int = 0
    busy_s: float = 0.0


class FpgaBackend(Backend):
    """Runs a model in the arithmetic of an FPGA on this machine's processors, and models the device's time.

    The URL is ``fpga:NAME`` for a model that evtfw ships, ``fpga:PATH`` for a file made by ``evtfw emulate convert``;
    options follow after ``?``:

    * ``device``: a preset, or the path of a YAML file; default: what the model's card says.

      =====================  ============================================================================
      ``brainwave-arria10``  Microsoft Brainwave, ResNet-50: 1.8 ms, 650 images a second
      ``hls4ml-vu9p``        hls4ml on a Virtex UltraScale+ VU9P at 200 MHz: jets in 45 ns, one every 5 ns
      ``hls4ml-ku115``       hls4ml on a Kintex UltraScale KU115 at 200 MHz: jets in 75 ns, one every 5 ns
      ``faast-alveo-u250``   FaaST's FACILE on an Alveo U250: four kernels, calls of 16384 rows
      ``faast-aws-f1``       FaaST's FACILE on an FPGA of AWS F1, calls of 16384 rows
      =====================  ============================================================================

    * ``pace``: ``asap`` (the default) answers as soon as the reply is computed; ``device`` when the device would have,
      with the queue before it, and never earlier. If computing here takes longer the reply is late, and says by how
      much.
    * one figure of the device each, in place of the one in its description: ``devices``, ``kernels``, ``clock_mhz``,
      ``latency_s`` or ``latency_cycles``, ``initiation_interval_s`` or ``initiation_interval_cycles``,
      ``transfer.fixed_s``, ``transfer.to_device_bytes_per_s``, ``transfer.from_device_bytes_per_s``,
      ``transfer.value_bytes``, ``batch.rows``, ``batch.fixed``;
    * how it is computed, as for ``cpu:``: ``threads``, ``intra_op_threads``, ``max_batch``, ``nonfinite``, ``arena``.

    `Times.device_ns` of a reply is the modelled time of transfers and computing, `Times.device_queue_ns` that of
    waiting for others (with ``pace=device`` only, since requests do not meet on the device at another pace); all else
    is this machine's. Latency and interval of a preset are those of the network it was measured with.

    Args:
        model: name of a shipped model, or path of an ONNX file with its card.
        device: preset, path, or description; None: what the card says.
        changes: figures of the device to put in place of those described.
        pace: ``asap`` or ``device``.
        settings: how it is computed.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | Path | NamedDevice | None = None,
        changes: Mapping[str, str] | None = None,
        pace: Pace = "asap",
        settings: EmbeddedSettings = EmbeddedSettings(),  # noqa: B008 (frozen)
        url: str = "",
    ) -> None:
        self.url = url or f"fpga:{model}"
        self._model = model
        self._device = device
        self._changes = dict(changes or {})
        self._is_paced = pace == "device"
        self._settings = settings
        self._inner: EmbeddedBackend | None = None
        self._requests = self._rows = self._late = 0

    @classmethod
    def from_url(cls, url: str) -> FpgaBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        if parsed.authority or not parsed.path:
            raise ValueError(f"'{url}' names no model; write 'fpga:NAME' or 'fpga:PATH', e.g. 'fpga:toptag'")
        options = OptionReader(parsed)
        name = options.text("device", "")
        pace = options.choice("pace", "asap", PACES)
        settings = EmbeddedSettings.read(options)
        changes = {field: value for field in field_names() if (value := options.text(field, ""))}
        options.finish()
        try:
            device = load_device(name, changes) if name else None
        except ConfigurationError as error:
            raise ValueError(f"'{url}': {'; '.join(error.problems)}") from None
        return cls(parsed.path, device=device, changes=changes, pace=pace, settings=settings, url=url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._inner is not None:
            raise ConfigurationError(f"{self.url} is open already: give each job its own backend object, or the URL")
        path = find_emulated(self._model)
        card = read_card(path)
        self._named = self._choose(card, context)
        inline = isinstance(context.clock, VirtualClock)
        inner = EmbeddedBackend(str(path), self._settings, url=self.url, inline=inline)
        inner.open(context)
        self._card, self._clock, self._pacer = card, context.clock, Pacer(context.clock)
        self._description = model = dataclasses.replace(
            inner.describe(), platform="fpga-emulation", source_sha256=card.source.sha256
        )
        self._validator = Validator(model, self.url)
        self._provenance = Provenance(
            self.url, model=model.name, version=model.version, sha256=model.sha256, device=self._named.name
        )
        self._device_clock = _clock_of(self._named, model)
        self._requests = self._rows = self._late = 0
        self._inner = inner

    def _choose(self, card: ModelCard, context: JobContext) -> NamedDevice:
        if isinstance(self._device, NamedDevice):
            return self._device
        if self._device is not None or card.device:
            return load_device(self._device or card.device, self._changes)
        named = load_device(default_device(card.arithmetic), self._changes)
        context.say(
            f"{self.url} names no device: its times are those of {named.name} ({named.device.title}) with "
            f"{named.device.network or 'its own network'}; choose one with device=…, see 'evtfw describe fpga'"
        )
        return named

    def close(self) -> None:
        """See `Backend.close`."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
            self._pacer.close(ExternalError(f"{self.url} was closed before the device would have answered"))

    @property
    def slots(self) -> int:
        """As many requests as keep the device busy, if replies keep its pace; else see `Backend.slots`."""
        inner = self._opened()
        return max(inner.slots, self._device_clock.capacity) if self._is_paced else inner.slots

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`; none on a virtual clock, which stands still while it computes."""
        return self._inner.local_threads if self._inner is not None else 0

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        model, pace = self._opened().describe().name, "device's pace" if self._is_paced else "as soon as computed"
        return f"FPGA emulation of '{model}' ({self._card.format} on {self._named.name}, {pace}; {self.url})"

    @property
    def statistics(self) -> FpgaStatistics:
        """What was asked since the backend was opened."""
        busy_s = self._device_clock.busy_ns * 1e-9 if self._requests else 0.0
        return FpgaStatistics(self._requests, self._rows, self._late, busy_s)

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        self._opened()
        return self._description

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        inner = self._inner
        if inner is None:
            done.fail(ExternalError(f"{self.url} is not open"))
            return
        try:
            rows = self._rows_of(inputs_of(request))
        except BadRequest as error:
            done.fail(error)
            return
        due_ns = alone_ns = queue_ns = 0
        if rows:
            due_ns, alone_ns, queue_ns = self._model_times(rows)
        self._requests += 1
        self._rows += rows
        ended = functools.partial(self._computed, done, due_ns, alone_ns, queue_ns)
        inner.submit(request, CallbackCompletion(ended, parent=done))

    def _rows_of(self, inputs: Tensors) -> int:
        """Check a request and return its rows. Raises BadRequest, also for what no format of a device can hold."""
        rows = self._validator.rows_of_request(inputs)
        bad = nonfinite_names(inputs)
        if bad:
            raise BadRequest(
                f"request to {self.url}: NaN or infinity in {', '.join(bad)}, which {self._card.format} cannot hold"
            )
        return rows

    def _model_times(self, rows: int) -> tuple[int, int, int]:
        """Return when the device would answer (0: it does not matter), and the times of its own."""
        if self._is_paced:
            times = self._device_clock.admit(self._clock.now_ns(), rows)
            return times.finish_ns, times.alone_ns, times.queue_ns
        return 0, self._device_clock.alone(rows), 0

    def _computed(
        self, done: Completion, due_ns: int, alone_ns: int, queue_ns: int, reply: Any, error: BaseException | None
    ) -> None:
        if error is not None:
            deliver(done, error)
            return
        left_ns = due_ns - self._clock.now_ns() if due_ns else 0
        late_ns = max(0, -left_ns)
        self._late += late_ns > 0
        times = reply.times._replace(
            held_ns=max(0, left_ns), late_ns=late_ns, device_ns=alone_ns, device_queue_ns=queue_ns
        )
        reply = Reply(reply.outputs, self._provenance, times, reply.nonfinite)
        if left_ns > 0 and self._inner is not None:
            self._pacer.hold(done, reply, left_ns)
        else:
            deliver(done, reply)

    def _opened(self) -> EmbeddedBackend:
        if self._inner is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._inner


def _clock_of(named: NamedDevice, model: ModelDescription) -> DeviceClock:
    there, back = (_row_size(tensors, model.is_batched) for tensors in (model.inputs, model.outputs))
    return DeviceClock(
        named.device, values_there=there[0], bytes_there=there[1], values_back=back[0], bytes_back=back[1]
    )


def _row_size(tensors: tuple[TensorSpec, ...], is_batched: bool) -> tuple[int, int]:
    """Return numbers and bytes of a row; axes of any length count as one."""
    values = [math.prod(n or 1 for n in spec.shape[1 if is_batched else 0 :]) for spec in tensors]
    return sum(values), sum(n * spec.dtype.itemsize for n, spec in zip(values, tensors, strict=True))
