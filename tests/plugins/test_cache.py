"""llmrouterd/plugins/cache.py"""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import Message, Request, Text, ToolResult
from llmrouterd.hooks import Arrival, Context, Kept, Pending, PluginRefused
from llmrouterd.plugins.cache import Cache, Store, has_tools, is_repeatable, key_of

ANSWER = Kept(b"answer", stream=False, provider="a", model="m")
BODY = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def parsed(fmt: str = "openai", **more: object) -> Request:
    return FORMATS[fmt].parse_request(json.dumps(BODY | more).encode())


def arrival(**of: object) -> Arrival:
    return replace(Arrival(parsed(), "/x", asker=b"me"), **of)


def always(kept: Kept) -> bool:
    return True


class Asking:
    """One request at the cache."""

    def __init__(self, cache: Cache, arrived: Arrival | None = None, **settings: object) -> None:
        self.cache = cache
        self.ctx = Context("cache", settings)
        self.keeps = cache.on_arrival(arrived or arrival(), self.ctx)

    def recall(self, may=always):
        return self.cache.recall(may, self.ctx)

    def ends(self, kept: Kept | None = ANSWER, end: str = "complete") -> None:
        self.cache.on_release(kept, end, self.ctx)


# --- hits -----------------------------------------------------------------------------------------


def test_what_was_answered_once_is_answered_again():
    cache = Cache({})
    first = Asking(cache)
    assert first.keeps == 1024 * 1024
    assert first.recall() is None
    first.ends()
    assert Asking(cache).recall() is ANSWER
    assert cache.in_flight == 0


@pytest.mark.parametrize(
    "of",
    [
        {"request": parsed(model="n")},
        {"request": parsed(stream=True)},
        {"request": parsed(temperature=0.0)},
        {"request": parsed(user="u")},
        {"request": parsed(plugins=[{"id": "redact", "words": ["x"]}])},
        {"request": parsed(unheard_of=1)},
        {"endpoint": "/y"},
        {"fields": (("wish", "b"),)},
        {"asker": b"somebody else"},
    ],
)
def test_whatever_differs_is_another_request(of):
    cache = Cache({})
    first = Asking(cache)
    first.recall()
    first.ends()
    assert Asking(cache, arrival(**of)).recall() is None


def test_the_order_of_members_and_the_caches_own_settings_are_no_difference():
    shuffled = dict(reversed((BODY | {"plugins": [{"id": "cache", "ttl": 5}]}).items()))
    other = FORMATS["openai"].parse_request(json.dumps(shuffled).encode())
    assert key_of(arrival(request=other), shared=False) == key_of(arrival(), shared=False)


def test_the_text_inside_a_member_counts_to_the_character():
    spaced = json.dumps(BODY).replace('"content": "hi"', '"content":  "hi"')
    other = FORMATS["openai"].parse_request(spaced.encode())
    assert other == parsed()
    assert key_of(arrival(request=other), shared=False) != key_of(arrival(), shared=False)


def test_shared_answers_are_for_every_client():
    cache = Cache({"shared": True})
    first = Asking(cache)
    first.recall()
    first.ends()
    assert Asking(cache, arrival(asker=b"another")).recall() is ANSWER


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3))
def test_no_two_lists_of_fields_are_taken_for_each_other(fields):
    joined = tuple((a + b, "") for a, b in fields)
    if tuple(fields) != joined:
        one = key_of(arrival(fields=tuple(fields)), shared=False)
        assert one != key_of(arrival(fields=joined), shared=False)


def test_a_request_whose_text_was_mended_has_a_key_all_the_same():
    mended = replace(parsed(), raw=None)
    other = replace(mended, model="n")
    assert key_of(arrival(request=mended), shared=False) == key_of(
        arrival(request=mended), shared=False
    )
    assert key_of(arrival(request=mended), shared=False) != key_of(
        arrival(request=other), shared=False
    )


def test_a_policy_may_forbid_an_answer():
    cache = Cache({})
    first = Asking(cache)
    first.recall()
    first.ends()
    assert Asking(cache).recall(lambda kept: kept.provider != "a") is None


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "settings", "kept"),
    [
        ({}, {}, True),
        ({"temperature": 0.7}, {}, False),
        ({"temperature": None}, {}, False),
        ({"temperature": 0.7}, {"sampled": True}, True),
        ({"temperature": 0.7, "seed": 5}, {}, True),
        ({"temperature": 0.7, "top_k": 1}, {}, True),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {}, False),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools": True}, True),
        ({}, {"mode": "off"}, False),
    ],
)
def test_chance_and_tools_are_kept_only_when_asked_for(more, settings, kept):
    for owner, asked in ((settings, settings), ({}, settings)):  # by the owner, by the request
        assert bool(Asking(Cache(owner), arrival(request=parsed(**more)), **asked).keeps) is kept


def test_a_conversation_with_results_of_tools_has_tools():
    result = Message("tool", (ToolResult("1", (Text("x"),)),))
    assert has_tools(Request("openai", "m", (result,)))
    assert not has_tools(Request("openai", "m"))
    assert not is_repeatable(Request("openai", "m"))


def test_a_request_that_loads_a_model_is_not_kept():
    asked = FORMATS["ollama"].parse_request(b'{"model":"m","options":{"temperature":0}}')
    assert Asking(Cache({}), arrival(request=asked)).keeps == 0


