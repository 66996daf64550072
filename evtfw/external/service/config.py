"""Model configurations in Triton's form: made for a model that has none, read from ``config.pbtxt``."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from evtfw.core.errors import nearest
from evtfw.external.contract import ModelDescription, TensorSpec
from evtfw.external.service.settings import MAX_BATCH, QueuePolicy, ServingSettings

_TYPES: Final = {
    "bool": "TYPE_BOOL",
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "object": "TYPE_STRING",
}


def generated_config(description: ModelDescription, settings: ServingSettings, instances: int) -> Any:
    """Return the configuration (a ``model_config_pb2.ModelConfig``) of a model that was given by an URL.

    Args:
        description: as served.
        settings: in force.
        instances: batches computed at the same time.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(
        name=description.name,
        platform="onnxruntime_onnx" if description.platform == "onnxruntime" else "",
        backend=description.platform or "evtfw",
        max_batch_size=description.max_batch_size or 0,
    )
    config.version_policy.latest.num_versions = 1
    for side, specs in ((config.input, description.inputs), (config.output, description.outputs)):
        for spec in specs:
            side.add(name=spec.name, data_type=data_type(spec), dims=dims_of(spec, is_batched=description.is_batched))
    config.instance_group.add(name=f"{description.name}_0", kind=2, count=instances)
    if description.is_batched and settings.is_batching:
        text_format.Merge(_batching_text(settings), config.dynamic_batching)
    return config


def completed_config(written: Any, generated: Any) -> Any:
    """Return a configuration that was written, with what it leaves out taken from the generated one."""
    config = type(written)()
    config.CopyFrom(written)
    config.name = generated.name
    config.max_batch_size = generated.max_batch_size
    for field in ("input", "output", "instance_group"):
        if not getattr(config, field):
            getattr(config, field).extend(getattr(generated, field))
    if not config.HasField("version_policy"):
        config.version_policy.CopyFrom(generated.version_policy)
    if not config.backend and not config.platform:
        config.platform, config.backend = generated.platform, generated.backend
    return config


def narrowed(description: ModelDescription, config: Any) -> ModelDescription:
    """Return the description with the axes that a written configuration fixes.

    Raises:
        ValueError: the configuration's tensors are not those of the model; the message names them.
    """
    is_batched = config.max_batch_size > 0
    if is_batched and not description.is_batched:
        raise ValueError(f"max_batch_size is {config.max_batch_size}, but the model's first axis is no batch; write 0")
    return dataclasses.replace(
        description,
        inputs=_narrowed("input", description.inputs, config.input, is_batched=is_batched),
        outputs=_narrowed("output", description.outputs, config.output, is_batched=is_batched),
    )


def _narrowed(kind: str, specs: tuple[TensorSpec, ...], written: Any, *, is_batched: bool) -> tuple[TensorSpec, ...]:
    if not written or not specs:
        return specs
    listed = {tensor.name: tensor for tensor in written}
    known = {spec.name: spec for spec in specs}
    for name in listed:
        if name not in known:
            raise ValueError(f"there is no {kind} '{name}' in the model{nearest(name, known)}")
    missing = [name for name in known if name not in listed]
    if missing:
        raise ValueError(f"the model's {kind} '{missing[0]}' is missing")
    return tuple(_one(kind, spec, listed[spec.name], is_batched=is_batched) for spec in specs)


def _one(kind: str, spec: TensorSpec, tensor: Any, *, is_batched: bool) -> TensorSpec:
    dims = tuple(None if n < 0 else int(n) for n in tensor.dims)
    shape = (spec.shape[0], *dims) if is_batched and spec.shape else dims
    fits = len(shape) == len(spec.shape) and all(
        have is None or have == want for want, have in zip(shape, spec.shape, strict=True)
    )
    if not fits or tensor.data_type != data_type(spec):
        given = f"{_type_name(tensor.data_type)} dims {list(tensor.dims)}"
        raise ValueError(
            f"{kind} '{spec.name}' is {given}, but the model has {_type_name(data_type(spec))} "
            f"dims {dims_of(spec, is_batched=is_batched)}"
        )
    return dataclasses.replace(spec, shape=shape)


def _type_name(number: int) -> str:
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number))


def _batching_text(settings: ServingSettings) -> str:
    lines = [f"preferred_batch_size: {size}" for size in settings.preferred_batch_sizes]
    lines.append(f"max_queue_delay_microseconds: {round(settings.max_queue_delay_s * 1e6)}")
    if settings.priority_levels:
        lines.append(f"priority_levels: {settings.priority_levels}")
        lines.append(f"default_priority_level: {settings.level_of(0)}")
    lines.append(f"default_queue_policy {{ {_policy_text(settings.default_policy)} }}")
    for level, policy in settings.level_policies.items():
        lines.append(f"priority_queue_policy {{ key: {level} value {{ {_policy_text(policy)} }} }}")
    return "\n".join(lines)


def _policy_text(policy: QueuePolicy) -> str:
    return (
        f"timeout_action: REJECT default_timeout_microseconds: {round((policy.timeout_s or 0) * 1e6)} "
        f"allow_timeout_override: {str(policy.allow_timeout_override).lower()} max_queue_size: {policy.max_queue_size}"
    )


def data_type(spec: TensorSpec) -> Any:
    """Return the number of a tensor's element type in Triton's enumeration."""
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.DataType.Value(_TYPES.get(str(spec.dtype), "TYPE_INVALID"))


def dims_of(spec: TensorSpec, *, is_batched: bool) -> list[int]:
    """Return a tensor's axes as a configuration has them: without the batch axis, -1 for any length."""
    return [-1 if n is None else n for n in (spec.shape[1:] if is_batched else spec.shape)]


def served_batch_size(description: ModelDescription, settings: ServingSettings) -> int:
    """Return the rows of a batch at most, 0 if the model is not served in batches.

    Raises:
        ValueError: the settings want batches of a model that has no batch axis, or larger ones than it takes.
    """
    if settings.max_batch_size == 0 or not description.is_batched:
        if settings.max_batch_size:
            raise ValueError(
                f"max_batch_size is {settings.max_batch_size}, but the model's first axis is no batch; write 0"
            )
        return 0
    if settings.max_batch_size is None:
        return min(MAX_BATCH, description.max_batch_size or MAX_BATCH)
    if description.max_batch_size is not None and settings.max_batch_size > description.max_batch_size:
        limit = description.max_batch_size
        raise ValueError(f"max_batch_size is {settings.max_batch_size}, but the model takes {limit} rows at most")
    return settings.max_batch_size
