"""What the official client libraries make of an answer's bytes.

`read_openai`, `read_anthropic`, `read_ollama` and `read_responses` serve a body to the real SDK over a transport in
memory, a few bytes at a time, and give back what a program built on that SDK would see:

    text, reasoning, refusal   str, str, str or None
    calls                      [(id, name, arguments as parsed, None when they are no JSON)]
    stop, native               canonical reason, the word on the wire
    usage                      {"input", "output", "cache_read", "cache_write", "reasoning"} or None
    error                      None or {"phase", "status", "type", "code", "message"}

With `strict` every event is also validated against the SDK's own types: the SDKs themselves swallow
almost anything.
"""

import json
import re
from functools import cache

import anthropic
import httpx
import httpx2
import ollama
import openai
from pydantic import TypeAdapter

OPENAI_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filter",
}
ANTHROPIC_STOPS = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "tool_use": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
}
RESPONSES_STOPS = {
    "completed": "end_turn",
    "incomplete:max_output_tokens": "max_tokens",
    "incomplete:content_filter": "content_filter",
}
OLLAMA_STOPS = {"stop": "end_turn", None: "end_turn", "length": "max_tokens"}


def served(lib, body, *, status, content_type, step):
    """An HTTP client of `lib` that answers anything with `body`, in pieces of `step` bytes."""

    class Pieces(lib.SyncByteStream):
        def __iter__(self):
            for start in range(0, len(body), step):
                yield body[start : start + step]

    def answer(_request):
        return lib.Response(status, headers={"content-type": content_type}, stream=Pieces())

    return lib.Client(base_url="http://upstream.invalid", transport=lib.MockTransport(answer))


def nothing():
    return {
        "text": "",
        "reasoning": "",
        "refusal": None,
        "calls": [],
        "stop": None,
        "native": None,
        "usage": None,
        "error": None,
    }


def has_surrogate(body):
    """Whether a lone surrogate may be in it: pydantic cannot dump such text, whoever wrote it."""
    return re.search(rb"\\u[dD][89a-fA-F]", body) is not None


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


@cache
def adapter(kind):
    return TypeAdapter(kind)


def failed(phase, error, message):
    body = error.body if isinstance(error.body, dict) else {}
    status = getattr(error, "status_code", None) if phase == "before" else None
    return {
        "phase": phase,
        "status": status,
        "type": body.get("type"),
        "code": body.get("code"),
        "message": message or body.get("message"),
    }


# --- OpenAI ---


def read_openai(body, stream, *, status=200, step=16, strict=True):
    got, strict = nothing(), strict and not has_surrogate(body)
    if stream and b'"type":"custom"' in body:
        strict = False  # the SDK's types know custom calls in whole answers only
    content_type = "text/event-stream" if stream else "application/json"
    http = served(httpx2, body, status=status, content_type=content_type, step=step)
    client = openai.OpenAI(
        api_key="k", base_url="http://upstream.invalid/v1", max_retries=0, http_client=http
    )
    try:
        if stream:
            _read_openai_stream(client, got, strict=strict)
        else:
            _read_openai_answer(client, got, body, strict=strict)
    except openai.APIStatusError as error:
        got["error"] = failed("before", error, None)
    except openai.APIError as error:
        got["error"] = failed("mid", error, None)
    got["stop"] = OPENAI_STOPS.get(got["native"])
    if got["refusal"]:
        got["stop"] = "refusal"
    return got


def _read_openai_answer(client, got, body, *, strict):
    answer = client.chat.completions.create(model="m", messages=[])
    if strict and not (isinstance(parsed(body), dict) and "error" in parsed(body)):
        adapter(openai.types.chat.ChatCompletion).validate_json(body)
    (choice,) = answer.choices
    message = choice.message
    got.update(
        text=message.content or "",
        refusal=message.refusal,
        native=choice.finish_reason,
        usage=_openai_usage(answer.usage),
        reasoning=_openai_reasoning(message),
    )
    for call in message.tool_calls or []:
        if call.type == "custom":
            got["calls"].append((call.id, call.custom.name, call.custom.input))
        else:
            got["calls"].append((call.id, call.function.name, parsed(call.function.arguments)))


