"""What has become of requests, counted as OpenTelemetry names it, told as Prometheus reads it.

Strategy: a request pays for one look-up and one entry in a list; a library's histograms take ten
times as long. What is so at the moment (queues, breakers) is asked when it is told
(facade.gauges). A model's name becomes a label only when it has answered, and of so many at most:
clients may write any name. All else stands under "other".

Sources: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ and
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from time import perf_counter
from typing import Final, NamedTuple

from msgspec import Struct

from adapters.errors import AdapterError, UpstreamError
from adapters.wire import Chunk, Usage
from facade.errors import FacadeError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
_FIRST: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_TOKENS: Final = tuple(4.0**power for power in range(14))
_OPERATIONS: Final = {"messages": "chat", "prompt": "text_completion", "input": "embeddings"}
_MOST: Final = 1000  # pairs of names
_TOGETHER: Final = 256  # answers that are looked at together
_OTHER: Final = "other"
_GOOD: Final = ""  # no error

Labels = Mapping[str, str]


class Family(NamedTuple):
    """One metric: its name, its type, what it is, and its values by labels."""

    name: str
    kind: str
    help: str
    values: Iterable[tuple[Labels, float]]


class Meter(Struct, gc=False):
    """What is measured of one request. `began` and `first` (its first content) in seconds.

    `fell_back`: why another target than the first is asked.
    """

    input: str
    asked: str
    began: float
    upstream: str = ""
    model: str = ""
    fell_back: str = ""
    first: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def begins(self) -> None:
        """Its first content is there."""
        self.first = perf_counter()

    def see(self, chunks: Sequence[Chunk]) -> None:
        """What one of its calls has sent: usage comes last."""
        if chunks and chunks[-1].usage is not None:
            self.used(chunks[-1].usage)

    def used(self, usage: Usage | None) -> None:
        """What one of its calls has used; the prompt of several counts once."""
        if usage is not None:
            self.prompt_tokens = max(self.prompt_tokens, usage.prompt_tokens)
            self.completion_tokens += usage.completion_tokens


class Histogram:
    """Values by the bounds that they do not exceed."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, values: Sequence[float]) -> None:
        for place, count in Counter(map(partial(bisect_left, self.bounds), values)).items():
            self.counts[place] += count
        self.total += sum(values)


class _Series:
    """What is known of one operation of one model that was asked for by one name.

    `answers` are those not yet looked at: the seconds that each took, those up to its first
    content, and its tokens; 0 is unknown.
    """

    __slots__ = ("answers", "completion", "first", "prompt", "took")

    def __init__(self) -> None:
        self.answers: list[tuple[float, float, int, int]] = []
        self.took = {_GOOD: Histogram(_SECONDS)}  # by error
        self.first = Histogram(_FIRST)
        self.prompt = Histogram(_TOKENS)
        self.completion = Histogram(_TOKENS)

    def look(self) -> None:
        """At all of them together, which takes a quarter of the time."""
        if not self.answers:
            return
        histograms = (self.took[_GOOD], self.first, self.prompt, self.completion)
        for histogram, values in zip(histograms, zip(*self.answers, strict=True), strict=True):
            histogram.observe([value for value in values if value])
        self.answers.clear()


_Key = tuple[str, str, str, str]  # input, name asked for, upstream, its model


