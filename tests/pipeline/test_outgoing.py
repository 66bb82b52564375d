"""What goes out to a candidate, and what is held back."""

import json

import pytest
import trio.testing

from llmrouterd.config.dialects import PRESETS
from llmrouterd.model import Clocks, Dialect, ModelInfo, Provider, Secret
from tests.pipeline.stage import (
    STREAM,
    chat_answer,
    chat_stream,
    chunk,
    replies,
    request,
    role_chunk,
    said,
    sse,
    stage,
    streams,
    usage_chunk,
)

STRICT = [("x-router-strict", "1")]
ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "up",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def provider(name: str, fmt: str = "openai", **more) -> Provider:
    return Provider(name, fmt, "http://h/v1", max_retries=0, **more)


# --- strict ---------------------------------------------------------------------------------------


async def test_strict_refuses_what_would_be_lost_and_names_it() -> None:
    up = {"a": replies(200, ANTHROPIC_ANSWER)}
    async with stage(provider("a", "anthropic"), up=up) as st:
        out = await st.ask("openai", request("openai", seed=7, logit_bias={"1": 2}), STRICT)
        assert st.asked["a"] == []
    assert (out.status, out.headers.get("x-router-error")) == (400, "unsupported")
    assert "seed" in out.json["error"]["message"]
    assert "logit_bias" in out.json["error"]["message"]
    assert (st.record.end, st.record.fault) == ("refused", "client")


async def test_strict_goes_on_to_who_can_carry_it() -> None:
    up = {"a": replies(200, ANTHROPIC_ANSWER), "b": replies(200, chat_answer("b"))}
    async with stage(provider("a", "anthropic"), provider("b"), up=up) as st:
        out = await st.ask("openai", request("openai", seed=7), STRICT)
        assert st.asked["a"] == []
    assert (out.status, out.headers.get("x-router-provider")) == (200, "b")


async def test_what_does_no_harm_is_no_loss() -> None:
    up = {"a": replies(200, ANTHROPIC_ANSWER)}
    async with stage(provider("a", "anthropic"), up=up) as st:
        out = await st.ask("openai", request("openai", prompt_cache_key="k", max_tokens=9), STRICT)
    assert out.status == 200
    assert out.headers.get("x-router-dropped") == "prompt_cache_key"


@pytest.mark.parametrize("value", ["0", "", "no"])
async def test_without_strict_it_is_noted(value: str) -> None:
    up = {"a": replies(200, ANTHROPIC_ANSWER)}
    async with stage(provider("a", "anthropic"), up=up) as st:
        out = await st.ask("openai", request("openai", seed=7), [("x-router-strict", value)])
    assert out.status == 200
    assert "seed" in (out.headers.get("x-router-dropped") or "")


async def test_the_owner_may_be_strict_for_everybody() -> None:
    up = {"a": replies(200, ANTHROPIC_ANSWER)}
    async with stage(provider("a", "anthropic"), up=up, strict=True) as st:
        assert (await st.ask("openai", request("openai", seed=7))).status == 400


# --- a client's own credential --------------------------------------------------------------------

MINE = [("authorization", "Bearer sk-mine"), ("x-router-key", "k")]
DENIED = {"error": {"message": "bad key sk", "type": "invalid_request_error", "code": "bad"}}


async def test_a_client_s_own_credential_reaches_its_provider() -> None:
    up = {"a": replies(200, chat_answer("hi"))}
    async with stage(provider("a", credentials="client"), up=up, own_keys=(Secret("k"),)) as st:
        assert (await st.ask("openai", request("openai"), MINE)).status == 200
        (asked,) = st.asked["a"]
    assert asked.headers.get("authorization") == "Bearer sk-mine"
    assert "x-router-key" not in asked.headers


async def test_it_goes_nowhere_after_another_provider_failed() -> None:
    up = {"a": replies(500, {"error": {"message": "down"}}), "b": replies(200, chat_answer("hi"))}
    async with stage(provider("a"), provider("b", credentials="client"), up=up) as st:
        out = await st.ask("openai", request("openai"), MINE)
        assert st.asked["b"] == []
    assert out.status >= 500
    assert any("own credential" in line for line in st.record.attempts)


