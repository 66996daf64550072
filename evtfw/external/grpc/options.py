"""How to talk to a gRPC server: what the options of an URL may say about security, limits and waiting."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Self

import grpc

from evtfw.core.errors import ConfigurationError
from evtfw.external.urls import OptionReader

KEEPALIVE_MS = 300_000
"""Servers allow a ping every five minutes; more often, and they end the connection with ``too_many_pings``."""

_SEPARATOR = ";"


@dataclasses.dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What all backends that speak gRPC have in common.

    Args:
        tls: whether the connection is encrypted and the server's certificate is checked.
        ca_file: certificates (PEM) of who may have signed the server's; empty for the system's.
        cert_file, key_file: the client's own certificate and key (PEM), for servers that ask for them.
        token: sent as ``authorization: Bearer TOKEN``. Rather than in an URL, which is logged and recorded, keep it in
            a file or an environment variable (`read`).
        headers: further metadata of each call.
        default_timeout_s: for requests without a deadline of their own.
        max_message_bytes: larger requests fail before they are sent, larger replies fail when they arrive.
        compression: ``off`` or ``gzip``; 602 kB of image take 27 ms to compress, more than most networks need.
        connect_timeout_s: how long `open` tries to reach the server.
    """

    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token: str = dataclasses.field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    default_timeout_s: float = 60.0
    max_message_bytes: int = 1 << 30
    compression: str = "off"
    connect_timeout_s: float = 5.0

    @classmethod
    def read(cls, reader: OptionReader, *, is_tls: bool) -> Self:
        """Read the options of an URL.

        They have the names above; the token is given by ``token_file``, ``token_env`` (name of an environment variable)
        or ``token``; headers as ``headers=name:value;name:value``.

        Raises:
            ValueError: with a message for the user.
        """
        default = cls()
        return cls(
            tls=is_tls,
            ca_file=_for_tls(reader.text("ca_file", ""), "ca_file", is_tls),
            cert_file=_for_tls(reader.text("cert_file", ""), "cert_file", is_tls),
            key_file=_for_tls(reader.text("key_file", ""), "key_file", is_tls),
            token=_token(reader),
            headers=_headers(reader.text("headers", "")),
            default_timeout_s=reader.number("timeout_s", default.default_timeout_s, at_least=0.001),
            max_message_bytes=reader.integer("max_message_bytes", default.max_message_bytes, at_least=1),
            compression=reader.choice("compression", "off", ("off", "gzip")),
            connect_timeout_s=reader.number("connect_timeout_s", default.connect_timeout_s, at_least=0.001),
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of each call."""
        authorization = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return (*self.headers, *authorization)

    def channel_arguments(self) -> list[tuple[str, int]]:
        """Return gRPC's channel arguments. The limit of requests is checked before they get there."""
        return [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", min(self.max_message_bytes, (1 << 31) - 1)),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]

    def compression_algorithm(self) -> Any:
        """Return gRPC's name for the compression; None for none."""
        return grpc.Compression.Gzip if self.compression == "gzip" else None

    def read_pems(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the files for TLS: certificates of authorities, the client's key, the client's certificate.

        Raises:
            ConfigurationError: a file cannot be read or is no PEM, or only one of certificate and key is given.
        """
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigurationError("a client's certificate needs its key: give both cert_file and key_file")
        return (
            _pem(self.ca_file, "ca_file", "CERTIFICATE"),
            _pem(self.key_file, "key_file", "PRIVATE KEY"),
            _pem(self.cert_file, "cert_file", "CERTIFICATE"),
        )


def _for_tls(given: str, name: str, is_tls: bool) -> str:
    if given and not is_tls:
        raise ValueError(f"{name} is for encrypted connections: write the scheme with an s at its end, e.g. …+grpcs://")
    return given


def _headers(given: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for entry in filter(None, given.split(_SEPARATOR)):
        name, colon, value = (part.strip() for part in entry.partition(":"))
        if not colon or not name:
            raise ValueError(f"headers must be name:value;name:value, not '{given}'")
        headers.append((name.lower(), value))
    return tuple(headers)


def _token(reader: OptionReader) -> str:
    token, file, variable = (reader.text(name, "") for name in ("token", "token_file", "token_env"))
    if sum(map(bool, (token, file, variable))) > 1:
        raise ValueError("give one of token, token_file and token_env")
    if variable:
        token = os.environ.get(variable, "")
        if not token:
            raise ValueError(f"token_env: there is no environment variable '{variable}'")
    if file:
        try:
            token = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"token_file: '{file}' cannot be read: {error}") from None
        if not token.strip():
            raise ValueError(f"token_file: '{file}' is empty")
    token = token.strip()
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("the token must be one line of printable ASCII characters")
    return token


def _pem(file: str, option: str, what: str) -> bytes | None:
    if not file:
        return None
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option}: '{file}' cannot be read: {error.strerror or error}") from None
    if b"-----BEGIN " not in content or what.encode() not in content:
        raise ConfigurationError(f"{option}: '{file}' has no {what} in PEM format (-----BEGIN …-----)")
    return content
