"""A client of gRPC made of bytes, for what no gRPC library does: messages that stop half-way, replies nobody reads."""

from __future__ import annotations

import selectors
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
ACKNOWLEDGED = END_STREAM = 1
END_HEADERS = 4
WINDOW = 4
FRAME_BYTES = 16384


class RawConnection:
    """A connection whose server may send ``window`` bytes of each reply, and waits for the client to want more.

    Attributes:
        ended: numbers of the calls that the server has ended.
        arrived: bytes of replies.
        is_closed: the server closed the connection.
    """

    def __init__(self, address, *, window=0):
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._out = bytearray(PREFACE)
        self._in = bytearray()
        self._room = {0: 65535}
        self._first_room = 65535
        self._unsent = {}
        self.ended = set()
        self.arrived = 0
        self.is_closed = False
        self._frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, window))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._selector.close()
        self._socket.close()

    def call(self, path, message, *, missing=0):
        """Begin a call; the last ``missing`` bytes of its message never come. Returns its number."""
        number = 2 * (len(self._room) - 1) + 1
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "raw", "te": "trailers"}
        fields["content-type"] = "application/grpc"
        head = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
        self._frame(HEADERS, END_HEADERS, number, head)
        body = struct.pack(">BI", 0, len(message)) + message
        self._room[number] = self._first_room
        self._unsent[number] = (memoryview(body)[: len(body) - missing], not missing)
        return number

    @property
    def has_sent_all(self):
        return not self._unsent and not self._out

    def work(self, is_enough, limit_s):
        """Send and receive until ``is_enough()``; returns whether that came to pass in time."""
        end_s = time.monotonic() + limit_s
        while not is_enough():
            if time.monotonic() > end_s or self.is_closed:
                return False
            self._fill()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._socket, events)
            self._selector.select(0.05)
            self._exchange()
        return True

    def _frame(self, kind, flags, number, content=b""):
        self._out += struct.pack(">I", len(content))[1:] + bytes((kind, flags)) + struct.pack(">I", number) + content

    def _fill(self):
        """Cut what may be sent now into frames."""
        for number, (rest, is_whole) in list(self._unsent.items()):
            while rest and len(self._out) < 1 << 20:
                size = min(len(rest), FRAME_BYTES, self._room[number], self._room[0])
                if size <= 0:
                    break
                is_last = is_whole and size == len(rest)
                self._frame(DATA, END_STREAM if is_last else 0, number, bytes(rest[:size]))
                self._room[number] -= size
                self._room[0] -= size
                rest = rest[size:]
            self._unsent[number] = (rest, is_whole)
            if not rest:
                del self._unsent[number]

    def _exchange(self):
        try:
            if self._out:
                del self._out[: self._socket.send(self._out)]
            while content := self._socket.recv(1 << 16):
                self._in += content
            self.is_closed = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.is_closed = True
        while len(self._in) >= 9 and len(self._in) >= 9 + (size := int.from_bytes(self._in[:3])):
            kind, flags, number = self._in[3], self._in[4], int.from_bytes(self._in[5:9])
            content = bytes(self._in[9 : 9 + size])
            del self._in[: 9 + size]
            self._take(kind, flags, number, content)

    def _take(self, kind, flags, number, content):
        if kind == SETTINGS and not flags & ACKNOWLEDGED:
            for name, value in struct.iter_unpack(">HI", content):
                if name == WINDOW:
                    for each in self._room.keys() - {0}:
                        self._room[each] += value - self._first_room
                    self._first_room = value
            self._frame(SETTINGS, ACKNOWLEDGED, 0)
        elif kind == PING and not flags & ACKNOWLEDGED:
            self._frame(PING, ACKNOWLEDGED, 0, content)
        elif kind == WINDOW_UPDATE:
            self._room[number] += int.from_bytes(content)
        elif kind == DATA:
            self.arrived += len(content)
        if kind == RESET or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.ended.add(number)
            self._unsent.pop(number, None)


def _text(value):
    return bytes((len(value),)) + value.encode()
