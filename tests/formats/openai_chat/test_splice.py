"""Requests that pass on as the client's own text, and the few edits they may need."""

import json

import pytest

from formats.canonical import Target
from formats.ledger import Ledger
from formats.openai_chat.parse import parse_request
from formats.openai_chat.write import write_request

VENDOR = Target("m", vendor=True)
LOCAL = Target("m")


def passed(body, target=LOCAL, ledger=None):
    return write_request(parse_request(body), ledger or Ledger(), target)


def passed_object(target=LOCAL, **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **body}
    return json.loads(passed(json.dumps(body).encode(), target))


def test_nothing_but_the_models_name_changes():
    body = (
        b'{ "model" : "m",\n "messages":[{"role":"user","content":"\\u00fc 1.0"}], "temperature":1.0, '
        b'"seed":123456789012345678901234567890, "new_thing":{"b":1e3,"a":[]} }'
    )
    assert passed(body) == body
    assert passed(body, Target("other")) == body.replace(b'"m"', b'"other"')


def test_a_byte_order_mark_is_not_passed_on():
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    assert passed(b"\xef\xbb\xbf" + body) == body


def test_the_routers_plugins_never_leave():
    assert "plugins" not in passed_object(plugins=[{"id": "web"}])


def test_usage_figures_are_switched_on_for_streams_only():
    assert passed_object(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in passed_object()
    mixed = passed_object(stream=True, stream_options={"x": 1, "include_usage": False})
    assert mixed["stream_options"] == {"x": 1, "include_usage": True}


def test_usage_figures_are_not_asked_of_a_server_that_refuses_the_question():
    target = Target("m", include_usage=False)
    assert "stream_options" not in passed_object(target, stream=True)
    options = {"include_usage": True}
    assert "stream_options" not in passed_object(target, stream=True, stream_options=options)
    options = {"include_usage": True, "x": 1}
    assert passed_object(target, stream=True, stream_options=options)["stream_options"] == {"x": 1}


@pytest.mark.parametrize(
    ("target", "sent", "role"),
    [
        (LOCAL, "developer", "system"),
        (VENDOR, "developer", "developer"),
        (VENDOR, "system", "system"),
        (Target("m", system_role="developer"), "system", "developer"),
        (Target("m", vendor=True, system_role="system"), "developer", "system"),
    ],
)
def test_instructions_have_the_role_that_the_upstream_knows(target, sent, role):
    messages = [{"role": sent, "content": "i", "x": 1}, {"role": "user", "content": "x"}]
    out = passed_object(target, messages=messages)
    assert out["messages"] == [{"role": role, "content": "i", "x": 1}, messages[1]]


@pytest.mark.parametrize(
    ("target", "sent", "written"),
    [
        (LOCAL, {"max_completion_tokens": 5}, {"max_tokens": 5}),
        (LOCAL, {"max_tokens": 5}, {"max_tokens": 5}),
        (VENDOR, {"max_tokens": 5}, {"max_tokens": 5}),
        (VENDOR, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        (
            Target("m", max_tokens_field="max_completion_tokens"),
            {"max_tokens": 5},
            {"max_completion_tokens": 5},
        ),
        (LOCAL, {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 5, "max_completion_tokens": 6}),
    ],
)  # fmt: skip
def test_the_token_limit_has_the_name_that_the_upstream_reads(target, sent, written):
    out = passed_object(target, **sent)
    assert {name: out[name] for name in out if name.startswith("max_")} == written


def test_a_limit_beyond_the_models_is_clamped_and_noted_under_its_own_name():
    ledger = Ledger()
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":99999}'
    out = json.loads(passed(body, Target("m", vendor=True, max_output=8192), ledger))
    assert out["max_completion_tokens"] == 8192
    assert ledger.names() == ("max_completion_tokens",)
    assert ledger.entries[0].what == "clamped"


def test_configured_members_are_added_where_the_client_said_nothing():
    target = Target("m", options={"cache_prompt": True, "seed": 1})
    out = passed_object(target, seed=2)
    assert (out["cache_prompt"], out["seed"]) == (True, 2)