@pytest.mark.parametrize("status", [401, 403])
async def test_an_upstream_s_no_to_it_goes_back_unchanged(status: int) -> None:
    up = {"a": replies(status, DENIED), "b": replies(200, chat_answer("hi"))}
    async with stage(provider("a", credentials="client"), provider("b"), up=up) as st:
        out = await st.ask("openai", request("openai"), MINE)
        assert st.asked["b"] == []
    assert (out.status, out.body) == (status, json.dumps(DENIED).encode())


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (403, "permission_error")]
)
async def test_a_client_of_another_format_is_told_what_the_no_was_about(
    status: int, kind: str
) -> None:
    up = {"a": replies(status, DENIED)}
    async with stage(provider("a", credentials="client"), up=up) as st:
        out = await st.ask("anthropic", request("anthropic"), MINE)
    assert (out.status, out.json["error"]["type"]) == (status, kind)
    assert out.json["error"]["message"] == DENIED["error"]["message"]


async def test_the_limits_of_its_account_come_back_to_it() -> None:
    limits = [("x-ratelimit-remaining-requests", "9")]
    for credentials, seen in (("client", "9"), ("provider", None)):
        up = {"a": replies(200, chat_answer("hi"), headers=limits)}
        async with stage(provider("a", credentials=credentials), up=up) as st:
            out = await st.ask("openai", request("openai"), MINE)
        assert out.headers.get("x-ratelimit-remaining-requests") == seen


# --- what is learned ------------------------------------------------------------------------------


async def test_a_refused_beta_is_left_out_and_remembered() -> None:
    words = "Unexpected value(s) `b` for the `anthropic-beta` header."
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    up = {"a": [replies(400, refusal), replies(200, ANTHROPIC_ANSWER)]}
    claude = provider("a", "anthropic", dialect=PRESETS["anthropic"])
    betas = [("anthropic-beta", "a,b")]
    async with stage(claude, up=up) as st:
        assert (await st.ask("anthropic", request("anthropic"), betas)).status == 200
        assert (await st.ask("anthropic", request("anthropic"), betas)).status == 200
        sent = [asked.headers.get("anthropic-beta") for asked in st.asked["a"]]
    assert sent == ["a,b", "a", "a"]


async def test_a_server_that_wants_reasoning_gets_a_blank() -> None:
    words = "thinking is enabled but reasoning_content is missing in assistant tool call message"
    up = {"a": [replies(400, {"error": {"message": words}}), replies(200, chat_answer("hi"))]}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]},
    ]
    async with stage(provider("a"), up=up) as st:
        out = await st.ask("anthropic", request("anthropic", messages=messages))
        first, second = (asked.json["messages"][1] for asked in st.asked["a"])
    assert out.status == 200
    assert first["tool_calls"][0]["id"] == call["id"]
    assert "reasoning_content" not in first
    assert second["reasoning_content"] == " "


async def test_the_same_refusal_twice_is_a_failure() -> None:
    words = "role 'system' is not supported on this model"
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    async with stage(provider("a", "anthropic"), up={"a": replies(400, refusal)}) as st:
        out = await st.ask("openai", request("openai"))
        assert len(st.asked["a"]) == 2
    assert (out.status, words in out.json["error"]["message"]) == (400, True)


# --- reasoning in tags ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_in_tags_is_split_off(
    stream: bool, autojump_clock: trio.testing.MockClock
) -> None:
    text = "<think>hm</think>Hello"
    script = (
        streams(STREAM["openai"], chat_stream(*text)) if stream else replies(200, chat_answer(text))
    )
    tags = provider("a", dialect=Dialect(reasoning_field="think_tags"))
    async with stage(tags, up={"a": script}) as st:
        out = await st.ask("openai", request("openai", stream=stream))
    if stream:
        lines = [line[6:] for line in out.body.split(b"\n\n") if line.startswith(b"data: {")]
        deltas = [c["delta"] for line in lines for c in json.loads(line)["choices"]]
        got = {
            name: "".join(delta.get(name) or "" for delta in deltas)
            for name in ("content", "reasoning_content")
        }
    else:
        got = out.json["choices"][0]["message"]
    assert (got["content"], got["reasoning_content"]) == ("Hello", "hm")


