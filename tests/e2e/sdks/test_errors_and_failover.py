"""What goes wrong raises what the SDK has for it, or is answered by the next server."""

import anthropic
import ollama
import openai
import pytest

from tests.e2e.sdks.pairs import FORMATS, all_pairs, both, every_pair
from tests.fakes.models import (
    MODEL,
    Said,
    pieces,
    wants_stream,
)

pytestmark = pytest.mark.e2e


# --- errors ---------------------------------------------------------------------------------------


def error_body(fmt, kind, message):
    if fmt == "openai":
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}
    if fmt == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": message}


# what the upstream says -> (openai, anthropic, ollama): what the client is told
ERRORS = {
    "bad-request": (400, "invalid_request_error", "messages: too odd", (400, 400, 400)),
    "bad-key": (401, "authentication_error", "invalid x-api-key", (502, 500, 502)),
    "forbidden": (403, "permission_error", "not for you", (502, 500, 502)),
    "no-model": (404, "not_found_error", "model 'm' not found", (404, 404, 404)),
    "rate-limit": (429, "rate_limit_error", "slow down", (429, 429, 429)),
    "broken": (500, "api_error", "it broke", (502, 500, 502)),
    "overloaded": (529, "overloaded_error", "Overloaded", (503, 529, 503)),
}
RAISED = {
    "openai": {
        400: openai.BadRequestError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        502: openai.InternalServerError,
        503: openai.InternalServerError,
    },
    "anthropic": {
        400: anthropic.BadRequestError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
        529: anthropic.InternalServerError,
    },
    "ollama": dict.fromkeys((400, 404, 429, 502, 503), ollama.ResponseError),
}


@every_pair
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_before_the_answer_raises_what_the_sdk_has_for_it(
    models, clients, case, client, upstream, stream
):
    status, kind, message, told = ERRORS[case]
    body = error_body(upstream, kind, message)
    fields = ("Retry-After: 17",) if status == 429 else ()
    models[upstream].does(lambda turn: turn.whole(body, status, *fields))
    talk, wanted = clients[client], dict(zip(FORMATS, told, strict=True))[client]
    with pytest.raises(RAISED[client][wanted]) as raised:
        talk.ask(MODEL[upstream], "hi", stream=stream)
    assert raised.value.status_code == wanted
    assert message in str(raised.value)
    assert len(models[upstream].chats) == 1
    assert talk.headers["x-router-provider"] == f"{upstream}-up"
    assert talk.headers["x-router-error"]
    if status == 429:
        assert talk.headers["retry-after"] == "17"


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("upstream", FORMATS)
def test_an_sdk_does_not_try_again_what_cannot_get_better(models, clients, client, upstream):
    """These SDKs repeat a 5xx by themselves unless they are told not to."""
    body = error_body(upstream, "authentication_error", "invalid x-api-key")
    models[upstream].does(lambda turn: turn.whole(body, 401))
    talk = clients[client]
    told = {"max_tokens": 9, "messages": [talk.user("hi")], "model": MODEL[upstream]}
    patient = talk.sdk.with_options(max_retries=2)
    ask = patient.messages if client == "anthropic" else patient.chat.completions
    with pytest.raises(talk.errors):
        ask.create(**told)
    assert len(models[upstream].chats) == 1


def whole_html(turn):
    turn.whole(b"<html><title>Sign in</title></html>", kind="text/html")


def whole_cut(turn):
    turn.head(200, "Content-Length: 5000")
    turn.raw(b'{"id":"x","choi')
    turn.cut()


def whole_other(turn):
    turn.whole([1, 2, 3])


@all_pairs
@pytest.mark.parametrize("script", [whole_html, whole_cut, whole_other])
def test_an_answer_that_is_none_raises(models, clients, script, client, upstream):
    models[upstream].does(script)
    wanted = 500 if client == "anthropic" else 502
    with pytest.raises(RAISED[client][wanted]) as raised:
        clients[client].ask(MODEL[upstream], "hi")
    assert raised.value.status_code == wanted


MID_ERROR = {
    "openai": b'data: {"error":{"message":"it broke","type":"server_error"}}\n\n',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
    b'"message":"it broke"}}\n\n',
    "ollama": b'{"error":"it broke"}\n',
}
MID_RAISED = {
    "openai": openai.APIError,
    "anthropic": anthropic.APIStatusError,
    "ollama": ollama.ResponseError,
}


def broken_stream(model, talk, how):
    """The beginning of a stream up to the first content, and what goes wrong once the client has
    it: what comes in one piece with an error is not shown."""

    def script(turn):
        parts = list(pieces(model.format, Said("Partial answer"), turn.received.json))
        first = next(at for at, piece in enumerate(parts) if b"Partial" in piece) + 1
        turn.begin(kind=model.stream_type)
        for piece in parts[:first]:
            turn.chunk(piece)
        talk.got_some.wait(20)
        if how == "error":
            turn.chunk(MID_ERROR[model.format])
        if how != "cut":
            turn.end()
        turn.cut()

    return script


