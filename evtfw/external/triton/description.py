"""A Triton's metadata and configuration of a model as a `ModelDescription`, and what requests must heed."""

from __future__ import annotations

import dataclasses
from typing import Any

from evtfw.core.errors import ExternalError, nearest
from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.triton.datatypes import DTYPES
from evtfw.external.triton.encoding import WireTensor


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server says about a model.

    Args:
        inputs, outputs: as the wire has them, in the order of the description.
        priority_levels: 1 is served first; 0: the model knows no priorities.
        default_priority: of requests that do not say.
        heeds_timeout: whether it looks at the ``timeout`` of a request.
    """

    description: ModelDescription
    inputs: tuple[WireTensor, ...]
    outputs: tuple[WireTensor, ...]
    priority_levels: int = 0
    default_priority: int = 0
    heeds_timeout: bool = False

    def priority(self, wanted: int) -> int:
        """Return Triton's priority for ours, where larger is earlier and 0 is the default; 0: do not send any."""
        if not self.priority_levels or not wanted:
            return 0
        return min(max(1, self.default_priority - wanted), self.priority_levels)


def served_model(metadata: Any, config: Any | None, version: str) -> ServedModel:
    """Put together what a server says.

    Args:
        metadata: ``ModelMetadataResponse``.
        config: ``ModelConfig``; None if the server has no such call: an axis 0 that is free everywhere is then taken
            for the batch, as for local models.
        version: that was asked for.

    Raises:
        ExternalError: the model has to be used in another way, or a tensor's type is not known here.
    """
    if config is not None:
        _refuse_other_protocols(metadata.name, config)
    optional = {tensor.name for tensor in config.input if tensor.optional} if config is not None else set()
    inputs = [tensor for tensor in metadata.inputs if tensor.name not in optional]
    description = ModelDescription(
        name=metadata.name,
        version=version or (max(metadata.versions, key=_number) if metadata.versions else ""),
        inputs=tuple(_spec(metadata.name, tensor) for tensor in inputs),
        outputs=tuple(_spec(metadata.name, tensor) for tensor in metadata.outputs),
        max_batch_size=_max_batch_size(metadata, config),
        platform=metadata.platform or (config.backend if config is not None else ""),
        sha256=config.parameters["sha256"].string_value.lower()
        if config is not None and "sha256" in config.parameters
        else "",
    )
    batching = config.dynamic_batching if config is not None else None
    return ServedModel(
        description,
        _wire(inputs),
        _wire(metadata.outputs),
        priority_levels=batching.priority_levels if batching else 0,
        default_priority=batching.default_priority_level if batching else 0,
        heeds_timeout=_heeds_timeout(batching) if batching else False,
    )


def _refuse_other_protocols(model: str, config: Any) -> None:
    if config.HasField("sequence_batching"):
        raise ExternalError(f"model '{model}' expects sequences of requests; only single requests are sent here")
    if config.model_transaction_policy.decoupled:
        raise ExternalError(f"model '{model}' answers with any number of replies; only single replies are taken here")


def _max_batch_size(metadata: Any, config: Any | None) -> int | None:
    if config is not None:
        return int(config.max_batch_size)
    tensors = [*metadata.inputs, *metadata.outputs]
    return None if tensors and all(tensor.shape and tensor.shape[0] < 0 for tensor in tensors) else 0


def _heeds_timeout(batching: Any) -> bool:
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    return any(policy.allow_timeout_override for policy in policies)


def _wire(tensors: Any) -> tuple[WireTensor, ...]:
    return tuple(WireTensor(tensor.name, tensor.datatype) for tensor in tensors)


def _spec(model: str, tensor: Any) -> TensorSpec:
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise ExternalError(
            f"model '{model}': tensor '{tensor.name}' is of datatype '{tensor.datatype}', which is not known here"
            f"{nearest(tensor.datatype, DTYPES)}"
        )
    return TensorSpec(tensor.name, dtype, tuple(tensor.shape))


def _number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else -1, version)
