"""A folder of models in Triton's layout: ``ROOT/NAME/config.pbtxt`` and ``ROOT/NAME/VERSION/model.onnx``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from evtfw.core.errors import BadRequest, ConfigurationError, nearest
from evtfw.external.contract import Backend
from evtfw.external.cpu import CpuBackend
from evtfw.external.errors import ModelNotFound
from evtfw.external.service.config_file import FILE_NAME, ConfigFile, read_config
from evtfw.external.service.model import HostedModel
from evtfw.external.urls import make_backend

_NAME: Final = re.compile(r"\w[\w.+ @-]{0,254}", re.ASCII)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a model, above all what could be a path.

    Raises:
        BadRequest: the message shows the name in plain ASCII, shortened.
    """
    if not _NAME.fullmatch(name):
        shown = ascii(name if len(name) <= 64 else f"{name[:64]}…")
        raise BadRequest(
            f"{shown} is no name of a model: it has letters, digits and _ . + - @, begins with a letter, digit or _, "
            "and is no path"
        )


class ModelRepository:
    """Finds models in a folder. Nothing outside of the folder is ever opened.

    Args:
        root: the folder.
        say: tells the operator one line, e.g. a setting without effect.

    Raises:
        ConfigurationError: there is no such folder.
    """

    def __init__(self, root: Path, *, say: Callable[[str], None]) -> None:
        if not root.is_dir():
            raise ConfigurationError(
                f"there is no model repository {root}; it must be a folder with one for each model"
            )
        self._root = root.resolve()
        self._say = say

    def names(self) -> list[str]:
        """Return the names of all models, in alphabetical order."""
        return sorted(folder.name for folder in self._root.iterdir() if self._is_model(folder))

    def load(self, name: str) -> list[HostedModel]:
        """Make the versions of a model that its configuration asks for; not opened yet.

        Raises:
            BadRequest: this is no name of a model.
            ModelNotFound: there is none of this name.
            ConfigurationError: its configuration, versions or files are not as they must be.
        """
        check_name(name)
        folder = self._root / name
        if not self._is_model(folder):
            raise ModelNotFound(f"there is no model '{name}' in the repository{nearest(name, self.names())}")
        self._inside(folder)
        self._inside(folder / FILE_NAME)
        config = read_config(folder)
        versions = [int(part.name) for part in folder.iterdir() if _VERSION.fullmatch(part.name) and part.is_dir()]
        if not versions:
            raise ConfigurationError(f"{folder} has no folder of a version; put the model into {folder / '1'}")
        try:
            wanted = config.versions(versions)
        except ValueError as error:
            raise ConfigurationError(f"{folder / FILE_NAME}: {error}") from None
        for line in config.ignored:
            self._say(line)
        return [self._model(name, folder / str(version), config) for version in wanted]

    def _is_model(self, folder: Path) -> bool:
        return bool(_NAME.fullmatch(folder.name)) and folder.is_dir()

    def _inside(self, path: Path) -> Path:
        resolved = path.resolve()
        if not resolved.is_relative_to(self._root):
            raise ConfigurationError(f"{path} is a link that leads out of the model repository; put a copy there")
        return resolved

    def _model(self, name: str, folder: Path, config: ConfigFile) -> HostedModel:
        self._inside(folder)
        backend = self._other(folder, config) if config.url else self._onnx(folder, config)
        return HostedModel(name, backend, version=folder.name, settings=config.settings, config=config.config)

    def _other(self, folder: Path, config: ConfigFile) -> Backend:
        try:
            return make_backend(config.url)
        except ValueError as error:
            raise ConfigurationError(f"{folder.parent / FILE_NAME}: {error}") from None

    def _onnx(self, folder: Path, config: ConfigFile) -> Backend:
        file = self._inside(folder / config.model_file)
        if not file.is_file():
            there = sorted(part.name for part in folder.iterdir())
            raise ConfigurationError(
                f"{folder} has no {config.model_file}{nearest(config.model_file, there)}; evtfw serves ONNX files"
            )
        self._inside(file.with_suffix(".json"))  # the model's card is read too
        settings = config.settings
        return CpuBackend(
            str(file),
            threads=settings.instances,
            intra_op_threads=config.intra_op_threads,
            max_batch=256 if settings.max_batch_size is None else settings.max_batch_size,
            nonfinite="pass",
        )
