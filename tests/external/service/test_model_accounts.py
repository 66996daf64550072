"""Whatever happens in whatever order: each request ends once and is counted once."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.clock import RealClock
from evtfw.core.errors import ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.errors import Overloaded
from evtfw.external.pool import PooledBackend
from evtfw.external.service.model import HostedModel
from evtfw.external.service.settings import QueuePolicy, ServingSettings
from tests.external.conftest import ROWS, Outcome, rows
from tests.external.service.hosting import Hosted

ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.integers(1, 5),
            st.integers(0, 4),
            st.sampled_from([None, 0.05, 0.5, 5.0]),
            st.sampled_from([None, 0.1, 1.0]),
        ),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 1.0])),
    ),
    max_size=80,
)


@settings(max_examples=150)
@given(
    actions=ACTIONS,
    slots=st.integers(1, 3),
    levels=st.integers(0, 3),
    max_batch_size=st.integers(3, 8),
    preferred=st.sampled_from([(), (2,), (2, 3)]),
    delay=st.sampled_from([0.0, 0.05]),
    size=st.sampled_from([0, 1, 4]),
)
def test_each_request_ends_once_and_is_counted_once(actions, slots, levels, max_batch_size, preferred, delay, size):
    hosted = Hosted(
        slots=slots,
        priority_levels=levels,
        max_batch_size=max_batch_size,
        preferred_batch_sizes=preferred,
        max_queue_delay_s=delay,
        default_policy=QueuePolicy(max_queue_size=size),
    )
    asked, too_large, cancelled = [], 0, 0
    for action, *what in actions:
        if action == "ask":
            count, priority, deadline_s, timeout_s = what
            values = [len(asked) * 10 + n for n in range(count)]
            asked.append((values, hosted.ask(*values, priority=priority, deadline_s=deadline_s, timeout_s=timeout_s)))
            too_large += count > max_batch_size
        elif action == "wait":
            hosted.clock.advance(what[0])
        elif action == "cancel" and asked:
            outcome = asked[what[0] % len(asked)][1]
            cancelled += not outcome.is_there and not outcome.done.is_done
            outcome.done.cancel()
        elif action in ("answer", "fail", "drop") and hosted.pending:
            request = hosted.pending[what[0] % len(hosted.pending)]
            hosted.clock.advance(0.02)
            {"answer": request.resolve, "fail": lambda r=request: r.fail(ExternalError("no")), "drop": request.drop}[
                action
            ]()
        assert all(len(batch) <= max_batch_size for batch in hosted.batches)
        assert len([r for r in hosted.pending if not r.was_cancelled]) <= slots
    hosted.clock.advance(1)
    while hosted.pending:
        hosted.answer(0.01)
        hosted.clock.advance(delay)
    assert len(hosted.model.scheduler._queue) == 0
    assert hosted.model.scheduler._queue.size_bytes == 0
    for values, outcome in asked:
        assert outcome.times_ended <= 1
        assert outcome.times_ended == 1 or outcome.done.is_done
        if outcome.is_there and outcome.error is None:
            assert outcome.reply["y"][:, 0].tolist() == [2.0 * value for value in values]
    counts = hosted.counts
    assert sum(counts.values()) == len(asked)
    assert counts["cancel"] == cancelled
    assert counts["success"] == sum(o.is_there and o.error is None for _, o in asked)
    assert hosted.model.statistics().inference_count == sum(
        len(values) for values, o in asked if o.is_there and o.error is None
    )


def test_a_storm_of_requests_and_cancels_from_many_threads_leaves_nothing_behind():
    pool = PooledBackend(lambda x: {"y": 2 * x["x"]}, ROWS, threads=3, name="pool", url="pool:")
    policy = QueuePolicy(max_queue_size=20)
    model = HostedModel("rows", pool, settings=ServingSettings(default_policy=policy, priority_levels=2))
    model.open(JobContext(RealClock(), 3, 3, print))
    outcomes = [[] for _ in range(4)]

    def ask(number):
        for value in range(250):
            outcome = Outcome()
            model.submit(rows(value), outcome.done, priority=value % 3)
            outcomes[number].append((value, outcome))
            if value % 3 == number % 3:
                outcome.done.cancel()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.start_draining().wait(30)
    statistics = model.statistics()
    model.close()
    ended = [(value, outcome) for one in outcomes for value, outcome in one if outcome.is_there]
    for value, outcome in ended:
        assert outcome.times_ended == 1
        assert isinstance(outcome.error, Overloaded) or outcome.reply["y"].tolist() == [[2 * value]]
    counts = [getattr(statistics, name).count for name in ("success", "fail", "cancel", "reject")]
    assert sum(counts) == 1000
    assert counts[1] == 0


def test_many_threads_may_ask_at_the_same_time():
    hosted = Hosted()
    hosted.backend._manual = False
    outcomes = []

    def ask(start):
        outcomes.extend((value, hosted.ask(value)) for value in range(start, start + 200))

    threads = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcome.reply["y"].tolist() == [[2 * value]] for value, outcome in outcomes)
    assert hosted.counts == {"success": 1200, "fail": 0, "cancel": 0, "reject": 0}
