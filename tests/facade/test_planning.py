"""The order of targets, from what is known of them; nothing here waits or asks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from adapters.constraints import Constraints
from adapters.errors import Kind, UpstreamError
from facade.config import ModelSettings
from facade.errors import Forbidden
from facade.needs import Needs
from facade.planning import Plan, Route, Wants, fitted, within
from facade.sight import Latencies
from facade.turns import Lane

NOTHING = Constraints()
CHAIN = ModelSettings(targets=("a/m",))


class Known(Struct, frozen=True):
    """What is known of one target."""

    failing: bool = False
    loaded: bool | None = None
    free: int | None = None
    latency: float | None = None
    lacks: str = ""
    window: int | None = None


class Seen:
    """A View of what a test says, by the name of the upstream."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        self._known = known

    def _of(self, route: Route) -> Known:
        return self._known.get(route.upstream, Known())

    def failing(self, route: Route) -> bool:
        return self._of(route).failing

    def loaded(self, route: Route) -> bool | None:
        return self._of(route).loaded

    def free(self, route: Route, lane: Lane) -> int | None:
        return self._of(route).free

    def latency(self, route: Route) -> float | None:
        return self._of(route).latency

    def lacks(self, route: Route, capability: str) -> bool:
        return capability == self._of(route).lacks

    def window(self, route: Route) -> int | None:
        return self._of(route).window


def plan(*groups: str) -> Plan:
    """Each group is its upstreams, one letter each; those in capitals are local."""
    made = tuple(
        tuple(Route(name.lower(), "m", local=name.isupper()) for name in group) for group in groups
    )
    routes = tuple(route for group in made for route in group)
    return Plan(routes, CHAIN, "x", made if len(routes) > len(made) else ())


def order(plan: Plan) -> str:
    assert plan.routes == tuple(r for g in plan.groups for r in g) or not plan.groups
    return "".join(route.upstream for route in plan.routes)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "abc"),
        ({"c": Known(loaded=True), "a": Known(loaded=False), "b": Known(loaded=False)}, "cab"),
        ({"a": Known(loaded=False), "b": Known(loaded=None)}, "bca"),
        ({"a": Known(free=0), "b": Known(free=2), "c": Known(free=1)}, "bca"),
        ({"a": Known(free=-3), "b": Known(free=-1), "c": Known(free=-2)}, "bca"),
        ({"a": Known(free=5), "b": Known(free=None), "c": Known(free=None)}, "bca"),
        ({"a": Known(latency=0.3), "b": Known(latency=0.1), "c": Known(latency=0.2)}, "bca"),
        ({"a": Known(latency=0.1)}, "bca"),
        (
            {
                "a": Known(loaded=True, free=0),
                "b": Known(loaded=False, free=9),
                "c": Known(loaded=False),
            },
            "acb",
        ),
        ({"a": Known(free=1, latency=9), "b": Known(free=0, latency=1), "c": Known(free=0)}, "acb"),
    ],
)
def test_of_equals_the_loaded_come_first_then_the_free_then_the_fast(
    known: Mapping[str, Known], expected: str
) -> None:
    assert expected == order(fitted(plan("abc"), Wants(), Seen(known)))


def test_23_who_fails_at_once_is_the_last_of_its_equals() -> None:
    known = {"a": Known(failing=True, loaded=True, free=9, latency=0.001), "b": Known(latency=9)}
    assert "cba" == order(fitted(plan("abc"), Wants(), Seen(known)))


def test_groups_keep_their_places() -> None:
    known = {"a": Known(latency=9), "b": Known(latency=1), "d": Known(free=1), "e": Known(free=2)}
    assert "acbfed" == order(fitted(plan("a", "bc", "def"), Wants(), Seen(known)))


