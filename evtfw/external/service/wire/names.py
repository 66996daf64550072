"""Which names are taken from a client, and how one that is not is shown in an error."""

from __future__ import annotations

import re

from evtfw.core.errors import BadRequest
from evtfw.external.service.wire.limits import Limits

_SHOWN = 64
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", re.ASCII)


def shown(text: str) -> str:
    r"""Return a client's text for an error message: printable ASCII only, and not long.

    >>> print(shown("a\nb"), shown("x" * 99)[-7:])
    'a\nb' xxx'...
    """
    if len(text) > _SHOWN:
        return f"{text[:_SHOWN]!a}..."
    return ascii(text)


def check_name(name: str, what: str, limits: Limits) -> str:
    """Return a name unless it is empty, long, or has control characters.

    Raises:
        BadRequest: names ``what`` it is.
    """
    if not name:
        raise BadRequest(f"the {what} is empty")
    if len(name) > limits.name_bytes:
        raise BadRequest(f"the {what} has {len(name)} characters; at most {limits.name_bytes} are allowed")
    if not name.isprintable():
        raise BadRequest(f"the {what} {shown(name)} has control characters")
    return name


def check_model(name: str, version: str, limits: Limits) -> None:
    """Refuse names of models that could be a path, and versions that could.

    Raises:
        BadRequest: says which character is wrong.
    """
    check_name(name, "model name", limits)
    if "/" in name or "\\" in name or name.startswith("."):
        raise BadRequest(f"the model name {shown(name)} has '/', '\\' or a leading '.': it is no name of a model")
    if version and not _VERSION.fullmatch(version):
        raise BadRequest(f"the model version {shown(version)} is not a version; write a number such as 1")
