"""Names of compressions, as configurations write them: ``"zlib:1"``, ``"lz4"``, ``"none"``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from evtfw.core.errors import nearest


@dataclasses.dataclass(frozen=True)
class Compressions:
    """The compressions of a format; calling it checks the text of a configuration.

    Args:
        levels: lowest, default and highest level by name; None for those without levels.

    >>> known = Compressions({"zlib": (1, 1, 9), "none": None})
    >>> known("zlib:3"), known.split("zlib:3"), known.split("zlib"), known.split("none")
    ('zlib:3', ('zlib', 3), ('zlib', 1), ('none', None))
    """

    levels: Mapping[str, tuple[int, int, int] | None]

    def __call__(self, text: str) -> str:
        """Return the text if it is a compression.

        Raises:
            ValueError: if it is not, with what would be.
        """
        name, _, level = text.partition(":")
        if name not in self.levels:
            raise ValueError(f"there is no compression '{name}'{nearest(name, self.levels)}")
        bounds = self.levels[name]
        if bounds is None and level:
            raise ValueError(f"{name} has no levels")
        if bounds is not None and level and not (level.isdecimal() and bounds[0] <= int(level) <= bounds[2]):
            raise ValueError(f"the level of {name} is a number from {bounds[0]} to {bounds[2]}")
        return text

    def split(self, text: str) -> tuple[str, int | None]:
        """Name and level."""
        name, _, level = text.partition(":")
        bounds = self.levels[name]
        return name, int(level) if level else bounds and bounds[1]
