"""formats/responses/encode.py"""

import json

import pytest
from hypothesis import given, settings

from formats.canonical import (
    CitationSeen,
    Failed,
    Finished,
    OpaquePart,
    PartEnded,
    RefusalDelta,
    Request,
    Stamp,
    Started,
    TextDelta,
    ThoughtDelta,
    ThoughtSigned,
    Tool,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageSeen,
)
from formats.errors import Failure, TooLong
from formats.ledger import Ledger
from formats.responses import encode, encoder
from formats.token import read_thought
from tests import strategies
from tests.formats.responses.wires import STREAMS, decoded, golden, pieces

STAMP = Stamp("0123456789abcdef01234567", 1_790_000_000, lambda: 3_000_000_000, "shown", 11)
START = Started("up-1", "model-1")
STOP = Finished("end_turn")
SEALS = {"include": ["reasoning.encrypted_content"]}


def written(*events, ledger=None, **members):
    writer = encoder(Request("responses", "asked", **members), ledger or Ledger(), STAMP)
    return b"".join(map(writer.encode, events))


def said(*events, **members):
    return pieces(written(START, *events, **members))


def names(found):
    return [name for name, _ in found]


def of(found, name):
    return [value for kind, value in found if kind == name]


def output(found):
    return found[-1][1]["response"]["output"]


# --- the sequence ---


