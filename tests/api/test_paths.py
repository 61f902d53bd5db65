"""Every path and every method: what is there, what is not, and what is said of it."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from typing import Final

import msgspec
import pytest
from openai import AsyncOpenAI, NotFoundError

from adapters.wire import ChatRequest, CompletionRequest, EmbeddingRequest
from tests.api.asking import Json, answer_of, ask, chat, request, sent_raw
from tests.api.serving import Facade

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
LOOKS: Final = ("GET", "HEAD")
PATHS: Final = {
    "/": LOOKS,
    "/livez": LOOKS,
    "/readyz": LOOKS,
    "/docs": LOOKS,
    "/openapi.json": LOOKS,
    "/v1/models": ("GET",),
    "/v1/models/llama3.1": ("GET",),
    "/v1/chat/completions": ("POST",),
    "/v1/completions": ("POST",),
    "/v1/embeddings": ("POST",),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("path", "allowed"), PATHS.items())
async def test_a_path_answers_its_methods_and_405_to_all_others(
    path: str, allowed: tuple[str, ...], method: str, facade: Facade
) -> None:
    answer = await ask(facade, method, path)
    assert answer.headers["x-request-id"].startswith("req_")
    if method in allowed:
        assert answer.status == (400 if method == "POST" else 200)
        return
    assert (405, ", ".join(allowed)) == (answer.status, answer.headers["allow"])
    if method != "HEAD":
        assert "method_not_allowed" == answer.error["code"]
        assert f"{path} takes {' and '.join(allowed)}, not {method}" == answer.error["message"]


@pytest.mark.parametrize("method", [*METHODS, "QUERY", "PROPFIND"])
@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/", "/v1/chat", "/api/chat", "/V1/models"])
async def test_a_path_that_is_not_there_is_404_with_any_method(
    path: str, method: str, facade: Facade
) -> None:
    answer = await ask(facade, method, path)
    assert 404 == answer.status
    assert "application/json" == answer.headers["content-type"]
    if method != "HEAD":
        assert ("invalid_request_error", None, "unknown_url") == (
            answer.error["type"],
            answer.error["param"],
            answer.error["code"],
        )


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/chat/completions", "the base_url of this API is http://localhost:99/v1"),
        ("/completions", "the base_url of this API is http://localhost:99/v1"),
        ("/embeddings", "the base_url of this API is http://localhost:99/v1"),
        ("/models", "the base_url of this API is http://localhost:99/v1"),
        ("/models/llama3.1", "the base_url of this API is http://localhost:99/v1"),
        ("/v1/responses", "use POST /v1/chat/completions"),
        ("/v1/responses/resp_1", "use POST /v1/chat/completions"),
        ("/v1/messages?beta=true", "use POST /v1/chat/completions"),
        ("/v1/v1/chat/completions", "GET /docs lists what there is"),
    ],
)
async def test_a_path_that_is_nearly_right_is_told_the_right_one(
    path: str, hint: str, facade: Facade
) -> None:
    answer = await ask(facade, "POST", path, chat("llama3.1"), host="localhost:99")
    plain = path.partition("?")[0]
    assert 404 == answer.status
    assert f"there is no {plain} here: {hint}" == answer.error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models?limit=1",
        "/v1/models/",
        "//v1/models",
        "/v1//models",
        "http://localhost/v1/models",
    ],
)
async def test_a_path_may_be_written_in_several_ways(path: str, facade: Facade) -> None:
    answer = await ask(facade, "GET", path)
    assert (200, "list") == (answer.status, answer.json["object"])


@pytest.mark.parametrize("path", ["/%", "/%ZZ", "/%FF", "/%00", "/..%2f..", "/v1/models/..", "*"])
async def test_a_path_that_is_no_text_is_404(path: str, facade: Facade) -> None:
    answer = await ask(facade, "GET", path)
    assert 404 == answer.status
    assert answer.error["message"]


async def test_the_sdk_without_v1_is_told_the_right_base_url(facade: Facade) -> None:
    async with AsyncOpenAI(base_url=facade.url, api_key="none", max_retries=0) as sdk:
        with pytest.raises(NotFoundError) as caught:
            await sdk.chat.completions.create(model="m", messages=[])
    assert f"http://127.0.0.1:{facade.port}/v1" in caught.value.message
    assert "unknown_url" == caught.value.code


async def test_the_front_page_says_what_runs_and_where_more_is_said(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/")
    assert {
        "message": "facade is running: an OpenAI API at /v1",
        "version": version("facade"),
        "docs": "/docs",
    } == answer.json
    assert "application/json" == answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/docs", "/openapi.json"])
async def test_head_says_the_headers_of_get_and_sends_no_body(path: str, facade: Facade) -> None:
    got = await ask(facade, "GET", path)
    async with sent_raw(facade, request("HEAD", path) + request("GET", path)) as conversation:
        first = await answer_of(conversation, bodiless=True)
        second = await answer_of(conversation)  # reads wrong where HEAD had a body
    headers = ("content-type", "content-length")
    assert [got.headers[name] for name in headers] == [first.headers[name] for name in headers]
    assert got.body == second.body


async def test_the_probes_answer_200(facade: Facade) -> None:
    assert {"status": "live"} == (await ask(facade, "GET", "/livez")).json
    ready = (await ask(facade, "GET", "/readyz")).json
    assert {"status": "ready", "upstreams": {"ollama": "up", "openai": "up"}} == ready


# -- documentation -------------------------------------------------------------------------


async def test_the_page_loads_nothing_from_anywhere(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/docs")
    page = answer.body.decode()
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert [] == re.findall(r"https?:|src=|@import|<script|<link|<iframe|url\(", page)
    assert ["/openapi.json"] == re.findall(r"href=([^\s>]+)", page)


async def test_the_page_lists_every_path_and_every_request_field(facade: Facade) -> None:
    page = (await ask(facade, "GET", "/docs")).body.decode()
    for path in PATHS.keys() - {"/docs", "/v1/models/llama3.1"}:
        assert f" {path}</code>" in page
    for struct in (ChatRequest, CompletionRequest, EmbeddingRequest):
        for field in msgspec.structs.fields(struct):
            assert f"<code>{field.encode_name}</code>" in page


async def test_the_openapi_document_is_made_from_the_structs(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/openapi.json")
    document = answer.json
    assert "application/json" == answer.headers["content-type"]
    assert ("3.1.0", version("facade")) == (document["openapi"], document["info"]["version"])
    schemas = document["components"]["schemas"]
    for struct in (ChatRequest, CompletionRequest, EmbeddingRequest):
        said = schemas[struct.__name__]
        fields = msgspec.structs.fields(struct)
        assert {field.encode_name for field in fields} == said["properties"].keys()
        assert {field.encode_name for field in fields if field.required} == set(said["required"])
    bodies = {
        path: operation["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for path, operation in document["paths"].items()
        if "post" in operation
    }
    assert {
        "/v1/chat/completions": "#/components/schemas/ChatRequest",
        "/v1/completions": "#/components/schemas/CompletionRequest",
        "/v1/embeddings": "#/components/schemas/EmbeddingRequest",
    } == bodies


async def test_the_openapi_document_is_valid(facade: Facade) -> None:
    """Every reference has its schema, every operation its responses, every path its parameters."""
    document = (await ask(facade, "GET", "/openapi.json")).json
    schemas = document["components"]["schemas"]
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= schemas.keys()
    for path, operations in document["paths"].items():
        assert path.startswith("/")
        for method, operation in operations.items():
            assert method in {"get", "post"}
            assert {"200", "default"} == operation["responses"].keys()
            assert all("description" in said for said in operation["responses"].values())
            named = {each["name"] for each in operation.get("parameters", ())}
            assert set(re.findall(r"{(\w+)}", path)) == named
            await _is_there(facade, path, method)


async def _is_there(facade: Facade, path: str, method: str) -> None:
    answer = await ask(facade, method.upper(), path.replace("{id}", "llama3.1"))
    expected = 400 if method == "post" else 403 if path.startswith("/api/admin/") else 200
    assert expected == answer.status


async def test_an_answer_of_any_kind_has_an_id_of_its_own(facade: Facade) -> None:
    body: Json = chat("nope")
    answers = [
        await ask(facade, "GET", "/"),
        await ask(facade, "GET", "/nope"),
        await ask(facade, "POST", "/v1/chat/completions", body),
        await ask(facade, "POST", "/v1/chat/completions", b"{"),
        await ask(facade, "GET", "/livez", host="elsewhere"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", each) for each in ids)
