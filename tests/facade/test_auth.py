"""Who a secret or an address is, and what they may ask for; whatever is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.auth import (
    Address,
    Caller,
    Keyring,
    Networks,
    address_of,
    digest,
    may,
    network,
    sent_secret,
)

AGENTS = Caller("agents")
NEAR = Caller("near")
NEARER = Caller("nearer")
UPSTREAMS = ("local", "cloud")


def test_a_digest_is_hmac_sha256_of_the_secret_under_the_pepper() -> None:
    # RFC 4231, test case 2.
    assert (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        == digest("Jefe", "what do ya want for nothing?").hex()
    )


@pytest.mark.parametrize("secret", ["sk-1", "sk-12 ", "SK-12", "sk-1\xe9", "\x00", "s" * 200_000])
def test_only_the_secret_itself_is_known(secret: str) -> None:
    keyring = Keyring("p", {digest("p", "sk-12"): AGENTS})
    assert AGENTS == keyring.holder("sk-12")
    assert keyring.holder(secret) is None
    assert Keyring("q", {digest("p", "sk-12"): AGENTS}).holder("sk-12") is None


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, ""),
        ({"authorization": "Bearer sk-1"}, "sk-1"),
        ({"authorization": "bearer sk-1"}, "sk-1"),
        ({"authorization": "BEARER   sk-1 "}, "sk-1"),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "Bearer "}, ""),
        ({"authorization": "sk-1"}, ""),
        ({"authorization": "Basic c2stMQ=="}, ""),
        ({"authorization": "Bearer sk-1, Bearer sk-2"}, "sk-1, Bearer sk-2"),
        ({"authorization": "Bearer\xa0sk-1"}, ""),
        ({"x-api-key": "sk-1"}, "sk-1"),
        ({"api-key": "sk-1"}, "sk-1"),
        ({"authorization": "Bearer", "x-api-key": " ", "api-key": "sk-3"}, "sk-3"),
        ({"authorization": "Basic c2stMQ==", "api-key": "sk-3"}, "sk-3"),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-2", "api-key": "sk-3"}, "sk-1"),
    ],
)
def test_the_secret_is_the_first_that_was_sent(headers: dict[str, str], secret: str) -> None:
    assert secret == sent_secret(headers)


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        ((), "anything", True),
        ((), "local/anything", True),
        (("assistant",), "assistant", True),
        (("assistant",), "assistant2", False),
        (("assistant",), "Assistant", False),
        (("assistant",), "", False),
        (("a", "b"), "b", True),
        (("llama3.1",), "llama3.1:latest", True),
        (("llama3.1:latest",), "llama3.1", True),
        (("llama3.1",), "llama3.1:8b", False),
        (("gpt-*",), "gpt-4o", True),
        (("gpt-*",), "gpt-", True),
        (("gpt-*",), "my-gpt-4o", False),
        (("*-mini",), "o4-mini:latest", True),
        (("ab*ba",), "aba", False),
        (("*",), "anything", True),
        (("*",), "org/anything", True),
        (("org/*",), "org/anything", True),
    ],
)
def test_a_model_is_allowed_by_its_name_or_a_pattern(
    models: tuple[str, ...], asked: str, allowed: bool
) -> None:
    assert allowed == may(Caller("k", models=models), asked, UPSTREAMS)


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        (("llama3.1",), "local/llama3.1", False),
        (("*",), "local/llama3.1", False),
        (("*3.1",), "local/llama3.1", False),
        (("lo*",), "local/llama3.1", False),
        (("local*",), "local/llama3.1", False),
        (("local/*",), "local/llama3.1", True),
        (("local/*",), "local/hf.co/a/b:Q4", True),
        (("local/*",), "cloud/gpt-4o", False),
        (("local/llama*",), "local/qwen3", False),
        (("local/llama3.1",), "local/llama3.1", True),
        (("local/llama3.1",), "local/llama3.1:latest", True),
    ],
)
def test_no_pattern_opens_an_upstream_that_it_does_not_name(
    models: tuple[str, ...], asked: str, allowed: bool
) -> None:
    assert allowed == may(Caller("k", models=models), asked, UPSTREAMS)


# -- addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.0"),
        ("::ffff:0:0/96", "1.2.3.4", "::1"),
        ("fd00::/8", "fd12::1", "fe80::1"),
        ("::1", "::1", "127.0.0.1"),
        ("0.0.0.0/0", "::ffff:1.2.3.4", "::1"),
        ("::/0", "fe80::1%eth0", "127.0.0.1"),
    ],
)
def test_a_network_holds_its_addresses_however_they_are_mapped(
    text: str, inside: str, outside: str
) -> None:
    nobody = Networks([])
    networks = Networks(["192.0.2.0/24", text])
    assert address_of(inside, [], nobody) in networks
    assert address_of(outside, [], nobody) not in networks


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "10/8", "all", "::1::/8", "1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        network(text)


def test_no_network_holds_an_address_that_is_not_known() -> None:
    assert None not in Networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"10.9.9.9"], "203.0.113.9"),  # not by a proxy of ours
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.1,203.0.113.9 ,10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.1", b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"198.51.100.1, 203.0.113.9", b"10.0.0.3, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"203.0.113.9:5678"], "203.0.113.9"),
        ("10.0.0.1", [b"[2001:db8::9]:5678"], "2001:db8::9"),
        ("10.0.0.1", [b"[2001:db8::9]"], "2001:db8::9"),
        ("10.0.0.1", [b"2001:db8::9"], "2001:db8::9"),
        ("10.0.0.1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b""], None),
        ("10.0.0.1", [b"203.0.113.9,"], None),
        ("10.0.0.1", [b"203.0.113.9, unknown"], None),
        ("10.0.0.1", [b"203.0.113.9, unknown, 10.0.0.2"], None),
        ("10.0.0.1", [b"localhost"], None),
        ("10.0.0.1", [b"[203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"\xff\x00"], None),
        ("10.0.0.1", [b"10.0.0.2" + b",10.0.0.1" * 30], "10.0.0.2"),
        ("10.0.0.1", [b"10.0.0.2" + b",10.0.0.1" * 30_000], None),
        ("", [b"203.0.113.9"], None),  # a socket without addresses
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_of_ours(
    peer: str, forwarded: Sequence[bytes], client: str | None
) -> None:
    expected = ipaddress.ip_address(client) if client else None
    assert expected == address_of(peer, forwarded, Networks(["10.0.0.0/8"]))


@given(st.lists(st.binary(max_size=60), max_size=4), st.ip_addresses())
def test_whatever_a_client_writes_its_proxy_says_who_it_is(
    written: list[bytes], client: Address
) -> None:
    proxies = Networks(["10.0.0.1"])
    expected = address_of(str(client), [], Networks([]))
    if expected not in proxies:
        forwarded = [*written, str(client).encode()]
        assert expected == address_of("10.0.0.1", forwarded, proxies)


@given(st.text(), st.lists(st.binary(max_size=60), max_size=4))
def test_junk_is_nobody_or_somebody_and_never_an_error(peer: str, forwarded: list[bytes]) -> None:
    for proxies in (Networks([]), Networks(["0.0.0.0/0", "::/0"])):
        found = address_of(peer, forwarded, proxies)
        assert found is None or found.version in {4, 6}


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_a_network_is_the_same_however_it_is_mapped(
    start: ipaddress.IPv4Address, bits: int, asked: ipaddress.IPv4Address
) -> None:
    plain = ipaddress.ip_network((start, bits), strict=False)
    mapped = f"::ffff:{plain.network_address}/{96 + bits}"
    assert plain == network(str(plain)) == network(mapped)
    for text in (str(plain), mapped):
        for said in (str(asked), f"::ffff:{asked}"):
            found = address_of(said, [], Networks([]))
            assert (asked in plain) == (found in Networks([text]))


def test_the_first_of_the_networks_that_hold_an_address_says_who_it_is() -> None:
    keyring = Keyring(
        "p", {}, [(Networks(["10.1.0.0/16"]), NEARER), (Networks(["10.0.0.0/8"]), NEAR)]
    )
    assert NEARER == keyring.neighbour(ipaddress.ip_address("10.1.0.1"))
    assert NEAR == keyring.neighbour(ipaddress.ip_address("10.2.0.1"))
    assert keyring.neighbour(ipaddress.ip_address("11.0.0.1")) is None
    assert keyring.neighbour(None) is None
