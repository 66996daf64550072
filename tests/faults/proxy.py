"""A TCP proxy on loopback that does to connections what networks do: late, slow, lost, cut, reset, refused.

It runs in a thread of its own and obeys calls from the test, or switches by itself at an exact number of connections,
HTTP/2 requests or bytes, so that a fault always strikes at the same place.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
import threading

CHUNK_BYTES = 1 << 16
HTTP2_PREFACE_BYTES = 24
HTTP2_FRAME_HEADER_BYTES = 9
HTTP2_HEADERS = 1
COUNTERS = ("connections", "requests", "request_bytes", "reply_bytes")


def reserved_port():
    """A bound socket that does not listen: its port refuses connections, and nobody else gets it meanwhile."""
    reserve = socket.socket()
    reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserve.bind(("127.0.0.1", 0))
    return reserve


class Proxy:
    """Between clients and the server at ``target``: ``with Proxy("127.0.0.1:8001") as proxy: connect(proxy.address)``.

    What it does to bytes from now on: `pass_on`, `delay`, `throttle`, `drop`, `stall`. To connections, once: `reset`,
    `cut`. To new connections: `refuse`, `accept`, `flap`. All may be called from any thread, and `at` calls them when a
    counter reaches a number. Counters are attributes: ``connections``, ``requests`` (of HTTP/2), ``request_bytes`` and
    ``reply_bytes`` (both as passed on).
    """

    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._reserve = reserved_port()
        self.address = f"127.0.0.1:{self._reserve.getsockname()[1]}"
        self.connections = self.requests = self.request_bytes = self.reply_bytes = 0
        self._weather = {"request": Weather(), "reply": Weather()}
        self._period = (1, 0)
        self._triggers = []
        self._open = set()
        self._tasks = set()
        self._listener = None
        self._counted = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *error):
        self._run(self._end)
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._reserve.close()

    # What happens to bytes

    def pass_on(self):
        """All is well (again), also for what stalled; what was dropped is lost."""
        self._set(Weather())

    def delay(self, seconds, direction="both"):
        """Each piece of data comes so much later."""
        self._set(Weather(delay_s=seconds), direction)

    def throttle(self, bytes_per_s, direction="both"):
        """So many bytes per second and connection at most."""
        self._set(Weather(bytes_per_s=bytes_per_s), direction)

    def drop(self, direction="both"):
        """Data vanish, connections stay: a black hole, as behind a dead firewall; one direction is a half-open link."""
        self._set(Weather(drops=True), direction)

    def stall(self, direction="both"):
        """Nothing is read: data wait until `pass_on`, and who sends is held up when the buffers are full."""
        self._set(Weather(stalls=True), direction)

    # What happens to connections

    def reset(self):
        """All connections end at once with RST."""
        self._run(self._close_all, True)

    def cut(self):
        """All connections end with FIN, wherever in a message they are."""
        self._run(self._close_all, False)

    def refuse(self):
        """New connections are refused; those that exist go on."""
        self._run(self._stop_listening)

    def accept(self):
        """New connections are taken (again)."""
        self._run(self._listen)

    def flap(self, up, down):
        """Of each ``up + down`` new connections the last ``down`` are reset as soon as they are made."""
        self._run(setattr, self, "_period", (up, down))

    # When

    def at(self, do, **counter):
        """Call ``do`` when a counter reaches a number: ``proxy.at(proxy.reset, reply_bytes=1000)``.

        For bytes, all before are passed on and none after; for requests, the one with this number is not passed on yet.
        """
        [(name, number)] = counter.items()
        if name not in COUNTERS:
            raise ValueError(f"there is no counter {name}")
        self._run(self._triggers.append, (name, number, do))

    def wait(self, timeout_s=10, **counters):
        """Return when all these counters have reached these numbers, and what `at` says for them was done."""
        with self._counted:
            if not self._counted.wait_for(
                lambda: all(getattr(self, name) >= number for name, number in counters.items()), timeout_s
            ):
                have = {name: getattr(self, name) for name in counters}
                raise TimeoutError(f"waited for {counters}, have {have}")
        self._run(bool)  # what `at` does at these numbers was done then

    # Inside the thread

    def _run(self, function, *args):
        if threading.current_thread() is self._thread:
            function(*args)
            return

        async def call():
            function(*args)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _set(self, weather, direction="both"):
        self._run(self._set_here, weather, direction)

    def _set_here(self, weather, direction):
        for way in ("request", "reply") if direction == "both" else (direction,):
            self._weather[way].changed.set()  # who stalls looks again
            self._weather[way] = dataclasses.replace(weather)

    def _listen(self):
        if self._listener is None:
            self._listener = listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._reserve.getsockname())
            listener.listen(128)
            listener.setblocking(False)
            self._loop.add_reader(listener, self._accept, listener)

    def _stop_listening(self):
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.setblocking(False)
        self._count("connections", 1)
        up, down = self._period
        if (self.connections - 1) % (up + down) >= up:
            _close(client, is_reset=True)
            return
        self._start(self._serve(client))

    def _start(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client):
        server = socket.socket()
        server.setblocking(False)
        link = Link(client, server)
        self._open.add(link)
        try:
            await self._loop.sock_connect(server, self._target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._close(link, is_reset=True)
            return
        if not link.is_closed:
            self._start(self._pump(link, client, server, "request"))
            self._start(self._pump(link, server, client, "reply"))

    async def _pump(self, link, source, sink, way):
        scanner = RequestScanner() if way == "request" else None
        try:
            while not link.is_closed:
                data = await self._loop.sock_recv(source, CHUNK_BYTES)
                if not data:
                    break
                for starts_request, piece in scanner.split(data) if scanner else [(False, data)]:
                    if starts_request:
                        self._count("requests", 1)
                    await self._forward(link, sink, way, piece)
        except OSError:
            pass
        self._close(link, is_reset=False)

    async def _forward(self, link, sink, way, data):
        while data and not link.is_closed:
            weather = self._weather[way]
            if weather.drops:
                return
            if weather.stalls:
                await weather.changed.wait()
                continue
            data, rest = self._until_next_trigger(way, data)
            if weather.delay_s:
                await asyncio.sleep(weather.delay_s)
            if weather.bytes_per_s:
                await self._trickle(sink, data, weather.bytes_per_s)
            elif not link.is_closed:
                await self._loop.sock_sendall(sink, data)
            self._count(f"{way}_bytes", len(data))
            data = rest

    def _until_next_trigger(self, way, data):
        name = f"{way}_bytes"
        have = getattr(self, name)
        left = min((number - have for counter, number, _ in self._triggers if counter == name), default=len(data))
        left = max(1, min(left, len(data)))
        return data[:left], data[left:]

    async def _trickle(self, sink, data, bytes_per_s):
        step = max(1, int(bytes_per_s * 0.01))
        for first in range(0, len(data), step):
            piece = data[first : first + step]
            await self._loop.sock_sendall(sink, piece)
            await asyncio.sleep(len(piece) / bytes_per_s)

    def _count(self, name, more):
        with self._counted:
            setattr(self, name, getattr(self, name) + more)
            self._counted.notify_all()
        now = getattr(self, name)
        due = [trigger for trigger in self._triggers if trigger[0] == name and trigger[1] <= now]
        for trigger in due:
            self._triggers.remove(trigger)
            trigger[2]()

    def _close_all(self, is_reset):
        for link in list(self._open):
            self._close(link, is_reset=is_reset)

    def _close(self, link, *, is_reset):
        if not link.is_closed:
            link.is_closed = True
            self._open.discard(link)
            for end in (link.client, link.server):
                self._loop.remove_reader(end)
                self._loop.remove_writer(end)
                _close(end, is_reset=is_reset)

    def _end(self):
        self._stop_listening()
        self._close_all(True)
        self._set_here(Weather(), "both")

    async def _ended(self):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclasses.dataclass
class Weather:
    """What happens to bytes of one direction."""

    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    drops: bool = False
    stalls: bool = False
    changed: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, init=False)


@dataclasses.dataclass(eq=False)
class Link:
    """A client's connection and the one made for it to the server."""

    client: socket.socket
    server: socket.socket
    is_closed: bool = False


