"""KServe v2 messages as bytes: reading requests with strict bounds and writing replies, tensors never copied."""

from evtfw.external.service.wire.limits import Limits

__all__ = ["Limits"]
