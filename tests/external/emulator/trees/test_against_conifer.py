"""Not one score differs from those of conifer's C++."""

import numpy as np
import onnxruntime
import pytest

from evtfw.external.emulator import trees
from evtfw.external.emulator.trees import Ensemble, Tree, TreeFormats
from tests.external.emulator.trees import models
from tests.external.emulator.trees.conifer_reference import Conifer

ROWS = 10_000
MODELS = {"binary": models.binary, "multiclass": models.multiclass, "regression": models.regression}
USUAL = "ap_fixed<16,6>"
FORMATS = {
    "coarse": "threshold=ap_fixed<7,4>; score=ap_fixed<8,3>",
    "saturating": "threshold=ap_fixed<9,5,AP_RND_CONV,AP_SAT>; score=ap_fixed<6,2,AP_RND,AP_SAT>",
}


@pytest.fixture(scope="session")
def conifer(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()

    def make(ensemble, formats):
        f = TreeFormats.parse(formats)
        names = {"threshold": f.threshold, "score": f.score, "weight": f.weight}
        return Conifer(ensemble, folder, **{name: cpp(given) for name, given in names.items() if given})

    return make


def cpp(given):
    """The format's name in C++."""
    return (
        str(given)
        .replace(",RND", ",AP_RND")
        .replace(",TRN", ",AP_TRN")
        .replace(",SAT", ",AP_SAT")
        .replace(",WRAP", ",AP_WRAP")
    )


def emulated(source, formats, rows):
    model, _, _ = trees.convert(source, format=formats, name="trees")
    return run(model, rows)


def run(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"features": rows})[0]


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize("formats", FORMATS.values(), ids=FORMATS)
def test_ten_thousand_hard_rows(task, formats, conifer):
    ensemble = trees.read(MODELS[task]())
    rows = models.hard_rows(ensemble, TreeFormats.parse(formats).threshold, ROWS)
    scores = emulated(ensemble, formats, rows)
    expected = conifer(ensemble, formats).scores(rows)
    assert scores.shape == expected.shape
    assert np.count_nonzero(scores != expected) == 0
    assert len(np.unique(scores)) > 30


RARE = {
    "sign and magnitude, and no 1 in the format": "threshold=ap_fixed<8,1>; score=ap_fixed<7,1,TRN,WRAP_SM>",
    "zero on overflow, weights of their own": (
        "threshold=ap_fixed<9,5,RND_INF,SAT_SYM>; score=ap_fixed<9,2,TRN,SAT_ZERO>; weight=ap_fixed<4,1,TRN,SAT>"
    ),
    "wider than float32": "threshold=ap_fixed<34,12>; score=ap_fixed<30,2>",
    "wide scores only": "threshold=ap_fixed<9,5>; score=ap_fixed<31,6,RND,SAT>",
}


@pytest.mark.parametrize("formats", RARE.values(), ids=RARE)
def test_rare_formats(formats, conifer):
    ensemble = trees.read(models.binary())
    ensemble = Ensemble(**{**vars(ensemble), "trees": (ensemble.trees[0][:60],)})
    rows = models.hard_rows(ensemble, TreeFormats.parse(formats).threshold, 2000)
    assert np.array_equal(emulated(ensemble, formats, rows), conifer(ensemble, formats).scores(rows))


def test_factor_and_start_of_the_sums(conifer):
    ensemble = trees.read(models.binary())
    ensemble = Ensemble(**{**vars(ensemble), "norm": 0.3, "initial": np.array([1.7])})
    rows = models.hard_rows(ensemble, TreeFormats.parse(USUAL).threshold, 1000)
    scores = emulated(ensemble, USUAL, rows)
    assert np.array_equal(scores, conifer(ensemble, USUAL).scores(rows))


def test_trees_of_a_single_leaf(conifer):
    leaf = Tree.of([-2], [0], [-1], [-1], [0.75])
    split = Tree.of([1, -2, -2], [0.5, 0, 0], [1, -1, -1], [2, -1, -1], [0, -1.5, 2.25])
    ensemble = Ensemble("none", 2, ((leaf, split, leaf),), np.array([0.25]), "<")
    rows = np.array([[0, 0.4999], [0, 0.5], [9, -3]], np.float32)
    expected = conifer(ensemble, USUAL).scores(rows)
    assert np.array_equal(emulated(ensemble, USUAL, rows), expected)
    assert expected[:, 0].tolist() == [0.25, 4.0, 0.25]


def test_one_row_at_a_time_is_the_same():
    model, _, _ = trees.convert(models.multiclass(), format=FORMATS["coarse"], name="trees")
    rows, _ = models.sample(20)
    assert np.array_equal(run(model, rows), np.concatenate([run(model, rows[i : i + 1]) for i in range(20)]))


def test_no_rows_have_no_scores():
    model, _, _ = trees.convert(models.multiclass(), format=FORMATS["saturating"], name="trees")
    assert run(model, np.zeros((0, models.FEATURES), np.float32)).shape == (0, 3)


def test_reads_what_conifer_reads():
    from conifer.converters import sklearn

    ensemble, theirs = trees.read(models.binary()), sklearn.convert(models.binary())
    for (tree,), one in zip(theirs["trees"], ensemble.trees[0], strict=True):
        assert np.array_equal(np.where(one.is_leaf, -2, one.feature), tree["feature"])
        assert np.array_equal(one.value[one.is_leaf], np.array(tree["value"])[one.is_leaf])
        assert np.array_equal(one.threshold[~one.is_leaf], np.array(tree["threshold"])[~one.is_leaf])
    assert ensemble.initial.tolist() == theirs["init_predict"]
    assert ensemble.comparison == theirs["splitting_convention"]
