"""The client has its values again: in text, reasoning and arguments of calls, in its own format, as
the official libraries read it; and the router covers them again in the next turn."""

import json
import socket
import time

import httpx
import pytest

from tests.e2e.covering.planted import MAIL, REDACT, WORD, held, wire
from tests.e2e.scripts_sdks import CLIENTS, ResponsesClient
from tests.fakes.daemon import RunningDaemon
from tests.fakes.models import FakeModel, Said

pytestmark = pytest.mark.e2e
FORMATS = ("openai", "anthropic", "ollama", "responses")
SAYS = f"I am {MAIL}, it is about {WORD}."
ARGUMENTS = {"to": "[EMAIL_1]", "about": ["<[WORD_1]>", "__EMAIL_1__"]}
TOOLS = [
    (
        f"mail_{MAIL}".replace("@", "__").replace(".", "_"),
        f"writes to {MAIL}",
        {"type": "object", "properties": {"to": {"type": "string", "description": MAIL}}},
    )
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("up", FORMATS)
@pytest.mark.parametrize("client", FORMATS)
def test_the_official_libraries_read_the_values(client, up, stream, models, daemon) -> None:
    kind = {**CLIENTS, "responses": ResponsesClient}[client]
    talk = kind(daemon.url, **{"x-router-provider": up})
    models[up].says(
        Said(
            "Write to [EMAIL_1] about [WORD_1], [EMAIL_1].",
            thinking="Who is [EMAIL_1]? Is it __WORD_1__?",
            calls=(("call_1", "t", ARGUMENTS),),
        )
    )
    if client == "ollama":
        more = {"tools": TOOLS}
    elif client == "responses":
        name, told, schema = TOOLS[0]
        tool = {"type": "function", "name": name, "description": told, "parameters": schema}
        more = {"tools": [tool], "instructions": SAYS, "metadata": {"who": MAIL}}
        more = {"extra_body": more}
    else:
        more = {"tools": TOOLS, "thinking": client == "anthropic"}
    try:
        heard = talk.ask("kit-model", SAYS, stream=stream, **more)
    finally:
        talk.close()
    assert heard.text == f"Write to {MAIL} about {WORD}, {MAIL}."
    assert [call[2] for call in heard.calls] == [{"to": MAIL, "about": [f"<{WORD}>", MAIL]}]
    if client != "responses" and heard.thinking:
        assert heard.thinking == f"Who is {MAIL}? Is it {WORD}?"
    assert heard.thinking or client == "responses" or up == "responses"
    (chat,) = models[up].chats
    assert held(wire(chat)) == []
    assert chat.body.count(b"EMAIL_1") >= 3


@pytest.mark.parametrize("up", FORMATS)
def test_an_answer_of_responses_repeats_the_request_as_its_client_knows_it(
    up, models, daemon
) -> None:
    body = {"model": "kit-model", "input": SAYS, "instructions": SAYS, "metadata": {MAIL: MAIL}}
    answer = httpx.post(
        f"{daemon.url}/v1/responses", json=body, headers={"x-router-provider": up}
    ).json()
    assert answer["instructions"] == SAYS
    assert answer["metadata"] == {MAIL: MAIL}
    assert "EMAIL_1" not in json.dumps(answer)


@pytest.mark.parametrize("up", FORMATS)
def test_what_is_gone_on_from_is_covered_again(up, models, daemon) -> None:
    """`previous_response_id`: the router keeps the values, the upstream sees placeholders."""
    wish = {"x-router-provider": up}
    models[up].says(Said("Yes, [EMAIL_1]."))
    body = {"model": "kit-model", "input": SAYS, "store": True}
    first = httpx.post(f"{daemon.url}/v1/responses", json=body, headers=wish).json()
    models[up].says(Said("Again, [EMAIL_1]."))
    body = {"model": "kit-model", "input": "Who?", "previous_response_id": first["id"]}
    second = httpx.post(f"{daemon.url}/v1/responses", json=body, headers=wish).json()
    assert second["output"][-1]["content"][0]["text"] == f"Again, {MAIL}."
    (chat,) = models[up].chats
    assert held(wire(chat)) == []
    assert b"Yes, [EMAIL_1]." in chat.body
    assert b"previous_response_id" not in chat.body  # there, numbers would begin again


def test_reasoning_that_a_server_wants_back_is_covered_as_the_rest(models, daemon) -> None:
    """The router remembers it by the id of a call, for clients that do not hand it back."""
    wish = {"x-router-provider": "openai", "anthropic-version": "2023-06-01"}
    models["openai"].says(Said(thinking="ask [EMAIL_1]", calls=(("call_9", "t", {"a": "b"}),)))
    head = {"model": "kit-model", "max_tokens": 99}
    tools = [{"name": "t", "input_schema": {"type": "object"}}]
    body = {**head, "tools": tools, "messages": [{"role": "user", "content": SAYS}]}
    httpx.post(f"{daemon.url}/v1/messages", json=body, headers=wish).raise_for_status()
    models["openai"].says(Said("done"))
    use = {"type": "tool_use", "id": "call_9", "name": "t", "input": {"a": "b"}}
    result = {"type": "tool_result", "tool_use_id": "call_9", "content": "ok"}
    body["messages"] = [  # compacted: another value comes first now
        {"role": "user", "content": "other@firma-nord.pl wants it"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    httpx.post(f"{daemon.url}/v1/messages", json=body, headers=wish).raise_for_status()
    (chat,) = models["openai"].chats
    assert held(wire(chat)) == []
    assert b"ask [EMAIL_2]" in chat.body


@pytest.mark.parametrize("stream", [False, True])
def test_attempts_beside_and_after_each_other_see_no_value(stream, tmp_path) -> None:
    """A slow one with another beside it, one that fails, one that takes the connection and dies."""
    with (
        FakeModel("openai", "kit-model") as slow,
        FakeModel("anthropic", "kit-model") as quick,
        FakeModel("ollama", "kit-model") as broken,
        socket.socket() as unheard,
    ):
        unheard.bind(("127.0.0.1", 0))
        said = Said("To [EMAIL_1].")
        answer = slow.answer(said)

        def late(turn) -> None:
            time.sleep(0.6)
            answer(turn)

        slow.does(late)
        quick.says(said)
        broken.does(lambda turn: turn.whole({"error": "ill"}, 500))
        urls = {"gone": ("openai", f"http://127.0.0.1:{unheard.getsockname()[1]}")}
        urls |= {"broken": ("ollama", broken.url), "slow": ("openai", slow.url)}
        urls |= {"quick": ("anthropic", quick.url)}
        config = f"[server]\nport = 0\n{REDACT}" + "".join(
            f'[[providers]]\nname = "{n}"\nformat = "{f}"\nbase_url = "{u}"\nmax_retries = 0\n'
            f'models = ["kit-model"]\nquality = {9 - at}\n'
            for at, (n, (f, u)) in enumerate(urls.items())
        )
        order = '["gone", "broken", "slow", "quick"]'
        config += f'[[routers]]\ntype = "fallback"\nquality_bias = 1.0\nproviders = {order}\nhedge_after_ms = 100\n'
        with RunningDaemon(config, tmp_path) as daemon:
            message = [{"role": "user", "content": SAYS}]
            body = {"model": "kit-model", "messages": message, "stream": stream}
            got = httpx.post(f"{daemon.url}/v1/chat/completions", json=body, timeout=60)
            assert got.status_code == 200, got.text
            assert MAIL in got.text.replace('"}}', "")
        for model in (slow, quick, broken):
            assert model.chats, model.format
            for each in model.upstream.received:
                assert held(wire(each)) == []


def test_a_question_of_a_classifier_to_a_model_elsewhere_holds_no_value(tmp_path) -> None:
    """Of a classifier of requests, which comes before the request is covered, and of answers."""
    with FakeModel("openai", "kit-model") as judge, FakeModel("ollama", "kit-model") as model:
        judge.says(Said("fine"))
        model.says(Said("It is [EMAIL_1], and the password is hT7#kk29!xQz."))
        llm = (
            'enabled = true\nprovider = "judge"\nmodel = "kit-model"\nallow_remote = true\n'
            'labels = { fine = "all is well", bad = "it is not" }\n'
        )
        config = (
            f"[server]\nport = 0\n{REDACT}"
            f'[[providers]]\nname = "judge"\nformat = "openai"\nbase_url = "{judge.url}"\n'
            'models = ["kit-model"]\nlocal = false\n'
            f'[[providers]]\nname = "main"\nformat = "ollama"\nbase_url = "{model.url}"\n'
            f"[classifiers.llm]\n{llm}[response_classifiers.llm]\n{llm}"
        )
        with RunningDaemon(config, tmp_path) as daemon:
            asked = [
                {"role": "user", "content": "password: hT7#kk29!xQz"},
                {"role": "user", "content": f"{SAYS} hT7#kk29!xQz"},
            ]
            body = {"model": "kit-model", "messages": asked}
            wish = {"x-router-provider": "main"}
            got = httpx.post(f"{daemon.url}/v1/chat/completions", json=body, headers=wish)
            assert MAIL in got.text
        assert len(judge.chats) == 2
        for each in judge.chats:
            assert held(wire(each), [MAIL, WORD, "hT7#kk29!xQz"]) == []
            assert b"EMAIL_" in each.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": f"mail = {MAIL!r}\n", "suffix": f"# {MAIL}", "echo": True}),
        ("/v1/completions", {"prompt": [SAYS, f"to {MAIL}"], "max_tokens": 9}),
        ("/api/generate", {"prompt": SAYS, "suffix": SAYS, "stream": False}),
        ("/api/generate", {"prompt": SAYS, "system": SAYS, "template": SAYS, "raw": True}),
        ("/api/generate", {"prompt": SAYS, "options": {"stop": [MAIL]}, "stream": False}),
    ],
)
def test_a_text_completion_stays_what_it_is(path, body, models, daemon) -> None:
    """Such a call cannot be asked as a chat: a program that writes code would lose its completions."""
    up = "openai" if path.startswith("/v1") else "ollama"
    wish = {"x-router-provider": up}
    got = httpx.post(f"{daemon.url}{path}", json={"model": "kit-model", **body}, headers=wish)
    assert got.status_code == 200, got.text
    (asked,) = models[up].small
    assert asked.target == path
    assert held(wire(asked)) == []
    assert asked.json.keys() >= body.keys()
    assert b"EMAIL_1" in asked.body


def test_texts_for_vectors_are_covered(models, daemon) -> None:
    for path, up in (("/v1/embeddings", "openai"), ("/api/embed", "ollama")):
        for texts in (SAYS, [SAYS, "nothing", MAIL]):
            for model in models.values():
                model.small.clear()
            body = {"model": "kit-model", "input": texts}
            wish = {"x-router-provider": up}
            got = httpx.post(f"{daemon.url}{path}", json=body, headers=wish)
            assert got.status_code == 200, got.text
            asked = next(e for m in models.values() for e in m.small if "embed" in e.target)
            assert held(wire(asked)) == []
            said = asked.json["input"]
            assert type(said) is type(texts)
            first = said if isinstance(said, str) else said[0]
            assert first == "I am [EMAIL_1], it is about [WORD_1]."
