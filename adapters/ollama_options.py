"""What becomes Ollama's `options`, `think` and `keep_alive`: whose word counts for what.

The operator's options are defaults; the request's sampling fields win over them. Options
that would reload the model (`num_ctx` first of all) are the operator's alone: a request
that names them is served, and told in a warning.
Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.md#valid-parameters-and-values
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from adapters.dialect import Target
from adapters.errors import InvalidRequest
from adapters.wire import ChatRequest, CompletionRequest

_MAX_SINCE: Final = (0, 24)
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


class Extras(Struct, frozen=True):
    """Ollama's own fields in an OpenAI request (`extra_body`)."""

    options: dict[str, object] | None = None
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


class Options(Struct, frozen=True):
    """The merged options, and what was left out of them."""

    values: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def native_options(
    request: ChatRequest | CompletionRequest, limit: int | None, extras: Extras, target: Target
) -> Options:
    """`options` for one call, and a warning for each that was not the caller's to set."""
    asked = dict(extras.options or {})
    asked |= _set(
        top_k=extras.top_k,
        min_p=extras.min_p,
        repeat_penalty=extras.repeat_penalty or extras.repetition_penalty,
        num_ctx=extras.num_ctx,
        shift=extras.shift,
    )
    ignored = sorted(asked.keys() - SAMPLING)
    values = dict(target.options)
    values |= {name: value for name, value in asked.items() if name in SAMPLING}
    values |= _sampling(request)
    if limit is not None:
        values["num_predict"] = limit
    return Options(values, tuple(f"option {name} is the operator's: ignored" for name in ignored))


def _sampling(request: ChatRequest | CompletionRequest) -> dict[str, object]:
    stop = request.stop
    values = _set(
        temperature=request.temperature,
        top_p=request.top_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        seed=None if request.seed is None else request.seed & _LARGEST_SEED,
        stop=[stop] if isinstance(stop, str) else stop,
    )
    if not values.get("stop") or values["stop"] == [""]:
        values.pop("stop", None)
    if request.frequency_penalty or request.presence_penalty:
        values["repeat_last_n"] = -1  # OpenAI's penalties look at the whole text, not 64 tokens
    return values


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


def _set(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
