"""What conversion writes, from which sources, and what it refuses."""

import hashlib

import numpy as np
import onnxruntime
import pytest

import evtfw.data
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.conversion import convert
from evtfw.external.emulator.conversion_check import compare
from tests.external.emulator.reading.models import Graph


def mlp():
    g = Graph()
    x = g.node("Gemm", g.input("x", 6), g.weights(6, 5), g.weights(5), name="fc1")
    x = g.node("Gemm", g.node("Relu", x, name="act"), g.weights(5, 3), g.weights(3), name="fc2", output="y")
    return g.model(x)


@pytest.fixture
def source(tmp_path):
    import onnx

    path = tmp_path / "source.onnx"
    onnx.save(mlp(), path)
    return path


def answers(path, **rows):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, rows)[0]


def test_the_model_keeps_names_and_shapes_and_its_card_has_all_checksums(source, tmp_path):
    path = convert(source, format="ap_fixed<20,8>", out=tmp_path / "m.onnx", device="hls4ml-vu9p", name="jets")
    card = ModelCard.read(path)
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.source.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (card.name, card.format, card.device) == ("jets", "ap_fixed<20,8>", "hls4ml-vu9p")
    assert [layer.name for layer in card.layers] == ["fc1", "act", "fc2"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(t.name, t.shape[1:], t.type) for t in session.get_inputs()] == [("x", [6], "tensor(float)")]
    assert [(t.name, t.shape[1:], t.type) for t in session.get_outputs()] == [("y", [3], "tensor(float)")]
    assert all(isinstance(t.shape[0], str) for t in (*session.get_inputs(), *session.get_outputs()))


