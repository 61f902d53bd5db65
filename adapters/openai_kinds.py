"""What an error of an OpenAI-shaped upstream means: status first, codes next, prose last.

Every vendor has codes of its own for the same few things, and some have none: then their
sentences are known. A short quotation in a sentence is a name (a tool may be called anything)
and is not read. Prose counts only for statuses at which nothing of the prompt is quoted.
Source: https://platform.openai.com/docs/guides/error-codes, and each vendor's list of errors
"""

from __future__ import annotations

import re
from typing import Final

from adapters.errors import Kind

_KINDS: Final = {
    401: Kind.CREDENTIAL,
    402: Kind.PAYMENT,
    403: Kind.CREDENTIAL,
    408: Kind.TIMEOUT,
    424: Kind.GATEWAY,
    429: Kind.RATE_LIMITED,
    498: Kind.OVERLOADED,
    502: Kind.GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
_STATUSES: Final = {  # by type or code, where there is no status, as inside a 200
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}
_CODES: Final = {  # values of `code`, or of `type`, in lower case, that say more than a status
    **dict.fromkeys(
        (
            "context_length_exceeded",
            "context_window_exceeded",
            "exceed_context_size_error",
            "model_max_prompt_tokens_exceeded",
            "tokens_limit_reached",
            "too_many_prompt_tokens",
            "too_many_tokens",
        ),
        Kind.CONTEXT_LENGTH,
    ),
    **dict.fromkeys(
        (
            "arrearage",
            "billing_hard_limit_reached",
            "billing_not_active",
            "exceeded_current_quota_error",
            "insufficient_balance",
            "insufficient_credits",
            "insufficient_quota",
        ),
        Kind.PAYMENT,
    ),
    **dict.fromkeys(
        (
            "deploymentnotfound",
            "invalid_model",
            "model_decommissioned",
            "model_not_available",
            "model_not_found",
            "model_not_supported",
        ),
        Kind.MODEL_NOT_FOUND,
    ),
    **dict.fromkeys(
        ("api_key_invalid", "invalid_api_key", "invalid_authentication_error"), Kind.CREDENTIAL
    ),
    **dict.fromkeys(
        (
            "3505",
            "capacity_exceeded",
            "engine_overloaded_error",
            "overloaded_error",
            "service_tier_capacity_exceeded",
        ),
        Kind.OVERLOADED,
    ),
    **dict.fromkeys(("rate_limit_error", "rate_limit_exceeded"), Kind.RATE_LIMITED),
}
_REFINED: Final = (Kind.REJECTED, Kind.RATE_LIMITED, Kind.FAILED)


def _any(*sentences: str) -> re.Pattern[str]:
    return re.compile("|".join(sentences), re.IGNORECASE | re.DOTALL)


_NAME: Final = re.compile(r"(?<!\w)(['\"`])[^'\"`]{0,60}\1(?!\w)")
_TOO_LONG: Final = _any(
    r"\b(maximum|max) (context|prompt|model|sequence|input)( window)? (length|size)",
    r"\b(exceed\w*|(long|great|larg)er than) (\S+ ){0,4}context (length|size|window)",
    r"\bexceed\w* (the )?(\S+ ){0,2}token limit",
    r"\btoken count .{0,40}exceeds the maximum",
    r"\b(prompt|input) is too long\b",
    r"\bprompt exceeds max length",
    r"\blength of all messages is too long",
    r"\binput length .{0,40}exceeds",
    r"\brange of input length should be",
    r"\btoo many tokens\b",
    r"\btokens \+ \S+ must be <=",
    r"\bmust have less than [0-9]+ tokens",
    r"\breduce the length of the (messages|prompt|input)",
    r"\bcontextwindowexceeded",
)
_NO_MODEL: Final = _any(
    r"\bmodel\b.{0,200}\b(not found|not exist|not deployed|decommissioned)",
    r"\bno endpoints found for\b",
)
_NO_SUCH_MODEL: Final = _any(  # where anything may be wrong: only what begins like this
    r"\W*(the )?(requested )?model\b.{0,120}\b(not found|not exist)",
    r"\W*(unknown|invalid) model\b",
    r".{0,120} is not a valid model\b",
)
_NO_KEY: Final = _any(
    r"\W*(incorrect|invalid|wrong|missing|unknown) api[ _-]?key",
    r"\W*(your |the |provided )*api[ _-]?key (is )?(not valid|not found|invalid|incorrect|expired)",
)
_NO_MONEY: Final = _any(
    r"\binsufficient[ _](quota|balance|credits?|funds)",
    r"\bexceeded your current quota(?!.*\bretry)",  # Google says so of any limit
    r"\b(out of|not enough|used all|no( more| remaining)?|requires more) (\w+ ){0,2}credits",
    r"\bspending (limit|cap)",
    r"\bcredit balance is too low",
)
_AT_ONCE: Final = _any(r"\brequest too large\b")  # one request is more than a minute may have
_PER_MINUTE: Final = _any(r"\bper[ _-]?min|\b[TR]PM\b")
_PER_DAY: Final = _any(  # a price is per month too, but has a number before it
    r"[a-z][ _-]?per[ _-]?(day|month)",
    r"\b(limit|calls|requests|tokens|messages):? ([0-9]+ )?/ ?(day|month)\b",
    r"\b(daily|monthly) (\w+ )?(limit|quota|cap|usage)\b",
    r"\b[RT]PD\b",
)
_UNWANTED: Final = _any(r"\bcontent (violates|policy)|\busage guidelines|\bmoderation|\bflagged\b")


def status_of(words: tuple[str | None, ...]) -> int | None:
    """The status that an error without one would have had, by its code and its type."""
    return next((_STATUSES[word] for word in words if word in _STATUSES), None)


def kind_of(
    status: int | None, words: tuple[str | None, ...], param: str | None, text: str
) -> Kind:
    """`words`: its code and its type; `text`: its sentence."""
    kind = _by_status(status)
    if kind in _REFINED or status == 403:
        coded = (_CODES[word.lower()] for word in words if word and word.lower() in _CODES)
        kind = next(coded, kind)
    text = _NAME.sub("_", text)
    if kind in {Kind.REJECTED, Kind.FAILED}:
        return _at_fault(status, param, text) or kind
    if kind is Kind.RATE_LIMITED:
        return _limited(status, text)
    if status == 403 and kind is Kind.CREDENTIAL:
        return _forbidden(text)
    return kind


def lasting(kind: Kind, text: str) -> bool:
    """Whether the limit is of so long a time that trying again is no use."""
    return kind is Kind.RATE_LIMITED and bool(_PER_DAY.search(text))


def _by_status(status: int | None) -> Kind:
    if status is None:
        return Kind.FAILED
    return _KINDS.get(status, Kind.REJECTED if status < 500 else Kind.FAILED)


def _at_fault(status: int | None, param: str | None, text: str) -> Kind | None:
    if status == 404 and (param == "model" or _NO_MODEL.search(text)):
        return Kind.MODEL_NOT_FOUND
    if _TOO_LONG.search(text):
        return Kind.CONTEXT_LENGTH
    if status == 413 and _PER_MINUTE.search(text):
        return Kind.TOO_LARGE
    if status == 400 and _NO_SUCH_MODEL.match(text):
        return Kind.MODEL_NOT_FOUND
    if status == 400 and _NO_KEY.match(text):
        return Kind.CREDENTIAL
    return None


def _limited(status: int | None, text: str) -> Kind:
    if status == 413 or _AT_ONCE.search(text):
        return Kind.TOO_LARGE
    return Kind.PAYMENT if _NO_MONEY.search(text) else Kind.RATE_LIMITED


def _forbidden(text: str) -> Kind:
    if _UNWANTED.search(text):
        return Kind.REJECTED  # the prompt, not our key
    return Kind.PAYMENT if _NO_MONEY.search(text) else Kind.CREDENTIAL
