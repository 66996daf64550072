from __future__ import annotations

import dataclasses

from evtfw.external.contract import TensorSpec
from tests.external.conftest import ROWS
from tests.external.routing.bench import Bench, HeldWhileOpening, Late, Server, wait_for


def test_who_could_not_be_reached_is_opened_in_the_background():
    late = Late("a", failures=3)
    bench = Bench(late, Server("b"))
    for times in (2, 3, 4):
        wait_for(lambda: bench.clock.next_due_ns() is not None)
        bench.wait(20)
        wait_for(lambda times=times: late.opened >= times)
    wait_for(lambda: bench.statistics()[0].state == "serving")
    assert late.opened == 4
    wait_for(lambda: "sim://a/rows can be reached now and is used" in bench.said)
    outcomes = bench.serve(10)
    assert {outcome.reply.provenance.backend for outcome in outcomes} == {"sim://a/rows", "sim://b/rows"}
    assert len(bench.said) == 2


def test_who_turns_out_to_be_another_model_is_not_used():
    other = dataclasses.replace(ROWS, outputs=(TensorSpec("z", "float32", (None, 1)),))
    late = Late("a", failures=1, description=other)
    bench = Bench(late, Server("b"))
    bench.wait(20)
    wait_for(lambda: any("is not used" in line for line in bench.said))
    bench.serve(5)
    assert late.requests == 0
    assert late.closed == 2


def test_after_closing_nothing_is_opened_any_more():
    late = Late("a", failures=9)
    bench = Bench(late, Server("b"))
    bench.router.close()
    bench.wait(100)
    assert late.opened == 1


def test_a_server_that_is_opened_during_the_end_is_closed():
    late = HeldWhileOpening("a")
    bench = Bench(late, Server("b"))
    bench.wait(20)
    assert late.entered.wait(30)
    closed = late.closed
    bench.router.close()
    late.go_on.set()
    wait_for(lambda: late.closed == closed + 1)
