"""The port to upstreams over a client of our own: HTTP/1.1, plain and TLS, no proxies.

Strategy: what of a request's head does not vary is worked out once per path; a request is one
write.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from facade.waits import Wait
from facade.wire.direct_exchange import DirectExchange
from facade.wire.direct_pool import Pool
from facade.wire.faults import not_asked, not_local
from facade.wire.site import Site, check_line, sendable
from facade.wire.upstream import Exchange

_WITH_LENGTH = {"POST", "PUT", "PATCH"}  # also where it is 0


class DirectConnections:
    """The connections to one upstream."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._pool = Pool(site)
        self._usual_head = functools.lru_cache(maxsize=64)(self._head)

    def open(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        local_only: bool = False,
    ) -> Wait[Exchange]:
        if local_only and not self._site.local:
            raise not_local(self._site)
        try:
            if headers:
                head = self._head(method, path, body != b"", sendable(headers))
            else:
                head = self._usual_head(method, path, body != b"")
        except ValueError as error:
            refused: Wait[Exchange] = Wait()
            refused.set_exception(not_asked(self._site, error))
            return refused
        if body or method in _WITH_LENGTH:
            request = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        else:
            request = head + b"\r\n"
        return DirectExchange(self._pool, request, method == "HEAD").open()

    async def close(self) -> None:
        await self._pool.close()

    def _head(
        self, method: str, path: str, with_body: bool, given: Mapping[str, str] | None = None
    ) -> bytes:
        """The head but for the body's length. Raises ValueError for what cannot be sent."""
        check_line(method, path)
        line = f"{method} {self._site.path}{path}{self._site.query} HTTP/1.1\r\n"
        headers = {**self._site.headers, **(given or {})}
        if with_body:
            headers.setdefault("content-type", "application/json")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{line}{lines}".encode("latin-1")
