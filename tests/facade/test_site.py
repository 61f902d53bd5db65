"""The names and sentences of an endpoint, where no socket is needed to show them."""

from __future__ import annotations

import errno
import socket

import pytest

from facade.wire.faults import not_reached
from facade.wire.site import site_of
from facade.wire.upstream import ConnectTimeout, Endpoint

_NAMES = {
    "http://Localhost:11434/": "localhost:11434",
    "http://10.0.0.1": "10.0.0.1:80",
    "https://api.example.org/v1": "api.example.org:443",
    "https://[::1]:8443": "[::1]:8443",
    "http://[fe80::1]": "[fe80::1]:80",
}


@pytest.mark.parametrize(("url", "name"), _NAMES.items())
def test_a_site_is_named_by_host_and_port(url: str, name: str) -> None:
    assert name == site_of(Endpoint(url)).name


def test_the_proxy_is_named_without_its_credentials() -> None:
    endpoint = Endpoint("https://a.example.org", proxy="http://user:secret@proxy.example.org:3128")
    expected = "a.example.org:443 through the proxy proxy.example.org:3128"
    assert expected == site_of(endpoint).name


def test_a_proxy_that_cannot_be_used_is_told_with_where_it_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example.org:1080")
    with pytest.raises(ValueError, match=r"^the proxy that the environment names must begin with"):
        site_of(Endpoint("https://a.example.org", environment_proxies=True))


_REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
_SENTENCES = [
    (_REFUSED, "the connection was refused"),
    (ExceptionGroup("several", [_REFUSED, _REFUSED]), "the connection was refused"),
    (OSError(errno.ENETUNREACH, "Connect call failed ('10.0.0.1', 80)"), "Network is unreachable"),
    (socket.gaierror(socket.EAI_NONAME, "x"), "its name cannot be resolved"),
]


@pytest.mark.parametrize(("cause", "said"), _SENTENCES)
def test_the_innermost_cause_is_told(cause: Exception, said: str) -> None:
    error = OSError("All connection attempts failed")
    error.__cause__ = cause
    fault = not_reached(site_of(Endpoint("http://host")), error, sent=False)
    assert f"cannot connect to host:80: {said}" == str(fault)


def test_a_connection_the_system_gave_up_is_a_connect_timeout() -> None:
    error = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    fault = not_reached(site_of(Endpoint("http://host", connect_timeout=5)), error, sent=True)
    assert isinstance(fault, ConnectTimeout)
    assert ("cannot connect to host:80: no connection within 5 s", True) == (str(fault), fault.sent)