def test_a_text_in_all_its_events():
    usage = UsageSeen(Usage(7, 3, 2, None, 1))
    found = said(TextDelta(0, "he"), TextDelta(0, "llo"), PartEnded(0), usage, STOP)
    assert names(found) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [value["sequence_number"] for _, value in found] == list(range(10))
    created, last = found[0][1]["response"], found[-1][1]["response"]
    assert created["id"] == last["id"] == "resp_0123456789abcdef01234567"
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (last["status"], last["completed_at"], last["model"]) == (
        "completed",
        1_790_000_003,
        "model-1",
    )
    assert last["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 10,
    }
    (item,) = last["output"]
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "hello"}
    assert (item["content"], item["status"]) == ([part], "completed")
    assert found[8][1]["item"] == item
    assert found[2][1]["item"]["id"] == found[4][1]["item_id"] == item["id"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_is_written_as_it_was_read(name):
    events = decoded(golden(name))
    again = decoded(written(*events, extra=SEALS))
    assert [e for e in again if not isinstance(e, Started)] == [
        e for e in events if not isinstance(e, Started)
    ]


def test_an_upstreams_own_id_stays_where_it_is_of_this_format():
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    writer.encode(Started("resp_theirs", "m"))
    writer.encode(STOP)
    assert writer.answer["id"] == "resp_theirs"


@pytest.mark.slow
@given(strategies.event_streams())
@settings(max_examples=150)
def test_items_are_open_one_at_a_time_and_keep_their_identity(events):
    found = pieces(written(*events))
    assert [value["sequence_number"] for _, value in found] == list(range(len(found)))
    items, current = [], None
    for name, value in found:
        if name == "response.output_item.added":
            assert current is None
            assert value["output_index"] == len(items)
            current = value["item"]
        elif name == "response.output_item.done":
            for member in ("id", "type", "call_id", "name"):
                assert value["item"].get(member) == current.get(member)
            items.append(value["item"])
            current = None
        elif "item_id" in value:
            assert (value["item_id"], value["output_index"]) == (current["id"], len(items))
    assert output(found) == items
    if not isinstance(events[-1], Failed):
        assert current is None
    assert len({item["id"] for item in items}) == len(items)


# --- texts ---


def test_texts_that_follow_each_other_are_parts_of_one_message():
    found = said(
        TextDelta(0, "a"),
        PartEnded(0),
        TextDelta(1, "b"),
        RefusalDelta(2, "no"),
        PartEnded(2),
        STOP,
    )
    (item,) = output(found)
    assert [part.get("text", part.get("refusal")) for part in item["content"]] == ["a", "b", "no"]
    assert [v["content_index"] for v in of(found, "response.content_part.done")] == [0, 1, 2]


def test_line_ends_of_unicode_and_lone_surrogates_are_escaped():
    data = written(START, TextDelta(0, "a\u2028b\ud800ü"), PartEnded(0), STOP)
    assert "\u2028".encode() not in data
    assert output(pieces(data))[0]["content"][0]["text"] == "a\u2028b\ud800ü"


def test_a_refusal_without_words_gets_some():
    details = {"explanation": "not this"}
    found = said(Finished("refusal", details=details))
    assert output(found)[0]["content"] == [{"type": "refusal", "refusal": "not this"}]
    assert found[-1][1]["response"]["status"] == "completed"


def test_citations_are_annotations():
    note = {"type": "url_citation", "url": "https://x", "title": "t"}
    ledger = Ledger()
    found = said(
        TextDelta(0, "ab"),
        CitationSeen(0, {"url": "https://x", "title": "t"}),
        CitationSeen(0, {"type": "char_location"}),
        PartEnded(0),
        STOP,
        ledger=ledger,
    )
    wanted = {**note, "start_index": 0, "end_index": 2}
    (event,) = of(found, "response.output_text.annotation.added")
    assert (event["annotation"], event["annotation_index"]) == (wanted, 0)
    assert output(found)[0]["content"][0]["annotations"] == [wanted]
    assert ledger.names() == ("annotations",)


# --- calls ---


def test_a_call_in_all_its_events():
    call = (ToolStarted(0, "c", "f"), ToolDelta(0, '{"a":'), ToolDelta(0, "1}"), PartEnded(0))
    found = said(*call, Finished("tool_use"))
    assert names(found)[2:-1] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    (item,) = output(found)
    assert item["id"].startswith("fc_")
    assert (item["call_id"], item["name"], item["arguments"]) == ("c", "f", '{"a":1}')


def test_calls_that_interleave_come_one_after_the_other():
    found = said(
        ToolStarted(0, "a", "f"),
        ToolDelta(0, '{"x"'),
        ToolStarted(1, "b", "g"),
        ToolDelta(1, "{}"),
        ToolDelta(0, ":1}"),
        TextDelta(2, "t"),
        PartEnded(0),
        PartEnded(1),
        PartEnded(2),
        Finished("tool_use"),
    )
    items = output(found)
    assert [item.get("arguments") for item in items] == ['{"x":1}', "{}", None]
    assert [item["type"] for item in items] == ["function_call", "function_call", "message"]


def test_a_second_call_is_shown_as_soon_as_the_first_is_whole():
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    for event in (START, ToolStarted(0, "a", "f"), ToolDelta(0, "{}")):
        writer.encode(event)
    assert "response.output_item.done" in names(pieces(writer.encode(ToolStarted(1, "b", "g"))))


def test_a_call_without_arguments_has_an_empty_object():
    found = said(ToolStarted(0, "", "f"), PartEnded(0), ToolStarted(1, "", "f"), PartEnded(1), STOP)
    assert [item["arguments"] for item in output(found)] == ["{}", "{}"]
    assert len({item["call_id"] for item in output(found)}) == 2
    assert [v["delta"] for v in of(found, "response.function_call_arguments.delta")] == ["{}", "{}"]


def test_a_call_that_was_cut_is_not_complete():
    call = (ToolStarted(0, "c", "f"), ToolDelta(0, '{"a'), PartEnded(0))
    found = said(*call, Finished("max_tokens"))
    assert output(found)[0]["status"] == "incomplete"
    response = found[-1][1]["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert output(said(*call, Finished("tool_use")))[0]["status"] == "completed"


PATCH = (Tool("patch", kind="custom"),)


def test_a_custom_tool_that_is_a_function_upstream_is_unwrapped_as_it_comes():
    call = [ToolStarted(0, "c", "patch"), *[ToolDelta(0, p) for p in ('{"inp', 'ut":"a\\', 'nb"}')]]
    found = said(*call, PartEnded(0), Finished("tool_use"), tools=PATCH)
    assert [v["delta"] for v in of(found, "response.custom_tool_call_input.delta")] == ["a", "\nb"]
    assert of(found, "response.custom_tool_call_input.done")[0]["input"] == "a\nb"
    (item,) = output(found)
    assert (item["type"], item["input"]) == ("custom_tool_call", "a\nb")
    assert item["id"].startswith("ctc_")


def test_a_custom_call_is_given_as_it_is():
    call = (ToolStarted(0, "c", "patch", "custom"), ToolDelta(0, '{"input":1}'), PartEnded(0))
    assert output(said(*call, STOP, tools=PATCH))[0]["input"] == '{"input":1}'
    odd = (ToolStarted(0, "c", "patch"), ToolDelta(0, "words"), PartEnded(0))
    assert output(said(*odd, STOP, tools=PATCH))[0]["input"] == "words"


def test_a_call_in_a_namespace_says_which():
    space = {"type": "namespace", "name": "agents"}
    tools = (Tool("agents__spawn", type="namespace", native=space),)
    (item,) = output(said(ToolStarted(0, "c", "agents__spawn"), PartEnded(0), STOP, tools=tools))
    assert (item["name"], item["namespace"]) == ("spawn", "agents")


def test_ids_that_are_not_legal_here_are_changed():
    long, blank = "x" * 80, "a\nb"
    found = said(
        ToolStarted(0, long, "f"), PartEnded(0), ToolStarted(1, blank, "f"), PartEnded(1), STOP
    )
    ids = [item["call_id"] for item in output(found)]
    assert all(each.startswith("call_") and len(each) <= 64 for each in ids)


# --- reasoning ---


def test_reasoning_in_all_its_events():
    found = said(
        ThoughtDelta(0, ""), ThoughtDelta(0, "h"), ThoughtDelta(0, "m"), PartEnded(0), STOP
    )
    assert names(found)[2:-1] == [
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
    ]
    (item,) = output(found)
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "encrypted_content" not in item


def sealed(*events, **members):
    found = output(said(*events, PartEnded(0), STOP, **members))
    return [item.get("encrypted_content") for item in found]


def test_a_vendor_of_this_format_seals_its_own():
    signed = ThoughtSigned(0, "gAAA", origin="responses")
    assert sealed(ThoughtDelta(0, "hm"), signed) == ["gAAA"]
    assert sealed(ThoughtDelta(0, ""), signed) == ["gAAA"]


def test_a_client_that_asks_gets_a_token_of_what_another_vendor_signed():
    signed = ThoughtSigned(0, "c2ln", origin="anthropic")
    (token,) = sealed(ThoughtDelta(0, "hm"), signed, extra=SEALS)
    thought = read_thought(token)
    assert (thought.text, thought.signature, thought.origin) == ("hm", "c2ln", "anthropic")
    (token,) = sealed(ThoughtSigned(0, redacted="cmVk", origin="anthropic"), extra=SEALS)
    assert read_thought(token).redacted == "cmVk"
    (token,) = sealed(ThoughtDelta(0, "hm"), extra=SEALS)
    assert read_thought(token).text == "hm"


def test_a_client_that_does_not_ask_gets_none():
    assert sealed(ThoughtDelta(0, "hm"), ThoughtSigned(0, "c2ln", origin="anthropic")) == [None]
    assert sealed(ThoughtSigned(0, redacted="cmVk", origin="anthropic")) == []


# --- other things ---


def test_items_of_this_format_pass_and_blocks_of_others_are_named():
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    own = OpaquePart(0, "responses", "web_search_call", item)
    other = OpaquePart(1, "anthropic", "server_tool_use", {"id": "srvtoolu_1"})
    ledger = Ledger()
    found = said(own, PartEnded(0), other, PartEnded(1), STOP, ledger=ledger)
    assert output(found) == [item]
    assert ledger.names() == ("server_tool_use",)


def test_figures_are_estimates_where_nobody_counts():
    usage = said(TextDelta(0, "x" * 38), PartEnded(0), STOP)[-1][1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11, 10, 21)


def test_a_failure_is_told_twice_and_ends_everything():
    failure = Failure("rate_limit", "try again in 2s", retry_after_s=2)
    found = said(TextDelta(0, "par"), Failed(failure), STOP, TextDelta(0, "late"))
    assert names(found)[-2:] == ["error", "response.failed"]
    error, last = found[-2][1], found[-1][1]["response"]
    assert (error["code"], error["message"], error["param"]) == (
        "rate_limit_exceeded",
        "try again in 2s",
        None,
    )
    assert error["error"]["type"] == "requests"
    assert last["status"] == "failed"
    assert last["error"] == {"code": "rate_limit_exceeded", "message": "try again in 2s"}


def test_a_failure_before_anything_is_a_whole_stream():
    found = pieces(written(Failed(Failure("upstream", "no"))))
    assert names(found) == ["response.created", "response.in_progress", "error", "response.failed"]


def test_a_life_sign_is_a_comment_until_the_end():
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    assert writer.ping() == encode.COMMENT == b": keep-alive\n\n"
    writer.encode(STOP)
    assert writer.ping() == b""


def test_an_answer_is_not_kept_without_a_bound(monkeypatch):
    monkeypatch.setattr(encode, "_MAX_KEPT", 1000)
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    with pytest.raises(TooLong):
        for _ in range(20):
            writer.encode(TextDelta(0, "x" * 100))
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    writer.encode(ToolStarted(0, "c", "f"))
    with pytest.raises(TooLong):
        for _ in range(20):
            writer.encode(TextDelta(1, "x" * 100))


def test_the_answer_is_there_when_the_stream_has_ended():
    writer = encoder(Request("responses", "m"), Ledger(), STAMP)
    data = b"".join(map(writer.encode, (START, TextDelta(0, "a"), PartEnded(0), STOP)))
    assert json.loads(json.dumps(writer.answer)) == pieces(data)[-1][1]["response"]