@pytest.mark.parametrize(
    ("cache_control", "settings", "reads", "keeps"),
    [
        ("no-cache", {}, False, True),
        ("max-age=0", {}, False, True),
        ("Max-Age = 0, private", {}, False, True),
        ("no-store", {}, False, False),
        ("max-age=60", {}, True, True),
        ("", {"mode": "refresh"}, False, True),
        ("", {"mode": "off"}, False, False),
    ],
)
def test_a_client_may_ask_for_a_new_answer(cache_control, settings, reads, keeps):
    cache = Cache({})
    first = Asking(cache)
    first.recall()
    first.ends()
    asked = Asking(cache, arrival(cache_control=cache_control), **settings)
    assert bool(asked.keeps) is keeps
    if keeps:
        assert (asked.recall() is not None) is reads
        newer = replace(ANSWER, body=b"newer")
        asked.ends(newer)
        assert Asking(cache).recall() is newer


def test_only_whole_answers_are_kept():
    cache = Cache({})
    first = Asking(cache)
    first.recall()
    first.ends(None, "truncated")
    assert Asking(cache).recall() is None
    assert len(cache.store) == 0


def test_an_answer_is_kept_for_a_time():
    clock = Clock()
    cache = Cache({"ttl": 10}, clock=clock)
    first = Asking(cache)
    first.recall()
    first.ends()
    clock.now += 9
    assert Asking(cache).recall() is ANSWER
    younger = Asking(cache, ttl=5)
    assert younger.recall() is None  # a request may want a younger one
    younger.ends(None, "refused")
    clock.now += 2
    assert Asking(cache, ttl=1000).recall() is None  # and no older one than the owner says


def test_what_is_too_old_is_forgotten_and_not_only_overlooked():
    store = Store(10, 1 << 20, 5.0)
    store.put(b"old", ANSWER, 0.0)
    store.put(b"new", ANSWER, 6.0)
    assert len(store) == 1


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5000)), max_size=60),
    st.integers(1, 12),
    st.integers(1, 20000),
)
def test_memory_is_bounded(puts, most, most_bytes):
    store = Store(most, most_bytes, 1e9)
    for key, size in puts:
        store.put(bytes([key]), replace(ANSWER, body=b"x" * size), 0.0)
        assert len(store) <= most
        assert store.size <= most_bytes
        held = [store.get(bytes([at]), 1e9, 0.0) for at in range(31)]
        assert store.size == sum(each.size + 1024 for each in held if each)


def test_the_least_used_goes_first():
    store = Store(2, 1 << 20, 1e9)
    for key in (b"a", b"b"):
        store.put(key, ANSWER, 0.0)
    store.get(b"a", 1e9, 0.0)
    store.put(b"c", ANSWER, 0.0)
    assert [store.get(key, 1e9, 0.0) is not None for key in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]


# --- in flight ------------------------------------------------------------------------------------


def test_who_comes_while_the_first_one_is_on_its_way_gets_its_answer():
    cache = Cache({})
    first, second, third = (Asking(cache) for _ in range(3))
    assert first.recall() is None
    waits = [second.recall(), third.recall()]
    assert isinstance(waits[0], Pending)
    assert waits[0] is waits[1]
    woken: list[int] = []
    waits[0].wakes(lambda: woken.append(1))
    first.ends()
    assert woken == [1]
    assert second.recall() is ANSWER
    assert third.recall() is ANSWER
    assert cache.in_flight == 0


def test_an_answer_that_was_not_kept_for_long_still_comes_to_those_who_waited():
    cache = Cache({"max_bytes": 1})
    first, second = Asking(cache), Asking(cache)
    first.recall()
    second.recall()
    first.ends()
    assert len(cache.store) == 0
    assert second.recall() is ANSWER


def test_when_the_first_client_vanishes_one_of_the_others_takes_its_place():
    cache = Cache({})
    first, second, third = (Asking(cache) for _ in range(3))
    first.recall()
    second.recall()
    third.recall()
    first.ends(None, "client_gone")
    assert second.recall() is None
    waits = third.recall()
    assert isinstance(waits, Pending)
    second.ends()
    assert third.recall() is ANSWER


def test_when_the_first_one_fails_each_goes_on_by_itself():
    cache = Cache({})
    first, second, third = (Asking(cache) for _ in range(3))
    first.recall()
    second.recall()
    third.recall()
    first.ends(None, "upstream_error")
    assert second.recall() is None
    assert third.recall() is None
    assert cache.in_flight == 0
    second.ends()
    assert Asking(cache).recall() is ANSWER


def test_whoever_wants_a_new_answer_waits_for_nobody_and_nobody_for_them():
    cache = Cache({})
    first = Asking(cache)
    first.recall()
    fresh = Asking(cache, mode="refresh")
    assert fresh.recall() is None
    assert cache.in_flight == 1
    fresh.ends()
    assert cache.in_flight == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "end", "fail", "vanish"]), st.integers(0, 3), st.integers(0, 5)
    ),
    max_size=40,
)


@given(STEPS)
def test_nothing_in_flight_is_left_when_all_requests_are_over(steps):
    cache = Cache({})
    running: list[Asking] = []
    for deed, key, which in steps:
        if deed == "ask":
            asked = Asking(cache, arrival(endpoint=str(key)))
            asked.recall()
            running.append(asked)
        elif running:
            asked = running.pop(which % len(running))
            end = {"end": "complete", "fail": "upstream_error", "vanish": "client_gone"}[deed]
            asked.ends(ANSWER if deed == "end" else None, end)
    for asked in running:
        asked.ends(None, "client_gone")
    assert cache.in_flight == 0


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"mode": "on"}, {"tools": 1}, {"sampled": "yes"}, {"ttl": 0}, {"ttl": True}]
)
def test_a_wrong_setting_is_named(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=name):
        Cache(settings)
    with pytest.raises(PluginRefused, match=name):
        Asking(Cache({}), **settings)


def test_what_belongs_to_all_is_the_owners():
    assert {"shared", "max_entries", "max_bytes", "max_answer_bytes"} <= Cache.owned
    assert not {"mode", "ttl", "tools", "sampled"} & Cache.owned
