"""How answers begin: what is the server's own, and what may stand in a header."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facade.wire.connection import Heads, header_lines, raw_headers


def test_the_servers_own_headers_are_those_of_now() -> None:
    heads = Heads()
    for own, date in (([(b"date", b"1")], b"1"), ([(b"date", b"2")], b"2")):
        for _ in range(2):
            assert b"HTTP/1.1 200 OK\r\ndate: %b\r\nx: y\r\n\r\n" % date == heads.head(
                200, {"x": "y"}, own
            )
            assert b"HTTP/1.1 404 Not Found\r\ndate: %b\r\nx: z\r\n\r\n" % date == heads.head(
                404, {"x": "z"}, own
            )


@given(st.lists(st.text(), max_size=3))
def test_headers_are_written_as_an_asgi_server_gets_them(values: list[str]) -> None:
    headers = {f"x-{number}": value for number, value in enumerate(values)}
    lines = b"".join(b"%b: %b\r\n" % header for header in raw_headers(headers))
    assert lines == (header_lines(headers) if headers else b"")
