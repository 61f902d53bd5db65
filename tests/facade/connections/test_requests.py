"""What the upstream is sent: what was asked for, and of our own three headers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import pytest

from facade.wire.upstream import Connections, Endpoint, NotLocal
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import OK, Asked, Upstream, saying, whole

_AGENT = f"facade/{version('facade')}"


async def _sent(
    connections: Connections, upstream: Upstream, body: bytes, headers: Mapping[str, str]
) -> Asked:
    exchange = await connections.open("POST" if body else "GET", "/api/x", body, headers)
    assert b"ok" == await whole(exchange)
    return upstream.peers[0].asked[-1]


def _sorted(asked: Asked) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in asked.headers)


async def test_a_get_carries_nothing_but_what_is_needed(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK))
    asked = await _sent(connect(Endpoint(upstream.url)), upstream, b"", {})
    assert ("GET /api/x HTTP/1.1", b"") == (asked.line, asked.body)
    assert [
        ("accept-encoding", "identity"),
        ("host", f"127.0.0.1:{upstream.port}"),
        ("user-agent", _AGENT),
    ] == _sorted(asked)


async def test_a_post_carries_its_body_credentials_and_headers(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    endpoint = Endpoint(upstream.url, headers={"Authorization": "Bearer sk-1"})
    asked = await _sent(connect(endpoint), upstream, b'{"a":1}', {"traceparent": "00-1"})
    assert ("POST /api/x HTTP/1.1", b'{"a":1}') == (asked.line, asked.body)
    assert [
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-1"),
        ("content-length", "7"),
        ("content-type", "application/json"),
        ("host", f"127.0.0.1:{upstream.port}"),
        ("traceparent", "00-1"),
        ("user-agent", _AGENT),
    ] == _sorted(asked)


async def test_a_request_may_replace_any_header_but_the_encoding_of_its_answer(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    endpoint = Endpoint(upstream.url, headers={"User-Agent": "operator/1", "X-Key": "ours"})
    wanted = {"Content-Type": "text/plain", "x-key": "its own", "Accept-Encoding": "gzip"}
    asked = await _sent(connect(endpoint), upstream, b"x", wanted)
    assert [
        ("accept-encoding", "identity"),
        ("content-length", "1"),
        ("content-type", "text/plain"),
        ("host", f"127.0.0.1:{upstream.port}"),
        ("user-agent", "operator/1"),
        ("x-key", "its own"),
    ] == _sorted(asked)


async def test_nobody_else_says_how_a_request_is_framed(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK))
    theirs = {"Content-Length": "999", "Transfer-Encoding": "chunked", "Connection": "close"}
    connections = connect(Endpoint(upstream.url, headers=theirs))
    for _ in range(2):
        asked = await _sent(connections, upstream, b"x", theirs)
        assert "1" == dict(_sorted(asked))["content-length"]
        assert {"transfer-encoding", "connection"}.isdisjoint(dict(_sorted(asked)))
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_body_that_is_empty_has_a_length_where_one_is_expected(
    serve: Serve, connect: Connect, method: str
) -> None:
    upstream = await serve(saying(OK))
    exchange = await connect(Endpoint(upstream.url)).open(method, "/", b"", {})
    assert b"ok" == await whole(exchange)
    sent = dict(_sorted(upstream.peers[0].asked[0]))
    assert ("0", None) == (sent.get("content-length"), sent.get("content-type"))


async def test_a_header_value_is_sent_byte_by_byte_as_it_was_received(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    value = "čau".encode().decode("latin-1")
    asked = await _sent(connect(Endpoint(upstream.url)), upstream, b"", {"x-name": value})
    assert value == dict(_sorted(asked))["x-name"]


async def test_what_is_local_only_opens_no_socket_to_what_is_not(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    far = connect(Endpoint(upstream.url))
    with pytest.raises(NotLocal, match="was not asked: it is not local"):
        await far.open("POST", "/", b"a secret", {}, local_only=True)
    near = connect(Endpoint(upstream.url, local=True))
    assert b"ok" == await whole(await near.open("POST", "/", b"", {}, local_only=True))
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize("base", ["/v1", "/v1/", "/a%2Fb/v1"])
async def test_the_path_goes_below_that_of_the_base_url(
    serve: Serve, connect: Connect, base: str
) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url + base))
    exchange = await connections.open("GET", "/models/a%20b:c?x=1&y=%2F", b"", {})
    assert b"ok" == await whole(exchange)
    expected = f"GET {base.rstrip('/')}/models/a%20b:c?x=1&y=%2F HTTP/1.1"
    assert expected == upstream.peers[0].asked[0].line


_UNUSABLE = {
    "another scheme": (Endpoint("ftp://host/"), "base_url must begin with http or https"),
    "no scheme": (Endpoint("127.0.0.1:11434"), "base_url must begin with http or https"),
    "no host": (Endpoint("http:///v1"), "base_url must begin with http or https"),
    "credentials": (Endpoint("http://user:secret@host/"), "credentials"),
    "a query": (Endpoint("http://host/?key=1"), "scheme, a host and a path"),
    "a fragment": (Endpoint("http://host/#x"), "scheme, a host and a path"),
    "a wrong port": (Endpoint("http://host:70000/"), "[Pp]ort"),
    "a host that is no name": (Endpoint("http://\u2603.net"), "base_url"),
    "a header outside latin-1": (Endpoint("http://host", headers={"x-key": "č"}), "x-key"),
    "a line end in a header": (Endpoint("http://host", headers={"x-key": "secret\n"}), "x-key"),
    "a blank in the path": (Endpoint("http://host/a b"), "base_url has characters"),
    "a line end in the query": (Endpoint("http://host", query="a=secret\n"), "characters"),
    "a name that is none": (Endpoint("http://host", headers={"x: secret\ny": "z"}), "name of a"),
    "another proxy": (Endpoint("http://host", proxy="socks5://host"), "proxy must begin with http"),
    "a proxy over TLS": (
        Endpoint("http://host", proxy="https://host"),
        "proxy must begin with http",
    ),
    "no CA file": (Endpoint("https://host", ca_file="/nowhere.pem"), "^ca_file cannot be used"),
    "a CA file that is none": (Endpoint("https://host", ca_file=__file__), "^ca_file cannot be"),
    "no certificate": (Endpoint("https://host", client_cert="/nowhere.pem"), "^client_cert "),
    "a certificate that is none": (Endpoint("https://host", client_cert=__file__), "^client_cert "),
}


@pytest.mark.parametrize(("endpoint", "sentence"), _UNUSABLE.values(), ids=_UNUSABLE)
async def test_an_endpoint_that_cannot_be_used_is_refused_at_once(
    connect: Connect, endpoint: Endpoint, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        connect(endpoint)
    assert "secret" not in str(caught.value)


async def test_the_query_of_an_endpoint_goes_with_every_path(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    asked = await _sent(connect(Endpoint(upstream.url, query="api-version=1")), upstream, b"", {})
    assert asked.line == "GET /api/x?api-version=1 HTTP/1.1"
