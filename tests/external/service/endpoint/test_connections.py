"""More connections than the service takes, or than its process may have (row 46): measured on a process of its own."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import subprocess
import time

import psutil
import pytest
import tritonclient.grpc as triton

from tests.conftest import evtfw_command
from tests.external.service.endpoint.conftest import LIMIT_S
from tests.external.service.endpoint.raw_http2 import PREFACE

CONNECTIONS = 10_000
TAKEN = 4096
SPARE_FILES = 500
OWN_FILES = 10
BYTES_EACH = 50_000
SETTINGS = bytes(3) + b"\4" + bytes(5)


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """This process may have as many files as it needs, or as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    files = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    yield files
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def service(folder, files):
    """``evtfw serve`` with so many open files at most, its address, and a client that is connected."""
    command = [*evtfw_command(), "serve", "--grpc", "127.0.0.1:0", "--model", "rows=mock:rows"]
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(
            ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            assert line.startswith("serving gRPC on "), (folder / "errors").read_text()
            address = line.split()[-1]
            with triton.InferenceServerClient(address) as client:
                assert client.is_server_live()
                yield psutil.Process(process.pid), address, client
        finally:
            process.terminate()


@contextlib.contextmanager
def connections(address, count, greeting):
    """Open so many, one after the other; they are closed at the end."""
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            each = stack.enter_context(socket.create_connection((host, int(port)), timeout=LIMIT_S))
            with contextlib.suppress(ConnectionError):
                each.sendall(greeting)
            each.setblocking(False)
            opened.append(each)
        yield opened


def wait_until_closed(sockets, count, limit_s=LIMIT_S):
    """Wait until the server has closed so many; returns how many it has."""
    poll, by_number, closed = select.poll(), {each.fileno(): each for each in sockets}, 0
    for number in by_number:
        poll.register(number, select.POLLIN)
    end_s = time.monotonic() + limit_s
    while closed < count and time.monotonic() < end_s:
        for number, _ in poll.poll(100):
            with contextlib.suppress(BlockingIOError):
                try:
                    while by_number[number].recv(1 << 16):
                        pass
                except ConnectionError:
                    pass
                poll.unregister(number)
                closed += 1
    return closed


def wait_until(condition, limit_s=3 * LIMIT_S):
    end_s = time.monotonic() + limit_s
    pause = select.poll()
    while not condition():
        assert time.monotonic() < end_s
        pause.poll(20)


def test_ten_thousand_connections_are_refused_beyond_the_limit_and_cost_little(tmp_path, many_files):
    count = many_files - SPARE_FILES
    taken = min(TAKEN, count)
    with service(tmp_path, many_files) as (process, address, client):
        files, memory = process.num_fds(), process.memory_info().rss
        with connections(address, count, PREFACE + SETTINGS) as opened:
            assert wait_until_closed(opened, count - taken, 3 * LIMIT_S) >= count - taken
            assert process.num_fds() <= files + taken + OWN_FILES
            assert process.memory_info().rss - memory < taken * BYTES_EACH
            for _ in range(10):
                assert client.is_server_live(client_timeout=LIMIT_S)
        wait_until(lambda: process.num_fds() <= files + OWN_FILES)
        with triton.InferenceServerClient(address.replace("127.0.0.1", "localhost")) as another:
            assert another.is_server_live(client_timeout=LIMIT_S)


def test_a_service_without_files_for_more_connections_goes_on(tmp_path):
    with service(tmp_path, 128) as (process, address, client):
        files = process.num_fds()
        with connections(address, 1000, PREFACE + SETTINGS):
            wait_until(lambda: process.num_fds() >= 120)
            for _ in range(10):
                assert client.is_server_live(client_timeout=LIMIT_S)
        wait_until(lambda: process.num_fds() <= files + OWN_FILES)
        with triton.InferenceServerClient(address.replace("127.0.0.1", "localhost")) as another:
            assert another.is_server_live(client_timeout=LIMIT_S)
        assert process.pid in psutil.pids()


def test_connections_that_say_nothing_are_closed(tmp_path, many_files):
    with service(tmp_path, many_files) as (process, address, client):
        files = process.num_fds()
        with connections(address, 500, b"") as opened:
            assert wait_until_closed(opened, 500, 3 * LIMIT_S) == 500  # within the 10 s that a handshake may take
            assert client.is_server_live(client_timeout=LIMIT_S)
            assert process.num_fds() <= files + OWN_FILES
