"""Clients for talking to the fake upstream without the facade: http.client, and bare sockets."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Final

from tests.fake_upstream import FakeUpstream

CHAT: Final = {"model": "llama3.1", "messages": [{"role": "user", "content": "Hi"}]}
POST: Final = b"POST /api/chat HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"


def connect(fake: FakeUpstream) -> http.client.HTTPConnection:
    """A client that connects with its first request."""
    return http.client.HTTPConnection("127.0.0.1", fake.port, timeout=5)


def ask(
    client: http.client.HTTPConnection,
    path: str = "/api/chat",
    content: object = CHAT,
    method: str = "POST",
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    client.request(method, path, json.dumps(content) if method == "POST" else None)
    reply = client.getresponse()
    return reply.status, reply.read()


def once(
    fake: FakeUpstream, path: str = "/api/chat", content: object = CHAT, method: str = "POST"
) -> tuple[int, bytes]:
    """The same on a connection of its own."""
    client = connect(fake)
    try:
        return ask(client, path, content, method)
    finally:
        client.close()


def raw(fake: FakeUpstream, sent: bytes) -> bytes:
    """Everything that comes back until the fake closes."""
    with socket.create_connection(("127.0.0.1", fake.port), timeout=5) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))
