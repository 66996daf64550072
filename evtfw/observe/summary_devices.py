"""The part of the timing summary on emulated devices: their modelled time, beside what it took here."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from evtfw.observe.replies import DeviceTiming
from evtfw.observe.summary_parts import padded, plain_table
from evtfw.observe.timing import Timing
from evtfw.observe.units import count, duration, ratio


def devices_part(timing: Timing) -> Iterator[RenderableType]:
    """Yield a table of the emulated devices and, if replies were late, why; nothing without a device."""
    found = [(module.label, d) for module in timing.modules if module.replies for d in module.replies.devices]
    if not found:
        return
    table = plain_table(
        "Emulated device", "Replies", "Device time", "Queue there", "Wait here", "Here : there", "Late", left=1
    )
    table.add_column("Device", style="dim", overflow="fold")
    for label, device in found:
        table.add_row(
            label,
            count(device.replies),
            *(duration(ns * 1e-9) for ns in (device.mean_device_ns, device.mean_queue_ns, device.mean_wait_ns)),
            ratio(device.slowdown),
            Text(count(device.late), style="yellow" if device.late else "dim"),
            device.name,
        )
    yield table
    yield padded(
        Text("Device time and queue there are modelled, means of a reply; all other times are measured here.", "dim"),
        *(Text(lateness(label, device), style="yellow") for label, device in found if device.late),
    )


def lateness(label: str, device: DeviceTiming) -> str:
    """Say how much longer replies took here than on the device."""
    return (
        f"{label}: the CPU took {ratio(device.slowdown)} times the device's time; {count(device.late)} of "
        f"{count(device.replies)} replies came late, {duration(device.mean_late_ns * 1e-9)} on average"
    )
