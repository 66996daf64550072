"""What the URL of a model on a Triton may say, beside what is common to gRPC."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Literal, Self, TypeAlias, get_args

from evtfw.external.urls import BackendUrl, OptionReader

Switch: TypeAlias = Literal["off", "auto", "on"]
SWITCHES: tuple[Switch, ...] = get_args(Switch)


@dataclasses.dataclass(frozen=True)
class TritonOptions:
    """How to use a model.

    Args:
        priority: of requests that do not say it themselves; larger is earlier. Sent to models that have priorities.
        server_timeout: whether the server is told until when a request may wait in its queue. ``auto``: where the
            model's configuration says that it looks at that (``allow_timeout_override``).
        sha256: checksum that the model's file must have, if the server tells it (configuration parameter ``sha256``).
        shm: shared memory instead of messages for large tensors. ``auto``: for a server on this machine.
        shm_slots: requests that can use it at the same time; the others are sent as messages.
        shm_bytes: of a slot, for the inputs and again for the outputs. 0: what the model's largest batch needs.
    """

    priority: int = 0
    server_timeout: Switch = "auto"
    sha256: str = ""
    shm: Switch = "off"
    shm_slots: int = 16
    shm_bytes: int = 0

    @classmethod
    def read(cls, reader: OptionReader) -> Self:
        """Read the options of an URL; ``checksum_of=FILE`` stands for the ``sha256`` of a local copy.

        Raises:
            ValueError: with a message for the user.
        """
        return cls(
            priority=reader.integer("priority", cls.priority, at_least=-(1 << 31)),
            server_timeout=reader.choice("server_timeout", cls.server_timeout, SWITCHES),
            sha256=_checksum(reader.text("sha256", ""), reader.text("checksum_of", "")),
            shm=reader.choice("shm", cls.shm, SWITCHES),
            shm_slots=reader.integer("shm_slots", cls.shm_slots, at_least=1),
            shm_bytes=reader.integer("shm_bytes", cls.shm_bytes, at_least=0),
        )


def _checksum(sha256: str, file: str) -> str:
    if sha256 and file:
        raise ValueError("give either sha256 or checksum_of, not both")
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, not '{sha256}'")
    if not file:
        return sha256.lower()
    try:
        with Path(file).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"checksum_of: '{file}' cannot be read: {error.strerror or error}") from None


def model_of(url: BackendUrl) -> tuple[str, str]:
    """Return the model and its version (empty: the server's choice) that an URL names.

    Raises:
        ValueError: it names none, or the server is missing.
    """
    parts = url.path.strip("/").split("/")
    if not url.authority or not parts[0] or len(parts) > 2:
        raise ValueError(
            f"'{url}' does not name a model of a server; write '{url.scheme}://HOST:PORT/MODEL' or …/MODEL/VERSION"
        )
    return parts[0], parts[1] if len(parts) == 2 else ""


def is_loopback(authority: str) -> bool:
    """Return whether a server is on this machine for sure."""
    host = authority.rpartition(":")[0].strip("[]") or authority
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
