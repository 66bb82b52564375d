"""What every writer says of a request that came as a bare prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import FORMATS
from formats.canonical import Message, Request, Target, Text
from formats.errors import Invalid, Unsupported
from formats.ledger import Ledger, Loss
from formats.prompt import as_conversation
from tests import strategies

CONVERSATIONS = ("openai", "anthropic", "ollama")
ASKED = (Message("user", (Text("hi"),)),)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_bound_request_is_refused_by_the_clients_name_of_what_binds_it(name):
    request = Request("completions", "m", ASKED, max_tokens=5, bound=("suffix", "echo"))
    with pytest.raises(Unsupported) as caught:
        FORMATS[name].write_request(request, Ledger(), Target("m"))
    assert (caught.value.path, caught.value.kind) == ("suffix", "unsupported")


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_bound_request_without_a_message_is_refused_for_what_binds_it(name):
    request = Request("completions", "m", (), bound=("prompt",))
    with pytest.raises(Unsupported) as caught:
        FORMATS[name].write_request(request, Ledger(), Target("m"))
    assert caught.value.path == "prompt"


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_completions_prompt_is_a_message_approximately(name):
    ledger = Ledger()
    request = Request("completions", "m", ASKED, max_tokens=5)
    FORMATS[name].write_request(request, ledger, Target("m"))
    why = "a bare prompt is sent as a message of the user's"
    assert ledger.entries == [Loss("prompt", "approximated", why)]


@pytest.mark.parametrize("origin", ["openai", "anthropic", "ollama", "responses", "generate"])
def test_of_other_requests_there_is_nothing_to_say(origin):
    ledger = Ledger()
    as_conversation(Request(origin, "m", ASKED), ledger)
    assert ledger.entries == []


@given(
    strategies.requests(("completions", "generate"), min_messages=1),
    st.sampled_from(CONVERSATIONS),
    strategies.targets,
)
def test_no_writer_stumbles_over_a_request_of_the_older_calls(request_, name, target):
    ledger = Ledger()
    try:
        body = FORMATS[name].write_request(request_, ledger, target)
    except Invalid:
        return
    read = FORMATS[name].parse_request(body)
    assert read.model == target.model
    lost = {n for n, v in request_.extra.items() if v is not None} - set(ledger.names())
    assert not lost or (request_.origin == "generate" and name == "ollama")


@pytest.mark.parametrize("name", ["completions", "generate"])
def test_the_older_calls_are_made_with_the_clients_own_text_only(name):
    for origin in ("openai", name):
        with pytest.raises(Unsupported):
            FORMATS[name].write_request(Request(origin, "m", ASKED), Ledger(), Target("m"))
