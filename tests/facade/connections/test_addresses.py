"""Which of an upstream's addresses is used: the first that answers, none waited for for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from facade.wire import direct_line
from facade.wire.direct_client import DirectConnections
from facade.wire.site import site_of
from facade.wire.upstream import ConnectionFault, ConnectTimeout, Endpoint
from tests.facade.connections.conftest import Serve
from tests.facade.connections.raw import OK, get, saying


def _address(port: int, family: int = socket.AF_INET) -> tuple[int, int, int, str, tuple[str, int]]:
    return (family, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: a further one is not answered."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("before", ["full", "closed", "full, closed", "closed, full", "full, full"])
async def test_an_address_that_does_not_answer_is_passed_over(
    serve: Serve,
    full_port: int,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    upstream = await serve(saying(OK))
    ports = {"full": full_port, "closed": closed_port}
    addresses = [_address(ports[each]) for each in before.split(", ")]
    monkeypatch.setattr(direct_line, "_in_turn", lambda _: [*addresses, _address(upstream.port)])
    connections = DirectConnections(site_of(Endpoint(upstream.url)))
    tasks = asyncio.all_tasks()
    assert b"ok" == await get(connections)
    await connections.close()
    assert tasks >= asyncio.all_tasks() - upstream.playing


async def test_the_first_that_answers_is_the_only_one_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await serve(saying(OK)), await serve(saying(OK))
    addresses = [_address(first.port), _address(second.port)]
    monkeypatch.setattr(direct_line, "_in_turn", lambda _: addresses)
    connections = DirectConnections(site_of(Endpoint(first.url)))
    assert b"ok" == await get(connections)
    await connections.close()
    assert [1, 0] == [len(first.peers), len(second.peers)]


async def test_of_several_failures_the_first_is_told(
    full_port: int, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{closed_port}", connect_timeout=0.6)
    connections = DirectConnections(site_of(endpoint))
    monkeypatch.setattr(direct_line, "_in_turn", lambda _: [_address(closed_port)] * 3)
    with pytest.raises(ConnectionFault, match="the connection was refused"):
        await get(connections)
    addresses = [_address(full_port), _address(closed_port)]
    monkeypatch.setattr(direct_line, "_in_turn", lambda _: addresses)
    with pytest.raises(ConnectTimeout):
        await get(connections)
    await connections.close()


def test_the_families_take_turns() -> None:
    four, six = socket.AF_INET, socket.AF_INET6
    given = [_address(port, family) for port, family in enumerate([six, six, six, four])]
    assert [0, 3, 1, 2] == [address[4][1] for address in direct_line._in_turn(given)]
    assert [0] == [address[4][1] for address in direct_line._in_turn(given[:1])]


async def test_localhost_is_this_machine_whatever_a_resolver_says(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = await serve(saying(OK))
    site = site_of(Endpoint(f"http://localhost:{upstream.port}", local=True))
    far = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", upstream.port))
    resolved = direct_line._meant
    monkeypatch.setattr(direct_line, "_meant", lambda host, them: resolved(host, [far, *them]))
    connections = DirectConnections(site)
    assert b"ok" == await get(connections)
    await connections.close()
    monkeypatch.setattr(direct_line, "_meant", lambda host, _: resolved(host, [far]))
    connections = DirectConnections(site)
    with pytest.raises(ConnectionFault, match="the name leads to another machine"):
        await get(connections)
    await connections.close()
    assert [far] == resolved("example.org", [far])
