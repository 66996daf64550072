"""Calls to gRPC services: one loop thread and shared channels per process, and the base class of such backends."""
