"""The official client libraries talk through the real daemon to a server of each format."""

import base64
import json
import socket
from contextlib import ExitStack

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.e2e.scripts_sdks import CLIENTS
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import (
    CHAT_PATH,
    MODEL,
    SIGNATURE,
    FakeModel,
    Said,
    golden_entries,
    pieces,
    wants_stream,
    whole,
)

pytestmark = pytest.mark.e2e
FORMATS = ("openai", "anthropic", "ollama")
PAIRS = [(client, upstream) for client in FORMATS for upstream in FORMATS]
OF_FORMAT = {"openai-chat": "openai", "anthropic-messages": "anthropic", "ollama-chat": "ollama"}
GOLDEN = [entry for entry in golden_entries() if entry["format"] in OF_FORMAT]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "its name"},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
    },
    "required": ["city"],
}
TIME = {"type": "object", "properties": {"tz": {"type": "string"}}, "required": ["tz"]}
TOOLS = [
    ("get_weather", "The weather of a city", WEATHER),
    ("get_time", "What time it is", TIME),
]
ANSWER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "people"],
    "additionalProperties": False,
}
PROVIDER = """
[[providers]]
name = "{name}"
format = "{format}"
base_url = "{url}"
api_key_env = "{format}_UPSTREAM_KEY"
max_retries = {retries}
models = {models}
"""
KEYS = {f"{name}_UPSTREAM_KEY": f"key-of-{name}" for name in FORMATS}


def both(test):
    return pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])(test)


def all_pairs(test):
    return pytest.mark.parametrize(("client", "upstream"), PAIRS)(test)


def every_pair(test):
    """All nine pairs, whole and streamed."""
    return both(all_pairs(test))


def config(urls):
    """For each format: a provider that is well, one that fails as it is told, one with a retry, one
    where nobody listens; and an alias for each way of falling from one to another."""
    parts = ["[server]\nport = 0\n"]
    aliases = ["[models]"]
    for name in FORMATS:
        good, model = f"{name}-up", MODEL[name]
        for role, retries in (("up", 0), ("bad", 0), ("again", 1), ("gone", 0)):
            url = urls["gone" if role == "gone" else (role == "bad", name)]
            named = {"format": name, "url": url, "retries": retries}
            named["models"] = "[]" if role == "up" else '["asked-for-by-name-only"]'
            parts.append(PROVIDER.format(name=f"{name}-{role}", **named))
        aliases.append(f'"alias-of-{name}" = "{good}/{model}"')
        for first in FORMATS:
            for role in ("bad", "gone"):
                pair = f'["{first}-{role}/{MODEL[first]}", "{good}/{model}"]'
                aliases.append(f'"{first}-{role}-then-{name}" = {pair}')
    return "\n".join([*parts, *aliases])


@pytest.fixture(scope="module")
def upstreams():
    with ExitStack() as stack:
        yield {
            (bad, name): stack.enter_context(FakeModel(name, "bad-one" if bad else MODEL[name]))
            for name in FORMATS
            for bad in (False, True)
        }


@pytest.fixture(scope="module")
def models(upstreams):
    """The healthy ones, by format."""
    return {name: upstreams[False, name] for name in FORMATS}


