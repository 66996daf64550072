"""``config.pbtxt``: a model's configuration as Triton's users write it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from evtfw.core.errors import ConfigurationError
from evtfw.external.service.settings import QueuePolicy, ServingSettings

FILE_NAME: Final = "config.pbtxt"
_LONGEST_BYTES: Final = 1 << 20
_BACKENDS: Final = ("", "onnxruntime", "evtfw")
_PLATFORMS: Final = ("", "onnxruntime_onnx", "onnxruntime", "evtfw")
_PARAMETERS: Final = ("intra_op_thread_count", "url")

_TENSOR: Final = frozenset({"name", "data_type", "dims"})
_POLICY: Final = frozenset(
    {"timeout_action", "default_timeout_microseconds", "allow_timeout_override", "max_queue_size"}
)
_KNOWN: Final = {
    "ModelConfig": frozenset(
        {
            "name",
            "platform",
            "backend",
            "version_policy",
            "max_batch_size",
            "input",
            "output",
            "dynamic_batching",
            "instance_group",
            "default_model_filename",
            "parameters",
        }
    ),
    "ModelInput": _TENSOR,
    "ModelOutput": _TENSOR,
    "ModelDynamicBatching": frozenset(
        {
            "preferred_batch_size",
            "max_queue_delay_microseconds",
            "priority_levels",
            "default_priority_level",
            "default_queue_policy",
            "priority_queue_policy",
        }
    ),
    "ModelQueuePolicy": _POLICY,
    "ModelInstanceGroup": frozenset({"name", "kind", "count"}),
}


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a configuration asks for.

    Args:
        config: the ``model_config_pb2.ModelConfig`` as written; None if there is no file.
        settings: what evtfw makes of it.
        intra_op_threads: threads within one execution; 0: not given.
        url: of another backend than onnxruntime; empty for a model file.
        model_file: name of the file in the folder of a version.
        ignored: settings that have no effect here, one sentence each.
    """

    config: Any
    settings: ServingSettings
    intra_op_threads: int = 0
    url: str = ""
    model_file: str = "model.onnx"
    ignored: tuple[str, ...] = ()

    def versions(self, there: list[int]) -> list[int]:
        """Return which of the versions that are there shall be served.

        Raises:
            ValueError: a version that is asked for is not there.
        """
        policy = None if self.config is None else self.config.version_policy
        choice = policy.WhichOneof("policy_choice") if policy is not None else None
        if choice == "all":
            return sorted(there)
        if policy is not None and choice == "specific":
            missing = [str(v) for v in policy.specific.versions if v not in there]
            if missing:
                raise ValueError(f"version_policy asks for version {missing[0]}, which is not there")
            return sorted(set(policy.specific.versions))
        count = (policy.latest.num_versions or 1) if policy is not None and choice == "latest" else 1
        return sorted(there)[-count:]


