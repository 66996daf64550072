"""Calls of gRPC's core, which the endpoint is made of: the contract with a part of grpcio that is not public."""

from __future__ import annotations

import contextlib
import queue
import threading

import grpc
import pytest

from evtfw.core.errors import ConfigurationError
from evtfw.external.service.endpoint.rpc import RpcServer
from tests.external.service.endpoint.conftest import LIMIT_S

ADDRESS = "127.0.0.1:0"


@contextlib.contextmanager
def rpc_server(handler):
    """A server whose only handler this is, and a channel to it."""
    server = RpcServer([], lambda method, metadata: handler)
    port = server.listen(ADDRESS, None)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield server, channel
    finally:
        server.stop(0.0)


def answering(answer):
    """A handler that reads one message and gives it to a function with its call."""
    return lambda call: call.read(lambda message: answer(call, message), LIMIT_S, lambda: None)


def never_late():
    raise AssertionError("the message came")


def test_a_call_is_answered_with_what_the_caller_knows_about_it():
    seen = queue.SimpleQueue()

    def route(method, metadata):
        seen.put((method, dict(metadata)["who"]))
        return answering(lambda call, message: call.finish(b"<" + message + b">"))

    server = RpcServer([], route)
    port = server.listen(ADDRESS, None)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/a/B")(b"x", metadata=[("who", "me")], timeout=LIMIT_S) == b"<x>"
    server.stop(0.0)
    assert seen.get(timeout=LIMIT_S) == (b"/a/B", "me")


def test_the_first_end_counts():
    def answer(call, message):
        call.finish(message)
        call.finish(b"again")
        call.fail(grpc.StatusCode.INTERNAL, "late")

    with rpc_server(answering(answer)) as (_, channel):
        assert channel.unary_unary("/a/B")(b"x", timeout=LIMIT_S) == b"x"


def test_an_error_has_its_code_and_words():
    with rpc_server(lambda call: call.fail(grpc.StatusCode.NOT_FOUND, "nothing hére")) as (_, channel):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/a/B")(b"x", timeout=LIMIT_S)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "nothing hére")


def test_answers_may_come_from_any_thread_and_together():
    waiting = queue.SimpleQueue()
    with rpc_server(answering(lambda call, message: waiting.put((call, message)))) as (_, channel):
        futures = [channel.unary_unary("/a/B").future(b"%d" % number) for number in range(200)]

        def answer_some():
            for _ in range(50):
                call, message = waiting.get(timeout=LIMIT_S)
                call.finish(message)

        threads = [threading.Thread(target=answer_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert [future.result(timeout=LIMIT_S) for future in futures] == [b"%d" % number for number in range(200)]
        for thread in threads:
            thread.join()


def test_a_stream_is_read_and_written_until_its_end():
    def handle(call):
        def received(message):
            if message is None:
                call.finish(b"end")
            else:
                call.write(message * 2, lambda: call.read(received, LIMIT_S, never_late))

        call.read(received, LIMIT_S, never_late)

    with rpc_server(handle) as (_, channel):
        replies = channel.stream_stream("/a/B")(iter([b"a", b"", b"c"]), timeout=LIMIT_S)
        assert list(replies) == [b"aa", b"", b"cc", b"end"]


def test_who_is_given_up_hears_of_it_once_and_late_actions_are_done_at_once():
    ended, calls = queue.SimpleQueue(), queue.SimpleQueue()

    def answer(call, message):
        call.at_end(lambda: ended.put("cancelled"))
        calls.put(call)

    with rpc_server(answering(answer)) as (_, channel):
        future = channel.unary_unary("/a/B").future(b"x", timeout=LIMIT_S)
        call = calls.get(timeout=LIMIT_S)
        future.cancel()
        assert ended.get(timeout=LIMIT_S) == "cancelled"
        call.finish(b"too late")
        call.at_end(lambda: ended.put("over"))
        assert ended.get(timeout=LIMIT_S) == "over"
        assert ended.empty()


def test_callers_say_how_long_they_wait():
    left = queue.SimpleQueue()
    with rpc_server(lambda call: left.put(call.remaining_s()) or call.finish(b"")) as (_, channel):
        channel.unary_unary("/a/B")(b"", timeout=LIMIT_S)
        channel.unary_unary("/a/B")(b"")
    assert LIMIT_S / 2 < left.get(timeout=LIMIT_S) < LIMIT_S + 1  # the clocks of gRPC are not quite the same
    assert left.get(timeout=LIMIT_S) == float("inf")


def test_a_message_that_does_not_come_is_noticed():
    def handle(call):
        call.read(lambda message: None, 0.1, lambda: call.fail(grpc.StatusCode.DEADLINE_EXCEEDED, "no message"))

    never = threading.Event()
    with rpc_server(handle) as (server, channel):
        future = channel.stream_unary("/a/B").future(iter(lambda: never.wait(LIMIT_S) and b"", b""))
        with pytest.raises(grpc.RpcError, match="no message"):
            future.result(timeout=LIMIT_S)
        never.set()
    assert not server.reading


def test_a_server_that_stops_lets_calls_end():
    calls = queue.SimpleQueue()
    with rpc_server(answering(lambda call, message: calls.put(call))) as (server, channel):
        future = channel.unary_unary("/a/B").future(b"x")
        call = calls.get(timeout=LIMIT_S)
        stopping = threading.Thread(target=server.stop, args=(LIMIT_S,))
        stopping.start()
        call.finish(b"done")
        assert future.result(timeout=LIMIT_S) == b"done"
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


def test_a_server_that_stops_at_once_gives_calls_up():
    calls, ended = queue.SimpleQueue(), threading.Event()
    with rpc_server(answering(lambda call, message: calls.put(call))) as (server, channel):
        future = channel.unary_unary("/a/B").future(b"x")
        call = calls.get(timeout=LIMIT_S)
        call.at_end(ended.set)
        server.stop(0.0)
        assert ended.wait(LIMIT_S)
        with pytest.raises(grpc.RpcError):
            future.result(timeout=LIMIT_S)
        call.finish(b"too late")


def test_a_handler_that_raises_does_not_end_the_server():
    def handle(call):
        call.fail(grpc.StatusCode.INTERNAL, "broken")
        raise RuntimeError("a mistake of ours")

    with rpc_server(handle) as (_, channel):
        for _ in range(2):
            with pytest.raises(grpc.RpcError, match="broken"):
                channel.unary_unary("/a/B")(b"x", timeout=LIMIT_S)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999"])
def test_an_address_that_cannot_be_listened_on(address):
    with pytest.raises(ConfigurationError, match=f"cannot listen on '{address}'"):
        RpcServer([], lambda method, metadata: None).listen(address, None)
