"""What a client calls things: the name of each concept in the format the client speaks.

Owns: the names that the ledger shows and errors point at, and which members are not worth naming.
Refuses to know: what becomes of a field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

_OPENAI = {
    "max_tokens": "max_tokens",
    "stop": "stop",
    "thinking": "reasoning_effort",
    "effort": "reasoning_effort",
    "output": "response_format",
    "cache": "prompt_cache_breakpoint",
    "cache_key": "prompt_cache_key",
    "image": "messages[].image_url",
    "document": "messages[].file",
    "audio": "messages[].input_audio",
    "system": "messages[].role",
    "name": "messages[].name",
    "strict": "tools[].strict",
    "arguments": "messages[].tool_calls[].arguments",
    "reasoning": "messages[].reasoning_content",
    "signature": "messages[].reasoning_content",
    "citations": "messages[].content[].annotations",
    "schema": "response_format.json_schema",
}
_ANTHROPIC = {
    "stop": "stop_sequences",
    "effort": "output_config.effort",
    "display": "thinking.display",
    "output": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "user": "metadata.user_id",
    "cache": "cache_control",
    "image": "messages[].image",
    "document": "messages[].document",
    "audio": "messages[].audio",
    "system": "messages[].role",
    "name": "messages[].name",
    "strict": "tools[].strict",
    "arguments": "messages[].tool_use.input",
    "reasoning": "messages[].thinking",
    "signature": "messages[].thinking",
    "redacted": "messages[].redacted_thinking",
    "citations": "messages[].content[].citations",
    "schema": "output_config.format",
}
_OLLAMA = {
    "max_tokens": "options.num_predict",
    "thinking": "think",
    "effort": "think",
    "output": "format",
    "image": "messages[].images",
    "document": "messages[].images",
    "audio": "messages[].images",
    "system": "messages[].role",
    "name": "messages[].name",
    "strict": "tools[].strict",
    "arguments": "messages[].tool_calls[].arguments",
    "reasoning": "messages[].thinking",
    "signature": "messages[].thinking",
    "schema": "format",
} | {
    name: f"options.{name}"
    for name in [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
    ]
}
_RESPONSES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "thinking": "reasoning.effort",
    "effort": "reasoning.effort",
    "display": "reasoning.summary",
    "output": "text.format",
    "verbosity": "text.verbosity",
    "cache": "prompt_cache_breakpoint",
    "cache_key": "prompt_cache_key",
    "image": "input[].input_image",
    "document": "input[].input_file",
    "audio": "input[].input_audio",
    "system": "input[].role",
    "name": "input[].name",
    "strict": "tools[].strict",
    "arguments": "input[].arguments",
    "reasoning": "input[].reasoning",
    "signature": "input[].encrypted_content",
    "redacted": "input[].encrypted_content",
    "citations": "input[].content[].annotations",
    "schema": "text.format",
}
_COMPLETIONS = {
    "thinking": "reasoning_effort",
    "effort": "reasoning_effort",
    "output": "response_format",
    "cache_key": "prompt_cache_key",
}
_GENERATE = _OLLAMA | {
    "image": "images",
    "document": "images",
    "audio": "images",
    "system": "system",
}
_NAMES: Mapping[str, Mapping[str, str]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "ollama": _OLLAMA,
    "responses": _RESPONSES,
    "completions": _COMPLETIONS,
    "generate": _GENERATE,
}
# Where one format has more than one name for a thing, the ones besides its table's.
_ALSO: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("openai", "max_tokens"): ("max_completion_tokens",),
    ("openai", "user"): ("safety_identifier",),
    ("responses", "user"): ("safety_identifier",),
    ("openai", "repeat_penalty"): ("repetition_penalty",),
    ("openai", "tools"): ("functions",),
    ("openai", "tool_choice"): ("function_call",),
}


# Members of a part, an item or a request that say nothing to any other format, or say what stands
# elsewhere as well: the pieces of a reasoning, the namespace in a flat name, the end user's id.
_SILENT: Mapping[str, frozenset[str]] = {
    "responses": frozenset(
        [
            *("namespace", "summary", "content", "safety_identifier"),
            "item",  # the members of the item that a part stood in: looked at by themselves
            *("previous_response_id", "conversation", "prompt", "background"),  # refused, if set
            "store",  # who asks for it, or does not, is kept here accordingly
        ]
    )
}


# What a client of Responses may ask to be included, and gets whoever answers.
_INCLUDED = frozenset({"reasoning.encrypted_content"})


def lost(origin: str, extra: Mapping[str, Any]) -> Iterator[str]:
    """The names of those members in an `extra` whose loss is worth a word."""
    silent = _SILENT.get(origin, ())
    for name, value in extra.items():
        if name not in silent and value is not None and not _is_given(origin, name, value):
            yield name


def _is_given(origin: str, name: str, value: Any) -> bool:
    """Whether the answer has all the same what this member asks for."""
    listed = (origin, name) == ("responses", "include") and type(value) is list
    return listed and all(type(each) is str and each in _INCLUDED for each in value)


def field(origin: str, concept: str, present: Container[str] = ()) -> str:
    """The client's name for a concept. present: the names of the members that its body has, to
    choose by where its format has two names for one thing. A concept without an entry is named
    alike everywhere."""
    for other in _ALSO.get((origin, concept), ()):
        if other in present:
            return other
    return _NAMES.get(origin, {}).get(concept, concept)
