"""OpenAI's types: the one vocabulary every face and every dialect speaks.

Requests are typed only as far as they are read; unknown fields are ignored here and
survive in the caller's bytes (`ChatCall.body`). Every optional field takes null as
"unset". An answer is a sequence of `Chunk`s, whatever the upstream spoke.

Source: https://platform.openai.com/docs/api-reference/chat and .../completions, /embeddings
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import UNSET, Meta, Raw, Struct, field

from adapters.constraints import Said

NULL: Final = Raw(b"null")  # JSON kept unread: null is "unset" there too
_unset: Final = NULL.copy  # gives itself; a factory, because a schema cannot show such a default

Temperature = Annotated[float, Meta(ge=0, le=2)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Positive = Annotated[int, Meta(ge=1)]
Choices = Annotated[int, Meta(ge=1, le=128)]
Input = str | list[str | int | list[int]]  # text, texts, tokens, or lists of tokens
LONGEST_NAME: Final = 512  # characters of a model's: a thousand of them are remembered
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
Stop = str | Annotated[list[str], Meta(max_length=4)]


class FunctionCall(Struct, frozen=True):
    """A call in the history. `arguments` is a string of JSON."""

    name: str
    arguments: str | None = None


class ToolCall(Struct, frozen=True):
    function: FunctionCall | None = None
    id: str | None = None
    type: str | None = None


class ImageUrl(Struct, frozen=True):
    url: str


class InputAudio(Struct, frozen=True):
    data: str
    format: str | None = None


class File(Struct, frozen=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Part(Struct, frozen=True):
    """One part of a message's content; which field is set follows `type`."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: File | None = None


class Message(Struct, frozen=True):
    """`reasoning*` and `thinking` are three spellings of one thing in the history."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: Raw = field(default_factory=_unset)
    reasoning: Raw = field(default_factory=_unset)
    thinking: Raw = field(default_factory=_unset)


class Function(Struct, frozen=True):
    """`parameters` is a JSON Schema, kept as the caller wrote it."""

    name: str
    description: str | None = None
    parameters: Raw = field(default_factory=_unset)
    strict: bool | None = None


class Tool(Struct, frozen=True):
    type: str = "function"
    function: Function | None = None


class Named(Struct, frozen=True):
    name: str


class ChosenTool(Struct, frozen=True):
    type: str = "function"
    function: Named | None = None


class AllowedTools(Struct, frozen=True):
    mode: str
    tools: list[ChosenTool]


class ToolChoice(Struct, frozen=True):
    type: str
    function: Named | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(Struct, frozen=True):
    name: str | None = None
    schema: Raw = field(default_factory=_unset)
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/chat/completions, as far as it is read."""

    model: Name
    constraints: Said = UNSET
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Positive | None = None
    max_tokens: Positive | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    n: Choices | None = None
    seed: int | None = None
    stop: Stop | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Named | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: Raw = field(default_factory=_unset)
    web_search_options: Raw = field(default_factory=_unset)
    user: str | None = None
    store: bool | None = None
    service_tier: str | None = None
    verbosity: str | None = None


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/completions, as far as it is read."""

    model: Name
    constraints: Said = UNSET
    prompt: Input | None = None
    suffix: str | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    seed: int | None = None
    stop: Stop | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings."""

    model: Name
    constraints: Said = UNSET
    input: Input
    dimensions: Positive | None = None
    encoding_format: str | None = None
    user: str | None = None


class ToolDelta(Struct, frozen=True):
    """A piece of a tool call. `id` and `name` stand in a call's first piece only."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


class TokenChance(Struct, frozen=True):
    """One alternative of `top_logprobs`. `bytes` is the token's UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Struct, frozen=True):
    """One generated token with its log probability (natural logarithm)."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TokenChance]


class Usage(Struct, frozen=True):
    """Tokens of one answer, as the upstream counted them: nothing is guessed.

    None: the upstream did not say. `partial`: it left one of the first two out, which
    therefore stands as 0.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    partial: bool = False


class Chunk(Struct, frozen=True):
    """One event of an answer.

    Several fields may be set; a face renders them in the order role, reasoning, content,
    tools, finish. `raw` is the upstream's own chunk as JSON where it keeps every rule of
    the stream and goes out untouched: then the other fields only say what is in it. With
    `usage` it is the usage chunk itself, which goes out last, and only if it was asked for.
    Events that only add text may come as one chunk: then `raw` holds all of them, apart as they
    are in a stream (LF LF `data: `), or `pieces` what each adds, all to `content` or `reasoning`.
    """

    choice: int = 0
    role: bool = False
    content: str = ""
    pieces: Sequence[str] = ()
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish: str | None = None
    usage: Usage | None = None
    raw: bytes = b""

    @property
    def commits(self) -> bool:
        """Whether the caller may be told 200 now: real content, or a valid end."""
        return bool(
            self.content or self.reasoning or self.refusal or self.tool_calls or self.finish
        )


class ChatCall(Struct, frozen=True):
    """A request twice: the caller's bytes, and our reading of them."""

    body: bytes
    request: ChatRequest


class CompletionCall(Struct, frozen=True):
    body: bytes
    request: CompletionRequest


class EmbeddingCall(Struct, frozen=True):
    body: bytes
    request: EmbeddingRequest