class RequestScanner:
    """Finds where HTTP/2 requests start in what a client sends; anything else is one piece without requests."""

    def __init__(self):
        self._skip = 0
        self._is_http2 = None
        self._head = b""

    def split(self, data):
        """Return the data in pieces, each with whether a request begins with it."""
        if self._is_http2 is None:
            self._is_http2 = data.startswith(b"PRI * HTTP/2")
            self._skip = HTTP2_PREFACE_BYTES
        if not self._is_http2:
            return [(False, data)]
        cuts, starts, at = [0], set(), 0
        while at < len(data):
            step = min(self._skip, len(data) - at)
            self._skip -= step
            at += step
            if at == len(data):
                break
            begins = at
            taken = data[at : at + HTTP2_FRAME_HEADER_BYTES - len(self._head)]
            self._head += taken
            at += len(taken)
            if len(self._head) == HTTP2_FRAME_HEADER_BYTES:
                if self._head[3] == HTTP2_HEADERS:
                    cuts.append(begins)
                    starts.add(begins)
                self._skip = int.from_bytes(self._head[:3])
                self._head = b""
        ends = [*cuts[1:], len(data)]
        return [(first in starts, data[first:end]) for first, end in zip(cuts, ends, strict=True) if end > first]


def _close(end, *, is_reset):
    if is_reset:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