class Metrics:
    """All that is counted. `gauges` gives what is so at the moment."""

    def __init__(self) -> None:
        self.gauges: Callable[[], Iterable[Family]] = tuple
        self._series: dict[_Key, _Series] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._fallbacks: Counter[tuple[str, str]] = Counter()

    def begin(self, input: str, asked: str) -> Meter:  # noqa: A002 - as in Ask
        """A request begins, whose text stands in the field `input`."""
        return Meter(input, asked, perf_counter())

    def answered(self, meter: Meter) -> None:
        """It was answered in full."""
        key = (meter.input, meter.asked, meter.upstream, meter.model)
        series = self._series.get(key) or self._new(key)
        began, first = meter.began, meter.first
        since = first and first - began
        answer = (perf_counter() - began, since, meter.prompt_tokens, meter.completion_tokens)
        series.answers.append(answer)
        if len(series.answers) >= _TOGETHER:
            series.look()
        if meter.fell_back:
            self._fallbacks[meter.upstream, meter.fell_back] += 1

    def failed(self, meter: Meter, error: BaseException) -> None:
        """It was not; or its client has left."""
        key = (meter.input, meter.asked, meter.upstream, meter.model)
        series = self._series.get(key) or self._new((meter.input, _OTHER, meter.upstream, _OTHER))
        kind = _kind(error)
        took = series.took.get(kind)
        if took is None:
            took = series.took[kind] = Histogram(_SECONDS)
        took.observe([perf_counter() - meter.began])

    def attempt_failed(self, upstream: str, error: UpstreamError) -> None:
        """One of a chain's targets has failed; another attempt may follow."""
        self._failures[upstream, error.kind.value] += 1

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        lines = [line for family in self._histograms() for line in family]
        for family in (*self._counters(), *self.gauges()):
            lines += _head(family.name, family.kind, family.help)
            lines += [_line(family.name, labels, value) for labels, value in family.values]
        return "\n".join([*lines, ""]).encode()

    def _new(self, key: _Key) -> _Series:
        if len(self._series) >= _MOST:
            key = (key[0], _OTHER, key[2], _OTHER)
        return self._series.setdefault(key, _Series())

    def _histograms(self) -> Iterator[Iterator[str]]:
        for series in self._series.values():
            series.look()
        said = [(_labels(key), series) for key, series in self._series.items()]
        yield _histogram(
            "gen_ai_server_request_duration_seconds",
            "From a request to the end of its answer.",
            (
                (labels | ({"error_type": error} if error else {}), took)
                for labels, series in said
                for error, took in series.took.items()
            ),
        )
        yield _histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From a request to the first content of its stream.",
            ((labels, series.first) for labels, series in said),
        )
        yield _histogram(
            "gen_ai_client_token_usage",
            "Tokens of an answer, as its upstream counted them.",
            (
                (labels | {"gen_ai_token_type": kind}, tokens)
                for labels, series in said
                for kind, tokens in (("input", series.prompt), ("output", series.completion))
            ),
        )

    def _counters(self) -> Iterator[Family]:
        yield Family(
            "facade_attempt_failures_total",
            "counter",
            "Attempts of chains that have failed.",
            [
                ({"upstream": upstream, "error_type": kind}, count)
                for (upstream, kind), count in self._failures.items()
            ],
        )
        yield Family(
            "facade_fallbacks_total",
            "counter",
            "Answers of another target than the first of a chain.",
            [
                ({"upstream": upstream, "reason": reason}, count)
                for (upstream, reason), count in self._fallbacks.items()
            ],
        )


def _kind(error: BaseException) -> str:
    """One of few words: an upstream's own would be labels without end."""
    if isinstance(error, UpstreamError):
        return error.kind.value
    if isinstance(error, FacadeError):
        return error.code or str(error.status)
    if isinstance(error, AdapterError | RecursionError):
        return "invalid_request"
    return "client_left" if isinstance(error, asyncio.CancelledError) else "internal_error"


def _labels(key: _Key) -> dict[str, str]:
    field, asked, upstream, model = key
    return {
        "gen_ai_operation_name": _OPERATIONS[field],
        "gen_ai_provider_name": upstream,
        "gen_ai_request_model": asked,
        "gen_ai_response_model": model,
    }


def _histogram(
    name: str, help_: str, histograms: Iterable[tuple[Labels, Histogram]]
) -> Iterator[str]:
    yield from _head(name, "histogram", help_)
    for labels, histogram in histograms:
        counts = list(accumulate(histogram.counts))
        if not counts[-1]:
            continue
        for bound, count in zip((*histogram.bounds, "+Inf"), counts, strict=True):
            yield _line(f"{name}_bucket", {**labels, "le": str(bound)}, count)
        yield _line(f"{name}_sum", labels, histogram.total)
        yield _line(f"{name}_count", labels, counts[-1])


def _head(name: str, kind: str, help_: str) -> tuple[str, str]:
    return f"# HELP {name} {help_}", f"# TYPE {name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{said}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
