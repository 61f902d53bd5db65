"""What becomes Ollama's `options`, `think` and `keep_alive`: whose word counts for what.

The operator's options are defaults; the request's sampling fields win over them. Options
that would reload the model (`num_ctx` first of all) are the operator's alone: a request
that names them is served, and told in a warning.
Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.md#valid-parameters-and-values
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from adapters.dialect import Target
from adapters.errors import InvalidRequest
from adapters.patching import Inside, patched
from adapters.wire import ChatRequest, CompletionRequest

_MAX_SINCE: Final = (0, 24)
_WHOLE_TEXT: Final = 131_072  # tokens; -1 ("the window") switches penalties off in 0.24
_LARGEST_SEED: Final = 0x7FFFFFFF  # a negative seed means "random" to Ollama

SAMPLING: Final = frozenset(
    (
        "frequency_penalty",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_keep",
        "num_predict",
        "penalize_newline",
        "presence_penalty",
        "repeat_last_n",
        "repeat_penalty",
        "seed",
        "stop",
        "temperature",
        "tfs_z",
        "top_k",
        "top_p",
        "typical_p",
    )
)
EFFORTS: Final[dict[str, bool | str]] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}

_Scalar = bool | int | float | str | None


class Extras(Struct, frozen=True):
    """Ollama's own fields in an OpenAI request (`extra_body`)."""

    options: dict[str, _Scalar | list[_Scalar]] | None = None
    keep_alive: str | int | float | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    raw: bool | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    num_ctx: int | None = None
    shift: bool | None = None


_NOTHING: Final = Extras()


class _Thinks(Struct, frozen=True):
    think: bool | str | None = None


_extras = msgspec.json.Decoder(Extras)
_thinks = msgspec.json.Decoder(_Thinks)


def extras(body: bytes) -> Extras:
    """The fields beyond OpenAI's. Raises InvalidRequest, naming the one of a wrong type."""
    try:
        return _extras.decode(body)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$.")
        param = path.rstrip("`")
        said = f"'{param}': {sentence[:1].lower()}{sentence[1:]}"
        raise InvalidRequest(said, param, "invalid_type") from None


class Options(Struct, frozen=True):
    """The merged options, and what was left out of them."""

    values: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def merged(asked: dict[str, object], extras: Extras, target: Target) -> Options:
    """`options` for one call, and a warning for each that was not the caller's to set.

    `asked` are the request's own sampling fields: they win over everything.
    """
    values = dict(target.options)
    if asked.get("frequency_penalty") or asked.get("presence_penalty"):
        values.setdefault("repeat_last_n", _WHOLE_TEXT)  # OpenAI's look further than 64 tokens
    if extras == _NOTHING:
        return Options(values | asked)
    native = set_only(**(extras.options or {})) | set_only(
        top_k=extras.top_k,
        min_p=extras.min_p,
        repeat_penalty=extras.repeat_penalty or extras.repetition_penalty,
        num_ctx=extras.num_ctx,
        shift=extras.shift,
    )
    values |= {name: native[name] for name in native if name in SAMPLING}
    ignored = [name for name in native if name not in SAMPLING]
    return Options(
        values | asked, tuple(f"option {name} is the operator's: ignored" for name in ignored)
    )


def sampling(request: ChatRequest | CompletionRequest, limit: int | None) -> dict[str, object]:
    """The request's sampling fields under Ollama's names; `limit` is its most tokens."""
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return set_only(
        num_predict=limit,
        temperature=request.temperature,
        top_p=request.top_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        seed=None if request.seed is None else request.seed & _LARGEST_SEED,
        stop=[text for text in stop if text] or None,  # an empty one would stop at once
    )


def think(
    request: ChatRequest, extras: Extras, target: Target, *, quiet: bool
) -> bool | str | None:
    """`think` for a reasoning effort; None leaves the model its own default.

    `quiet`: do not think unless asked (a constrained answer after thinking is generated twice).
    """
    if extras.think is not None:
        return extras.think
    effort = request.reasoning_effort
    if effort is None:
        return False if quiet else None
    if effort not in EFFORTS:
        raise InvalidRequest(
            f"'{effort}' is not a reasoning effort: use one of {', '.join(EFFORTS)}",
            "reasoning_effort",
            "invalid_value",
        )
    level = EFFORTS[effort]
    capabilities = target.facts.capabilities
    if level is False and capabilities is not None and "thinking" not in capabilities:
        return None
    older = target.version is not None and target.version < _MAX_SINCE
    return "high" if level == "max" and older else level


def without_level(body: bytes) -> bytes | None:
    """A request that names a thinking level, with thinking merely on; None if it names none."""
    level = _thinks.decode(body).think
    if not isinstance(level, str) or level not in EFFORTS.values():
        return None  # a word of the caller's own is not worth another try: no version knows it
    return patched(body, Inside(think=True))


def set_only(**values: object) -> dict[str, object]:
    """The fields that are not None."""
    return {name: value for name, value in values.items() if value is not None}
