"""The settings: what the file may say, and what is checked before anything is served.

The Structs are the whole grammar: a key that is not here is an error. `load` lays the command
line over the environment over the file; without a file the environment makes the upstreams.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct, field
from msgspec.structs import asdict, replace

from adapters.registry import DIALECTS, spoken
from facade import environment
from facade.deadlines import Timeouts
from facade.documents import Fault, Key, Reader, Secret, parse, spelled
from facade.keys import KeySettings, check_keys
from facade.limits.settings import MEMORY, StoreSettings, check_limits, check_store
from facade.listening import DAY, Count, ServerSettings, checked_server, is_loopback
from facade.vendors import filled


class UpstreamModelSettings(Struct, frozen=True, kw_only=True):
    """`[upstreams.NAME.models."m"]`: options that go with one model of an upstream."""

    options: dict[str, object] = field(default_factory=dict)


class UpstreamSettings(Struct, frozen=True, kw_only=True):
    """`[upstreams.NAME]`: where models are, and how they are reached.

    `local` says that what is sent stays with the operator (default: loopback addresses only).
    `client_cert` is one PEM file with certificate and key; relative files are beside the
    configuration. `base_url` is loaded without a slash at the end of its path; its query goes
    with every request. A vendor's row gives `dialect`, `base_url` and `api_key`. `slots` are the
    calls at a time, `embedding_slots` those of embeddings; of each, `queue` calls may wait.
    """

    vendor: str | None = None
    dialect: str
    base_url: str
    api_key: Secret | None = None
    local: bool | None = None  # once loaded, True or False
    keep_alive: str | int | None = None
    options: dict[str, object] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    proxy: Secret | None = None  # its URL may hold a password
    ca_file: Path | None = None
    client_cert: Path | None = None
    connections: Count = 100
    slots: Count | None = None  # once loaded, None is no limit
    embedding_slots: Count | None = None
    queue: Annotated[int, Meta(ge=0)] = 100
    models: dict[str, UpstreamModelSettings] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """`base_url` without its query, which may hold a secret."""
        return self.base_url.partition("?")[0]


Equals = Annotated[tuple[str, ...], Meta(min_length=1)]


class ModelSettings(Struct, frozen=True, kw_only=True):
    """`[models.ALIAS]`: a name that clients ask for. Targets are "upstream/model".

    Those in a list of their own are equals. One `*` in the alias matches any text; a target may
    repeat it by a `*` of its own. `retries` are extra attempts over the whole chain. `commit`:
    what must be there before a stream begins. `busy`, `cold`: whether a target without a free
    slot, or whose model is not in memory, is waited for, or the next one asked first.
    """

    targets: Annotated[tuple[str | Equals, ...], Meta(min_length=1)]
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    commit: Literal["first-token", "complete"] = "first-token"
    busy: Literal["wait", "next"] = "wait"
    cold: Literal["wait", "next"] = "wait"
    limits: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The targets, each in a group; most are alone in theirs."""
        return tuple((it,) if isinstance(it, str) else it for it in self.targets)


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that is configured. Upstreams are in the order of the file."""

    server: ServerSettings = ServerSettings()
    upstreams: dict[str, UpstreamSettings] = field(default_factory=dict)
    models: dict[str, ModelSettings] = field(default_factory=dict)
    keys: dict[str, KeySettings] = field(default_factory=dict)
    store: StoreSettings = StoreSettings()


# fmt: off
NOT_BUILT: Final = frozenset({
    "native_options",
    "report_model",
    "jobs",
})
# fmt: on


class ConfigError(Exception):
    """One sentence for the operator: the file or variable, what is wrong, and at which key."""


def load(
    environ: Mapping[str, str],
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """The settings. `flags` are keys of `[server]` from the command line. Raises ConfigError.

    Without a file there may be no upstream in them: then nothing is configured at all.
    """
    said, sources = environment.given(environ)
    flags = flags or {}
    if file:  # in which the upstreams are
        sources = {key: source for key, source in sources.items() if key[0] != "upstreams"}
    sources = sources | {("server", name): f"--{name}" for name in flags}
    try:
        document = _laid_over(parse(file) if file else said, said, flags)
        if isinstance(document, dict) and isinstance(document.get("upstreams", {}), dict):
            upstreams = filled(document.get("upstreams", {}), environ, sources)
            document = document | {"upstreams": upstreams}
        folder = file.parent if file else Path()
        settings = Reader(environ, folder, NOT_BUILT).table(document, Settings)
        if file and not settings.upstreams:
            raise Fault("no upstream is configured; add a table [upstreams.NAME]")
        return _checked(settings)
    except Fault as fault:
        raise ConfigError(_sentence(fault, str(file or "environment"), sources)) from None


def pepper(environ: Mapping[str, str], file: Path | None) -> Secret | None:
    """The pepper alone: the file may still lack the keys without which it is not valid."""
    said, sources = environment.given(environ)
    try:
        document = _laid_over(parse(file) if file else {}, said, {})
        server = document.get("server") if isinstance(document, dict) else None
        known = server.get("pepper") if isinstance(server, dict) else None
        only = {} if known is None else {"pepper": known}
        folder = file.parent if file else Path()
        return Reader(environ, folder, NOT_BUILT).table(only, ServerSettings, ("server",)).pepper
    except Fault as fault:
        raise ConfigError(_sentence(fault, str(file or "environment"), sources)) from None


def _laid_over(
    document: object, said: Mapping[str, Mapping[str, object]], flags: Mapping[str, object]
) -> object:
    """The document with what the environment and then the command line say, table by table."""
    if not isinstance(document, dict):
        return document
    said = {**said, "server": {**said["server"], **flags}}
    for name in ("server", "models", "keys"):
        if isinstance(document.get(name, {}), dict):
            document = document | {name: document.get(name, {}) | said[name]}
    return document


def _sentence(fault: Fault, origin: str, sources: Mapping[Key, str]) -> str:
    for length in range(len(fault.key), 0, -1):
        if source := sources.get(fault.key[:length]):
            return f"{source}: {fault.problem}"
    place = f"{spelled(fault.key)}: " if fault.key else ""
    return f"{origin}: {place}{fault.problem}"


def _checked(settings: Settings) -> Settings:
    """The settings with what follows from others filled in. Raises Fault for what cannot be."""
    server = checked_server(settings.server, keyed=bool(settings.keys))
    check_keys(settings.keys, server.pepper)
    check_store(settings.store)
    if server.workers > 1 and settings.store.url == MEMORY:
        raise Fault(
            "several processes need a store that they share: see store.url, or take 1",
            ("server", "workers"),
        )
    upstreams = {name: _upstream(settings, name) for name in settings.upstreams}
    for alias, model in settings.models.items():
        _check_alias(alias, model, upstreams)
        check_limits(model.limits, ("models", alias, "limits"))
    return replace(settings, server=server, upstreams=upstreams)


def _upstream(settings: Settings, name: str) -> UpstreamSettings:
    upstream, key = settings.upstreams[name], ("upstreams", name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise Fault("the name of an upstream has only letters, digits, '.', '_' and '-'", key)
    if upstream.dialect not in DIALECTS:
        known = " or ".join(repr(dialect) for dialect in DIALECTS)
        raise Fault(f"expected {known}", (*key, "dialect"))
    url = _url(upstream.base_url, (*key, "base_url"))
    if url.username is not None or url.fragment:
        raise Fault(
            "the URL may hold no user, password or fragment; a key goes into api_key",
            (*key, "base_url"),
        )
    if _is_served_by(settings.server, url):
        raise Fault("the URL is the facade's own address; only clients use it", (*key, "base_url"))
    for clock, limit in asdict(upstream.timeouts).items():
        if not 0 < limit <= DAY:
            raise Fault(
                f"expected seconds, more than 0 and at most {DAY}", (*key, "timeouts", clock)
            )
    check_limits(upstream.limits, (*key, "limits"))
    if upstream.proxy:
        _url(upstream.proxy, (*key, "proxy"))
    local = upstream.local
    if local is None:  # a proxy's loopback is its own
        local = is_loopback(url.hostname or "") and not upstream.proxy
    base_url = url._replace(path=url.path.rstrip("/")).geturl()
    slots = upstream.slots or spoken(upstream.dialect, upstream.vendor).slots
    return replace(
        upstream,
        base_url=base_url,
        local=local,
        slots=slots,
        embedding_slots=upstream.embedding_slots or slots,
    )


def _url(text: str, key: Key) -> SplitResult:
    # The sentences do not quote the URL: it may hold a password.
    try:
        url = urlsplit(text)
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", text):
        raise Fault("expected a URL like http://host:port", key)
    return url


def _is_served_by(server: ServerSettings, url: SplitResult) -> bool:
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    host = url.hostname or ""
    everywhere = {"0.0.0.0", "::"}
    here = all(is_loopback(name) or name in everywhere for name in (host, server.host))
    return port == server.port and (here or host == server.host)


def _check_alias(alias: str, model: ModelSettings, upstreams: Mapping[str, object]) -> None:
    key = ("models", alias)
    if not alias.isprintable() or alias != alias.strip() or not alias:
        raise Fault("the name of a model has no blanks around it and is not empty", key)
    stars = alias.count("*")
    if stars > 1:
        raise Fault("the name of a model holds at most one '*'", key)
    places = [
        (target, (f"[{at}]",) if isinstance(said, str) else (f"[{at}]", f"[{inside}]"))
        for at, said in enumerate(model.targets)
        for inside, target in enumerate((said,) if isinstance(said, str) else said)
    ]
    for target, place in places:
        upstream, _, name = target.partition("/")
        problem = ""
        if not name:
            problem = f"{target!r} is not of the form upstream/model"
        elif upstream not in upstreams:
            problem = f"no upstream is called {upstream!r}"
        elif name.count("*") > stars:
            problem = f"{target!r} holds a '*' that the name of the model does not have"
        if problem:
            raise Fault(problem, (*key, "targets", *place))
