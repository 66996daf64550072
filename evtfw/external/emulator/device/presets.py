"""Devices by name: those that were published, and descriptions in files of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.card import ArithmeticKind
from evtfw.external.emulator.device.description import Device, field_names

_FOLDER: Final = Path(__file__).parent / "presets"
_INSTEAD: Final = {"_s": "_cycles", "_cycles": "_s"}
_DEFAULTS: Final[dict[ArithmeticKind, str]] = {
    "ap_fixed": "hls4ml-vu9p",
    "trees": "hls4ml-vu9p",
    "fixed8": "brainwave-arria10",
    "msfp": "brainwave-arria10",
}


@dataclasses.dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device and what it is called.

    Args:
        name: of the preset or the file, with what was changed of it.
        device: its description.
    """

    name: str
    device: Device


def preset_names() -> list[str]:
    """Return the names of the devices that evtfw knows."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def default_device(arithmetic: ArithmeticKind) -> str:
    """Return the preset that is taken where nothing else is said: a published one of this arithmetic."""
    return _DEFAULTS[arithmetic]


def load_device(name: str | Path, changes: Mapping[str, str] | None = None) -> NamedDevice:
    """Return the preset of a name, or what a file describes.

    Args:
        name: of a preset, or path of a YAML file.
        changes: values to put in place of those described, by names such as ``devices`` and ``transfer.fixed_s``.

    Raises:
        ConfigurationError: there is no such device, or its description is wrong; the message names file and field.
    """
    file = _FOLDER / f"{name}.yaml"
    if str(name) not in preset_names():
        file = Path(name).expanduser()
        if file.suffix not in (".yaml", ".yml"):
            raise ConfigurationError(
                f"there is no device '{name}'{nearest(str(name), preset_names())}; "
                "for a device of yours give the path of a file .yaml"
            )
    values = _read(file)
    for field, value in (changes or {}).items():
        _change(values, field, value)
    label = str(name) if file.parent == _FOLDER else file.name
    changed = ", ".join(f"{field}={value}" for field, value in (changes or {}).items())
    where = str(file) + (f" with {changed}" if changed else "")
    return NamedDevice(label + (f" with {changed}" if changed else ""), _validated(values, where))


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        beside = [other.name for other in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        hint = nearest(file.name, beside)
        raise ConfigurationError(f"the device file {file} cannot be read: {error.strerror}{hint}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the device file {file} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"the device file {file} has no fields 'NAME: VALUE'")
    return values


def _change(values: dict[str, Any], field: str, value: str) -> None:
    """Put one value, and take out what said the same in another unit and what was noted on both."""
    gone = [field, *(field.removesuffix(end) + other for end, other in _INSTEAD.items() if field.endswith(end))]
    for notes in ("published", "assumed"):
        noted = values.get(notes)
        values[notes] = {k: v for k, v in noted.items() if k not in gone} if isinstance(noted, dict) else noted or {}
    inner = values
    *path, last = field.split(".")
    for name in path:
        found = inner.get(name)
        inner[name] = dict(found) if isinstance(found, dict) else {}
        inner = inner[name]
    for name in gone:
        inner.pop(name.rpartition(".")[2], None)
    inner[last] = value


def _validated(values: dict[str, Any], where: str) -> Device:
    try:
        return Device.model_validate(values)
    except ValidationError as error:
        problems = [f"device {where}: {_problem(problem)}" for problem in error.errors()]
        raise ConfigurationError(problems) from None


def _problem(problem: Any) -> str:
    field = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"there is no field '{field}'{nearest(field, [*Device.model_fields, *field_names()])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "missing":
        return f"the field '{field}' is missing"
    return f"{field}: {message}, not {problem['input']!r}" if field and problem["type"] != "value_error" else message