def test_the_same_source_makes_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(source, format="ap_fixed<16,6>", out=tmp_path / name / "m.onnx")
    for file in ("m.onnx", "m.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_files_that_an_old_onnxruntime_reads(source, tmp_path):
    import onnx

    model = onnx.load(convert(source, format="ap_fixed<16,6>", out=tmp_path / "m.onnx"))
    assert model.ir_version <= 10
    assert max(entry.version for entry in model.opset_import) <= 21


def test_nothing_is_replaced_unasked_nor_halfway(source, tmp_path):
    out = convert(source, format="ap_fixed<16,6>", out=tmp_path / "m.onnx")
    before = [file.read_bytes() for file in (out, out.with_suffix(".json"))]
    with pytest.raises(ConfigurationError, match="is there already"):
        convert(source, format="ap_fixed<12,6>", out=out)
    with pytest.raises(ConfigurationError, match="no format"):
        convert(source, format="fixd8", out=out, overwrite=True)
    assert [file.read_bytes() for file in (out, out.with_suffix(".json"))] == before
    convert(source, format="ap_fixed<12,6>", out=out, overwrite=True)
    assert ModelCard.read(out).format == "ap_fixed<12,6>"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.json", "m.onnx", "source.onnx"]


def test_a_configuration_of_hls4ml_brings_formats_and_reuse(source, tmp_path):
    config = {
        "Model": {"Precision": {"default": "fixed<16,6>"}, "ReuseFactor": 1, "Strategy": "Resource"},
        "LayerName": {"fc1": {"Precision": {"weight": "fixed<8,2>", "result": "auto"}, "ReuseFactor": 4}},
    }
    card = ModelCard.read(convert(source, format="hls4ml", configuration=config, out=tmp_path / "m.onnx"))
    first = card.layers[0]
    assert (first.weight_format, first.accumulator_format) == ("ap_fixed<8,2>", "ap_fixed<16,6>")
    assert (first.reuse_factor, first.strategy) == (3, "resource")  # 4 does not suit 6 times 5
    assert card.layers[2].reuse_factor == 1


def test_an_object_in_memory_is_a_source_too(tmp_path):
    card = ModelCard.read(convert(mlp(), format="ap_fixed<16,6>", out=tmp_path / "m.onnx"))
    assert card.source.sha256 == ""


def test_functions_of_the_inputs_stay_on_the_host(tmp_path):
    """The shipped image network takes logarithms first; here it is in small."""
    g = Graph()
    x = g.node("Mul", g.input("image", 4, 4, 1), g.constant(3.0))
    x = g.node("Log", g.node("Add", x, g.constant(1.0)))
    x = g.node("Transpose", g.node("Mul", x, g.constant(0.5)), perm=[0, 3, 1, 2])
    x = g.node("Conv", x, g.weights(2, 1, 3, 3))
    model = g.model(g.node("Flatten", x, output="y"))
    out = convert(model, format="ap_fixed<24,8>", out=tmp_path / "m.onnx")
    card = ModelCard.read(out)
    assert [layer.kind for layer in card.layers] == ["transpose", "conv2d", "reshape"]
    assert any("(Log)" in note and "host" in note for note in card.notes)
    rows = np.random.default_rng(1).uniform(size=(50, 4, 4, 1)).astype(np.float32)
    (difference,) = compare(model, out, 50, {"image": rows})
    assert difference.output == "y"
    assert 0 < difference.largest < 1e-3


def test_logarithms_elsewhere_are_refused(tmp_path):
    g = Graph()
    x = g.node("Gemm", g.input("x", 6), g.weights(6, 5))
    with pytest.raises(ConfigurationError, match=r"\(Log\)"):
        convert(g.model(g.node("Log", x)), format="ap_fixed<16,6>", out=tmp_path / "m.onnx")


def test_the_shipped_image_network_can_be_converted(tmp_path):
    out = convert(evtfw.data.path("toptag.onnx"), format="ap_fixed<18,8>", out=tmp_path / "m.onnx")
    assert len(ModelCard.read(out).layers) == 23


def test_trees(tmp_path):
    from sklearn.ensemble import GradientBoostingClassifier

    random = np.random.default_rng(2)
    features = random.normal(size=(200, 4)).astype(np.float32)
    trees = GradientBoostingClassifier(n_estimators=5, max_depth=3, random_state=1)
    trees.fit(features, features[:, 0] + features[:, 1] > 0)
    of_conifer = {"format": "native", "configuration": {"Precision": "ap_fixed<18,8>"}}
    for name, more in {"a": {"format": "ap_fixed<18,8>"}, "b": of_conifer}.items():
        card = ModelCard.read(convert(trees, out=tmp_path / f"{name}.onnx", **more))
        assert card.arithmetic == "trees"
        assert card.trees.trees == 5
        assert card.trees.score_format == "ap_fixed<18,8>"
        assert card.source.kind == "sklearn"


def test_formats_of_overlays(source, tmp_path):
    card = ModelCard.read(convert(source, format="msfp12", out=tmp_path / "m.onnx"))
    assert card.arithmetic == "msfp"
    rows = {"x": np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32)}
    card = ModelCard.read(convert(source, format="fixed8", calibration=rows, out=tmp_path / "f.onnx"))
    assert card.arithmetic == "fixed8"
    with pytest.raises(ConfigurationError, match="calibration"):
        convert(source, format="fixed8", out=tmp_path / "g.onnx")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "fixd8"}, "no format 'fixd8'; did you mean 'fixed8'"),
        ({"format": "ap_fixed<16>"}, "no fixed-point format"),
        ({"format": "hls4ml"}, "needs hls4ml's configuration"),
        ({"format": "native"}, "no quantisation of its own"),
        ({"format": "msfp12", "configuration": {}}, "leave it out"),
        ({"format": "ap_fixed<16,6>", "configuration": {}}, "choose format 'hls4ml'"),
        ({"format": "ap_fixed<16,6>", "device": "vu9"}, "no device 'vu9'"),
        ({"format": "ap_fixed<16,6>", "out": "m.txt"}, "must be an .onnx file"),
        ({"format": "ap_fixed<16,6>", "out": "no/m.onnx"}, "there is no folder"),
        ({"format": "ap_fixed<16,6>", "source": "sourc.onnx"}, "did you mean 'source.onnx'"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(options, words, source, tmp_path):
    out, model = tmp_path / options.pop("out", "m.onnx"), tmp_path / options.pop("source", source.name)
    with pytest.raises(ConfigurationError, match=words):
        convert(model, out=out, **options)
    assert not (tmp_path / "m.onnx").exists()


def test_comparison_with_the_source(source, tmp_path):
    out = convert(source, format="ap_fixed<24,8>", out=tmp_path / "m.onnx")
    (fine,) = compare(source, out, 200)
    coarse = convert(source, format="ap_fixed<10,6>", out=tmp_path / "c.onnx")
    (rough,) = compare(source, coarse, 200)
    assert 0 < fine.largest < 1e-3 < rough.largest
    assert fine.mean < fine.largest
    assert fine.rows == 200
    assert fine.same_class_fraction > 0.99
    with pytest.raises(ConfigurationError, match="takes rows of shape"):
        compare(source, out, 10, {"x": np.zeros((10, 5))})
