"""What environment variables mean: one table, variable -> key of the file.

FACADE_* beat the file. The others make upstreams where there is no file, and never a chain
from one upstream to another: that takes FACADE_FALLBACK. A text that cannot be read as what
its key wants stays a text, so the one place that checks values also checks these.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, cast

import msgspec

from adapters.providers import PROVIDERS
from facade.documents import Key

_MODELS: Final = ("models",)


class Row(NamedTuple):
    """The first variable sets `key`; further ones are "" where they are not set."""

    variables: tuple[str, ...]
    key: Key
    read: Callable[..., object]


class Given(NamedTuple):
    """A document as a file would give it, and the variable that each of its keys came from."""

    document: dict[str, Mapping[str, object]]
    sources: dict[Key, str]


def given(environ: Mapping[str, str]) -> Given:
    """What the environment says. An empty variable is one that is not set."""
    found: dict[Key, object] = {}
    sources: dict[Key, str] = {}
    for row in ROWS:
        values = [environ.get(variable, "").strip() for variable in row.variables]
        if row.key in found or not values[0] or _is_service_link(values[0]):
            continue
        found[row.key] = row.read(*values)
        sources[row.key] = row.variables[0]
    models = cast(dict[str, object], found.pop(_MODELS, {}))
    sources |= {(*_MODELS, alias): sources[_MODELS] for alias in models}
    sources.pop(_MODELS, None)  # a file may have further aliases
    server = {key[1]: value for key, value in found.items() if key[0] == "server"}
    keys = {key[1]: {key[2]: value} for key, value in found.items() if key[0] == "keys"}
    upstreams: dict[str, object] = {}
    for name in dict.fromkeys(row.key[1] for row in ROWS if row.key[0] == "upstreams"):
        own = {key[2]: value for key, value in found.items() if key[:2] == ("upstreams", name)}
        table = _table(name, own)
        if table:
            upstreams[name] = table
    document: dict[str, Mapping[str, object]]
    document = {"server": server, "upstreams": upstreams, "models": models, "keys": keys}
    return Given(document, sources)


def _table(name: str, own: dict[str, object]) -> dict[str, object] | None:
    """The upstream that these keys make; None where they make none."""
    row = PROVIDERS.get(name)
    if row is None:
        return {"dialect": name, **own} if "base_url" in own else None
    if row.base_url and "base_url" in own:  # another server, which only has the same API
        return {"dialect": row.dialect, **own}
    known = "api_key" in own and (row.base_url or "base_url" in own)
    return {"vendor": name, **own} if known else None


def _is_service_link(value: str) -> bool:
    # Kubernetes sets FACADE_PORT=tcp://... in every pod beside a service named "facade".
    return value.startswith("tcp://")


def _whole_number(text: str) -> object:
    return int(text) if text.isdecimal() else text


def _flag(text: str) -> object:
    return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _chains(text: str) -> dict[str, object]:
    """`ALIAS=UPSTREAM/MODEL,UPSTREAM/MODEL`, and further ones after a `;`."""
    said = [part.partition("=") for part in text.split(";") if part.strip()]
    return {alias.strip(): {"targets": _names(targets)} for alias, _, targets in said}


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _ollama_url(text: str) -> str:
    """An address in any form that Ollama's own OLLAMA_HOST takes, as a URL.

    A bare host means port 11434, a URL the port of its scheme; "every interface" is where a
    server listens, so a client goes to loopback. `/v1` is OpenAI's path, often pasted along.
    Source: https://github.com/ollama/ollama/blob/main/envconfig/config.go
    """
    scheme, found, rest = text.strip("\"' ").rpartition("://")
    place, _, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or _is_ip(place):
        host, port = place, ("" if found else "11434")
    host = host.strip("[]")
    if host in {"", "0.0.0.0", "::"}:
        host = "127.0.0.1"
    path = f"/{path}".rstrip("/").removesuffix("/v1")
    return f"{scheme or 'http'}://{_bracketed(host)}{port and f':{port}'}{path}"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _service_url(host: str, port: str) -> str:
    return _ollama_url(f"{_bracketed(host)}:{port}" if port else host)


def _reference(variable: str) -> Callable[[str], str]:
    return lambda _: f"env:{variable}"  # so that a key is never read as a reference


def _of_vendors() -> Iterator[Row]:
    """What the rows of the vendors name. A variable that two of them name is the first's."""
    taken: set[str] = set()
    for name, row in PROVIDERS.items():
        if row.base_url_variable:
            yield Row((row.base_url_variable,), ("upstreams", name, "base_url"), str)
        for variable in row.key_variables:
            if variable not in taken:
                yield Row((variable,), ("upstreams", name, "api_key"), _reference(variable))
        taken.update(row.key_variables)


# Where two rows set one key, the first wins.
ROWS: Final = (
    Row(("FACADE_HOST",), ("server", "host"), str),
    Row(("FACADE_PORT",), ("server", "port"), _whole_number),
    Row(("FACADE_ALLOW_ANONYMOUS",), ("server", "allow_anonymous"), _flag),
    Row(("FACADE_ALLOWED_HOSTS",), ("server", "allowed_hosts"), _names),
    Row(("FACADE_PEPPER",), ("server", "pepper"), _reference("FACADE_PEPPER")),
    Row(("FACADE_API_KEY",), ("keys", "environment", "secret"), _reference("FACADE_API_KEY")),
    Row(("FACADE_FALLBACK",), _MODELS, _chains),
    Row(("OLLAMA_BASE_URL",), ("upstreams", "ollama", "base_url"), _ollama_url),
    Row(("OLLAMA_HOST",), ("upstreams", "ollama", "base_url"), _ollama_url),
    Row(
        ("LLM_SERVICE_HOST_IP", "LLM_SERVICE_PORT"),
        ("upstreams", "ollama", "base_url"),
        _service_url,
    ),
    Row(("OLLAMA_DEFAULT_OPTIONS",), ("upstreams", "ollama", "options"), _json),
    *_of_vendors(),
)
