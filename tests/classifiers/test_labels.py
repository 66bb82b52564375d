"""llmrouterd/classifiers/labels.py"""

import pytest

from llmrouterd.classifiers.labels import Labels
from llmrouterd.hooks import AskFailed, Context

SETTINGS = {
    "provider": "ollama",
    "model": "small",
    "labels": {"Code": "programs", "legal": ""},
    "prefix": "is-",
    "timeout": 3,
}


class Model:
    """Answers what it is told to, and notes what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple] = []

    async def __call__(self, *given, **more):
        self.asked.append((given, more))
        answer = self.answers.pop(0)
        if answer == "!":
            raise AskFailed("nobody there")
        return answer


async def tags(text: str, *answers: str, **more) -> list[str]:
    ctx = Context("llm", {}, ask=Model(*answers))
    return await Labels({**SETTINGS, **more}, "requests").tags(text, ctx)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Code", ["is-Code"]),
        (" code.\n", ["is-Code"]),
        ("**legal**", ["is-legal"]),
        ("Label: legal", ["is-legal"]),
        ("none", []),
        ("<think>code? no</think>\nlegal", ["is-legal"]),
        ("legal legal", ["is-legal"]),
    ],
)
async def test_a_label_in_the_answer_is_its_tag(answer: str, found: list[str]) -> None:
    assert await tags("x", answer) == found


@pytest.mark.parametrize("answer", ["", "maybe", "code or legal", "codes", "none of code"])
async def test_anything_else_is_a_failure_and_no_guess(answer: str) -> None:
    with pytest.raises(AskFailed, match="none of the labels"):
        await tags("x", answer)


async def test_the_model_is_asked_with_its_labels_and_the_text() -> None:
    model = Model("code")
    await Labels({**SETTINGS, "prompt": "Sort!"}, "requests").tags(
        "my text", Context("", {}, ask=model)
    )
    ((given, more),) = model.asked
    assert given[:2] == ("ollama", "small")
    assert "<text>\nmy text\n</text>" in given[2]
    assert more["system"].startswith("Sort!\n")
    assert "- Code: programs\n- legal\n- none" in more["system"]
    assert (more["timeout_s"], more["allow_remote"]) == (3, False)


async def test_the_same_text_is_asked_about_once() -> None:
    model = Model("code", "none", "!", "legal")
    labels, ctx = Labels(SETTINGS, "requests"), Context("", {}, ask=model)
    assert [await labels.tags(text, ctx) for text in "aabab"] == [["is-Code"]] * 2 + [
        [],
        ["is-Code"],
        [],
    ]
    with pytest.raises(AskFailed):
        await labels.tags("c", ctx)
    assert await labels.tags("c", ctx) == ["is-legal"]  # a failure is not remembered
    assert len(model.asked) == 4


async def test_the_memory_is_bounded() -> None:
    model = Model(*["code"] * 6)
    labels, ctx = Labels({**SETTINGS, "cache": 2}, "requests"), Context("", {}, ask=model)
    for text in "abcabc":
        await labels.tags(text, ctx)
    assert len(model.asked) == 6


async def test_nobody_is_asked_about_nothing() -> None:
    assert await tags(" \n") == []
    assert await tags("x", labels={}) == []


def test_everything_wrong_is_named_at_once() -> None:
    settings = {"labels": {"two words": "", "none": ""}, "timeout": 0, "cache": -1, "model": 3}
    with pytest.raises(ValueError, match="labels") as caught:
        Labels(settings, "requests")
    assert len(str(caught.value).splitlines()) == 5
