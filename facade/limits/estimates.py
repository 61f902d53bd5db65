"""How many tokens a request will use: guessed before it is sent, and learned from answers.

Strategy: text is a third of its UTF-8 bytes in tokens, media have a price each, token ids count
themselves. Hardly any text has fewer tokens than an eighth of its bytes, and only that may
refuse a request. Where no max_tokens bounds an answer, the 95th percentile of the model's last
answers is reserved.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from typing import Final

from msgspec import Struct

from adapters.wire import (
    NULL,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Function,
    Input,
    Message,
    Part,
)
from facade.limits.buckets import Tokens

IMAGE: Final = 1000  # tokens; of other media too
_LIKELY: Final = 3  # bytes of text to a token
_SURELY: Final = 8
_MODELS: Final = 256
_ANSWERS: Final = 64  # of each model
_UNKNOWN: Final = 512  # tokens of an answer before any was seen


class Estimate(Struct, frozen=True):
    """Tokens of a prompt: `likely` of them, and `certain`ly no fewer."""

    likely: int
    certain: int


class Size(Struct, frozen=True):
    """What is known of a request's tokens before it is sent.

    `answer` bounds each of so many `choices` (0: there is none to come); None: nothing does.
    `prompt` is of all `prompts` together.
    """

    prompt: Estimate
    answer: int | None
    choices: int = 1
    prompts: int = 1

    def reserve(self, learned: int, calls: int) -> Tokens:
        """What to take for so many calls.

        Without a bound only the prompt has to fit, and of `learned` for each choice what is left.
        """
        likely, certain = self.prompt.likely, self.prompt.certain
        if self.answer is None:
            least, most = likely, likely + self.choices * learned
        else:
            bound = self.choices * self.answer
            certain = max(certain, bound)
            least = most = likely + bound
        least = max(least, certain, 1)
        return Tokens(certain, least, max(least, most), calls)


def of_chat(request: ChatRequest) -> Size:
    """A chat's."""
    answer = request.max_completion_tokens or request.max_tokens
    return Size(of_messages(request), answer, request.n or 1)


def of_completion(request: CompletionRequest) -> Size:
    """A completion's; `best_of` makes choices that nobody sees."""
    prompt = request.prompt
    many = isinstance(prompt, list) and not (prompt and isinstance(prompt[0], int))
    prompts = max(len(prompt), 1) if isinstance(prompt, list) and many else 1
    choices = prompts * max(request.n or 1, request.best_of or 1)
    return Size(of_input(prompt), request.max_tokens, choices, prompts)


def of_embeddings(request: EmbeddingRequest) -> Size:
    """What is to be embedded; nothing is generated."""
    return Size(of_input(request.input), answer=0)


def of_messages(request: ChatRequest) -> Estimate:
    """Messages, and the tools and schemas that go into the prompt with them."""
    text = media = beside = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            text += len(content) if content.isascii() else _bytes(content)
        elif content:
            text += sum(map(_part, content))
            media += sum(part.text is None and part.refusal is None for part in content)
        if message.refusal or message.tool_calls or message.function_call:
            text += _beside(message)
    if request.tools or request.functions:
        tools = [tool.function for tool in request.tools or () if tool.function]
        beside = sum(map(_function, [*tools, *(request.functions or ())]))
    if (form := request.response_format) and form.json_schema:
        beside += len(bytes(form.json_schema.schema))
    return Estimate(math.ceil((text + beside) / _LIKELY) + media * IMAGE, text // _SURELY)


def of_input(given: Input | None) -> Estimate:
    """Prompts of completions, and what is to be embedded."""
    items = [given] if isinstance(given, str) else given or []
    text = sum(_bytes(item) for item in items if isinstance(item, str))
    ids = sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in items)
    return Estimate(math.ceil(text / _LIKELY) + ids, text // _SURELY + ids)


class _Seen(Struct):
    """Tokens of the last answers of a model, as they came and by size."""

    last: deque[int]
    ordered: list[int]


class Answers:
    """Tokens of the last answers of each model; of many models those heard of last are known."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Seen] = OrderedDict()

    def note(self, model: str, tokens: int) -> None:
        seen = self._models.setdefault(model, _Seen(deque(), []))
        seen.last.append(tokens)
        insort(seen.ordered, tokens)
        if len(seen.last) > _ANSWERS:
            del seen.ordered[bisect_left(seen.ordered, seen.last.popleft())]
        self._models.move_to_end(model)
        if len(self._models) > _MODELS:
            self._models.popitem(last=False)

    def expected(self, model: str) -> int:
        """The 95th percentile."""
        seen = self._models.get(model)
        return seen.ordered[math.ceil(0.95 * len(seen.ordered)) - 1] if seen else _UNKNOWN


def _beside(message: Message) -> int:
    """What is of the prompt beside the content."""
    called = [call.function for call in message.tool_calls or () if call.function]
    if message.function_call:
        called.append(message.function_call)
    refusal = 0 if isinstance(message.content, list) else _bytes(message.refusal)
    return refusal + sum(_bytes(call.name) + _bytes(call.arguments) for call in called)


def _part(part: Part) -> int:
    return _bytes(part.text) + _bytes(part.refusal)


def _function(function: Function) -> int:
    schema = 0 if function.parameters == NULL else len(bytes(function.parameters))
    return _bytes(function.name) + _bytes(function.description) + schema


def _bytes(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
