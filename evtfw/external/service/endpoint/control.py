"""The calls beside inference: health, metadata, configuration, statistics, repository, shared memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from evtfw import __version__
from evtfw.core.errors import BadRequest
from evtfw.external.contract import TensorSpec
from evtfw.external.errors import ModelNotFound
from evtfw.external.service.endpoint.calls import Behaviour, end_with
from evtfw.external.service.endpoint.errors import NotImplementedHere, Refused
from evtfw.external.service.endpoint.regions import Regions
from evtfw.external.service.endpoint.rpc import Call
from evtfw.external.service.statistics import Duration
from evtfw.external.service.wire.datatypes import datatype_of
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.names import check_model

if TYPE_CHECKING:
    from evtfw.external.service.model import HostedModel
    from evtfw.external.service.service import Service
    from evtfw.external.service.statistics import ModelStatistics

PREFIX: Final = "/inference.GRPCInferenceService/"
_NOT_HERE: Final = (
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)
_Answer: TypeAlias = Callable[[Any], Any]


class Control:
    """Answers all calls of the KServe protocol but inference.

    Args:
        service: has the models.
        limits: of names.
        regions: of shared memory; None: switched off.
        may_load: whether clients may load and unload models.
    """

    def __init__(self, service: Service, limits: Limits, regions: Regions | None, *, may_load: bool) -> None:
        self._service = service
        self._limits = limits
        self._regions = regions
        self._may_load = may_load

    def behaviours(self) -> Mapping[str, Behaviour]:
        """Return what answers each method, by its full name."""
        answers: dict[str, tuple[Any, _Answer]] = {
            "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
            "ServerReady": (pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=self._service.is_ready)),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": (pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": (pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._repository_index),
            "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, self._shared_memory_status),
            "SystemSharedMemoryRegister": (pb.SystemSharedMemoryRegisterRequest, self._shared_memory_register),
            "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest, self._shared_memory_unregister),
        }
        changes = {
            PREFIX + "RepositoryModelLoad": _in_thread(_behaviour(pb.RepositoryModelLoadRequest, self._load)),
            PREFIX + "RepositoryModelUnload": _in_thread(_behaviour(pb.RepositoryModelUnloadRequest, self._unload)),
        }
        behaviours = {PREFIX + name: _behaviour(kind, answer) for name, (kind, answer) in answers.items()}
        return behaviours | changes | {PREFIX + name: _not_here(name) for name in _NOT_HERE}

    def _server_metadata(self, _: Any) -> Any:
        extensions = ["model_configuration", "schedule_policy", "statistics"]
        extensions += ["system_shared_memory"] if self._regions is not None else []
        extensions += ["model_repository"] if self._may_load else []
        return pb.ServerMetadataResponse(name="evtfw", version=__version__, extensions=extensions)

    def _find(self, name: str, version: str) -> HostedModel:
        check_model(name, version, self._limits)
        return self._service.find(name, version)

    def _model_ready(self, request: Any) -> Any:
        try:
            return pb.ModelReadyResponse(ready=self._find(request.name, request.version).is_ready)
        except ModelNotFound:
            return pb.ModelReadyResponse(ready=False)

    def _model_metadata(self, request: Any) -> Any:
        model = self._find(request.name, request.version)
        description = model.description
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[other.version for other in self._service.models if other.name == model.name],
            platform=description.platform,
            inputs=map(_tensor, description.inputs),
            outputs=map(_tensor, description.outputs),
        )

    def _model_config(self, request: Any) -> Any:
        return pb.ModelConfigResponse(config=self._find(request.name, request.version).config())

    def _model_statistics(self, request: Any) -> Any:
        if request.name:
            check_model(request.name, request.version, self._limits)
            self._service.find(request.name, request.version)
        models = [
            model
            for model in self._service.models
            if model.name == (request.name or model.name) and model.version == (request.version or model.version)
        ]
        return pb.ModelStatisticsResponse(model_stats=map(_statistics, models))

    def _repository_index(self, request: Any) -> Any:
        states = [
            pb.RepositoryIndexResponse.ModelIndex(
                name=model.name, version=model.version, state="READY" if model.is_ready else "UNAVAILABLE"
            )
            for model in self._service.models
            if model.is_ready or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=states)

    def _load(self, request: Any) -> Any:
        load = self._changeable(request.model_name, "load")
        if request.parameters:
            raise BadRequest(
                f"parameters {', '.join(sorted(request.parameters))}: this service loads models as the repository has "
                "them; change the files there, and load without parameters"
            )
        load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    def _unload(self, request: Any) -> Any:
        self._changeable(request.model_name, "unload")(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _changeable(self, name: str, what: str) -> Callable[[str], object]:
        check_model(name, "", self._limits)
        change: Callable[[str], object] | None = getattr(self._service, what, None)
        if not self._may_load or change is None:
            raise Refused(f"this service does not let clients {what} models")
        return change

    def _regions_or_refuse(self) -> Regions:
        if self._regions is None:
            raise Refused("shared memory is switched off in this service; send tensors in the message")
        return self._regions

    def _shared_memory_status(self, request: Any) -> Any:
        regions = self._regions_or_refuse().status(request.name)
        kind = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                name: kind(name=name, key=key, offset=offset, byte_size=size) for name, key, offset, size in regions
            }
        )

    def _shared_memory_register(self, request: Any) -> Any:
        self._regions_or_refuse().register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def _shared_memory_unregister(self, request: Any) -> Any:
        self._regions_or_refuse().unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()


def _behaviour(kind: Any, answer: _Answer) -> Behaviour:
    """Return what parses a request, answers it and writes the reply."""

    def behave(message: bytes, _: Call) -> bytes:
        try:
            request = kind.FromString(message)
        except DecodeError:
            raise BadRequest(f"the message is no valid {kind.__name__}") from None
        reply: bytes = answer(request).SerializeToString()
        return reply

    return behave


def _in_thread(behaviour: Behaviour) -> Behaviour:
    """Return a behaviour that takes its time elsewhere and ends the call from there."""

    def behave(message: bytes, call: Call) -> None:
        try:
            call.finish(behaviour(message, call))
        except Exception as error:
            end_with(call, error)

    def begin(message: bytes, call: Call) -> None:
        threading.Thread(target=behave, args=(message, call), name="evtfw-load", daemon=True).start()

    return begin


def _not_here(name: str) -> Behaviour:
    def behave(_: bytes, __: Call) -> bytes:
        raise NotImplementedHere(f"this service does not implement {name}")

    return behave


def _tensor(spec: TensorSpec) -> Any:
    shape = [-1 if length is None else length for length in spec.shape]
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=datatype_of(spec.dtype), shape=shape)


def _duration(duration: Duration) -> Any:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def _not_answered(statistics: ModelStatistics) -> Duration:
    """Failed, refused and cancelled requests: the protocol counts them together, the metrics tell them apart."""
    ends = (statistics.fail, statistics.reject, statistics.cancel)
    return Duration(sum(end.count for end in ends), sum(end.ns for end in ends))


def _statistics(model: HostedModel) -> Any:
    statistics = model.statistics()
    names = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    parts = ("compute_input", "compute_infer", "compute_output")
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=statistics.last_inference_ms,
        inference_count=statistics.inference_count,
        execution_count=statistics.execution_count,
        inference_stats=pb.InferStatistics(
            fail=_duration(_not_answered(statistics)), **{name: _duration(getattr(statistics, name)) for name in names}
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=rows, **{part: _duration(getattr(size, part)) for part in parts})
            for rows, size in statistics.batch_sizes.items()
        ],
    )
