"""The fault proxy does what its calls say, at the byte that they say."""

import socket
import socketserver
import struct
import threading
import time

import pytest

from tests.faults.proxy import HTTP2_HEADERS, Proxy, RequestScanner

LIMIT_S = 10


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, until the client has finished."""

    def handle(self):
        try:
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)
        except OSError:
            self.server.broken.set()


@pytest.fixture
def echo():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo, bind_and_activate=True) as server:
        server.daemon_threads = True
        server.broken = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(LIMIT_S)


@pytest.fixture
def proxy(echo):
    with Proxy(f"127.0.0.1:{echo.server_address[1]}") as proxy:
        yield proxy


def connect(proxy, timeout_s=LIMIT_S):
    host, port = proxy.address.split(":")
    return socket.create_connection((host, int(port)), timeout_s)


def receive(client, size):
    """Return up to so many bytes: fewer if the connection ended."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def test_it_passes_everything_on_and_counts(proxy):
    data = bytes(range(256)) * 4000
    with connect(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert receive(client, len(data)) == data
        sender.join()
    proxy.wait(connections=1, request_bytes=len(data), reply_bytes=len(data))
    assert proxy.requests == 0


def test_the_end_of_one_side_reaches_the_other(proxy):
    with connect(proxy) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        proxy.cut()
        assert client.recv(1) == b""


def test_delay(proxy):
    proxy.delay(0.05)
    with connect(proxy) as client:
        start_s = time.perf_counter()
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        assert time.perf_counter() - start_s >= 0.1


def test_throttle(proxy):
    proxy.throttle(10_000, "reply")
    with connect(proxy) as client:
        start_s = time.perf_counter()
        client.sendall(b"x" * 2000)
        assert len(receive(client, 2000)) == 2000
        assert time.perf_counter() - start_s >= 0.19


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_what_is_dropped_is_lost_and_the_connection_stays(proxy, direction):
    with connect(proxy, 0.05) as client:
        proxy.drop(direction)
        client.sendall(b"lost")
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.pass_on()
        client.settimeout(LIMIT_S)
        client.sendall(b"kept")
        assert receive(client, 4) == b"kept"


def test_what_stalls_comes_later(proxy):
    with connect(proxy, 0.05) as client:
        proxy.stall()
        client.sendall(b"held")
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.pass_on()
        client.settimeout(LIMIT_S)
        assert receive(client, 4) == b"held"


def test_reset_reaches_both_ends(proxy, echo):
    with connect(proxy) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert echo.broken.wait(LIMIT_S)


def test_cut_after_an_exact_number_of_bytes(proxy):
    proxy.at(proxy.cut, reply_bytes=1234)
    with connect(proxy) as client:
        client.sendall(b"x" * 5000)
        assert len(receive(client, 5000)) == 1234


def test_refused_and_taken_again_on_the_same_port(proxy):
    with connect(proxy) as old:
        proxy.wait(connections=1)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        old.sendall(b"old")
        assert receive(old, 3) == b"old"
    proxy.accept()
    with connect(proxy) as new:
        new.sendall(b"new")
        assert receive(new, 3) == b"new"


def test_flapping_by_number_of_connections(proxy):
    proxy.flap(up=2, down=1)
    outcomes = []
    for _ in range(6):
        try:
            with connect(proxy) as client:
                client.sendall(b"x")
                outcomes.append(receive(client, 1))
        except ConnectionError:
            outcomes.append(None)
    assert outcomes == [b"x", b"x", None] * 2


def test_switching_at_a_connection(proxy):
    proxy.at(proxy.refuse, connections=2)
    for _ in range(2):
        connect(proxy).close()
    proxy.wait(connections=2)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_waiting_has_an_end(proxy):
    with pytest.raises(TimeoutError, match=r"waited for \{'connections': 1\}, have \{'connections': 0\}"):
        proxy.wait(connections=1, timeout_s=0.01)


def frame(kind, payload):
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, 0, 1) + payload


@pytest.mark.parametrize("size", [1, 5, 9, 10, 33, 1000])
def test_requests_of_http2_are_found_wherever_the_pieces_end(size):
    frames = [frame(4, b"s" * 6), frame(HTTP2_HEADERS, b"h" * 20), frame(0, b"d" * 40), frame(HTTP2_HEADERS, b"h")]
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames)
    scanner = RequestScanner()
    first = data[:24]  # a client's first segment has the whole preface
    parts = [first, *(data[i : i + size] for i in range(24, len(data), size))]
    pieces = [piece for part in parts for piece in scanner.split(part)]
    assert b"".join(piece for _, piece in pieces) == data
    assert sum(starts for starts, _ in pieces) == 2
