"""ModelInfer requests, read from the message's bytes: contents stay where they are, known heads are not read again.

Clients repeat themselves: but for the id and the contents, a request is byte for byte the one before. So the head is
looked up by its bytes, and only a new one is decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from evtfw.core.errors import BadRequest
from evtfw.external.protobuf_wire import LENGTH
from evtfw.external.service.wire.contents import raw_array, typed_array
from evtfw.external.service.wire.head import Head, InputHead, SharedRange, read_head
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import shown
from evtfw.external.service.wire.protobuf import fields_of

Span: TypeAlias = tuple[int, int]
ReadShared: TypeAlias = Callable[[SharedRange], bytes]

_ID, _INPUTS, _RAW = 3, 5, 7
_WHAT: Final = ("", "names", "versions", "ids", "parameters", "inputs", "outputs", "raw_input_contents")
_CONTENTS: Final = 5
_KNOWN_HEADS: Final = 256
_KNOWN_BYTES: Final = 4096


def _no_shared_memory(_: SharedRange) -> bytes:
    raise BadRequest("shared memory is switched off in this service")


@dataclasses.dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that was read.

    Args:
        head: what it says about itself.
        id: given back in the reply; UTF-8.
        inputs: arrays by name, read-only views into the message where possible (also if it is not aligned).
        size_bytes: of the message.
    """

    head: Head
    id: bytes
    inputs: dict[str, NDArray[Any]]
    size_bytes: int


class _Parts:
    """Where the parts of a message are."""

    __slots__ = ("counts", "id", "raw", "rest")

    def __init__(self) -> None:
        self.id: Span = (0, 0)
        self.raw: list[Span] = []
        self.rest: list[Span] = []
        self.counts = [0] * 8


