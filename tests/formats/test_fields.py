"""Names of concepts, per client format."""

import pytest

from formats.fields import field, lost


@pytest.mark.parametrize(
    ("origin", "concept", "name"),
    [
        ("openai", "max_tokens", "max_tokens"),
        ("anthropic", "max_tokens", "max_tokens"),
        ("ollama", "max_tokens", "options.num_predict"),
        ("responses", "max_tokens", "max_output_tokens"),
        ("openai", "output", "response_format"),
        ("anthropic", "output", "output_config.format"),
        ("ollama", "output", "format"),
        ("ollama", "stop", "options.stop"),
        ("anthropic", "stop", "stop_sequences"),
        ("anthropic", "user", "metadata.user_id"),
        ("openai", "tool_choice", "tool_choice"),
        ("completions", "max_tokens", "max_tokens"),
        ("completions", "output", "response_format"),
        ("generate", "max_tokens", "options.num_predict"),
        ("generate", "image", "images"),
        ("somewhere", "seed", "seed"),
    ],
)
def test_a_concept_has_its_clients_own_name(origin, concept, name):
    assert field(origin, concept) == name


def test_of_two_names_the_one_that_the_body_has_is_taken():
    assert field("openai", "max_tokens", {"max_completion_tokens": 1}) == "max_completion_tokens"
    assert field("openai", "max_tokens", {"max_tokens": 1}) == "max_tokens"
    assert field("openai", "user", {"safety_identifier": "x"}) == "safety_identifier"


def test_what_says_the_same_as_something_that_was_read_is_not_worth_a_word():
    extra = {"id": "msg_1", "summary": [], "item": {"id": "a"}}
    assert list(lost("responses", extra)) == ["id"]
    assert list(lost("openai", {"id": "x", "item": 1})) == ["id", "item"]


def test_what_the_router_itself_sees_to_is_not_lost():
    assert list(lost("responses", {"store": True})) == []
    assert list(lost("openai", {"store": True})) == ["store"]
    sealed = "reasoning.encrypted_content"
    assert list(lost("responses", {"include": [sealed]})) == []
    assert list(lost("responses", {"include": [sealed, "file_search_call.results"]})) == ["include"]
    assert list(lost("responses", {"include": [{}]})) == ["include"]


def test_a_member_that_is_null_is_nothing_to_lose():
    assert list(lost("openai", {"a": None, "b": False})) == ["b"]
