"""FPGAs by name: what they have and how fast their adders are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, Field

from evtfw.core.errors import ConfigurationError, nearest


class Fpga(BaseModel):
    """An FPGA."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    luts: int = Field(gt=0, description="6-input look-up tables")
    ffs: int = Field(gt=0, description="flip-flops")
    dsps: int = Field(gt=0)
    multipliers_per_dsp: int = Field(1, gt=0, description="of 18 bits")
    brams: int = Field(gt=0, description="blocks of `bram_kbits`")
    bram_kbits: int = Field(36, gt=0)
    adder_ns: float = Field(gt=0, description="delay of an adder with its wires")
    source: str

    def available(self) -> Mapping[str, float]:
        """Return how much there is, in the units of `evtfw.external.emulator.cost.figures.QUANTITIES`."""
        return {
            "dsp": self.dsps * self.multipliers_per_dsp,
            "lut": self.luts,
            "ff": self.ffs,
            "bram": self.brams * self.bram_kbits / 36,
        }


@functools.cache
def fpgas() -> Mapping[str, Fpga]:
    """Return all that are known, by name."""
    text = files(__package__).joinpath("fpgas.yaml").read_text(encoding="utf-8")
    return {name: Fpga.model_validate(fields) for name, fields in yaml.safe_load(text).items()}


def find_fpga(name: str) -> Fpga:
    """Return an FPGA.

    Args:
        name: of it, or of a device with it, such as ``hls4ml-vu9p``.

    Raises:
        ConfigurationError: if none is called so.
    """
    words = name.lower().split("-")
    ends = ("-".join(words[start:]) for start in range(len(words)))
    found = next((fpgas()[end] for end in ends if end in fpgas()), None)
    if found is None:
        raise ConfigurationError(
            f"there is no FPGA '{name}' in the table{nearest(name, fpgas())}; it has {', '.join(fpgas())}"
        )
    return found
