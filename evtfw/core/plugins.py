"""Modules and backends that installed distributions announce by entry points.

A distribution announces a module in its ``pyproject.toml``; a configuration can use it by name, or by plain import::

    [project.entry-points."evtfw.modules"]
    MuonSelector = "mypackage.muons:MuonSelector"

    [project.entry-points."evtfw.backends"]
    mydevice = "mypackage.device:MyDeviceBackend"
"""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any, Literal

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.core.module import Module, calling_location

Group = Literal["modules", "backends"]


@dataclasses.dataclass(frozen=True, slots=True)
class Plugin:
    """One announced class; nothing is imported before `load`.

    Args:
        group: what it is.
        name: what a configuration calls it: the name of a module, or the scheme of a backend's URL.
        target: where the class is, ``package.file:Class``.
        distribution: name and version of what announced it, for messages.
    """

    group: Group
    name: str
    target: str
    distribution: str
    _entry_point: metadata.EntryPoint = dataclasses.field(repr=False, compare=False)

    def load(self) -> Any:
        """Import and return the class.

        Raises:
            ConfigurationError: if it cannot be imported, or is not what its group promises; names the distribution.
        """
        try:
            found = self._entry_point.load()
        except Exception as error:
            raise self._broken(f"{type(error).__name__}: {error}") from error
        if self.group == "modules" and not (isinstance(found, type) and issubclass(found, Module)):
            raise self._broken("it is not a subclass of evtfw.Module")
        if self.group == "backends" and not hasattr(found, "submit"):
            raise self._broken("it has no method 'submit'")
        return found

    def _broken(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.group.removesuffix('s')} '{self.name}' ({self.target}) of the installed distribution "
            f"{self.distribution} cannot be used: {reason}"
        )


def plugins(group: Group) -> tuple[Plugin, ...]:
    """Return all that is announced in a group, by name; the same name twice if two distributions announce it."""
    found = metadata.entry_points(group=f"evtfw.{group}")
    return tuple(sorted((_plugin(group, point) for point in found), key=lambda p: (p.name, p.distribution)))


def _plugin(group: Group, point: metadata.EntryPoint) -> Plugin:
    owner = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "?"
    return Plugin(group, point.name, point.value, owner, point)


def find_plugin(group: Group, name: str) -> Plugin:
    """Return the plugin of that name.

    Raises:
        ConfigurationError: if none has the name (with the nearest ones), or if two distributions claim it.
    """
    known = plugins(group)
    candidates = [p for p in known if p.name == name]
    if not candidates:
        raise ConfigurationError(
            f"no installed {group.removesuffix('s')} is called '{name}'" + nearest(name, [p.name for p in known])
        )
    if len({p.target for p in candidates}) > 1:
        claims = " and ".join(f"{p.distribution} ({p.target})" for p in candidates)
        raise ConfigurationError(
            f"{group.removesuffix('s')} '{name}' is announced by {claims}; uninstall one, or import the class"
        )
    return candidates[0]


def module(name: str, **settings: Any) -> Module:
    """Describe a module by its announced name, where an import is not wanted; same as calling its class.

    Raises:
        ConfigurationError: as `find_plugin` and `Plugin.load`, with the place in the configuration.
    """
    location = calling_location()
    try:
        made: Module = find_plugin("modules", name).load()(**settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{location}: {problem}" for problem in error.problems) from error.__cause__
    made._location = location
    return made
