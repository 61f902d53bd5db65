"""The port to upstreams over a client of our own: HTTP/1.1, plain and TLS, no proxies.

Strategy: what of a request does not vary is worked out once; a request is one write.
"""

from __future__ import annotations

from collections.abc import Mapping

from facade.waits import Wait
from facade.wire.direct_exchange import DirectExchange
from facade.wire.direct_pool import Pool
from facade.wire.faults import not_asked
from facade.wire.site import Site, check_line, sendable
from facade.wire.upstream import Exchange

_WITH_LENGTH = {"POST", "PUT", "PATCH"}  # also where it is 0


class DirectConnections:
    """The connections to one upstream."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lines = _lines(site.headers)
        self._pool = Pool(site)

    def open(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Wait[Exchange]:
        try:
            head = self._head(method, path, len(body), headers)
        except ValueError as error:
            refused = Wait[Exchange]()
            refused.set_exception(not_asked(self._site, error))
            return refused
        bodiless = method == "HEAD"
        return DirectExchange(self._site, self._pool, head + body, bodiless=bodiless).open()

    async def close(self) -> None:
        await self._pool.close()

    def _head(self, method: str, path: str, size: int, headers: Mapping[str, str]) -> bytes:
        """Raises ValueError for what cannot be sent."""
        check_line(method, path)
        site, lines = self._site, self._lines
        given = sendable(headers) if headers else {}
        if not given.keys().isdisjoint(site.headers):
            lines = _lines({key: said for key, said in site.headers.items() if key not in given})
        if size and "content-type" not in given and "content-type" not in site.headers:
            lines += "content-type: application/json\r\n"
        if size or method in _WITH_LENGTH:
            lines += f"content-length: {size}\r\n"
        line = f"{method} {site.path}{path}{site.query} HTTP/1.1\r\n"
        return f"{line}{lines}{_lines(given)}\r\n".encode("latin-1")


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
