import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evtfw import EvtfwError
from evtfw.external.mock import MockBackend
from evtfw.modules import TopTagger
from evtfw.testing import run_module

IMAGES = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8, 1) / 192


def mean_as_probability(inputs):
    (images,) = inputs.values()
    mean = images.mean(axis=(1, 2, 3))
    return {"probability": np.stack([mean, 1 - mean], axis=1)}


def test_scores_are_the_column_of_the_top_class():
    scores = run_module(TopTagger(backend=MockBackend(mean_as_probability)), {"images": IMAGES})["scores"]
    assert scores.dtype == np.float32
    assert_array_equal(scores, IMAGES.mean(axis=(1, 2, 3)))
    assert scores.base is None


def test_names_and_class_are_parameters():
    asked = []

    def answer(inputs):
        asked.extend(inputs)
        return {"softmax": mean_as_probability(inputs)["probability"]}

    module = TopTagger(backend=MockBackend(answer), input_name="InputImage", output_name="softmax", top_class=1)
    scores = run_module(module, {"images": IMAGES})["scores"]
    assert asked == ["InputImage"]
    assert_array_equal(scores, 1 - IMAGES.mean(axis=(1, 2, 3)))


def test_event_without_jets_has_no_scores():
    scores = run_module(TopTagger(backend=MockBackend(mean_as_probability)), {"images": IMAGES[:0]})["scores"]
    assert scores.shape == (0,)


def test_wrong_name_of_the_output_is_told_with_the_right_one():
    module = TopTagger(backend=MockBackend(mean_as_probability), output_name="probabilty")
    with pytest.raises(EvtfwError, match=r"toptag|module.*probabilty.*'probability'"):
        run_module(module, {"images": IMAGES})