@given(
    groups=st.lists(st.sampled_from(["a", "Bc", "dEF", "g", "HI"]), min_size=1, unique=True),
    known=st.dictionaries(
        st.sampled_from("abcdefghi"),
        st.builds(
            Known,
            failing=st.booleans(),
            loaded=st.sampled_from([None, True, False]),
            free=st.none() | st.integers(-5, 5),
            latency=st.none() | st.floats(0, 10),
        ),
    ),
    constraints=st.builds(
        Constraints,
        prefer_local=st.booleans(),
        local_only=st.booleans(),
        force_cloud=st.booleans(),
        max_latency_ms=st.none() | st.integers(1, 10_000),
    ),
)
def test_whatever_is_known_nothing_is_doubled_and_nothing_forbidden_is_left(
    groups: list[str], known: dict[str, Known], constraints: Constraints
) -> None:
    whole = plan(*groups)
    view = Seen(known)
    try:
        left = fitted(within(whole, constraints), Wants(constraints), view)
    except Forbidden:
        return
    assert len(set(left.routes)) == len(left.routes)
    assert set(left.routes) <= set(whole.routes)
    assert (left.chain, left.alias) == (whole.chain, whole.alias)
    order(left)
    for route in left.routes:
        assert route.local or not constraints.local_only
        assert not route.local or not constraints.force_cloud
    if constraints.prefer_local:
        assert sorted(left.routes, key=lambda route: not route.local) == list(left.routes)
    if constraints == NOTHING:
        assert set(left.routes) == set(whole.routes)


# -- capabilities and windows ---------------------------------------------------------------


def wanting(*capabilities: str, tokens: int = 0) -> Wants:
    return Wants(needs=Needs(frozenset(capabilities), tokens))


def test_what_surely_lacks_a_capability_is_put_aside() -> None:
    known = {"a": Known(lacks="tools"), "b": Known(lacks="vision")}
    assert "bc" == order(fitted(plan("a", "b", "c"), wanting("tools"), Seen(known)))
    assert "c" == order(fitted(plan("a", "b", "c"), wanting("tools", "vision"), Seen(known)))
    assert "bc" == order(fitted(plan("abc"), wanting("tools"), Seen(known)))


def test_where_all_lack_it_they_say_so_themselves() -> None:
    known = {"a": Known(lacks="tools"), "b": Known(lacks="tools")}
    assert "ab" == order(fitted(plan("a", "b"), wanting("tools"), Seen(known)))


def test_a_window_that_is_surely_too_small_is_put_aside() -> None:
    known = {"a": Known(window=999), "b": Known(window=1000), "c": Known(window=None)}
    assert "bc" == order(fitted(plan("a", "b", "c"), wanting(tokens=1000), Seen(known)))


def test_where_all_windows_are_too_small_the_prompt_is_too_long() -> None:
    known = {"a": Known(window=999), "b": Known(window=8)}
    with pytest.raises(UpstreamError) as caught:
        fitted(plan("a", "b"), wanting(tokens=1000), Seen(known))
    assert Kind.CONTEXT_LENGTH is caught.value.kind


# -- latency -------------------------------------------------------------------------------


def test_what_is_known_to_be_too_slow_is_left_out() -> None:
    known = {"a": Known(latency=2.001), "b": Known(latency=2.0), "c": Known()}
    most = Constraints(max_latency_ms=2000)
    assert "bc" == order(fitted(plan("a", "b", "c"), Wants(most), Seen(known)))


def test_where_all_are_too_slow_the_caller_is_told() -> None:
    with pytest.raises(Forbidden, match="max_latency_ms") as caught:
        fitted(plan("a"), Wants(Constraints(max_latency_ms=1)), Seen({"a": Known(latency=1)}))
    assert 403 == caught.value.status
    assert "constraints_unmet" == caught.value.code


def test_a_latency_is_a_moving_average_that_is_forgotten() -> None:
    latencies = Latencies()
    route = Route("a", "m")
    assert latencies.of(route, 0.0) is None
    latencies.note(route, 1.0, 10.0)
    assert 1.0 == latencies.of(route, 10.0)
    latencies.note(route, 2.0, 20.0)
    assert pytest.approx(1.3) == latencies.of(route, 20.0)
    assert pytest.approx(1.3) == latencies.of(route, 79.9)
    assert latencies.of(route, 80.0) is None
    latencies.note(route, 5.0, 90.0)
    assert 5.0 == latencies.of(route, 90.0)


def test_of_many_targets_only_some_latencies_are_remembered() -> None:
    latencies = Latencies()
    for number in range(3000):
        latencies.note(Route("a", str(number)), 1.0, 1.0)
    assert latencies.of(Route("a", "0"), 1.0) is None
    assert 1.0 == latencies.of(Route("a", "2999"), 1.0)
    assert 1000 >= len(latencies._known)
