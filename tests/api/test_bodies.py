"""What a request's body may be: JSON in UTF-8, of any depth, with numbers of any size."""

from __future__ import annotations

from typing import Final

import pytest

from tests.api.asking import ask
from tests.api.serving import Facade

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
EMBED: Final = "/v1/embeddings"


def _nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    "field",
    [
        b'"unknown":%b',
        b'"messages":[{"role":"user","content":"Hi","reasoning":%b}]',
        b'"tools":[{"type":"function","function":{"name":"f","parameters":%b}}]',
        b'"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":%b}}',
    ],
)
async def test_no_depth_of_nesting_is_a_failure_of_ours(
    field: bytes, facade: Facade, model: str
) -> None:
    """Around the limit some readers of a body pass and others do not."""
    plain = b'{"model":"%b","messages":[{"role":"user","content":"Hi"}],' % model.encode()
    statuses = []
    for depth in [5, 500, *range(965, 985), 100_000]:
        answer = await ask(facade, "POST", CHAT, plain + field % _nested(depth) + b"}")
        statuses.append(answer.status)
        if answer.status != 200:
            assert (400, "invalid_request_error") == (answer.status, answer.error["type"])
    assert [200, 200] == statuses[:2]
    assert 400 == statuses[-1]


NOT_JSON: Final = {
    "nothing": b"",
    "blanks": b" \r\n\t",
    "half": b'{"model":',
    "a tail": b'{"model":"x","messages":[{"role":"user"}],"input":"a"} {}',
    "NaN": b'{"temperature":NaN}',
    "single quotes": b"{'model':1}",
    "a form": b"model=x&messages=y",
    "UTF-16": '{"model":"x"}'.encode("utf-16"),
    "UTF-16 without mark": '{"model":"x"}'.encode("utf-16-be"),
    "UTF-32": '{"model":"x"}'.encode("utf-32"),
    "Latin-1 in a text": b'{"model":"x","messages":[{"role":"user","content":"\xe9"}]}',
    "Latin-1 in an unknown field": b'{"model":"x","messages":[{"role":"user"}],"x":"\xe9"}',
    "Latin-1 in a name": b'{"model":"x","messages":[{"role":"user"}],"\xe9":1}',
    "half a surrogate pair": b'{"model":"x","messages":[{"role":"user","content":"\\ud83d"}]}',
    "gzip": bytes.fromhex("1f8b08000000000000ff"),
}


@pytest.mark.parametrize("path", [CHAT, TEXT, EMBED])
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_is_not_json_in_utf_8_is_a_400(path: str, body: bytes, facade: Facade) -> None:
    answer = await ask(facade, "POST", path, body)
    assert 400 == answer.status
    assert ("invalid_request_error", None, "invalid_json") == (
        answer.error["type"],
        answer.error["param"],
        answer.error["code"],
    )
    assert [] == facade.fake.requests


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"true"])
async def test_json_that_is_no_object_is_a_400(body: bytes, facade: Facade) -> None:
    answer = await ask(facade, "POST", CHAT, body)
    assert (400, None, "invalid_type") == (
        answer.status,
        answer.error["param"],
        answer.error["code"],
    )


async def test_numbers_of_any_size_are_no_failure_of_ours(facade: Facade, model: str) -> None:
    plain = b'{"model":"%b","messages":[{"role":"user","content":"Hi"}],' % model.encode()
    for field in (b"seed", b"max_tokens", b"unknown", b"top_k"):
        for number in (b"9" * 30, b"-" + b"9" * 30, b"9" * 5000, b"1e400", b"-0.0"):
            answer = await ask(facade, "POST", CHAT, plain + b'"%b":%b}' % (field, number))
            assert answer.status in (200, 400), (field, number[:9], answer.body)
