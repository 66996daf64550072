"""hls4ml's configurations: which precision, reuse factor and strategy a layer has.

The dictionary is that of ``hls4ml.utils.config_from_keras_model``, ``…_pytorch_model`` and ``…_onnx_model``, as it is
or within a whole project's configuration (under ``HLSConfig``), from Python, JSON or YAML. The rules of look-up are
those of hls4ml 1.3, ``hls4ml/model/graph.py``, class ``HLSConfig``.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint

AUTO: Final = "auto"
_SECTIONS: Final = ("Model", "LayerName", "LayerType")
_OF_ONNX: Final = ("MatMul", "Conv", "BatchNormOnnx", "Quant")
"""Classes of layers that only hls4ml's ONNX front end has."""
_OTHERS: Final = ("Optimizers", "SkipOptimizers", "Flows")


@dataclasses.dataclass(frozen=True, slots=True)
class LayerNames:
    """What a configuration may call a layer.

    Args:
        names: the likeliest first.
        kind: hls4ml's class, e.g. ``Dense``.
        onnx_kind: the class that hls4ml's ONNX front end has it in first, e.g. ``MatMul``; empty: the same.
    """

    names: tuple[str, ...]
    kind: str
    onnx_kind: str = ""


class Hls4mlConfiguration:
    """A configuration, to be asked for one layer after the other.

    Args:
        content: the dictionary.
        file: it was read from, for messages.

    Raises:
        ConfigurationError: it is none of hls4ml's.
    """

    def __init__(self, content: Mapping[str, Any], file: str = "the configuration") -> None:
        self.file = file
        is_of_onnx = "OnnxModel" in content
        content = content.get("HLSConfig", content)
        self.is_of_onnx = is_of_onnx or any(kind in _OF_ONNX for kind in content.get("LayerType", {}))
        unknown = [key for key in content if key not in (*_SECTIONS, *_OTHERS) and isinstance(content[key], Mapping)]
        if not isinstance(content.get("Model"), Mapping) or "Precision" not in content["Model"]:
            raise ConfigurationError(
                f"{file} is no configuration of hls4ml: it has no Model with a Precision"
                + "".join(nearest(key, _SECTIONS) for key in unknown[:1])
            )
        self.model = content["Model"]
        self._by_name = {_plain(key): value or {} for key, value in content.get("LayerName", {}).items()}
        self._by_kind = {key.lower(): value or {} for key, value in content.get("LayerType", {}).items()}
        self._written = {_plain(key): key for key in content.get("LayerName", {})}
        self._used: set[str] = set()
        self._defaults = _precisions(self.model)
        if self._defaults.get("default", AUTO) == AUTO:
            raise ConfigurationError(f"{file}: Model: Precision: default must be a format, e.g. fixed<16,6>, not auto")

    @classmethod
    def read(cls, source: Path | str | Mapping[str, Any]) -> Hls4mlConfiguration:
        """Return the configuration of a YAML or JSON file, or of a dictionary.

        Raises:
            ConfigurationError: the file cannot be read or is none of hls4ml's.
        """
        if isinstance(source, Mapping):
            return cls(source)
        return cls(read_dictionary(Path(source)), str(source))

    @property
    def default(self) -> FixedPoint:
        """The model's default precision."""
        return self._format("Model", self._defaults["default"])

    @property
    def maximum(self) -> FixedPoint | None:
        """Limit of inferred precisions."""
        return self._format("Model", self._defaults["maximum"]) if "maximum" in self._defaults else None

    def precision(self, layer: LayerNames, variable: str) -> FixedPoint | None:
        """Return the precision of a layer's variable; None: it is left to hls4ml.

        Args:
            layer: whose.
            variable: result, weight, bias, accum, scale, param …

        Raises:
            ConfigurationError: what is written is no format.
        """
        by_name, by_kind = _precisions(self._of_name(layer)), _precisions(self._by_kind.get(layer.kind.lower(), {}))
        for found in (by_name, by_kind, self._defaults):
            text = found.get(variable, found.get("default"))
            if text is not None:
                return None if text.lower() == AUTO else self._format(layer.names[0], text)
        return self.default

    def type_of(self, layer: LayerNames, variable: str) -> FixedPoint | None:
        """Return a table's or other type that hls4ml takes from keys such as ``exp_table_t`` only."""
        given = self._given(layer)
        text = given.get(f"{variable}_t", given.get(f"{variable.title().replace('_', '')}T"))
        return None if text is None else self._format(layer.names[0], str(text))

    def value(self, layer: LayerNames, key: str, default: Any) -> Any:
        """Return another setting of a layer, of its own or of its kind, such as TableSize."""
        return self._given(layer).get(key, default)

    def shared(self, layer: LayerNames, key: str, default: Any) -> Any:
        """Return a setting that the model may have for all layers: ReuseFactor or Strategy."""
        return self._given(layer).get(key, self.model.get(key, default))

    def ignored(self, layer: LayerNames) -> list[str]:
        """Return precisions that hls4ml does not heed where they are written, for a note."""
        return sorted(_precisions(self._of_name(layer)).keys() & {"table", "exp_table", "inv_table", "inv_inp"})

    def has_name(self, name: str) -> bool:
        """Whether a layer of exactly this name is configured."""
        return _plain(name) in self._by_name

    def unused(self, known: Sequence[str]) -> list[str]:
        """Return a message for each configured layer that the model does not have.

        Args:
            known: names of the model's nodes and tensors, which need not be layers of their own.
        """
        others = {_plain(name) for name in known}
        wrong = [self._written[key] for key in self._by_name if key not in self._used and key not in others]
        names = sorted(self._used | {_plain(name) for name in known if not name.startswith("/")})
        return [
            f"{self.file}: LayerName '{name}' is no layer of the model{nearest(_plain(name), names)}" for name in wrong
        ]

    def _given(self, layer: LayerNames) -> dict[str, Any]:
        return {**self._by_kind.get(layer.kind.lower(), {}), **self._of_name(layer)}

    def _of_name(self, layer: LayerNames) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        if self.is_of_onnx and layer.onnx_kind:
            # The front end copies what it has for its own class to the name of the layer that it makes.
            found |= self._by_kind.get(layer.onnx_kind.lower(), {})
        for name in layer.names:
            if _plain(name) in self._by_name:
                self._used.add(_plain(name))
                return found | self._by_name[_plain(name)]
        return found

    def _format(self, where: str, text: str) -> FixedPoint:
        try:
            return FixedPoint.parse(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.file}: precision of '{where}': {error.problems[0]}") from error


def _plain(name: str) -> str:
    """Return a name as hls4ml compares it."""
    return re.sub(r"[./]", "_", name).strip("_").lower()


def _precisions(section: Mapping[str, Any]) -> dict[str, str]:
    given = section.get("Precision")
    if given is None:
        return {}
    return {key: str(value) for key, value in given.items()} if isinstance(given, Mapping) else {"default": str(given)}


def read_dictionary(file: Path) -> Mapping[str, Any]:
    """Return the dictionary in a YAML or JSON file.

    Raises:
        ConfigurationError: the file cannot be read, or holds none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration {file} cannot be read: {error}") from error
    content = _parse(text, str(file))
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"the configuration {file} holds no dictionary")
    return content


def _parse(text: str, file: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            pass  # YAML has braces too
    import yaml

    try:
        return yaml.load(text, Loader=_loader(yaml))  # noqa: S506  (a subclass of the safe one)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is neither JSON nor YAML: {error}") from error


def _loader(yaml: Any) -> Any:
    """Return a safe loader that passes over hls4ml's own tags, such as ``!keras_model``."""
    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("!", lambda _loader, suffix, _node: f"!{suffix}")
    return loader
