"""Networks and proxies through the front door: an address is what a proxy of ours says it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from openai import PermissionDeniedError

from tests.api.asking import answer_of, ask, chat, opened
from tests.api.serving import Facade, serving, settings
from tests.api.test_keys import CHAT, KEYS, PAGE, assert_shut, client, with_keys
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEHIND_A_PROXY: Final = """
trusted_proxies = ["127.0.0.1"]
ip_allowlist = ["10.0.0.0/8", "2001:db8::/32"]
"""
NEAR: Final = """
[keys.near]
from = ["10.1.0.0/16"]
models = ["assistant"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(
    upstreams: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Facade]:
    folder = tmp_path_factory.mktemp("proxied")
    said = settings(folder, with_keys(upstreams, BEHIND_A_PROXY, KEYS + NEAR))
    async with serving(said, upstreams) as facade:
        yield facade


@pytest.mark.parametrize("address", ["10.9.9.9", "2001:db8::1", "::ffff:10.1.2.3", "10.1.1.1:80"])
async def test_an_address_of_the_list_is_answered(address: str, proxied: Facade) -> None:
    answer = await ask(
        proxied,
        "GET",
        "/v1/models",
        x_forwarded_for=f"192.0.2.1, {address}",
        authorization="Bearer sk-operator",
    )
    assert 200 == answer.status


@pytest.mark.parametrize(
    "forwarded",
    [
        "",  # the proxy itself
        "192.0.2.1",
        "10.1.1.1, 192.0.2.1",
        "192.0.2.1, 127.0.0.1",
        "10.1.1.1, unknown",
        "10.1.1.1,",
        "::10.1.1.1",
        "10.1.1.1\u00ff",
        "127.0.0.1, " * 5000 + "127.0.0.1",
    ],
)
@pytest.mark.parametrize("key", ["sk-operator", "sk-other"])
async def test_any_other_address_is_403_before_its_key_and_its_body_are_read(
    forwarded: str, key: str, proxied: Facade, fake: FakeUpstream
) -> None:
    async with opened(
        proxied,
        "POST",
        CHAT,
        content_length="1000",
        x_forwarded_for=forwarded,
        authorization=f"Bearer {key}",
    ) as conversation:
        answer = await answer_of(conversation)
    assert (403, "permission_error", "ip_not_allowed") == (
        answer.status,
        answer.error["type"],
        answer.error["code"],
    )
    assert [] == fake.requests


async def test_a_preflight_from_another_address_is_403(proxied: Facade) -> None:
    answer = await ask(proxied, "OPTIONS", CHAT, origin=PAGE, x_forwarded_for="192.0.2.1")
    assert (403, "ip_not_allowed") == (answer.status, answer.error["code"])


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/"])
async def test_probes_are_answered_from_any_address(path: str, proxied: Facade) -> None:
    assert 200 == (await ask(proxied, "GET", path, x_forwarded_for="192.0.2.1")).status


async def test_the_sdk_raises_its_permission_error_for_an_address(proxied: Facade) -> None:
    async with client(proxied, "sk-operator") as sdk:
        with pytest.raises(PermissionDeniedError) as caught:
            await sdk.models.list()
    assert "ip_not_allowed" == caught.value.code


async def test_who_is_no_proxy_of_ours_cannot_say_where_it_is(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    server = 'ip_allowlist = ["10.0.0.0/8"]\n'
    async with serving(settings(tmp_path, with_keys(fake, server)), fake) as facade:
        answer = await ask(
            facade,
            "GET",
            "/v1/models",
            x_forwarded_for="10.0.0.1",
            authorization="Bearer sk-operator",
        )
        assert (403, "ip_not_allowed") == (answer.status, answer.error["code"])


async def test_without_keys_the_list_holds_too(fake: FakeUpstream, tmp_path: Path) -> None:
    for networks, status in (('"127.0.0.0/8"', 200), ('"10.0.0.0/8"', 403)):
        said = settings(tmp_path, with_keys(fake, f"ip_allowlist = [{networks}]\n", ""))
        async with serving(said, fake) as facade:
            assert status == (await ask(facade, "GET", "/v1/models")).status


async def test_a_neighbour_needs_no_secret_and_may_use_its_models(
    proxied: Facade, fake: FakeUpstream
) -> None:
    near = {"x_forwarded_for": "10.1.2.3"}
    assert 200 == (await ask(proxied, "POST", CHAT, chat("assistant"), **near)).status
    empty = {**near, "authorization": "Bearer "}
    assert 200 == (await ask(proxied, "POST", CHAT, chat("assistant"), **empty)).status
    assert 404 == (await ask(proxied, "POST", CHAT, chat("other"), **near)).status
    assert_shut(await ask(proxied, "POST", CHAT, chat("assistant"), x_forwarded_for="10.2.2.3"))


async def test_a_neighbour_is_known_without_a_list_and_without_a_proxy(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    for networks, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 401)):
        said = settings(tmp_path, with_keys(fake, "", f'[keys.here]\nfrom = ["{networks}"]\n'))
        async with serving(said, fake) as facade:
            answer = await ask(facade, "GET", "/v1/models", x_forwarded_for="10.0.0.1")
            assert status == answer.status


async def test_a_neighbours_wrong_secret_is_not_overlooked(proxied: Facade) -> None:
    answer = await ask(
        proxied,
        "POST",
        CHAT,
        chat("assistant"),
        x_forwarded_for="10.1.2.3",
        authorization="Bearer sk-other",
    )
    assert_shut(answer)


async def test_a_page_that_a_neighbour_looks_at_cannot_ask_under_a_name_of_its_own(
    proxied: Facade, fake: FakeUpstream
) -> None:
    # A name that its owner points at us makes the page one of the same origin.
    answer = await ask(
        proxied,
        "POST",
        CHAT,
        chat("assistant"),
        x_forwarded_for="10.1.2.3",
        host="evil.example.org",
        origin="http://evil.example.org",
    )
    assert (403, "host_not_allowed") == (answer.status, answer.error["code"])
    assert [] == fake.requests
