"""What upstreams refuse is learned from their words, once."""

import pytest

from formats.errors import Failure
from llmrouterd.model import Candidate
from llmrouterd.pipeline.lessons import Lesson, Lessons

PLACE = Candidate("a", "m", "r")
BETA = "Unexpected value(s) `{}` for the `anthropic-beta` header. Please consult our documentation"


def refusal(words: str, status: int = 400) -> Failure:
    return Failure("refused_by_upstream", words, status=status)


@pytest.mark.parametrize(
    ("words", "lesson"),
    [
        (BETA.format("x-2026"), Lesson(refused_betas=frozenset({"x-2026"}))),
        (BETA.format("x`, `y"), Lesson(refused_betas=frozenset({"x", "y"}))),
        ("role 'system' is not supported on this model", Lesson(no_late_system=True)),
        (
            "messages.1.role: Input should be 'user' or 'assistant'",
            Lesson(no_late_system=True),
        ),
        (
            "thinking is enabled but reasoning_content is missing in assistant tool call message",
            Lesson(reasoning_required=True),
        ),
        (
            "The reasoning_content in the thinking mode must be passed back to the API",
            Lesson(reasoning_required=True),
        ),
    ],
)
def test_a_lesson(words: str, lesson: Lesson) -> None:
    lessons = Lessons()
    assert lessons.learn(PLACE, refusal(words))
    assert lessons.of(PLACE) == lesson
    assert not lessons.learn(PLACE, refusal(words)), "a second time it is a failure like any other"
    assert lessons.of(Candidate("a", "other", "r")) == Lesson()


@pytest.mark.parametrize(
    "failure",
    [
        refusal("max_tokens: must be positive"),
        refusal("role 'system' is not supported", status=500),
        Failure("truncated", "role 'system' is not supported"),
    ],
)
def test_no_lesson(failure: Failure) -> None:
    assert not Lessons().learn(PLACE, failure)


def test_of_a_text_that_stays_the_client_s_own_only_header_fields_are_a_lesson() -> None:
    lessons = Lessons()
    refused = refusal("messages.1.role: Input should be 'user' or 'assistant'")
    assert not lessons.learn(PLACE, refused, own_text=True)
    assert lessons.of(PLACE) == Lesson()
    assert lessons.learn(PLACE, refusal(BETA.format("x")), own_text=True)


def test_lessons_add_up() -> None:
    lessons = Lessons()
    assert lessons.learn(PLACE, refusal(BETA.format("x")))
    assert lessons.learn(PLACE, refusal(BETA.format("y")))
    assert lessons.learn(PLACE, refusal("role 'system' is not supported"))
    assert lessons.of(PLACE) == Lesson(frozenset({"x", "y"}), no_late_system=True)


def test_a_server_that_refuses_ever_new_names_is_not_believed_for_ever() -> None:
    lessons = Lessons()
    learned = [lessons.learn(PLACE, refusal(BETA.format(f"b{i}"))) for i in range(50)]
    assert sum(learned) == 32


def test_only_so_many_places_are_remembered() -> None:
    lessons = Lessons()
    for number in range(300):
        lessons.learn(Candidate("a", str(number), "r"), refusal("role 'system' is not supported"))
    assert lessons.of(Candidate("a", "0", "r")) == Lesson()
    assert lessons.of(Candidate("a", "299", "r")).no_late_system
