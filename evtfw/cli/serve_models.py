"""``evtfw serve``: from the words of the command line to hosted models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from evtfw.core.errors import BadRequest, ConfigurationError, nearest
from evtfw.external.service.model import HostedModel
from evtfw.external.service.repository import ModelRepository, check_name
from evtfw.external.service.settings import QueuePolicy, ServingSettings
from evtfw.external.urls import make_backend


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in text.split("+")}))


OPTIONS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "max_batch": ("max_batch_size", int),
    "preferred_batch": ("preferred_batch_sizes", _sizes),
    "queue_delay_ms": ("max_queue_delay_s", lambda text: float(text) * 1e-3),
    "gather_ms": ("gather_s", lambda text: float(text) * 1e-3 or None),
    "queue_size": ("max_queue_size", int),
    "queue_timeout_ms": ("timeout_s", lambda text: float(text) * 1e-3 or None),
    "queue_bytes": ("max_queue_bytes", int),
    "priority_levels": ("priority_levels", int),
    "default_priority": ("default_priority_level", int),
    "instances": ("instances", int),
}
"""What ``--set`` can set: the name of the field and how it is read."""
_OF_THE_POLICY: Final = ("max_queue_size", "timeout_s")


def make_models(named: Sequence[str], options: Sequence[str], repository: ModelRepository | None) -> list[HostedModel]:
    """Make the models of a service, not opened yet.

    Args:
        named: ``NAME=URL`` each.
        options: ``OPTION=VALUE`` for all of them, or ``NAME.OPTION=VALUE``.
        repository: whose models are served as well.

    Raises:
        ConfigurationError: with everything that is wrong.
    """
    problems: list[str] = []
    pairs = [_pair(text, problems) for text in named]
    names = [name for name, _ in pairs]
    problems += [f"--model {name} is given twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    asked = _options(options, names, problems)
    models = []
    for name, url in pairs:
        try:
            check_name(name)
            models.append(HostedModel(name, make_backend(url), settings=_settings({**asked[""], **asked[name]})))
        except (BadRequest, ValueError) as error:
            problems.append(f"--model {name}={url}: {error}")
    for name in repository.names() if repository is not None else ():
        try:
            models += repository.load(name) if repository is not None else []
        except ConfigurationError as error:
            problems += error.problems
    if not models and not problems:
        problems.append("there is nothing to serve; give --model NAME=URL, e.g. toptag=cpu:toptag, or a repository")
    if problems:
        raise ConfigurationError(problems)
    return models


def open_repository(folder: Path | None, say: Callable[[str], None]) -> ModelRepository | None:
    """Return the repository if there is one. Raises ConfigurationError if the folder does not exist."""
    return None if folder is None else ModelRepository(folder, say=say)


def _pair(text: str, problems: list[str]) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or not name or not url:
        problems.append(f"--model {text}: write NAME=URL, e.g. toptag=cpu:toptag")
    return name, url


def _options(options: Iterable[str], names: Sequence[str], problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the fields that are set, by the name of the model; the empty name is for all."""
    found: dict[str, dict[str, Any]] = {"": {}, **{name: {} for name in names}}
    for text in options:
        match = re.fullmatch(r"(?:(.+)\.)?(\w+)=(.*)", text)
        model, option, value = match.groups() if match else ("", text, "")
        if not match or option not in OPTIONS:
            problems.append(f"--set {text}: there is no option '{option}'{nearest(option, OPTIONS)}")
        elif model and model not in found:
            problems.append(f"--set {text}: there is no --model '{model}'{nearest(model, names)}")
        else:
            field, read = OPTIONS[option]
            try:
                found[model or ""][field] = _checked(read(value))
            except ValueError:
                problems.append(f"--set {text}: '{value}' is no such value")
    return found


def _checked(value: Any) -> Any:
    for number in value if isinstance(value, tuple) else (value or 0,):
        if not 0 <= number < float("inf"):
            raise ValueError
    return value


def _settings(fields: Mapping[str, Any]) -> ServingSettings:
    policy = QueuePolicy(**{name: fields[name] for name in _OF_THE_POLICY if name in fields})
    rest = {name: value for name, value in fields.items() if name not in _OF_THE_POLICY}
    return dataclasses.replace(ServingSettings(default_policy=policy), **rest)
