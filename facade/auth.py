"""Who asks, from where, and for which models they may. Pure: nothing here reads a configuration.

A secret is looked up by its digest, HMAC-SHA256 under a pepper that no client knows: whoever
guesses cannot choose the digest that is compared, so the time of a comparison tells nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from adapters.constraints import Constraints

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Band = Literal["interactive", "normal", "batch"]

_MAPPED: Final = 96  # bits before the IPv4 address in ::ffff:a.b.c.d
_MOST_PROXIES: Final = 32  # between a client and us


class Caller(Struct, frozen=True):
    """Whoever sent a request, by the name of its key. `models` are names or patterns; none: all."""

    name: str | None = None
    band: Band = "normal"
    models: tuple[str, ...] = ()
    admin: bool = False
    weight: int = 1  # turns in a queue where others of its band get one
    constraints: Constraints | None = None


ANYBODY: Final = Caller()


class Networks:
    """Networks in CIDR form. An IPv4 address is the same however it is mapped into IPv6."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = tuple(network(text) for text in texts)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, asked: Address | None) -> bool:
        return asked is not None and any(asked in network for network in self._networks)


class Keyring:
    """`holders` by the digest of their secret; `neighbours` are known by where they are."""

    def __init__(
        self,
        pepper: str,
        holders: Mapping[bytes, Caller],
        neighbours: Sequence[tuple[Networks, Caller]] = (),
    ) -> None:
        self._peppered = hmac.new(pepper.encode(), digestmod="sha256")
        self._holders = holders
        self.neighbours = neighbours

    def __bool__(self) -> bool:
        return bool(self._holders or self.neighbours)

    def holder(self, secret: str) -> Caller | None:
        """Who has this secret; it is as it came in a header, one character a byte."""
        mixed = self._peppered.copy()  # which costs half of beginning with the pepper
        mixed.update(secret.encode("latin-1"))
        return self._holders.get(mixed.digest())

    def neighbour(self, asked: Address | None) -> Caller | None:
        """Who may ask from this address without a secret; the first that holds it."""
        return next((caller for near, caller in self.neighbours if asked in near), None)


def digest(pepper: str, secret: str) -> bytes:
    """HMAC-SHA256 of an ASCII secret: 32 bytes."""
    return hmac.digest(pepper.encode(), secret.encode("ascii"), "sha256")


def sent_secret(headers: Mapping[str, str]) -> str:
    """The secret of a request; "" where none was sent. Header names are in lower case.

    The last is Azure's name: https://learn.microsoft.com/azure/ai-services/openai/reference
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip() or headers.get("api-key", "").strip()


def may(caller: Caller, model: str, upstreams: Container[str]) -> bool:
    """Whether the caller may ask for a model by this name.

    `upstream/model` goes past the aliases, so only an entry that names the upstream allows it:
    no `*` stands for it.
    """
    if not caller.models:
        return True
    first, slash, _ = model.partition("/")
    upstream = f"{first}/" if slash and first in upstreams else ""
    return any(_fits(entry, model, upstream) for entry in caller.models)


def _fits(entry: str, model: str, upstream: str) -> bool:
    before, star, after = entry.partition("*")
    asked = model.removesuffix(":latest")  # `x` is `x:latest`
    if not star:
        return asked == entry.removesuffix(":latest")
    if not before.startswith(upstream):
        return False
    fixed = len(before) + len(after)
    return any(
        len(name) >= fixed and name.startswith(before) and name.endswith(after)
        for name in (model, asked)
    )


def address_of(peer: str, forwarded: Sequence[bytes], proxies: Networks) -> Address | None:
    """The client's address; None if it cannot be known.

    `peer` is the other end of the connection, `forwarded` the lines of X-Forwarded-For. Each
    proxy adds at the right end whom it was asked by, so the first address from there that is
    no proxy of ours is the client: what stands left of it, anybody may have written.
    """
    address = _address(peer)
    said = b",".join(forwarded).decode("latin-1")
    hops = said.rsplit(",", _MOST_PROXIES) if forwarded else []
    while hops and address in proxies:
        address = _address(_without_port(hops.pop().strip()))
    return address


def network(text: str) -> Network:
    """A network in CIDR form, or one address. Raises ValueError."""
    found = ipaddress.ip_network(text)
    start = found.network_address
    if isinstance(start, ipaddress.IPv6Address) and start.ipv4_mapped:
        return ipaddress.IPv4Network((start.ipv4_mapped, found.prefixlen - _MAPPED))
    return found


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(text: str) -> str:
    """Some proxies write `1.2.3.4:5678` and `[::1]:5678`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return host if port.isdecimal() else text
