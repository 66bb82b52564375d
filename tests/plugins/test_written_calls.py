"""llmrouterd/plugins/written_calls.py"""

import json
import time

import pytest

from llmrouterd.plugins.written_calls import read

TOOLS = {
    "weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "now": {},
}
ULM = ("weather", {"city": "Ulm", "days": 3})
CALL = '{"name": "weather", "arguments": {"city": "Ulm", "days": 3}}'


def calls(text):
    found = read(text, TOOLS)
    return None if found is None else [(c.name, json.loads(c.arguments)) for c in found[1]]


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"<tool_call>{CALL}",
        CALL,
        f" {CALL}\n",
        f"```json\n{CALL}\n```",
        f"```\n{CALL}\n```",
        f"[{CALL}]",
        '{"type": "function", "function": ' + CALL + "}",
        '{"name": "weather", "parameters": {"city": "Ulm", "days": 3}}',
        '{"name": "weather", "arguments": "{\\"city\\": \\"Ulm\\", \\"days\\": 3}"}',
        f"[TOOL_CALLS][{CALL}]",
        f"[TOOL_CALLS] {CALL}",
        '[TOOL_CALLS]weather[ARGS]{"city": "Ulm", "days": 3}',
        f"<|python_tag|>{CALL}<|eom_id|>",
        '<function=weather>{"city": "Ulm", "days": 3}</function>',
        "<function=weather>\n<parameter=city>\nUlm\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>",
        "<tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n"
        "<parameter=days>3</parameter>\n</function>\n</tool_call>",
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Ulm</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        '<tool_call>{"name": "weather", "arguments": {"city": "Ulm", "days": 3,}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {"city": "Ulm", "days": 3}</tool_call>',
    ],
)
def test_each_notation_is_the_same_call(text):
    assert calls(text) == [ULM]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        "{}",
        "[1, 2]",
        '{"city": "Ulm"}',
        f"Call it so: {CALL}",
        f"{CALL} is how to call it",
        f"{{x}} and {CALL}",
        '{"name": "weather", "arguments": {"city": "Ulm"}, "mood": 1}',
        "<tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>weather</tool_call>",
        '<tool_call>{"name": "rain", "arguments": {"city": "Ulm"}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {"town": "Ulm"}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {"city": 7}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {"city": "Ul',
        '<tool_call>{"name": "weather"}</tool_call>',
        "<function=rain></function>",
        "<function=weather>prose<parameter=city>Ulm</parameter></function>",
        "<function=weather>\n<parameter=days>\n3\n</parameter>\n</function>",
        "[TOOL_CALLS]",
        f"<tool_call>{CALL}</tool_call><tool_call>rubbish</tool_call>",
        "<tool_call>" * 70,
        f"<tool_call>{CALL}</tool_call>" * 65,
    ],
)
def test_what_is_no_call_of_a_declared_tool_is_text(text):
    assert calls(text) is None


def test_several_calls_keep_their_order_and_the_words_beside_them():
    text = f'First <tool_call>{CALL}</tool_call> and <tool_call>{{"name": "now", "arguments": {{}}}}</tool_call> done'
    assert calls(text) == [ULM, ("now", {})]
    assert read(text, TOOLS)[0] == "First  and  done"


def test_a_text_of_the_schema_stays_text_whatever_it_looks_like():
    text = "<function=weather>\n<parameter=city>\n17\n</parameter>\n</function>"
    assert calls(text) == [("weather", {"city": "17"})]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>x" + "<arg_key>a</arg_key><arg_value>b</arg_value>" * 3000 + "<",
        "<function=weather>" + "<parameter=a>" * 20000,
        "<tool_call>" * 20000,
        "[TOOL_CALLS]" * 20000,
        "<tool_call>" + "{" * 200000,
        "```" * 60000,
    ],
)
def test_hostile_text_is_read_in_bounded_time(text):
    begun = time.process_time()
    assert calls(text) is None
    assert time.process_time() - begun < 5  # a quadratic reading takes minutes


@pytest.mark.parametrize(
    "piece", ["<arg_key>", "<arg_key></arg_key>", "<arg_key>a</arg_key><arg_value>"]
)
def test_many_beginnings_of_arguments_are_read_once(piece):
    assert read("<tool_call>f" + piece * 20_000, {"f": {}}) is None
