import numpy as np

from evtfw.core.errors import (
    BadReply,
    BadRequest,
    CompletionDropped,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.contract import ModelDescription
from evtfw.external.errors import Overloaded
from evtfw.external.service.settings import QueuePolicy
from tests.external.service.hosting import Hosted


def test_a_request_is_computed_at_once_and_answered_with_its_times():
    hosted = Hosted()
    outcome = hosted.ask(1, 2)
    hosted.answer(0.25)
    assert outcome.reply["y"][:, 0].tolist() == [2, 4]
    assert outcome.reply.times.compute_ns == 250_000_000
    assert outcome.reply.times.queue_ns == 0
    assert outcome.reply.times.batch_rows == 2
    assert outcome.reply.provenance.model == "rows"


def test_what_waits_is_put_together_and_taken_apart():
    hosted = Hosted()
    outcomes = [hosted.ask(1), hosted.ask(2, 3), hosted.ask(4)]
    hosted.answer(1)
    assert hosted.batches == [[2, 3, 4]]
    hosted.answer(1)
    assert [o.reply["y"][:, 0].tolist() for o in outcomes] == [[2], [4, 6], [8]]
    assert [o.reply.times.queue_ns for o in outcomes] == [0, 10**9, 10**9]
    statistics = hosted.model.statistics()
    assert (statistics.inference_count, statistics.execution_count) == (4, 2)
    assert (statistics.queue.count, statistics.queue.ns) == (3, 2 * 10**9)
    assert statistics.compute_infer.ns == 3 * 10**9
    assert {size: batch.compute_infer.count for size, batch in statistics.batch_sizes.items()} == {1: 1, 3: 1}
    assert statistics.last_inference_ms > 1.6e12


def test_instances_share_what_waits():
    hosted = Hosted(slots=2)
    for value in range(6):
        hosted.ask(value)
    assert hosted.batches == [[0], [1]]
    hosted.answer()
    assert hosted.batches == [[1], [2, 3]]
    hosted.answer()
    assert hosted.batches == [[2, 3], [4]]


def test_a_batch_has_no_more_rows_than_the_model_takes():
    hosted = Hosted(max_batch_size=3)
    hosted.ask(0)
    for value in (1, 2):
        hosted.ask(value, value)
    hosted.answer()
    assert hosted.batches == [[1, 1]]
    error = hosted.ask(1, 2, 3, 4).error
    assert isinstance(error, BadRequest)
    assert "4 rows, but the model takes 3 at most" in str(error)


def test_preferred_sizes_are_kept_and_company_is_waited_for():
    hosted = Hosted(preferred_batch_sizes=(2, 4), max_queue_delay_s=0.1)
    first = hosted.ask(0)
    assert hosted.batches == []
    hosted.ask(1)
    assert hosted.batches == [[0, 1]]
    for value in range(2, 7):
        hosted.ask(value)
    hosted.answer(0.05)
    assert first.reply["y"].tolist() == [[0]]
    assert hosted.batches == [[2, 3, 4, 5]]
    hosted.answer(0.01)
    assert hosted.batches == []
    hosted.clock.advance(0.05)
    assert hosted.batches == [[6]]


def test_without_batching_each_request_is_an_execution():
    hosted = Hosted(is_batching=False)
    for value in range(3):
        hosted.ask(value)
    hosted.answer()
    assert hosted.batches == [[1]]


def test_a_model_without_batch_axis_is_served_one_by_one():
    hosted = Hosted(answer=lambda inputs: inputs, description=ModelDescription("free"))
    outcomes = [hosted.ask(1), hosted.ask(2)]
    assert hosted.model.config().max_batch_size == 0
    hosted.answer_all()
    assert [o.reply["x"].tolist() for o in outcomes] == [[[1]], [[2]]]


def test_requests_of_different_shape_do_not_share_a_batch():
    hosted = Hosted(answer=lambda inputs: inputs, description=ModelDescription("free", max_batch_size=None))
    hosted.ask(0)
    other = hosted.ask(1)
    hosted.model.submit({"x": np.zeros((1, 2), np.float32)}, (third := hosted.ask(2)).done)
    hosted.answer_all()
    assert other.reply["x"].shape == (1, 1)
    assert third.times_ended == 1


def test_a_full_queue_refuses_at_once_and_giving_up_makes_room():
    hosted = Hosted(default_policy=QueuePolicy(max_queue_size=2))
    hosted.ask(0)
    waiting = [hosted.ask(1), hosted.ask(2)]
    assert isinstance(hosted.ask(3).error, Overloaded)
    waiting[0].done.cancel()
    taken = hosted.ask(4)
    hosted.answer()
    assert hosted.batches == [[2, 4]]
    hosted.answer()
    assert taken.reply["y"].tolist() == [[8]]
    assert hosted.counts == {"success": 3, "fail": 0, "cancel": 1, "reject": 1}
    assert not waiting[0].is_there


def test_arrays_that_wait_are_bounded():
    hosted = Hosted(max_queue_bytes=10)
    hosted.ask(0)
    hosted.ask(1, 2)
    assert "8 bytes waiting, and 10 is its limit" in str(hosted.ask(3).error)


def test_time_in_the_queue_is_limited_also_while_an_execution_hangs():
    hosted = Hosted(default_policy=QueuePolicy(timeout_s=2))
    hosted.ask(0)
    waiting, shorter, longer = hosted.ask(1), hosted.ask(2, timeout_s=1), hosted.ask(3, timeout_s=5)
    hosted.clock.advance(1)
    assert isinstance(shorter.error, DeadlineExceeded)
    assert not waiting.is_there
    hosted.clock.advance(1)
    assert "waited 2 s, its time is over" in str(waiting.error)
    assert isinstance(longer.error, DeadlineExceeded)
    assert hosted.counts["reject"] == 3


def test_a_policy_may_forbid_own_time_limits():
    hosted = Hosted(default_policy=QueuePolicy(allow_timeout_override=False))
    hosted.ask(0)
    waiting = hosted.ask(1, timeout_s=1)
    hosted.clock.advance(2)
    assert not waiting.is_there


def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    hosted = Hosted(max_batch_size=1)
    hosted.ask(0)
    hosted.answer(1)
    running, waiting = hosted.ask(1), hosted.ask(2, deadline_s=2.5)
    late = hosted.ask(3, deadline_s=2.5)
    assert isinstance(late.error, Overloaded)
    assert "would need 2.2 s to begin with it" in str(late.error)
    hosted.answer_all(1)
    assert running.reply
    assert waiting.reply


def test_what_comes_too_late_is_not_computed_but_the_last_one_always_has_a_try():
    hosted = Hosted(max_batch_size=1)
    hosted.ask(0)
    hosted.answer(10)
    hosted.ask(1)
    hosted.clock.advance(9.9)
    waiting = [hosted.ask(value, deadline_s=25) for value in (2, 3)]
    hosted.answer(16)
    assert isinstance(waiting[0].error, DeadlineExceeded)
    assert hosted.batches == [[3]]


def test_priorities_are_served_in_order_and_nobody_starves():
    hosted = Hosted(priority_levels=2, max_batch_size=1)
    hosted.ask(0)
    low = hosted.ask(99, priority=2)
    for value in range(30):
        hosted.ask(value, priority=1)
    for _ in range(2):
        hosted.answer()
    assert not low.is_there
    answered = 2
    while not low.is_there:
        hosted.answer()
        answered += 1
    assert answered <= 10


def test_unknown_priorities_are_the_default_one():
    hosted = Hosted(priority_levels=3, default_priority_level=2, max_batch_size=1)
    hosted.ask(0)
    for value, priority in ((3, 3), (2, 0), (22, 9), (1, 1)):
        hosted.ask(value, priority=priority)
    order = []
    while hosted.pending:
        order += hosted.batches[0]
        hosted.answer()
    assert order == [0, 1, 2, 22, 3]


def test_a_failed_batch_is_taken_apart_so_that_only_who_is_to_blame_fails():
    def answer(inputs):
        if 13 in inputs["x"]:
            raise ExternalError("thirteen")
        return {"y": 2 * inputs["x"]}

    hosted = Hosted(answer=answer)
    hosted.ask(0)
    outcomes = [hosted.ask(value) for value in (1, 13, 2)]
    hosted.answer_all()
    assert outcomes[0].reply["y"].tolist() == [[2]]
    assert "thirteen" in str(outcomes[1].error)
    assert outcomes[2].reply["y"].tolist() == [[4]]
    assert hosted.counts == {"success": 3, "fail": 1, "cancel": 0, "reject": 0}


def test_replies_that_do_not_fit_and_dropped_requests_are_errors():
    hosted = Hosted()
    outcome = hosted.ask(1)
    hosted.pending[0].resolve({"z": np.zeros(1)})
    assert isinstance(outcome.error, BadReply)
    outcome = hosted.ask(1)
    hosted.pending[0].drop()
    assert isinstance(outcome.error, CompletionDropped)
    assert hosted.counts["fail"] == 2


def test_requests_that_do_not_fit_are_refused_and_counted():
    hosted = Hosted()
    outcome = hosted.ask(1)
    hosted.model.submit({"X": np.zeros((1, 1), np.float32)}, (wrong := hosted.ask(2)).done)
    hosted.answer_all()
    assert outcome.reply
    assert isinstance(wrong.error, BadRequest)
    assert hosted.counts == {"success": 1, "fail": 1, "cancel": 1, "reject": 0}


def test_an_execution_that_nobody_waits_for_frees_its_instance():
    hosted = Hosted()
    running, waiting = hosted.ask(1), hosted.ask(2)
    execution = hosted.pending[0]
    running.done.cancel()
    assert execution.was_cancelled
    assert hosted.batches[-1] == [2]
    hosted.pending[-1].resolve()
    assert waiting.reply


def test_draining_ends_what_is_there_and_refuses_the_rest():
    hosted = Hosted()
    outcomes = [hosted.ask(1), hosted.ask(2)]
    idle = hosted.model.start_draining()
    assert not hosted.model.is_ready
    assert isinstance(hosted.ask(3).error, ServerUnavailable)
    hosted.answer()
    assert not idle.is_set()
    hosted.answer()
    assert idle.is_set()
    assert all(o.reply for o in outcomes)


def test_closing_fails_what_waits():
    hosted = Hosted()
    running, waiting = hosted.ask(1), hosted.ask(2)
    hosted.model.close()
    hosted.model.close()
    assert isinstance(running.error, ExternalError)
    assert "model 'rows' was closed" in str(waiting.error)
    assert "is not open" in str(hosted.ask(3).error)


def test_a_request_that_waits_to_be_tried_again_can_be_given_up():
    def answer(inputs):
        raise ExternalError("no")

    hosted = Hosted(answer=answer)
    hosted.ask(0)
    outcomes = [hosted.ask(1), hosted.ask(2), hosted.ask(3)]
    hosted.answer()
    outcomes[2].done.cancel()
    hosted.answer()
    assert hosted.batches == [[1]]
    outcomes[1].done.cancel()
    hosted.answer()
    assert hosted.batches == []
    assert hosted.counts == {"success": 0, "fail": 2, "cancel": 2, "reject": 0}
