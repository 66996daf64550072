from __future__ import annotations

import pickle

import numpy as np
import pytest

from evtfw.core.resource import Resource
from evtfw.external.contract import Backend, ModelDescription, Provenance, Reply, Request, TensorSpec, Times, inputs_of
from evtfw.external.mock import MockBackend


def test_a_backend_is_a_resource():
    assert isinstance(MockBackend(), Resource)


def test_a_backend_passes_through_from_configuration():
    backend = MockBackend()
    assert Backend.from_configuration(backend) is backend


def test_from_configuration_of_a_subclass_wants_that_subclass():
    class Special(MockBackend):
        pass

    with pytest.raises(ValueError, match="is a MockBackend, but a Special is needed"):
        Special.from_configuration("mock:echo")


def test_a_backend_without_urls_says_so():
    class Plain(MockBackend):
        from_url = classmethod(Backend.from_url.__func__)

    with pytest.raises(ValueError, match="Plain cannot be made from an URL such as 'plain:x'"):
        Plain.from_url("plain:x")


def test_specs_take_minus_one_for_a_free_axis():
    spec = TensorSpec("image", "float32", (-1, 64))
    assert spec == TensorSpec("image", np.dtype("f4"), (None, 64))
    assert str(spec) == "image: float32 [?, 64]"


def test_values_are_frozen_and_picklable():
    values = [
        TensorSpec("x", np.dtype("f4"), (None,)),
        ModelDescription("m"),
        Provenance("cpu:m"),
        Times(compute_ns=3),
        Request({}, id="7", priority=1),
    ]
    for value in values:
        assert pickle.loads(pickle.dumps(value)) == value
        with pytest.raises(AttributeError):
            setattr(value, next(iter(getattr(value, "__slots__", ()) or value._fields)), 1)


def test_only_a_positive_or_absent_limit_makes_a_batch_axis():
    assert ModelDescription("m", max_batch_size=None).is_batched
    assert ModelDescription("m", max_batch_size=8).is_batched
    assert not ModelDescription("m", max_batch_size=0).is_batched


def test_inputs_of_both_forms_of_a_request():
    inputs = {"x": np.zeros(1)}
    assert inputs_of(inputs) is inputs
    assert inputs_of(Request(inputs, priority=2)) is inputs


def test_a_reply_is_a_mapping():
    reply = Reply({"probability": np.array([[0.5, 0.5]])}, Provenance("cpu:toptag"))
    assert list(reply) == ["probability"]
    assert len(reply) == 1
    assert reply["probability"].shape == (1, 2)
    assert repr(reply) == "<Reply of cpu:toptag: probability: float64 [1, 2]>"


def test_an_unknown_output_names_the_backend_and_the_nearest():
    reply = Reply({"probability": np.zeros(1)}, Provenance("cpu:toptag"))
    with pytest.raises(KeyError) as caught:
        reply["probabilty"]
    assert str(caught.value) == "the reply of cpu:toptag has no output 'probabilty'; did you mean 'probability'?"