def read_config(folder: Path) -> ConfigFile:
    """Read the configuration in a model's folder; without one, all is as the model has it.

    Raises:
        ConfigurationError: it cannot be read, or asks for what evtfw cannot do.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return ConfigFile(None, ServingSettings())
    config = _parsed(path)
    problems = list(_problems(config, folder.name))
    if problems:
        raise ConfigurationError(f"{path}: {problem}" for problem in problems)
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    return ConfigFile(
        config,
        _settings(config),
        intra_op_threads=int(parameters.get("intra_op_thread_count") or 0),
        url=parameters.get("url", ""),
        model_file=config.default_model_filename or "model.onnx",
        ignored=tuple(f"{path}: {what} has no effect in evtfw" for what in dict.fromkeys(_ignored(config))),
    )


def _parsed(path: Path) -> Any:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_BYTES + 1)
        if len(text) > _LONGEST_BYTES:
            raise ConfigurationError(f"{path} is longer than {_LONGEST_BYTES} bytes; this is no configuration")
        return text_format.Parse(text.decode("utf-8"), model_config_pb2.ModelConfig())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no model configuration: {error}") from error


def _problems(config: Any, folder_name: str) -> Iterator[str]:
    if config.name and config.name != folder_name:
        yield f"name is '{config.name}', but the folder is '{folder_name}'; they must be equal"
    if config.backend not in _BACKENDS or config.platform not in _PLATFORMS:
        yield (
            f"backend '{config.backend or config.platform}' is not there; evtfw serves onnxruntime, and by "
            'backend: "evtfw" with parameters { key: "url" value { string_value: "SCHEME:…" } } all of its own'
        )
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    if config.backend == "evtfw" and not parameters.get("url"):
        yield 'backend "evtfw" needs parameters { key: "url" value { string_value: "SCHEME:…" } }'
    if parameters.get("url") and config.backend != "evtfw":
        yield 'the parameter url needs backend: "evtfw"'
    if not (parameters.get("intra_op_thread_count") or "0").isdecimal():
        yield f"intra_op_thread_count must be a whole number, not '{parameters['intra_op_thread_count']}'"
    if config.max_batch_size < 0:
        yield f"max_batch_size is {config.max_batch_size}; it must not be negative"
    file = config.default_model_filename
    if Path(file).name != file or "\0" in file:
        yield f"default_model_filename must be the name of a file in the version's folder, not {file!a}"
    batching = config.dynamic_batching
    wrong = [n for n in batching.preferred_batch_size if not 1 <= n <= config.max_batch_size]
    if wrong and not _is_left_to_the_model(config):
        yield f"preferred_batch_size {wrong[0]} is not between 1 and max_batch_size, {config.max_batch_size}"
    if config.HasField("dynamic_batching") and not config.max_batch_size and not _is_left_to_the_model(config):
        yield "dynamic_batching needs max_batch_size of 1 or more"
    levels = batching.priority_levels
    if batching.default_priority_level > levels:
        yield f"default_priority_level {batching.default_priority_level} is above priority_levels, {levels}"
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            yield f"priority_queue_policy has a level {level}, but priority_levels is {levels}"
    if any(group.count < 0 for group in config.instance_group):
        yield "instance_group has a negative count"


def _is_left_to_the_model(config: Any) -> bool:
    """Whether a configuration says nothing on tensors and batches, so that it is completed from the model."""
    return not (config.max_batch_size or config.input or config.output)


def _settings(config: Any) -> ServingSettings:
    batching = config.dynamic_batching
    return ServingSettings(
        max_batch_size=None if _is_left_to_the_model(config) else config.max_batch_size,
        is_batching=config.HasField("dynamic_batching") or _is_left_to_the_model(config),
        preferred_batch_sizes=tuple(sorted(set(batching.preferred_batch_size))),
        max_queue_delay_s=batching.max_queue_delay_microseconds * 1e-6,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
        default_policy=_policy(batching.default_queue_policy)
        if batching.HasField("default_queue_policy")
        else QueuePolicy(),
        level_policies={level: _policy(policy) for level, policy in batching.priority_queue_policy.items()},
        instances=sum(group.count or 1 for group in config.instance_group),
    )


def _policy(policy: Any) -> QueuePolicy:
    return QueuePolicy(
        max_queue_size=policy.max_queue_size,
        timeout_s=policy.default_timeout_microseconds * 1e-6 or None,
        allow_timeout_override=policy.allow_timeout_override,
    )


def _ignored(config: Any) -> Iterator[str]:
    """Name what the configuration says and evtfw does not do."""
    yield from _unknown_fields(config, "")
    batching = config.dynamic_batching
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action for policy in policies):
        yield "timeout_action: DELAY (requests are ended when their time is over)"
    if any(group.kind not in (0, 2) for group in config.instance_group):
        yield "instance_group.kind (the processor computes)"
    for name in sorted(config.parameters):
        if name not in _PARAMETERS:
            yield f"the parameter {name}"


def _unknown_fields(message: Any, where: str) -> Iterator[str]:
    known = _KNOWN.get(message.DESCRIPTOR.name)
    if known is None:
        return
    for field, value in message.ListFields():
        name = f"{where}{field.name}"
        if field.name not in known:
            yield name
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _unknown_fields(part, f"{name}.")
