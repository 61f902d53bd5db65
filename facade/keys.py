"""`[keys.NAME]`: what a key may say, what is checked of it, and the keyring that all make."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from adapters.constraints import Constraints
from facade.auth import Band, Caller, Keyring, Networks, digest, network
from facade.documents import Fault, Key, Secret
from facade.limits.settings import check_limits

_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")


class KeySettings(Struct, frozen=True, kw_only=True):
    """`[keys.NAME]`: one caller, known by `secret`, by `hash`, or by the networks it asks from.

    `hash` is the HMAC-SHA256 of the secret under `server.pepper`, in hex. `models` are names or
    patterns with one `*`; none: all. What is demanded of where requests go is as a request may
    demand it itself. `limits` are in the grammar of facade.limits.grammar. `weight`: turns in a
    queue where others get one.
    """

    secret: Secret | None = None
    hash: str | None = None
    networks: tuple[str, ...] = field(default=(), name="from")
    priority: Band = "normal"
    weight: Annotated[int, Meta(ge=1, le=100)] = 1
    models: tuple[str, ...] = ()
    prefer_local: bool = False
    local_only: bool = False
    force_cloud: bool = False
    max_latency_ms: Annotated[int, Meta(ge=1)] | None = None
    admin: bool = False
    limits: tuple[str, ...] = ()

    @property
    def constraints(self) -> Constraints | None:
        demanded = Constraints(
            prefer_local=self.prefer_local,
            local_only=self.local_only,
            force_cloud=self.force_cloud,
            max_latency_ms=self.max_latency_ms,
        )
        return None if demanded == Constraints() else demanded


def check_keys(keys: Mapping[str, KeySettings], pepper: Secret | None) -> None:
    """Raises Fault for what cannot be meant, and for a secret that two keys have."""
    holders: dict[bytes, str] = {}
    for name, settings in keys.items():
        key = ("keys", name)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise Fault("the name of a key has only letters, digits, '.', '_' and '-'", key)
        _check_key(settings, pepper, key)
        known = _digest(settings, pepper or "")
        if known and holders.setdefault(known, name) != name:
            raise Fault(f"the key {holders[known]!r} has the same secret", key)


def _check_key(settings: KeySettings, pepper: Secret | None, key: Key) -> None:
    ways = [settings.secret, settings.hash, settings.networks or None]
    if sum(way is not None for way in ways) != 1:
        raise Fault("a key has either secret, or hash, or from: one of them", key)
    if settings.hash is not None:
        if not _HASH.fullmatch(settings.hash):
            raise Fault("expected 64 hex digits, as `facade keys new` prints", (*key, "hash"))
        if not pepper:
            raise Fault("a hash needs the pepper it was made with: server.pepper", (*key, "hash"))
    check_networks(settings.networks, (*key, "from"))
    if settings.local_only and settings.force_cloud:
        raise Fault("local_only and force_cloud exclude each other", (*key, "force_cloud"))
    for index, model in enumerate(settings.models):
        if not model.strip() or model.count("*") > 1:
            place = (*key, "models", f"[{index}]")
            raise Fault("expected the name of a model, with at most one '*'", place)
    check_limits(settings.limits, (*key, "limits"))


def check_networks(texts: Sequence[str], key: Key) -> None:
    """Raises Fault for the first that is no network."""
    for index, text in enumerate(texts):
        try:
            network(text)
        except ValueError:
            problem = f"{text!r} is no network; write it like 10.1.0.0/16 or fd00::/8"
            raise Fault(problem, (*key, f"[{index}]")) from None


def caller_of(name: str, settings: KeySettings) -> Caller:
    """Whoever has the key of this name."""
    return Caller(
        name,
        settings.priority,
        settings.models,
        settings.admin,
        settings.weight,
        settings.constraints,
    )


def keyring(keys: Mapping[str, KeySettings], pepper: Secret | None) -> Keyring:
    """The keyring of keys that were checked. Without a pepper one is made for this run."""
    pepper = pepper or Secret(secrets.token_hex(32))
    holders = {}
    neighbours = []
    for name, settings in keys.items():
        caller = caller_of(name, settings)
        known = _digest(settings, pepper)
        if known:
            holders[known] = caller
        else:
            neighbours.append((Networks(settings.networks), caller))
    return Keyring(pepper, holders, neighbours)


def confined(keys: Mapping[str, KeySettings]) -> bool:
    """Whether no caller may reach anything that is not local."""
    return bool(keys) and all(key.local_only for key in keys.values())


def _digest(settings: KeySettings, pepper: str) -> bytes | None:
    if settings.secret is not None:
        return digest(pepper, settings.secret)
    return bytes.fromhex(settings.hash) if settings.hash else None


def new_key(name: str, pepper: str) -> tuple[str, str]:
    """A new secret, and the table that knows it by its hash."""
    secret = f"sk-{secrets.token_urlsafe(32)}"
    return secret, f'[keys.{name}]\nhash = "{digest(pepper, secret).hex()}"'
