"""`[server]`: where the facade listens and whom it answers, and what cannot be meant by it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from facade.documents import Fault, Secret
from facade.keys import check_networks
from facade.limits.settings import check_limits

Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]  # 0: any free port
_LOOPBACK: Final = "127.0.0.1"
DAY: Final = 86_400  # seconds; also keeps infinity away from timers
Seconds = Annotated[float, Meta(gt=0, le=DAY)]


class ServerSettings(Struct, frozen=True, kw_only=True):
    """`[server]`: where the facade listens and whom it answers.

    `allowed_hosts` are names in a request's Host, without port ("*": any; empty: loopback
    names). `max_body` in bytes. A client that takes nothing for `client_idle` seconds is cut, a
    request of `deadline` seconds is too. `ip_allowlist` and `trusted_proxies` are networks in CIDR
    form; `ip_limits` are those of each client's address; `pepper` goes into the hash of every key.
    A stream is never silent for much longer than `keep_alive_comments` seconds (0: as long as it
    likes). `workers`: processes that serve. `ops_port`: a listener of its own for probes and
    metrics, without keys.
    """

    host: str = _LOOPBACK
    port: Port = 8080
    workers: Count = 1
    ops_host: str = _LOOPBACK
    ops_port: Port | None = None
    allow_anonymous: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_allow_origins: tuple[str, ...] = ()
    ip_allowlist: tuple[str, ...] = ()
    ip_limits: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    pepper: Secret | None = None
    max_body: Count = 32 * 1024 * 1024
    client_idle: Seconds = 60
    deadline: Seconds = 590  # the SDK gives up at 600
    keep_alive_comments: Annotated[float, Meta(ge=0, le=DAY)] = 15  # ingresses cut at 60
    log_level: Literal["debug", "info", "warning", "error"] = "info"


LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether the host surely is this machine. Any other name than localhost is not."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def checked_server(server: ServerSettings, *, keyed: bool) -> ServerSettings:
    """The settings with what follows from others filled in. Raises Fault for what cannot be."""
    host = _host(server.host, "host")
    ops_host = _host(server.ops_host, "ops_host")
    if server.ops_port is None and ops_host != _LOOPBACK:
        raise Fault("nothing listens there without an ops_port", ("server", "ops_host"))
    if keyed and server.allow_anonymous:
        raise Fault(
            "this would answer everybody, but there are keys: take it or them out",
            ("server", "allow_anonymous"),
        )
    if not (is_loopback(host) or server.allow_anonymous or keyed):
        raise Fault(
            f"{host!r} can be reached from other machines and no keys are configured: "
            "add a key (`facade keys new`, or FACADE_API_KEY), bind to 127.0.0.1, or "
            "set allow_anonymous = true (FACADE_ALLOW_ANONYMOUS=true) to answer everybody "
            "who reaches it",
            ("server", "host"),
        )
    check_networks(server.ip_allowlist, ("server", "ip_allowlist"))
    check_networks(server.trusted_proxies, ("server", "trusted_proxies"))
    check_limits(server.ip_limits, ("server", "ip_limits"))
    for index, name in enumerate(server.allowed_hosts):
        if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:.]+\]|\*", name):
            raise Fault(
                f"{name!r} is no host name; write it without scheme, port and path",
                ("server", "allowed_hosts", f"[{index}]"),
            )
    for index, origin in enumerate(server.cors_allow_origins):
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
            raise Fault(
                f"{origin!r} is no origin; write it like https://chat.example.org",
                ("server", "cors_allow_origins", f"[{index}]"),
            )
    own = {f"[{host}]" if ":" in host else host} if is_loopback(host) else set()
    allowed = server.allowed_hosts or (*LOOPBACK_NAMES, *own.difference(LOOPBACK_NAMES))
    return replace(
        server, host=host, ops_host=ops_host, allowed_hosts=tuple(name.lower() for name in allowed)
    )


def _host(said: str, key: str) -> str:
    host = said.strip("[]")
    if not re.fullmatch(r"[\w.:%-]+", host, re.ASCII):
        raise Fault("expected an address or a name of this machine", ("server", key))
    return host
