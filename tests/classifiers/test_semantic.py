"""llmrouterd/classifiers/semantic.py"""

import pytest

from formats.canonical import Message, Request, Text
from llmrouterd.classifiers.semantic import MOST_EXAMPLES, Semantic, dot, unit
from llmrouterd.hooks import AskFailed, Context

SETTINGS = {
    "provider": "ollama",
    "model": "embed",
    "examples": {"food": ["eggs", "bread"], "cars": ["wheels"]},
    "threshold": 0.8,
    "prefix": "is-",
}
SPACE = {"eggs": [1, 0.1, 0], "bread": [2, 0, 0], "wheels": [0, 3, 0], "toast": [9, 1, 0]}


class Model:
    def __init__(self, space=SPACE) -> None:
        self.space = space
        self.asked: list[list[str]] = []

    async def __call__(self, provider, model, texts, **more):
        self.asked.append(list(texts))
        return [self.space.get(text, [0, 0, 1]) for text in texts]


def request(text: str) -> Request:
    return Request("openai", "m", (Message("user", (Text(text),)),))


async def tags(text: str, model: Model | None = None, **more) -> list[str]:
    ctx = Context("semantic", {}, embed=model or Model())
    return list(await Semantic({**SETTINGS, **more}).classify(request(text), ctx))


async def test_the_nearest_example_gives_its_label_if_it_is_near_enough() -> None:
    assert await tags("toast") == ["is-food"]
    assert await tags("wheels") == ["is-cars"]
    assert await tags("poetry") == []
    assert await tags("poetry", threshold=-1) != []


async def test_examples_are_embedded_once_and_texts_once_each() -> None:
    model, classifier = Model(), Semantic(SETTINGS)
    ctx = Context("semantic", {}, embed=model)
    for text in ("toast", "wheels", "toast", "wheels"):
        await classifier.classify(request(text), ctx)
    assert model.asked == [["toast", "wheels", "eggs", "bread"], ["wheels"]]


async def test_without_examples_or_text_nobody_is_asked() -> None:
    model = Model()
    assert await tags("toast", model, examples={}) == []
    assert await tags("", model) == []
    assert model.asked == []


async def test_a_model_that_changes_its_mind_is_a_failure() -> None:
    model, classifier = Model(), Semantic(SETTINGS)
    ctx = Context("semantic", {}, embed=model)
    await classifier.classify(request("toast"), ctx)
    model.space = {"new": [1, 2]}
    with pytest.raises(AskFailed, match="different lengths"):
        await classifier.classify(request("new"), ctx)


def test_a_vector_without_direction_is_a_failure() -> None:
    with pytest.raises(AskFailed):
        unit([0, 0])
    with pytest.raises(AskFailed):
        unit([float("nan"), 1])
    assert dot(unit([3, 4]), unit([6, 8])) == pytest.approx(1)


def test_everything_wrong_is_named_at_once() -> None:
    many = {"a": ["x"] * (MOST_EXAMPLES + 1)}
    with pytest.raises(ValueError, match="examples") as caught:
        Semantic({"threshold": 2, "examples": many, "max_chars": 1, "allow_remote": "no"})
    assert len(str(caught.value).splitlines()) == 4
