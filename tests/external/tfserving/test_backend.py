"""The client against a server that speaks the protocol through protobuf's classes."""

from __future__ import annotations

import numpy as np
import pytest

from evtfw.core.errors import BadReply, BadRequest, ConfigurationError, ExternalError
from evtfw.external.errors import ModelNotFound
from evtfw.external.tfserving.backend import TfServingBackend
from evtfw.external.tfserving.messages import PredictRequest
from evtfw.external.tfserving.predict import model_spec, request_head, write_request
from evtfw.external.urls import OptionReader, make_backend, parse_url
from tests.external.conftest import submit

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def make(tensorflow, real_context):
    made = []

    def make_client(path="double", options=""):
        url = parse_url(f"tfserving+grpc://{tensorflow.authority}/{path}?{options}")
        reader = OptionReader(url)
        backend = TfServingBackend.client(url.authority, url, reader)
        reader.finish()
        made.append(backend)
        backend.open(real_context)
        return backend

    yield make_client
    for backend in made:
        backend.close()


@pytest.mark.parametrize("answers", ["content", "values"])
def test_a_request_is_answered(tensorflow, make, answers):
    tensorflow.answers = answers
    backend = make()
    reply = submit(backend, X).reply
    assert reply["y"].tolist() == (2 * X["x"]).tolist()
    assert (reply.provenance.model, reply.provenance.version) == ("double", "4")
    assert not reply["y"].flags.owndata


def test_the_server_is_asked_what_it_serves(make):
    model = make().describe()
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == ["x: float32 [?, 3]", "y: float32 [?, 3]"]
    assert (model.name, model.version, model.max_batch_size) == ("double", "4", None)


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        ("double", ("double", 0, "", "")),
        ("double/4", ("double", 4, "", "")),
        ("double/stable", ("double", 0, "stable", "")),
        ("double/4/serving_default", ("double", 4, "", "serving_default")),
        ("double//serving_default", ("double", 0, "", "serving_default")),
    ],
)
def test_model_version_and_signature_are_those_of_the_url(tensorflow, make, path, spec):
    assert submit(make(path), X).reply
    sent = tensorflow.predict_requests[0].model_spec
    assert (sent.name, sent.version.value, sent.version_label, sent.signature_name) == spec


def test_a_server_that_tells_nothing_is_taken_at_its_urls_word(tensorflow, make):
    tensorflow.tells_metadata = False
    model = make(options="inputs=x:float32[?,3]&outputs=y:float32[?,3]").describe()
    assert model.max_batch_size is None
    assert str(model.inputs[0]) == "x: float32 [?, 3]"
    anything = make()
    assert anything.describe().inputs == ()
    assert anything.describe().max_batch_size == 0
    assert submit(anything, X).reply["y"].tolist() == (2 * X["x"]).tolist()
    assert make(options="batched=yes").describe().max_batch_size is None


def test_what_does_not_exist_is_said_when_opened(make):
    with pytest.raises(ModelNotFound, match="Servable not found"):
        make("duoble")
    with pytest.raises(ConfigurationError, match=r"no signature 'serving_defualt'.*did you mean 'serving_default'"):
        make("double/4/serving_defualt")
    with pytest.raises(ConfigurationError, match=r"outputs are y: float32 \[\?, 3\], not y: float64"):
        make(options="outputs=y:float64[?,3]")


def test_wrong_arrays_and_wrong_replies(tensorflow, make):
    backend = make()
    assert isinstance(submit(backend, {"x": np.zeros((1, 4), np.float32)}).error, BadRequest)
    tensorflow.answers = "truncated"
    error = submit(backend, X).error
    assert isinstance(error, BadReply)
    assert "output 'y'" in str(error)
    assert "needs 24 bytes, but has 23" in str(error)


def test_types_that_tensorflow_does_not_have(tensorflow, make):
    tensorflow.tells_metadata = False
    error = submit(make(), {"when": np.zeros(1, "M8[s]")}).error
    assert isinstance(error, BadRequest)
    assert "input 'when'" in str(error)


def test_any_array_is_sent_as_protobuf_would():
    inputs = {
        "numbers": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "none": np.zeros((0, 4), np.float16),
        "words": np.array([["a"], ["b"]], object),
        "one": np.float64(3)[()] * np.ones(()),
    }
    sent = PredictRequest.FromString(b"".join(write_request(request_head(model_spec("m", "2", "s")), inputs)))
    assert sent.model_spec.version.value == 2
    assert sorted(sent.inputs) == sorted(inputs)
    assert sent.inputs["numbers"].tensor_content == np.ascontiguousarray(inputs["numbers"]).tobytes()
    assert list(sent.inputs["words"].string_val) == [b"a", b"b"]
    assert sent.inputs["one"].dtype == 2


def test_an_url_gives_a_backend_with_batching_and_routing(tensorflow, real_context):
    backend = make_backend(f"tfserving+grpc://{tensorflow.authority}/double/4?max_batch=4")
    backend.open(real_context)
    try:
        rows = np.arange(30, dtype=np.float32).reshape(10, 3)
        assert submit(backend, {"x": rows}).reply["y"].tolist() == (2 * rows).tolist()
    finally:
        backend.close()


def test_wrong_urls_are_explained():
    with pytest.raises(ValueError, match="names no model"):
        make_backend("tfserving+grpc://host:1")
    with pytest.raises(ValueError, match="there is no option 'tokn'"):
        make_backend("tfserving+grpc://host:1/m?tokn=a")
    with pytest.raises(ValueError, match="batched must be one of"):
        make_backend("tfserving+grpc://host:1/m?batched=maybe")


def test_it_says_that_it_is_not_open():
    backend = TfServingBackend.client("h:1", parse_url("tfserving+grpc://h:1/m"), OptionReader(parse_url("x:")))
    assert isinstance(submit(backend, X).error, ExternalError)
