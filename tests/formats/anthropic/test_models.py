"""What Claude models take, by name."""

import pytest

from formats.anthropic.models import traits


@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        ("llama3.2", "all"),
        ("claude-3-5-sonnet-20241022", "all"),
        ("claude-sonnet-4-20250514", "one"),
        ("anthropic/claude-opus-4.5", "one"),
        ("claude-opus-4-6", "one"),
        ("claude-opus-4-7", "none"),
        ("us.anthropic.claude-opus-4-8-20260301-v1:0", "none"),
        ("claude-haiku-4-5", "one"),
        ("claude-haiku-5-5", "none"),
        ("claude-sonnet-5", "none"),
        ("claude-fable-5-1", "none"),
        ("claude-of-the-future", "none"),
    ],
)
def test_which_models_take_sampling_parameters(name, sampling):
    assert traits(name).sampling == sampling


@pytest.mark.parametrize(
    ("name", "thinking"),
    [
        ("some-clone", "budget"),
        ("claude-3-opus-20240229", "none"),
        ("claude-3-7-sonnet-20250219", "budget"),
        ("claude-sonnet-4-5-20250929", "budget"),
        ("claude-opus-4-6", "adaptive"),
        ("claude-opus-5", "adaptive"),
        ("claude-sonnet-5-5", "between"),
        ("claude-opus-5-5", "always"),
        ("claude-mythos-5", "always"),
    ],
)
def test_how_models_think(name, thinking):
    assert traits(name).thinking == thinking


@pytest.mark.parametrize(
    ("name", "able"),
    [
        ("some-clone", False),
        ("claude-opus-4-7", False),
        ("claude-opus-4-8", True),
        ("claude-sonnet-5", False),
        ("claude-sonnet-5-5", True),
        ("claude-haiku-5-5", True),
        ("claude-haiku-4-5", False),
    ],
)
def test_which_models_take_system_messages_inside_a_conversation(name, able):
    assert traits(name).system_inside is able


def test_newer_models_do_not_go_on_from_a_begun_answer():
    assert traits("claude-opus-4-5").prefill
    assert not traits("claude-opus-4-6").prefill
    assert traits("some-clone").prefill


def test_a_date_is_no_version():
    assert traits("claude-opus-4-20250514") == traits("claude-opus-4-0")
    assert not traits("claude-opus-4-20250514").output_format
    assert not traits("claude-opus-4-1-20250805").output_format
