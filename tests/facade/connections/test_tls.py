"""Whom TLS trusts, and what it says where it does not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest

from facade.wire.upstream import ConnectionFault, Endpoint
from tests.facade.connections.authority import Authority
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import OK, Peer, get, saying, saying_once


async def _refused(connect: Connect, endpoint: Endpoint) -> ConnectionFault:
    with pytest.raises(ConnectionFault) as caught:
        await connect(endpoint).open("POST", "/", b"body", {})
    return caught.value


async def test_a_server_is_trusted_by_the_ca_file_and_kept(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await serve(saying(OK), authority.server())
    connections = connect(Endpoint(upstream.secure_url, ca_file=authority.file))
    assert [b"ok"] * 3 == [await get(connections) for _ in range(3)]
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_server_nobody_vouches_for_gets_nothing(
    serve: Serve, connect: Connect, authority: Authority, trusted: bool
) -> None:
    """Neither an unknown authority nor, from a known one, another name will do."""
    upstream = await serve(saying(OK), authority.server("localhost" if trusted else "127.0.0.1"))
    ca_file = authority.file if trusted else None
    fault = await _refused(connect, Endpoint(upstream.secure_url, ca_file=ca_file))
    assert not fault.sent
    assert f"127.0.0.1:{upstream.port}: its certificate is not trusted" in str(fault)
    assert [] == [asked for peer in upstream.peers for asked in peer.asked]


async def test_a_client_certificate_is_shown(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    shown = []

    async def script(peer: Peer) -> None:
        shown.append(peer.writer.get_extra_info("peercert")["subjectAltName"])
        await saying(OK)(peer)

    upstream = await serve(script, authority.server(asks=ssl.CERT_REQUIRED))
    ca_file, client_cert = authority.file, authority.client_cert
    endpoint = Endpoint(upstream.secure_url, ca_file=ca_file, client_cert=client_cert)
    assert b"ok" == await get(connect(endpoint))
    assert [(("email", "facade@example.org"),)] == shown


def _shake_hands(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Blocking, since asyncio's server closes without the alert that says why."""
    plain, _ = listening.accept()
    with plain.dup() as rest:  # a reset would overtake the alert
        with suppress(ssl.SSLError):
            context.wrap_socket(plain, server_side=True)
        while rest.recv(65536):
            pass


async def test_a_missing_client_certificate_is_a_fault_of_tls(
    connect: Connect, authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asks = authority.server(asks=ssl.CERT_REQUIRED)
        shaking = asyncio.create_task(asyncio.to_thread(_shake_hands, listening, asks))
        fault = await _refused(
            connect, Endpoint(f"https://127.0.0.1:{port}", ca_file=authority.file)
        )
        await shaking
    assert f"127.0.0.1:{port} broke TLS off (TLSV13_ALERT_CERTIFICATE_REQUIRED)" == str(fault)


_NOT_TLS = {
    "plain HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the TLS handshake failed"),
    "nothing": (b"", "the TLS handshake was broken off"),
}


@pytest.mark.parametrize(("reply", "said"), _NOT_TLS.values(), ids=_NOT_TLS)
async def test_a_server_without_tls_gets_nothing(
    serve: Serve, connect: Connect, reply: bytes, said: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(reply)

    upstream = await serve(script)
    fault = await _refused(connect, Endpoint(upstream.secure_url))
    assert f"cannot connect to 127.0.0.1:{upstream.port}: {said}" in str(fault)
    assert not fault.sent


async def test_a_body_cut_within_tls_is_a_fault(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await serve(saying_once(OK[:-1]), authority.server())
    connections = connect(Endpoint(upstream.secure_url, ca_file=authority.file))
    with pytest.raises(ConnectionFault, match="in the middle of its answer"):
        await get(connections)


async def test_the_connect_timeout_ends_with_the_handshake(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(1.1)
        await peer.send(OK)

    upstream = await serve(script, authority.server())
    endpoint = Endpoint(upstream.secure_url, ca_file=authority.file, connect_timeout=1.0)
    assert b"ok" == await get(connect(endpoint))
