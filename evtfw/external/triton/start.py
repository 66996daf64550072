"""What a server is asked before the first event: whether it is there, has the model, and what that takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from evtfw.core.errors import ExternalError, ServerUnavailable, nearest
from evtfw.external.errors import AccessDenied, ModelNotFound
from evtfw.external.triton.description import ServedModel, served_model
from evtfw.external.triton.regions import Regions, abandoned

SERVICE: Final = "/inference.GRPCInferenceService/"

Call: TypeAlias = Callable[[str, bytes], bytes]
"""Sends a request to a method and returns the reply's message; raises ExternalError."""


def ask_server(call: Call, model: str, version: str, where: str) -> ServedModel:
    """Ask in the order in which answers explain one another.

    Args:
        call: of the server.
        model, version: that are wanted; no version for the server's choice.
        where: the backend's URL, for messages.

    Raises:
        ServerUnavailable: it cannot be reached, is not ready, or refuses (a gateway's way to say that it is full).
        ModelNotFound: it does not have the model; the message has the nearest names.
        ExternalError: the model cannot be used.
    """
    from tritonclient.grpc import service_pb2 as messages

    def ask(method: str, request: Any, reply: Any) -> Any:
        reply.ParseFromString(call(SERVICE + method, request.SerializeToString()))
        return reply

    ask("ServerLive", messages.ServerLiveRequest(), messages.ServerLiveResponse())
    if not ask("ServerReady", messages.ServerReadyRequest(), messages.ServerReadyResponse()).ready:
        raise ServerUnavailable(f"{where}: the server is not ready to take requests")
    index = _if_known(
        lambda: ask("RepositoryIndex", messages.RepositoryIndexRequest(), messages.RepositoryIndexResponse())
    )
    names = {"name": model, "version": version}
    try:
        ready = ask("ModelReady", messages.ModelReadyRequest(**names), messages.ModelReadyResponse()).ready
    except (ModelNotFound, ExternalError) as error:
        if isinstance(error, (AccessDenied, ServerUnavailable)) and not isinstance(error, ModelNotFound):
            raise
        ready = False
    if not ready:
        raise ModelNotFound(f"{where}: {_missing(model, version, index)}")
    metadata = ask("ModelMetadata", messages.ModelMetadataRequest(**names), messages.ModelMetadataResponse())
    config = _if_known(lambda: ask("ModelConfig", messages.ModelConfigRequest(**names), messages.ModelConfigResponse()))
    return served_model(metadata, config.config if config is not None else None, version)


def _if_known(ask: Callable[[], Any]) -> Any | None:
    """Return None if the server does not have this call, which the protocol allows."""
    try:
        return ask()
    except ExternalError as error:
        if "UNIMPLEMENTED" in str(error):
            return None
        raise


def _missing(model: str, version: str, index: Any | None) -> str:
    entries = list(index.models) if index is not None else []
    what = f"model '{model}'" + (f" version {version}" if version else "")
    of_model = [entry for entry in entries if entry.name == model]
    for entry in of_model:
        if not version or entry.version == version:
            state = entry.state or "not loaded"
            return f"{what} is {state}" + (f": {entry.reason}" if entry.reason else "") + "; it cannot be used now"
    if of_model:
        known = ", ".join(sorted(entry.version for entry in of_model))
        return f"the server has no {what}; versions: {known}"
    return f"the server has no {what}{nearest(model, [entry.name for entry in entries])}"


def registered(call: Call, regions: Regions) -> Regions:
    """Let the server map shared memory; regions that dead processes of this machine left there are ended first.

    Raises:
        ExternalError: it refuses, or cannot see this machine's memory; the memory is given back.
    """
    from tritonclient.grpc import service_pb2 as messages

    try:
        asked = messages.SystemSharedMemoryStatusRequest().SerializeToString()
        status = messages.SystemSharedMemoryStatusResponse.FromString(call(f"{SERVICE}SystemSharedMemoryStatus", asked))
        for name in abandoned(list(status.regions)):
            unregister(call, name)
        request = messages.SystemSharedMemoryRegisterRequest(
            name=regions.name, key=regions.key, offset=0, byte_size=regions.size_bytes
        )
        call(f"{SERVICE}SystemSharedMemoryRegister", request.SerializeToString())
    except ExternalError:
        regions.close()
        raise
    regions.unlink()
    return regions


def unregister(call: Call, name: str) -> None:
    """Let the server end its mapping. Raises ExternalError."""
    from tritonclient.grpc import service_pb2 as messages

    request = messages.SystemSharedMemoryUnregisterRequest(name=name)
    call(f"{SERVICE}SystemSharedMemoryUnregister", request.SerializeToString())
