import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evtfw import ConfigurationError, EndPath, Event, Input, Job, Output, Path, Process, Producer
from evtfw.modules import ScoreComparison
from evtfw.modules.score_histograms import DECISIONS
from evtfw.testing import ListSource

COLUMNS = ("exact", "coarse", "trees")


class Scores(Producer):
    """Hands a column on as scores."""

    column = Input[np.ndarray]("scores, float32 [n]")
    scores = Output[np.ndarray]("the same")

    def produce(self, event: Event) -> None:
        event[self.scores] = event[self.column]


def compared(rows, *, scores=COLUMNS, streams=3, **options):
    process = Process("TEST")
    process.source = ListSource.of([{name: np.float32(row[name]) for name in COLUMNS} for row in rows])
    for name in COLUMNS:
        setattr(process, name, Scores(column=f"source:{name}"))
    process.path = Path(process.exact, process.coarse, process.trees)
    process.comparison = ScoreComparison(reference="exact", scores=list(scores), **options)
    process.end = EndPath(process.comparison)
    process.set_options(threads=2, streams=streams)
    result = Job(process).run()
    if result.error is not None:
        raise result.error
    return result.accumulators["comparison"]


def random_rows(count):
    random = np.random.default_rng(1)
    return [{name: random.uniform(0, 1, n) for name in COLUMNS} for n in random.integers(0, 4, count)]


@pytest.mark.parametrize("events", [3, 1500])
def test_every_jet_is_counted_once_in_each_histogram(events):
    rows = random_rows(events)
    found = compared(rows, difference_max=1.0, score_min=0.7, bins=20)
    values = {name: np.concatenate([row[name] for row in rows]).astype(np.float32) for name in COLUMNS}
    for name in COLUMNS:
        assert_array_equal(found["score"][name, :].values(), np.histogram(values[name], 20, (0, 1))[0])
    for name in COLUMNS[1:]:
        wanted = np.histogram(values[name] - values["exact"], 20, (-1, 1))[0]
        assert_array_equal(found["difference"][name, :].values(), wanted)
        passes, reference = values[name] >= 0.7, values["exact"] >= 0.7
        decisions = [reference & passes, reference & ~passes, ~reference & passes, ~reference & ~passes]
        assert_array_equal(found["decision"][name, :].values(), [np.count_nonzero(d) for d in decisions])


def test_scores_of_exactly_one_are_in_the_last_bin():
    found = compared([{name: [1.0, 0.0] for name in COLUMNS}])
    assert found["score"]["coarse", -1] == found["score"]["coarse", 0] == 1


def test_axes_say_what_is_compared():
    found = compared(random_rows(3), scores=("trees", "exact"))
    assert list(found["score"].axes[0]) == ["exact", "trees"] or list(found["score"].axes[0]) == ["trees", "exact"]
    assert list(found["difference"].axes[0]) == list(found["decision"].axes[0]) == ["trees"]
    assert found["difference"].axes[1].label == "score $-$ score of exact"
    assert tuple(found["decision"].axes[1]) == DECISIONS


@pytest.mark.parametrize("scores", [("coarse", "trees"), ("exact",)])
def test_a_comparison_without_a_reference_or_with_nothing_else_is_refused(scores):
    with pytest.raises(ConfigurationError, match=r"'comparison'.*must name the reference and at least one"):
        compared(random_rows(2), scores=scores)
