"""Devices by name and from files, and what is told of a wrong description."""

import inspect

import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.backend import FpgaBackend
from evtfw.external.emulator.device.description import Device, field_names
from evtfw.external.emulator.device.presets import default_device, load_device, preset_names

MINE = """
title: a board of mine
clock_mhz: 250
latency_cycles: 40
initiation_interval_cycles: 4
transfer:
  fixed_s: 5e-6
"""


@pytest.fixture
def mine(tmp_path):
    def write(text=MINE, **changes):
        for old, new in changes.items():
            text = text.replace(old, new)
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("name", preset_names())
def test_presets_say_where_each_figure_comes_from(name):
    device = load_device(name).device
    assert set(device.figures()) == {*device.published, *device.assumed}
    assert not {*device.published} & {*device.assumed}
    assert "arXiv:" in device.source
    assert device.network


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_described_with_the_backend(name):
    assert f"``{name}``" in inspect.getdoc(FpgaBackend)


def test_published_figures():
    brainwave, vu9p = load_device("brainwave-arria10").device, load_device("hls4ml-vu9p").device
    assert brainwave.latency_ns == 1.8e6
    assert brainwave.rows_per_s == pytest.approx(650)
    assert (vu9p.latency_ns, vu9p.interval_ns, vu9p.clock_mhz) == (45, 5, 200)


def test_each_arithmetic_has_a_device():
    for arithmetic in ("ap_fixed", "fixed8", "msfp", "trees"):
        assert default_device(arithmetic) in preset_names()


def test_a_file_of_ones_own(mine):
    named = load_device(mine())
    assert named.name == "mine.yaml"
    assert (named.device.latency_ns, named.device.interval_ns) == (160, 16)
    assert named.device.transfer.fixed_s == 5e-6


def test_single_values_are_changed_and_told(mine):
    named = load_device(mine(), {"devices": "3", "latency_s": "1e-3", "transfer.fixed_s": "0"})
    assert named.name == "mine.yaml with devices=3, latency_s=1e-3, transfer.fixed_s=0"
    assert named.device.devices == 3
    assert named.device.latency_ns == 1e6
    assert named.device.latency_cycles is None
    assert named.device.transfer.fixed_s == 0


def test_what_was_noted_on_a_changed_value_is_gone():
    device = load_device("brainwave-arria10", {"latency_cycles": "7", "clock_mhz": "1"}).device
    assert device.latency_ns == 7000
    assert "latency_s" not in device.published


def test_all_that_may_be_changed_is_an_option():
    assert {"devices", "kernels", "latency_s", "transfer.fixed_s", "batch.fixed"} <= set(field_names())
    text = inspect.getdoc(FpgaBackend)
    assert not [name for name in field_names() if name not in text]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock_mhz": "clock_mzh"}, "there is no field 'clock_mzh'; did you mean 'clock_mhz'"),
        ({"fixed_s": "fixd_s"}, r"there is no field 'transfer\.fixd_s'; did you mean 'transfer\.fixed_s'"),
        ({"5e-6": "fast"}, r"transfer\.fixed_s: input should be a valid number.*, not 'fast'"),
        ({"5e-6": "-1"}, r"transfer\.fixed_s: input should be greater than or equal to 0, not -1"),
        ({"5e-6": ".nan"}, r"transfer\.fixed_s: input should be a finite number"),
        ({"cycles: 4\n": "cycles: 0\n"}, "initiation_interval_cycles: input should be greater than 0, not 0"),
        ({"title: a board of mine": ""}, "the field 'title' is missing"),
        ({"latency_cycles: 40": ""}, "the latency is given by either latency_s or latency_cycles"),
        ({"clock_mhz: 250": ""}, "latency_cycles needs clock_mhz"),
        ({"transfer:": "batch: {fixed: true}\ntransfer:"}, r"give batch\.rows"),
        ({"transfer:": "published: {kernels: somewhere}\ntransfer:"}, "a note on kernels, which is not given"),
        ({MINE: "- a\n- b\n"}, "has no fields"),
        ({MINE: "a: [\n"}, "is no YAML"),
    ],
)
def test_a_wrong_description_names_file_and_field(mine, changes, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_device(mine(**changes))
    assert "mine.yaml" in str(caught.value)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no device 'brainwav'; did you mean 'brainwave-arria10'"):
        load_device("brainwav")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml cannot be read: No such file"):
        load_device(tmp_path / "mine.yaml")


def test_a_description_in_python():
    device = Device(title="t", latency_s=1e-3, initiation_interval_s=1e-4, kernels=2)
    assert device.rows_per_s == pytest.approx(20_000)
    assert Device(
        title="t", latency_s=1, initiation_interval_s=0.1, batch={"rows": 8, "fixed": True}
    ).rows_per_s == pytest.approx(80)
