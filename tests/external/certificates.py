"""Certificates for tests of TLS: an authority, a server and a client signed by it, and a stranger."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest

x509 = pytest.importorskip("cryptography.x509", reason="certificates are made with cryptography")


def make_certificates(folder):
    """Write NAME.pem and NAME.key of ``authority``, ``server`` (of this machine), ``client`` and ``stranger``."""
    authority = _make_pair(folder, "authority")
    _make_pair(folder, "server", authority)
    _make_pair(folder, "client", authority)
    _make_pair(folder, "stranger")
    return folder


def _make_pair(folder, name, signer=None):
    """Sign with another pair, or with itself; returns what signs others."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    issuer, signing_key = signer or (subject, key)
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    return subject, key
