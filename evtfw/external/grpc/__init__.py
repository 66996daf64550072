"""Calls to gRPC services: shared channels, one thread each that takes their replies, and the base class of backends."""

from evtfw.external.grpc.polling import import_grpc

import_grpc()
