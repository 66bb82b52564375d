"""formats/responses/stored.py"""

import json
from dataclasses import replace

from formats.canonical import Message, PluginCall, Response, Stamp, Text, Thinking
from formats.ledger import Ledger
from formats.responses import parse_request, stored, write_response

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000)
BEFORE = [
    {"type": "message", "role": "user", "content": "first"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]},
]


def request(**members):
    body = {"model": "m", "input": "second", "previous_response_id": "resp_1", **members}
    return parse_request(json.dumps(body).encode())


def test_what_a_request_goes_on_from():
    assert stored.previous_id(request()) == "resp_1"
    assert stored.previous_id(request(previous_response_id=None)) is None


def test_an_expanded_request_says_what_the_whole_history_would():
    given = request(instructions="be brief", temperature=1.0)
    again = stored.expanded(given, BEFORE)
    own = {"type": "message", "role": "user", "content": "second"}
    whole = {"model": "m", "input": [*BEFORE, own], "instructions": "be brief", "temperature": 1.0}
    assert again == parse_request(json.dumps(whole).encode())
    assert again.raw is not None
    assert '"temperature": 1.0' in again.raw.text


def test_a_request_that_was_changed_is_expanded_as_it_is_now():
    given = replace(
        request(),
        messages=(Message("user", (Text("changed"),)),),
        thinking=Thinking(None, "low"),
        plugins=(PluginCall("a"),),
        raw=None,
    )
    again = stored.expanded(given, BEFORE)
    assert [message.parts[0].text for message in again.messages] == ["first", "one", "changed"]
    assert again.thinking == Thinking(None, "low")
    assert again.plugins == (PluginCall("a"),)
    assert stored.previous_id(again) is None
    assert again.raw is None


def test_items_that_are_named_are_put_in_their_places():
    reference = {"type": "item_reference", "id": "msg_1"}
    given = request(input=[reference, {"id": "msg_2"}, {"role": "user", "content": "x"}])
    assert stored.referred_ids(given) == ["msg_1", "msg_2"]
    again = stored.expanded(given, [], {"msg_1": BEFORE[0]})
    assert stored.input_items(again)[:2] == [BEFORE[0], {"id": "msg_2"}]


def test_an_answers_items_are_the_history_of_the_next_request():
    answer = json.loads(write_response(Response("", "m", (Text("one"),)), Ledger(), STAMP))
    items = stored.output_items(answer)
    again = stored.expanded(request(), items)
    assert again.messages[0].role == "assistant"
    assert again.messages[0].parts[0].text == "one"
    assert stored.output_items({"output": None}) == []


def test_an_answer_is_kept_unless_the_client_says_no_and_says_so_truly():
    assert stored.wants_keeping(request())
    assert not stored.wants_keeping(request(store=False))
    for kept in (True, False):
        told = stored.declared(request(store=not kept), kept=kept)
        answer = write_response(Response("", "m"), Ledger(), STAMP, told)
        assert json.loads(answer)["store"] is kept
        assert told.raw is not None
