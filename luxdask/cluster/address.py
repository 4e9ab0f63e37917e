"""The workers of a scheduler that runs already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import distributed

from luxdask.cluster.dask_backend import CONNECT_TIMEOUT_S, DaskBackend
from luxdask.cluster.dask_settings import applied
from luxdask.errors import ClusterError

if TYPE_CHECKING:
    from luxdask.cluster.spec import ClusterSpec, SecurityFiles


def scheduler(spec: ClusterSpec) -> DaskBackend:
    """Workers of a scheduler that runs already; it stays when the backend is left."""
    try:
        with applied(spec.dask):
            client = client_of(spec, CONNECT_TIMEOUT_S)
            return DaskBackend(client, no_workers_timeout_s=spec.lost_after_s)
    except NO_ANSWER as error:
        raise _no_answer(spec, error) from error


NO_ANSWER = (OSError, TimeoutError, TypeError)
"""A TypeError is what dask raises where an address wants certificates and there are none."""


def _no_answer(spec: ClusterSpec, error: Exception) -> ClusterError:
    return ClusterError(
        f"no dask scheduler answers at {spec.address}: {error}. Start one with `dask "
        "scheduler`, or use compute.cluster local. Certificates for one that wants them (tls://) "
        "are told by a description: luxdask cluster init address > site.toml"
    )


def client_of(spec: ClusterSpec, timeout_s: float) -> distributed.Client:
    """A client of a description's scheduler."""
    security = security_of(spec.security)
    return distributed.Client(
        spec.address, timeout=timeout_s, security=security, set_as_default=False
    )


def workers_of(spec: ClusterSpec, timeout_s: float) -> dict[str, dict[str, Any]]:
    """What a running scheduler knows of its workers, by address."""
    try:
        with applied(spec.dask), client_of(spec, timeout_s) as client:
            found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
            return found
    except NO_ANSWER as error:
        raise _no_answer(spec, error) from error


def security_of(files: SecurityFiles) -> distributed.Security | None:
    """Certificates of a client; None, where none are named, leaves them to dask's own settings."""
    if files.ca_file is None:
        return None
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=files.ca_file,
        tls_client_cert=files.cert,
        tls_client_key=files.key,
    )
