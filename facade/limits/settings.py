"""`limits = [...]` and `[store]`: what is checked of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from facade.documents import Fault, Key, Secret
from facade.limits.grammar import parse

MEMORY: Final = "memory://"
_SHARED: Final = ("valkey", "valkeys", "redis", "rediss")  # with an s: by TLS


class StoreSettings(Struct, frozen=True, kw_only=True):
    """`[store]`: where limits are counted, `"memory://"` or `"valkey://host:port/db"`."""

    url: Secret = Secret(MEMORY)  # it may hold a password


def check_limits(texts: Sequence[str], key: Key) -> None:
    """Raises Fault for the first that is no limit, or that says what another does."""
    seen = set()
    for index, text in enumerate(texts):
        place = (*key, f"[{index}]")
        try:
            limit = parse(text)
        except ValueError as error:
            raise Fault(str(error), place) from None
        if limit.text in seen:
            raise Fault(f"{limit.text!r} stands there twice", place)
        seen.add(limit.text)


def check_store(store: StoreSettings) -> None:
    """Raises Fault for a URL that is none; its sentence does not quote the URL."""
    if store.url == MEMORY or _is_server(store.url):
        return
    problem = "expected memory:// or a URL like valkey://host:6379/0 (or redis://, unix:///path)"
    raise Fault(problem, ("store", "url"))


def _is_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        if url.scheme == "unix":
            return bool(url.path.strip("/"))
        database = url.path.removeprefix("/") or "0"
        return url.scheme in _SHARED and bool(url.hostname) and url.port != 0 and database.isdigit()
    except ValueError:  # of a port that is no number
        return False