class RequestReader:
    """Reads ModelInferRequest messages. Not to be shared between threads.

    Args:
        limits: what a request may ask for.
        read_shared: gives the bytes of a shared-memory range, or raises `BadRequest`.
    """

    def __init__(self, limits: Limits, read_shared: ReadShared = _no_shared_memory) -> None:
        self._limits = limits
        self._read_shared = read_shared
        self._known: dict[bytes, Head] = {}
        self._at_most = [0, limits.fields, limits.fields, limits.fields, limits.parameters, *[limits.tensors] * 3]

    def read(self, message: bytes) -> InferRequest:
        """Return the request.

        Raises:
            BadRequest: says what is wrong with it; nothing of its size was allocated until then.
        """
        if len(message) > self._limits.message_bytes:
            raise BadRequest(f"the message has {len(message)} bytes; at most {self._limits.message_bytes} are allowed")
        parts = self._split(message)
        key, head = b"", None
        if sum([stop - start for start, stop in parts.rest]) <= _KNOWN_BYTES:
            key = b"".join([message[start:stop] for start, stop in parts.rest])
            head = self._known.get(key)
        typed: list[list[Span]] = []
        if head is None:
            head, typed = self._read_new(message, key)
        request_id = self._id(message, parts.id)
        if parts.raw or not any(typed):
            inputs = self._raw_inputs(message, head, parts.raw, typed)
        else:
            inputs = self._typed_inputs(message, head, typed)
        return InferRequest(head, request_id, inputs, len(message))

    def _split(self, message: bytes) -> _Parts:
        """Find the parts; adjacent fields of the head are one span, so that a usual message has two of them."""
        parts = _Parts()
        begin = 0
        for number, kind, tag, start, stop in fields_of(message, 0, len(message), self._limits.fields):
            if number < 8:
                parts.counts[number] += 1
                if kind != LENGTH:
                    raise BadRequest(f"the message is no ModelInferRequest: its field {number} has another type")
                if parts.counts[number] > self._at_most[number]:
                    raise BadRequest(f"the request has more than {self._at_most[number]} {_WHAT[number]}")
            if number == _RAW:
                parts.raw.append((start, stop))
            elif number == _ID:
                parts.id = (start, stop)
            else:
                continue
            if tag > begin:
                parts.rest.append((begin, tag))
            begin = stop
        if begin < len(message):
            parts.rest.append((begin, len(message)))
        return parts

    def _read_new(self, message: bytes, key: bytes) -> tuple[Head, list[list[Span]]]:
        """Read a head that was not seen yet, and find the typed contents of each input."""
        limits = self._limits
        rest: list[bytes] = []
        inputs: list[bytes] = []
        typed: list[list[Span]] = []
        size = 0
        for number, _, tag, start, stop in fields_of(message, 0, len(message), limits.fields):
            if number == _INPUTS:
                stripped, contents = self._strip(message, start, stop)
                inputs.append(stripped)
                typed.append(contents)
                size += len(stripped)
            elif number not in (_ID, _RAW):
                size += stop - tag
                self._check_head(size)
                rest.append(message[tag:stop])
        self._check_head(size)
        head = read_head(b"".join(rest), inputs, limits)
        if key and not any(typed):
            if len(self._known) >= _KNOWN_HEADS:
                self._known.clear()
            self._known[key] = head
        return head, typed

    def _strip(self, message: bytes, start: int, stop: int) -> tuple[bytes, list[Span]]:
        """Return an InferInputTensor without its contents, and where these are."""
        rest: list[bytes] = []
        contents: list[Span] = []
        size = 0
        for number, kind, tag, value, end in fields_of(message, start, stop, self._limits.fields):
            if number == _CONTENTS and kind == LENGTH:
                contents.append((value, end))
            else:
                size += end - tag
                self._check_head(size)
                rest.append(message[tag:end])
        return b"".join(rest), contents

    def _check_head(self, size: int) -> None:
        if size > self._limits.head_bytes:
            raise BadRequest(
                f"the request has more than {self._limits.head_bytes} bytes beside the contents of its tensors"
            )

    def _id(self, message: bytes, span: Span) -> bytes:
        start, stop = span
        if stop - start > self._limits.name_bytes:
            raise BadRequest(f"the request id has {stop - start} bytes; at most {self._limits.name_bytes} are allowed")
        request_id = message[start:stop]
        if not request_id.isascii():
            try:
                request_id.decode()
            except UnicodeDecodeError:
                raise BadRequest("the request id is not UTF-8") from None
        return request_id

    def _raw_inputs(
        self, message: bytes, head: Head, raw: list[Span], typed: list[list[Span]]
    ) -> dict[str, NDArray[Any]]:
        if any(typed):
            raise BadRequest("the request has raw_input_contents and typed contents; send one of them")
        spans = iter(raw)
        inputs = {}
        for tensor in head.inputs:
            if tensor.shared is not None:
                content = self._shared_content(tensor, tensor.shared)
                inputs[tensor.name] = raw_array(content, 0, len(content), tensor, self._limits)
                continue
            span = next(spans, None)
            if span is None:
                if tensor.elements:
                    raise self._wrong_raw_count(head, raw)
                span = (0, 0)
            inputs[tensor.name] = raw_array(message, span[0], span[1], tensor, self._limits)
        if next(spans, None) is not None:
            raise self._wrong_raw_count(head, raw)
        return inputs

    def _shared_content(self, tensor: InputHead, shared: SharedRange) -> bytes:
        if tensor.size_bytes is not None and tensor.size_bytes != shared.size_bytes:
            raise BadRequest(
                f"input {shown(tensor.name)} has {shared.size_bytes} bytes in shared memory; "
                f"its shape {list(tensor.shape)} and datatype need {tensor.size_bytes}"
            )
        return self._read_shared(shared)

    @staticmethod
    def _wrong_raw_count(head: Head, raw: list[Span]) -> BadRequest:
        needed = sum(tensor.shared is None for tensor in head.inputs)
        return BadRequest(f"the request has {len(raw)} raw_input_contents for {needed} inputs")

    def _typed_inputs(self, message: bytes, head: Head, typed: list[list[Span]]) -> dict[str, NDArray[Any]]:
        inputs = {}
        for tensor, spans in zip(head.inputs, typed, strict=True):
            if tensor.shared is not None or len(spans) > 1:
                raise BadRequest(f"input {shown(tensor.name)} has more than one contents")
            start, stop = spans[0] if spans else (0, 0)
            inputs[tensor.name] = typed_array(message, start, stop, tensor, self._limits)
        return inputs
