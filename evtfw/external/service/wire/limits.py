"""What a request may ask for at most, whoever sends it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the service against requests that are wrong or hostile. All are checked before memory is taken.

    Args:
        message_bytes: length of a message after decompression.
        head_bytes: length of a request without the contents of its tensors.
        tensors: inputs of a request, and outputs it may name.
        parameters: of a request, and of each of its tensors.
        dimensions: axes of a tensor.
        elements: of a tensor.
        decoded_elements: of a tensor of strings, or with whole numbers in typed contents: both are decoded.
        name_bytes: length of any name and of a request's id.
        fields: protobuf fields at the top level of a request or of a tensor's typed contents, if not packed.
        calls: inference calls at the same time, those included whose message is still on its way.
        control_calls: other calls at the same time; health checks are among them, so inference cannot crowd them out.
        streams: open ``ModelStreamInfer`` streams.
        stream_depth: requests of one stream at the same time; the next is read when one of them was answered.
        in_flight_bytes: messages that wait or are computed, together; further ones are refused as overload.
        receive_s: time for a message to arrive once its call began.
        arriving: messages that may take that time, at once; each may hold the memory of the largest.
        crowded_s: time for further ones to arrive.
        connections: open connections; further ones are closed at once.
        connection_streams: calls of one connection at the same time; HTTP/2 makes further ones wait at the client.
        idle_s: connections without a call for so long are closed.
        keepalive_s: pings of clients that come more often end their connection.
        regions: shared-memory regions registered at the same time.
    """

    message_bytes: int = 64 << 20
    head_bytes: int = 64 << 10
    tensors: int = 256
    parameters: int = 64
    dimensions: int = 16
    elements: int = 1 << 31
    decoded_elements: int = 1 << 18
    name_bytes: int = 512
    fields: int = 1024
    calls: int = 1024
    control_calls: int = 256
    streams: int = 128
    stream_depth: int = 64
    in_flight_bytes: int = 1 << 30
    receive_s: float = 30.0
    arriving: int = 16
    crowded_s: float = 2.0
    connections: int = 4096
    connection_streams: int = 256
    idle_s: float = 600.0
    keepalive_s: float = 5.0
    regions: int = 64

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"limit {field.name} must be positive, not {getattr(self, field.name)}")