def _read_openai_stream(client, got, *, strict):
    calls = {}
    chunks = client.chat.completions.create(model="m", messages=[], stream=True)
    for chunk in chunks:
        if strict:
            adapter(openai.types.chat.ChatCompletionChunk).validate_python(
                chunk.to_dict(mode="json")
            )
        if chunk.usage:
            got["usage"] = _openai_usage(chunk.usage)
        for choice in chunk.choices:
            delta = choice.delta
            got["text"] += delta.content or ""
            got["reasoning"] += _openai_reasoning(delta)
            if delta.refusal:
                got["refusal"] = (got["refusal"] or "") + delta.refusal
            for piece in delta.tool_calls or []:
                call = calls.setdefault(piece.index, [None, "", "", parsed])
                call[0] = piece.id or call[0]
                if piece.function:
                    call[1] += piece.function.name or ""
                    call[2] += piece.function.arguments or ""
                custom = (piece.model_extra or {}).get("custom")
                if custom:
                    call[1] += custom.get("name") or ""
                    call[2] += custom.get("input") or ""
                    call[3] = str
            got["native"] = choice.finish_reason or got["native"]
    ordered = [call for _, call in sorted(calls.items())]
    got["calls"] = [(call, name, read(text)) for call, name, text, read in ordered]


def _openai_reasoning(message):
    extra = message.model_extra or {}
    return extra.get("reasoning_content") or extra.get("reasoning") or ""


def _openai_usage(usage):
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return {
        "input": usage.prompt_tokens,
        "output": usage.completion_tokens,
        "cache_read": prompt.cached_tokens if prompt else None,
        "cache_write": getattr(prompt, "cache_write_tokens", None) if prompt else None,
        "reasoning": completion.reasoning_tokens if completion else None,
    }


# --- Anthropic ---


def read_anthropic(body, stream, *, status=200, step=16, strict=True):
    got, strict = nothing(), strict and not has_surrogate(body)
    content_type = "text/event-stream" if stream else "application/json"

    def client():
        http = served(httpx2, body, status=status, content_type=content_type, step=step)
        return anthropic.Anthropic(
            api_key="k", base_url="http://upstream.invalid", max_retries=0, http_client=http
        )

    pieces = {}
    try:
        if stream:
            _watch_anthropic(client(), got, pieces, strict=strict)
            with client().messages.stream(model="m", max_tokens=1, messages=[]) as events:
                for _ in events:  # the SDK's own accumulator, which is stricter
                    pass
                message = events.get_final_message()
        else:
            message = client().messages.create(model="m", max_tokens=1, messages=[])
            if strict:
                adapter(anthropic.types.Message).validate_json(body)
    except anthropic.APIStatusError as error:
        got["error"] = failed("before" if status >= 400 else "mid", error, error.api_message)
        got["error"].update(type=error.type, code=error.error_code)
        return got
    got["text"] = ""
    _read_message(message, got, pieces)
    return got


def _watch_anthropic(client, got, pieces, *, strict):
    for event in client.messages.create(model="m", max_tokens=1, messages=[], stream=True):
        if strict:
            adapter(anthropic.types.RawMessageStreamEvent).validate_python(
                event.to_dict(mode="json")
            )
        if event.type == "content_block_delta":
            if event.delta.type == "text_delta":
                got["text"] += event.delta.text
            elif event.delta.type == "input_json_delta":
                pieces[event.index] = pieces.get(event.index, "") + event.delta.partial_json


def _read_message(message, got, pieces):
    got["native"] = message.stop_reason
    got["stop"] = ANTHROPIC_STOPS.get(message.stop_reason)
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    got["usage"] = {
        "input": usage.input_tokens + read + written,
        "output": usage.output_tokens,
        "cache_read": read,
        "cache_write": written,
        "reasoning": details.thinking_tokens if details else None,
    }
    for index, block in enumerate(message.content):
        if block.type == "text":
            got["text"] += block.text
        elif block.type == "thinking":
            got["reasoning"] += block.thinking
        elif block.type == "tool_use":
            given = parsed(pieces[index]) if index in pieces else block.input
            got["calls"].append((block.id, block.name, given))
    if message.stop_reason == "refusal" and message.stop_details:
        got["refusal"] = message.stop_details.explanation


# --- Ollama ---


