"""Certificates made for one run, so that nobody else can talk to its scheduler and workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

VALID = timedelta(days=400)
SKEW = timedelta(days=1)
"""Clocks of nodes differ: a certificate counts from a day ago."""


class Pem(NamedTuple):
    """A certificate that signed itself, and its private key."""

    certificate: bytes
    key: bytes


def make_certificate() -> Pem:
    """A fresh pair; who has it belongs to the run."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "luxdask-run")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pem(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