# --- trying again ---------------------------------------------------------------------------------


async def test_what_an_upstream_says_of_trying_again_reaches_a_client_of_its_format(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fields = [("retry-after-ms", "61500"), ("x-should-retry", "true"), ("x-other", "no")]
    up = {"a": replies(429, {"error": {"message": "slow"}}, headers=fields)}
    async with stage(provider("a"), up=up) as st:
        same = await st.ask("openai", request("openai"))
        other = await st.ask("anthropic", request("anthropic"))
    assert same.headers.get("retry-after-ms") == "61500"
    assert same.headers.get("x-should-retry") == "true"
    assert same.headers.get("retry-after") == "62"
    assert "x-other" not in same.headers
    assert "retry-after-ms" not in other.headers
    assert "x-should-retry" not in other.headers
    assert other.headers.get("retry-after") == "62"


# --- sealed reasoning -----------------------------------------------------------------------------


async def test_reasoning_that_another_server_sealed_is_left_out_when_it_is_refused() -> None:
    words = "messages.1.content.0: Invalid `signature` in `thinking` block"
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "THEIRS"}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "hello"}]},
        {"role": "user", "content": "more"},
    ]
    up = {"a": [replies(400, refusal), replies(200, ANTHROPIC_ANSWER)]}
    async with stage(provider("a", "anthropic"), up=up) as st:
        out = await st.ask("anthropic", request("anthropic", messages=messages))
        first, second = (asked.json["messages"][1]["content"] for asked in st.asked["a"])
    assert out.status == 200
    assert first[0] == thinking
    assert second == [{"type": "text", "text": "hello"}] or second == "hello"
    assert "messages[].thinking" in (out.headers.get("x-router-dropped") or "")


async def test_a_limit_beyond_the_model_s_own_is_lowered_and_told() -> None:
    models = {"a": {"a-model": ModelInfo("a-model", max_output=64)}}
    up = {"a": replies(200, ANTHROPIC_ANSWER)}
    async with stage(provider("a", "anthropic"), up=up, models=models) as st:
        out = await st.ask("openai", request("openai", max_tokens=1000))
        assert st.asked["a"][0].json["max_tokens"] == 64
    assert out.headers.get("x-router-dropped") == "max_tokens"


CHAT = replies(200, chat_answer("x"))


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "responses", "ollama"])
async def test_a_limit_beyond_what_the_context_leaves_is_lowered_and_told(fmt: str) -> None:
    """Agents ask for 32,000 tokens of whatever model there is; vLLM refuses what cannot fit."""
    limits = {"responses": "max_output_tokens", "ollama": "options"}
    name = limits.get(fmt, "max_tokens")
    asked = {name: {"num_predict": 32_000} if fmt == "ollama" else 32_000}
    models = {"a": {"a-model": ModelInfo("a-model", context_length=8192)}}
    async with stage(provider("a"), up={"a": CHAT}, models=models) as st:
        out = await st.ask(fmt, request(fmt, **asked), [("x-router-strict", "1")])
        assert 8100 < st.asked["a"][0].json["max_tokens"] < 8192
    assert out.status == 200
    told = "options.num_predict" if fmt == "ollama" else name
    assert told in str(out.headers.get("x-router-dropped"))


async def test_what_the_prompt_was_found_to_be_counts_for_the_room_beside_it() -> None:
    models = {"a": {"a-model": ModelInfo("a-model", context_length=8192)}}
    long = request("openai", max_tokens=32_000, messages=[{"role": "user", "content": "x " * 4000}])
    answer = chat_answer("x", usage={"prompt_tokens": 4001, "completion_tokens": 1})
    async with stage(provider("a"), up={"a": replies(200, answer)}, models=models) as st:
        for _ in range(2):
            await st.ask("openai", long)
        first, second = (asked.json["max_tokens"] for asked in st.asked["a"])
        assert second <= 8192 - 4001
        assert second != first


