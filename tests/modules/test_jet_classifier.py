import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from evtfw import EvtfwError
from evtfw.external.mock import MockBackend
from evtfw.modules import JetClassifier
from evtfw.testing import run_module

FEATURES = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)


def first_as_probability(inputs):
    (features,) = inputs.values()
    return {"probability": np.stack([features[:, 0], 1 - features[:, 0]], axis=1)}


def test_scores_are_a_column_of_the_output():
    scores = run_module(JetClassifier(backend=MockBackend(first_as_probability)), {"features": FEATURES})["scores"]
    assert scores.dtype == np.float32
    assert_array_equal(scores, FEATURES[:, 0])
    module = JetClassifier(backend=MockBackend(first_as_probability), score_class=1)
    assert_array_equal(run_module(module, {"features": FEATURES})["scores"], 1 - FEATURES[:, 0])


def test_names_are_parameters_and_double_precision_is_welcome():
    asked = []

    def answer(inputs):
        asked.extend(inputs)
        return {"score": inputs["x"][:, :1].astype(np.float64)}

    module = JetClassifier(backend=MockBackend(answer), input_name="x", output_name="score")
    assert run_module(module, {"features": FEATURES})["scores"].dtype == np.float32
    assert asked == ["x"]


def test_logits_become_probabilities():
    def answer(inputs):
        return {"probability": np.array([[0.0], [1.0], [-1000.0]], np.float32)}

    scores = run_module(JetClassifier(backend=MockBackend(answer), logistic=True), {"features": FEATURES})["scores"]
    assert_allclose(scores, [0.5, 1 / (1 + np.exp(-1)), 0.0], rtol=1e-6)


def test_event_without_jets_has_no_scores():
    module = JetClassifier(backend=MockBackend(first_as_probability))
    assert run_module(module, {"features": FEATURES[:0]})["scores"].shape == (0,)


def test_wrong_name_of_the_output_is_told_with_the_right_one():
    module = JetClassifier(backend=MockBackend(first_as_probability), output_name="probabilty")
    with pytest.raises(EvtfwError, match=r"probabilty.*'probability'"):
        run_module(module, {"features": FEATURES})