@all_pairs
@pytest.mark.parametrize("how", ["error", "cut", "no-end"])
def test_a_stream_that_breaks_raises_after_what_had_come(models, clients, how, client, upstream):
    """An error event, a cut connection, and a body that ends well without the format's own end."""
    model, talk = models[upstream], clients[client]
    model.does(broken_stream(model, talk, how))
    with pytest.raises(MID_RAISED[client]) as raised:
        talk.ask(MODEL[upstream], "hi", stream=True)
    assert talk.heard.text == "Partial"
    if how == "error":
        assert "it broke" in str(raised.value)
    assert len(model.chats) == 1


# --- failover -------------------------------------------------------------------------------------


def fault_500(model, turn):
    turn.whole(error_body(model.format, "api_error", "it broke"), 500)


def fault_closed(model, turn):
    """Not a byte of an answer."""
    turn.cut()


def fault_cut(model, turn):
    """A good beginning without content, and then nothing."""
    if not wants_stream(model.format, turn.received):
        return whole_cut(turn)
    turn.begin(kind=model.stream_type)
    if model.format != "ollama":  # whose first line holds content
        turn.chunk(next(iter(pieces(model.format, Said("hi"), turn.received.json))))
    return turn.cut()


def fault_event(model, turn):
    """The error comes in the stream, or in an answer of status 200."""
    if not wants_stream(model.format, turn.received):
        return turn.whole(error_body(model.format, "api_error", "it broke"))
    return turn.stream([MID_ERROR[model.format]], kind=model.stream_type)


@both
@pytest.mark.parametrize("fault", [fault_500, fault_closed, fault_cut, fault_event])
@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("client", FORMATS)
def test_what_fails_before_its_first_word_is_answered_by_the_next(
    upstreams, clients, client, first, fault, stream
):
    bad, second = upstreams[True, first], next_format(first)
    good, talk = upstreams[False, second], clients[client]
    bad.does(lambda turn: fault(bad, turn))
    good.says(Said("from the second", input=5, output=6))
    heard = talk.ask(f"{first}-bad-then-{second}", "hi", stream=stream)
    assert (heard.text, heard.stop, heard.usage) == ("from the second", "end_turn", (5, 6))
    assert len(bad.chats) >= 1
    assert len(good.chats) == 1
    assert talk.headers["x-router-provider"] == f"{second}-up"
    assert talk.headers["x-router-attempts"] == "2"


def next_format(name):
    return FORMATS[(FORMATS.index(name) + 1) % 3]


@both
@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("client", FORMATS)
def test_where_nobody_listens_the_next_one_answers(upstreams, clients, client, first, stream):
    good, talk = upstreams[False, client], clients[client]
    good.says(Said("from the second"))
    heard = talk.ask(f"{first}-gone-then-{client}", "hi", stream=stream)
    assert heard.text == "from the second"
    assert talk.headers["x-router-attempts"] == "2"


@both
@pytest.mark.parametrize("client", FORMATS)
def test_after_the_first_word_nobody_else_is_asked(upstreams, clients, client, stream):
    """A whole answer that was cut had no word out yet, and is asked for elsewhere."""
    bad, good = upstreams[True, client], upstreams[False, next_format(client)]
    talk, alias = clients[client], f"{client}-bad-then-{next_format(client)}"
    bad.does(broken_stream(bad, talk, "cut") if stream else whole_cut)
    good.says(Said("from the second"))
    if stream:
        with pytest.raises(MID_RAISED[client]):
            talk.ask(alias, "hi", stream=True)
        assert good.chats == []
    else:
        assert talk.ask(alias, "hi").text == "from the second"


@both
@pytest.mark.parametrize("client", FORMATS)
def test_a_failure_that_passes_is_tried_again_at_the_same_provider(models, clients, client, stream):
    model = models[client]
    model.does(lambda turn: fault_500(model, turn), model.answer(Said("the second time")))
    talk = clients[client]
    heard = talk.ask(f"{client}-again/{MODEL[client]}", "hi", stream=stream)
    assert heard.text == "the second time"
    assert len(model.chats) == 2
    assert talk.headers["x-router-attempts"] == "2"


@every_pair
def test_when_all_fail_the_client_is_told_the_most_telling(
    upstreams, clients, client, upstream, stream
):
    bad, good = upstreams[True, upstream], upstreams[False, upstream]
    limited = error_body(upstream, "rate_limit_error", "slow down")
    bad.does(lambda turn: turn.whole(limited, 429, "Retry-After: 30"))
    good.does(lambda turn: fault_500(good, turn))
    talk = clients[client]
    with pytest.raises(RAISED[client][429]) as raised:
        talk.ask(f"{upstream}-bad-then-{upstream}", "hi", stream=stream)
    assert raised.value.status_code == 429
    assert "slow down" in str(raised.value)
    assert talk.headers["retry-after"] == "30"
    assert talk.headers["x-router-attempts"] == "2"
