"""formats/responses/splice.py"""

import json

from formats.canonical import Target
from formats.ledger import Ledger
from formats.responses import parse_request, write_request
from formats.token import write_token

USER = {"role": "user", "content": "hi"}


def passed(text, target):
    ledger = Ledger()
    return write_request(parse_request(text.encode()), ledger, target).decode(), ledger


def test_only_the_models_name_changes():
    text = '{ "temperature": 1.0, "model":"m",\n"input": "\\u0041", "big": 12345678901234567890 }'
    assert passed(text, Target("m"))[0] == text
    assert passed(text, Target("up"))[0] == text.replace('"m"', '"up"')


def test_what_is_configured_is_added_and_the_routers_own_plugins_go():
    text = '{"model":"m","input":"x","plugins":[{"id":"a"}],"store":true}'
    body, _ = passed(text, Target("m", options={"store": False, "truncation": "auto"}))
    assert json.loads(body) == {"model": "m", "input": "x", "store": True, "truncation": "auto"}


def test_a_limit_beyond_the_models_is_clamped():
    body, ledger = passed(
        '{"model":"m","input":"x","max_output_tokens":100}', Target("m", max_output=50)
    )
    assert json.loads(body)["max_output_tokens"] == 50
    assert ledger.names() == ("max_output_tokens",)


def test_the_word_for_instructions_is_the_configured_one():
    text = json.dumps({"model": "m", "input": [{"role": "developer", "content": "x"}, USER]})
    body, _ = passed(text, Target("m", system_role="system"))
    assert json.loads(body)["input"][0]["role"] == "system"
    assert passed(text, Target("m"))[0] == text


def reasoning(sealed, text="hm"):
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": sealed}


def test_a_token_of_ours_never_leaves():
    sealed = write_token("anthropic", "hm", "c2ln")
    text = json.dumps({"model": "m", "input": [USER, reasoning(sealed), reasoning("gAAA"), USER]})
    body, ledger = passed(text, Target("m", vendor=True))
    assert json.loads(body)["input"] == [USER, reasoning("gAAA"), USER]
    assert ledger.names() == ("input[].reasoning",)
    body, ledger = passed(text, Target("m"))
    shown = {name: value for name, value in reasoning("").items() if name != "encrypted_content"}
    assert json.loads(body)["input"] == [USER, shown, reasoning("gAAA"), USER]
    assert ledger.entries == []


def test_reasoning_that_shows_nothing_goes_with_its_token():
    text = json.dumps({"model": "m", "input": [USER, reasoning(write_token("a", "x"), ""), USER]})
    body, ledger = passed(text, Target("m"))
    assert json.loads(body)["input"] == [USER, USER]
    assert ledger.names() == ("input[].reasoning",)
