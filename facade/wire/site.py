"""Where an endpoint leads: its name in messages, its trust, its proxy; and why it was not reached.

Worked out once per upstream, so that an endpoint that cannot be used is refused at once.
Sentences name host and port, never a path, a header or a credential.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator, Set
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from facade.wire.upstream import ConnectionFault, ConnectTimeout, Endpoint

_PORTS: Final = {"http": 80, "https": 443}

_SENDABLE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

_REASONS: Final = (  # the first that fits
    (socket.gaierror, "its name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted ({0.verify_message})"),
    (ssl.SSLEOFError, "the TLS handshake was broken off"),
    (ssl.SSLError, "the TLS handshake failed ({0.reason})"),
)


class Site(Struct, frozen=True):
    """What connecting needs to know of an endpoint."""

    name: str  # host:port, and the proxy on the way
    url: str  # without a slash at its end
    encrypted: bool
    connect_timeout: float  # seconds, TLS included
    tls: ssl.SSLContext  # trusts nobody where nothing is encrypted
    proxy: str | None  # a URL, perhaps with credentials


def site_of(endpoint: Endpoint) -> Site:
    """Raises ValueError, with a sentence for the operator, where the endpoint cannot be used."""
    url = _split(endpoint.base_url, "base_url", _PORTS.keys())
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("base_url has a scheme, a host and a path; credentials go into headers")
    for name, value in endpoint.headers.items():
        if not _SENDABLE.fullmatch(value):
            raise ValueError(f"the header {name} has characters that cannot be sent")
    proxy = endpoint.proxy or (_environment_proxy(url) if endpoint.environment_proxies else None)
    way = f" through the proxy {_name(_split(proxy, 'proxy', {'http'}))}" if proxy else ""
    encrypted = url.scheme == "https"
    return Site(
        name=_name(url) + way,
        url=endpoint.base_url.rstrip("/"),
        encrypted=encrypted,
        connect_timeout=endpoint.connect_timeout,
        tls=_trust(endpoint) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        proxy=proxy,
    )


def not_reached(site: Site, error: Exception, *, sent: bool) -> ConnectionFault:
    """The fault for an error on the way. `sent`: on an earlier way the request had gone out."""
    for cause in _causes(error):
        if isinstance(cause, TimeoutError):
            why = f"no connection within {site.connect_timeout:g} s"
            return ConnectTimeout(f"cannot connect to {site.name}: {why}", sent=sent)
        if why := _reason(cause):
            return ConnectionFault(f"cannot connect to {site.name}: {why}", sent=sent)
    return ConnectionFault(f"cannot connect to {site.name}: {error}", sent=sent)


def _reason(cause: BaseException) -> str:
    for kind, why in _REASONS:
        if isinstance(cause, kind):
            return why.format(cause)
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it; of several failed addresses the first."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


def _split(url: str, what: str, schemes: Set[str]) -> SplitResult:
    split = urlsplit(url)
    if split.scheme not in schemes or not split.hostname:
        raise ValueError(f"{what} must begin with {' or '.join(schemes)} and ://, then a host")
    return split


def _name(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{host}:{url.port or _PORTS[url.scheme]}"


def _environment_proxy(url: SplitResult) -> str | None:
    if proxy_bypass(_name(url)):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _trust(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        if endpoint.client_cert:
            context.load_cert_chain(endpoint.client_cert)
    except OSError as error:
        raise ValueError(f"ca_file or client_cert cannot be used: {error}") from error
    return context