@pytest.fixture(scope="module")
def daemon(upstreams, tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemon")
    with socket.socket() as unheard:  # bound and not listening: whoever calls is refused
        unheard.bind(("127.0.0.1", 0))
        urls = {key: model.url for key, model in upstreams.items()}
        urls["gone"] = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        with RunningDaemon(config(urls), folder, env=KEYS) as running:
            yield running


@pytest.fixture(scope="module")
def clients(daemon):
    made = {name: kind(daemon.url) for name, kind in CLIENTS.items()}
    yield made
    for client in made.values():
        client.close()


# --- answers --------------------------------------------------------------------------------------


@every_pair
def test_a_plain_question_gets_its_answer(models, clients, client, upstream, stream):
    models[upstream].says(Said("Hello, wörld!", input=12, output=4))
    heard = clients[client].ask(MODEL[upstream], "Grüß Gott", stream=stream)
    assert (heard.text, heard.stop, heard.usage) == ("Hello, wörld!", "end_turn", (12, 4))
    assert (heard.calls, heard.thinking, heard.refusal) == ([], "", "")
    asked = models[upstream].asked
    assert asked["model"] == MODEL[upstream]
    assert asked["messages"] == [{"role": "user", "content": "Grüß Gott"}]


@every_pair
def test_an_answer_that_ran_into_its_limit_says_so(models, clients, client, upstream, stream):
    models[upstream].says(Said("Once upon a", cut=True, input=10, output=3))
    limit = {"options": {"num_predict": 3}} if client == "ollama" else {"max_tokens": 3}
    heard = clients[client].ask(MODEL[upstream], "a tale", stream=stream, **limit)
    assert (heard.text, heard.stop, heard.usage) == ("Once upon a", "max_tokens", (10, 3))
    asked = models[upstream].asked
    assert (asked["options"]["num_predict"] if upstream == "ollama" else asked["max_tokens"]) == 3


@every_pair
def test_the_instructions_reach_the_upstream_in_their_place(
    models, clients, client, upstream, stream
):
    models[upstream].says(Said("Aye."))
    talk = clients[client]
    if client == "anthropic":
        talk.ask(MODEL[upstream], "hi", stream=stream, system="Be a pirate.")
    else:
        system = {"role": "system", "content": "Be a pirate."}
        talk.ask(MODEL[upstream], [system, talk.user("hi")], stream=stream)
    asked = models[upstream].asked
    if upstream == "anthropic":
        assert joined(asked["system"]) == "Be a pirate."
        assert [m["role"] for m in asked["messages"]] == ["user"]
    else:
        assert asked["messages"][0] == {"role": "system", "content": "Be a pirate."}


def joined(content):
    """The text of a content that is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block["type"] == "text")


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["file"])
def test_a_golden_answer_says_the_same_to_every_client(models, clients, entry, client):
    upstream = OF_FORMAT[entry["format"]]
    talk, wanted = clients[client], entry["canonical"]
    in_stream = (wanted["error"] or {}).get("phase") == "mid"
    wait = (lambda: talk.got_some.wait(20)) if in_stream else (lambda: None)
    models[upstream].plays(entry["file"], wait)
    model, stream = MODEL[upstream], entry["stream"]
    if wanted["error"]:
        with pytest.raises(talk.errors) as raised:
            talk.ask(model, "hi", stream=stream, tools=TOOLS)
        said = str(raised.value)
        assert wanted["error"]["message"] in said or "prompt is too long" in said
        assert talk.heard.text == wanted["text"]
        return
    heard = talk.ask(model, "hi", stream=stream, tools=TOOLS, thinking=True)
    refusal = wanted["refusal"] or ""
    assert heard.text + heard.refusal in (wanted["text"] + refusal, wanted["text"])
    assert heard.thinking == wanted["reasoning"]
    assert [call[1:] for call in heard.calls] == [
        (call["name"], call["arguments"]) for call in wanted["tool_calls"]
    ]
    if client != "ollama":  # its SDK shows no ids
        assert [call[0] for call in heard.calls] == [call["id"] for call in wanted["tool_calls"]]
    if wanted["usage"]:
        assert heard.usage == (wanted["usage"]["input_total"], wanted["usage"]["output_total"])
    if wanted["stop"] in ("end_turn", "tool_use", "max_tokens"):
        assert heard.stop == wanted["stop"]


@all_pairs
def test_a_stream_arrives_in_pieces_and_not_at_its_end(models, clients, client, upstream):
    """The upstream's last words come only when the client has had its first ones."""
    talk, seen = clients[client], []

    def script(turn):
        said = list(pieces(upstream, Said("first last"), turn.received.json))
        turn.begin(kind=models[upstream].stream_type)
        middle = next(at for at, piece in enumerate(said) if b"first" in piece) + 1
        for piece in said[:middle]:
            turn.chunk(piece)
        seen.append(talk.got_some.wait(20))
        for piece in said[middle:]:
            turn.chunk(piece)
        turn.end()

    models[upstream].does(script)
    assert talk.ask(MODEL[upstream], "hi", stream=True).text == "first last"
    assert seen == [True]


@pytest.mark.parametrize("upstream", FORMATS)
def test_a_stream_has_figures_only_for_an_openai_client_that_asked(models, clients, upstream):
    """The router asks for them all the same: its own log wants them."""
    models[upstream].says(Said("hi"))
    chunks = clients["openai"].sdk.chat.completions.create(
        model=MODEL[upstream], messages=[{"role": "user", "content": "hi"}], stream=True
    )
    seen = list(chunks)
    assert "".join(c.choices[0].delta.content or "" for c in seen) == "hi"  # no chunk without
    assert not any(chunk.usage for chunk in seen)
    if upstream == "openai":
        assert models[upstream].asked["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("upstream", FORMATS)
def test_the_openai_sdk_puts_a_stream_together_by_itself(models, clients, upstream):
    """Its own accumulator is stricter than a loop over the chunks."""
    calls = (("call_h1", "get_time", {"tz": "UTC"}), ("call_h2", "get_time", {"tz": "CET"}))
    models[upstream].says(Said("Look:", thinking="Hm.", calls=calls, input=5, output=6))
    with clients["openai"].sdk.chat.completions.stream(
        model=MODEL[upstream],
        messages=[{"role": "user", "content": "hi"}],
        stream_options={"include_usage": True},
    ) as events:
        for _ in events:
            pass
        made = events.get_final_completion()
    (choice,) = made.choices
    assert (choice.message.content, choice.finish_reason) == ("Look:", "tool_calls")
    told = [
        (c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls
    ]
    assert told == list(calls)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (5, 6)


# --- tools ----------------------------------------------------------------------------------------


def tools_in(fmt, asked):
    if fmt == "anthropic":
        return [(t["name"], t["description"], t["input_schema"]) for t in asked["tools"]]
    functions = [tool["function"] for tool in asked["tools"]]
    return [(f["name"], f["description"], f["parameters"]) for f in functions]


def history_in(fmt, asked):
    """(calls, results) of a request in its own format: [(id, name, arguments)] and [(id or None,
    name or None, text)]. Arguments must be of the kind that the format wants."""
    calls, results = [], []
    for message in asked["messages"]:
        if fmt == "anthropic":
            for block in message["content"] if isinstance(message["content"], list) else ():
                if block["type"] == "tool_use":
                    assert message["role"] == "assistant"
                    assert isinstance(block["input"], dict)
                    calls.append((block["id"], block["name"], block["input"]))
                elif block["type"] == "tool_result":
                    assert message["role"] == "user"
                    results.append((block["tool_use_id"], None, joined(block["content"])))
            continue
        for call in message.get("tool_calls") or ():
            function = call["function"]
            given = function["arguments"]
            assert isinstance(given, str if fmt == "openai" else dict)
            given = json.loads(given) if fmt == "openai" else given
            calls.append((call.get("id"), function["name"], given))
        if message["role"] == "tool":
            name = message.get("tool_name")
            results.append((message.get("tool_call_id"), name, message["content"]))
    return calls, results


def check_history(client, upstream, asked, calls, texts):
    """What the upstream was told of a turn with calls: each with its own arguments and result."""
    told, results = history_in(upstream, asked)
    assert [call[1:] for call in told] == [call[1:] for call in calls]
    assert [result[2] for result in results] == texts
    if client != "ollama":
        assert [call[0] for call in told] == [call[0] for call in calls]
    if upstream == "ollama":
        assert [result[1] for result in results if client != upstream] == [
            call[1] for call in calls if client != upstream
        ]
    if (client, upstream) == ("ollama", "ollama"):
        assert [result[1] for result in results] == [call[1] for call in calls]
        return  # neither the SDK nor the server needs ids
    ids = [call[0] for call in told]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert [result[0] for result in results] == ids


@every_pair
def test_a_tool_call_and_its_result_make_the_round(models, clients, client, upstream, stream):
    talk, model = clients[client], MODEL[upstream]
    call = ("call_w1", "get_weather", {"city": 'Tromsø "N"', "days": 3, "unit": "celsius"})
    models[upstream].says(Said("Let me look.", calls=(call,), input=80, output=19))
    question = talk.user("How cold is it?")
    heard = talk.ask(model, [question], tools=TOOLS, stream=stream)
    assert (heard.text, heard.stop, heard.usage) == ("Let me look.", "tool_use", (80, 19))
    assert heard.calls == [("" if client == "ollama" else "call_w1", *call[1:])]
    assert tools_in(upstream, models[upstream].asked) == TOOLS

    models[upstream].says(Said("It is cold."))
    results = talk.results(heard, ["-4 °C\nand windy"])
    again = talk.ask(model, [question, heard.message, *results], tools=TOOLS, stream=stream)
    assert (again.text, again.stop) == ("It is cold.", "end_turn")
    asked = models[upstream].asked
    check_history(client, upstream, asked, [call], ["-4 °C\nand windy"])
    spoken = [m for m in asked["messages"] if m["role"] == "assistant"]
    assert [joined(message["content"]) for message in spoken] == ["Let me look."]


@every_pair
def test_parallel_calls_keep_their_arguments_and_results_apart(
    models, clients, client, upstream, stream
):
    """Two of one name and one of another; from OpenAI servers their fragments come interleaved."""
    talk, model = clients[client], MODEL[upstream]
    calls = (
        ("call_p1", "get_weather", {"city": "Oslo", "days": 1}),
        ("call_p2", "get_weather", {"city": "Rome", "days": 2}),
        ("call_p3", "get_time", {"tz": "Europe/Oslo"}),
    )
    models[upstream].says(Said(calls=calls))
    question = talk.user("Both, please")
    heard = talk.ask(model, [question], tools=TOOLS, stream=stream)
    assert [call[1:] for call in heard.calls] == [call[1:] for call in calls]
    assert heard.stop == "tool_use"
    if client != "ollama":
        assert [call[0] for call in heard.calls] == ["call_p1", "call_p2", "call_p3"]

    models[upstream].says(Said("Done."))
    texts = ["cold in Oslo", "warm in Rome", "noon"]
    results = talk.results(heard, texts)
    again = talk.ask(model, [question, heard.message, *results], tools=TOOLS, stream=stream)
    assert again.text == "Done."
    check_history(client, upstream, models[upstream].asked, calls, texts)


@every_pair
def test_a_call_without_arguments_is_one_with_none(models, clients, client, upstream, stream):
    tools = [("ping", "Ping", {"type": "object", "properties": {}})]
    models[upstream].says(Said(calls=(("call_e1", "ping", {}),)))
    heard = clients[client].ask(MODEL[upstream], "ping", tools=tools, stream=stream)
    assert [call[1:] for call in heard.calls] == [("ping", {})]


FORCED = {
    "openai": {"type": "function", "function": {"name": "get_time"}},
    "anthropic": {"type": "tool", "name": "get_time"},
}


@pytest.mark.parametrize("upstream", FORMATS)
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_forced_tool_is_forced_or_its_loss_is_told(models, clients, client, upstream):
    models[upstream].says(Said(calls=(("call_f1", "get_time", {"tz": "UTC"}),)))
    talk = clients[client]
    talk.ask(MODEL[upstream], "time?", tools=TOOLS, tool_choice=FORCED[client])
    asked = models[upstream].asked
    if upstream == "ollama":
        assert "tool_choice" in talk.headers["x-router-dropped"].split(",")
        assert [tool["function"]["name"] for tool in asked["tools"]] == ["get_time"]
    else:
        assert asked["tool_choice"] == FORCED[upstream]


# --- structured output, images, thinking ----------------------------------------------------------


@every_pair
def test_a_schema_reaches_the_upstream_in_its_place(models, clients, client, upstream, stream):
    said = '{"city":"Oslo","people":["Åse","Bo"]}'
    models[upstream].says(Said(said))
    heard = clients[client].ask(MODEL[upstream], "who?", schema=ANSWER, stream=stream)
    assert json.loads(heard.text) == json.loads(said)
    asked = models[upstream].asked
    if upstream == "openai":
        output = asked["response_format"]
        assert output["type"] == "json_schema"
        assert output["json_schema"]["schema"] == ANSWER
        assert output["json_schema"]["name"]
    elif upstream == "anthropic":
        assert asked["output_config"]["format"] == {"type": "json_schema", "schema": ANSWER}
    else:
        assert asked["format"] == ANSWER


def images_in(fmt, message):
    if fmt == "ollama":
        return message["images"]
    if fmt == "anthropic":
        sources = [b["source"] for b in message["content"] if b["type"] == "image"]
        assert {(s["type"], s["media_type"]) for s in sources} == {("base64", "image/png")}
        return [source["data"] for source in sources]
    urls = [b["image_url"]["url"] for b in message["content"] if b["type"] == "image_url"]
    assert all(url.startswith("data:image/png;base64,") for url in urls)
    return [url.partition(",")[2] for url in urls]


@every_pair
def test_an_image_reaches_the_upstream_byte_for_byte(models, clients, client, upstream, stream):
    models[upstream].says(Said("A dot."))
    talk = clients[client]
    heard = talk.ask(MODEL[upstream], [talk.user("What is it?", PNG)], stream=stream)
    assert heard.text == "A dot."
    (message,) = models[upstream].asked["messages"]
    assert [base64.b64decode(data) for data in images_in(upstream, message)] == [PNG]
    assert joined(message["content"]) == "What is it?"


@every_pair
def test_thinking_is_asked_for_and_shown_in_its_place(models, clients, client, upstream, stream):
    models[upstream].says(Said("Yes.", thinking="17 is prime, so yes.", input=20, output=30))
    talk = clients[client]
    heard = talk.ask(MODEL[upstream], "17?", thinking=True, stream=stream)
    assert (heard.text, heard.thinking) == ("Yes.", "17 is prime, so yes.")
    assert (heard.stop, heard.usage) == ("end_turn", (20, 30))
    asked = models[upstream].asked
    if client == "ollama" and upstream == "openai":
        return  # nothing to say: such servers think unless told otherwise
    if upstream == "openai":
        assert asked["reasoning_effort"] == "low"
    elif upstream == "anthropic":
        effort = asked.get("output_config", {}).get("effort")
        assert effort == "low" or asked["thinking"]["type"] in ("adaptive", "enabled")
    else:
        assert asked["think"] == (True if client == "ollama" else "low")


@every_pair
def test_reasoning_goes_back_only_to_whom_it_belongs(models, clients, client, upstream, stream):
    """What an Anthropic client sends back: a vendor's signature as it came, to that vendor; the
    router's own token never to anybody."""
    talk, model = clients[client], MODEL[upstream]
    models[upstream].says(Said("Yes.", thinking="17 is prime."))
    question = talk.user("17?")
    heard = talk.ask(model, [question], thinking=True, stream=stream)
    models[upstream].says(Said("Sure."))
    talk.ask(model, [question, heard.message, talk.user("Sure?")], thinking=True, stream=stream)
    asked = models[upstream].asked
    body = models[upstream].chats[0].body
    assert b"llmr1." not in body
    spoken = next(m for m in asked["messages"] if m["role"] == "assistant")
    if client == "anthropic" and upstream == "anthropic":
        assert spoken["content"][0] == {
            "type": "thinking",
            "thinking": "17 is prime.",
            "signature": SIGNATURE,
        }
    elif client == "anthropic":
        kept = spoken.get("thinking" if upstream == "ollama" else "reasoning_content")
        assert kept == "17 is prime."
    else:
        assert SIGNATURE.encode() not in body
    assert joined([b for b in blocks(spoken["content"]) if b["type"] == "text"]) == "Yes."


@both
@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
def test_reasoning_of_one_upstream_is_not_taken_for_another_s_own(
    models, clients, first, second, stream
):
    """An Anthropic client carries what one server thought to another one: words may go along where
    nobody vouches for them, but no signature and no token of the router's."""
    talk = clients["anthropic"]
    models[first].says(Said("Yes.", thinking="17 is prime."))
    question = talk.user("17?")
    heard = talk.ask(MODEL[first], [question], thinking=True, stream=stream)
    (signature,) = [b["signature"] for b in heard.message["content"] if b["type"] == "thinking"]
    assert signature  # clients drop blocks that have none
    models[second].says(Said("Sure."))
    history = [question, heard.message, talk.user("Sure?")]
    assert talk.ask(MODEL[second], history, thinking=True, stream=stream).text == "Sure."
    (received,) = models[second].chats
    assert (signature.encode() in received.body) == (first == second == "anthropic")
    if second == "anthropic" != first:
        assert b"17 is prime." not in received.body
    elif second != "anthropic":
        assert b"17 is prime." in received.body


def blocks(content):
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# --- same format: bytes pass ----------------------------------------------------------------------


ODD = {
    "openai": {
        "temperature": 0.30000000000000004,
        "user": "me",
        "extra_body": {"zz_unknown": {"b": 1, "a": [1e3, None]}, "seed": 12345678901234567890},
    },
    "anthropic": {
        "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "me"},
        "extra_body": {"zz_unknown": {"b": 1, "a": [1e3, None]}},
        "extra_headers": {"anthropic-beta": "one-2026-01-01,two-2026-02-02"},
    },
    "ollama": {"keep_alive": "7m", "options": {"num_ctx": 4096, "zz_unknown": [1]}},
}


def odd_messages(client, talk):
    """A conversation with what only the client's own format has."""
    question = talk.user("17?", PNG)
    if client != "anthropic":
        return [question]
    mark = {"type": "ephemeral", "ttl": "1h"}
    question["content"][1]["cache_control"] = mark
    thought = {"type": "thinking", "thinking": "Hm.\u2028", "signature": SIGNATURE}
    hidden = {"type": "redacted_thinking", "data": "b3BhcXVl"}
    text = {"type": "text", "text": "Yes."}
    turn = {"role": "assistant", "content": [thought, hidden, text]}
    return [question, turn, {"role": "user", "content": "Sure?"}]


@both
@pytest.mark.parametrize("renamed", [False, True], ids=["own-name", "provider-and-model"])
@pytest.mark.parametrize("client", FORMATS)
def test_in_the_same_format_the_client_s_own_bytes_reach_the_upstream(
    models, clients, client, renamed, stream
):
    talk = clients[client]
    model = f"{client}-up/{MODEL[client]}" if renamed else MODEL[client]
    models[client].says(Said("Yes."))
    talk.ask(model, odd_messages(client, talk), tools=TOOLS, stream=stream, **ODD[client])
    (received,) = models[client].chats
    assert talk.sent.count(model.encode()) == 1
    assert received.body == talk.sent.replace(model.encode(), MODEL[client].encode())
    if client != "ollama":
        assert b"zz_unknown" in received.body
    if client == "anthropic":
        assert received.headers["anthropic-beta"] == "one-2026-01-01,two-2026-02-02"
        assert received.headers["anthropic-version"] == talk.sent_headers["anthropic-version"]


@both
@pytest.mark.parametrize("fmt", FORMATS)
def test_in_the_same_format_the_upstream_s_own_bytes_reach_the_client(models, daemon, fmt, stream):
    """Down to fields that nobody knows, and to the spelling of numbers."""
    sent = []
    said = Said("Yes.", thinking="Hm.", calls=(("call_b1", "get_time", {"tz": "UTC"}),))
    ask = {"model": MODEL[fmt], "max_tokens": 9, "stream": stream, "messages": []}
    ask["messages"].append({"role": "user", "content": "hi"})
    if fmt == "openai" and stream:
        ask["stream_options"] = {"include_usage": True}

    def script(turn):
        assert wants_stream(fmt, turn.received) == stream
        if stream:
            parts = [p.replace(b'"model"', b'"zz":1E+2,"model"') for p in pieces(fmt, said, ask)]
            sent.extend(parts)
            turn.stream(parts, kind=models[fmt].stream_type)
        else:
            value = json.dumps({**whole(fmt, said), "zz": 1}, indent=1).encode()
            sent.append(value.replace(b'"zz": 1', b'"zz" : 1E+2'))
            turn.whole(sent[0])

    models[fmt].does(script)
    answer = httpx.post(f"{daemon.url}{CHAT_PATH[fmt]}", json=ask, timeout=20)
    assert answer.status_code == 200
    assert answer.content == b"".join(sent)


# --- headers, keys, names -------------------------------------------------------------------------


@every_pair
def test_the_answer_says_who_gave_it(models, clients, client, upstream, stream):
    models[upstream].says(Said("hi", input=12, output=4))
    talk = clients[client]
    talk.ask(f"{upstream}-up/{MODEL[upstream]}", "hi", stream=stream)
    told = {n.removeprefix("x-router-"): v for n, v in talk.headers.items() if "x-router" in n}
    assert told["provider"] == f"{upstream}-up"
    assert told["model"] == MODEL[upstream]
    assert told["rule"] == "provider/model"
    assert told["attempts"] == "1"
    assert told["request-id"]
    assert told["left-host"] == "no"
    assert "error" not in told
    figures = (told.get("input-tokens"), told.get("output-tokens"))
    assert figures == ((None, None) if stream else ("12", "4"))
    if client == upstream:
        assert "dropped" not in told


LOST = {
    ("openai", "anthropic"): ({"logit_bias": {"50256": -100}, "seed": 7}, {"logit_bias", "seed"}),
    ("openai", "ollama"): ({"logit_bias": {"50256": -100}}, {"logit_bias"}),
    ("anthropic", "openai"): ({"extra_body": {"zz_unknown": 1}}, {"zz_unknown"}),
    ("anthropic", "ollama"): ({"extra_body": {"zz_unknown": 1}}, {"zz_unknown"}),
    ("ollama", "openai"): ({"options": {"mirostat": 2}}, {"mirostat"}),
    ("ollama", "anthropic"): ({"options": {"seed": 7}}, {"seed"}),
}


@both
@pytest.mark.parametrize(("client", "upstream"), LOST)
def test_what_the_upstream_cannot_carry_is_named(models, clients, client, upstream, stream):
    more, names = LOST[client, upstream]
    models[upstream].says(Said("hi"))
    talk = clients[client]
    assert talk.ask(MODEL[upstream], "hi", stream=stream, **more).text == "hi"
    dropped = talk.headers["x-router-dropped"].split(",")
    assert names <= {name.rpartition(".")[2] for name in dropped}
    assert not any(name.encode() in models[upstream].chats[0].body for name in names)


@all_pairs
def test_the_upstream_gets_the_router_s_key_and_nothing_of_the_client_s(
    models, clients, client, upstream
):
    models[upstream].says(Said("hi"))
    clients[client].ask(MODEL[upstream], "hi")
    (received,) = models[upstream].chats
    assert "client-key" not in str(received.headers)
    key = f"key-of-{upstream}"
    if upstream == "anthropic":
        assert received.headers["x-api-key"] == key
        assert "authorization" not in received.headers
    else:
        assert received.headers["authorization"] == f"Bearer {key}"
        assert "x-api-key" not in received.headers


@every_pair
def test_an_alias_leads_to_its_model(models, clients, client, upstream, stream):
    models[upstream].says(Said("hi"))
    talk = clients[client]
    assert talk.ask(f"alias-of-{upstream}", "hi", stream=stream).text == "hi"
    assert models[upstream].asked["model"] == MODEL[upstream]
    assert talk.headers["x-router-rule"] == f"models.alias-of-{upstream}"


def test_every_sdk_lists_aliases_and_models(clients):
    wanted = {f"alias-of-{name}" for name in FORMATS} | set(MODEL.values())
    listed = {
        "openai": {model.id for model in clients["openai"].sdk.models.list()},
        "anthropic": {model.id for model in clients["anthropic"].sdk.models.list()},
        "ollama": {model.model for model in clients["ollama"].sdk.list().models},
    }
    for name, names in listed.items():
        assert wanted <= names, name


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
