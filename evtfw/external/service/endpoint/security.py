"""Who may talk to the service: TLS, client certificates, a token, and which addresses may be listened on."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evtfw.core.errors import ConfigurationError


@dataclasses.dataclass(frozen=True, slots=True)
class Security:
    """How the endpoint protects itself. Without anything: no encryption and no token, for this machine only.

    Args:
        certificate_file: the service's certificate chain, PEM; TLS is on if given.
        key_file: its private key, PEM.
        client_ca_file: authorities of client certificates, PEM; clients must have one if given (mTLS).
        token: what clients must send as ``authorization: Bearer TOKEN`` with every call; empty for none.

    Raises:
        ConfigurationError: a certificate without its key or the other way round; a token that cannot be sent.
    """

    certificate_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    token: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ConfigurationError("TLS needs both a certificate file and its key file")
        if self.client_ca_file and not self.has_tls:
            raise ConfigurationError("client certificates need TLS: give a certificate file and a key file as well")
        if self.token and not (self.token.isascii() and self.token.isprintable() and self.token.strip() == self.token):
            raise ConfigurationError("the token must be printable ASCII without blanks around it")

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return bool(self.certificate_file)

    def credentials(self) -> Any:
        """Return gRPC's server credentials, or None without TLS.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        import grpc

        if not self.has_tls:
            return None
        pair = (_read(self.key_file, "key"), _read(self.certificate_file, "certificate"))
        authority = _read(self.client_ca_file, "client authority") if self.client_ca_file else None
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)

    def admits(self, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
        """Return whether a call with this metadata has the token; the time it takes says nothing about the token."""
        if not self.token:
            return True
        given = [value for key, value in metadata if key == "authorization"]
        value = given[0] if len(given) == 1 else ""
        sent = value if isinstance(value, bytes) else value.encode()
        return hmac.compare_digest(sent, b"Bearer " + self.token.encode())


def _read(file: str, what: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the {what} file '{file}': {error.strerror}") from None


def check_address(address: str, security: Security, *, is_insecure_allowed: bool = False) -> None:
    """Refuse to listen where others can reach a service that does not protect itself.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        security: of the endpoint.
        is_insecure_allowed: the operator said so.

    Raises:
        ConfigurationError: it is not an address of this machine only, and TLS or the token is missing.
    """
    if (
        is_insecure_allowed
        or is_loopback(address)
        or (security.has_tls and (security.token or security.client_ca_file))
    ):
        return
    raise ConfigurationError(
        f"'{address}' can be reached from other machines: give a certificate, its key and a token "
        "(or client authority), or say --insecure if the network is yours alone"
    )


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1:8001"), is_loopback("[::1]:8001"), is_loopback("0.0.0.0:8001")
    (True, True, False)
    """
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
