"""Where an endpoint leads: its name in messages, its trust, its proxy; and what is sent there.

Worked out once per upstream, so that an endpoint that cannot be used is refused at once.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Set
from importlib.metadata import version
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from facade.wire.upstream import Endpoint

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(%[a-z0-9._-]+)?")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENDABLE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# How a message is framed, and what becomes of its connection, is the client's own matter.
_OURS: Final = {"accept-encoding", "connection", "content-length", "transfer-encoding"}


class Site(Struct, frozen=True):
    """What connecting and asking need to know of an endpoint."""

    name: str  # host:port, and the proxy on the way
    url: str  # without a slash at its end
    host: str
    port: int
    path: str  # of the URL
    query: str  # with its question mark, or nothing
    headers: Mapping[str, str]  # of every request, in lower case
    encrypted: bool
    connect_timeout: float  # seconds, TLS included
    connections: int  # the most at a time
    tls: ssl.SSLContext  # trusts nobody where nothing is encrypted
    proxy: str | None  # a URL, perhaps with credentials
    local: bool  # what is sent there stays with the operator


def site_of(endpoint: Endpoint) -> Site:
    """Raises ValueError, with a sentence for the operator, where the endpoint cannot be used."""
    url = _split(endpoint.base_url, "base_url", _PORTS.keys())
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("base_url has a scheme, a host and a path; credentials go into headers")
    if not _VISIBLE.fullmatch(url.path + endpoint.query):
        raise ValueError("base_url has characters that cannot be sent")
    proxy, said_by = endpoint.proxy, "proxy"
    if not proxy and endpoint.environment_proxies:
        proxy, said_by = _environment_proxy(url), "the proxy that the environment names"
    way = f" through the proxy {_name(_split(proxy, said_by, {'http'}))}" if proxy else ""
    encrypted = url.scheme == "https"
    return Site(
        name=_name(url) + way,
        url=endpoint.base_url.rstrip("/"),
        host=url.hostname or "",
        port=url.port or _PORTS[url.scheme],
        path=url.path.rstrip("/"),
        query=f"?{endpoint.query}" if endpoint.query else "",
        headers={
            "host": _name(url).removesuffix(f":{_PORTS[url.scheme]}"),
            "user-agent": f"facade/{version('facade')}",
            **sendable(endpoint.headers),
            "accept-encoding": "identity",
        },
        encrypted=encrypted,
        connect_timeout=endpoint.connect_timeout,
        connections=endpoint.connections,
        tls=_trust(endpoint) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        proxy=proxy,
        local=endpoint.local,
    )


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, in lower case, without those that are the client's own.

    Raises ValueError, without the value, for one that would be more, or less, than one header.
    """
    found = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError("the name of a header has characters that cannot be sent")
        if not _SENDABLE.fullmatch(value):
            raise ValueError(f"the header {name} has characters that cannot be sent")
        found[name.lower()] = value
    for name in _OURS & found.keys():
        del found[name]
    return found


def check_line(method: str, path: str) -> None:
    """Raises ValueError for what would not make one request line."""
    if not _TOKEN.fullmatch(method) or not _VISIBLE.fullmatch(path):
        raise ValueError("its path has characters that cannot be sent")


def _split(url: str, what: str, schemes: Set[str]) -> SplitResult:
    split = urlsplit(url)
    if split.scheme not in schemes or not split.hostname:
        raise ValueError(f"{what} must begin with {' or '.join(schemes)} and ://, then a host")
    if not _HOST.fullmatch(split.hostname):
        raise ValueError(f"{what}: its host is not a name (one in other letters begins with xn--)")
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
    at_fault = "ca_file"
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        at_fault = "client_cert (a certificate and its key, as PEM)"
        if endpoint.client_cert:
            context.load_cert_chain(endpoint.client_cert)
    except OSError as error:
        raise ValueError(f"{at_fault} cannot be used: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
