"""Throughput: how many inferences a second the device could do, and how many the link to it brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

LINKS: Mapping[str, float] = {
    "1 GbE": 1.0,
    "10 GbE": 10.0,
    "25 GbE": 25.0,
    "100 GbE": 100.0,
    "PCIe 3 x16": 126.0,
}
"""Gigabits per second in each direction, of payload for PCIe after its 128b/130b code."""


@dataclasses.dataclass(frozen=True, slots=True)
class Roofline:
    """What bounds the throughput of a service with the model.

    Args:
        kernel_per_s: inferences per second that the design takes.
        multiplications: of one inference.
        input_bytes, output_bytes: of one inference, on the link.
        link_gbit_s: bandwidth of the link, in each direction.
        peak_per_s: multiplications per second if all of the device's DSPs worked in each cycle.
    """

    kernel_per_s: float
    multiplications: int
    input_bytes: int
    output_bytes: int
    link_gbit_s: float
    peak_per_s: float

    def link_per_s(self, gbit_s: float | None = None) -> float:
        """Return the inferences per second that a link brings; both directions work at the same time."""
        busiest_bytes = max(self.input_bytes, self.output_bytes)
        return (self.link_gbit_s if gbit_s is None else gbit_s) * 1e9 / 8 / busiest_bytes if busiest_bytes else 0.0

    @property
    def attainable_per_s(self) -> float:
        """The lower one of kernel and link."""
        return min(self.kernel_per_s, self.link_per_s())

    @property
    def is_link_bound(self) -> bool:
        """Whether the link is what limits."""
        return self.link_per_s() < self.kernel_per_s

    @property
    def intensity(self) -> float:
        """Multiplications per byte on the busier direction of the link."""
        return self.multiplications / max(1, self.input_bytes, self.output_bytes)
