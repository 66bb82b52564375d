"""Tools, their calls and their results make the round between every SDK and every server."""

import json

import pytest

from tests.e2e.sdks.pairs import FORMATS, TOOLS, every_pair, joined
from tests.fakes.models import (
    MODEL,
    Said,
)

pytestmark = pytest.mark.e2e


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