def read_ollama(body, stream, *, status=200, step=16, strict=True):
    got, ended = nothing(), False
    ids = _ollama_ids(body) if status == 200 else []
    content_type = "application/x-ndjson" if stream else "application/json"
    client = ollama.Client(host="http://upstream.invalid", verify=False)  # certificates take time
    client._client.close()
    client._client = served(httpx, body, status=status, content_type=content_type, step=step)
    try:
        answer = client.chat(model="m", messages=[], stream=stream)
        for piece in answer if stream else [answer]:
            if strict:
                assert piece.message.role == "assistant"
                assert piece.model
                assert piece.created_at
            got["text"] += piece.message.content or ""
            got["reasoning"] += piece.message.thinking or ""
            for call in piece.message.tool_calls or []:
                arguments = dict(call.function.arguments)
                got["calls"].append((ids[len(got["calls"])], call.function.name, arguments))
            if piece.done:
                ended, got["native"] = True, piece.done_reason
                got["usage"] = _ollama_usage(piece)
    except ollama.ResponseError as error:
        phase = "before" if status >= 400 else "mid"
        got["error"] = {
            "phase": phase,
            "status": error.status_code if phase == "before" else None,
            "type": None,
            "code": None,
            "message": error.error,
        }
    if ended:
        got["stop"] = OLLAMA_STOPS.get(got["native"], got["native"])
        if got["calls"] and got["stop"] == "end_turn":
            got["stop"] = "tool_use"
    return got


def _ollama_ids(body):
    """The SDK has no place for a call's id: it is read beside it."""
    lines = [json.loads(line) for line in body.split(b"\n") if line.strip()]
    return [
        call.get("id")
        for line in lines
        for call in (line.get("message") or {}).get("tool_calls") or []
    ]


def _ollama_usage(piece):
    if piece.eval_count is None and piece.prompt_eval_count is None:
        return None
    return {"input": piece.prompt_eval_count, "output": piece.eval_count}


# --- Responses ---


def read_responses(body, stream, *, status=200, step=16, strict=True):
    got, strict = nothing(), strict and not has_surrogate(body)
    content_type = "text/event-stream" if stream else "application/json"

    def client():
        http = served(httpx2, body, status=status, content_type=content_type, step=step)
        return openai.OpenAI(
            api_key="k", base_url="http://upstream.invalid/v1", max_retries=0, http_client=http
        )

    try:
        if stream:
            _watch_responses(client(), got, strict=strict)
        else:
            answer = client().responses.create(model="m", input="x")
            if strict and "output" in (parsed(body) or {}):
                adapter(openai.types.responses.Response).validate_json(body)
            _read_response(answer, got)
    except openai.APIStatusError as error:
        got["error"] = failed("before", error, None)
    except openai.APIError as error:
        got["error"] = failed("mid", error, None)
    else:
        if stream and got["native"]:
            with client().responses.stream(model="m", input="x") as events:
                for _ in events:  # the SDK's own accumulator, which is stricter
                    pass
                if got["native"] == "completed":
                    events.get_final_response()
    return got


def _watch_responses(client, got, *, strict):
    numbers, items, final = [], {}, None
    for event in client.responses.create(model="m", input="x", stream=True):
        if strict:
            adapter(openai.types.responses.ResponseStreamEvent).validate_python(
                event.to_dict(mode="json")
            )
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            got["text"] += event.delta
        elif event.type == "response.output_item.done":
            items[event.output_index] = event.item.to_dict(mode="json")
        elif event.type in ("response.completed", "response.incomplete", "response.failed"):
            final = event.response
    assert numbers == list(range(len(numbers)))
    if final is not None:
        streamed, got["text"] = got["text"], ""
        _read_response(final, got)
        assert got["text"] == streamed
        assert [item.to_dict(mode="json") for item in final.output] == list(items.values())


def _read_response(answer, got):
    reason = answer.incomplete_details.reason if answer.incomplete_details else None
    got["native"] = f"{answer.status}:{reason}" if reason else answer.status
    for item in answer.output:
        if item.type == "message":
            for part in item.content:
                if part.type == "refusal":
                    got["refusal"] = (got["refusal"] or "") + part.refusal
                else:
                    got["text"] += part.text
        elif item.type == "reasoning":
            got["reasoning"] += "".join(part.text for part in item.summary)
        elif item.type == "function_call":
            got["calls"].append((item.call_id, item.name, parsed(item.arguments)))
        elif item.type == "custom_tool_call":
            got["calls"].append((item.call_id, item.name, item.input))
    got["stop"] = RESPONSES_STOPS.get(got["native"])
    if got["stop"] == "end_turn" and got["calls"]:
        got["stop"] = "tool_use"
    elif got["stop"] == "end_turn" and got["refusal"]:
        got["stop"] = "refusal"
    usage = answer.usage
    if usage is not None:
        got["usage"] = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache_read": usage.input_tokens_details.cached_tokens,
            "cache_write": usage.input_tokens_details.cache_write_tokens,
            "reasoning": usage.output_tokens_details.reasoning_tokens,
        }


READERS = {
    "openai": read_openai,
    "anthropic": read_anthropic,
    "ollama": read_ollama,
    "responses": read_responses,
}
