"""The commands under ``evtfw emulate`` where the extra is not installed."""

import importlib.util

import pytest

from evtfw import data


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "--format", "ap_fixed<16,6>", "--out", "out.onnx"),
        ("profile", "--format", "ap_fixed<16,6>"),
        ("scan",),
        ("report",),
    ],
)
def test_what_to_install_is_said(execute, monkeypatch, tmp_path, words):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    monkeypatch.chdir(tmp_path)
    command, *options = words
    model = data.path("l1jets_q6_fpga.onnx" if command == "report" else "l1jets.onnx")
    code, _, errors = execute("emulate", command, model, *options)
    assert code == 10
    assert "pip install 'evtfw[emulate]'" in " ".join(errors.split())
    assert list(tmp_path.iterdir()) == []
