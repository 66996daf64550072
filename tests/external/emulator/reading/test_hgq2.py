"""Models that HGQ2 trained answer what HGQ2 itself says; the answers were made by ``data/make_hgq2.py``."""

import json
import pathlib
import zipfile

import numpy as np
import onnxruntime
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.conversion import convert
from evtfw.external.emulator.formats.fixed_point import FixedPointGrid
from evtfw.external.emulator.network import Quantise
from evtfw.external.emulator.reading import hgq2

DATA = pathlib.Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_answers_are_hgq2s(name, tmp_path):
    golden = np.load(DATA / f"hgq2_{name}.npz")
    path = convert(DATA / f"hgq2_{name}.keras", format="native", out=tmp_path / "h.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: golden["rows"]})
    assert np.count_nonzero(found != golden["answers"]) == 0
    assert np.unique(found).size > 50
    card = ModelCard.read(path)
    assert card.source.kind == "hgq2"
    assert not card.notes


def test_every_value_has_its_own_format():
    network = hgq2.read(DATA / "hgq2_mlp.keras").network
    first = network.layers[0]
    assert isinstance(first, Quantise)
    assert isinstance(first.format, FixedPointGrid)
    assert np.unique(first.format.width).size > 1


def test_only_native_formats_are_sensible(tmp_path):
    with pytest.raises(ConfigurationError, match="formats of its own"):
        convert(DATA / "hgq2_mlp.keras", format="ap_fixed<16,6>", out=tmp_path / "h.onnx")


def test_unknown_layers_are_named(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(DATA / "hgq2_mlp.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][2]["class_name"] = "QDens"
                content = json.dumps(config)
            target.writestr(name, content)
    with pytest.raises(ConfigurationError, match="'fc2' is a QDens, which cannot be read; did you mean 'QDense'"):
        hgq2.read(path)


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "m.keras").write_text("no zip")
    with pytest.raises(ConfigurationError, match="no model that Keras 3 saved"):
        hgq2.read(tmp_path / "m.keras")
