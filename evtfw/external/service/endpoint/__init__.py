"""The gRPC endpoint of the service: KServe v2 as Triton speaks it, and TensorFlow Serving's Predict."""

from evtfw.external.service.endpoint.security import Security
from evtfw.external.service.endpoint.server import Endpoint

__all__ = ["Endpoint", "Security"]
