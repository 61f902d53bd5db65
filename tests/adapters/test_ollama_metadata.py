"""What there is, what it can, what is loaded, which version: asked and read."""

from __future__ import annotations

import json

import pytest

from adapters.dialect import Facts, Model, Target, UpstreamRequest, named_remote
from adapters.errors import Kind, UpstreamError
from adapters.ollama import Ollama
from tests.adapters.ollama_calls import failed

DIALECT = Ollama()
DIGEST = "d414d693873cc5aaf9641bd7d7979f20ef8f0d5c4f08ca64cb53de53d8a42364"


def test_metadata_is_asked_by_its_paths() -> None:
    assert UpstreamRequest("GET", "/api/tags") == DIALECT.list_request()
    assert UpstreamRequest("GET", "/api/ps") == DIALECT.loaded_request()
    assert UpstreamRequest("GET", "/api/version") == DIALECT.version_request()
    target = Target("local", "m", options={"num_ctx": 8192}, keep_alive="10m")
    load = DIALECT.load_request(target)
    assert ("POST", "/api/generate") == (load.method, load.path)
    assert {
        "model": "m",
        "stream": False,
        "truncate": False,
        "shift": False,  # as every call says it: another value would load the model again
        "keep_alive": "10m",
        "options": {"num_ctx": 8192},
    } == json.loads(load.body)
    described = DIALECT.describe_request("hf.co/a/b:Q4")
    assert UpstreamRequest("POST", "/api/show", b'{"model":"hf.co/a/b:Q4"}') == described


def test_models_are_listed_with_what_is_known() -> None:
    listing = (
        '{"models":[{"name":"smol:latest","model":"smol:latest","size":98363007,"details":{},'
        f'"modified_at":"2026-11-21T08:08:10.710498693Z","digest":"{DIGEST}"}},'
        '{"name":"ann/tiny:1b","modified_at":"2026-11-21T10:08:10+02:00",'
        '"capabilities":["completion","tools"]},{"name":"x"}]}'
    )
    assert [
        Model("smol:latest", 1795248490, "library", Facts(None, DIGEST, False)),
        Model(
            "ann/tiny:1b", 1795248490, "ann", Facts(frozenset(("completion", "tools")), None, False)
        ),
        Model("x", 0, "library", Facts(remote=False)),
    ] == DIALECT.decode_models(listing.encode())


@pytest.mark.parametrize("listing", [b'{"models":null}', b'{"models":[]}', b"{}"])
def test_no_models_are_an_empty_list(listing: bytes) -> None:
    assert [] == DIALECT.decode_models(listing)
    assert {} == DIALECT.decode_loaded(listing)


def test_loaded_models_are_known_by_name() -> None:
    listing = (
        b'{"models":[{"name":"smol:latest","size_vram":0,"context_length":4096},{"name":"x"}]}'
    )
    loaded = DIALECT.decode_loaded(listing)
    assert {"smol:latest": 4096, "x": None} == {name: it.window for name, it in loaded.items()}


@pytest.mark.parametrize(
    ("options", "window"),
    [({"num_ctx": 8192}, 8192), ({}, None), ({"num_ctx": "8192"}, None), ({"top_k": 1}, None)],
)
def test_the_operators_options_say_the_window(
    options: dict[str, object], window: int | None
) -> None:
    assert window == DIALECT.window(options)


def test_capabilities_are_known_or_not() -> None:
    shown = b'{"modelfile":"x","capabilities":["completion","vision"],"model_info":{"a":1}}'
    assert Facts(frozenset(("completion", "vision")), remote=False) == DIALECT.decode_facts(shown)
    assert Facts(remote=False) == DIALECT.decode_facts(b'{"modelfile":"x"}')


@pytest.mark.parametrize(
    "said", [b'"remote_model":"big:1t"', b'"remote_host":"https://cloud.example:443"']
)
def test_a_model_that_is_only_passed_on_is_remote(said: bytes) -> None:
    (listed,) = DIALECT.decode_models(b'{"models":[{"name":"mine",%s}]}' % said)
    assert (True, True) == (listed.facts.remote, DIALECT.decode_facts(b"{%s}" % said).remote)


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        ("big:1t-cloud", True),
        ("big:cloud", True),
        ("ann/big:120B-Cloud", True),
        ("big-cloud", True),
        ("big-cloud:latest", True),
        ("big:cloud ", True),
        ("cloud", False),
        ("cloud:8b", False),
        ("big:cloudy", False),
        ("llama3.1", False),
    ],
)
def test_a_name_may_say_that_the_model_is_remote(name: str, remote: bool) -> None:
    assert remote == named_remote(name)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("0.24.0", (0, 24, 0)),
        ("0.33.0-rc2", (0, 33, 0)),
        ("v0.12.11", (0, 12, 11)),
        ("0.5.8+dirty", (0, 5, 8)),
        ("1", (1,)),
        ("0.0.0", None),
        ("", None),
        ("dev", None),
        ("9" * 5000, (999999999,)),
    ],
)
def test_a_version_without_a_number_is_the_newest(
    said: str, version: tuple[int, ...] | None
) -> None:
    assert version == DIALECT.decode_version(b'{"version":"%s"}' % said.encode())


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"", b"[]", b'{"models":5,"capabilities":5,"version":5}', b'{"version":"\xff"}'],
)
def test_another_answer_is_broken(body: bytes) -> None:
    decoders = [DIALECT.decode_version]
    if b'version":"' not in body:
        decoders += [DIALECT.decode_models, DIALECT.decode_loaded, DIALECT.decode_facts]  # type: ignore[list-item] # all take bytes
    for decode in decoders:
        with pytest.raises(UpstreamError) as caught:
            decode(body)
        assert Kind.BROKEN is caught.value.kind


def test_a_deep_answer_is_broken() -> None:
    with pytest.raises(UpstreamError, match="is not that of its API"):
        DIALECT.decode_models(b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 2.0), ("-1", 2.0), ("nan", 2.0), ("inf", 2.0), ("", 2.0)],
)
def test_a_wait_is_a_finite_number_of_seconds(value: str, seconds: float) -> None:
    assert seconds == failed(503, b"", {"retry-after": value}).retry_after
    dated = {"retry-after": "Sat, 21 Nov 2026 08:12:57 GMT"}
    assert failed(429, b"", dated).retry_after is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"a"}', "a"),
        (b'{"error":{"message":"a"}}', "a"),
        (b'{"error":{"error":{"message":"a"}}}', "a"),
        (b'{"error":"{\\"error\\":{\\"message\\":\\"a\\"}}"}', "a"),
        (b'{"error":"{\\"error\\":\\"{\\\\\\"message\\\\\\":\\\\\\"a\\\\\\"}\\"}"}', "a"),
        (b'{"error":"{a"}', "{a"),
        (b'{"message":"a"}', "a"),
        (b'{"error":null,"message":"a"}', "a"),
        (b'{"error":5}', '{"error":5}'),
        (b'"a"', "a"),
        (b"a\xff", "a\ufffd"),
        (b"[" * 100_000, "[" * 200),
        (b"<html>", "Ollama answered 500 without saying why"),
        (b'{"error":"registry.ollama.ai/library/x:latest is sad"}', "x:latest is sad"),
    ],
)
def test_the_words_of_an_error_are_found_however_they_are_wrapped(
    body: bytes, message: str
) -> None:
    assert message == failed(500, body).message
