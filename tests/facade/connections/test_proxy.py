"""The way through a proxy: asked for by the endpoint, or by the environment where that may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from facade.app import connections_to
from facade.wire.site import Site
from facade.wire.upstream import ConnectionFault, Connections, ConnectTimeout, Endpoint
from tests.facade.connections.authority import Authority
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import OK, Peer, Script, Upstream, get, saying, saying_once


@pytest.fixture
def implementation() -> Callable[[Site], Connections]:
    """Whichever the application chooses."""
    return connections_to


def _tunnelling(upstream: Upstream) -> Script:
    """A proxy that leads every CONNECT to that upstream."""

    async def script(peer: Peer) -> None:
        await peer.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        await peer.send(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        there = asyncio.create_task(_pump(peer.reader, writer))
        await _pump(reader, peer.writer)
        await there

    return script


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def test_plain_http_is_forwarded(serve: Serve, connect: Connect) -> None:
    proxy = await serve(saying(OK))
    address = proxy.url.replace("//", "//user:pass@")
    connections = connect(Endpoint("http://upstream.invalid/v1", proxy=address))
    assert [b"ok", b"ok"] == [await get(connections), await get(connections)]
    first, second = proxy.peers[0].asked
    assert first == second
    assert "GET http://upstream.invalid/v1/ HTTP/1.1" == first.line
    assert "Basic dXNlcjpwYXNz" == dict(first.headers)["Proxy-Authorization"]


async def test_https_is_tunnelled_and_the_proxy_sees_no_header_of_ours(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await serve(saying(OK), authority.server())
    proxy = await serve(_tunnelling(upstream))
    credentials = {"authorization": "Bearer sk-1"}
    connections = connect(
        Endpoint(upstream.secure_url, headers=credentials, proxy=proxy.url, ca_file=authority.file)
    )
    assert [b"ok", b"ok"] == [await get(connections), await get(connections)]
    (asked,) = proxy.peers[0].asked
    name = f"127.0.0.1:{upstream.port}"
    assert f"CONNECT {name} HTTP/1.1" == asked.line
    assert {"host", "accept"} == {name.lower() for name, _ in asked.headers}
    assert [2] == [len(peer.asked) for peer in upstream.peers]


async def test_a_proxy_that_refuses_is_a_fault_that_names_both(
    serve: Serve, connect: Connect
) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    proxy = await serve(saying_once(refusal))
    address = proxy.url.replace("//", "//user:secret@")
    with pytest.raises(ConnectionFault) as caught:
        await connect(Endpoint("https://upstream.invalid", proxy=address)).open("GET", "/", b"", {})
    expected = (
        f"cannot connect to upstream.invalid:443 through the proxy 127.0.0.1:{proxy.port}: "
        "407 Proxy Authentication Required"
    )
    assert (expected, False) == (str(caught.value), caught.value.sent)


async def test_a_proxy_that_does_not_answer_is_a_connect_timeout(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    proxy = await serve(script)
    endpoint = Endpoint("https://upstream.invalid", proxy=proxy.url, connect_timeout=0.05)
    with pytest.raises(ConnectTimeout):
        await connect(endpoint).open("GET", "/", b"", {})
    async with asyncio.timeout(0.2):
        await proxy.peers[0].left.wait()


async def test_failures_within_the_tunnel_take_no_connection_away(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    async def deaf_at_first(peer: Peer) -> None:
        if peer.number < 3:
            await _tunnelling(untrusted)(peer)
        elif peer.number < 5:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await peer.gone()
        else:
            await _tunnelling(upstream)(peer)

    upstream = await serve(saying(OK), authority.server())
    untrusted = await serve(saying(OK), authority.server("localhost"))
    proxy = await serve(deaf_at_first)
    connections = connect(
        Endpoint(upstream.secure_url, connections=1, proxy=proxy.url, ca_file=authority.file)
    )
    for _ in range(2):
        with pytest.raises(ConnectionFault, match="its certificate is not trusted"):
            await connections.open("GET", "/", b"", {})
    for number in (3, 4):
        opening = connections.open("GET", "/", b"", {})
        peer = await proxy.peer(number)
        await asyncio.sleep(0.02)  # well into the handshake
        opening.cancel()
        async with asyncio.timeout(0.2):
            await peer.left.wait()
    assert b"ok" == await get(connections)


_ENVIRONMENTS = {
    "the proxy": ({"http_proxy": "{proxy}"}, True),
    "a proxy without a scheme": ({"http_proxy": "{bare}"}, True),
    "one for all": ({"all_proxy": "{proxy}"}, True),
    "one for https": ({"https_proxy": "{proxy}"}, False),
    "not for this host": ({"http_proxy": "{proxy}", "no_proxy": "127.0.0.1"}, False),
    "not for this port": ({"http_proxy": "{proxy}", "no_proxy": "{upstream}"}, False),
    "for another host": ({"http_proxy": "{proxy}", "no_proxy": "localhost"}, True),
    "for none": ({"http_proxy": "{proxy}", "no_proxy": "*"}, False),
}


@pytest.mark.parametrize("may", [True, False])
@pytest.mark.parametrize("case", _ENVIRONMENTS.values(), ids=_ENVIRONMENTS)
async def test_the_environment_is_obeyed_only_where_it_may(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[dict[str, str], bool],
    may: bool,
) -> None:
    names, proxied = case
    upstream, proxy = await serve(saying(OK)), await serve(saying(OK))
    addresses = {
        "proxy": proxy.url,
        "bare": proxy.url.removeprefix("http://"),
        "upstream": upstream.url.removeprefix("http://"),
    }
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
        if name in names:
            monkeypatch.setenv(name, names[name].format_map(addresses))
    assert b"ok" == await get(connect(Endpoint(upstream.url, environment_proxies=may)))
    assert [not (proxied and may), proxied and may] == [bool(upstream.peers), bool(proxy.peers)]
