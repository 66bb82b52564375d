"""The error values."""

from typing import get_args

import pytest

from formats import errors
from formats.errors import Failure, FormatError, Invalid, Unsupported


def test_an_error_names_its_place_and_its_reason():
    error = Invalid("messages[3].role", "unknown role")
    assert str(error) == "messages[3].role: unknown role"
    assert (error.path, error.why, error.kind) == (
        "messages[3].role",
        "unknown role",
        "bad_request",
    )


def test_an_error_without_a_place_is_just_its_reason():
    assert str(Invalid("", "the body is empty")) == "the body is empty"


def test_what_a_format_cannot_carry_is_told_apart_from_what_is_wrong():
    error = Unsupported("n", "only one choice")
    assert isinstance(error, Invalid)
    assert error.kind == "unsupported"


@pytest.mark.parametrize("kind", [errors.TooLong, errors.Truncated, errors.Garbled, Invalid])
def test_one_except_catches_all_that_a_codec_raises_on_purpose(kind):
    assert issubclass(kind, FormatError)


def test_every_kind_of_failure_has_its_two_statuses():
    assert set(errors.STATUS) == set(get_args(errors.FailureKind))
    assert all(400 <= status < 600 for pair in errors.STATUS.values() for status in pair)


def test_the_tag_of_a_timeout_names_its_clock():
    assert Failure("timeout", "slow", clock="first_byte").tag == "timeout:first_byte"
    assert Failure("rate_limit", "slow down").tag == "rate_limit"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "Bearer eyJhbGciOi.J9abcdef",
        "gsk_abcdef123456",
        "sk-ant-***********abcd",
    ],
)
def test_what_looks_like_a_credential_is_masked_and_the_rest_stays(secret):
    said = errors.scrubbed(f"Incorrect API key provided: {secret} was refused")
    assert said == "Incorrect API key provided: *** was refused"


def test_ordinary_words_are_not_taken_for_a_credential():
    text = "The key 'response_format' of task-1234567 is unknown; bearer of bad news"
    assert errors.scrubbed(text) == text