@pytest.mark.parametrize(
    ("which", "info"),
    [
        (provider("a"), ModelInfo("a-model")),
        (provider("a", dialect=PRESETS["openai"]), ModelInfo("a-model", context_length=8192)),
        (provider("a", dialect=PRESETS["llama.cpp"]), ModelInfo("a-model", context_length=8192)),
        (provider("a"), ModelInfo("a-model", context_length=1000)),
    ],
    ids=["unknown", "the vendor", "llama.cpp", "hardly any room"],
)
async def test_a_limit_stays_where_it_is_not_known_to_be_refused(
    which: Provider, info: ModelInfo
) -> None:
    up = {"a": [CHAT, streams(STREAM["openai"], chat_stream("x"))]}
    if which.dialect.name == "llama.cpp":
        up = {"a": up["a"][1:]}
    async with stage(which, up=up, models={"a": {"a-model": info}}) as st:
        out = await st.ask("openai", request("openai", max_tokens=32_000))
        assert st.asked["a"][0].json["max_tokens"] == 32_000
    assert out.headers.get("x-router-dropped") is None


@pytest.mark.parametrize(
    ("which", "info", "switches"),
    [
        (provider("a"), ModelInfo("a-model"), False),
        (provider("a", dialect=PRESETS["openai"]), ModelInfo("a-model"), False),
        (provider("a", dialect=PRESETS["vllm"]), ModelInfo("a-model"), True),
        (provider("a"), ModelInfo("a-model", native={"owned_by": "vllm"}), True),
        (provider("a"), ModelInfo("a-model", native={"owned_by": "sglang"}), True),
        (provider("a", "ollama"), ModelInfo("a-model"), False),
    ],
    ids=["any", "the vendor", "as its owner says", "as vLLM says", "as SGLang says", "Ollama"],
)
async def test_a_client_of_messages_turns_thinking_off_where_a_template_decides(
    which: Provider, info: ModelInfo, switches: bool
) -> None:
    line = {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": True}
    script = replies(200, line) if which.format == "ollama" else CHAT
    async with stage(which, up={"a": script}, models={"a": {"a-model": info}}) as st:
        await st.ask("anthropic", request("anthropic", thinking={"type": "disabled"}))
        sent = st.asked["a"][0].json
    if which.format == "ollama":
        assert sent["think"] is False
    assert sent.get("chat_template_kwargs") == ({"enable_thinking": False} if switches else None)


# --- whole answers, asked for as streams ----------------------------------------------------------

LLAMA = PRESETS["llama.cpp"]
OF_LLAMA = {"a": {"a-model": ModelInfo("a-model", native={"owned_by": "llamacpp"})}}


def folding(*, name: str = "a", fmt: str = "openai", up=None, models=None, **more):
    script = up or streams(STREAM["openai"], chat_stream("Hel", "lo"))
    return stage(provider(name, fmt, **more), up={name: script}, models=models)


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
async def test_llama_is_asked_for_a_stream_where_a_whole_answer_is_due(
    fmt: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It hears with the next token that nobody reads a stream, and of a whole answer hardly ever."""
    async with folding(dialect=LLAMA) as st:
        out = await st.ask(fmt, request(fmt))
    sent = st.asked["a"][0]
    assert sent.json["stream"] is True
    assert sent.json["stream_options"] == {"include_usage": True}
    assert sent.headers.get("accept") == "text/event-stream"
    assert out.headers.get("content-type") == "application/json"
    assert b"Hello" in out.body
    assert st.record.stream is False
    assert (st.record.usage.input, st.record.usage.output) == (7, 3)
    assert out.headers.get("x-router-output-tokens") == "3"


async def test_llama_is_known_by_its_list_of_models(autojump_clock) -> None:
    async with folding(models=OF_LLAMA) as st:
        await st.ask("openai", request("openai"))
    assert st.asked["a"][0].json["stream"] is True


async def test_others_are_asked_for_whole_answers_and_their_bytes_pass(autojump_clock) -> None:
    answer = chat_answer("Hello", timings={"n": 1})
    async with folding(up=replies(200, answer), dialect=PRESETS["vllm"]) as st:
        out = await st.ask("openai", request("openai"))
    assert st.asked["a"][0].json["stream"] is False
    assert out.json == answer


@pytest.mark.parametrize(("how", "streamed"), [("always", True), ("never", False), ("auto", True)])
async def test_the_owner_has_the_last_word(how: str, streamed: bool, autojump_clock) -> None:
    dialect = Dialect() if how == "always" else LLAMA
    up = None if streamed else replies(200, chat_answer("Hello"))
    async with folding(up=up, dialect=dialect, stream_upstream=how) as st:
        out = await st.ask("openai", request("openai"))
    assert st.asked["a"][0].json["stream"] is streamed
    assert b"Hello" in out.body


@pytest.mark.parametrize(
    "more", [{"n": 2}, {"logprobs": True}, {"modalities": ["audio"]}, {"n_probs": 3}], ids=str
)
async def test_what_only_a_whole_answer_brings_is_not_asked_for_as_a_stream(
    more: dict, autojump_clock
) -> None:
    async with folding(up=replies(200, chat_answer("x")), dialect=LLAMA) as st:
        await st.ask("openai", request("openai", **more))
    assert st.asked["a"][0].json["stream"] is False


async def test_a_server_that_answers_whole_all_the_same_is_heard(autojump_clock) -> None:
    answer = chat_answer("Hello", timings={"n": 1})
    async with folding(up=replies(200, answer), dialect=LLAMA) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json == answer


async def test_nothing_of_a_whole_answer_is_sent_before_its_stream_has_ended(
    autojump_clock,
) -> None:
    """So that one that is cut can still be walked past."""
    begun = chat_stream("Hel").split(b"data: [DONE]")[0].split(b'"finish_reason": "stop"')[0]
    cut = streams(STREAM["openai"], begun[: begun.rfind(b"data: ")], cut=True)
    providers = [provider("a", dialect=LLAMA), provider("b")]
    async with stage(*providers, up={"a": cut, "b": replies(200, chat_answer("whole"))}) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json["choices"][0]["message"]["content"] == "whole"
    assert "a/a-model: truncated" in st.record.attempts[0]


async def test_the_clocks_of_a_stream_hold_for_a_folded_answer(autojump_clock) -> None:
    """A long answer may take longer than a first token."""
    pieces = [sse(role_chunk(), done=False)]
    pieces += [sse(said("x"), done=False)] * 8
    pieces += [sse(chunk({}, "stop"), usage_chunk())]
    slow = streams(STREAM["openai"], *pieces, pause_s=5)
    clocks = Clocks(first_token_s=12, idle_s=6)
    async with folding(up=slow, dialect=LLAMA, clocks=clocks) as st:
        out = await st.ask("openai", request("openai"))
    assert out.json["choices"][0]["message"]["content"] == "xxxxxxxx"


@pytest.mark.parametrize("fmt", ["openai", "anthropic", "ollama", "responses"])
@pytest.mark.parametrize("stream", [None, False], ids=["absent", "false"])
async def test_the_clients_own_text_is_only_told_to_stream(
    fmt: str, stream, autojump_clock
) -> None:
    body = request(fmt)
    del body["stream"]
    if stream is not None:
        body["stream"] = stream
    async with stage(
        provider("a", fmt, stream_upstream="always"), up={"a": replies(500, {})}
    ) as st:
        await st.ask(fmt, body)
    sent = st.asked["a"][0].json
    assert sent.pop("stream") is True
    sent.pop("stream_options", None)
    body.pop("stream", None)
    assert sent == {**body, "model": "a-model"}
